"""Following targets within limits of value, rate and change of rate, in units of one tick.

For columns without a jerk limit (value = position, rate = velocity) and for columns that command a velocity (value =
velocity, rate = acceleration). What comes out for a row depends on the state before it and on the targets up to it.

Letters: K rows, J columns.
"""

from __future__ import annotations

import numpy as np

from beingh_core.realtime.stopping import TickLimits, reach

# Values nearer than this count as equal: far below any encoder, far above rounding.
SAME = 1e-10


def follow(targets_KJ: np.ndarray, past_3J: np.ndarray, limits: TickLimits) -> np.ndarray:
    """Rows (K, J): targets that respect the limits, unchanged; else the column falls behind and catches up.

    It catches up at its full acceleration and brakes in time to meet its target without overshooting. A first target
    that cannot be met and left again at once counts as one that stood still: its motion is known from the second on.
    Of limits in conflict the change of rate wins over the rate, the rate over the value.

    Args:
        targets_KJ: (K, J) wanted rows, none beyond the limits and the start.
        past_3J: the three rows before them, oldest first.
        limits: of them value, velocity and acceleration.
    """
    position = past_3J[2]
    velocity = position - past_3J[1]
    rows_KJ = np.empty_like(targets_KJ)
    distances = np.empty((3, len(position)))
    at_once = _next_row(targets_KJ[0], position, position, velocity, limits, distances) == targets_KJ[0]
    if len(targets_KJ) > 1:
        change = targets_KJ[1] - 2.0 * targets_KJ[0] + position
        at_once &= np.abs(change) <= limits.acceleration + SAME
    target_before = np.where(at_once, position, targets_KJ[0])
    for k, target in enumerate(targets_KJ):
        reached = _next_row(target, target_before, position, velocity, limits, distances)
        velocity = reached - position
        rows_KJ[k] = position = reached
        target_before = target
    return rows_KJ


def _next_row(
    target: np.ndarray,
    target_before: np.ndarray,
    position: np.ndarray,
    velocity: np.ndarray,
    limits: TickLimits,
    distances: np.ndarray,
) -> np.ndarray:
    """The row (J,) that goes on from a position and velocity; `distances` (3, J) is memory."""
    gain = limits.acceleration
    np.subtract(target_before, position, out=distances[0])
    np.subtract(limits.upper, position, out=distances[1])
    np.subtract(position, limits.lower, out=distances[2])
    catch_up, fastest, slowest = reach(distances, gain)
    wanted = target - target_before + catch_up
    wanted = _between(wanted, -slowest, fastest)
    wanted = _between(wanted, -limits.velocity, limits.velocity)
    reached = position + _between(wanted, velocity - gain, velocity + gain)
    # Rounding must not turn a target that is met into one that is missed by 1e-17.
    return np.where(np.abs(reached - target) < SAME, target, reached)


def _between(values: np.ndarray, low: np.ndarray, high: np.ndarray) -> np.ndarray:
    """np.clip without its overhead, which counts at 31 columns."""
    return np.minimum(np.maximum(values, low), high)
