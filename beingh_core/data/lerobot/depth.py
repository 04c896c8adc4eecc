"""Depth as 12-bit codes: LeRobot's logarithmic scale (`quantize_depth` of LeRobot 0.6.1, after BEHAVIOR-1K).

code = round(4095 (ln(z + s) - ln(near + s)) / (ln(far + s) - ln(near + s))), z in metres, cut to 0..4095.
"""

from __future__ import annotations

from dataclasses import dataclass
from math import log

import numpy as np

from beingh_core.errors import BeingHError

TOP = 4095
UNITS = {"mm": 0.001, "m": 1.0}


@dataclass(frozen=True, kw_only=True)
class DepthScale:
    """The range that the codes cover [m], and the unit of the depth pictures that come in (uint16 mm or float32 m)."""

    unit: str = "mm"
    near_m: float = 0.01
    far_m: float = 10.0
    shift_m: float = 3.5

    def __post_init__(self) -> None:
        if self.unit not in UNITS or not -self.shift_m < self.near_m < self.far_m:
            raise BeingHError(
                f"depth of {self.near_m:g} to {self.far_m:g} {self.unit} with shift {self.shift_m:g}",
                allowed="unit mm or m, near < far, near + shift > 0",
            )

    @property
    def _bounds(self) -> tuple[float, float]:
        return log(self.near_m + self.shift_m), log(self.far_m + self.shift_m)

    def codes(self, depth_HW: np.ndarray) -> np.ndarray:
        """uint16 codes (H, W) of a depth picture; what is not finite counts as nearest (no measurement is 0)."""
        low, high = self._bounds
        metres = np.nan_to_num(np.asarray(depth_HW, np.float64) * UNITS[self.unit], nan=0.0, posinf=0.0, neginf=0.0)
        norm = (np.log(np.maximum(metres + self.shift_m, 1e-9)) - low) / (high - low)
        return np.rint(norm * TOP).clip(0, TOP).astype(np.uint16)

    def depth(self, codes_HW: np.ndarray) -> np.ndarray:
        """Depth (H, W) float32 in `unit` of codes."""
        low, high = self._bounds
        metres = np.exp(np.asarray(codes_HW, np.float64) / TOP * (high - low) + low) - self.shift_m
        return (metres / UNITS[self.unit]).astype(np.float32)
