"""What the judges of streams of commands share; see `arm_sdk` and `base`."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np

# Messages further apart than this are of two streams [s].
GAP_S = 0.5


@dataclass(frozen=True, kw_only=True)
class StreamFigures:
    """Figures of a stream for the JSON file, and every broken promise in words."""

    figures: dict[str, object] = field(default_factory=dict)
    problems: tuple[str, ...] = ()


def stretches(sent_ns: np.ndarray, weight: np.ndarray | None = None) -> list[slice]:
    """Parts of a stream between pauses or, with a weight, behind each return to 0."""
    if not len(sent_ns):
        return []
    ends = np.zeros(len(sent_ns), bool)
    if weight is None:
        ends[:-1] = np.diff(sent_ns) > GAP_S * 1e9
    else:
        ends[1:] = (weight[1:] == 0.0) & (weight[:-1] > 0.0)
    ends[-1] = True
    cuts = [0, *(np.flatnonzero(ends) + 1).tolist()]
    return [slice(a, b) for a, b in zip(cuts, cuts[1:])]


def not_numbers(what: str, *values: np.ndarray) -> list[str]:
    """A problem where something that was sent is no finite number, which no comparison with a limit would find."""
    wrong = sum(int((~np.isfinite(part)).sum()) for part in values)
    return [f"{wrong} values that were sent to {what} are no finite numbers"] if wrong else []


def ahead(times_s: np.ndarray, values: np.ndarray, most: float) -> float:
    """How far values (N,) get ahead of the fastest rise that is allowed, `most` a second, from any earlier one on."""
    left = values - most * (times_s - times_s[0])
    return float((left - np.minimum.accumulate(left)).max())
