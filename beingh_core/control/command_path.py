"""The commanded path between ticks, for robots that take commands at a higher rate.

The command of tick n is to be reached one period after the tick, as with a trajectory. So from tick n on the path leads
from command n - 1 to command n: cubic, through both exactly, with velocities that are fixed before the path gets there.
What has been sampled never changes, and every change goes on from the newest sample: the path and its derivative are
continuous.

Where nothing more is committed, because a tick is late, the path brakes within the limits. When a tick comes after that,
the path blends into the committed rows within the limits; when a stop comes late, it brakes from the newest sample.

Letters: J commanded columns, T committed ticks.
"""

from __future__ import annotations

import math
import threading
from collections import deque

import numpy as np

from beingh_core.realtime.interpolation import cubic, point_velocities
from beingh_core.realtime.limits import JointLimits, brake, limit_forward

# Times that differ by less than this part of a period are the same tick.
SAME = 0.25
# A stop that comes later than this part of a period brakes from the newest sample: the rest of the period is too short.
LATE = 0.05
# Knots at times that differ by rounding [ns], and postures that do [rad or m].
ROUNDING_NS, ROUNDING = 10, 1e-6
# Periods that are remembered behind the newest sample: what the limits need.
REMEMBERED = 4
# What is left of the distance to other rows from one of them to the next, and the distance at which it is dropped.
NEARER, NEAR = 0.7, 1e-5
Knot = tuple[int, np.ndarray, np.ndarray]  # time [ns], position (J,), velocity (J,)


class CommandPath:
    """Committed points with their times. One thread extends it, another one samples it, forward in time.

    Args:
        limits: Limits of the columns, by which it brakes where it ends.
    """

    def __init__(self, limits: JointLimits) -> None:
        self._limits = limits
        self._lock = threading.Lock()
        self._dt_ns = 0.0
        self._knots: deque[Knot] = deque()
        self._sampled: Knot | None = None
        self._brake_ns: int | None = None  # the knots after that time are the path's own brake

    def extend(
        self,
        start_ns: int,
        dt_ns: float,
        before_J: np.ndarray,
        rows_TJ: np.ndarray,
        slopes_TJ: np.ndarray,
        *,
        fresh: bool = True,
        stopping: bool = False,
    ) -> None:
        """Take the committed ticks from one tick on; they replace those after it.

        Args:
            start_ns: Time of the tick [ns].
            dt_ns: One period [ns].
            before_J: (J,) command of the tick before it.
            rows_TJ: (T, J) its command and the committed ones after it.
            slopes_TJ: (T, J) velocities of the path there.
            fresh: Whether the robot rests at `before_J` if the path does not lead there; else the path goes on from
                where it is.
            stopping: Whether these rows brake.
        """
        with self._lock:
            self._dt_ns = dt_ns
            kept, sampled = self._up_to(start_ns, before_J), self._sampled
            under_way_ns = 0 if sampled is None else sampled[0] - start_ns
            changed = kept is not None and self._changes(start_ns, rows_TJ, under_way_ns)
            off = changed and under_way_ns > 0
            if sampled is None or (kept is None and fresh):
                if kept is None:
                    self._forget()
                    kept = [(start_ns, before_J, np.zeros(len(before_J)))]
            elif off and (fresh or (stopping and under_way_ns <= LATE * dt_ns)):
                kept = [sampled]
            elif kept is None or off:
                if not stopping:
                    self._blend(sampled, start_ns, before_J, rows_TJ)
                elif not self._brakes:
                    self._brake(sampled[0])
                return
            new = self._new_knots(start_ns, rows_TJ, slopes_TJ)
            self._knots = deque([*kept, *(knot for knot in new if knot[0] > kept[-1][0])])
            self._brake_ns = None

    def shift(self, step_ns: int) -> None:
        """Move all times with a clock that was set."""
        with self._lock:
            self._shift(step_ns)

    def hold_up(self, before_ns: int, longest_ns: float) -> None:
        """Note that nothing was sent until a time, if that is longer than so long [ns]: the path waits for its sender."""
        with self._lock:
            if self._sampled is not None and before_ns - self._sampled[0] > longest_ns:
                self._shift(before_ns - self._sampled[0])

    def clear(self) -> None:
        """Forget everything."""
        with self._lock:
            self._forget()

    @property
    def newest(self) -> Knot | None:
        """What was sampled newest; None before that."""
        with self._lock:
            return self._sampled

    @property
    def rest_ns(self) -> int | None:
        """Since when the path rests at its end [ns]; None while it may be extended before it gets there."""
        with self._lock:
            return self._knots[-1][0] if self._brakes else None

    @property
    def still(self) -> bool:
        """Whether what was sampled newest is the end of the path, or nothing was."""
        with self._lock:
            return self._sampled is None or (self._brakes and self._sampled[0] >= self._knots[-1][0])

    def sample(self, at_ns: int) -> tuple[np.ndarray, np.ndarray] | None:
        """Position (J,) and velocity (J,) at a time, the first point before the path; None without a path."""
        with self._lock:
            if not self._knots:
                return None
            position, velocity = self._at(at_ns)
            self._sampled = (at_ns, position, velocity)
            oldest_ns = at_ns - REMEMBERED * self._dt_ns
            while len(self._knots) > 2 and self._knots[1][0] <= oldest_ns:
                self._knots.popleft()
            return position, velocity

    def to_rest(self) -> list[Knot]:
        """The knots behind the newest sample up to rest, at least one; empty when nothing was sampled."""
        with self._lock:
            if self._sampled is None:
                return []
            if self._brake_ns is None:
                self._brake(self._knots[-1][0])
            later = [knot for knot in self._knots if knot[0] > self._sampled[0]]
            return later or [(self._sampled[0] + 1, self._knots[-1][1], np.zeros(len(self._sampled[1])))]

    @property
    def _brakes(self) -> bool:
        """Whether what was sampled newest is of the path's own brake."""
        return self._brake_ns is not None and self._sampled is not None and self._sampled[0] > self._brake_ns

    def _forget(self) -> None:
        self._knots = deque()
        self._sampled = self._brake_ns = None

    def _shift(self, step_ns: int) -> None:
        self._knots = deque((time_ns + step_ns, row, slope) for time_ns, row, slope in self._knots)
        if self._sampled is not None:
            self._sampled = (self._sampled[0] + step_ns, *self._sampled[1:])
        if self._brake_ns is not None:
            self._brake_ns += step_ns

    def _up_to(self, start_ns: int, before_J: np.ndarray) -> list[Knot] | None:
        """The knots up to the tick at `start_ns`; None where the path does not lead through `before_J` there."""
        same_ns = SAME * self._dt_ns
        kept = [knot for knot in self._knots if knot[0] <= start_ns + same_ns]
        joined = kept and start_ns - kept[-1][0] <= same_ns and np.array_equal(kept[-1][1], before_J)
        return kept if joined and not self._brakes else None

    def _changes(self, start_ns: int, rows_TJ: np.ndarray, under_way_ns: int) -> bool:
        """Whether a row that the path is under way to, or has led to, is another one; behind its end it holds its last."""
        known, last_J = self._known(start_ns), self._knots[-1][1]
        led_to = rows_TJ[: max(1, math.ceil(under_way_ns / self._dt_ns))]
        if 1 not in known:
            return True
        return any(not np.array_equal(known[i][0] if i in known else last_J, row) for i, row in enumerate(led_to, 1))

    def _known(self, start_ns: int) -> dict[int, tuple[np.ndarray, np.ndarray]]:
        """Committed row and velocity by the number of periods after a tick."""
        until_ns = math.inf if self._brake_ns is None else self._brake_ns
        return {
            round((time_ns - start_ns) / self._dt_ns): (row, slope)
            for time_ns, row, slope in self._knots
            if time_ns <= until_ns
        }

    def _new_knots(self, start_ns: int, rows_TJ: np.ndarray, slopes_TJ: np.ndarray) -> list[Knot]:
        """A point that is known already keeps its velocity: the path may have been sampled towards it."""
        known, knots = self._known(start_ns), []
        for step, (row, slope) in enumerate(zip(rows_TJ, slopes_TJ), start=1):
            before = known.get(step)
            if before is not None and np.array_equal(before[0], row):
                slope = before[1]
            knots.append((start_ns + round(step * self._dt_ns), row, slope))
        return knots

    def _blend(self, sampled: Knot, start_ns: int, before_J: np.ndarray, rows_TJ: np.ndarray) -> None:
        """From where the path is to other rows, within the limits: beside them at once, and nearer from row to row.

        Args:
            sampled: The newest sample.
            start_ns: Time of the tick [ns].
            before_J: (J,) where the path should be then.
            rows_TJ: (T, J) the rows from the tick on.
        """
        if self._brakes and np.abs(rows_TJ - self._knots[-1][1]).max() < ROUNDING:
            return  # it comes to rest there
        first = max(0, math.ceil((sampled[0] - start_ns) / self._dt_ns - LATE))
        if first >= len(rows_TJ):
            return
        at_ns = start_ns + round(first * self._dt_ns)
        past_3J, wanted = self._past(at_ns), rows_TJ[first:]
        beside_J = past_3J[2] - (rows_TJ[first - 1] if first else before_J)
        if np.abs(beside_J).max() > NEAR:
            wanted = wanted + beside_J * NEARER ** np.arange(1, len(wanted) + 1)[:, None]
        rows, _ = limit_forward(wanted, past_3J, self._limits, self._dt_ns / 1e9)
        self._replace_after(at_ns, past_3J, rows, onward=2 * rows[-1] - np.vstack([past_3J, rows])[-2])

    def _brake(self, from_ns: int) -> None:
        """Let the path brake from a time on."""
        past_3J = self._past(from_ns)
        rows = np.vstack([past_3J[-1:], brake(past_3J, self._limits, self._dt_ns / 1e9)])
        self._replace_after(from_ns, past_3J, np.vstack([rows[1:], rows[-1:]]), onward=rows[-1])
        self._brake_ns = from_ns

    def _past(self, at_ns: int) -> np.ndarray:
        """(3, J) the path two periods before a time, one period before it, and at it."""
        return np.array([self._at(at_ns - round(k * self._dt_ns))[0] for k in (2, 1, 0)])

    def _replace_after(self, at_ns: int, past_3J: np.ndarray, rows_TJ: np.ndarray, onward: np.ndarray) -> None:
        """Let the path lead from a time on to rows that are one period apart, and `onward` (J,) behind the last one.

        Points that it led to before keep their velocity.
        """
        dt_ns, known = self._dt_ns, self._known(at_ns)
        seam = (at_ns, *self._at(at_ns))
        if self._sampled is not None and at_ns < self._sampled[0] < at_ns + dt_ns:
            seam = self._sampled
        made = np.vstack([past_3J[-1:], rows_TJ, onward])
        slopes = point_velocities(made[:-2], made[1:-1], made[2:], self._limits, dt_ns / 1e9)
        new = []
        for step, (row, slope) in enumerate(zip(rows_TJ, slopes), start=1):
            same = step in known and np.array_equal(known[step][0], row)
            new.append((at_ns + round(step * dt_ns), row, known[step][1] if same else slope))
        kept = [knot for knot in self._knots if knot[0] < seam[0]]
        self._knots = deque([*kept, seam, *(knot for knot in new if knot[0] > seam[0])])
        self._brake_ns = None

    def _at(self, at_ns: int) -> tuple[np.ndarray, np.ndarray]:
        """Position and velocity at a time."""
        if at_ns > self._knots[-1][0] and self._brake_ns is None:
            self._brake(self._knots[-1][0])
        after = next((i for i, knot in enumerate(self._knots) if knot[0] >= at_ns - ROUNDING_NS), None)
        if after is None:
            return self._knots[-1][1], np.zeros(len(self._knots[-1][1]))
        if after == 0 or abs(self._knots[after][0] - at_ns) <= ROUNDING_NS:
            return self._knots[after][1:]
        return _between(self._knots[after - 1], self._knots[after], at_ns)


def _between(left: Knot, right: Knot, at_ns: int) -> tuple[np.ndarray, np.ndarray]:
    """Position and velocity of the piece between two knots."""
    (start_ns, start, start_velocity), (end_ns, end, end_velocity) = left, right
    return cubic((at_ns - start_ns) / 1e9, (end_ns - start_ns) / 1e9, start, end, start_velocity, end_velocity)
