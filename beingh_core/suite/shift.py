"""`beingh suite shift`: told picks while the cameras show something else, by passes of MPG and Euler steps."""

from __future__ import annotations

import dataclasses
from pathlib import Path

from beingh_core.suite.joining import Timing, Uac
from beingh_core.suite.running import player_of, policy_of, rows_of
from beingh_core.suite.shift_plan import Shifted, variant
from beingh_core.suite.shift_report import write
from beingh_core.suite.shifts import Shift

KEYS = ("checkpoint", "mpg", "steps", "shift", "seed")


def run(given: Shifted) -> Path:
    """Plays what is missing and writes the report; returns its folder.

    Raises:
        BeingHError: See `Shifted` and `Journal`.
    """
    contract = given.check()
    write(given, contract, rows_of(given, contract, KEYS, play))
    return given.out


def play(given: Shifted, checkpoint: str, mpg: str, steps: int, shift: str, seed: int) -> dict[str, object]:
    """One row; the simulator and the models stay in memory, one for each variant."""
    player = player_of(given.robot)
    policy = policy_of(given.robot, given.checkpoints[checkpoint], **variant(mpg, steps))
    policy.observe_gates = True
    timing = Timing.of(player.contract, given.ticks(player.contract), 0, policy.trained_delay)
    episode = player.play(policy, Uac, timing, seed, given.seconds, Shift.read(shift), given.cameras)
    told = dict(zip(KEYS, (checkpoint, mpg, steps, shift, seed)))
    return told | {"lock": timing.lock} | dataclasses.asdict(episode)
