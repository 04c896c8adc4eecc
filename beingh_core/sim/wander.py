"""A robot that is led about: it does what can be told, breaks off, goes elsewhere, and is never long at one thing.

So it comes into all the states from which an instruction may have to be carried out: over another cube, in mid-motion, with
the hand half closed. Letters: J commanded joints, T commands.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from math import lcm

import numpy as np
from scipy.spatial.transform import Rotation

from beingh_core.sim.expert_policy import ExpertPolicy, OutOfReach, arm_state
from beingh_core.sim.grasp import Cube
from beingh_core.sim.picking import Picker
from beingh_core.sim.robot import SimRobot
from beingh_core.sim.ways import in_bowl
from beingh_core.tasks import BOWL, PICK, Told

# How long it stays at one thing, how long it goes on with a cube that it has picked, and how high is up [s, s, m].
_STAYS_S, _CARRIES_S, _UP_M = (0.2, 2.5), (0.6, 1.6), 0.01
# Shares of goals: a task, a place near a cube; the others are anywhere. Of the tasks, those that it does not break off; one that is no
# pick ends at the latest after this [s].
_DOES, _NEAR, _ENDS, _LONGEST_S = 0.65, 0.2, 0.6, 7.0
# Shares of beginnings: at rest, near a cube; the others are anywhere. Shares of those with an open hand.
_RESTS, _BEGINS_NEAR, _OPEN = 0.25, 0.45, 0.85
_ASIDE_M = 0.03
# Of the way from the grasp to over it, and from there to the rest posture.
_LOW, _HIGH = (0.4, 1.3), (0.0, 0.9)


@dataclass(frozen=True, kw_only=True, eq=False)
class Goal:
    """A task to do (`told`), or a posture (J,) of an arm with its hand open."""

    told: Told | None = None
    picker: Picker | None = None
    posture: np.ndarray | None = None


class Wanderer:
    """Leads one simulated robot. Not thread-safe.

    Args:
        robot: the robot.
        expert: plans its motions; nobody else uses it meanwhile.
        names: commanded joints, in the order of commands.
        base: (J,) which of them drive a base: these stand still.
        home: (J,) commands of the rest posture.
        dt_s: period of commands [s].
        told: what it does, each task as often as the others.

    Attributes:
        goal: what it does now.
        told: what it chooses among.
    """

    def __init__(
        self, robot: SimRobot, expert: ExpertPolicy, names: tuple[str, ...], base: np.ndarray, home: np.ndarray, dt_s: float,
        told: Sequence[Told],
    ) -> None:  # fmt: skip
        self._robot, self._expert, self._names, self._base, self._dt_s = robot, expert, names, base, dt_s
        self.told, self._colours = _evenly(told), list(robot.objects())
        self._home = np.where(base, 0.0, home)
        self.goal = Goal()

    def begin(self, rng: np.random.Generator, cubes: Mapping[str, Cube]) -> np.ndarray:
        """Places the robot somewhere with a new goal; returns its first commands (2, J), at standstill.

        Args:
            rng: draws everything from now on.
            cubes: see `ExpertPolicy.plan`.
        """
        self._rng, self._lifted_s, self._tired_s = rng, 0.0, rng.uniform(*_CARRIES_S)
        command, kind = self._home.copy(), rng.random()
        picker = self._expert.pickers[rng.integers(len(self._expert.pickers))]
        q = command[picker.columns]
        if kind < _RESTS:
            q = q + rng.normal(0.0, 0.02, len(q))
        else:
            q = self._near(picker, cubes) if kind < _RESTS + _BEGINS_NEAR else self._anywhere(picker, cubes)
        command[picker.columns] = np.clip(q, picker.fingers.kinematics.lower, picker.fingers.kinematics.upper)
        command[picker.hand_columns] = picker.hand_at(1.0 if rng.random() < _OPEN else rng.uniform(0.0, 1.0))
        known = self._robot.positions()
        self._robot.place_joints({n: v for n, v in zip(self._names, command) if n in known})
        self._choose(cubes)
        return np.stack([command, command])

    def ahead(
        self, sent_TJ: np.ndarray, measured_J: np.ndarray, cubes: Mapping[str, Cube], steps: int
    ) -> np.ndarray:  # fmt: skip
        """(steps, J) commands that follow, as long as the goal stays.

        Args:
            sent_TJ: (T, J) last commands.
            measured_J: (J,) where the joints are.
            cubes: see `ExpertPolicy.plan`.
            steps: how many.
        """
        if self.goal.told is not None:
            try:
                return self._expert.plan(self.goal.told, cubes, sent_TJ, measured_J, steps)
            except OutOfReach:  # it has been knocked away
                self.goal = self._posture(cubes)
        rows_TJ = np.where(self._base, 0.0, np.tile(sent_TJ[-1], (steps, 1)))
        some = cubes[self._colours[0]]
        for picker in self._expert.pickers:
            state = arm_state(picker, sent_TJ)
            for row in rows_TJ:
                mine = picker is self.goal.picker
                state = picker.towards(state, self.goal.posture, some) if mine else picker.rest(state)
                row[picker.columns], row[picker.hand_columns] = state.q, state.hand
        return rows_TJ

    def go_on(self, cubes: Mapping[str, Cube]) -> bool:
        """A tick has passed: perhaps chooses another goal; False when it has carried a picked cube for long enough."""
        self._left_s -= self._dt_s
        told = self.goal.told
        up = told is not None and cubes[told.colour].bottom > self._robot.layout.table[2] + _UP_M
        self._lifted_s = self._lifted_s + self._dt_s if up and told.task is PICK else 0.0
        if self._left_s <= 0.0 and not up:
            self._choose(cubes)
        return self._lifted_s < self._tired_s

    def _choose(self, cubes: Mapping[str, Cube]) -> None:
        self._left_s = self._rng.uniform(*_STAYS_S)
        ends = False
        if does := self._rng.random() < _DOES:
            ends = self._rng.random() < _ENDS
        self.goal = Goal(told=self.told[self._rng.choice(len(self.told))]) if does else self._posture(cubes)
        if ends:
            self._left_s = float("inf") if self.goal.told.task is PICK else _LONGEST_S

    def _posture(self, cubes: Mapping[str, Cube]) -> Goal:
        picker = self._expert.pickers[self._rng.integers(len(self._expert.pickers))]
        near = self._rng.random() < _NEAR / (1.0 - _DOES)
        return Goal(picker=picker, posture=self._near(picker, cubes) if near else self._anywhere(picker, cubes))

    def _near(self, picker: Picker, cubes: Mapping[str, Cube]) -> np.ndarray:
        """(J,) a posture a little above a cube that is in no bowl, not quite over it."""
        free = [name for name in self._colours if BOWL not in cubes or not in_bowl(cubes[name], cubes[BOWL])]
        cube = cubes[str(self._rng.choice(free or self._colours))]
        centre = np.array([*cube.centre[:2] + self._rng.normal(0.0, _ASIDE_M, 2), self._table_m(cube)])
        grasp = picker.way_to(replace(cube, centre=centre))
        return picker.fingers.rest if grasp is None else _between(grasp.grasp, grasp.hover, self._rng.uniform(*_LOW))

    def _anywhere(self, picker: Picker, cubes: Mapping[str, Cube]) -> np.ndarray:
        """(J,) a posture over any place, between near the table and at rest."""
        cube = cubes[self._colours[0]]
        (x0, x1), (y0, y1) = self._robot.layout.area
        place = self._rng.uniform([x0, y0], [x1, y1]) + self._rng.normal(0.0, _ASIDE_M, 2)
        turned = Rotation.from_euler("z", self._robot.layout.yaw_rad).as_matrix()
        there = Cube(centre=np.array([*place, self._table_m(cube)]), rotation=turned, size_m=cube.size_m)
        grasp = picker.way_to(there)
        if grasp is None:
            return picker.fingers.rest
        return _between(grasp.hover, picker.fingers.rest, self._rng.uniform(*_HIGH))

    def _table_m(self, cube: Cube) -> float:
        """Height of the middle of a cube that lies on the table [m]."""
        return self._robot.layout.table[2] + cube.size_m / 2.0


def _evenly(told: Sequence[Told]) -> tuple[Told, ...]:
    """The same, in which each task is as often as the others."""
    counts = Counter(one.task for one in told)
    return tuple(one for one in told for _ in range(lcm(*counts.values()) // counts[one.task]))


def _between(first: np.ndarray, last: np.ndarray, share: float) -> np.ndarray:
    return first + share * (last - first)
