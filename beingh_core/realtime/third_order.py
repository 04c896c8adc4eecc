"""Following targets within position, velocity, acceleration and jerk limits, in units of one tick.

A state is the position q, v and a of the newest row. It is *safe* when the stop from it (`stopping`) breaks no limit.
Every row made here is safe. Three parts:

* A target row is taken as it is while it keeps all limits and leaves a safe state.
* Otherwise the joint goes after the targets: of the accelerations that the jerk allows it takes the one after which a
  stop, seen from the moving target, would end on the target. It returns to the targets as soon as the next three can
  be met exactly (three rows fix a state).
* Closed formulas steer; the safety of every row is then found by playing its stop. A joint of which a row were not
  safe is steered again with that check at every row: the nearest safe row stands in, and the joint goes on.

Letters: K rows, J joints, B further axes.
"""

from __future__ import annotations

from dataclasses import replace
from functools import lru_cache

import numpy as np

from beingh_core.realtime.stopping import (
    FAR,
    NUMBERS,
    SLACK,
    Numbers,
    TickLimits,
    brake_step,
    reach,
    reach_in_gains,
    state_of,
)

# Rows of the window that smooths targets which cannot be followed, and rows ahead that tell how fast they may be.
WINDOW, AHEAD = 7, 3
# How much longer than that of its spline a stop may be [jerk]; and how near to a limit a goal is on it.
AT_TARGETS, AT_LIMITS, NEAR_LIMIT = 0.5, 1.0, 2.0
# Of the way from the next row of a stop to the wanted one, what is tried where that is not safe.
PARTS = np.linspace(1.0, 0.0, 17)[1:, None]


def stop_distance(v: np.ndarray, a: np.ndarray, A: np.ndarray, n: Numbers = NUMBERS) -> np.ndarray:
    """How far a continuous motion with jerk 1 goes until it rests at its full deceleration A; (B, J).

    With w = v + a^2 / 2, the velocity at which the acceleration passes 0 on its way down (or did so), the stop is the
    symmetric one from (w, 0), of duration w / c + c for a peak deceleration c = min(sqrt(w), A), and the way from
    (v, a) to there, a v + a^3 / 3. Mirrored where the stop takes a positive acceleration.
    """
    half = a * a * n.half
    sign = np.copysign(n.one, np.copysign(half, a) + v)
    v, a = v * sign, a * sign
    w = v + half
    peak = np.minimum(np.sqrt(np.maximum(w, n.tiny)), A)
    return sign * (n.half * w * (w / peak + peak) + a * (v + half * n.two_thirds))


def follow(targets_KJ: np.ndarray, past_3J: np.ndarray, limits: TickLimits) -> np.ndarray:
    """Rows (K, J) that follow targets as the module says.

    Args:
        targets_KJ: (K, J) wanted rows, none beyond the limits and the start.
        past_3J: the three rows before them, oldest first.
        limits: the limits.
    """
    rows_KJ = targets_KJ.copy()
    feasible = feasible_rows(targets_KJ, past_3J, limits)
    columns = np.flatnonzero(~feasible.all(axis=0))
    if columns.size:
        part = limits if columns.size == rows_KJ.shape[1] else limits.columns(columns)
        past, targets = past_3J[:, columns], targets_KJ[:, columns]
        chased = _Chase(targets, past, part).rows(feasible[:, columns])
        unsafe = np.flatnonzero(~feasible_rows(chased, past, part).all(axis=0))
        if unsafe.size:
            few, past = part.columns(unsafe), past[:, unsafe]
            chased[:, unsafe] = _Chase(targets[:, unsafe], past, few).rows(feasible[:, columns[unsafe]], guarded=True)
        rows_KJ[:, columns] = chased
    return rows_KJ


def feasible_rows(rows_KJ: np.ndarray, past_3J: np.ndarray, limits: TickLimits) -> np.ndarray:
    """Whether each row, after the rows before it, keeps every limit and is safe; (K, J) bool."""
    path = np.concatenate([past_3J, rows_KJ])
    loose = limits.loose(path[2:])
    v = path[1:] - path[:-1]
    a = v[1:] - v[:-1]
    j = a[1:] - a[:-1]
    v, a = v[2:], a[1:]
    within = (
        (np.abs(v) <= loose.velocity)
        & (np.abs(a) <= loose.acceleration)
        & (np.abs(j) <= loose.jerk)
        & (rows_KJ <= loose.upper)
        & (rows_KJ >= loose.lower)
    )
    return within & _safe(rows_KJ, v, a, loose, within)


def _safe(q: np.ndarray, v: np.ndarray, a: np.ndarray, limits: TickLimits, asked: np.ndarray) -> np.ndarray:
    """Which of the states (K, J) that are asked for stop within the limits of velocity and position."""
    J = limits.jerk
    asked = asked & _peaks_within(v / J, a / J, limits.velocity / J)
    return asked & _stops_inside(q, v, a, limits, asked)


def _peaks_within(v: np.ndarray, a: np.ndarray, V: np.ndarray) -> np.ndarray:
    """Whether a stop with jerk 1 keeps the velocity limit where it has taken the acceleration back to 0."""
    push, speed = np.abs(a), v * np.sign(a)
    return push <= reach(V - speed + push, 1.0) + SLACK * V


def _stops_inside(q: np.ndarray, v: np.ndarray, a: np.ndarray, limits: TickLimits, asked: np.ndarray) -> np.ndarray:
    """Whether the stops from states (K, J) stay inside the position limits."""
    A, J = limits.acceleration, limits.jerk
    forward = np.stack([v, -v]).clip(min=0.0)
    push = np.stack([a, -a]).clip(min=0.0)
    bound = J * stop_distance((forward + push) / J, push / J, A / J) + forward + push  # generous by a tick
    near = asked & ((bound[0] > limits.upper - q) | (bound[1] > q - limits.lower))
    inside = np.ones(q.shape, dtype=bool)
    if near.any():
        joint = np.nonzero(near)[1]
        lowest, highest = _extent_of_stop(q[near], v[near], a[near], A[joint], J[joint])
        inside[near] = (highest <= limits.upper[joint]) & (lowest >= limits.lower[joint])
    return inside


def _extent_of_stop(
    q: np.ndarray, v: np.ndarray, a: np.ndarray, A: np.ndarray, J: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Lowest and highest position while stopping, played tick by tick; all (N,)."""
    lowest, highest = q, q
    while v.any() or (np.abs(a) > J).any():
        step = brake_step(v, a, A, J)
        a, v = step - v, step
        q = q + v
        lowest, highest = np.minimum(lowest, q), np.maximum(highest, q)
    return lowest, highest


class _Chase:
    """Goes after targets of which some are not feasible; in units of the jerk limit, so that it is 1.

    Args:
        targets_KJ: (K, J) wanted rows, none beyond the limits and the start.
        past_3J: the three rows before them.
        limits: the limits.
    """

    def __init__(self, targets_KJ: np.ndarray, past_3J: np.ndarray, limits: TickLimits) -> None:
        self._jerk = jerk = limits.jerk * (1.0 - SLACK)
        # Rows must be safe by whatever rounding: by half of what a check of positions forgives, with strict stops.
        self._loose = replace(limits.loose(past_3J[2:], 0.5), acceleration=limits.acceleration, jerk=limits.jerk)
        self._full_A, self._full_jerk = limits.acceleration / jerk, limits.jerk / jerk
        self._targets_KJ = targets_KJ
        self._state = [values / jerk for values in state_of(past_3J)]
        V = np.minimum(limits.velocity / jerk * (1.0 - SLACK), FAR)
        A = limits.acceleration / jerk * (1.0 - SLACK)
        self._goal = goal = self._targets_KJ / jerk
        self._lower, self._upper = limits.lower / jerk, limits.upper / jerk
        self._V = V
        K, J = goal.shape
        # Beyond the end it goes on evenly, so that the last rows can be met as well.
        last = goal[-1] - goal[-2] if K > 1 else np.zeros(J)
        self._next_v = np.concatenate([goal[1:] - goal[:-1], [last, last]])  # from row k to k + 1
        self._next_a = self._next_v[1:] - self._next_v[:-1]  # of row k + 2
        v_fits, a_fits = np.abs(self._next_v) <= V, np.abs(self._next_a) <= A
        self._landable = v_fits[:-1] & v_fits[1:] & a_fits & _peaks_within(self._next_v[1:], self._next_a, V)
        self._somewhere_landable = self._landable.any(axis=1)
        ones = np.ones(J)
        self._gaps, self._gap_bounds = np.empty((6, J)), np.stack([V, A, A, ones, ones, ones])
        slope, curve, ahead = (matrix @ goal for matrix in smoothing(K))
        # The backward difference at row k is 1/2 curve below the slope, and that before it 3/2. Behind a step the
        # parabola still moves; the goal moves no faster than its next rows.
        least, most = np.minimum(ahead, 0.0), np.maximum(ahead, 0.0)
        self._goal_v = np.clip(slope - 1.5 * curve, least, most)
        goal_a = np.clip(np.clip(slope - 0.5 * curve, least, most) - self._goal_v, -A, A)
        # A goal on a position limit must not be passed at all.
        on_limit = (goal > self._upper - NEAR_LIMIT) | (goal < self._lower + NEAR_LIMIT)
        longer = np.where(on_limit, AT_LIMITS, AT_TARGETS)
        # For three accelerations at a time: the least, that of a stop, and the most.
        self._goal_a, self._longer = (np.repeat(values[:, None], 3, axis=1) for values in (goal_a, longer))
        self._A, self._speed_bounds, self._numbers = np.stack([A] * 3), np.stack([-V, V, V]), Numbers.full((3, J))
        self._least, self._tiny = -self._A, np.full((2, J), NUMBERS.tiny)
        self._part_least, self._part_most = np.stack([-ones, 0 * ones]), np.stack([0 * ones, ones])

    def rows(self, feasible_KJ: np.ndarray, *, guarded: bool = False) -> np.ndarray:
        """Rows (K, J).

        Args:
            feasible_KJ: target rows that may follow target rows.
            guarded: whether to keep every row safe. They nearly always are without, and it takes as long again.
        """
        K, J = feasible_KJ.shape
        q, v, a = self._state
        taken = np.empty((K, J), dtype=bool)
        rows_KJ = np.empty((K, J))
        on_targets, until = np.ones(J, dtype=bool), np.zeros(J)
        ahead = np.concatenate([feasible_KJ, np.ones((2, J), dtype=bool)])
        lasting_KJ = ahead[:-2] & ahead[1:-1] & ahead[2:]
        for k in range(K):
            take = (on_targets & lasting_KJ[k]) | (until > k)
            if self._somewhere_landable[k]:
                lands = self._can_land(k, q, v, a) & ~take
                if np.count_nonzero(lands):
                    until[lands] = k + 3
                    take |= lands
            reached = self._goal[k]
            if np.count_nonzero(take) < J:
                wanted = self._towards_goal(k, q, v, a)
                reached = q + v + (self._off_limits(wanted, q, v, a) if guarded else wanted)
                np.copyto(reached, self._goal[k], where=take)
            if guarded:
                reached, kept = self._safe_row(reached, q, v, a)
                take, until = take & kept, np.where(kept, until, 0)
            step = reached - q
            a, v, q = step - v, step, reached
            rows_KJ[k], taken[k], on_targets = q, take, take
        return np.where(taken, self._targets_KJ, rows_KJ * self._jerk)

    def _can_land(self, k: int, q: np.ndarray, v_before: np.ndarray, a_before: np.ndarray) -> np.ndarray:
        """Whether rows k, k + 1 and k + 2 can be met from a state within the limits; (J,)."""
        v1, a1, a2, j1, j2, j3 = gaps = self._gaps
        np.subtract(self._goal[k], q, out=v1)
        np.subtract(v1, v_before, out=a1)
        np.subtract(self._next_v[k], v1, out=a2)
        np.subtract(a1, a_before, out=j1)
        np.subtract(a2, a1, out=j2)
        np.subtract(self._next_a[k], a2, out=j3)
        np.abs(gaps, out=gaps)
        lands = np.logical_and.reduce(gaps <= self._gap_bounds) & self._landable[k]
        if np.count_nonzero(lands):  # the velocity peaks of stops from rows k and k + 1, from above
            v = np.stack([self._goal[k] - q, self._next_v[k]])
            a = np.stack([v[0] - v_before, v[1] - v[0]])
            lands &= (np.abs(v + 0.5 * a * np.abs(a)) <= self._V).all(axis=0)
        return lands

    def _towards_goal(self, k: int, q: np.ndarray, v: np.ndarray, a: np.ndarray) -> np.ndarray:
        """The acceleration of the next row after which a stop would end at the goal, or the nearest that is allowed.

        Three accelerations in the frame of the goal, the least, that of a stop, and the most, and a line between their
        ends. Where jerk and velocity limits are in conflict (a start outside), the jerk wins.
        """
        n, goal_a = self._numbers, self._goal_a[k]
        v_3J, goal_v = self._tripled(v), self._tripled(v - self._goal_v[k])
        rooms = self._speed_bounds - v_3J
        rooms[1] = -goal_v[1]
        points = np.copysign(reach_in_gains(np.abs(rooms), n), rooms)
        points[1] += goal_a[1]
        a_3J = self._tripled(a)
        most, least = np.minimum(a_3J + n.one, self._A), np.maximum(a_3J - n.one, self._least)
        points = np.minimum(np.maximum(points, least), most)
        points[1] = np.minimum(np.maximum(points[1], points[0]), points[2])
        stops = _stops(points, goal_a, goal_v, self._A, self._longer[k], n)
        gap = self._goal[k] - q - v - stops[1]
        widths, spans = stops[1:] - stops[:2], points[1:] - points[:2]
        parts = self._tripled(gap)[:2] / np.maximum(widths, self._tiny)
        parts = np.minimum(np.maximum(parts, self._part_least), self._part_most) * spans
        return points[1] + parts[0] + parts[1]

    def _tripled(self, values: np.ndarray) -> np.ndarray:
        """(J,) as (3, J): numpy takes arrays of one shape in half the time of others."""
        found = np.empty(self._A.shape)
        found[:] = values
        return found

    def _off_limits(self, wanted: np.ndarray, q: np.ndarray, v: np.ndarray, a: np.ndarray) -> np.ndarray:
        """As much of the wanted acceleration, beyond that of a stop, as leaves a stop inside the position limits.

        By the closed formulas, generously: states at the very edge would not be safe for long by rounding.
        """
        stop = np.maximum(
            np.minimum(-reach(v, 1.0), np.minimum(a + 1.0, self._A[0])), np.maximum(a - 1.0, self._least[0])
        )
        points = np.stack([stop, wanted])
        ends = q + v + _stops(points, 0.0, v, self._A[:2], AT_LIMITS)
        whole = ends[1] - ends[0]
        room = np.where(whole > 0.0, self._upper - ends[0], ends[0] - self._lower)
        return stop + (wanted - stop) * np.clip(room / np.maximum(np.abs(whole), NUMBERS.tiny), 0.0, 1.0)

    def _safe_row(
        self, wanted: np.ndarray, q: np.ndarray, v: np.ndarray, a: np.ndarray
    ) -> tuple[np.ndarray, np.ndarray]:
        """The next row: the wanted one where it is safe, else the farthest safe one between that of a stop and it.

        Returns:
            the row (J,), and (J,) where it is the wanted one.
        """
        safe = self._are_safe(wanted[None], q, v, slice(None))[0]
        found, columns = wanted.copy(), np.flatnonzero(~safe)
        if columns.size:
            q, v, a = q[columns], v[columns], a[columns]
            stop = q + brake_step(v, a, self._full_A[columns], self._full_jerk[columns])
            rows = stop + PARTS * (wanted[columns] - stop)
            are_safe = self._are_safe(rows, q, v, columns)
            are_safe[-1] = True  # that of the stop, by whatever rounding
            found[columns] = rows[np.argmax(are_safe, axis=0), np.arange(columns.size)]
        return found, safe

    def _are_safe(self, rows_NJ: np.ndarray, q: np.ndarray, v: np.ndarray, columns: np.ndarray | slice) -> np.ndarray:
        """Which of several next rows of some columns are safe; (N, J)."""
        step, jerk = rows_NJ - q, self._jerk[columns]
        every = np.ones(rows_NJ.shape, dtype=bool)
        return _safe(rows_NJ * jerk, step * jerk, (step - v) * jerk, self._loose.columns(columns), every)


def _stops(
    points: np.ndarray,
    frame_a: np.ndarray | float,
    frame_v: np.ndarray,
    A: np.ndarray,
    longer: np.ndarray | float,
    n: Numbers = NUMBERS,
) -> np.ndarray:
    """How far the next row and the stop after it go in a moving frame, for accelerations `points` (B, J).

    A spline that the rows steer is a continuous motion with their differences; the discrete stop, which changes its
    jerk at ticks only, is a little longer than that of the spline, at most by `longer`.
    """
    push = points - frame_a
    step = push + frame_v
    rest = stop_distance(step - push * n.half, push, A, n) - step + push * n.sixth
    rest = rest + np.maximum(np.minimum(rest, longer), -longer)
    at_once = (np.abs(step) <= np.minimum(A, n.one)) & (np.abs(step + push) <= n.one)
    return np.where(at_once, 0.0, rest) + points


@lru_cache(maxsize=8)
def smoothing(rows: int) -> np.ndarray:
    """Matrices (3, K, K): first and second derivative of K rows by parabolas through windows of up to 7, and the mean
    step over the next 3 rows, none behind the last.

    Noise of the targets, which no joint could follow, must not steer a joint that is behind them.
    """
    size = min(rows, WINDOW)
    slope, curve, ahead = matrices = np.zeros((3, rows, rows))
    for k in range(rows):
        first = min(max(k - size // 2, 0), rows - size)
        powers = np.vander(np.arange(first, first + size) - float(k), min(3, size), increasing=True)
        fit = np.linalg.pinv(powers)
        if size > 1:
            slope[k, first : first + size] = fit[1]
        if size > 2:
            curve[k, first : first + size] = 2.0 * fit[2]
        steps = min(AHEAD, rows - 1 - k)
        if steps:
            ahead[k, [k, k + steps]] = -1.0 / steps, 1.0 / steps
    return matrices
