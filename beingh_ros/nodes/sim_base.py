"""The simulator in the part of a mobile base: velocities in, odometry out."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from geometry_msgs.msg import Twist, TwistStamped
from rclpy.node import Node
from rclpy.qos import QoSProfile

from beingh_core.contract.schema import Driver, RobotContract
from beingh_core.contract.simulation import ODOMETRY
from beingh_core.sim import SimRobot
from beingh_core.sim.planar_base import AXES, BaseFollower
from beingh_ros.messages.conversions import ns_to_stamp
from beingh_ros.messages.state_messages import message_type
from beingh_ros.nodes.guard import bounded
from beingh_ros.nodes.sim_commands import Accept

MOST_BYTES = 2000


def base_follower(contract: RobotContract, driver: Driver) -> BaseFollower:
    """With the contract's limits for a driver's axes."""
    limits, found = contract.limits, {}
    for joint, axis in zip(driver.joints, driver.options["axes"]):
        column = contract.joint_names.index(joint)
        found[axis] = tuple(float(bound[column]) for bound in (limits.lower, limits.upper, limits.acceleration))
    return BaseFollower(found)


def subscribe_twist(
    node: Node, topic: str, stamped: bool, take: Callable[[Accept], None], tell_dropped: Callable[[Any], None]
) -> None:
    """Takes Twist, or TwistStamped where it is `stamped`."""
    kind = TwistStamped if stamped else Twist

    def receive(message: Any) -> None:
        twist = message.twist if stamped else message
        numbers = np.zeros(3)
        for axis, index in AXES.items():
            part, name = axis.split(".")
            numbers[index] = getattr(getattr(twist, part), name)
        take(lambda follower, now_ns: follower.accept(numbers, now_ns))

    node.create_subscription(
        kind, topic, bounded(kind, MOST_BYTES, receive, tell_dropped), QoSProfile(depth=10), raw=True
    )


def odometries(node: Node, contract: RobotContract, robot: SimRobot) -> list[Callable[[int], None]]:
    """What publishes each odometry that the contract reads, given a stamp [ns].

    Raises:
        BeingHError: the messages are not installed.
    """
    signals = {signal.topic: signal for signal in contract.state if signal.type == ODOMETRY}
    return [_odometry(node, signal, robot) for signal in signals.values()]


def _odometry(node: Node, signal: Any, robot: SimRobot) -> Callable[[int], None]:
    kind = message_type(ODOMETRY)
    publisher = node.create_publisher(kind, signal.topic, QoSProfile(depth=10))

    def publish(stamp_ns: int) -> None:
        (x, y, yaw), (forward, left, turn) = (numbers.tolist() for numbers in robot.base())
        message = kind(child_frame_id=signal.child_frame_id or "base_footprint")
        message.header.stamp, message.header.frame_id = ns_to_stamp(stamp_ns), signal.frame_id or "odom"
        pose, twist = message.pose.pose, message.twist.twist
        pose.position.x, pose.position.y = x, y
        pose.orientation.z, pose.orientation.w = float(np.sin(yaw / 2)), float(np.cos(yaw / 2))
        twist.linear.x, twist.linear.y, twist.angular.z = forward, left, turn
        publisher.publish(message)

    return publish
