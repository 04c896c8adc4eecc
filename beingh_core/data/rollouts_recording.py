"""What the scripted expert does in the simulator, recorded as a LeRobot dataset, in several processes."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from beingh_core.contract import load_contract
from beingh_core.errors import BeingHError
from beingh_core.tasks import PICK, tasks_named


@dataclass(frozen=True, kw_only=True)
class Wanted:
    """What every process records.

    Attributes:
        robot: Contract: name or path.
        noise: Of commands, as a share of the largest step.
        branches: Whether the robot is led about, with every instruction beside what is done.
        instructions: See `rollouts.sentences_of`.
        task: Names with commas.
        prefix, every, seconds: See `BranchedRollouts`.
        codec, crf: Of the videos.
    """

    robot: str
    noise: float = 0.0
    branches: bool = False
    instructions: tuple[str, ...] = ()
    task: str = PICK.name
    prefix: int | None = None
    every: int = 2
    seconds: float | None = None
    codec: str = "h264"
    crf: int = 30

    def rollouts(self):
        """What makes the episodes; `BranchedRollouts` or `Rollouts`."""
        from beingh_core.data.branched_rollouts import BranchedRollouts
        from beingh_core.data.rollouts import Rollouts

        contract, tasks = load_contract(self.robot), tasks_named(self.task)
        if self.branches:
            return BranchedRollouts(
                contract, self.noise, self.instructions, self.prefix, self.every, tasks, self.seconds
            )
        return Rollouts(contract, self.noise, self.instructions, tasks)

    def spec(self, rollouts):
        """The dataset's form."""
        from beingh_core.data import contract_rows
        from beingh_core.data.lerobot.schema import VideoSettings

        video = VideoSettings(codec=self.codec, crf=self.crf)
        form = getattr(rollouts, "form", None)
        return contract_rows.dataset_spec(
            rollouts.contract, rollouts.sizes(), video, "v3.0", in_charge=False, branches=form
        )

    def source(self, name: str, seed: int) -> str:
        """Of an episode; a dataset holds each once."""
        kind = (" branches" if self.branches else "") + (f" task {self.task}" if self.task != PICK.name else "")
        return f"{name} seed {seed} noise {self.noise:g}{kind}"


def record(wanted: Wanted, out: Path, episodes: int, seed: int = 0, workers: int = 1) -> str:
    """Records what is missing of a dataset; says what was done.

    Args:
        wanted: What.
        out: Folder of the dataset; one that is there is continued.
        episodes: How many successful ones it is to have.
        seed: Scene of the first; the following ones count up.
        workers: Processes; 0 for one on each processor.

    Raises:
        BeingHError: The robot or the task cannot be recorded, the dataset is another one, or too many attempts failed.
    """
    from beingh_core.data import contract_rows
    from beingh_core.data.lerobot.writer import DatasetWriter

    rollouts = wanted.rollouts()
    contract, form, spec = rollouts.contract, getattr(rollouts, "form", None), wanted.spec(rollouts)
    workers = workers or len(os.sched_getaffinity(0))
    begin_s, robot_s, failed = time.monotonic(), 0.0, 0
    with DatasetWriter(out, spec) as writer:
        if form is not None:
            form.agree(writer.root, writer.spec)
        writer.describe(contract=contract, modality=contract_rows.modality(contract), branches=form)
        name = contract.path.stem
        seeds = (one for one in _from(seed) if wanted.source(name, one) not in writer.sources)
        made = _made(wanted, rollouts, seeds, writer.staging, workers)
        while writer.episodes < episodes:
            staged, seconds = next(made)
            robot_s += seconds
            if staged is not None:
                writer.commit(staged)
                _tell(writer.episodes, episodes, begin_s)
            failed += staged is None
            if failed > most_failures(episodes):
                raise BeingHError(
                    f"{failed} attempts failed", where=contract.path, remedy="look at `make demo ROBOT=...`"
                )
        made.close()
        recorded = writer.episodes
    rollouts.close()
    if not robot_s:
        return f"{out}: all {recorded} episodes are there already"
    speed = robot_s / max(1e-9, time.monotonic() - begin_s)
    return f"{out}: {recorded} episodes; {failed} failed attempts were left out; {speed:.1f} times real time"


def most_failures(episodes: int) -> int:
    """How many attempts may fail beside so many episodes; each has a scene of its own."""
    return max(10, episodes)


def _tell(done: int, of: int, begin_s: float) -> None:
    if done % 100 == 0:
        print(f"recorded {done} of {of} episodes, {time.monotonic() - begin_s:.0f} s", flush=True)


def _from(seed: int) -> Iterator[int]:
    while True:
        yield seed
        seed += 1


def _made(wanted: Wanted, rollouts, seeds: Iterator[int], staging: Callable[[], Path], workers: int) -> Iterator:
    """(complete episode, or None of a failed attempt; its length [s]) of each seed, in order."""
    if workers == 1:
        for seed in seeds:
            yield _one(wanted, rollouts, seed, staging())
        return
    from beingh_core.data.workers import in_order, pool_of, started

    with pool_of(workers) as pool:
        yield from in_order(started(pool, _in_worker, ((wanted, seed, staging()) for seed in seeds)), workers)


_kept: dict = {}


def _in_worker(wanted: Wanted, seed: int, folder: Path):
    """`_one` with the simulator that this process keeps."""
    if wanted not in _kept:
        _kept[wanted] = wanted.rollouts()
    return _one(wanted, _kept[wanted], seed, folder)


def _one(wanted: Wanted, rollouts, seed: int, folder: Path):
    from beingh_core.data.lerobot.episode import stage

    frames, good = rollouts.episode(seed)
    seconds = len(frames) * rollouts.contract.dt_s
    if not good:
        return None, seconds
    source = wanted.source(rollouts.contract.path.stem, seed)
    return stage(wanted.spec(rollouts), folder, frames, source=source, threads=1), seconds
