"""Where the things of a told task are put: cubes with room to be pushed, a bowl within reach that is in nobody's way."""

from __future__ import annotations

from collections.abc import Sequence

import mujoco
import numpy as np

from beingh_core.contract.schema import RobotContract
from beingh_core.errors import BeingHError
from beingh_core.sim.grasp import Cube
from beingh_core.sim.hand import Hand
from beingh_core.sim.layout import Layout, boxes, seen_by
from beingh_core.sim.picking import Picker
from beingh_core.sim.scene import sample_cubes
from beingh_core.sim.standing import sees
from beingh_core.sim.things import BOWL_M
from beingh_core.sim.views import first_of_scene
from beingh_core.sim.ways import over_bowl
from beingh_core.tasks import BOWL_RADIUS_M, PUSH_M, SIDES, Task

# A bowl is up to so far outside the cubes' area; between it and a cube is so much room for fingers, and beside it and above it so much
# for the arm at home [m].
AROUND_M, _FINGERS_M, _BESIDE_M, _ABOVE_M = 0.14, 0.03, 0.02, 0.06
# A pushed cube goes this further than it must, and fingers need so much more than the cube: across the way, and ahead [m].
_FURTHER_M, _ACROSS_M, _AHEAD_M = 0.03, 0.015, 0.03
_TRIES, _SCENES, _REACH_TRIES = 4000, 400, 40
_SEED = 3  # of the bowl's place, beside that of the cubes


class Stage:
    """Draws scenes for some tasks. Not thread-safe.

    Attributes:
        things: beside the cubes.
        clears: whether cubes have room to be pushed.

    Args:
        contract: the robot.
        hands: its hands.
        layout: where things stand.
        tasks: what is to be told.
        model, data: the robot alone, at home.
    """

    def __init__(
        self,
        contract: RobotContract,
        hands: Sequence[Hand],
        layout: Layout,
        tasks: Sequence[Task],
        model: mujoco.MjModel,
        data: mujoco.MjData,
    ) -> None:
        self._layout, self._where = layout, contract.path
        self.clears = any(task.clears for task in tasks)
        self.things = tuple(dict.fromkeys(thing for task in tasks for thing in task.things))
        self._pickers = [Picker(contract, hand) for hand in hands] if self.clears or self.things else []
        if not self._pickers and (self.clears or self.things):
            raise BeingHError(
                "this robot has nothing to grasp with", where=contract.path, remedy="take the task `pick`"
            )
        self._is_seen, self._scene, self._data = seen_by(contract, data), first_of_scene(contract, layout), data
        _, self._low, self._high = boxes(model, data)

    def cubes(self, seed: int) -> dict[str, tuple[np.ndarray, float]]:
        """Colour -> place (3,) [m] and yaw [rad]; without a task that needs room as `sample_cubes`.

        Raises:
            BeingHError: the hand cannot push cubes to both sides where they are.
        """
        rng = np.random.default_rng(seed)
        if not self.clears:
            return sample_cubes(rng, self._layout)
        for tries in range(_SCENES):
            least = max(0.5, 0.9 ** (tries // _REACH_TRIES))
            found = sample_cubes(rng, self._layout, lambda xy, share: self._are_free(xy, least * share))
            if all(self._can_push(place) for place, _ in found.values()):
                return found
        raise BeingHError(
            "nowhere can the hand push a cube to its left and its right without touching the robot",
            where=self._where,
            remedy="take another task",
        )

    def bowl(self, seed: int, cubes: dict[str, tuple[np.ndarray, float]]) -> np.ndarray:
        """(3,) middle of the bowl among cubes of this seed.

        Raises:
            BeingHError: no place is free and within reach.
        """
        rng = np.random.default_rng([seed, _SEED])
        ends = np.array(self._layout.area) + [-AROUND_M, AROUND_M]
        taken = np.array([place[:2] for place, _ in cubes.values()])
        for _ in range(_TRIES):
            place = np.array([*rng.uniform(*ends.T), self._layout.table[2] + BOWL_M[1]])
            if self._is_free(place, taken) and self._is_shown(place) and self._can_put(place):
                return place
        raise BeingHError("no place for a bowl is free and within reach", where=self._where, remedy="take another task")

    def _are_free(self, xy: np.ndarray, share: float) -> bool:
        """Whether each of the places (N, 2) of cubes has its way to both sides, or this share of it."""
        edge = self._layout.cube_m
        off = np.abs(xy[:, None] - xy[None])[np.triu_indices(len(xy), 1)]
        across, ahead = edge + share * _ACROSS_M, edge + share * (PUSH_M + _FURTHER_M + _AHEAD_M)
        return bool(((off[:, 0] >= across) | (off[:, 1] >= ahead)).all())

    def _can_push(self, place: np.ndarray) -> bool:
        """Whether the hand can be around a cube here, and where it has been pushed to."""
        ends = {side: place + [0.0, sign * (PUSH_M + _FURTHER_M), 0.0] for side, sign in SIDES.items()}
        ways = [(self._cube(at), side) for side, end in ends.items() for at in (place, end)]
        return all(self._pickers[0].way_around(*way) is not None for way in ways)

    def _can_put(self, place: np.ndarray) -> bool:
        """Whether the hand reaches over a bowl here, and rests nearer to it than the others, which would be in its way."""
        bowl = Cube(centre=place, rotation=_turned(self._layout.yaw_rad), size_m=2.0 * BOWL_M[1])
        first, *others = (picker.distance_from_rest(bowl) for picker in self._pickers)
        return (
            first <= min(others, default=first)
            and self._pickers[0].way_over(over_bowl(self._cube(place), bowl)) is not None
        )

    def _is_shown(self, place: np.ndarray) -> bool:
        """Whether the view of the whole scene shows all of a bowl here; without one, whether a camera of the robot sees its middle."""
        if self._scene is None:
            return self._is_seen(place)
        rim = place + BOWL_M[0] * np.vstack([np.eye(3)[:2], -np.eye(3)[:2]])
        return all(sees(*self._scene, self._data, point) for point in rim)

    def _is_free(self, place: np.ndarray, taken: np.ndarray) -> bool:
        """Whether a bowl at a place is in the way of no cube (N, 2), of none that is pushed, and not under the arm at home."""
        edge, off = self._layout.cube_m, np.abs(taken - place[:2])
        room = BOWL_RADIUS_M + 0.71 * edge + _FINGERS_M
        free = np.linalg.norm(off, axis=1) >= room
        if self.clears:
            free &= (off[:, 0] >= room) | (off[:, 1] >= room + PUSH_M + _FURTHER_M)
        half = BOWL_RADIUS_M + _BESIDE_M
        over = ((self._low[:, :2] < place[:2] + half) & (self._high[:, :2] > place[:2] - half)).all(axis=1)
        return bool(free.all() and not (over & (self._low[:, 2] < place[2] + BOWL_M[1] + _ABOVE_M)).any())

    def _cube(self, place: np.ndarray) -> Cube:
        return Cube(centre=place, rotation=_turned(self._layout.yaw_rad), size_m=self._layout.cube_m)


def _turned(yaw_rad: float) -> np.ndarray:
    """(3, 3) rotation about z."""
    cos, sin = np.cos(yaw_rad), np.sin(yaw_rad)
    return np.array([[cos, -sin, 0.0], [sin, cos, 0.0], [0.0, 0.0, 1.0]])
