"""How sure a share of successes is."""

from __future__ import annotations

import math

from beingh_core.errors import BeingHError

# Two-sided 95 %.
Z = 1.959963984540054


def wilson(successes: int, trials: int, z: float = Z) -> tuple[float, float]:
    """Wilson's score interval of a share (Wilson 1927, J. Am. Stat. Assoc. 22): (low, high), (0, 1) without trials.

    Args:
        successes: 0 to `trials`.
        trials: how many.
        z: quantile of the normal distribution.

    Raises:
        BeingHError: more successes than trials, or fewer than none.
    """
    if not 0 <= successes <= trials:
        raise BeingHError(f"{successes} successes of {trials} trials", allowed=f"0 to {max(trials, 0)}")
    if not trials:
        return 0.0, 1.0
    share, shrink = successes / trials, 1 + z * z / trials
    middle = (share + z * z / (2 * trials)) / shrink
    half = z / shrink * math.sqrt(share * (1 - share) / trials + z * z / (4 * trials * trials))
    # Of none and of all the ends are exact.
    return (0.0 if successes == 0 else middle - half), (1.0 if successes == trials else middle + half)
