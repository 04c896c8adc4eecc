"""Limits in units of one tick, and how a motion given by rows stops within them.

A path is a row of values per tick; v, a and j are its first, second and third backward differences. A stop takes
v and a to 0 as fast as acceleration and jerk allow. A limit of acceleration alone is a jerk limit of twice that.

Letters: N rows, J columns.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

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

    def columns(self, columns: Sequence[int] | np.ndarray | slice) -> TickLimits:
        """Those of some columns."""
        return TickLimits(**{name: values[columns] for name, values in vars(self).items()})

    def loose(self, path: np.ndarray, part: float = 1.0) -> TickLimits:
        """With room for the rounding of a path (N, J), or a part of it, and for a first row outside the limits to come
        back."""
        rounding = 8 * part * np.finfo(float).eps * max(1.0, float(np.abs(path).max()))
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


class Numbers(NamedTuple):
    """Constants of the formulas below: numbers, or arrays full of them, which numpy takes in half the time."""

    half: float | np.ndarray = 0.5
    quarter: float | np.ndarray = 0.25
    one: float | np.ndarray = 1.0
    two_thirds: float | np.ndarray = 2.0 / 3.0
    sixth: float | np.ndarray = 1.0 / 6.0
    tiny: float | np.ndarray = 1e-200

    @classmethod
    def full(cls, shape: tuple[int, ...]) -> Numbers:
        """Arrays of that shape."""
        return cls(*(np.full(shape, value) for value in cls()))


NUMBERS = Numbers()


def reach_in_gains(x: np.ndarray, n: Numbers = NUMBERS) -> np.ndarray:
    """The largest u so that u, u - 1, u - 2, .. down to 0 add up to x >= 0.

    u + (u - 1) + .. + (u - m) = (m + 1) u - m (m + 1) / 2 for m = floor(u); this is its inverse.
    """
    m = np.floor(np.sqrt(x + x + n.quarter) - n.half)
    return x / (m + n.one) + m * n.half


def reach(distance: np.ndarray, gain: np.ndarray | float) -> np.ndarray:
    """The largest step u so that the steps u, u - gain, u - 2 gain, .. down to 0 still end within `distance`.

    A negative distance gives the negative step that brings it back.
    """
    return np.copysign(gain * reach_in_gains(np.minimum(np.abs(distance) / gain, FAR)), distance)


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
