"""Rate, jitter and losses of a stamped stream, from its stamps alone."""

from __future__ import annotations

import statistics
from collections import deque
from collections.abc import Sequence

_WARM_UP = 10
# Fraction of a period by which a gap may be longer than a whole number of periods.
_JITTER = 0.6
# So many gaps in a row that are alike, but not the usual one, are a new usual one after so many of the old periods.
_CHANGED, _ALIKE, _LASTING = 5, 1.4, 8
# How far a gap may be from whole periods [periods], without and with losses, and the share of gaps that must be near.
_WHOLE, _WHOLE_LOSSY, _REGULAR = 0.3, 0.12, 0.7
# Most losses in a row that a period is looked for behind, and how many lengths such gaps have at least.
_MULTIPLES, _VARIED = 8, 3


class StreamStats:
    """Counts messages and the gaps where messages are missing. One writer; reading from another thread is safe.

    A gap of n usual periods and some jitter has n - 1 missing messages, once the usual gap has come again: when it
    does not, the rate has changed and nothing was lost. Messages that come bunched after a gap, or out of order, fill
    it. A stream without a period has no losses to tell. A pause longer than `pause_s` is a stopped publisher.

    Args:
        pause_s: Longest gap that counts as loss [s].
    """

    def __init__(self, pause_s: float = 2.0) -> None:
        self._pause_ns = pause_s * 1e9
        self.received = 0
        self.lost = 0
        self.refused = 0
        self.restart()

    def restart(self, last_ns: int | None = None) -> None:
        """Forget the rate, not the counts: the clock was set, to `last_ns` at the newest message."""
        self._last_ns = last_ns
        self._recent: deque[float] = deque(maxlen=3 * _WARM_UP)
        self._periods: deque[float] = deque(maxlen=50)
        self._settle()

    def add(self, stamp_ns: int) -> None:
        """Note a message by its stamp [ns]."""
        self.received += 1
        gap = 0 if self._last_ns is None else stamp_ns - self._last_ns
        if self._last_ns is None or gap < -self._pause_ns:
            self.restart(stamp_ns)
        elif gap < 0:
            self._suspected = max(0, self._suspected - 1)
        elif gap > 0:
            self._last_ns = stamp_ns
            if gap <= self._pause_ns:
                self._add_gap(gap)

    @property
    def rate_hz(self) -> float:
        """Usual messages per second; 0 before there are two."""
        period = self._period
        recent = list(self._recent)
        return 1e9 / (period or statistics.fmean(recent)) if recent else 0.0

    @property
    def jitter_ms(self) -> float:
        """Standard deviation of the recent periods [ms]; 0 before there are two."""
        periods = list(self._periods)
        return statistics.pstdev(periods) / 1e6 if periods else 0.0

    def _add_gap(self, gap: float) -> None:
        self._recent.append(gap)
        if self._period is None:
            self._periods.append(gap)
            if len(self._recent) == _WARM_UP:
                self._settle()
            return
        ratio = gap / self._period
        count = int(ratio + (0.5 if ratio < 1 else 1 - _JITTER))
        self._is_whole.append(abs(ratio - max(1, count)) <= _WHOLE)
        if count == 1:
            self._usual(gap)
        else:
            self._unusual(gap, count)
        if len(self._is_whole) == self._is_whole.maxlen and not self._regular():
            self._settle()

    def _usual(self, gap: float) -> None:
        self._period += (gap - self._period) / self._is_whole.maxlen
        self._periods.append(gap)
        self._odd.clear()
        self._odd_ns = 0.0
        if self._regular():
            self.lost += self._suspected
        self._suspected = 0

    def _unusual(self, gap: float, count: int) -> None:
        self._suspected = max(0, self._suspected + count - 1)
        if self._odd and not self._odd[-1] / _ALIKE < gap < self._odd[-1] * _ALIKE:
            self._odd.clear()
            self._odd_ns = 0.0
        self._odd.append(gap)
        self._odd_ns += gap
        if len(self._odd) == _CHANGED and self._odd_ns >= _LASTING * self._period:
            self._recent.clear()
            self._recent.extend(self._odd)
            self._periods.clear()
            self._periods.extend(self._odd)
            self._settle()

    def _regular(self) -> bool:
        return sum(self._is_whole) >= _REGULAR * len(self._is_whole)

    def _settle(self) -> None:
        """Find the period of the recent gaps, and begin to suspect losses anew."""
        self._period = _period_of(list(self._recent)) if self._recent else None
        self._is_whole: deque[bool] = deque(maxlen=2 * _WARM_UP)
        self._odd: deque[float] = deque(maxlen=_CHANGED)
        self._odd_ns = 0.0
        self._suspected = 0


def _period_of(gaps: Sequence[float]) -> float:
    """The longest period of which most gaps are whole multiples, some of them one; the mean gap when there is none."""
    middle = statistics.median(gaps)
    for divisor in range(1, _MULTIPLES + 1):
        guess, most = middle / divisor, _WHOLE if divisor == 1 else _WHOLE_LOSSY
        fitting = [(gap, round(gap / guess)) for gap in gaps if abs(gap / guess - max(1, round(gap / guess))) <= most]
        counts = {count for _, count in fitting}
        if len(fitting) >= _REGULAR * len(gaps) and (divisor == 1 or 1 in counts and len(counts) >= _VARIED):
            return sum(gap for gap, _ in fitting) / sum(max(1, count) for _, count in fitting)
    return sum(gaps) / len(gaps)
