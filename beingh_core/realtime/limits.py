"""Limits of commands, acting forward in time: position, velocity, acceleration and jerk of every column.

A command is one row a tick. Its velocity at tick k is (q_k - q_{k-1}) / dt, its acceleration the change of that
velocity over dt, its jerk the change of that acceleration over dt: what an onlooker finds by finite differences.
A *safe* row leaves room for a stop within all limits. Everything here is causal and exact in these differences:

* Rows that keep the limits and are safe come out bit-equal; so does what has come out once, from any tick on.
* Other targets are approached as fast as the limits allow and met again without passing beyond a position limit.
* Every row that comes out is safe, so a stop at any tick and the rest behind the last row keep the limits.

Why not ruckig itself: it steers a continuous motion from a known position, velocity and acceleration. Of commands that
are rows it would need the latter two guessed at every seam, it has no position limits, and it does not give feasible
targets back as they are. So the rows are limited in their own differences, at about twice its time for a chunk
(`beingh bench controller` measures both), and ruckig is the judge in the tests: a step is met within one tick of its
time-optimal motion.

Letters: K rows, J columns.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import lru_cache

import numpy as np

from beingh_core.errors import BeingHError
from beingh_core.realtime import second_order, third_order
from beingh_core.realtime.stopping import FAR, TickLimits, stop_rows

# What rows may lie beyond a limit by computing them, in parts of 1 or of the value.
ROUNDING = 8 * np.finfo(float).eps

# Stand for one such value per column.
_NO_JERK_LIMIT, _NO_VELOCITIES = np.array(np.inf), np.array(False)


@dataclass(frozen=True, kw_only=True, eq=False)
class JointLimits:
    """Limits per column, each an array (J,).

    A column commands the position of a joint or, where `is_velocity` is set, a velocity (of a mobile base).
    Then `lower` and `upper` bound that velocity, `acceleration` its rate [m/s^2 or rad/s^2] and `jerk` the rate
    of that; `velocity` has no meaning.

    Attributes:
        lower, upper: position [rad or m]; of a velocity column the velocity [m/s or rad/s].
        velocity: largest speed [rad/s or m/s].
        acceleration: largest change of velocity [rad/s^2 or m/s^2].
        jerk: largest change of acceleration [rad/s^3 or m/s^3]; infinite by default.
        is_velocity: columns that command a velocity; none by default.
    """

    lower: np.ndarray
    upper: np.ndarray
    velocity: np.ndarray
    acceleration: np.ndarray
    jerk: np.ndarray = field(default_factory=lambda: _NO_JERK_LIMIT)
    is_velocity: np.ndarray = field(default_factory=lambda: _NO_VELOCITIES)

    def __post_init__(self) -> None:
        width = len(self.lower)
        for name in ("lower", "upper", "velocity", "acceleration", "jerk", "is_velocity"):
            given = getattr(self, name)
            is_default = given is _NO_JERK_LIMIT or given is _NO_VELOCITIES
            values = np.full(width, given) if is_default else np.array(given)
            values = values.astype(bool if name == "is_velocity" else np.float64)
            if values.shape != (width,) or np.isnan(values).any():
                raise BeingHError(f"limits: `{name}` must hold {width} numbers", remedy="give one per joint")
            values.setflags(write=False)
            object.__setattr__(self, name, values)
        if not np.all(self.lower < self.upper):
            raise BeingHError("limits: a lower position limit is not below the upper one")
        if not ((self.velocity > 0).all() and (self.acceleration > 0).all() and np.isfinite(self.acceleration).all()):
            raise BeingHError("limits: velocities must be positive, accelerations positive and finite")
        if not (self.jerk > 0).all():
            raise BeingHError("limits: jerks must be positive")
        if not (~self.is_velocity | ((self.lower <= 0) & (self.upper >= 0))).all():
            raise BeingHError("limits: the range of a velocity must contain 0", remedy="it is what a stop commands")


def limit_forward(
    targets_KJ: np.ndarray, past_3J: np.ndarray, limits: JointLimits, dt_s: float
) -> tuple[np.ndarray, int]:
    """Follows targets as closely as the limits allow.

    The targets continue from the newest of the past rows: nothing that was wanted before them counts. Of limits in
    conflict (a start outside some) jerk and acceleration win over velocity, velocity over position.

    Args:
        targets_KJ: (K, J) wanted commands of ticks k = 0..K-1.
        past_3J: (3, J) commands of the three ticks before them, oldest first.
        limits: the limits.
        dt_s: one tick [s].

    Returns:
        (K, J) commands, and how many of their K * J values differ from the target.
    """
    parts = _parts(limits, dt_s)
    wanted_KJ, targets_KJ = targets_KJ, _inside(targets_KJ, past_3J[2], parts)
    if not parts.second.size:
        rows_KJ = third_order.follow(targets_KJ, past_3J, parts.third_limits)
    else:
        rows_KJ = np.empty_like(targets_KJ)
        for columns, follow, part in (
            (parts.second, second_order.follow, parts.second_limits),
            (parts.third, third_order.follow, parts.third_limits),
        ):
            if columns.size:
                rows_KJ[:, columns] = follow(targets_KJ[:, columns], past_3J[:, columns], part)
    return rows_KJ, int(np.count_nonzero(rows_KJ != wanted_KJ))


def _inside(targets_KJ: np.ndarray, start_J: np.ndarray, parts: _Parts) -> np.ndarray:
    """Targets on the limits where they lie beyond them; not those that a start outside passes on its way back."""
    start_J = np.clip(start_J, -FAR, FAR)
    rounding = ROUNDING * np.maximum(1.0, np.abs(start_J))
    beyond = targets_KJ > np.maximum(parts.upper, start_J) + rounding
    beyond |= targets_KJ < np.minimum(parts.lower, start_J) - rounding
    return np.where(beyond, np.clip(targets_KJ, parts.lower, parts.upper), targets_KJ)


def brake(past_3J: np.ndarray, limits: JointLimits, dt_s: float) -> np.ndarray:
    """Commands that bring every column to rest: positions at full deceleration and jerk, velocities to 0.

    Args:
        past_3J: (3, J) commands of the three ticks before, oldest first.
        limits: the limits.
        dt_s: one tick [s].

    Returns:
        (K, J) commands until the last column rests; K = 0 when nothing moves any more.
    """
    parts = _parts(limits, dt_s)
    rows_KJ = stop_rows(past_3J, parts.stop_acceleration, parts.stop_jerk, limits.is_velocity)
    start = past_3J[2]  # rounding, at a position limit
    return np.minimum(np.maximum(rows_KJ, np.minimum(limits.lower, start)), np.maximum(limits.upper, start))


@dataclass(frozen=True, kw_only=True, eq=False)
class _Parts:
    """Columns by the number of differences that are limited, and their limits per tick.

    Attributes:
        second: columns that command a velocity, and positions whose jerk limit cannot be met before the
            acceleration limit is (twice the acceleration in one tick, or no jerk limit).
        third: the others.
        stop_acceleration, stop_jerk: (J,) what a stop may use.
        lower, upper: (J,) what may be asked for; finite, so that nothing overflows on the way.
    """

    second: np.ndarray
    third: np.ndarray
    second_limits: TickLimits
    third_limits: TickLimits
    stop_acceleration: np.ndarray
    stop_jerk: np.ndarray
    lower: np.ndarray
    upper: np.ndarray


@lru_cache(maxsize=8)
def _parts(limits: JointLimits, dt_s: float) -> _Parts:
    order = np.where(limits.is_velocity, 1, 2)
    acceleration = limits.acceleration * dt_s**order
    jerk = np.minimum(limits.jerk * dt_s ** (order + 1), 2.0 * acceleration)
    is_second = limits.is_velocity | (jerk == 2.0 * acceleration)
    whole = TickLimits(
        lower=limits.lower,
        upper=limits.upper,
        velocity=np.where(limits.is_velocity, acceleration, limits.velocity * dt_s),
        acceleration=np.where(limits.is_velocity, jerk, acceleration),
        jerk=jerk,
    )
    second, third = np.flatnonzero(is_second), np.flatnonzero(~is_second)
    return _Parts(
        second=second,
        third=third,
        second_limits=whole.columns(second),
        third_limits=whole.columns(third),
        stop_acceleration=acceleration,
        stop_jerk=jerk,
        lower=np.maximum(limits.lower, -FAR),
        upper=np.minimum(limits.upper, FAR),
    )
