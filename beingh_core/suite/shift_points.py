"""The figures of `beingh suite shift`: points, and what a variant of the policy gains over the one without the gate."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from beingh_core.evaluate.paired import Paired, paired_interval
from beingh_core.suite.points import Figures, figures_of
from beingh_core.suite.shift_plan import OFF


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
        return f"MPG {self.mpg}, {self.steps} step{'s' if self.steps > 1 else ''}"


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


def gains(rows: Sequence[Mapping[str, Any]]) -> list[str]:
    """What each number of passes changes in the share of picks, over all shifts of the same scenes, with an interval."""
    told = []
    by_variant: dict[tuple, dict[tuple, bool]] = {}
    for row in rows:
        own = by_variant.setdefault((row["checkpoint"], row["mpg"], row["steps"]), {})
        own[row["seed"], row["shift"]] = bool(row["success"])
    for (checkpoint, mpg, steps), own in by_variant.items():
        plain = by_variant.get((checkpoint, OFF, steps))
        shared = sorted(own.keys() & plain.keys()) if plain and mpg != OFF else []
        if shared:
            found = _paired(own, plain, shared)
            interval = (
                "too few scenes for an interval" if found.low is None else f"{found.low:+.2f} to {found.high:+.2f}"
            )
            told.append(
                f"{checkpoint}, {steps} Euler steps: {mpg} passes of MPG against none, over {len(shared)} pairs of episodes: share of "
                f"picks {found.first_mean - found.second_mean:+.2f} ({interval}; 95 %, bootstrap over scenes)."
            )
    return told


def _paired(first: Mapping[tuple, bool], second: Mapping[tuple, bool], shared: Sequence[tuple]) -> Paired:
    values = lambda of: np.array([float(of[key]) for key in shared])
    return paired_interval(values(first), values(second), np.array([seed for seed, _ in shared]))
