"""What the joint states tell about the joints that are commanded. No ROS here."""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Mapping

import numpy as np

from beingh_core.contract import RobotContract
from beingh_ros.stop_causes import JOINT_STATES_INVALID, JOINT_STATES_SILENT

# At rest: for REST_S, each joint either reports at most REST_SPEED or stays within what that speed would travel.
REST_S = 0.2
REST_SPEED = 0.05  # [rad/s or m/s]

NOT_AT_REST = "waiting for the robot to be at rest"

# A measured position may lie this far outside the limits (sensor noise at an end stop) [rad or m].
START_TOLERANCE = 0.01

Problem = tuple[str, str]  # cause, reason


def start_position(contract: RobotContract, measured_J: np.ndarray) -> tuple[np.ndarray, str]:
    """Where to start from a measured posture (J,), and why that is impossible ("" when it is not)."""
    limits = contract.limits
    start = np.clip(measured_J, limits.lower, limits.upper)
    outside = np.abs(start - measured_J) > START_TOLERANCE
    if not outside.any():
        return start, ""
    joint = int(np.argmax(outside))
    return start, (
        f"{contract.joint_names[joint]} is at {measured_J[joint]:.3f}, outside its limits "
        f"{limits.lower[joint]:.3f} to {limits.upper[joint]:.3f}"
    )


class MeasuredJoints:
    """The newest position of each wanted joint. Not thread-safe.

    Args:
        joints: Wanted joint names.
        max_age_s: A joint not heard of for longer is missing [s].
        topics: Where they come from, for messages.
    """

    def __init__(self, joints: tuple[str, ...], max_age_s: float, topics: str) -> None:
        self._joints, self._max_age_ns, self._topics = joints, max_age_s * 1e9, topics
        self._newest: dict[str, tuple[int, float]] = {}
        self._velocity: dict[str, float] = {}
        self._recent: deque[tuple[int, np.ndarray, np.ndarray]] = deque()

    def update(
        self, now_ns: int, positions: Mapping[str, float], velocities: Mapping[str, float] | None = None
    ) -> None:
        """Note one message; it may hold any joints, and velocities or none."""
        self._newest.update((name, (now_ns, positions[name])) for name in self._joints if name in positions)
        if velocities:
            self._velocity.update((name, velocities[name]) for name in self._joints if name in velocities)

    def forget(self) -> None:
        """Drop everything, so that only later messages count."""
        self._newest.clear()
        self._velocity.clear()
        self._recent.clear()

    def shift(self, step_ns: int) -> None:
        """Move all times with a clock that was set by `step_ns` [ns]."""
        self._newest = {name: (stamp_ns + step_ns, value) for name, (stamp_ns, value) in self._newest.items()}
        self._recent.clear()

    def invalid(self) -> Problem | None:
        """(cause, reason) when a position is no number."""
        bad = [name for name, (_, value) in self._newest.items() if not math.isfinite(value)]
        if not bad:
            return None
        return (
            JOINT_STATES_INVALID,
            f"joint states on {self._topics} hold {self._newest[bad[0]][1]} for {', '.join(bad)}",
        )

    def problem(self, now_ns: int) -> Problem | None:
        """(cause, reason) why the positions cannot be used now, None when they can."""
        invalid = self.invalid()
        if invalid:
            return invalid
        late = [n for n in self._joints if n not in self._newest or now_ns - self._newest[n][0] > self._max_age_ns]
        return (JOINT_STATES_SILENT, f"no fresh joint states on {self._topics} of {', '.join(late)}") if late else None

    def oldest_ns(self) -> int:
        """When the joint that was heard of longest ago was measured [ns]."""
        return min(stamp_ns for stamp_ns, _ in self._newest.values())

    def positions(self) -> np.ndarray:
        """(J,) newest positions [rad or m]."""
        return np.array([self._newest[name][1] for name in self._joints])

    def moving(self, now_ns: int) -> str | None:
        """Why the robot does not count as being at rest, None when it does; call it after every message."""
        velocities = np.array([self._velocity.get(name, math.inf) for name in self._joints])
        if self._recent and self._recent[-1][0] > now_ns:
            self._recent.clear()
        self._recent.append((now_ns, self.positions(), np.abs(velocities)))
        while len(self._recent) > 2 and self._recent[1][0] <= now_ns - REST_S * 1e9:
            self._recent.popleft()
        if now_ns - self._recent[0][0] < REST_S * 1e9:
            return NOT_AT_REST
        positions_TJ = np.array([positions for _, positions, _ in self._recent])
        reported = np.array([speeds for _, _, speeds in self._recent]).max(axis=0)
        travelled = np.ptp(positions_TJ, axis=0) / ((now_ns - self._recent[0][0]) / 1e9)
        speed = np.fmin(reported, travelled)
        joint = int(np.argmax(speed))
        if speed[joint] > REST_SPEED:
            return f"{NOT_AT_REST}: {self._joints[joint]} moves at {speed[joint]:.2f} per second"
        return None
