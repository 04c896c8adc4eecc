"""Where the ticks of recorded commands are, also when the commands do not stand exactly on them."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

# Commands and words of one tick may stand this much behind it: two clocks with one period differ by rounding [ns].
ROUNDING_NS = 1_000
_MOST = 256  # commands that are looked at
_LEAST_SHARE = 0.5  # of them must stand on the same ticks to be taken by their word
_LEAST_ORDER = 0.2  # length of the mean of their phases, 1 for all alike, below which they have none in common


def phase_of(stamps_ns: Sequence[int] | np.ndarray, period_ns: float) -> int:
    """A time on the ticks of commands [ns].

    Where at least half of them have one phase, which stamps of a controller have, it is that of the first of these. Else,
    as with log times, it is the circular mean of their phases (Mardia, Jupp: Directional Statistics, 2.2.1). Commands
    without any common phase, such as ones at another rate, have the ticks of the last.

    Args:
        stamps_ns: When they are due, at least one.
        period_ns: Of the ticks.
    """
    stamps = np.asarray(stamps_ns, np.int64)[:: max(1, len(stamps_ns) // _MOST)]
    behind = np.mod((stamps - stamps[0]).astype(float), period_ns)
    apart = np.abs(behind[:, None] - behind[None])
    same = np.minimum(apart, period_ns - apart) <= ROUNDING_NS
    counts = same.sum(axis=1)
    best = int(np.argmax(counts))
    if counts[best] >= _LEAST_SHARE * len(stamps):
        return int(stamps[best])
    mean = np.exp(2j * np.pi * behind / period_ns).mean()
    if abs(mean) < _LEAST_ORDER:
        return int(stamps[-1])
    return int(stamps[0]) + round(float(np.angle(mean)) / (2 * np.pi) * period_ns)
