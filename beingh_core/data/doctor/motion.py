"""When a robot moves, when its grippers close: from the curves of its joints."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from beingh_core.data.doctor.facts import Curve, Mark, Run

STEP_S, WINDOW_S = 0.1, 1.0
_MOST_STEPS = 50_000
_LARGEST = 1e15  # of values; beyond there is no motion, only a fault
# A gripper closes when it falls below the first share of its way, once it has been above the second.
_CLOSED_BELOW, _OPEN_ABOVE = 0.75, 0.85
GRIP_NAMES = ("gripper closes", "gripper opens", "gripper moves")
_MOST_GRIPS = 60  # more are noise; every so many of them are left


class Motion:
    """How joints move over an episode.

    Args:
        curves: What was measured, or what was commanded where nothing was measured.
        duration_s: Of the episode.
    """

    def __init__(self, curves: Sequence[Curve], duration_s: float) -> None:
        measured = [c for c in curves if not c.commanded] or list(curves)
        self._curves = [c for c in measured if np.count_nonzero(np.isfinite(c.values)) > 1]
        self._step_s = max(STEP_S, duration_s / _MOST_STEPS)
        self._times = np.arange(0.0, duration_s + 1e-9, self._step_s)
        rows = [self._on_grid(curve) for curve in self._curves]
        self._units_JT = np.stack(rows) if rows else np.zeros((0, len(self._times)))

    @property
    def known(self) -> bool:
        """Whether there is any joint."""
        return bool(self._curves)

    def moved(self, start_s: float, end_s: float) -> float:
        """How far the joint that moved most went between two times, in units of what counts as rest."""
        inside = self._units_JT[:, (self._times >= start_s) & (self._times <= end_s)]
        return float(np.nanmax(np.ptp(inside, axis=1), initial=0.0)) if inside.size else 0.0

    def idle(self, least_s: float) -> list[Run]:
        """Stretches of at least `least_s` in which nothing moves."""
        if not self.known or len(self._times) < 2:
            return []
        half = max(1, round(WINDOW_S / 2 / self._step_s))
        padded = np.pad(self._units_JT, ((0, 0), (half, half)), mode="edge")
        windows = np.lib.stride_tricks.sliding_window_view(padded, 2 * half + 1, axis=1)
        rests = (windows.max(axis=2) - windows.min(axis=2)).max(axis=0) < 1.0
        edges = np.flatnonzero(np.diff(np.concatenate([[False], rests, [False]]).astype(np.int8)))
        runs = [
            Run(start_s=float(self._times[first]), end_s=float(self._times[last - 1]), count=int(last - first))
            for first, last in zip(edges[::2], edges[1::2])
        ]
        return [run for run in runs if run.end_s - run.start_s >= least_s]

    def _on_grid(self, curve: Curve) -> np.ndarray:
        good = np.isfinite(curve.values)
        units = np.clip(curve.values[good], -_LARGEST, _LARGEST) / curve.still
        return np.interp(self._times, curve.times_s[good], units)


def grip_marks(curves: Sequence[Curve]) -> list[Mark]:
    """When grippers close and open; they only "move" where nobody says which way is closed."""
    grips = [c for c in curves if c.grip is not None]
    grips = [c for c in grips if not c.commanded] or grips
    marks = []
    for curve in grips:
        values = curve.values[np.isfinite(curve.values)]
        if values.size < 3 or np.ptp(values) < 4 * curve.still:
            continue
        closed, opened = curve.grip
        names = GRIP_NAMES[:2]
        if np.isnan(closed):
            closed, opened, names = float(values.min()), float(values.max()), GRIP_NAMES[2:] * 2
        marks += _crossings(curve, closed, opened, names)
    marks.sort(key=lambda mark: mark.time_s)
    return marks[:: -(-len(marks) // _MOST_GRIPS) or 1]


def _crossings(curve: Curve, closed: float, opened: float, names: tuple[str, str]) -> list[Mark]:
    share, found, is_open = (curve.values - closed) / (opened - closed), [], None
    state = np.where(share < _CLOSED_BELOW, 0, np.where(share > _OPEN_ABOVE, 1, -1))
    for index in np.flatnonzero(state >= 0)[np.r_[True, np.diff(state[state >= 0]) != 0]] if (state >= 0).any() else ():
        now_open = bool(state[index])
        if is_open is not None and now_open != is_open:
            found.append(Mark(time_s=float(curve.times_s[index]), name=names[now_open]))
        is_open = now_open
    return found
