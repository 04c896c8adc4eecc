"""Rows of commands with a stamp: what is sent at a tick, the plan behind it, a braking path, one row between the ticks."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from beingh_core.realtime.interpolation import cubic

# What was sent longer than this before a path is no start for it [s].
MAX_GAP_S = 1.0


@dataclass(frozen=True, kw_only=True, eq=False)
class Setpoints:
    """Commands of all J commanded joints at T times, in the order of `contract.joint_names`.

    Attributes:
        stamp_ns: Time of the command [ns].
        times_s: (T,) when each row holds, after the stamp [s].
        positions: (T, J) [rad or m]; [m/s or rad/s] in columns that command a velocity.
        velocities: (T, J) derivative of `positions`.
        epoch: Epoch of a plan's ticks; "" for what needs none.
    """

    stamp_ns: int
    times_s: np.ndarray
    positions: np.ndarray
    velocities: np.ndarray
    epoch: str = ""

    def __post_init__(self) -> None:
        shape = np.shape(self.positions)
        if len(shape) != 2 or not shape[0] or np.shape(self.velocities) != shape or len(self.times_s) != shape[0]:
            raise ValueError(
                f"{len(self.times_s)} times, positions {shape} and velocities {np.shape(self.velocities)} do not fit"
            )

    @classmethod
    def by_tick(
        cls, stamp_ns: int, dt_s: float, positions: np.ndarray, velocities: np.ndarray, epoch: str = ""
    ) -> Setpoints:
        """Row i is the command of tick i after the stamp, to be reached i + 1 periods of `dt_s` after it."""
        times_s = np.arange(1, len(positions) + 1) * dt_s
        return cls(stamp_ns=stamp_ns, times_s=times_s, positions=positions, velocities=velocities, epoch=epoch)

    def columns(self, columns: Sequence[int]) -> Setpoints:
        """The setpoints of some columns, in the order given."""
        return Setpoints(
            stamp_ns=self.stamp_ns,
            times_s=self.times_s,
            positions=self.positions[:, columns],
            velocities=self.velocities[:, columns],
        )


def sample_to_rest(path: Setpoints, rate_hz: float, before: Setpoints | None = None) -> Setpoints:
    """A path that ends at rest, at a fixed rate: cubic through its rows, with their velocities.

    Args:
        path: The rows; the last one is where it comes to rest, so its velocity counts as 0.
        rate_hz: Rows per second wanted.
        before: What was sent last; its last row starts the path where it lies before the path's first row.

    Returns:
        Rows at 1 / rate_hz, 2 / rate_hz, ... after the start, the last one being exactly the last row of `path`.
    """
    knots_s, positions_KJ, velocities_KJ = np.asarray(path.times_s, float), path.positions, path.velocities.copy()
    velocities_KJ[-1] = 0.0
    if before is not None:
        sent_s = (before.stamp_ns - path.stamp_ns) / 1e9 + before.times_s[-1]
        later = knots_s > sent_s
        if not later.any():
            knots_s, positions_KJ, velocities_KJ = knots_s[-1:], positions_KJ[-1:], velocities_KJ[-1:]
        elif knots_s[later][0] - sent_s < MAX_GAP_S:
            knots_s = np.concatenate([[sent_s], knots_s[later]])
            positions_KJ = np.vstack([before.positions[-1:], positions_KJ[later]])
            velocities_KJ = np.vstack([before.velocities[-1:], velocities_KJ[later]])
    steps = max(1, int(np.ceil((knots_s[-1] - knots_s[0]) * rate_hz - 1e-6)))
    times_s = knots_s[0] + np.arange(1, steps + 1) / rate_hz
    positions, velocities = _through(knots_s, positions_KJ, velocities_KJ, np.minimum(times_s, knots_s[-1]))
    positions[-1], velocities[-1] = positions_KJ[-1], 0.0
    return Setpoints(stamp_ns=path.stamp_ns, times_s=times_s, positions=positions, velocities=velocities)


def _through(knots_K: np.ndarray, values_KJ: np.ndarray, slopes_KJ: np.ndarray, times_T: np.ndarray) -> tuple:
    """Cubic Hermite values (T, J) and slopes (T, J) through knots; constant with a single knot."""
    if len(knots_K) == 1:
        return np.repeat(values_KJ, len(times_T), axis=0), np.zeros((len(times_T), values_KJ.shape[1]))
    left = np.clip(np.searchsorted(knots_K, times_T, side="left") - 1, 0, len(knots_K) - 2)
    right = left + 1
    return cubic(
        times_T - knots_K[left],
        knots_K[right] - knots_K[left],
        values_KJ[left],
        values_KJ[right],
        slopes_KJ[left],
        slopes_KJ[right],
    )
