"""What the controller hands to those who send and publish, once a tick."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from beingh_core.control.setpoints import Setpoints


@dataclass(frozen=True, kw_only=True, eq=False)
class TickOutput:
    """What one tick sends and publishes.

    Attributes:
        before: (J,) command of the tick before.
        points: The tick's command and the committed ones after it, stamped with the time of the tick.
        plan: Everything from the next tick on, in an epoch.
        fresh: Whether nothing was sent before: the robot rests at `before`.
        stopping: Whether it is a tick of a stop.
    """

    before: np.ndarray
    points: Setpoints
    plan: Setpoints
    fresh: bool = False
    stopping: bool = False
