"""Rate, jitter and losses of a stamped stream, from its stamps alone. No ROS here."""

from __future__ import annotations

import statistics
from collections import deque

_WARM_UP = 10
# Fraction of a period by which a gap may be longer than a whole number of periods.
_JITTER = 0.6


class StreamStats:
    """Counts messages and the gaps where messages are missing. One writer; reading from another thread is safe.

    A gap of n usual periods and some jitter has n - 1 missing messages; the usual period is the mean of the recent
    gaps, each divided by its n. A pause longer than `pause_s` is a stopped publisher, not a loss.

    Args:
        pause_s: Longest gap that counts as loss [s].
    """

    def __init__(self, pause_s: float = 2.0) -> None:
        self._pause_ns = pause_s * 1e9
        self._gaps: deque[float] = deque(maxlen=50)
        self._last_ns: int | None = None
        self.received = 0
        self.lost = 0
        self.refused = 0

    def add(self, stamp_ns: int) -> None:
        """Note a message by its stamp [ns]; older ones than the newest only count as received."""
        self.received += 1
        last, self._last_ns = self._last_ns, max(stamp_ns, self._last_ns or stamp_ns)
        gap = 0 if last is None else stamp_ns - last
        if gap <= 0 or gap > self._pause_ns:
            return
        periods = max(1, int(gap / self._period_ns() + 1 - _JITTER)) if len(self._gaps) >= _WARM_UP else 1
        self.lost += periods - 1
        self._gaps.append(gap / periods)

    @property
    def rate_hz(self) -> float:
        """Usual messages per second; 0 before there are two."""
        return 1e9 / self._period_ns() if self._gaps else 0.0

    @property
    def jitter_ms(self) -> float:
        """Standard deviation of the recent periods [ms]; 0 before there are two."""
        gaps = list(self._gaps)
        return statistics.pstdev(gaps) / 1e6 if gaps else 0.0

    def _period_ns(self) -> float:
        gaps = list(self._gaps)
        return sum(gaps) / len(gaps)
