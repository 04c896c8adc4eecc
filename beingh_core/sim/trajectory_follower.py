"""What joint_trajectory_controller (Jazzy) does with a topic message, for the simulator.

Behaviour: a new trajectory replaces the running one at once; its first segment starts from the last
desired positions (`interpolate_from_desired_state: true`); positions are interpolated linearly; the last
point is held; a message it cannot take is dropped and the sender is not told.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np


class TrajectoryFollower:
    """Reference generator of one controller. Not thread-safe.

    Args:
        joints: J joint names of the controller.
        positions: (J,) where the reference starts [rad or m].
    """

    def __init__(self, joints: Sequence[str], positions: np.ndarray) -> None:
        self.joints = tuple(joints)
        self.reset(positions)

    def reset(self, positions: np.ndarray) -> None:
        """Forget the trajectory and hold `positions` (J,)."""
        self.desired = np.array(positions, dtype=float)
        self.moves = False  # whether a trajectory has not come to its end yet
        self._times_ns = np.zeros(0, dtype=np.int64)
        self._points_TJ = np.zeros((0, len(self.joints)))

    def refusal(
        self, joints: Sequence[str], positions_TJ: np.ndarray, times_ns: np.ndarray, stamp_ns: int, now_ns: int
    ) -> str | None:
        """Why the controller would drop this message, None when it would not."""
        if not joints:
            return "Empty joint names on incoming trajectory"
        unknown = [name for name in joints if name not in self.joints]
        if unknown:
            return f"Incoming joint {unknown[0]} doesn't match the controller's joints"
        if len(joints) != len(self.joints) or len(set(joints)) != len(joints):
            return (
                f"Joints on incoming trajectory don't match the controller joints ({len(joints)} of {len(self.joints)})"
            )
        if not len(positions_TJ):
            return "Empty trajectory received"
        if np.any(np.diff(times_ns) <= 0) or times_ns[0] < 0:
            return "Time between points is not strictly increasing"
        if not np.isfinite(positions_TJ).all():
            return "Trajectory holds a position that is not a number"
        if stamp_ns and stamp_ns + int(times_ns[-1]) < now_ns:
            return f"Received trajectory ends in the past, {(now_ns - stamp_ns - int(times_ns[-1])) / 1e9:.3f} s ago"
        return None

    def accept(
        self, joints: Sequence[str], positions_TJ: np.ndarray, times_ns: np.ndarray, stamp_ns: int, now_ns: int
    ) -> str | None:
        """Take a trajectory from `now_ns` on, or return why it is dropped.

        Args:
            joints: Names in the message's order.
            positions_TJ: (T, J) [rad or m].
            times_ns: (T,) time of each point after the stamp [ns].
            stamp_ns: Start time [ns]; 0 means now.
            now_ns: Present time [ns].
        """
        reason = self.refusal(joints, positions_TJ, times_ns, stamp_ns, now_ns)
        if reason is not None:
            return reason
        order = [list(joints).index(name) for name in self.joints]
        start = self.sample(now_ns)
        self.moves = True
        self._times_ns = np.concatenate([[now_ns], (stamp_ns or now_ns) + np.asarray(times_ns, dtype=np.int64)])
        self._points_TJ = np.vstack([start, np.asarray(positions_TJ)[:, order]])
        return None

    def sample(self, now_ns: int) -> np.ndarray:
        """Desired positions (J,) at `now_ns` [rad or m]; `now_ns` never goes back between calls."""
        times = self._times_ns
        if times.size:
            after = int(np.searchsorted(times[1:], now_ns, side="right")) + 1
            if after >= times.size:
                self.desired, self.moves = self._points_TJ[-1].copy(), False
            else:
                before = after - 1
                share = (now_ns - times[before]) / (times[after] - times[before])
                low, high = self._points_TJ[before], self._points_TJ[after]
                self.desired = low + (high - low) * share
        return self.desired
