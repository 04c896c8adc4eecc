"""Commands for joint_trajectory_controller, one topic per group of joints.

The controller replaces its trajectory with every message and holds the last point of the newest one. So each
message carries all committed ticks: when the next message is late, the robot still moves along them.
On the robot set `interpolate_from_desired_state: true` (Jazzy) or `open_loop_control: true` (Humble), else
every message pulls the reference back by the tracking error.
"""

from __future__ import annotations

import numpy as np
from rclpy.duration import Duration
from rclpy.node import Node
from rclpy.qos import QoSProfile
from trajectory_msgs.msg import JointTrajectory

from beingh_core.contract import RobotContract
from beingh_ros.conversions import trajectory_message

FLUSH_S = 0.5


class JointTrajectoryDriver:
    """Publishes positions only: no velocity at the end, which Jazzy's controller would refuse.

    Args:
        node: Owner of the publishers.
        contract: Topics and joints of the groups, and the tick rate.
    """

    def __init__(self, node: Node, contract: RobotContract) -> None:
        self._rate_hz = contract.rate_hz
        column = {name: index for index, name in enumerate(contract.joint_names)}
        self._groups = [
            (
                node.create_publisher(JointTrajectory, group.topic, QoSProfile(depth=1)),
                group.joints,
                [column[name] for name in group.joints],
            )
            for group in contract.driver.groups
        ]

    def send(self, stamp_ns: int, positions_TJ: np.ndarray) -> None:
        """Send the committed ticks (T, J): row i is to be reached i + 1 periods after `stamp_ns`."""
        messages = [
            trajectory_message(joints, positions_TJ[:, columns], stamp_ns=stamp_ns, rate_hz=self._rate_hz, first_step=1)
            for _, joints, columns in self._groups
        ]
        for (publisher, _, _), message in zip(self._groups, messages):
            publisher.publish(message)

    def stop(self, stamp_ns: int, positions_TJ: np.ndarray) -> None:
        """Send the braking path (T, J) that ends at rest and wait a bounded time until it has been received."""
        self.send(stamp_ns, positions_TJ)
        for publisher, _, _ in self._groups:
            publisher.wait_for_all_acked(Duration(seconds=FLUSH_S))
