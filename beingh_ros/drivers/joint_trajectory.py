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
from trajectory_msgs.msg import JointTrajectory

from beingh_core.contract import Driver as DriverSettings
from beingh_core.contract import RobotContract
from beingh_core.control.driver import FLUSH_S, Driver, columns_of
from beingh_core.control.setpoints import Setpoints
from beingh_ros.drivers.publishing import count_subscribers
from beingh_ros.drivers.trajectories import trajectory_of


class JointTrajectoryDriver(Driver):
    """Publishes the committed ticks of every group.

    Args:
        node: Owner of the publishers.
        contract: Order of the columns.
        settings: Topics and joints of the groups; whether to send velocities.
    """

    command_rate_hz = None

    def __init__(self, node: Node, contract: RobotContract, settings: DriverSettings) -> None:
        self._velocities = settings.options.get("velocities", False)
        self._groups = [
            (
                node.create_publisher(JointTrajectory, group.topic, QoSProfile(depth=1)),
                group.wire,
                columns_of(contract, group.joints),
            )
            for group in settings.groups
        ]

    def send(self, points: Setpoints) -> None:
        """Send every committed tick."""
        messages = [
            trajectory_of(wire, points.columns(columns), velocities=self._velocities)
            for _, wire, columns in self._groups
        ]
        for (publisher, _, _), message in zip(self._groups, messages):
            publisher.publish(message)

    def stop(self, points: Setpoints) -> None:
        """Send the braking path and wait a bounded time until it has been received."""
        self.send(points)
        for publisher, _, _ in self._groups:
            publisher.wait_for_all_acked(Duration(seconds=FLUSH_S))

    def subscribers(self) -> dict[str, int]:
        """Subscribers of each topic."""
        return count_subscribers(publisher for publisher, _, _ in self._groups)
