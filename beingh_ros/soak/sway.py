"""A base that drives to and fro while the arm works, so that every fault meets it in motion."""

from __future__ import annotations

from typing import Any

from rclpy.node import Node
from rclpy.serialization import deserialize_message, serialize_message
from trajectory_msgs.msg import MultiDOFJointTrajectory

from beingh_core.contract import RobotContract
from beingh_core.contract.simulation import ODOMETRY
from beingh_ros.messages.state_messages import message_type

# At this share of the fastest, between these places: a little behind the start, clear of what is in front of it [m, rad].
SHARE = 0.3
BETWEEN = {"linear.x": (-0.12, -0.06), "linear.y": (-0.03, 0.03), "angular.z": (-0.05, 0.05)}


class Sway:
    """Puts velocities into the base's part of every chunk, behind the locked prefix. Executor thread.

    Args:
        node: owner of the subscriptions.
        contract: of a robot with a base, whose odometry says where to turn back.
    """

    def __init__(self, node: Node, contract: RobotContract) -> None:
        self._delay, names = contract.uac.delay_steps, list(contract.joint_names)
        self._speeds = {
            axis: SHARE * float(contract.limits.upper[names.index(joint)])
            for driver in contract.drivers
            if driver.is_velocity
            for joint, axis in zip(driver.joints, driver.options["axes"])
        }
        topics = dict.fromkeys(signal.topic for signal in contract.state if signal.type == ODOMETRY)
        self.subscriptions = [
            node.create_subscription(message_type(ODOMETRY), topic, self._on_odometry, 10) for topic in topics
        ]

    def _on_odometry(self, message: Any) -> None:
        pose = message.pose.pose
        # The turn is small, so its half is the sine.
        place = {"linear.x": pose.position.x, "linear.y": pose.position.y, "angular.z": 2.0 * pose.orientation.z}
        for axis, speed in self._speeds.items():
            low, high = BETWEEN[axis]
            if place[axis] < low:
                self._speeds[axis] = abs(speed)
            elif place[axis] > high:
                self._speeds[axis] = -abs(speed)

    def __call__(self, data: bytes) -> bytes:
        message = deserialize_message(data, MultiDOFJointTrajectory)
        for point in message.points[self._delay :]:
            for name, speed in self._speeds.items() if point.velocities else ():
                part, axis = name.split(".")
                setattr(getattr(point.velocities[0], part), axis, speed)
        return serialize_message(message)
