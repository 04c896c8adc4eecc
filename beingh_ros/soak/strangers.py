"""Nodes that do not belong to the robot: what is forgotten, left running, or pressed before the controller starts."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable

import numpy as np
import rclpy
from geometry_msgs.msg import PoseStamped, Twist, TwistStamped
from rclpy.node import Node
from rclpy.qos import DurabilityPolicy, QoSProfile
from sensor_msgs.msg import JointState
from std_msgs.msg import Bool, Float64MultiArray
from trajectory_msgs.msg import JointTrajectory

from beingh_core.contract import Driver, RobotContract
from beingh_ros.messages.conversions import ns_to_stamp
from beingh_ros.messages.state_messages import message_type

LATCHED = QoSProfile(depth=1, durability=DurabilityPolicy.TRANSIENT_LOCAL)
# No multiple of any robot's period, so that its messages come between, before and after the robot's.
SLIDER_PERIOD_S = 0.0203
# Where a joint stands at home, a slider that is there too contradicts nobody [rad or m].
BESIDE = 0.4
# Kind of a driver that publishes -> the type of what it publishes.
COMMANDS: dict[str, Callable[[Driver], type]] = {
    "joint_trajectory": lambda _: JointTrajectory,
    "forward_command": lambda _: Float64MultiArray,
    "joint_state_command": lambda _: JointState,
    "pose_command": lambda _: PoseStamped,
    "twist_base": lambda driver: TwistStamped if driver.options["stamped"] else Twist,
    "unitree_g1_arm_sdk": lambda _: message_type("unitree_hg/msg/LowCmd"),
}


def _slid(contract: RobotContract, columns: list[int]) -> np.ndarray:
    """Where the sliders of some columns stand (N,)."""
    lower, upper, home = (
        np.array(numbers)[columns] for numbers in (contract.limits.lower, contract.limits.upper, contract.home)
    )
    zeros = np.clip(0.0, lower, upper)
    away = np.where(upper - home > home - lower, BESIDE, -BESIDE)
    return np.where(np.abs(zeros - home) < BESIDE, np.clip(home + away, lower, upper), zeros)


class Strangers:
    """Each comes with `begin`, and goes with `end`; a node of its own each, so that it can be told by its name.

    Args:
        contract: Robot.
        joint_state_topic: Where the robot publishes joint states.
        received: Where the controller receives these.
    """

    def __init__(self, contract: RobotContract, joint_state_topic: str, received: str) -> None:
        self._contract, self._states, self._topic = contract, joint_state_topic, received
        self._present: dict[str, Node] = {}
        self._repeating: list[tuple[threading.Event, threading.Thread]] = []

    def slider(self) -> None:
        """Somebody's slider window: joints at 0 or their nearer limit, or well beside the home posture, without velocities."""
        node = self._begin("forgotten_slider")
        publisher = node.create_publisher(JointState, self._topic, 10)
        contract, wire = self._contract, self._contract.wire_of(self._states)
        columns = [contract.joint_names.index(joint) for joint in wire.joints if joint in contract.joint_names]
        joints = [contract.joint_names[column] for column in columns]
        posture = dict(zip(joints, _slid(contract, columns).tolist()))
        row = np.array([posture.get(joint, 0.0) for joint in wire.joints])
        names, numbers = list(wire.names), wire.values(row).tolist()

        def publish() -> None:
            message = JointState(name=names, position=numbers)
            message.header.stamp = ns_to_stamp(time.time_ns())
            publisher.publish(message)

        self._repeat("forgotten_slider", publish)

    def commander(self) -> None:
        """Another program that is ready to command the robot."""
        driver = next(driver for driver in self._contract.drivers if driver.kind in COMMANDS)
        kind = COMMANDS[driver.kind](driver)
        self._begin("other_commander").create_publisher(kind, driver.groups[0].topic, 10)

    def button(self) -> None:
        """A panel whose emergency stop is pressed; it says so once, to everybody who comes later too."""
        node = self._begin("panel")
        node.panel = node.create_publisher(Bool, self._contract.estop_topic, LATCHED)
        node.panel.publish(Bool(data=True))

    def release_button(self) -> None:
        """The panel's emergency stop is released; the panel stays."""
        self._present["panel"].panel.publish(Bool(data=False))

    def end(self) -> None:
        """All of them go."""
        for ending, thread in self._repeating:
            ending.set()
            thread.join()
        self._repeating.clear()
        for node in self._present.values():
            node.destroy_node()
        self._present.clear()

    def _begin(self, name: str) -> Node:
        self._present[name] = node = rclpy.create_node(name)
        return node

    def _repeat(self, name: str, publish: Callable[[], None]) -> None:
        ending = threading.Event()

        def run() -> None:
            while not ending.wait(SLIDER_PERIOD_S):
                publish()

        thread = threading.Thread(target=run, name=name, daemon=True)
        self._repeating.append((ending, thread))
        thread.start()
