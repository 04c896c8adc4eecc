"""Ways of commanding a robot, one file each. A driver sends what it is given; it plans nothing."""

from __future__ import annotations

from rclpy.node import Node

from beingh_core.contract import RobotContract
from beingh_core.errors import BeingHError
from beingh_ros.drivers.driver import Driver
from beingh_ros.drivers.joint_trajectory import JointTrajectoryDriver
from beingh_ros.drivers.setpoints import Setpoints

__all__ = ["Driver", "Setpoints", "make_drivers"]

_DRIVERS = {"joint_trajectory": JointTrajectoryDriver}


def make_drivers(node: Node, contract: RobotContract) -> list[Driver]:
    """The drivers that a contract names, in its order.

    Raises:
        BeingHError: A driver needs messages that are not installed.
    """
    for settings in contract.drivers:
        if settings.kind not in _DRIVERS:
            raise BeingHError(f"there is no driver '{settings.kind}'", where=contract.path, allowed=sorted(_DRIVERS))
    return [_DRIVERS[settings.kind](node, contract, settings) for settings in contract.drivers]
