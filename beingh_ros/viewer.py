"""Live view in Rerun: cameras, joints, and the newest chunk. Needs `rerun-sdk` and a screen."""

from __future__ import annotations

from rclpy.node import Node
from sensor_msgs.msg import Image, JointState
from trajectory_msgs.msg import JointTrajectory

from beingh_core.contract import RobotContract
from beingh_core.errors import BeingHError
from beingh_ros.conversions import image_to_array, joint_positions, read_trajectory, stamp_to_ns

VIEWERS = ("none", "rerun")


class RerunViewer:
    """Sends what its subscriptions receive to the viewer, at the time of the message stamps.

    Args:
        node: Owner of the subscriptions.
        contract: Robot.
        spawn: Whether to open a viewer window.

    Raises:
        BeingHError: When rerun-sdk is not installed.
    """

    def __init__(self, node: Node, contract: RobotContract, *, spawn: bool = True) -> None:
        try:
            import rerun
        except ImportError as error:
            raise BeingHError(
                "the viewer needs the Python package rerun-sdk",
                remedy="`make viewer` installs it; or run without VIEWER=rerun",
            ) from error
        self._rerun, self._rate_hz = rerun, contract.rate_hz
        rerun.init("beingh", spawn=spawn)
        for camera in contract.cameras:
            if camera.type.endswith("/Image"):
                node.create_subscription(Image, camera.topic, self._on_image(f"camera/{camera.name}"), 5)
        for topic in dict.fromkeys(signal.topic for signal in contract.state):
            node.create_subscription(JointState, topic, self._on_joints, 20)
        node.create_subscription(JointTrajectory, "policy/chunk", self._on_chunk, 10)

    def _at(self, stamp_ns: int) -> None:
        self._rerun.set_time("robot", timestamp=stamp_ns * 1e-9)

    def _on_image(self, entity: str):
        def receive(message: Image) -> None:
            self._at(stamp_to_ns(message.header.stamp))
            self._rerun.log(entity, self._rerun.Image(image_to_array(message)))

        return receive

    def _on_joints(self, message: JointState) -> None:
        self._at(stamp_to_ns(message.header.stamp))
        for name, position in joint_positions(message).items():
            self._rerun.log(f"joint/{name}/measured", self._rerun.Scalars(position))

    def _on_chunk(self, message: JointTrajectory) -> None:
        """The whole chunk, each point at the time at which it is to run."""
        read = read_trajectory(message)
        for row, after_ns in zip(read.positions, read.times_ns.tolist()):
            self._at(read.stamp_ns + after_ns)
            for name, position in zip(read.joints, row):
                self._rerun.log(f"joint/{name}/chunk", self._rerun.Scalars(position))
