"""How far behind and how far off a robot follows what it is sent."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

# Lags that are tried [s].
_LAGS_S = np.arange(0.0, 0.4, 0.01)


@dataclass(frozen=True, kw_only=True, eq=False)
class Followed:
    """Commands and measurements of an episode.

    Attributes:
        sent_s, sent: (T,) [s], (T, J) commands [rad or m]; NaN where nothing was seen.
        measured_s, measured: (N,), (N, J) positions.
    """

    sent_s: np.ndarray
    sent: np.ndarray
    measured_s: np.ndarray
    measured: np.ndarray

    def errors(self, lag_s: float) -> np.ndarray:
        """(N, J) distance of the measured positions from the commands of `lag_s` before them; where both are known."""
        at_s = self.measured_s - lag_s
        inside = (at_s >= self.sent_s[0]) & (at_s <= self.sent_s[-1]) if len(self.sent_s) else np.zeros(0, dtype=bool)
        if not inside.any():
            return np.empty((0, self.sent.shape[1]))
        columns = [np.interp(at_s[inside], self.sent_s, column) for column in self.sent.T]
        return np.abs(self.measured[inside] - np.column_stack(columns))


def tracking_figures(episodes: Sequence[Followed], joints: np.ndarray) -> dict[str, float | None]:
    """Error of tracking of chosen joints (J,) bool, over all episodes and at the lag that explains most of it.

    Returns:
        lag_ms; p95 and max of the worst joint at every measurement, with that lag; max_without_lag. None without values.
    """
    nothing = {"lag_ms": None, "p95": None, "max": None, "max_without_lag": None}
    if not joints.any():
        return nothing
    kept = [e for e in (_only(episode, joints) for episode in episodes) if len(e.sent_s) and len(e.measured_s)]
    worst = {float(lag): np.concatenate([e.errors(lag).max(axis=1) for e in kept] or [np.empty(0)]) for lag in _LAGS_S}
    worst = {lag: values for lag, values in worst.items() if values.size}
    if not worst:
        return nothing
    lag = min(worst, key=lambda one: float(np.mean(worst[one])))
    return {
        "lag_ms": round(1e3 * lag),
        "p95": round(float(np.percentile(worst[lag], 95)), 4),
        "max": round(float(worst[lag].max()), 4),
        "max_without_lag": round(float(worst[min(worst)].max()), 4),
    }


def _only(episode: Followed, joints: np.ndarray) -> Followed:
    known = np.isfinite(episode.sent[:, joints]).all(axis=1)
    return Followed(
        sent_s=episode.sent_s[known],
        sent=episode.sent[known][:, joints],
        measured_s=episode.measured_s,
        measured=episode.measured[:, joints],
    )
