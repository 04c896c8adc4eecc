"""Position, velocity and acceleration limits of a joint command, acting forward in time.

A command is one position per tick; its velocity at tick k is (q_k - q_{k-1}) / dt and its acceleration
the change of that velocity over dt. Everything here is causal and deterministic: what comes out for a
tick depends on the state before it and on the targets up to it, and what has come out is left alone
when it, or its rest from any tick on, is limited again.

Letters: K steps, J joints.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from beingh_core.errors import BeingHError

# Positions nearer than this count as equal [rad or m]: far below any encoder, far above rounding.
SAME_POSITION = 1e-10
# Stopping distances, in units of a dt^2, beyond which no limit is near (a joint may have none).
FAR = 1e12


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
    jerk: np.ndarray | None = None
    is_velocity: np.ndarray | None = None

    def __post_init__(self) -> None:
        width = len(self.lower)
        defaults = {"jerk": np.full(width, np.inf), "is_velocity": np.zeros(width, dtype=bool)}
        for name in ("lower", "upper", "velocity", "acceleration", "jerk", "is_velocity"):
            given = getattr(self, name)
            values = np.array(defaults[name] if given is None else given)
            values = values.astype(bool if name == "is_velocity" else np.float64)
            if values.shape != (width,) or np.isnan(values).any():
                raise BeingHError(f"limits: `{name}` must hold {width} numbers", remedy="give one per joint")
            values.setflags(write=False)
            object.__setattr__(self, name, values)
        if not (self.lower < self.upper).all():
            raise BeingHError("limits: a lower position limit is not below the upper one")
        if not ((self.velocity > 0).all() and (self.acceleration > 0).all() and np.isfinite(self.acceleration).all()):
            raise BeingHError("limits: velocities must be positive, accelerations positive and finite")
        if not (self.jerk > 0).all():
            raise BeingHError("limits: jerks must be positive")
        if not (~self.is_velocity | ((self.lower <= 0) & (self.upper >= 0))).all():
            raise BeingHError("limits: the range of a velocity must contain 0", remedy="it is what a stop commands")


def limit_forward(
    targets_KJ: np.ndarray,
    position: np.ndarray,
    velocity: np.ndarray,
    limits: JointLimits,
    dt_s: float,
) -> tuple[np.ndarray, int]:
    """Follows targets as closely as the limits allow.

    The targets continue from `position`: nothing that was wanted before them counts. Targets that respect
    the limits come out unchanged. Otherwise a joint falls behind and catches up at full acceleration,
    braking in time to meet its target without overshooting. Of two limits in conflict (a start outside the
    position limits) acceleration wins over velocity, velocity over position.

    Args:
        targets_KJ: (K, J) wanted positions of ticks k = 0..K-1.
        position: (J,) command of the tick before them.
        velocity: (J,) velocity of that command.
        limits: the limits.
        dt_s: one tick [s].

    Returns:
        (K, J) commands, and how many of their K * J values differ from the target.
    """
    speed_gain = limits.acceleration * dt_s  # largest change of velocity in one tick
    limited_KJ = np.empty_like(targets_KJ)
    target_before = position
    distances = np.empty((3, len(position)))  # to the target, to the upper and to the lower limit
    for k, target in enumerate(targets_KJ):
        np.subtract(target_before, position, out=distances[0])
        np.subtract(limits.upper, position, out=distances[1])
        np.subtract(position, limits.lower, out=distances[2])
        catch_up, fastest, slowest = stopping_speed(distances, limits, dt_s)
        wanted = (target - target_before) / dt_s + catch_up
        wanted = _between(wanted, -slowest, fastest)
        wanted = _between(wanted, -limits.velocity, limits.velocity)
        reached = position + _between(wanted, velocity - speed_gain, velocity + speed_gain) * dt_s
        # Rounding must not turn a target that is met into one that is missed by 1e-17.
        reached = np.where(np.abs(reached - target) < SAME_POSITION, target, reached)
        velocity = (reached - position) / dt_s
        limited_KJ[k] = position = reached
        target_before = target
    return limited_KJ, int(np.count_nonzero(limited_KJ != targets_KJ))


def _between(values: np.ndarray, low: np.ndarray, high: np.ndarray) -> np.ndarray:
    """np.clip without its overhead, which counts at 31 joints."""
    return np.minimum(np.maximum(values, low), high)


def stopping_speed(distance: np.ndarray, limits: JointLimits, dt_s: float) -> np.ndarray:
    """The largest speed of a tick after which full braking still stops within `distance`.

    With u the speed in units of a dt and x the distance in units of a dt^2, the ticks of motion u, u - 1,
    u - 2, ... cover x = (m + 1) u - m (m + 1) / 2 for m = floor(u); this is its inverse. A negative
    distance (already beyond) gives the negative speed that brings it back and stops there.

    Args:
        distance: (..., J) [rad or m].
        limits: the limits; of them only the acceleration.
        dt_s: one tick [s].

    Returns:
        (..., J) [rad/s or m/s].
    """
    gain = limits.acceleration * dt_s
    x = np.minimum(np.abs(distance) / (gain * dt_s), FAR)
    m = np.floor((np.sqrt(8.0 * x + 1.0) - 1.0) / 2.0)
    return np.copysign(gain * (x / (m + 1.0) + m / 2.0), distance)


def brake(position: np.ndarray, velocity: np.ndarray, limits: JointLimits, dt_s: float) -> np.ndarray:
    """Commands that bring every joint to rest at its full deceleration.

    Args:
        position: (J,) command of the tick before.
        velocity: (J,) its velocity.
        limits: the limits; the profile also stays inside the position limits.
        dt_s: one tick [s].

    Returns:
        (K, J) commands until the last joint rests; K = 0 when one tick is enough to stop.
    """
    gain = limits.acceleration * dt_s
    ticks = int(np.max(np.ceil(np.abs(velocity) / gain - 1e-9), initial=1.0)) - 1
    step = np.arange(1, ticks + 1)[:, None]
    speeds_KJ = np.sign(velocity) * np.maximum(np.abs(velocity) - step * gain, 0.0)
    positions_KJ = position + np.cumsum(speeds_KJ * dt_s, axis=0)
    low, high = np.minimum(limits.lower, position), np.maximum(limits.upper, position)
    return np.clip(positions_KJ, low, high)
