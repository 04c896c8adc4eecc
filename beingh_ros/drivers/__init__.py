"""Ways of commanding a robot, one file each. A driver sends what it is given; it plans nothing."""

from __future__ import annotations

import importlib

from rclpy.node import Node

from beingh_core.contract import RobotContract
from beingh_core.contract.places import driver_place, placed
from beingh_core.control.driver import Driver
from beingh_core.errors import BeingHError

__all__ = ["DRIVERS", "make_drivers"]

# kind in the contract -> (module of this package, class)
DRIVERS = {
    "joint_trajectory": ("joint_trajectory", "JointTrajectoryDriver"),
    "follow_joint_trajectory": ("follow_joint_trajectory", "FollowJointTrajectoryDriver"),
    "forward_command": ("forward_command", "ForwardCommandDriver"),
    "joint_state_command": ("joint_state_command", "JointStateCommandDriver"),
    "pose_command": ("pose_command", "PoseCommandDriver"),
    "twist_base": ("twist_base", "TwistBaseDriver"),
    "gripper_command": ("gripper_command", "GripperCommandDriver"),
    "parallel_gripper": ("parallel_gripper", "ParallelGripperDriver"),
    "franka_gripper": ("franka_gripper", "FrankaGripperDriver"),
    "unitree_g1_arm_sdk": ("unitree_g1_arm_sdk", "UnitreeG1ArmSdkDriver"),
}


def make_drivers(node: Node, contract: RobotContract) -> list[Driver]:
    """The drivers that a contract names, in its order.

    Raises:
        BeingHError: A driver needs messages that are not installed, or its settings do not fit; at its place in the contract.
    """
    drivers = []
    for settings in contract.drivers:
        module, name = DRIVERS[settings.kind]
        kind = getattr(importlib.import_module(f"{__name__}.{module}"), name)
        try:
            drivers.append(kind(node, contract, settings))
        except BeingHError as error:
            raise placed(error, driver_place(contract, settings, "kind")) from error
    return drivers
