"""Picks a cube with any arm and hand: the next commands, as feedback on the last ones and on where the cubes are.

It is a function of the present state alone, so that it can show the way from anywhere and chunks continue one another whatever was cut off
between them: the same commands and cubes give the same motion. J: joints of the arm; K: joints of the hand.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np

from beingh_core.contract.kinematics import Kinematics
from beingh_core.contract.schema import POSITION_SLOTS, ROTATION_SLOTS, RobotContract
from beingh_core.contract.self_collision import Collisions
from beingh_core.sim.aim import Aim, Fingers
from beingh_core.sim.describe import shape_check
from beingh_core.sim.grasp import LEFT, LIFT_M, UP, Cube, Grasp, GraspPlanner
from beingh_core.sim.hand import Hand
from beingh_core.tasks import SIDES

# Shares of the contract's limits that the expert uses.
_SPEED, _HAND_SPEED, _ACCELERATION, _JERK = 0.5, 0.8, 0.35, 0.45
# Speed of the fingertips on the way and near a cube [m/s]; share of the way left that one second takes [1/s].
TRAVEL_M_S, NEAR_M_S, _GAIN = 0.30, 0.12, 3.0
# A hand squeezes for so long before it lifts [s], as if the cube were so much narrower than it is [m].
_SQUEEZE_S, _SQUEEZE_M = 0.6, 0.025
# Fingers so near to the line above the cube, and so far above it, slide to that line [m].
_BESIDE_M, _ABOVE_M = 0.03, 0.04
# How near they must be to that line, to its end, and to a cube that they hold [m, rad].
_ALIGNED_M, _AT_M, _AT_RAD, _HELD_M = 0.008, 0.006, 0.15, 0.03
# Fingers surround a cube that is at most so far across the line between them, and that they would grasp at most so much lower;
# those that push a cube leave it this room [m], and begin within this of that opening.
_BETWEEN_M, _DOWN_M, _PLAY_M, _NARROWED = 0.015, 0.012, 0.004, 0.08
# A hand is open above this share, was told to close within this of its goal, and may have opened by this much less to go down.
OPEN, CLOSED, OFF = 0.97, 0.01, 0.02


@dataclass(frozen=True, kw_only=True, eq=False)
class ArmState:
    """What an arm was commanded last.

    Attributes:
        q: (J,) joints [rad].
        step: (J,) their last change [rad/tick].
        hand, hand_step: (K,) joints of the hand, and their last change [rad or m].
    """

    q: np.ndarray
    step: np.ndarray
    hand: np.ndarray
    hand_step: np.ndarray


class Picker:
    """One arm with its hand. Not thread-safe.

    Args:
        contract: the robot.
        hand: one of its hands.
    """

    def __init__(self, contract: RobotContract, hand: Hand) -> None:
        names, limits, dt_s = list(contract.joint_names), contract.limits, contract.dt_s
        self.columns = [names.index(joint) for joint in hand.arm_joints]
        self.hand_columns = [names.index(joint) for joint in hand.closed]
        self.hand, self._dt_s, self._contract = hand, dt_s, contract
        home = np.array(contract.home)
        within = limits.lower[self.columns], limits.upper[self.columns]
        arm = Kinematics(contract.urdf_path, hand.arm_joints, hand.link, None, within)
        self.fingers = Fingers(
            arm, np.array(hand.point), np.array(hand.approach), np.array(hand.closing), home[self.columns]
        )
        turns = hand.arm not in POSITION_SLOTS or any(one.slot in ROTATION_SLOTS for one in contract.action)
        self._planner = GraspPlanner(self.fingers, hand.beyond_m, turns)
        self._over = GraspPlanner(self.fingers, hand.beyond_m, turns, is_free=self._is_free)
        push, one_way = hand.push_sign or 1, hand.push_sign != 0
        self._around = {
            side: GraspPlanner(self.fingers, hand.beyond_m, turns, push * sign * LEFT, one_way, self._is_free)
            for side, sign in SIDES.items()
        }
        self._at_rad = _AT_RAD if turns else np.inf
        self._speed = _SPEED * limits.velocity[self.columns] * dt_s
        most = np.minimum(_ACCELERATION * limits.acceleration, _JERK * limits.jerk * dt_s)
        self._change = most[self.columns] * dt_s**2
        self._closed = np.array([hand.closed[joint] for joint in hand.closed])
        self._range = np.array([hand.open[joint] for joint in hand.closed]) - self._closed
        self._hand_speed = _HAND_SPEED * limits.velocity[self.hand_columns] * dt_s
        self._hand_change = most[self.hand_columns] * dt_s**2
        moved = np.abs(self._range) > 1e-6
        # How much of its opening the slowest joint of the hand makes in a tick.
        self._share_speed = float((self._hand_speed[moved] / np.abs(self._range[moved])).min())

    def share(self, hand_K: np.ndarray) -> float:
        """Opening of a hand whose joints stand so: 0 closed, 1 open."""
        return float((hand_K - self._closed) @ self._range / (self._range @ self._range))

    def hand_at(self, share: float) -> np.ndarray:
        """(K,) joints of a hand that is open by this share."""
        return self._closed + share * self._range

    def can_reach(self, cube: Cube) -> bool:
        """Whether there is a way to hold a cube."""
        return self.way_to(cube) is not None

    def way_to(self, cube: Cube) -> Grasp | None:
        """The way to hold a cube, None where there is none."""
        return self._planner.plan(cube)

    def way_over(self, cube: Cube) -> Grasp | None:
        """The way to hold a cube where it is to be let go, None where there is none."""
        return self._over.plan(cube)

    def way_around(self, cube: Cube, side: str) -> Grasp | None:
        """The way to have a finger on each side of a cube, so as to push it to a side; None where there is none."""
        return self._around[side].plan(cube)

    @cached_property
    def _check(self) -> Collisions | None:
        return shape_check(self._contract)

    def _is_free(self, q: np.ndarray) -> bool:
        """Whether the robot does not touch itself with the arm at (J,), an open hand, and the rest at home."""
        if self._check is None:
            return True
        posture = np.array(self._contract.home)
        posture[self.columns], posture[self.hand_columns] = q, self.hand_at(1.0)
        return self._check.first_hit(posture[None, ~self._contract.limits.is_velocity]) is None

    def distance_from_rest(self, cube: Cube) -> float:
        """How far a cube is from the fingers of the resting arm [m]."""
        return float(np.linalg.norm(self.fingers.at(self.fingers.rest).point - cube.centre))

    def is_at(self, state: ArmState, cube: Cube) -> bool:
        """Whether a cube is where the fingers are."""
        return self._is_near(self.fingers.at(state.q), cube)

    def carried(self, state: ArmState, measured_J: np.ndarray, cube: Cube, pushed: bool = False) -> Cube:
        """Where a cube will be once the arm is where it was commanded last: one that is held moves with the fingers.

        Args:
            state: the last commands.
            measured_J: (J,) where the arm was when the cube was seen [rad].
            cube: as it was seen.
            pushed: whether one moves so, too, that the fingers only surround.
        """
        seen = self.fingers.at(measured_J)
        held = self.is_closed(state, cube) and self._is_near(seen, cube)
        if not held and not (pushed and self.drags(replace(state, q=measured_J), cube)):
            return cube
        return replace(cube, centre=cube.centre + self.fingers.at(state.q).point - seen.point)

    def rest(self, state: ArmState) -> ArmState:
        """What to command at the next tick where this arm is not needed: it comes to rest and holds."""
        step = state.step + _within(-state.step, self._change)
        hand_step = state.hand_step + _within(-state.hand_step, self._hand_change)
        return ArmState(q=state.q + step, step=step, hand=state.hand + hand_step, hand_step=hand_step)

    def towards(self, state: ArmState, posture: np.ndarray, cube: Cube) -> ArmState:
        """What to command at the next tick to come to a posture (J,) with an open hand, which may have held a cube like this."""
        return self.moved(state, posture, 1.0, TRAVEL_M_S, cube)

    def holds(self, state: ArmState, cube: Cube) -> bool:
        """Whether a cube is between fingers that were told to close."""
        return self.is_closed(state, cube) and self._is_near(self.fingers.at(state.q), cube)

    def above_grasp(self, here: Aim, cube: Cube) -> float:
        """How far the fingers are above where they hold a cube [m]."""
        return float(here.point[2] - self._planner.point(cube, here.approach)[2])

    def surrounds(self, state: ArmState, cube: Cube) -> bool:
        """Whether a cube stands between fingers, which need not touch it."""
        here = self.fingers.at(state.q)
        off = cube.centre - here.point
        between = abs(float(off @ here.closing)) < self.hand.opening_m / 2.0
        beside = abs(float(off @ np.cross(here.closing, here.approach))) < max(_BETWEEN_M, 0.4 * cube.size_m)
        return between and beside and abs(self.above_grasp(here, cube)) < _DOWN_M

    def drags(self, state: ArmState, cube: Cube) -> bool:
        """Whether a cube between the fingers goes where they go, although they do not press it."""
        return self.surrounds(state, cube) and self.share(state.hand) < self.narrow(state, cube) + _NARROWED

    def narrow(self, state: ArmState, cube: Cube) -> float:
        """Opening that leaves a cube, as it stands, a little room between the fingers."""
        across = float(np.abs(cube.rotation.T @ self.fingers.at(state.q).closing).sum())
        return self.hand.share_of(cube.size_m * across + _PLAY_M)

    def is_closed(self, state: ArmState, cube: Cube) -> bool:
        """Whether the hand was told to be as narrow as it gets around a cube."""
        return self.share(state.hand) < self.grip(cube) + CLOSED

    def grip(self, cube: Cube) -> float:
        """Opening that presses a cube from both sides."""
        return self.hand.share_of(max(0.0, cube.size_m - _SQUEEZE_M))

    def next(self, state: ArmState, cube: Cube, table_m: float) -> ArmState:
        """What to command at the next tick.

        Args:
            state: the last commands.
            cube: the one to pick.
            table_m: height of what it stood on [m].
        """
        here, share = self.fingers.at(state.q), self.share(state.hand)
        if self._is_near(here, cube) and share < OPEN:
            if not self.is_closed(state, cube):  # begun to close: finish
                return self.moved(state, state.q, self.grip(cube), NEAR_M_S, cube)
            high = table_m + cube.size_m / 2 + LIFT_M
            return self.moved(
                state, self.carrot(state, here, (high - cube.centre[2]) * UP), self.grip(cube), NEAR_M_S, cube
            )
        grasp = self._planner.plan(cube)
        if grasp is None:
            return self.moved(state, state.q, 1.0, NEAR_M_S, cube)
        return self.approached(state, here, share, grasp, cube, table_m)

    def approached(
        self, state: ArmState, here: Aim, share: float, grasp: Grasp, cube: Cube, table_m: float
    ) -> ArmState:
        """Over the cube, down to it, and begin to close."""
        aim = grasp.aim
        left = aim.point - here.point
        ahead = float(left @ aim.approach)
        aside = float(np.linalg.norm(left - ahead * aim.approach))
        _, angle, turn = self.fingers.misses(state.q, aim)
        turned = max(angle, turn) < self._at_rad
        if turned and aside < _AT_M and abs(ahead) < _AT_M and share > OPEN:
            return self.moved(state, state.q, self.grip(cube), NEAR_M_S, cube)
        opened = share > OPEN - OFF
        tube = _ALIGNED_M + 0.15 * max(0.0, ahead - 0.5 * grasp.hover_m)
        above = aside < _BESIDE_M and ahead > _ABOVE_M  # near the line: slides to it without going back up
        if turned and opened and ahead > -_AT_M and (aside < tube or above):
            left_m = max(0.0, ahead - self.ahead_m) if aside < tube else ahead
            goal = replace(aim, point=aim.point - left_m * aim.approach)
            return self.moved(state, self.fingers.solve(goal, state.q, 8), 1.0, NEAR_M_S, cube)
        if here.point[2] - table_m < 0.6 * grasp.hover_m and ahead < 0.6 * grasp.hover_m:
            return self.moved(state, self.carrot(state, here, grasp.hover_m * UP), 1.0, NEAR_M_S, cube)
        return self.moved(state, grasp.hover, 1.0, TRAVEL_M_S, cube)

    @property
    def ahead_m(self) -> float:
        """So far ahead lies what the fingers go after near a cube, for their speed there [m]."""
        return NEAR_M_S / _GAIN

    def carrot(self, state: ArmState, here: Aim, way: np.ndarray) -> np.ndarray:
        """A posture a little further along a straight way (3,) [m] of the fingers."""
        size = float(np.linalg.norm(way))
        point = here.point + way * min(1.0, self.ahead_m / max(size, 1e-9))
        return self.fingers.solve(replace(here, point=point), state.q, 8)

    def moved(self, state: ArmState, goal: np.ndarray, share: float, speed_m_s: float, cube: Cube) -> ArmState:
        """One tick towards a posture and an opening, within speeds and accelerations."""
        ways = goal - state.q
        ticks = float((np.abs(ways) / self._speed).max())
        wanted = ways * min(_GAIN * self._dt_s, 1.0 / max(ticks, 1e-9))
        moved = float(np.linalg.norm(self.fingers.at(state.q + wanted).point - self.fingers.at(state.q).point))
        wanted *= min(1.0, speed_m_s * self._dt_s / max(moved, 1e-9))
        step = state.step + _within(wanted - state.step, self._change)
        hand_step = self._hand_moved(state, share, cube)
        return ArmState(q=state.q + step, step=step, hand=state.hand + hand_step, hand_step=hand_step)

    def _hand_moved(self, state: ArmState, share: float, cube: Cube) -> np.ndarray:
        """(K,) step of the hand's joints; the last part of closing takes its time, which is when it squeezes."""
        ways = self.hand_at(share) - state.hand
        here, touching = self.share(state.hand), self.hand.share_of(cube.size_m)
        speed = self._share_speed
        if share < here < touching + 2 * speed:
            speed = min(speed, max(touching - share, 0.02) * self._dt_s / _SQUEEZE_S)
        ticks = max(float(np.abs(ways / self._hand_speed).max()), abs(share - here) / speed)
        # What is left after a tick at full speed must not need more than the braking that the hand may do.
        wanted = ways * min(0.3, 1.0 / max(ticks, 1e-9))
        return state.hand_step + _within(wanted - state.hand_step, self._hand_change)

    def _is_near(self, here: Aim, cube: Cube) -> bool:
        return float(np.linalg.norm(here.point - cube.centre)) < max(_HELD_M, 0.75 * cube.size_m)


def _within(change: np.ndarray, most: np.ndarray) -> np.ndarray:
    """A change in the same direction, none of whose parts is more than allowed."""
    return change * min(1.0, 1.0 / max(float((np.abs(change) / most).max()), 1e-9))


def table_height(cubes: Mapping[str, Cube]) -> float:
    """What most cubes lie on [m]: one may be in a hand, another have fallen."""
    return float(np.median([cube.bottom for cube in cubes.values()]))
