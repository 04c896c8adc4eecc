"""What stands in for the drivers of a robot in the simulator: their followers, by kind, and the way of commands to them."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from functools import partial
from typing import Any, Protocol

import numpy as np
from rclpy.node import Node

from beingh_core.contract.arms import gripper_ends
from beingh_core.contract.schema import Driver, DriverGroup, RobotContract
from beingh_core.contract.wire import plain
from beingh_core.errors import BeingHError
from beingh_core.sim import SimRobot
from beingh_core.sim.arm_sdk import ArmSdkFollower
from beingh_core.sim.gripper_follower import STALL_NS, TOLERANCE, GripperFollower
from beingh_core.sim.planar_base import BaseFollower
from beingh_core.sim.trajectory_follower import TrajectoryFollower
from beingh_ros.drivers.interfaces import interface
from beingh_ros.drivers.unitree_g1_arm_sdk import UPPER_BODY
from beingh_ros.messages.plan_messages import most_bytes
from beingh_ros.nodes.sim_actions import SimActions
from beingh_ros.nodes.sim_base import base_follower, subscribe_twist
from beingh_ros.nodes.sim_commands import Accept, subscribe
from beingh_ros.nodes.sim_jobs import Scale, TrajectoryJob, serve_gripper
from beingh_ros.nodes.sim_unitree import subscribe_arm_sdk

# libfranka ends a command when the fingers have stopped; a goal is no more exact than a part of the range.
FRANKA_STALL_NS, FINEST = 300_000_000, 0.02
RESET = "the simulator was reset"


class Follower(Protocol):
    """Reference generator of some joints."""

    joints: tuple[str, ...]

    def sample(self, now_ns: int) -> np.ndarray:
        """Desired positions (J,) at a time [rad or m]."""

    def reset(self, positions: np.ndarray) -> None:
        """Hold positions (J,)."""


class SimDrivers:
    """The drivers of a contract. The simulation thread owns them; callbacks hand over to it.

    Args:
        node: owner of subscriptions and servers.
        contract: its drivers.
        robot: what they move.
        tell_dropped: told why a command is dropped.
        received_ns: present time on the scale of physics: a simulator that is behind takes commands at the time at which they
            came, not all of them at once. By default they are taken as they come.

    Raises:
        BeingHError: a joint that the simulator does not have, or messages that are not installed.
    """

    def __init__(
        self,
        node: Node,
        contract: RobotContract,
        robot: SimRobot,
        tell_dropped: Callable[[Any], None],
        received_ns: Callable[[], int] = lambda: 0,
    ) -> None:
        self._node, self._contract, self._robot, self._tell_dropped = node, contract, robot, tell_dropped
        self._received_ns = received_ns
        self._inbox: deque[tuple[int, Any, Accept]] = deque()
        self._followers: list[Follower] = []
        self._grippers: list[GripperFollower] = []
        self._actions: list[SimActions] = []
        self._arm_sdks: list[ArmSdkFollower] = []
        self._base: BaseFollower | None = None
        for driver in contract.drivers:
            for group in driver.groups:
                self._add(driver, group)

    def take(self, now_ns: int) -> None:
        """Simulation thread: hand every command that has come until then to its follower."""
        while self._inbox and self._inbox[0][0] <= now_ns:
            _, follower, accept = self._inbox.popleft()
            if reason := accept(follower, now_ns):
                self._tell_dropped(reason)
        for follower in self._arm_sdks:
            self._robot.set_gains(follower.gains())

    def drive(self, now_ns: int, duration_s: float) -> None:
        """Simulation thread: where the base goes from now on."""
        if self._base is not None:
            self._robot.drive(self._base.advance(now_ns, duration_s))

    def references(self, at_ns: int) -> dict[str, float]:
        """Simulation thread: desired position of every commanded joint at a time [rad or m]."""
        return {
            name: float(value)
            for follower in self._followers
            for name, value in zip(follower.joints, follower.sample(at_ns))
        }

    def watch(self, now_ns: int) -> None:
        """Simulation thread: show the followers what is measured."""
        if self._grippers:
            names, positions, velocities = self._robot.joint_state()
            for follower in self._grippers:
                index = names.index(follower.joints[0])
                effort = self._robot.effort(follower.joints[0])
                follower.watch(float(positions[index]), float(velocities[index]), effort, now_ns)

    def reset(self) -> None:
        """Executor thread, with the simulation thread held: hold what is measured, forget what has come, end all goals."""
        self._inbox.clear()
        self.abort(RESET)
        for follower in self._followers:
            follower.reset(self._measured(follower.joints))
        if self._base is not None:
            self._base.reset()

    def abort(self, reason: str) -> bool:
        """Executor thread, or another one after it: end all goals, and say whether there were any."""
        return any([actions.abort(reason) for actions in self._actions])

    def destroy(self) -> None:
        """Executor thread, or another one after it: end the action servers."""
        for actions in self._actions:
            actions.destroy()

    def _add(self, driver: Driver, group: DriverGroup) -> None:
        missing = [name for name in group.joints if name not in self._robot.joint_names]
        if missing and not driver.is_velocity:
            allowed = self._robot.joint_names
            raise BeingHError(f"the simulator has no joint {missing[0]}", where=self._contract.path, allowed=allowed)
        _ADD[driver.kind](self, driver, group)

    def _follow(self, follower: Follower) -> Callable[[Accept], None]:
        """Add a follower; what hands commands to it."""
        self._followers.append(follower)
        return self._take_for(follower)

    def _take_for(self, follower: Any) -> Callable[[Accept], None]:
        return lambda accept: self._inbox.append((self._received_ns(), follower, accept))

    def _measured(self, joints: tuple[str, ...]) -> np.ndarray:
        measured = self._robot.positions()
        return np.array([measured[name] for name in joints])

    def _add_topic(self, driver: Driver, group: DriverGroup) -> None:
        follower = TrajectoryFollower(group.joints, self._measured(group.joints))
        most, take = most_bytes(self._contract), self._follow(follower)
        subscribe(self._node, driver.kind, group, most, take, self._tell_dropped)

    def _add_trajectory_action(self, driver: Driver, group: DriverGroup) -> None:
        kind = interface("control_msgs.action", "FollowJointTrajectory", driver.kind)
        follower = TrajectoryFollower(group.joints, self._measured(group.joints))
        job = TrajectoryJob(
            kind,
            follower,
            self._follow(follower),
            wire=group.wire or plain(group.joints),
            measured=partial(self._measured, group.joints),
            now_ns=lambda: self._node.get_clock().now().nanoseconds,
        )
        self._actions.append(SimActions(self._node))
        self._actions[-1].serve(kind, group.topic, job)

    def _add_gripper(self, driver: Driver, group: DriverGroup) -> None:
        (joint,) = group.joints
        closed, opened = gripper_ends(self._contract, joint)
        column, bounds = self._contract.joint_names.index(joint), self._contract.limits
        follower = GripperFollower(
            joint,
            float(self._measured(group.joints)[0]),
            limits=(float(bounds.lower[column]), float(bounds.upper[column])),
            speed=float(bounds.velocity[column]),
            tolerance=min(TOLERANCE, FINEST * abs(opened - closed)),
            stall_ns=FRANKA_STALL_NS if driver.kind == "franka_gripper" else STALL_NS,
        )
        self._grippers.append(follower)
        scale = Scale.of(driver.options, closed, opened)
        self._actions.append(serve_gripper(self._node, driver, group, follower, scale, self._follow(follower)))

    def _add_arm_sdk(self, driver: Driver, group: DriverGroup) -> None:
        """Every joint of the upper body is the follower's: those that nobody commands are the robot's own."""
        joints = tuple(joint for joint in UPPER_BODY if joint in self._robot.joint_names)
        stiffness, damping = np.array([self._robot.gains(joint) for joint in joints]).T
        follower = ArmSdkFollower(joints, self._measured(joints), stiffness, damping)
        self._arm_sdks.append(follower)
        subscribe_arm_sdk(self._node, group.topic, follower, self._follow(follower), self._tell_dropped)

    def _add_base(self, driver: Driver, group: DriverGroup) -> None:
        self._base = follower = base_follower(self._contract, driver)
        take = self._take_for(follower)
        subscribe_twist(self._node, group.topic, driver.options["stamped"], take, self._tell_dropped)


_ADD: dict[str, Callable[[SimDrivers, Driver, DriverGroup], None]] = {
    "forward_command": SimDrivers._add_topic,
    "joint_state_command": SimDrivers._add_topic,
    "joint_trajectory": SimDrivers._add_topic,
    "follow_joint_trajectory": SimDrivers._add_trajectory_action,
    "franka_gripper": SimDrivers._add_gripper,
    "gripper_command": SimDrivers._add_gripper,
    "parallel_gripper": SimDrivers._add_gripper,
    "twist_base": SimDrivers._add_base,
    "unitree_g1_arm_sdk": SimDrivers._add_arm_sdk,
}
