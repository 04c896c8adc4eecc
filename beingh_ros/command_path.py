"""The commanded path between ticks, for robots that take commands at a higher rate. No ROS here.

The command of tick n is to be reached one period after the tick, as with a trajectory. So from tick n on the path leads
from command n - 1 to command n: cubic, through both exactly, with velocities that are fixed before the path gets there.
It never goes past what is committed, and what has been sampled never changes: where a stop changes the piece under way,
the new one continues from the newest sample. So the path and its derivative are continuous.

Letters: J commanded columns, T committed ticks.
"""

from __future__ import annotations

import threading
from collections import deque

import numpy as np

from beingh_core.realtime.interpolation import Piece
from beingh_core.realtime.limits import JointLimits

# Times that differ by less than this part of a period are the same tick.
SAME = 0.25
Knot = tuple[int, np.ndarray, np.ndarray]  # time [ns], position (J,), velocity (J,)


class CommandPath:
    """Committed points with their times. One thread extends it, another one samples it, forward in time.

    Args:
        limits: Limits of the columns; a base's velocity falls to 0 by its acceleration where the path ends.
    """

    def __init__(self, limits: JointLimits) -> None:
        self._limits = limits
        self._lock = threading.Lock()
        self._knots: deque[Knot] = deque()
        self._sampled: Knot | None = None

    def extend(self, start_ns: int, dt_ns: float, before_J: np.ndarray, rows_TJ: np.ndarray, slopes_TJ: np.ndarray):
        """Take the committed ticks from one tick on; they replace those after it.

        Args:
            start_ns: Time of the tick [ns].
            dt_ns: One period [ns].
            before_J: (J,) command of the tick before it.
            rows_TJ: (T, J) its command and the committed ones after it.
            slopes_TJ: (T, J) velocities of the path there.
        """
        times = [start_ns + round((i + 1) * dt_ns) for i in range(len(rows_TJ))]
        same_ns = SAME * dt_ns
        with self._lock:
            kept = [knot for knot in self._knots if knot[0] <= start_ns + same_ns]
            if not kept or start_ns - kept[-1][0] > same_ns or not np.array_equal(kept[-1][1], before_J):
                kept, self._sampled = [(start_ns, before_J, np.zeros(len(before_J)))], None
            known = {round((time_ns - start_ns) / dt_ns): (row, slope) for time_ns, row, slope in self._knots}
            new = [self._knot(known, i + 1, *knot) for i, knot in enumerate(zip(times, rows_TJ, slopes_TJ))]
            first, sampled = known.get(1), self._sampled
            changed = first is None or not np.array_equal(first[0], rows_TJ[0])
            if changed and sampled is not None and start_ns + same_ns < sampled[0]:
                kept = [sampled]
            self._knots = deque([*kept[-2:], *(knot for knot in new if knot[0] > kept[-1][0])])

    def shift(self, step_ns: int) -> None:
        """Move all times with a clock that was set."""
        with self._lock:
            self._knots = deque((time_ns + step_ns, row, slope) for time_ns, row, slope in self._knots)
            if self._sampled is not None:
                self._sampled = (self._sampled[0] + step_ns, *self._sampled[1:])

    def clear(self) -> None:
        """Forget everything."""
        with self._lock:
            self._knots.clear()
            self._sampled = None

    @property
    def end_ns(self) -> int | None:
        """Time of the last committed point [ns], None without one."""
        with self._lock:
            return self._knots[-1][0] if self._knots else None

    def sample(self, at_ns: int) -> tuple[np.ndarray, np.ndarray] | None:
        """Position (J,) and velocity (J,) at a time, the first point before the path; None without a path."""
        with self._lock:
            if not self._knots:
                return None
            knots = self._knots
            while len(knots) > 2 and knots[1][0] <= at_ns and knots[2][0] <= at_ns:
                knots.popleft()
            after = next((i for i, knot in enumerate(knots) if knot[0] >= at_ns), None)
            if after is None:
                position, velocity = self._past_the_end(knots[-1], at_ns)
            elif knots[after][0] == at_ns or after == 0:
                position, velocity = knots[after][1:]
            else:
                position, velocity = _cubic(knots[after - 1], knots[after], at_ns)
            self._sampled = (at_ns, position, velocity)
            return position, velocity

    @staticmethod
    def _knot(known: dict, step: int, time_ns: int, row: np.ndarray, slope: np.ndarray) -> Knot:
        """A point that is known already keeps its velocity: the path may have been sampled towards it."""
        before = known.get(step)
        return time_ns, row, before[1] if before is not None and np.array_equal(before[0], row) else slope

    def _past_the_end(self, last: Knot, at_ns: int) -> tuple[np.ndarray, np.ndarray]:
        """Nothing more is committed: joints hold, a base brakes."""
        time_ns, row, _ = last
        limits = self._limits
        fallen = np.maximum(np.abs(row) - limits.acceleration * (at_ns - time_ns) / 1e9, 0.0)
        return np.where(limits.is_velocity, np.copysign(fallen, row), row), np.zeros(len(row))


def _cubic(left: Knot, right: Knot, at_ns: int) -> tuple[np.ndarray, np.ndarray]:
    """Position and velocity of the piece between two knots."""
    (start_ns, start, start_velocity), (end_ns, end, end_velocity) = left, right
    piece = Piece(
        tick=0,
        epoch="",
        dt_s=(end_ns - start_ns) / 1e9,
        start=start,
        end=end,
        start_velocity=start_velocity,
        end_velocity=end_velocity,
    )
    return piece.at((at_ns - start_ns) / 1e9)
