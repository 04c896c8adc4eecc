"""How the expert does each told task: the next command of an arm, and those of the ticks ahead.

As with picking it is a function of the present state alone.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace

import numpy as np

from beingh_core.sim.grasp import LEFT, UP, Cube
from beingh_core.sim.picking import NEAR_M_S, OFF, OPEN, ArmState, Picker, table_height
from beingh_core.tasks import BOWL, BOWL_RADIUS_M, PICK, PUSH, PUT, SIDES, Told

# A cube goes to the bowl so fast [m/s], with its underside so far above the rim at least; straight where it is so near to the line on
# which it comes down; it is let go so far above the rim, or so near to there; the empty hand rises so far above the rim [m].
_CARRY_M_S, _CLEAR_M, _BESIDE_M, _DROP_M, _THERE_M, _RISE_M = 0.20, 0.015, 0.03, 0.008, 0.008, 0.08
# Speed of a pushed cube [m/s]; beside the hand at rest it is pushed no further than this [m].
_PUSH_M_S, _FAR_M = 0.06, 0.25


def _pick(picker: Picker, state: ArmState, told: Told, things: Mapping[str, Cube], table_m: float) -> ArmState:
    return picker.next(state, things[told.colour], table_m)


def _put(picker: Picker, state: ArmState, told: Told, things: Mapping[str, Cube], table_m: float) -> ArmState:
    """Pick it up, over the bowl, down to the rim, let go, and rise."""
    cube, bowl = things[told.colour], things[BOWL]
    held, rim = picker.holds(state, cube), bowl.bottom + bowl.size_m
    if in_bowl(cube, bowl) and not held:
        return _left(picker, state, cube, rim + _RISE_M)
    if not held or (cube.bottom < rim + _CLEAR_M and not in_bowl(cube, bowl)):
        return picker.next(state, cube, table_m)
    over = picker.way_over(over_bowl(cube, bowl))
    if over is None:
        return picker.rest(state)
    grip = picker.grip(cube)
    left, approach = over.cube.centre - cube.centre, over.aim.approach
    if float(np.linalg.norm(left)) < _THERE_M:
        return picker.moved(state, state.q, 1.0, NEAR_M_S, cube)
    if float(np.linalg.norm(left - left @ approach * approach)) > _BESIDE_M:
        return picker.moved(state, over.hover, grip, _CARRY_M_S, cube)
    return picker.moved(state, picker.carrot(state, picker.fingers.at(state.q), left), grip, NEAR_M_S, cube)


def _push(picker: Picker, state: ArmState, told: Told, things: Mapping[str, Cube], table_m: float) -> ArmState:
    """An open hand comes down around it, closes a little, and goes to the side as far as that is in front of it; then it rises."""
    cube, here = things[told.colour], picker.fingers.at(state.q)
    rest = picker.fingers.at(picker.fingers.rest).point
    if SIDES[told.side] * (cube.centre[1] - rest[1]) > _FAR_M:
        return _left(picker, state, cube, table_m + cube.size_m + _RISE_M)
    if picker.surrounds(state, cube):
        narrow = picker.narrow(state, cube)
        down = -picker.above_grasp(here, cube) * UP
        if not picker.drags(state, cube):
            return picker.moved(state, picker.carrot(state, here, down), narrow, _PUSH_M_S, cube)
        way = SIDES[told.side] * picker.ahead_m * LEFT + down
        way[0] = cube.centre[0] - here.point[0]
        return picker.moved(state, picker.carrot(state, here, way), narrow, _PUSH_M_S, cube)
    way = picker.way_around(cube, told.side)
    if way is None:
        return picker.rest(state)
    return picker.approached(state, here, picker.share(state.hand), way, cube, table_m)


def _left(picker: Picker, state: ArmState, cube: Cube, top_m: float) -> ArmState:
    """Open the hand, and rise from what it has let go."""
    here = picker.fingers.at(state.q)
    near = float(np.linalg.norm(here.point[:2] - cube.centre[:2])) < 2.0 * BOWL_RADIUS_M
    if picker.share(state.hand) < OPEN - OFF or not near or here.point[2] > top_m:
        return picker.moved(state, state.q, 1.0, NEAR_M_S, cube)
    return picker.moved(state, picker.carrot(state, here, (top_m + 0.01 - here.point[2]) * UP), 1.0, NEAR_M_S, cube)


_WAYS: dict[str, Callable[[Picker, ArmState, Told, Mapping[str, Cube], float], ArmState]] = {
    PICK.name: _pick,
    PUT.name: _put,
    PUSH.name: _push,
}


def in_bowl(cube: Cube, bowl: Cube) -> bool:
    """Whether a cube is in a bowl, or above it."""
    return float(np.linalg.norm(cube.centre[:2] - bowl.centre[:2])) < BOWL_RADIUS_M


def over_bowl(cube: Cube, bowl: Cube) -> Cube:
    """A cube where it is let go; turned as the bowl, so that the way there is the same for all."""
    height = bowl.bottom + bowl.size_m + _DROP_M + cube.size_m / 2.0
    return replace(cube, centre=np.array([*bowl.centre[:2], height]), rotation=bowl.rotation)


def can_do(picker: Picker, told: Told, things: Mapping[str, Cube]) -> bool:
    """Whether an arm reaches what a task asks it to reach."""
    cube = things[told.colour]
    if BOWL in things and in_bowl(cube, things[BOWL]):  # its rim is in the way of everything else
        return told.task is PUT
    if told.task is PUSH:
        return picker.way_around(cube, told.side) is not None
    if told.task is PUT and picker.way_over(over_bowl(cube, things[BOWL])) is None:
        return False
    return picker.can_reach(cube)


def foresee(picker: Picker, state: ArmState, told: Told, things: Mapping[str, Cube], steps: int) -> list[ArmState]:
    """The commands of the next ticks, without physics: a cube that is held or pushed moves with the fingers, the others rest."""
    things, table_m, found = dict(things), table_height(things), []
    for _ in range(steps):
        cube = things[told.colour]
        moves = picker.holds(state, cube) or (told.task is PUSH and picker.drags(state, cube))
        before = picker.fingers.at(state.q).point
        state = _WAYS[told.task.name](picker, state, told, things, table_m)
        if moves:
            things[told.colour] = replace(cube, centre=cube.centre + picker.fingers.at(state.q).point - before)
        found.append(state)
    return found
