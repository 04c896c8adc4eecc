"""What the controller hands to a driver."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True, kw_only=True, eq=False)
class Setpoints:
    """Commands of all J commanded joints at T times, in the order of `contract.joint_names`.

    Attributes:
        stamp_ns: Time of the command [ns].
        times_s: (T,) when each row holds, after the stamp [s].
        positions: (T, J) [rad or m]; [m/s or rad/s] in columns that command a velocity.
        velocities: (T, J) derivative of `positions`.
    """

    stamp_ns: int
    times_s: np.ndarray
    positions: np.ndarray
    velocities: np.ndarray

    def __post_init__(self) -> None:
        shape = np.shape(self.positions)
        if len(shape) != 2 or not shape[0] or np.shape(self.velocities) != shape or len(self.times_s) != shape[0]:
            raise ValueError(
                f"{len(self.times_s)} times, positions {shape} and velocities {np.shape(self.velocities)} do not fit"
            )

    def columns(self, columns: Sequence[int]) -> Setpoints:
        """The setpoints of some columns, in the order given."""
        return Setpoints(
            stamp_ns=self.stamp_ns,
            times_s=self.times_s,
            positions=self.positions[:, columns],
            velocities=self.velocities[:, columns],
        )
