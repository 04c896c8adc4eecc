"""Commands for joint_trajectory_controller, one topic per group of joints.

The controller replaces its trajectory with every message and holds the last point of the newest one. So each
message carries all committed ticks: when the next message is late, the robot still moves along them.
On the robot set `interpolate_from_desired_state: true` (Jazzy) or `open_loop_control: true` (Humble), else
every message pulls the reference back by the tracking error.
"""

from __future__ import annotations

from rclpy.duration import Duration
from rclpy.node import Node
from rclpy.qos import QoSProfile
from trajectory_msgs.msg import JointTrajectory, JointTrajectoryPoint

from beingh_core.contract import Driver as DriverSettings
from beingh_core.contract import RobotContract
from beingh_ros.conversions import ns_to_duration, ns_to_stamp
from beingh_ros.drivers.driver import Driver
from beingh_ros.drivers.setpoints import Setpoints

FLUSH_S = 0.5


class JointTrajectoryDriver(Driver):
    """Publishes positions only: no velocity at the end, which Jazzy's controller would refuse.

    Args:
        node: Owner of the publishers.
        contract: Order of the columns.
        settings: Topics and joints of the groups.
    """

    command_rate_hz = None

    def __init__(self, node: Node, contract: RobotContract, settings: DriverSettings) -> None:
        column = {name: index for index, name in enumerate(contract.joint_names)}
        self._groups = [
            (
                node.create_publisher(JointTrajectory, group.topic, QoSProfile(depth=1)),
                group.joints,
                [column[name] for name in group.joints],
            )
            for group in settings.groups
        ]

    def send(self, points: Setpoints) -> None:
        """Send every committed tick; each must lie after the stamp."""
        messages = [_message(joints, points.columns(columns)) for _, joints, columns in self._groups]
        for (publisher, _, _), message in zip(self._groups, messages):
            publisher.publish(message)

    def stop(self, points: Setpoints) -> None:
        """Send the braking path and wait a bounded time until it has been received."""
        self.send(points)
        for publisher, _, _ in self._groups:
            publisher.wait_for_all_acked(Duration(seconds=FLUSH_S))


def _message(joints: tuple[str, ...], points: Setpoints) -> JointTrajectory:
    message = JointTrajectory(joint_names=list(joints))
    message.header.stamp = ns_to_stamp(points.stamp_ns)
    for time_s, row in zip(points.times_s.tolist(), points.positions.tolist()):
        message.points.append(
            JointTrajectoryPoint(positions=row, time_from_start=ns_to_duration(round(time_s * 1_000_000_000)))
        )
    return message
