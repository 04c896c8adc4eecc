"""What the controller hands to those who send and publish.

Letters: J commanded columns, M planned ticks.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from beingh_core.control.setpoints import Setpoints


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
        before: (J,) command of the tick before.
        points: The tick's command and the committed ones after it, stamped with the time of the tick.
        plan: Everything from the next tick on.
        fresh: Whether nothing was sent before: the robot rests at `before`.
        stopping: Whether it is a tick of a stop.
    """

    before: np.ndarray
    points: Setpoints
    plan: Plan
    fresh: bool = False
    stopping: bool = False
