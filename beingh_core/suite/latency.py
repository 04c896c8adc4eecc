"""`beingh suite latency`: told picks under an injected delay, by ways of joining chunks."""

from __future__ import annotations

import dataclasses
from pathlib import Path

from beingh_core.suite.joining import WAYS, Timing
from beingh_core.suite.latency_plan import Latency
from beingh_core.suite.latency_report import write
from beingh_core.suite.running import player_of, policy_of, rows_of

KEYS = ("checkpoint", "method", "delay", "seed")


def run(given: Latency) -> Path:
    """Plays what is missing and writes the report; returns its folder.

    Raises:
        BeingHError: See `Latency` and `Journal`.
    """
    contract = given.check()
    write(given, contract, rows_of(given, contract, KEYS, play))
    return given.out


def play(given: Latency, checkpoint: str, method: str, delay: int, seed: int) -> dict[str, object]:
    """One row; the simulator and the models stay in memory."""
    player, policy = player_of(given.robot), policy_of(given.robot, given.checkpoints[checkpoint])
    timing = Timing.of(player.contract, delay, given.jitter, policy.trained_delay)
    episode = player.play(policy, WAYS[method], timing, seed, given.seconds)
    told = {"checkpoint": checkpoint, "method": method, "delay": delay, "seed": seed, "lock": timing.lock}
    return told | {"trained_delay": policy.trained_delay} | dataclasses.asdict(episode)
