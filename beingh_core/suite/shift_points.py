"""The points of `beingh suite shift`."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from beingh_core.suite.points import Figures, figures_of


@dataclass(frozen=True, kw_only=True)
class ShiftPoint(Figures):
    """One checkpoint, variant and shift.

    Attributes:
        mpg, steps: See `Shifted`.
        shift: As `Shift` writes it.
        gate_mean, gate_min: Mean over the episodes of the mean value of MPG's gate, and its smallest value; None without it.
    """

    checkpoint: str
    mpg: str
    steps: int
    shift: str
    gate_mean: float | None
    gate_min: float | None

    @property
    def variant(self) -> str:
        """In words."""
        return variant_name(self.mpg, self.steps)


def variant_name(mpg: str, steps: int) -> str:
    """In words."""
    return f"MPG {mpg}, {steps} step{'s' if steps > 1 else ''}"


def shift_points(rows: Iterable[Mapping[str, Any]], order: Iterable[tuple]) -> list[ShiftPoint]:
    """Every point that has rows, in an order of (checkpoint, mpg, steps, shift)."""
    groups: dict[tuple, list[Mapping[str, Any]]] = {key: [] for key in order}
    for row in rows:
        groups[row["checkpoint"], row["mpg"], row["steps"], row["shift"]].append(row)
    return [_point(key, own) for key, own in groups.items() if own]


def _point(key: tuple[str, str, int, str], rows: Sequence[Mapping[str, Any]]) -> ShiftPoint:
    checkpoint, mpg, steps, shift = key
    gates = [row["gate_mean"] for row in rows if row["gate_mean"] is not None]
    return ShiftPoint(
        checkpoint=checkpoint,
        mpg=mpg,
        steps=steps,
        shift=shift,
        gate_mean=float(np.mean(gates)) if gates else None,
        gate_min=min((row["gate_min"] for row in rows if row["gate_min"] is not None), default=None),
        **figures_of(rows),
    )
