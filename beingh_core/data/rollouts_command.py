"""`beingh sim rollouts`: what the scripted expert does in the simulator as a LeRobot dataset, in several processes."""

from __future__ import annotations

import argparse
import os
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from beingh_core.contract import load_contract
from beingh_core.errors import BeingHError
from beingh_core.tasks import PICK, TASKS, tasks_named

_DESCRIPTION = (
    "Lets the scripted expert do what it is told with cubes in the simulator, one instruction and one scene an episode, and writes what a camera "
    "sees, the state and the commands at the contract's rate. With --branches the robot is led about instead, and rows also "
    "hold what the expert would do for every instruction. An interrupted dataset is continued."
)


@dataclass(frozen=True, kw_only=True)
class _Wanted:
    """What every process records; see the options."""

    robot: str
    noise: float
    branches: bool
    instructions: tuple[str, ...]
    task: str
    prefix: int | None
    every: int
    codec: str
    crf: int

    def rollouts(self):
        from beingh_core.data.branched_rollouts import BranchedRollouts
        from beingh_core.data.rollouts import Rollouts

        contract, tasks = load_contract(self.robot), tasks_named(self.task)
        if self.branches:
            return BranchedRollouts(contract, self.noise, self.instructions, self.prefix, self.every, tasks)
        return Rollouts(contract, self.noise, self.instructions, tasks)

    def spec(self, rollouts):
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


def add_rollouts(commands) -> None:
    """Adds `sim rollouts` to the command line."""
    sim = commands.add_parser("sim", help="data from the simulator")
    verbs = sim.add_subparsers(metavar="WHAT", required=True)
    parser = verbs.add_parser(
        "rollouts", help="what the scripted expert does as a dataset", description=_DESCRIPTION,
        formatter_class=argparse.ArgumentDefaultsHelpFormatter,
    )  # fmt: skip
    add = parser.add_argument
    add("--robot", required=True, metavar="ROBOT", help="robot contract: name or path")
    add("--out", type=Path, required=True, metavar="DATASET", help="folder of the dataset")
    add("--episodes", type=int, default=50, help="how many successful ones the dataset is to have")
    add("--seed", type=int, default=0, help="scene of the first episode; the following ones count up")
    add("--noise", type=float, default=0.0, help="of commands, as a share of the largest step: 0 to 0.5")
    add(
        "--instruction",
        action="append",
        default=[],
        metavar="TEXT",
        help="with {colour}, or {colour} and {side}; several with --branches",
    )
    add(
        "--task",
        default=PICK.name,
        help=f"what is told and in whose scenes: {', '.join(TASKS)}, or several with commas",
    )
    add("--branches", action="store_true", help="lead the robot about, and show every instruction beside what is done")
    add("--every", type=int, default=2, help="with --branches: every so many rows, at random, have some")
    add(
        "--prefix",
        type=int,
        default=None,
        help="with --branches: longest committed beginning; the contract's delay + 1",
    )
    add("--workers", type=int, default=1, help="processes; 0 for one on each processor")
    add("--codec", default="h264", help="of the videos: h264 or av1")
    add("--crf", type=int, default=30, help="quality of the videos, smaller is better")
    parser.set_defaults(run=_rollouts)


def _rollouts(given: argparse.Namespace) -> int:
    from beingh_core.data import contract_rows
    from beingh_core.data.lerobot.writer import DatasetWriter

    _check(given)
    wanted = _Wanted(
        robot=given.robot, noise=given.noise, branches=given.branches, instructions=tuple(given.instruction), task=given.task,
        prefix=given.prefix, every=given.every, codec=given.codec, crf=given.crf,
    )  # fmt: skip
    rollouts = wanted.rollouts()
    contract, form, spec = rollouts.contract, getattr(rollouts, "form", None), wanted.spec(rollouts)
    workers = given.workers or len(os.sched_getaffinity(0))
    begin_s, robot_s, failed = time.monotonic(), 0.0, 0
    with DatasetWriter(given.out, spec) as writer:
        if form is not None:
            form.agree(writer.root, writer.spec)
        writer.describe(contract=contract, modality=contract_rows.modality(contract), branches=form)
        name = contract.path.stem
        seeds = (seed for seed in _from(given.seed) if wanted.source(name, seed) not in writer.sources)
        made = _made(wanted, rollouts, seeds, writer.staging, workers)
        while writer.episodes < given.episodes:
            staged, seconds = next(made)
            robot_s += seconds
            if staged is not None:
                writer.commit(staged)
                _tell(writer.episodes, given.episodes, begin_s)
            failed += staged is None
            if failed > max(10, given.episodes):
                raise BeingHError(
                    f"{failed} attempts failed", where=contract.path, remedy="look at `make demo ROBOT=...`"
                )
        made.close()
        episodes = writer.episodes
    rollouts.close()
    if not robot_s:
        print(f"{given.out}: all {episodes} episodes are there already")
        return 0
    speed = robot_s / max(1e-9, time.monotonic() - begin_s)
    print(f"{given.out}: {episodes} episodes; {failed} failed attempts were left out; {speed:.1f} times real time")
    return 0


def _check(given: argparse.Namespace) -> None:
    if given.episodes < 1 or not 0.0 <= given.noise <= 0.5 or given.seed < 0:
        raise BeingHError(
            f"{given.episodes} episodes with noise {given.noise:g} from seed {given.seed}",
            allowed="1 episode or more, noise 0 to 0.5, seed 0 or more",
        )
    if not 1 <= given.every <= 1000 or not 0 <= given.workers <= 1024:
        raise BeingHError(f"--every {given.every}, --workers {given.workers}", allowed="1 to 1000, 0 to 1024")
    tasks_named(given.task)
    if len(given.instruction) > 1 and not given.branches:
        raise BeingHError("several instructions", remedy="give one, or --branches")


def _tell(done: int, of: int, begin_s: float) -> None:
    if done % 100 == 0:
        print(f"recorded {done} of {of} episodes, {time.monotonic() - begin_s:.0f} s", flush=True)


def _from(seed: int) -> Iterator[int]:
    while True:
        yield seed
        seed += 1


def _made(wanted: _Wanted, rollouts, seeds: Iterator[int], staging: Callable[[], Path], workers: int) -> Iterator:
    """(complete episode, or None of a failed attempt; its length [s]) of each seed, in order."""
    if workers == 1:
        for seed in seeds:
            yield _one(wanted, rollouts, seed, staging())
        return
    from beingh_core.data.workers import in_order, pool_of, started

    with pool_of(workers) as pool:
        yield from in_order(started(pool, _in_worker, ((wanted, seed, staging()) for seed in seeds)), workers)


_kept: dict = {}


def _in_worker(wanted: _Wanted, seed: int, folder: Path):
    """`_one` with the simulator that this process keeps."""
    if wanted not in _kept:
        _kept[wanted] = wanted.rollouts()
    return _one(wanted, _kept[wanted], seed, folder)


def _one(wanted: _Wanted, rollouts, seed: int, folder: Path):
    from beingh_core.data.lerobot.episode import stage

    frames, good = rollouts.episode(seed)
    seconds = len(frames) * rollouts.contract.dt_s
    if not good:
        return None, seconds
    source = wanted.source(rollouts.contract.path.stem, seed)
    return stage(wanted.spec(rollouts), folder, frames, source=source, threads=1), seconds
