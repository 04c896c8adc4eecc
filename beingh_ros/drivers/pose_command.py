"""Poses of the end effector for a vendor's Cartesian servo, as PoseStamped at a rate.

The pose is that of the commanded joints, by forward kinematics: the path is planned, limited and stopped in joints as for
every other driver, so that the limits of positions, velocities, accelerations and jerks hold for the joints that the servo
needs for it. An arm with more joints than a pose has may take another posture than the one planned.
"""

from __future__ import annotations

import numpy as np
import pinocchio as pin
from geometry_msgs.msg import PoseStamped
from rclpy.node import Node

from beingh_core.contract import Driver as DriverSettings
from beingh_core.contract import RobotContract
from beingh_core.contract.kinematics import Kinematics
from beingh_ros.drivers.streaming import StreamingDriver
from beingh_ros.messages.conversions import ns_to_stamp


class PoseCommandDriver(StreamingDriver):
    """One PoseStamped a command, of `eef_frame` in `base_frame`."""

    def __init__(self, node: Node, contract: RobotContract, settings: DriverSettings) -> None:
        super().__init__(node, contract, settings, PoseStamped)
        options = settings.options
        frames = options["eef_frame"], options["base_frame"]
        self._arms = {g.joints: Kinematics(contract.urdf_path, g.joints, *frames) for g in settings.groups}
        self._frame_id = options["frame_id"] or options["base_frame"]
        self._quaternion: np.ndarray | None = None

    def _message(
        self, joints: tuple[str, ...], stamp_ns: int, positions: np.ndarray, velocities: np.ndarray
    ) -> PoseStamped:
        place, rotation = self._arms[joints].fk(positions)
        quaternion = pin.Quaternion(rotation).coeffs()
        # The same rotation has two signs; a servo that interpolates must not be led the long way around.
        if self._quaternion is not None and quaternion @ self._quaternion < 0.0:
            quaternion = -quaternion
        self._quaternion = quaternion
        message = PoseStamped()
        message.header.stamp, message.header.frame_id = ns_to_stamp(stamp_ns), self._frame_id
        pose = message.pose
        pose.position.x, pose.position.y, pose.position.z = place.tolist()
        orientation = pose.orientation
        orientation.x, orientation.y, orientation.z, orientation.w = quaternion.tolist()
        return message
