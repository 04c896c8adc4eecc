"""Ways of commanding a robot, one file each. A driver sends what it is given; it holds no queue and no clock."""

from __future__ import annotations

from typing import Protocol

import numpy as np
from rclpy.node import Node

from beingh_core.contract import RobotContract
from beingh_core.errors import BeingHError
from beingh_ros.drivers.joint_trajectory import JointTrajectoryDriver

_DRIVERS = {"joint_trajectory": JointTrajectoryDriver}


class Driver(Protocol):
    """What the controller node needs. Called from its tick thread only, and once more after that thread has ended."""

    def send(self, stamp_ns: int, positions_TJ: np.ndarray) -> None:
        """Send the committed ticks (T, J): row i is to be reached i + 1 periods after `stamp_ns`."""

    def stop(self, stamp_ns: int, positions_TJ: np.ndarray) -> None:
        """Send the braking path (T, J) that ends at rest and make sure that it has left."""


def make_driver(node: Node, contract: RobotContract) -> Driver:
    """The driver that a contract names."""
    kind = contract.driver.kind
    if kind not in _DRIVERS:
        raise BeingHError(f"there is no driver '{kind}'", where=contract.path, allowed=sorted(_DRIVERS))
    return _DRIVERS[kind](node, contract)
