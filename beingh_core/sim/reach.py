"""Where on a table a hand can grasp cubes: an area all of whose places it reaches in one orientation, without touching anything."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from itertools import chain

import mujoco
import numpy as np

from beingh_core.contract.kinematics import IkResult, Kinematics
from beingh_core.contract.schema import RobotContract
from beingh_core.contract.self_collision import collisions_of
from beingh_core.contract.urdf import UrdfFacts
from beingh_core.sim.describe import carried_by, followed, lowest_points
from beingh_core.sim.fingers import corners
from beingh_core.sim.hand import Hand

# A place is reached within this [m, rad]: five joints do not hold an orientation to the letter.
_NEAR_M, _NEAR_RAD = 1e-3, 0.03
# The hand rises so far above each place; further where it can at the corners of the area [m].
_HOVER_M, _HIGH_M = 0.07, 0.10
# Places are so far ahead of the arm's first joint, as the hand at home is [m].
_AHEAD_M = 0.1
# Grid of places [m]; so many of its steps to each side are looked at; the area sought along x and y, how many
# places of it are enough, and how many each side has at least.
_STEP_M, _STEPS = 0.04, 4
_WANTED, ENOUGH, _LEAST = (5, 7), 15, 3
# Directions of the approach, from straight down to nearly level, and about the vertical [rad].
_PITCHES = np.deg2rad([90, 70, 50, 30, 15])
_TURNS = np.deg2rad([0, -30, 30, -60, 60, -90, 90])
# What a flatter approach costs against a larger turn of the hand from home.
_FLAT_COST = 0.5
# Shares of the hand's distance at home at which the search begins, and random postures that are looked at.
_BEGIN, _SAMPLES = (1.0, 0.8, 0.6), 6000
# Orientations that are tried, postures from which each is looked for, and steps of each search for a posture.
_TRIED, _STARTS, _ITERATIONS = 14, 3, 25
# A cube has so much room beside and above it while the arm is at home [m].
_BESIDE_M, _ABOVE_M = 0.02, 0.06
# All shapes are so high above the table at least [m].
_CLEAR_M = 0.002


@dataclass(frozen=True, kw_only=True)
class Reach:
    """A rectangle of places and how the hand points there.

    Attributes:
        x, y: ends of the rectangle [m, root link].
        rotation: (3, 3) axes of the grasp frame (see `Hand.axes`) in the root link's.
        hover_m: how far above each place the hand reaches as well.
        places: how many places of the grid are in it.
    """

    x: tuple[float, float]
    y: tuple[float, float]
    rotation: np.ndarray
    hover_m: float
    places: int


class ReachSearch:
    """Looks for the places that a hand reaches on tables of various heights.

    Args:
        contract: the robot.
        urdf: its joints.
        model: the robot alone.
        hand: what grasps.
        height_m: how high above the table it grasps [m].
        cube_m: edge of the cubes [m]; none is where the arm at home nearly touches it.
        sees: whether a place (3,) is seen, for robots whose cameras do not stand where the cubes are.

    Attributes:
        at_home: (3,) where the hand would grasp at home [m, root link].
        shoulder: (3,) place of the arm's first joint at home.
    """

    def __init__(
        self,
        contract: RobotContract,
        urdf: UrdfFacts,
        model: mujoco.MjModel,
        hand: Hand,
        height_m: float,
        cube_m: float,
        sees: Callable[[np.ndarray], bool] = lambda _: True,
    ) -> None:
        self._sees = sees
        self._urdf, self._model, self._hand, self._height_m, self._cube_m = urdf, model, hand, height_m, cube_m
        names, limits = list(contract.joint_names), contract.limits
        columns = [names.index(joint) for joint in hand.arm_joints]
        self._arm = Kinematics(
            contract.urdf_path, hand.arm_joints, hand.link, None, (limits.lower[columns], limits.upper[columns])
        )
        self._home = dict(zip(contract.joint_names, contract.home))
        self._rest = np.array([self._home[joint] for joint in hand.arm_joints])
        self._joints = [n for n, is_velocity in zip(names, limits.is_velocity) if not is_velocity]
        self._open = hand.posture(1.0)
        self._collisions = collisions_of(contract)
        self._data = mujoco.MjData(model)
        self._place(self._rest, {})
        moved = carried_by(model, int(model.joint(hand.arm_joints[0]).bodyid[0]))
        self._moved = np.flatnonzero(np.isin(model.geom_bodyid, moved))
        self._home_low = lowest_points(model, self._data)[self._moved]
        points = np.array([corners(model, self._data, int(geom))[:, :2] for geom in self._moved])
        self._home_box = points.min(axis=1), points.max(axis=1)
        place, axes = self._arm.fk(self._rest)
        self.at_home, self._axes_at_home = place + axes @ np.array(hand.point), axes @ hand.axes
        self._far = self._arm.reach + float(np.linalg.norm(hand.point))
        self.shoulder = self._data.xpos[int(model.joint(hand.arm_joints[0]).bodyid[0])].copy()
        away = (self.at_home - self.shoulder)[:2]
        self._ahead = away / np.linalg.norm(away) if np.linalg.norm(away) > 0.05 else np.array([1.0, 0.0])

    def at(self, top_m: float) -> Reach | None:
        """The first orientation with the wanted area on a table of this height, else that with the largest; None for none."""
        best = None
        for rotation, starts in chain(((axes, [self._rest]) for axes in self._rotations()), self._further(top_m)):
            found = self._area(top_m, rotation, starts)
            if found is not None and (best is None or found.places > best.places):
                best = found
                if found.places >= ENOUGH:
                    break
        return best

    def _further(self, top_m: float) -> Iterator[tuple[np.ndarray, list[np.ndarray]]]:
        """Orientations with postures from which to look for them, beside home: those of random postures."""
        seen = self._seen(top_m + self._height_m)
        for rotation in chain(self._rotations(), _apart([axes for axes, _ in seen])):
            alike = sorted(seen, key=lambda one: -float(np.sum(one[0] * rotation)))
            yield rotation, [self._rest, *(posture for _, posture in alike[:_STARTS])]

    def grasp(self, place: np.ndarray, rotation: np.ndarray, start: np.ndarray) -> IkResult:
        """Posture of the arm with the middle of what the hand holds at `place` (3,) [m]."""
        axes = rotation @ self._hand.axes.T
        wanted = place - axes @ np.array(self._hand.point)
        return self._arm.solve(wanted, axes, start, most_iterations=_ITERATIONS)

    def _rotations(self) -> Iterator[np.ndarray]:
        """Orientations of the grasp frame with level fingers, the nearest to home and to straight down first."""
        ahead = float(np.arctan2(self._ahead[1], self._ahead[0]))
        found = []
        # Fewer than six joints hold no orientation but those with the hand straight down.
        for pitch in _PITCHES if len(self._rest) > 5 else _PITCHES[:1]:
            for turn in _TURNS + ahead:
                for side in (1.0, -1.0):
                    closing = side * np.array([-np.sin(turn), np.cos(turn), 0.0])
                    approach = np.array([np.cos(pitch) * np.cos(turn), np.cos(pitch) * np.sin(turn), -np.sin(pitch)])
                    axes = np.column_stack([np.cross(closing, approach), closing, approach])
                    cosine = (np.trace(axes.T @ self._axes_at_home) - 1.0) / 2.0
                    angle = float(np.arccos(np.clip(cosine, -1.0, 1.0)))
                    found.append((round(angle + _FLAT_COST * (np.pi / 2 - pitch), 6), len(found), axes))
        return (axes for _, _, axes in sorted(found, key=lambda one: one[:2])[:_TRIED])

    def _seen(self, height: float) -> list[tuple[np.ndarray, np.ndarray]]:
        """Orientations of the hand in random postures in which it is as high and points down, levelled, and the postures."""
        rng = np.random.default_rng(0)
        found = []
        for posture in rng.uniform(*self._ranges(), (_SAMPLES if len(self._rest) > 5 else 0, len(self._rest))):
            place, axes = self._arm.fk(posture)
            grasp, point = axes @ self._hand.axes, place + axes @ np.array(self._hand.point)
            flat = float(np.linalg.norm(grasp[:2, 1]))
            if abs(point[2] - height) > 0.05 or grasp[2, 2] > -0.5 or flat < 0.8:
                continue
            closing = np.array([*grasp[:2, 1] / flat, 0.0])
            approach = grasp[:, 2] - (grasp[:, 2] @ closing) * closing
            approach /= np.linalg.norm(approach)
            level = np.column_stack([np.cross(closing, approach), closing, approach])
            aside = float(np.abs(posture - self._rest).max())
            found.append((round(aside - approach[2], 6), len(found), level, posture))
        return [(axes, posture) for _, _, axes, posture in sorted(found, key=lambda one: one[:2])]

    def _area(self, top_m: float, rotation: np.ndarray, starts: list[np.ndarray]) -> Reach | None:
        """The largest rectangle around the first place that is reached."""
        height = top_m + self._height_m
        begin = self._begin(height, rotation, starts)
        if begin is None:
            return None
        middle, posture = begin
        size = 2 * _STEPS + 1
        reached = np.zeros((size, size), dtype=bool)
        seen, ahead = {(_STEPS, _STEPS)}, [(_STEPS, _STEPS, posture)]
        while ahead:
            column, row, start = ahead.pop(0)
            place = np.array([*(middle + _STEP_M * (np.array([column, row]) - _STEPS)), height])
            found = self._reached(place, rotation, start)
            if found is None:
                continue
            reached[column, row] = True
            for beside in ((column + 1, row), (column - 1, row), (column, row + 1), (column, row - 1)):
                if beside not in seen and all(0 <= index < size for index in beside):
                    seen.add(beside)
                    ahead.append((*beside, found))
        low, high = _rectangle(reached)
        if (high - low).min() < _LEAST:
            return None
        first, last = (np.round(middle + _STEP_M * (corner - _STEPS), 3) for corner in (low, high - 1))
        ends = [np.array([x, y, height]) for x in (first[0], last[0]) for y in (first[1], last[1])]
        is_high = all(self._reached(end, rotation, posture, _HIGH_M) is not None for end in ends)
        return Reach(
            x=(float(first[0]), float(last[0])),
            y=(float(first[1]), float(last[1])),
            rotation=rotation,
            hover_m=_HIGH_M if is_high else _HOVER_M,
            places=int(np.prod(high - low)),
        )

    def _begin(
        self, height: float, rotation: np.ndarray, starts: list[np.ndarray]
    ) -> tuple[np.ndarray, np.ndarray] | None:
        """A place (2,) from which on others are looked for, and its posture."""
        shoulder, away = (
            self.shoulder[:2],
            self._ahead * max(0.2, float((self.at_home - self.shoulder)[:2] @ self._ahead)),
        )
        for start in starts:
            place, axes = self._arm.fk(start)
            own = place + axes @ np.array(self._hand.point)
            middles = [shoulder + share * away for share in _BEGIN] if start is self._rest else [own[:2]]
            for middle in middles:
                found = self._reached(np.array([*np.round(middle, 2), height]), rotation, start)
                if found is not None:
                    return np.round(middle, 2), found
        return None

    def _ranges(self) -> tuple[np.ndarray, np.ndarray]:
        return np.maximum(self._arm.lower, self._rest - 1.5), np.minimum(self._arm.upper, self._rest + 1.5)

    def _reached(
        self, place: np.ndarray, rotation: np.ndarray, start: np.ndarray, hover_m: float = _HOVER_M
    ) -> np.ndarray | None:
        """The posture in which the hand grasps at a place from which it can rise, where nothing touches; else None."""
        if np.linalg.norm(place - self.shoulder) > self._far or (place - self.shoulder)[:2] @ self._ahead < _AHEAD_M:
            return None
        if self._is_under_home(place) or not self._sees(place):
            return None
        found = self.grasp(place, rotation, start)
        if found.position_error_m > _NEAR_M or found.rotation_error_rad > _NEAR_RAD:
            return None
        above = self.grasp(place + [0.0, 0.0, hover_m], rotation, found.positions)
        if above.position_error_m > _NEAR_M or above.rotation_error_rad > _NEAR_RAD:
            return None
        if np.abs(above.positions - found.positions).max() > 1.5:
            return None
        self._place(found.positions, self._open)
        top = place[2] - self._height_m + _CLEAR_M
        if (lowest_points(self._model, self._data)[self._moved] < np.minimum(top, self._home_low)).any():
            return None
        full = np.array([self._posture(row, self._open) for row in (found.positions, above.positions)])
        return None if self._collisions.first_hit(full) is not None else found.positions

    def _is_under_home(self, place: np.ndarray) -> bool:
        """Whether a cube at a place is nearly touched by the arm at home."""
        low, high = self._home_box
        half = self._cube_m / 2.0 + _BESIDE_M
        near = ((low < place[:2] + half) & (high > place[:2] - half)).all(axis=1)
        return bool((near & (self._home_low < place[2] - self._height_m + self._cube_m + _ABOVE_M)).any())

    def _posture(self, arm: np.ndarray, hand: Mapping[str, float]) -> list[float]:
        values = self._home | hand | dict(zip(self._hand.arm_joints, arm))
        return [values[joint] for joint in self._joints]

    def _place(self, arm: np.ndarray, hand: Mapping[str, float]) -> None:
        values = dict(zip(self._joints, self._posture(arm, hand)))
        for name, value in followed(self._urdf, values).items():
            self._data.joint(name).qpos = value
        mujoco.mj_kinematics(self._model, self._data)


def _apart(rotations: list[np.ndarray]) -> Iterator[np.ndarray]:
    """The first of the rotations that are well apart."""
    taken: list[np.ndarray] = []
    for axes in rotations:
        if len(taken) < _TRIED and all(np.sum(axes * other) < 2.8 for other in taken):
            taken.append(axes)
            yield axes


def _rectangle(reached: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The largest all-true rectangle of a grid no larger than wanted: first (2,) index and one past the last."""
    best, found = 0, (np.zeros(2, dtype=int), np.zeros(2, dtype=int))
    for low in np.argwhere(reached):
        for wide in range(1, _WANTED[0] + 1):
            for high in range(1, _WANTED[1] + 1):
                part = reached[low[0] : low[0] + wide, low[1] : low[1] + high]
                if part.shape == (wide, high) and part.all() and min(wide, high) * 100 + wide * high > best:
                    best, found = min(wide, high) * 100 + wide * high, (low, low + [wide, high])
    return found
