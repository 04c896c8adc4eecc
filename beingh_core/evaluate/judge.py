"""Success of a pick, judged from where the cubes are and from nothing else."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from beingh_core.errors import BeingHError

LIFT_M = 0.05
HOLD_S = 1.0
# Without news of the cubes for longer, nobody can say that one was held meanwhile [s].
MAX_GAP_S = 0.3


class PickJudge:
    """Watches cubes: the wanted one must be lifted and stay lifted for a while. One thread at a time.

    Args:
        wanted: colour of the cube to be lifted.
        lift_m: height above its place at the first update [m].
        hold_s: how long it must stay that high [s].
    """

    def __init__(self, wanted: str, *, lift_m: float = LIFT_M, hold_s: float = HOLD_S) -> None:
        self.wanted = wanted
        self._lift_m, self._hold_s = lift_m, hold_s
        self._start_s: float | None = None
        self._newest_s = 0.0
        self._start_z: dict[str, float] = {}
        self._lifted_since_s: float | None = None
        self.first_lifted: str | None = None
        self.success_s: float | None = None

    def update(self, time_s: float, positions: Mapping[str, np.ndarray]) -> None:
        """Take the cubes' centres at a time.

        Args:
            time_s: robot time [s]; times before the newest one are ignored.
            positions: colour -> (x, y, z) [m].

        Raises:
            BeingHError: when the wanted cube is not among the first positions.
        """
        if self._start_s is None:
            if self.wanted not in positions:
                raise BeingHError(f"there is no {self.wanted} cube in the scene", allowed=sorted(positions))
            self._start_s = self._newest_s = time_s
            self._start_z = {colour: float(place[2]) for colour, place in positions.items()}
        if time_s < self._newest_s:
            return
        gap, self._newest_s = time_s - self._newest_s, time_s
        lifted = [
            c for c, place in positions.items() if c in self._start_z and place[2] - self._start_z[c] >= self._lift_m
        ]
        if lifted and self.first_lifted is None:
            self.first_lifted = max(lifted, key=lambda c: positions[c][2] - self._start_z[c])
        if self.wanted not in lifted:
            self._lifted_since_s = None
        elif self._lifted_since_s is None or gap > MAX_GAP_S:
            self._lifted_since_s = time_s
        elif self.success_s is None and time_s - self._lifted_since_s >= self._hold_s:
            self.success_s = time_s - self._start_s

    @property
    def elapsed_s(self) -> float:
        """Robot time from the first to the newest update [s]."""
        return 0.0 if self._start_s is None else self._newest_s - self._start_s

    @property
    def success(self) -> bool:
        """Whether the wanted cube was lifted and held."""
        return self.success_s is not None

    @property
    def wrong_cube(self) -> bool:
        """Whether the first cube that was lifted is another than the wanted one."""
        return self.first_lifted not in (None, self.wanted)


class TimeJudge:
    """Waits until a time is over, for a robot that has nothing to pick with. One thread at a time.

    Args:
        seconds: robot time to wait for [s].
    """

    wanted, first_lifted = "", None

    def __init__(self, seconds: float) -> None:
        self._seconds = seconds
        self._start_s: float | None = None
        self._newest_s = 0.0

    def update(self, time_s: float, positions: Mapping[str, np.ndarray]) -> None:
        """Take a time [s]; where the cubes are does not matter."""
        if self._start_s is None:
            self._start_s = time_s
        self._newest_s = max(self._newest_s, time_s)

    @property
    def elapsed_s(self) -> float:
        """Robot time from the first to the newest update [s]."""
        return 0.0 if self._start_s is None else self._newest_s - self._start_s

    @property
    def success(self) -> bool:
        """Whether the time is over."""
        return self.elapsed_s >= self._seconds

    @property
    def success_s(self) -> float | None:
        """When it was over [s], None before."""
        return self._seconds if self.success else None
