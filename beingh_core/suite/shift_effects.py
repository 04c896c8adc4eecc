"""What a variant of the policy picks more than another one, in the same scenes under the same shifts."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from beingh_core.evaluate.paired import paired_interval
from beingh_core.suite.shift_plan import OFF
from beingh_core.suite.shift_points import variant_name
from beingh_core.suite.shifts import NONE

Variant = tuple[str, int]  # passes, Euler steps


@dataclass(frozen=True, kw_only=True)
class ShiftEffect:
    """Of two variants of one checkpoint.

    Attributes:
        mpg, steps, against_mpg, against_steps: The variants; see `Shifted`.
        shifted: Whether over all shifts, or over the episodes without one.
        pairs, scenes: Episodes that both have played, and in how many scenes.
        more: Share of picks, first minus second.
        low, high: Its 95 % interval, bootstrapped over the scenes; None with too few.
    """

    checkpoint: str
    mpg: str
    steps: int
    against_mpg: str
    against_steps: int
    shifted: bool
    pairs: int
    scenes: int
    more: float
    low: float | None
    high: float | None

    @property
    def told(self) -> str:
        """In words."""
        interval = "too few scenes for an interval"
        if self.low is not None and self.high is not None:
            same = self.low == self.high  # drawing again what is always the same says nothing
            interval = "the same in every scene" if same else f"{self.low:+.2f} to {self.high:+.2f}"
        return (
            f"{self.checkpoint}: {variant_name(self.mpg, self.steps)} against {variant_name(self.against_mpg, self.against_steps)}, over "
            f"{self.pairs} pairs of episodes {'under shifts' if self.shifted else 'without a shift'}: share of picks {self.more:+.2f} "
            f"({interval}; 95 %, bootstrap over scenes)."
        )


def shift_effects(rows: Sequence[Mapping[str, Any]]) -> list[ShiftEffect]:
    """Each number of passes against none and against the fewest, and each number of Euler steps against the most."""
    played: dict[tuple[str, bool], dict[Variant, dict[tuple[int, str], bool]]] = {}
    for row in rows:
        own = played.setdefault((row["checkpoint"], row["shift"] != NONE), {})
        own.setdefault((row["mpg"], row["steps"]), {})[row["seed"], row["shift"]] = bool(row["success"])
    return [
        _effect(checkpoint, shifted, (first, second), own, shared)
        for (checkpoint, shifted), own in played.items()
        for first, second in _compared(own)
        if (shared := sorted(own[first].keys() & own[second].keys()))
    ]


def _compared(variants: Iterable[Variant]) -> list[tuple[Variant, Variant]]:
    known = list(variants)
    gated = [int(mpg) for mpg, _ in known if mpg != OFF]
    pairs = []
    for mpg, steps in known:
        passes = (OFF, str(min(gated))) if mpg != OFF else ()
        bases = [(fewer, steps) for fewer in passes] + [(mpg, max(number for _, number in known))]
        pairs += [((mpg, steps), base) for base in bases if base in known and base != (mpg, steps)]
    return pairs


def _effect(
    checkpoint: str,
    shifted: bool,
    compared: tuple[Variant, Variant],
    own: Mapping[Variant, Mapping[tuple[int, str], bool]],
    shared: Sequence[tuple[int, str]],
) -> ShiftEffect:
    first, second = (np.array([float(own[variant][key]) for key in shared]) for variant in compared)
    seeds = np.array([seed for seed, _ in shared])
    found = paired_interval(first, second, seeds)
    (mpg, steps), (against_mpg, against_steps) = compared
    return ShiftEffect(
        checkpoint=checkpoint, mpg=mpg, steps=steps, against_mpg=against_mpg, against_steps=against_steps, shifted=shifted,
        pairs=len(shared), scenes=len(set(seeds.tolist())), more=float(np.mean(first - second)), low=found.low, high=found.high,
    )  # fmt: skip
