"""What the page is told of an episode: curves with as many points as a screen has columns, and the labels."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from beingh_core.data.annotate.recording import Recording
from beingh_core.data.annotate.signals import speed

_POINTS = 1500


def episode(recording: Recording) -> dict[str, Any]:
    """Everything of an episode but labels and pictures, as JSON."""
    signals = recording.signals
    grid_s, speed_M, unit = speed(signals)
    curves = [_curve("speed", unit, grid_s, {"speed": speed_M})]
    if signals.grippers:
        curves.append(_curve("gripper", "0 closed, 1 open", signals.times_s, signals.grippers))
    curves.append(_curve("joints", "rad or m", signals.times_s, signals.joints))
    return {
        "name": recording.path.name,
        "task": signals.task,
        "robot": recording.robot,
        "duration_s": round(signals.duration_s, 3),
        "views": [{"name": one.name, "times_s": np.round(one.times_s, 4).tolist()} for one in recording.views],
        "curves": curves,
        "marks": [{"time_s": round(mark.time_s, 3), "name": mark.name} for mark in signals.marks],
        "person": [[round(low, 3), round(high, 3)] for low, high in signals.person],
        "findings": list(recording.findings)[:20],
    }


def _curve(name: str, unit: str, times_s: Sequence[float], lines: dict[str, np.ndarray]) -> dict[str, Any]:
    """Lines over time, thinned out; of each stretch the lowest and the highest value stay."""
    times_s, found = np.asarray(times_s, float), {}
    stretch = max(1, -(-2 * len(times_s) // _POINTS))
    kept = np.arange(0, len(times_s), stretch)
    for line, values in lines.items():
        if stretch == 1:
            found[line] = [times_s, np.asarray(values, float)]
            continue
        index = np.unique(
            np.concatenate([
                [first + np.argmin(values[first : first + stretch]), first + np.argmax(values[first : first + stretch])]
                for first in kept
            ])
        )  # fmt: skip
        found[line] = [times_s[index], np.asarray(values, float)[index]]
    return {
        "name": name,
        "unit": unit,
        "lines": {line: {"t": np.round(t, 3).tolist(), "v": np.round(v, 5).tolist()} for line, (t, v) in found.items()},
    }
