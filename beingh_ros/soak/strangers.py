"""Nodes that do not belong to the robot: what is forgotten, left running, or pressed before the controller starts."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable

import rclpy
from rclpy.node import Node
from rclpy.qos import DurabilityPolicy, QoSProfile
from sensor_msgs.msg import JointState
from std_msgs.msg import Bool
from trajectory_msgs.msg import JointTrajectory

from beingh_core.contract import RobotContract
from beingh_ros.messages.conversions import ns_to_stamp

LATCHED = QoSProfile(depth=1, durability=DurabilityPolicy.TRANSIENT_LOCAL)
# No multiple of any robot's period, so that its messages come between, before and after the robot's.
SLIDER_PERIOD_S = 0.0203


class Strangers:
    """Each comes with `begin`, and goes with `end`; a node of its own each, so that it can be told by its name.

    Args:
        contract: Robot.
        joint_state_topic: Where the controller receives joint states.
    """

    def __init__(self, contract: RobotContract, joint_state_topic: str) -> None:
        self._contract, self._topic = contract, joint_state_topic
        self._present: dict[str, Node] = {}
        self._repeating: list[tuple[threading.Event, threading.Thread]] = []

    def slider(self) -> None:
        """Somebody's slider window: every joint at 0 or its nearer limit, without velocities."""
        node = self._begin("forgotten_slider")
        publisher = node.create_publisher(JointState, self._topic, 10)
        limits = self._contract.limits
        zeros = [min(max(0.0, low), high) for low, high in zip(limits.lower, limits.upper)]

        def publish() -> None:
            message = JointState(name=list(self._contract.joint_names), position=[float(value) for value in zeros])
            message.header.stamp = ns_to_stamp(time.time_ns())
            publisher.publish(message)

        self._repeat("forgotten_slider", publish)

    def commander(self) -> None:
        """Another program that is ready to command the robot."""
        self._begin("other_commander").create_publisher(JointTrajectory, self._contract.command_groups[0].topic, 10)

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
