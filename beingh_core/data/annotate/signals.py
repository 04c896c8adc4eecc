"""What an episode's segments are proposed from: plain arrays over time, and what people marked. Knows no bags.

Letters: N samples, J joints.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np

STEP_S = 0.02
"""Time between the samples of `on_grid` [s]."""


@dataclass(frozen=True, kw_only=True)
class Mark:
    """A moment that a person marked: seconds after the episode's beginning, and what it was called."""

    time_s: float
    name: str


@dataclass(frozen=True, kw_only=True)
class Signals:
    """One episode.

    Attributes:
        times_s: (N,) increasing, since the recording's first message [s].
        joints: joint's name -> (N,) position [rad or m].
        tools: hand's name -> (N, 3) position of its tool [m]; empty where the contract does not say it.
        grippers: hand's name -> (N,) opening, 0 closed, 1 open.
        marks: in order.
        person: (from, to) of each stretch in which a person was in charge of a robot that a policy drives [s].
        task: the instruction, "" when nobody said one.
        success: what the recorder was told; None when nothing.
    """

    times_s: np.ndarray
    joints: Mapping[str, np.ndarray]
    tools: Mapping[str, np.ndarray] = field(default_factory=dict)
    grippers: Mapping[str, np.ndarray] = field(default_factory=dict)
    marks: tuple[Mark, ...] = ()
    person: tuple[tuple[float, float], ...] = ()
    task: str = ""
    success: bool | None = None

    @property
    def duration_s(self) -> float:
        """From the first sample to the last [s]."""
        return float(self.times_s[-1])


def on_grid(times_s: np.ndarray, values: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """((M,), (M, ...)) times from 0 every `STEP_S`, and the values there, on straight lines between samples."""
    grid_s = np.arange(0.0, times_s[-1] + STEP_S / 2, STEP_S)
    columns = np.asarray(values, float).reshape(len(times_s), -1)
    found = np.stack([np.interp(grid_s, times_s, column) for column in columns.T], axis=1)
    return grid_s, found.reshape(len(grid_s), *np.shape(values)[1:])


def smoothed(values: np.ndarray, window_s: float) -> np.ndarray:
    """The mean over a window around each sample of a grid; at the ends over what is there."""
    half = max(0, round(window_s / STEP_S / 2))
    columns = np.asarray(values, float).reshape(len(values), -1)
    total = np.vstack([np.zeros(columns.shape[1]), np.cumsum(columns, axis=0)])
    index = np.arange(len(columns))
    first, last = np.maximum(index - half, 0), np.minimum(index + half + 1, len(columns))
    return ((total[last] - total[first]) / (last - first)[:, None]).reshape(np.shape(values))


def speed(signals: Signals) -> tuple[np.ndarray, np.ndarray, str]:
    """(times (M,) [s], speed (M,), its unit): of the fastest tool [m/s], without tools of all joints together [rad/s]."""
    paths = list(signals.tools.values()) or [np.stack(list(signals.joints.values()), axis=1)]
    found = []
    for path in paths:
        grid_s, values = on_grid(signals.times_s, path)
        if len(grid_s) < 2:
            return grid_s, np.zeros(len(grid_s)), "m/s" if signals.tools else "rad/s"
        found.append(np.linalg.norm(np.gradient(smoothed(values, 0.2), STEP_S, axis=0), axis=1))
    return grid_s, np.max(found, axis=0), "m/s" if signals.tools else "rad/s"


def spans(wanted: np.ndarray) -> list[tuple[int, int]]:
    """(first, one after the last) of each unbroken run of True."""
    edges = np.flatnonzero(np.diff(np.concatenate([[False], wanted, [False]]).astype(int)))
    return [(int(first), int(last)) for first, last in zip(edges[::2], edges[1::2])]
