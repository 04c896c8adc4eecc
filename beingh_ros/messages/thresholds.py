"""When a reading is a warning or an error: the one table of `docs/watching.md`. No ROS here.

A reading of a period looks at the newest `RECENT_S` seconds, so that a status recovers when its cause has gone.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Mapping
from dataclasses import dataclass

RECENT_S = 10.0
OK, WARN, ERROR = 0, 1, 2
Finding = tuple[int, str]


@dataclass(frozen=True, kw_only=True)
class Threshold:
    """A reading is a warning above `warn` and an error above `error`; None is never.

    Attributes:
        warn, error: Bounds, in `unit`.
        unit: Of the bounds, in words that follow the number.
        text: What is said, with {value} for the reading.
        remedy: What to do about it.
    """

    warn: float
    error: float | None
    unit: str
    text: str
    remedy: str

    def judge(self, value: float | None) -> list[Finding]:
        """The finding as a list of one, empty when the reading is fine or there is none."""
        if value is None or value <= self.warn:
            return []
        level = ERROR if self.error is not None and value > self.error else WARN
        return [(level, f"{self.text.format(value=value)}: {self.remedy}")]


TICK_LATENESS = Threshold(
    warn=10.0,
    error=50.0,
    unit="% of a tick (99th percentile)",
    text="ticks are sent {value:.0f} % of a tick late",
    remedy="the machine is too busy",
)
LATE_CHUNKS = Threshold(
    warn=10.0,
    error=None,
    unit="% of the chunks used",
    text="{value:.0f} % of the chunks are late",
    remedy="raise latency_budget_s or infer faster",
)
USELESS_CHUNKS = Threshold(
    warn=0.0,
    error=50.0,
    unit="% of all chunks",
    text="{value:.0f} % of the chunks come when all of their steps have passed",
    remedy="inference is far too slow",
)
REFUSED_CHUNKS = Threshold(
    warn=10.0,
    error=50.0,
    unit="% of all chunks",
    text="{value:.0f} % of the chunks are refused",
    remedy="see the counters and the controller's log",
)
CLIPPED_VALUES = Threshold(
    warn=5.0,
    error=None,
    unit="% of the commanded values",
    text="limits change {value:.0f} % of the commanded values",
    remedy="the policy asks for more than the robot may do",
)
OVERRUNS = Threshold(
    warn=0.0,
    error=None,
    unit="new epochs",
    text="{value:.0f} times a new epoch has begun",
    remedy="the tick thread was held up or the clock was set",
)
GRIPPER = Threshold(
    warn=0.0,
    error=None,
    unit="goals",
    text="{value:.0f} goals of a gripper ended badly with the fingers short of them",
    remedy="it holds something, or something keeps it from moving",
)
TRACKING = Threshold(
    warn=70.0,
    error=None,
    unit="% of the tracking error that stops it",
    text="a joint is {value:.4g} % of the allowed error away from its command",
    remedy="lower the limits, or see what holds it",
)
LATENCY = Threshold(
    warn=100.0,
    error=200.0,
    unit="% of the locked prefix (95th percentile)",
    text="chunks take {value:.0f} % of the time that is planned",
    remedy="raise latency_budget_s or infer faster",
)
FAILURES = Threshold(
    warn=0.0,
    error=50.0,
    unit="% of the inferences",
    text="{value:.0f} % of the inferences fail",
    remedy="see the policy's log",
)
UNREACHED = Threshold(
    warn=5.0,
    error=None,
    unit="% of the chunks' steps",
    text="the arm cannot reach {value:.0f} % of the steps",
    remedy="the policy leaves the workspace",
)
STREAM_AGE = Threshold(
    warn=80.0,
    error=100.0,
    unit="% of max_age_s",
    text="{value:.0f} % of max_age_s old",
    remedy="its publisher is slow",
)
STREAM_LOSS = Threshold(
    warn=5.0,
    error=None,
    unit="% of the messages",
    text="{value:.0f} % are lost",
    remedy="its publisher or this computer is too busy; compressed or reliable images lose less",
)


def worst(findings: list[Finding], fine: str) -> Finding:
    """The highest level and all texts, the worst first; (OK, `fine`) when there are none."""
    if not findings:
        return OK, fine
    ordered = sorted(findings, key=lambda finding: -finding[0])
    return ordered[0][0], "; ".join(text for _, text in ordered)


def percent(part: float, whole: float) -> float | None:
    """`part` of `whole` in per cent; None of nothing."""
    return 100.0 * part / whole if whole else None


class RecentCounts:
    """How much counters have grown in the newest `RECENT_S` seconds; one thread. Call it once a report."""

    def __init__(self) -> None:
        self._seen: deque[tuple[float, dict[str, float]]] = deque()

    def __call__(self, now_s: float, counts: Mapping[str, float]) -> dict[str, float]:
        """Growth of every counter since the oldest report of the period; 0 at the first.

        Args:
            now_s: Monotonic time [s].
            counts: Counters, which only grow.
        """
        while len(self._seen) > 1 and now_s - self._seen[0][0] > RECENT_S:
            self._seen.popleft()
        self._seen.append((now_s, dict(counts)))
        oldest = self._seen[0][1]
        return {name: value - oldest.get(name, 0) for name, value in counts.items()}
