"""What the joint states tell about the joints that are commanded. No ROS here."""

from __future__ import annotations

import math
from collections.abc import Mapping

import numpy as np


class MeasuredJoints:
    """The newest position of each wanted joint. Not thread-safe.

    Args:
        joints: Wanted joint names.
        max_age_s: A joint not heard of for longer is missing [s].
        topics: Where they come from, for messages.
    """

    def __init__(self, joints: tuple[str, ...], max_age_s: float, topics: str) -> None:
        self._joints, self._max_age_ns, self._topics = joints, max_age_s * 1e9, topics
        self._newest: dict[str, tuple[int, float]] = {}

    def update(self, now_ns: int, positions: Mapping[str, float]) -> None:
        """Note one message; it may hold any joints."""
        self._newest.update((name, (now_ns, positions[name])) for name in self._joints if name in positions)

    def forget(self) -> None:
        """Drop everything, so that only later messages count."""
        self._newest.clear()

    def problem(self, now_ns: int) -> str | None:
        """Why the positions cannot be used now, None when they can."""
        bad = [name for name, (_, value) in self._newest.items() if not math.isfinite(value)]
        if bad:
            return f"joint states on {self._topics} hold {self._newest[bad[0]][1]} for {', '.join(bad)}"
        late = [n for n in self._joints if n not in self._newest or now_ns - self._newest[n][0] > self._max_age_ns]
        return f"no fresh joint states on {self._topics} of {', '.join(late)}" if late else None

    def positions(self) -> np.ndarray:
        """(J,) newest positions [rad or m]."""
        return np.array([self._newest[name][1] for name in self._joints])
