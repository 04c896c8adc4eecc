"""`beingh bench loader`: samples a second of the training loader alone, of the trainer that consumes them, and of LeRobot's loader.

All take turns on the same dataset. Ours makes packs as in training: pictures decoded, cropped and jittered, numbers
normalised in their slots, words in tokens. The trainer's steps have their packs ready. LeRobot's `LeRobotDataset` in a torch
`DataLoader` gives the decoded pictures, the state and the actions of a chunk of single rows in random order, unchanged.

Rates are told by the clock, and by the processor time of all processes that take part, which a busy machine changes little.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from beingh_core.bench import lerobot_reader
from beingh_core.bench.clocks import processor_s
from beingh_core.bench.export import INSTALL, check_lerobot
from beingh_core.bench.loader_dataset import write_dataset
from beingh_core.data.lerobot import Dataset
from beingh_core.errors import BeingHError
from beingh_core.train.loader import load_packs
from beingh_core.train.plan import TRAIN, Plan
from beingh_core.train.run import Run
from beingh_core.train.samples import Made, SampleMaker
from beingh_core.train.settings import RunConfig
from beingh_core.train.sources import Source

_READY = 4  # packs that the trainer's steps take in turn


@dataclass(frozen=True, kw_only=True)
class LoaderBench:
    """What to measure; checked on construction.

    Attributes:
        config: file of a training run.
        dataset: LeRobot dataset of its first dataset's robot; "" for one that is made.
        side: height of the made dataset's pictures [pixels]; they are a third wider.
        workers: processes of either loader; 0 for the file's number.
        seconds: of each turn [s].
        rounds: turns of each.
        lerobot_python: Python that has lerobot; "" for this one.
        without_lerobot: measure only ours.
        seed: of the made dataset.
    """

    config: str = "config/train/tiny.yaml"
    dataset: str = ""
    side: int = 96
    workers: int = 0
    seconds: float = 10.0
    rounds: int = 3
    lerobot_python: str = ""
    without_lerobot: bool = False
    seed: int = 0

    def __post_init__(self) -> None:
        for name, low, high in (("side", 48, 480), ("workers", 0, 256), ("seconds", 0.1, 600), ("rounds", 1, 100)):
            value = getattr(self, name)
            if not low <= value <= high:
                raise BeingHError(f"{name} is {value:g}", where=f"--{name}", allowed=f"{low:g} to {high:g}")


def run(bench: LoaderBench, say: Callable[[str], None] = print) -> dict[str, Any]:
    """Measures all of them in turn and returns the report.

    Returns:
        `samples_per_s` and `samples_per_processor_s` {ours, trainer, lerobot}; of each the ratios `over_trainer` and
        `over_lerobot`; what was loaded by how many; the machine's load at the begin and the end.
    """
    python, before = bench.lerobot_python or sys.executable, os.getloadavg()[0]
    if not bench.without_lerobot:
        check_lerobot(python)
    with tempfile.TemporaryDirectory(prefix="beingh_bench_") as name:
        folder = Path(name)
        root = Path(bench.dataset or folder / "dataset")
        config = _config(bench, root, folder)
        if not bench.dataset:
            write_dataset(root, config.data.datasets[0].robot, bench.side, bench.seed)
        training = Run(config)
        turns: dict[str, Any] = {"ours": _Ours(training), "trainer": _Trainer(training)}
        if not bench.without_lerobot:
            turns["lerobot"] = _LeRobot(python, root, config, training)
        try:
            rates = _measure(turns, bench, say)
        finally:
            for turn in turns.values():
                turn.close()
        source = training.sources[0]
        return {
            **rates, "workers": config.data.workers, "threads_of_trainer": torch.get_num_threads(),
            "processors": len(os.sched_getaffinity(0)), "views": len(source.modality.config.views),
            "pictures": _size(source), "rows": int(source.table.starts[-1]),
            "lerobot_version": turns["lerobot"].version if "lerobot" in turns else None,
            "load": [round(before, 2), round(os.getloadavg()[0], 2)],
        }  # fmt: skip


def _config(bench: LoaderBench, root: Path, folder: Path) -> RunConfig:
    """The run of the file over the one dataset, with its outputs in a folder."""
    (folder / "out").mkdir()
    changes = [f"out={folder / 'out'}", f"data.datasets.0.path={root}", "log.tensorboard=false", "log.to=[]"]
    return RunConfig.from_file(bench.config, changes + ([f"data.workers={bench.workers}"] if bench.workers else []))


def _measure(turns: dict[str, Any], bench: LoaderBench, say: Callable[[str], None]) -> dict[str, Any]:
    """The rates over all turns, and their ratios."""
    sums = {name: [0, 0.0, 0.0] for name in turns}  # samples, seconds, seconds of processors
    for number in range(bench.rounds):
        for name, turn in turns.items():
            found = turn.turn(bench.seconds)
            sums[name] = [total + one for total, one in zip(sums[name], found)]
            say(f"round {number + 1} of {bench.rounds}, {name}: {found[0] / found[1]:.1f} samples/s")
    report: dict[str, Any] = {}
    for place, key in ((1, "samples_per_s"), (2, "samples_per_processor_s")):
        rates = {name: found[0] / max(1e-3, found[place]) for name, found in sums.items()}
        over = {name: rates["ours"] / rate for name, rate in rates.items() if name != "ours"}
        report[key] = {**rates, **{f"over_{name}": ratio for name, ratio in over.items()}}
    return report


def _size(source: Source) -> list[int]:
    """(height, width) of a dataset's pictures."""
    camera = Dataset(source.section.path).camera(next(iter(source.columns.views.values())))
    return [camera.height, camera.width]


class _Own:
    """Turns in this process and those below it."""

    def turn(self, seconds: float) -> tuple[int, float, float]:
        """Samples, and the time and processor time that they took [s]."""
        self.begin()
        samples, spent, begin = 0, processor_s(os.getpid()), time.perf_counter()
        while time.perf_counter() - begin < seconds:
            samples += self.next()
        return samples, time.perf_counter() - begin, processor_s(os.getpid()) - spent

    def begin(self) -> None:
        """Before the time counts."""

    def next(self) -> int:
        """Some samples more; how many."""
        raise NotImplementedError

    def close(self) -> None:
        """Ends what was started."""


class _Ours(_Own):
    """The loader of a run, alone."""

    def __init__(self, training: Run) -> None:
        config, data = training.config, training.config.data
        seed = config.training.seed
        self._idle = data.prefetch * data.workers + 1  # packs that were made while nobody asked
        self._packs: Iterator[Made] | None = load_packs(
            lambda: Plan(training.sources, data, config.packing, seed, TRAIN),
            lambda: SampleMaker(training.sources, training.prepared.prompts, data, seed),
            workers=data.workers, prefetch=data.prefetch,
        )  # fmt: skip

    def begin(self) -> None:
        for _ in range(self._idle):
            next(self._packs)

    def next(self) -> int:
        return len(next(self._packs).rows)

    def close(self) -> None:
        self._packs = None


class _Trainer(_Own):
    """The steps of a run, over packs that are ready."""

    def __init__(self, training: Run) -> None:
        self._training, self._steps = training, 0
        config = training.config
        maker = SampleMaker(training.sources, training.prepared.prompts, config.data, config.training.seed)
        self._packs = [maker.make(training.plan.next()) for _ in range(_READY)]
        self.next()  # the first step is not counted

    def next(self) -> int:
        made = self._packs[self._steps % _READY]
        self._steps += 1
        self._training.stepper.step([self._training.inputs(made)])
        return len(made.rows)


class _LeRobot:
    """LeRobot's loader in a process of its own, which waits between its turns."""

    def __init__(self, python: str, root: Path, config: RunConfig, training: Run) -> None:
        maker = SampleMaker(training.sources, training.prepared.prompts, config.data, 0)
        batch, steps = len(maker.make(training.plan.next()).rows), training.prepared.prompts.config.chunk_length
        self._python = python
        self._process = subprocess.Popen(
            [python, lerobot_reader.__file__, *map(str, (root.resolve(), config.data.workers, batch, steps))],
            text=True, cwd=config.out, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
            env={**os.environ, "HF_HUB_OFFLINE": "1", "PYTHONPATH": ""},
        )  # fmt: skip
        try:
            self.version = self._heard()["version"]
        except BeingHError:
            self.close()
            raise

    def turn(self, seconds: float) -> tuple[int, float, float]:
        """Samples, and the time and processor time that they took [s]."""
        self._process.stdin.write("\n")
        self._process.stdin.flush()
        self._heard()  # what was made while nobody asked is gone
        spent = processor_s(self._process.pid)
        self._process.stdin.write(f"{seconds}\n")
        self._process.stdin.flush()
        told = self._heard()
        return told["samples"], told["seconds"], processor_s(self._process.pid) - spent

    def close(self) -> None:
        """Ends its process."""
        self._process.communicate()  # which closes its input

    def _heard(self) -> dict[str, Any]:
        try:
            return json.loads(self._process.stdout.readline())
        except ValueError:
            last = (self._process.stderr.read().strip().splitlines() or ["it said nothing"])[-1]
            raise BeingHError(f"LeRobot's loader failed: {last}", where=self._python, remedy=INSTALL) from None
