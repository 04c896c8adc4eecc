"""Limits in units of one tick, and how a motion given by rows stops within them.

A path is a row of values per tick; v, a and j are its first, second and third backward differences. A stop takes
v and a to 0 as fast as acceleration and jerk allow. A limit of acceleration alone is a jerk limit of twice that.

Letters: N rows, J columns.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

# Rounding that a check forgives, as a part of the limit; rows that are steered stay below the limit by as much.
SLACK = 1e-7
# A speed, as a part of the jerk limit, at which a stop has come to its end.
AT_REST = 1e-9
# Distances, in units of the gain, beyond which no limit is near (a joint may have none).
FAR = 1e12


@dataclass(frozen=True, kw_only=True, eq=False)
class TickLimits:
    """Limits per column, arrays (J,), in units of one tick: [rad], [rad/tick], [rad/tick^2], [rad/tick^3]."""

    lower: np.ndarray
    upper: np.ndarray
    velocity: np.ndarray
    acceleration: np.ndarray
    jerk: np.ndarray

    def columns(self, columns: Sequence[int] | np.ndarray) -> TickLimits:
        """Those of some columns."""
        return TickLimits(**{name: values[columns] for name, values in vars(self).items()})

    def loose(self, path: np.ndarray) -> TickLimits:
        """With room for the rounding of a path (N, J), and for a first row outside the limits to come back."""
        rounding = 8 * np.finfo(float).eps * max(1.0, float(np.abs(path).max()))
        factor = 1.0 + SLACK
        return TickLimits(
            lower=np.minimum(self.lower, path[0]) - rounding,
            upper=np.maximum(self.upper, path[0]) + rounding,
            velocity=self.velocity * factor + rounding,
            acceleration=self.acceleration * factor + 2 * rounding,
            jerk=self.jerk * factor + 4 * rounding,
        )


def state_of(past_3J: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """(q, v, a) of the newest of three rows."""
    v = past_3J[2] - past_3J[1]
    return past_3J[2], v, v - (past_3J[1] - past_3J[0])


def reach(distance: np.ndarray, gain: np.ndarray | float) -> np.ndarray:
    """The largest step u so that the steps u, u - gain, u - 2 gain, .. down to 0 still end within `distance`.

    In units of the gain, u + (u - 1) + .. + (u - m) = (m + 1) u - m (m + 1) / 2 for m = floor(u); this is its inverse.
    A negative distance gives the negative step that brings it back.
    """
    x = np.minimum(np.abs(distance) / gain, FAR)
    m = np.floor(np.sqrt(2.0 * x + 0.25) - 0.5)
    return np.copysign(gain * (x / (m + 1.0) + m * 0.5), distance)


def brake_step(v: np.ndarray, a: np.ndarray, acceleration: np.ndarray, jerk: np.ndarray) -> np.ndarray:
    """The v of the next row of a stop: as strong as the limits allow, weak in time to reach v = a = 0."""
    wanted = np.minimum(np.maximum(-reach(v, jerk), -acceleration), acceleration)
    step = v + np.minimum(np.maximum(wanted, a - jerk), a + jerk)
    return np.where(np.abs(step) < AT_REST * jerk, 0.0, step)


def stop_rows(
    past_3J: np.ndarray, acceleration: np.ndarray, jerk: np.ndarray, is_velocity: np.ndarray, rows: int | None = None
) -> np.ndarray:
    """Rows (N, J) of a stop.

    Args:
        past_3J: the three rows before them, oldest first.
        acceleration, jerk: limits (J,) per tick, of v and a; in velocity columns the row itself is the v.
        is_velocity: (J,) bool.
        rows: N; by default up to the last row that differs from the one before it, so N = 0 at rest.
    """
    q, v, a = state_of(past_3J)
    v, a = np.where(is_velocity, q, v), np.where(is_velocity, v, a)
    path = [q]
    while len(path) <= rows if rows is not None else (v.any() or (np.abs(a) > jerk).any()):
        step = brake_step(v, a, acceleration, jerk)
        a, v = step - v, step
        q = np.where(is_velocity, v, q + v)
        path.append(q)
    while rows is None and len(path) > 1 and np.array_equal(path[-1], path[-2]):
        path.pop()
    return np.array(path[1:]).reshape(len(path) - 1, len(q))
