"""How to come to a cube: which of an arm's ways to hold it, and the postures there and above."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np

from beingh_core.sim.aim import Aim, Fingers

UP, LEFT = np.array([0.0, 0.0, 1.0]), np.array([0.0, 1.0, 0.0])
# How far above the grasp the fingers come over the cube, the first that the arm reaches; how high a cube is lifted [m].
_HOVERS_M, LIFT_M = (0.10, 0.07, 0.05), 0.10
# How far the tips stay above the table [m].
_TIPS_ABOVE_M = 0.004
# The hand comes from straight above, or leans as little as the arm allows [rad].
_LEANS = np.deg2rad([0.0, 15.0, 30.0, 45.0, 60.0, 75.0])
# Sides of a cube that is turned less than this cosine says against a wanted direction are taken in its place.
_ALONG = 0.85
# A cube that has moved less is held as planned; less than the second, in the same way from its new place [m].
_SAME_M, _SAME_WAY_M = 0.002, 0.03


@dataclass(frozen=True, kw_only=True, eq=False)
class Cube:
    """A cube: centre (3,) [m, root link], rotation (3, 3) and edge [m]; of a bowl its height in place of the edge."""

    centre: np.ndarray
    rotation: np.ndarray
    size_m: float

    @property
    def bottom(self) -> float:
        """Height of its underside while it lies flat [m]."""
        return float(self.centre[2] - self.size_m / 2)


@dataclass(frozen=True, kw_only=True, eq=False)
class Grasp:
    """A way to hold a cube.

    Attributes:
        cube: where it lay.
        aim: where the fingers go.
        hover, grasp: (J,) postures over the cube and at it.
        hover_m: how far above it that is [m].
    """

    cube: Cube
    aim: Aim
    hover: np.ndarray
    grasp: np.ndarray
    hover_m: float


class GraspPlanner:
    """Chooses how to hold cubes and keeps to its choice while they lie still. Not thread-safe.

    Args:
        fingers: of the arm.
        tips_beyond_m: how far the fingertips reach beyond the middle of what they hold [m].
        turns: whether the hand may turn; else it stays as it is at rest.
        along: (3,) level direction along which the fingers are to close, as nearly as the sides of a cube allow; None for any.
        one_way: whether the hand rather takes a way in which its own `closing` points along that, than one in which it points back.
        is_free: whether a posture (J,) is one that the robot may take.
    """

    def __init__(
        self,
        fingers: Fingers,
        tips_beyond_m: float,
        turns: bool = True,
        along: np.ndarray | None = None,
        one_way: bool = False,
        is_free: Callable[[np.ndarray], bool] = lambda _: True,
    ) -> None:
        self._fingers, self._tips_beyond_m, self._turns, self._along = fingers, tips_beyond_m, turns, along
        self._one_way, self._is_free = one_way, is_free
        self._last: Grasp | None = None
        self._out_of_reach: Cube | None = None

    def plan(self, cube: Cube) -> Grasp | None:
        """The way to hold a cube, None where the arm reaches none."""
        far = self._out_of_reach
        if far is not None and np.linalg.norm(cube.centre - far.centre) < _SAME_M:
            return None
        last = self._last
        moved = np.inf if last is None else float(np.linalg.norm(cube.centre - last.cube.centre))
        if last is not None and moved < _SAME_M:
            return last
        if last is not None and moved < _SAME_WAY_M and self._turns:
            again = self._way(cube, _turned(last, cube), last.hover)
            if again is not None:
                self._last = again
                return again
        self._last = self._choose(cube)
        self._out_of_reach = cube if self._last is None else None
        return self._last

    def _choose(self, cube: Cube) -> Grasp | None:
        """The grasp that leans least, among these the one nearest to the arm's rest posture."""
        rest = self._fingers.rest
        if not self._turns:
            here = self._fingers.at(rest)
            return self._way(cube, replace(here, point=self.point(cube, here.approach)), rest)
        for one_way in (True, False) if self._one_way else (False,):
            for lean in _LEANS:
                aims = [replace(aim, one_way=one_way) for aim in self._aims(cube, float(lean))]
                found = [way for way in (self._way(cube, aim, rest) for aim in aims) if way is not None]
                if found:
                    return min(found, key=lambda way: float(np.abs(way.hover - rest).max()))
        return None

    def _aims(self, cube: Cube, lean: float) -> list[Aim]:
        """Aims along the cube's sides, and along the arm's own direction for an arm that cannot turn to them."""
        ahead = np.arctan2(*(cube.centre - self._fingers.kinematics.fk(self._fingers.rest)[0])[[1, 0]])
        x, y = cube.rotation[:2, int(np.argmin(np.abs(cube.rotation[2])))]
        yaw = float(np.arctan2(y, x))
        turns = [yaw + quarter * np.pi / 2 for quarter in range(4 if lean else 2)]
        if lean and len(self._fingers.rest) < 6:
            turns = [self._own_direction(cube, lean, float(ahead))]
        aims = [self._aim(cube, lean, turn) for turn in turns]
        if self._along is None or (lean and len(self._fingers.rest) < 6):
            return aims
        square = float(np.arctan2(-self._along[0], self._along[1]))
        straight = [self._aim(cube, lean, turn) for turn in ((square, square + np.pi) if lean else (square,))]
        near = [aim for aim in aims if abs(aim.closing @ self._along) > _ALONG] or straight
        return [replace(aim, closing=np.copysign(1.0, aim.closing @ self._along) * aim.closing) for aim in near]

    def _own_direction(self, cube: Cube, lean: float, turn: float) -> float:
        """The direction, about the vertical, in which an arm of few joints leans over a place."""
        for _ in range(3):
            q = self._fingers.solve(self._aim(cube, lean, turn), self._fingers.rest)
            approach = self._fingers.at(q).approach
            turn = float(np.arctan2(approach[1], approach[0]))
        return turn

    def _aim(self, cube: Cube, lean: float, turn: float) -> Aim:
        ahead = np.array([np.cos(turn), np.sin(turn), 0.0])
        approach = np.sin(lean) * ahead - np.cos(lean) * UP
        return Aim(point=self.point(cube, approach), approach=approach, closing=np.cross(UP, ahead))

    def point(self, cube: Cube, approach: np.ndarray) -> np.ndarray:
        """(3,) the middle of a cube, or above it where the tips of a hand that comes along `approach` would touch the table [m]."""
        low = self._tips_beyond_m * float(-approach @ UP) + _TIPS_ABOVE_M - cube.size_m / 2
        return cube.centre + max(0.0, low) * UP

    def _way(self, cube: Cube, aim: Aim, q_start: np.ndarray) -> Grasp | None:
        grasp = self._fingers.solve(aim, q_start)
        if not self._fingers.reaches(grasp, aim) or not self._is_free(grasp):
            return None
        for hover_m in _HOVERS_M:
            above = replace(aim, point=aim.point - hover_m * aim.approach)
            for start in (q_start, grasp):
                hover = self._fingers.solve(above, start)
                if self._fingers.reaches(hover, above) and self._is_free(hover):
                    return Grasp(cube=cube, aim=aim, hover=hover, grasp=grasp, hover_m=hover_m)
        return None


def _turned(last: Grasp, cube: Cube) -> Aim:
    """The aim of a grasp, turned and moved with its cube."""
    turn = cube.rotation @ last.cube.rotation.T
    yaw = float(np.arctan2(turn[1, 0] - turn[0, 1], turn[0, 0] + turn[1, 1]))
    yaw -= np.pi / 2 * np.round(yaw / (np.pi / 2))  # a cube looks the same from each side
    about = np.array([[np.cos(yaw), -np.sin(yaw), 0.0], [np.sin(yaw), np.cos(yaw), 0.0], [0.0, 0.0, 1.0]])
    return replace(
        last.aim,
        point=last.aim.point + cube.centre - last.cube.centre,
        approach=about @ last.aim.approach,
        closing=about @ last.aim.closing,
    )
