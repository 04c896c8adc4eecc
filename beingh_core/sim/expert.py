"""Scripted expert: picks the named cube, as feedback on what it commands and where the cubes are.

The expert is a function of the present state alone, so it can demonstrate from any state: above the
wrong cube, in mid-motion, with the gripper half closed.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

import numpy as np

from beingh_core.sim.scene import CUBE_SIZE_M

GRIPPER_WIDTH_M = 0.08
CUBE_OPENING = CUBE_SIZE_M / GRIPPER_WIDTH_M
GRASP_HEIGHT_M = 0.02
LIFT_HEIGHT_M = 0.20
HOVER_M = 0.12
ALIGNED_M = 0.008


@dataclass(frozen=True, kw_only=True)
class ExpertLimits:
    """Motion per tick of a 20 Hz robot: gain [1/tick], speed [m/tick], change of speed [m/tick^2], gripper [1/tick]."""

    gain: float = 0.2
    speed: float = 0.0125
    acceleration: float = 0.003
    gripper: float = 0.125


@dataclass(frozen=True, kw_only=True)
class HandState:
    """What the expert commands and holds.

    Attributes:
        position: commanded tool position (3,) [m].
        step: last commanded displacement (3,) [m/tick].
        opening: commanded gripper opening, 0 closed, 1 open.
        holding: colour of the cube in the hand, or None.
    """

    position: np.ndarray
    step: np.ndarray
    opening: float
    holding: str | None = None


@dataclass(frozen=True, kw_only=True)
class Goal:
    """A cube to pick (`colour`), or a place to go to with the gripper open (`position`)."""

    colour: str | None = None
    position: np.ndarray | None = None


def next_state(
    state: HandState, goal: Goal, cubes: Mapping[str, np.ndarray], limits: ExpertLimits = ExpertLimits()
) -> HandState:
    """The expert's next command.

    Args:
        state: present commands.
        goal: what to do.
        cubes: colour -> centre (3,) [m].

    Returns:
        The state after one tick; `position` and `opening` are the commands to send.
    """
    target, opening = _target(state, goal, cubes)
    wanted = np.clip(limits.gain * (target - state.position), -limits.speed, limits.speed)
    flat = np.linalg.norm(wanted[:2])
    if flat > limits.speed:
        wanted[:2] *= limits.speed / flat
    if target[2] - state.position[2] > 0.02:
        # Rise before travelling, or the hand sweeps the cubes away.
        wanted[:2] *= 0.2
    change = wanted - state.step
    size = np.linalg.norm(change)
    if size > limits.acceleration:
        change *= limits.acceleration / size
    step = state.step + change
    opening = float(np.clip(opening, state.opening - limits.gripper, state.opening + limits.gripper))
    return replace(state, position=state.position + step, step=step, opening=opening)


def _target(state: HandState, goal: Goal, cubes: Mapping[str, np.ndarray]) -> tuple[np.ndarray, float]:
    """Where to go (3,) [m] and the wanted opening."""
    here = state.position
    if goal.colour is None:
        return goal.position, 1.0
    if state.holding == goal.colour:
        if state.opening > 0.3:
            return here, 0.0
        return np.array([here[0], here[1], LIFT_HEIGHT_M]), 0.0
    if state.holding is not None:
        return here, 1.0
    cube = cubes[goal.colour]
    error = np.linalg.norm(cube[:2] - here[:2])
    height = cube[2] - CUBE_SIZE_M / 2 + GRASP_HEIGHT_M
    grasp = np.array([cube[0], cube[1], height])
    # Once it has begun to close it accepts a little more, so that it does not hesitate at the edge.
    slack = ALIGNED_M if state.opening > 0.95 else 1.6 * ALIGNED_M
    if error < slack and abs(here[2] - height) < slack:
        return grasp, 0.0
    if state.opening < 0.9:
        return np.array([here[0], here[1], max(here[2], height + 0.04)]), 1.0
    return grasp + [0.0, 0.0, np.clip(1.5 * (error - 0.006), 0.0, HOVER_M)], 1.0


def held_cube(
    position: np.ndarray, opening_command: float, opening: float, cubes: Mapping[str, np.ndarray]
) -> str | None:
    """Colour of the cube between closed fingers, or None.

    Args:
        position: tool position (3,) [m].
        opening_command, opening: commanded and measured opening, 0..1.
        cubes: colour -> centre (3,) [m].
    """
    if opening_command > CUBE_OPENING - 0.05 or not CUBE_OPENING - 0.15 < opening < CUBE_OPENING + 0.12:
        return None
    for colour, centre in cubes.items():
        if np.linalg.norm(centre - position) < 0.02:
            return colour
    return None


def foresee(state: HandState, goals: list[Goal], cubes: Mapping[str, np.ndarray]) -> tuple[np.ndarray, np.ndarray]:
    """What the expert would command over the next ticks, without physics.

    A cube is taken to be held once the fingers squeeze it, and then moves with the hand; the others rest.

    Args:
        state: present commands.
        goals: the goal of each coming tick (H).
        cubes: colour -> centre (3,) [m].

    Returns:
        steps (H, 3) [m] and openings (H,) commanded.
    """
    cubes = dict(cubes)
    steps, openings = np.empty((len(goals), 3)), np.empty(len(goals))
    for k, goal in enumerate(goals):
        state = next_state(state, goal, cubes)
        steps[k], openings[k] = state.step, state.opening
        if state.holding is not None:
            cubes[state.holding] = cubes[state.holding] + state.step
        holding = held_cube(state.position, state.opening, max(state.opening, CUBE_OPENING), cubes)
        if holding != state.holding:
            if holding is None and state.holding is not None:
                # Let go: it falls to the table.
                cubes[state.holding] = np.array([*cubes[state.holding][:2], CUBE_SIZE_M / 2])
            state = replace(state, holding=holding)
    return steps, openings
