"""Positions as JointState, which bridges to servo buses and simulators take as command."""

from __future__ import annotations

import numpy as np
from rclpy.node import Node
from sensor_msgs.msg import JointState

from beingh_core.contract import Driver as DriverSettings
from beingh_core.contract import RobotContract
from beingh_ros.drivers.streaming import StreamingDriver
from beingh_ros.messages.conversions import ns_to_stamp


class JointStateCommandDriver(StreamingDriver):
    """One JointState a command, with names; velocities only where the contract asks for them."""

    def __init__(self, node: Node, contract: RobotContract, settings: DriverSettings) -> None:
        super().__init__(node, contract, settings, JointState)
        self._velocities = settings.options["velocities"]

    def _message(
        self, joints: tuple[str, ...], stamp_ns: int, positions: np.ndarray, velocities: np.ndarray
    ) -> JointState:
        message = JointState(name=list(joints), position=positions.tolist())
        message.header.stamp = ns_to_stamp(stamp_ns)
        if self._velocities:
            message.velocity = velocities.tolist()
        return message
