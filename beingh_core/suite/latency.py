"""`beingh suite latency`: told picks under an injected delay, by ways of joining chunks."""

from __future__ import annotations

import dataclasses
import hashlib
import os
import time
from collections.abc import Iterator
from pathlib import Path

from beingh_core.contract import load_contract
from beingh_core.suite.fingerprint import fingerprint
from beingh_core.suite.joining import WAYS, Timing
from beingh_core.suite.journal import Journal
from beingh_core.suite.latency_plan import Latency
from beingh_core.suite.latency_report import write

KEYS = ("checkpoint", "method", "delay", "seed")


def run(given: Latency) -> Path:
    """Plays what is missing and writes the report; returns its folder.

    Raises:
        BeingHError: See `Latency` and `Journal`.
    """
    contract = given.check()
    settings = {
        "robot": contract.robot,
        "contract": hashlib.sha256(contract.path.read_bytes()).hexdigest(),
        "urdf": hashlib.sha256(contract.urdf_path.read_bytes()).hexdigest(),
        "checkpoints": {name: fingerprint(Path(place)) for name, place in given.checkpoints.items()},
        "jitter": given.jitter,
        "seconds": given.seconds,
    }
    with Journal(given.out, settings, KEYS) as journal:
        missing = [job for job in given.jobs() if not journal.has(*job)]
        begin_s = time.monotonic()
        for done, row in enumerate(_played(given, missing), start=1):
            journal.add(row)
            if done % 50 == 0 or done == len(missing):
                print(f"{done} of {len(missing)} episodes, {time.monotonic() - begin_s:.0f} s", flush=True)
        wanted = set(given.jobs())
        rows = [row for row in journal.rows if journal.key(row) in wanted]
    write(given, contract, rows)
    return given.out


def _played(given: Latency, jobs: list[tuple[str, str, int, int]]) -> Iterator[dict[str, object]]:
    """The row of each job, in order."""
    workers = min(given.workers or len(os.sched_getaffinity(0)), max(1, len(jobs)))
    if workers == 1:
        yield from (play(given, *job) for job in jobs)
        return
    from beingh_core.data.workers import in_order, pool_of, started

    with pool_of(workers) as pool:
        yield from in_order(started(pool, play, ((given, *job) for job in jobs)), 2 * workers)


_kept: dict = {}  # the player and the policies of this process


def play(given: Latency, checkpoint: str, method: str, delay: int, seed: int) -> dict[str, object]:
    """One row; the simulator and the models stay in memory."""
    from beingh_core.policy.loading import load_for_contract
    from beingh_core.suite.episode import Player

    if given.robot not in _kept:
        _kept[given.robot] = Player(load_contract(given.robot))
    player = _kept[given.robot]
    place = given.checkpoints[checkpoint]
    if (given.robot, place) not in _kept:
        _kept[given.robot, place] = load_for_contract(player.contract, place, threads=1)
    policy = _kept[given.robot, place]
    timing = Timing.of(player.contract, delay, given.jitter, policy.trained_delay)
    episode = player.play(policy, WAYS[method], timing, seed, given.seconds)
    told = {"checkpoint": checkpoint, "method": method, "delay": delay, "seed": seed, "lock": timing.lock}
    return told | {"trained_delay": policy.trained_delay} | dataclasses.asdict(episode)
