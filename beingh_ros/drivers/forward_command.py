"""Positions for forward_command_controller and position_controllers/JointGroupPositionController.

The controller writes each number to the hardware as it comes: no interpolation, no limits, no timeout. Its parameter
`joints` must list the joints of the group in the contract's order; the message carries no names to check that.
"""

from __future__ import annotations

import numpy as np
from rclpy.node import Node
from std_msgs.msg import Float64MultiArray

from beingh_core.contract import Driver as DriverSettings
from beingh_core.contract import RobotContract
from beingh_ros.drivers.streaming import StreamingDriver


class ForwardCommandDriver(StreamingDriver):
    """One Float64MultiArray a command: the group's positions in the contract's order."""

    def __init__(self, node: Node, contract: RobotContract, settings: DriverSettings) -> None:
        super().__init__(node, contract, settings, Float64MultiArray)

    def _message(
        self, joints: tuple[str, ...], stamp_ns: int, positions: np.ndarray, velocities: np.ndarray
    ) -> Float64MultiArray:
        return Float64MultiArray(data=positions.tolist())
