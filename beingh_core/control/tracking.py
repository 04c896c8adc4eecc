"""Whether the robot follows its commands."""

from __future__ import annotations

from collections import deque

import numpy as np

from beingh_core.contract import RobotContract
from beingh_core.contract.turns import endless_joints, nearest_turn
from beingh_core.control.measured_joints import MeasuredJoints, Problem
from beingh_core.control.stop_causes import TRACKING_ERROR

# Half a tick, at most this share of `tracking_time_s`, is "shortly before".
SLACK = 0.25


class TrackingWatch:
    """Compares measured positions with the commands of the last while. Not thread-safe.

    A robot follows with a delay, so a joint is in order anywhere between the smallest and the largest command of the
    last `tracking_delay_s`, give or take `tracking_error`; it may be out of that for `tracking_time_s`, counted from the
    first joint state that shows it. A check shortly before that time is up decides: the next one would be a tick late.
    Only as long a time in order ends the count: among samples that are now in order and now not, some are wrong. Of
    joints that turn without end, whole turns do not count.

    Args:
        contract: Robot; its `watchdog`.
    """

    def __init__(self, contract: RobotContract) -> None:
        watchdog = contract.watchdog
        self._names = contract.joint_names
        self._allowed = np.array(watchdog.tracking_error)
        self._endless = endless_joints(contract)
        self._watched = bool(np.isfinite(self._allowed).any())
        self._delay_ns = watchdog.tracking_delay_s * 1e9
        time_s = watchdog.tracking_time_s
        self._patience_ns = (time_s - min(contract.dt_s / 2, SLACK * time_s)) * 1e9
        self._commands: deque[tuple[int, np.ndarray]] = deque()
        self._bad_since_ns: int | None = None
        self._good_since_ns: int | None = None
        self.worst = 0.0

    def begin(self, position_J: np.ndarray) -> None:
        """Start anew with a robot that was commanded to `position_J` (J,)."""
        self._commands.clear()
        self._commands.append((-(2**62), position_J))
        self._bad_since_ns = self._good_since_ns = None

    def commanded(self, at_ns: int, position_J: np.ndarray) -> None:
        """Note a command (J,) that is to be reached at a time."""
        self._commands.append((at_ns, position_J))

    def problem(self, now_ns: int, measured_ns: int, measured_J: np.ndarray) -> str | None:
        """Why the robot does not follow, None when it does. To be asked with every joint state and at every tick.

        Args:
            now_ns: Time of the check [ns].
            measured_ns: Time of the measurement [ns]; what was commanded later says nothing about it.
            measured_J: (J,) newest positions; those of joints that are not watched may be NaN.
        """
        if not self._watched or not self._commands:
            return None
        since_ns = measured_ns - self._delay_ns
        while len(self._commands) > 1 and self._commands[1][0] <= since_ns:
            self._commands.popleft()
        # The first one behind the measurement counts: the joints were on the way to it.
        until = next((n for n, (at_ns, _) in enumerate(self._commands) if at_ns > measured_ns), len(self._commands))
        rows_TJ = np.array([row for _, row in self._commands][: until + 1])
        least, most = rows_TJ.min(axis=0), rows_TJ.max(axis=0)
        near_J = nearest_turn(measured_J, 0.5 * (least + most), self._endless)
        with np.errstate(over="ignore", invalid="ignore"):
            excess = np.maximum(least - near_J, near_J - most)
            share = excess / self._allowed
        joint = int(np.nanargmax(share))
        self.worst = max(0.0, float(share[joint]))
        if not share[joint] > 1.0:
            if self._good_since_ns is None:
                self._good_since_ns = now_ns
            if now_ns - self._good_since_ns >= self._patience_ns:
                self._bad_since_ns = None
            return None
        self._good_since_ns = None
        if self._bad_since_ns is None:
            self._bad_since_ns = now_ns
        if now_ns - self._bad_since_ns < self._patience_ns:
            return None
        return (
            f"{self._names[joint]} is at {measured_J[joint]:.4g}, {excess[joint]:.4g} away from its commands "
            f"of the last {self._delay_ns / 1e9:g} s (allowed: {self._allowed[joint]:g})"
        )


def following_problem(tracking: TrackingWatch | None, measured: MeasuredJoints, now_ns: int) -> Problem | None:
    """(cause, reason) why the measured joints cannot be those of a robot that follows; without a watch, only jumps."""
    if tracking is not None:
        reason = tracking.problem(now_ns, measured.oldest_ns(), measured.row())
        if reason:
            clocks = measured.clock_difference()[1]
            return TRACKING_ERROR, f"{reason}; {clocks}" if clocks else reason
    return measured.jumped(now_ns)
