"""Whether one policy is better than another on the same observations: a paired bootstrap interval."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

DRAWS = 2000
# With fewer recordings than this, stretches of so many chunks are drawn: neighbours are alike and count as one.
FEW_EPISODES, STRETCH = 8, 8


@dataclass(frozen=True, kw_only=True)
class Paired:
    """Mean difference of two policies' errors, first minus second, and its 95 % interval.

    Attributes:
        difference, low, high: of the errors; all None with fewer than two units.
        pairs: observations that both predicted about.
        units: what was drawn: recordings, or stretches of chunks.
        first_mean, second_mean: mean errors.
    """

    difference: float | None
    low: float | None
    high: float | None
    pairs: int
    units: int
    first_mean: float | None
    second_mean: float | None

    @property
    def verdict(self) -> str:
        """In words, `A` being the first."""
        if self.low is None:
            return "too few to tell"
        if self.low > 0.0:
            return "B is better"
        return "A is better" if self.high < 0.0 else "no difference can be told"


def paired_interval(
    first_N: np.ndarray, second_N: np.ndarray, episodes_N: np.ndarray, *, seed: int = 0, draws: int = DRAWS
) -> Paired:
    """Bootstrap of the mean difference over whole recordings, or over stretches where there are few.

    Args:
        first_N, second_N: error of each policy on each observation; pairs with a NaN are left out.
        episodes_N: recording of each.
        seed: of the draws.
        draws: how many.
    """
    known = np.isfinite(first_N) & np.isfinite(second_N)
    first, second, episodes = first_N[known], second_N[known], np.asarray(episodes_N)[known]
    units = _units(episodes)
    count = int(units.max()) + 1 if len(units) else 0
    means = (float(first.mean()), float(second.mean())) if count else (None, None)
    if count < 2:
        return Paired(difference=None, low=None, high=None, pairs=len(first), units=count,
                      first_mean=means[0], second_mean=means[1])  # fmt: skip
    sums = np.bincount(units, weights=first - second, minlength=count)
    sizes = np.bincount(units, minlength=count)
    drawn = np.random.default_rng(seed).integers(0, count, (draws, count))
    differences = sums[drawn].sum(axis=1) / sizes[drawn].sum(axis=1)
    low, high = np.percentile(differences, [2.5, 97.5])
    return Paired(difference=means[0] - means[1], low=float(low), high=float(high), pairs=len(first), units=count,
                  first_mean=means[0], second_mean=means[1])  # fmt: skip


def _units(episodes: np.ndarray) -> np.ndarray:
    """(N,) number of the unit of each pair: 0, 1, 2, ..."""
    if not len(episodes):
        return np.empty(0, dtype=int)
    names, numbers = np.unique(episodes, return_inverse=True)
    if len(names) >= FEW_EPISODES:
        return numbers
    place = np.zeros(len(episodes), dtype=int)
    for number in range(len(names)):
        own = numbers == number
        place[own] = np.arange(own.sum()) // STRETCH
    return np.unique(numbers * len(episodes) + place, return_inverse=True)[1]
