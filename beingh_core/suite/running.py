"""Plays what is missing of an experiment, in as many processes as it asks for."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

from beingh_core.contract import RobotContract, load_contract
from beingh_core.suite.fingerprint import digest, fingerprint
from beingh_core.suite.journal import Journal
from beingh_core.suite.plan import Experiment

Play = Callable[..., dict[str, Any]]  # of the experiment and a job the row


def rows_of(given: Experiment, contract: RobotContract, keys: tuple[str, ...], play: Play) -> list[dict[str, Any]]:
    """The rows of all jobs, those of earlier runs in the folder too.

    Args:
        given: The experiment.
        contract: Its robot.
        keys: Names in a row of what a job consists of.
        play: Function of a module, since other processes call it.

    Raises:
        BeingHError: See `Journal`.
    """
    settings = {
        "robot": contract.robot,
        "contract": digest(contract.path),
        "urdf": digest(contract.urdf_path),
        "checkpoints": {name: fingerprint(Path(place)) for name, place in given.checkpoints.items()},
        **given.settings(),
        "seconds": given.seconds,
    }
    with Journal(given.out, settings, keys) as journal:
        missing = [job for job in given.jobs() if not journal.has(*job)]
        begin_s = time.monotonic()
        for done, row in enumerate(played(play, [(given, *job) for job in missing], given.workers), start=1):
            journal.add(row)
            if done % 50 == 0 or done == len(missing):
                print(f"{done} of {len(missing)} episodes, {time.monotonic() - begin_s:.0f} s", flush=True)
        wanted = set(given.jobs())
        return [row for row in journal.rows if journal.key(row) in wanted]


def played(play: Play, jobs: Sequence[tuple], workers: int) -> Iterator[dict[str, Any]]:
    """`play(*job)` of each job, in order.

    Args:
        play: At the top of a module, so that a process finds it by name.
        jobs: Its arguments.
        workers: Processes; 0 for one on each processor.
    """
    workers = min(workers or len(os.sched_getaffinity(0)), max(1, len(jobs)))
    if workers == 1:
        yield from (play(*job) for job in jobs)
        return
    from beingh_core.data.workers import in_order, pool_of, started

    with pool_of(workers) as pool:
        yield from in_order(started(pool, play, iter(jobs)), 2 * workers)


_kept: dict = {}


def kept(key: Any, make: Callable[[], Any]):
    """What `make` gives, made once in this process: players and policies take seconds."""
    if key not in _kept:
        _kept[key] = make()
    return _kept[key]


def player_of(robot: str):
    """The `Player` of a contract; it stays in memory."""
    from beingh_core.suite.episode import Player

    return kept(robot, lambda: Player(load_contract(robot)))


def policy_of(robot: str, checkpoint: str, **settings: Any):
    """The `BeingHPolicy` of a checkpoint in one thread; it stays in memory.

    Args:
        robot: Contract.
        checkpoint: Directory.
        settings: Further arguments of `BeingHPolicy`.
    """
    from beingh_core.policy.loading import load_for_contract

    load = lambda: load_for_contract(player_of(robot).contract, checkpoint, threads=1, **settings)
    return kept((robot, checkpoint, *sorted(settings.items())), load)
