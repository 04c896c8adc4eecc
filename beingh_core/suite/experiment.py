"""An experiment that trains small models and then plays them: what it consists of, and how it is run."""

from __future__ import annotations

import dataclasses
import functools
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from beingh_core.contract import load_contract
from beingh_core.data.rollouts_recording import Wanted, record
from beingh_core.suite.joining import WAYS, Timing
from beingh_core.suite.journal import Journal
from beingh_core.suite.running import played, player_of
from beingh_core.suite.trained import held_out_losses, is_finished, train
from beingh_core.train.settings import RunConfig

KEYS = ("checkpoint", "seed")
METHOD = "uac"


@dataclass(frozen=True, kw_only=True)
class Case:
    """A checkpoint that plays.

    Attributes:
        name: In rows and reports.
        robot: Contract: name or path.
        checkpoint: Directory; of a training its `last`.
        training: Which one makes it; "" for a checkpoint that is there.
        project_inactive: See `BeingHPolicy`.
        compared: Whether every chunk is also computed the other way, to tell how far the two are apart.
    """

    name: str
    robot: str
    checkpoint: str
    training: str = ""
    project_inactive: bool = False
    compared: bool = False


@dataclass(frozen=True, kw_only=True)
class Experiment:
    """What is recorded, trained and played.

    Attributes:
        out: Folder.
        settings: Of which the rows are a result; see `Journal`.
        recordings: Folder of a dataset -> what is recorded, and how many episodes.
        trainings: Name -> configuration.
        cases: In the order in which they are played.
        episodes, seed: How many each case plays, and the scene of the first.
        seconds: Longest time of an episode [s].
        workers: Processes that record and play; 0 for one on each processor.
    """

    out: Path
    settings: Mapping[str, Any]
    recordings: Mapping[Path, tuple[Wanted, int]]
    trainings: Mapping[str, RunConfig]
    cases: tuple[Case, ...]
    episodes: int
    seed: int
    seconds: float
    workers: int


@dataclass(frozen=True, kw_only=True)
class Results:
    """What an experiment has found.

    Attributes:
        rows: Of all episodes that were asked for.
        losses: Training -> held-out losses of its last step.
    """

    rows: list[dict[str, Any]]
    losses: Mapping[str, Mapping[str, float]]


def run(given: Experiment) -> Results:
    """Does what is missing: recorded datasets, finished trainings and played episodes stay.

    Raises:
        BeingHError: See `record`, `train` and `Journal`.
    """
    with Journal(given.out, given.settings, KEYS) as journal:
        seeds = range(given.seed, given.seed + given.episodes)
        missing = {case: [seed for seed in seeds if not journal.has(case.name, seed)] for case in given.cases}
        wanted = {case.training for case, left in missing.items() if left} - {""}
        if any(not is_finished(given.trainings[name]) for name in wanted):
            for folder, (what, episodes) in given.recordings.items():
                print(record(what, folder, episodes, workers=given.workers), flush=True)
        for case, left in missing.items():
            if left and case.training:
                train(given.trainings[case.training])
            begin_s = time.monotonic()
            for row in played(play, [(case, seed, given.seconds) for seed in left], given.workers):
                journal.add(row)
            if left:
                print(f"{case.name}: {len(left)} episodes, {time.monotonic() - begin_s:.0f} s", flush=True)
        names = {case.name for case in given.cases}
        rows = [row for row in journal.rows if row["checkpoint"] in names and row["seed"] in seeds]
    return Results(rows=rows, losses={name: held_out_losses(config) for name, config in given.trainings.items()})


def play(case: Case, seed: int, seconds: float) -> dict[str, Any]:
    """The row of an episode; the simulator and the newest model stay in memory."""
    from beingh_core.suite.compared import Compared

    player, policy = player_of(case.robot), _policy(case.robot, case.checkpoint)
    policy.project_inactive = case.project_inactive
    shown = Compared(policy) if case.compared else policy
    delay = player.contract.uac.delay_steps
    timing = Timing.of(player.contract, delay, 0, policy.trained_delay)
    episode = player.play(shown, WAYS[METHOD], timing, seed, seconds)
    told = {"checkpoint": case.name, "method": METHOD, "delay": delay, "seed": seed, "lock": timing.lock}
    told |= {"difference": shown.difference} if case.compared else {}
    return told | {"trained_delay": policy.trained_delay} | dataclasses.asdict(episode)


@functools.lru_cache(maxsize=1)
def _policy(robot: str, checkpoint: str):
    from beingh_core.policy.loading import load_for_contract

    return load_for_contract(load_contract(robot), checkpoint, threads=1)
