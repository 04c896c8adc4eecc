"""Runs the experiments one after the other, and writes the page."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from beingh_core.data.lerobot.storage import told_when_full
from beingh_core.errors import BeingHError, did_you_mean
from beingh_core.interrupts import INTERRUPTED
from beingh_core.suite.evidence.claim import UNTESTED, Claim, Experiment, Finding
from beingh_core.suite.evidence.claims import CLAIMS, EXPERIMENTS
from beingh_core.suite.evidence.page import write

FIGURES = "figures.json"


@dataclass(frozen=True, kw_only=True)
class Evidence:
    """What to run.

    Attributes:
        quick: Fewer episodes and points.
        only: Names of experiments; none for all.
        out: Folder.
    """

    quick: bool
    only: tuple[str, ...]
    out: Path

    def __post_init__(self) -> None:
        names = [one.name for one in EXPERIMENTS]
        for name in self.only:
            if name not in names:
                raise BeingHError(
                    f"there is no experiment `{name}`", where="--only", allowed=names, remedy=did_you_mean(name, names)
                )

    @property
    def experiments(self) -> list[Experiment]:
        """Those that are chosen."""
        return [one for one in EXPERIMENTS if not self.only or one.name in self.only]

    @property
    def claims(self) -> list[Claim]:
        """Those of the chosen experiments; without `only` also those that have none."""
        return [one for one in CLAIMS if not self.only or (one.experiment and one.experiment.name in self.only)]


def run(given: Evidence) -> int:
    """Plays what is missing, and writes evidence.md and evidence.html; the status is 1 where a command failed.

    Raises:
        BeingHError: The folder cannot be written; see `Journal` for what an experiment refuses, which is told of it alone.
    """
    ready = [one for one in given.experiments if not one.missing(given.quick)]
    minutes = sum(one.minutes[not given.quick] for one in ready)
    print(
        f"{len(ready)} of {len(given.experiments)} experiments, estimated at {minutes:.0f} minutes of one core",
        flush=True,
    )
    with told_when_full(given.out):
        given.out.mkdir(parents=True, exist_ok=True)
    failed = {}
    for number, experiment in enumerate(given.experiments, start=1):
        begin_s, why = time.monotonic(), experiment.missing(given.quick)
        print(f"[{number}/{len(given.experiments)}] {experiment.name}: {why or 'begins'}", flush=True)
        if why:
            continue
        status = _run(experiment.command(given.out, given.quick))
        if status == INTERRUPTED:
            raise KeyboardInterrupt
        if status:
            failed[experiment.name] = f"its command ended with status {status}"
        print(f"    {failed.get(experiment.name, 'done')}, {time.monotonic() - begin_s:.0f} s", flush=True)
    found = [(claim, finding(claim, given, failed)) for claim in given.claims]
    print(write(given.out, found, given.experiments, given.quick))
    return 1 if failed else 0


def _run(arguments: Sequence[str]) -> int:
    """In a process of its own, which gives back its memory.

    Raises:
        SystemExit: A SIGTERM has ended this process, and that one with it.
    """
    came: list[int] = []
    process = subprocess.Popen([sys.executable, "-m", "beingh_core.cli", *arguments])
    before = signal.signal(signal.SIGTERM, lambda number, _frame: (came.append(number), process.terminate()))
    try:
        status = process.wait()
    except BaseException:
        process.kill()
        process.wait()
        raise
    finally:
        signal.signal(signal.SIGTERM, before)
    if came:
        raise SystemExit(128 + came[0])
    return status


def finding(claim: Claim, given: Evidence, failed: dict[str, str]) -> Finding:
    """Of one claim, from the figures that its experiment wrote.

    Args:
        claim: Whose.
        given: What was run.
        failed: Why commands failed, by experiment.
    """
    experiment = claim.experiment
    if experiment is None or claim.judge is None:
        return Finding(verdict=UNTESTED, result=claim.reason)
    why = experiment.missing(given.quick) or failed.get(experiment.name, "")
    if why:
        return Finding(verdict=UNTESTED, result=why)
    figures = experiment.folder(given.out, given.quick) / FIGURES  # which its command has just written
    return claim.judge(json.loads(figures.read_text(encoding="utf-8")))
