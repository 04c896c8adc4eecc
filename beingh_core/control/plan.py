"""What the controller hands to those who send and publish.

Letters: J commanded columns, T committed ticks, M planned ticks.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True, kw_only=True, eq=False)
class Plan:
    """What will be sent: (M, J) `positions` of the tick at `stamp_ns` [ns] and those after it, in an epoch."""

    epoch: str
    stamp_ns: int
    positions: np.ndarray


@dataclass(frozen=True, kw_only=True, eq=False)
class TickOutput:
    """What one tick sends and tells.

    Attributes:
        stamp_ns: Time of the tick [ns].
        before: (J,) command of the tick before.
        committed: (T, J) the tick's command and the committed ones after it.
        velocities: (T, J) of the commanded path at these [1/s].
        plan: Everything from the next tick on.
        fresh: Whether nothing was sent before: the robot rests at `before`.
        stopping: Whether it is a tick of a stop.
    """

    stamp_ns: int
    before: np.ndarray
    committed: np.ndarray
    velocities: np.ndarray
    plan: Plan
    fresh: bool = False
    stopping: bool = False
