"""The newest values of a measured quantity, and their percentiles."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np


class Samples:
    """The newest `keep` values of a measured quantity. `add` from any one thread; reading from another is safe."""

    def __init__(self, keep: int = 10_000) -> None:
        # An array, because a copy of many thousand Python floats once a second would hold up the ticks.
        self._values = np.zeros(keep)
        self._added = 0

    def add(self, value: float) -> None:
        """Append one value."""
        self._values[self._added % len(self._values)] = value
        self._added += 1

    def newest(self, count: int) -> np.ndarray:
        """The newest `count` values or as many as there are, oldest first."""
        added, keep = self._added, len(self._values)
        return self._values[np.arange(added - min(count, added, keep), added) % keep]

    def summary(self, name: str, percentiles: Iterable[int]) -> dict[str, float]:
        """`name_pNN` and `name_max`; empty before the first value."""
        values = self._values[: self._added].copy()
        if not values.size:
            return {}
        return {f"{name}_p{p}": self.percentile(values, p) for p in percentiles} | {f"{name}_max": float(values.max())}

    @staticmethod
    def percentile(values: np.ndarray, p: float) -> float:
        """A percentile of at least one value."""
        return float(np.percentile(values, p))
