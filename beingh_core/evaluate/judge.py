"""Success of a told task, judged from where the cubes are and what the robot touches, and from nothing else."""

from __future__ import annotations

from collections.abc import Collection, Mapping

import numpy as np

from beingh_core.errors import BeingHError
from beingh_core.tasks import BOWL, PICK, Motion, Told

# Without news of the cubes for longer, nobody can say that one was held meanwhile [s].
MAX_GAP_S = 0.3


class TaskJudge:
    """Watches cubes: what was told must come about with the named one, and stay so for a while. One thread at a time.

    Args:
        told: the task, with the colour of its cube.

    Attributes:
        told: the same.
        wanted: that colour.
        first_lifted: colour of the first cube to which the task was begun: that was lifted, or pushed; None before.
        success_s: time from the first update until success [s], None before.
    """

    def __init__(self, told: Told) -> None:
        self.told, self.wanted = told, told.colour
        self._start_s: float | None = None
        self._newest_s = 0.0
        self._start: dict[str, np.ndarray] = {}
        self._highest: dict[str, float] = {}
        self._since_s: float | None = None
        self.first_lifted: str | None = None
        self.success_s: float | None = None

    def update(self, time_s: float, positions: Mapping[str, np.ndarray], touched: Collection[str] = ()) -> None:
        """Take the cubes' centres at a time, and the bowl's where there is one.

        Args:
            time_s: robot time [s]; times before the newest one are ignored.
            positions: colour, or "bowl" -> (x, y, z) [m].
            touched: colours of the cubes that the robot touches.

        Raises:
            BeingHError: when the wanted cube, or what the task needs beside it, is not among the first positions.
        """
        positions = {name: np.asarray(place, dtype=float) for name, place in positions.items()}
        if self._start_s is None:
            self._begin(time_s, positions)
        if time_s < self._newest_s:
            return
        gap, self._newest_s = time_s - self._newest_s, time_s
        motions = {c: self._motion(c, positions, touched) for c in positions if c in self._start}
        task, side = self.told.task, self.told.side
        chosen = [c for c, motion in motions.items() if task.chosen(motion, side)]
        if chosen and self.first_lifted is None:
            self.first_lifted = max(chosen, key=lambda c: float(np.linalg.norm(positions[c] - self._start[c])))
        if self.wanted not in motions or not task.reached(motions[self.wanted], side):
            self._since_s = None
        elif self._since_s is None or gap > MAX_GAP_S:
            self._since_s = time_s
        elif self.success_s is None and time_s - self._since_s >= task.hold_s:
            self.success_s = time_s - self._start_s

    def _begin(self, time_s: float, positions: Mapping[str, np.ndarray]) -> None:
        if self.wanted not in positions:
            raise BeingHError(f"there is no {self.wanted} cube in the scene", allowed=sorted(positions))
        if missing := [thing for thing in self.told.task.things if thing not in positions]:
            raise BeingHError(
                f"there is no {missing[0]} in the scene",
                where="sim/objects",
                remedy=f"start the simulator with the task `{self.told.task.name}`",
            )
        self._start_s = self._newest_s = time_s
        self._start = {name: place for name, place in positions.items() if name != BOWL}

    def _motion(self, colour: str, positions: Mapping[str, np.ndarray], touched: Collection[str]) -> Motion:
        rise = float(positions[colour][2] - self._start[colour][2])
        self._highest[colour] = max(self._highest.get(colour, 0.0), rise)
        return Motion(
            start=self._start[colour],
            place=positions[colour],
            highest_m=self._highest[colour],
            touched=colour in touched,
            bowl=positions.get(BOWL),
        )

    @property
    def elapsed_s(self) -> float:
        """Robot time from the first to the newest update [s]."""
        return 0.0 if self._start_s is None else self._newest_s - self._start_s

    @property
    def success(self) -> bool:
        """Whether what was told has come about."""
        return self.success_s is not None

    @property
    def wrong_cube(self) -> bool:
        """Whether the task was begun to another cube than the wanted one."""
        return self.first_lifted not in (None, self.wanted)


class PickJudge(TaskJudge):
    """The judge of a pick: the cube of a colour must be lifted and held."""

    def __init__(self, wanted: str) -> None:
        super().__init__(Told(PICK, wanted))


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

    def update(self, time_s: float, positions: Mapping[str, np.ndarray], touched: Collection[str] = ()) -> None:
        """Take a time [s]; where the cubes are and what is touched does not matter."""
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
