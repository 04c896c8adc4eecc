"""What a gripper's controller does with a goal, for the simulator: a reference, and the end of the goal.

Behaviour of parallel_gripper_action_controller and position_controllers/GripperActionController (Jazzy) with their own
defaults: a goal is reached within `TOLERANCE`; fingers slower than `STILL` for `STALL_NS` have stalled; whatever the end, the
reference stays at the goal, so that what is held stays held.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np

TOLERANCE = 0.01  # [rad or m]
STILL = 0.001  # [rad/s or m/s]
STALL_NS = 1_000_000_000
RUNNING, REACHED, STALLED, BROKEN_OFF = "running", "reached", "stalled", "broken off"


class GripperState(NamedTuple):
    """Where the fingers are in the goal with this number.

    `position` [rad or m], `effort` [N m or N], `outcome` one of the words above.
    """

    number: int
    outcome: str
    position: float
    effort: float


class GripperFollower:
    """Reference generator of one gripper's controller. One thread; `state` may be read from any.

    Args:
        joint: its joint.
        position: where it stands [rad or m].
        limits: least and largest position, beyond which no reference goes.
        speed: of a goal that names none [rad/s or m/s].
        tolerance: how near the goal is reached [rad or m].
        stall_ns: fingers that have stood still for so long have stalled.
    """

    def __init__(
        self,
        joint: str,
        position: float,
        *,
        limits: tuple[float, float],
        speed: float,
        tolerance: float = TOLERANCE,
        stall_ns: int = STALL_NS,
    ) -> None:
        self.joints = (joint,)
        self._limits, self._speed, self._tolerance, self._stall_ns = limits, speed, tolerance, stall_ns
        self.state = GripperState(0, BROKEN_OFF, position, 0.0)
        self.reset(np.array([position]))

    def reset(self, positions: np.ndarray) -> None:
        """Hold `positions` (1,); a goal that runs is broken off."""
        self._from = self._goal = float(positions[0])
        self._from_ns, self._moved_ns, self._rate = 0, 0, self._speed
        if self.state.outcome == RUNNING:
            self.state = self.state._replace(outcome=BROKEN_OFF)

    def go(self, number: int, goal: float, now_ns: int, speed: float = 0.0) -> None:
        """Begin a goal [rad or m], at a speed [rad/s or m/s] or at its own where that is 0."""
        self._from = float(self.sample(now_ns)[0])
        self._goal, self._from_ns, self._moved_ns = goal, now_ns, now_ns
        self._rate = speed if math.isfinite(speed) and speed > 0.0 else self._speed
        self.state = self.state._replace(number=number, outcome=RUNNING)

    def stop(self, number: int) -> None:
        """Break off the goal with this number, or the one before it where that still runs: the fingers stay where they are."""
        if self.state.outcome == RUNNING and self.state.number <= number:
            self.reset(np.array([self.state.position]))

    def sample(self, now_ns: int) -> np.ndarray:
        """Desired position (1,) at a time [rad or m]."""
        goal = min(max(self._goal, self._limits[0]), self._limits[1])
        way = goal - self._from
        gone = self._rate * max(0, now_ns - self._from_ns) / 1e9
        return np.array([goal if gone >= abs(way) else self._from + math.copysign(gone, way)])

    def watch(self, position: float, velocity: float, effort: float, now_ns: int) -> None:
        """Take what is measured and judge the goal."""
        outcome = self.state.outcome
        if outcome == RUNNING:
            if abs(velocity) > STILL:
                self._moved_ns = now_ns
            if abs(position - self._goal) < self._tolerance:
                outcome = REACHED
            elif now_ns - self._moved_ns > self._stall_ns:
                outcome = STALLED
        self.state = GripperState(self.state.number, outcome, position, effort)
