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


def fastest(times_s: np.ndarray, values: np.ndarray, span_s: float) -> float:
    """Largest rise a second over `span_s` or a little more; 0 in a shorter stretch."""
    later = np.searchsorted(times_s, times_s + span_s)
    first = np.flatnonzero(later < len(times_s))
    later = later[first]
    rises = (values[later] - values[first]) / (times_s[later] - times_s[first])
    return float(rises.max(initial=0.0))
