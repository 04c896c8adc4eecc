"""Message packages that come with a ROS installation or with a robot, imported by the driver that needs them."""

from __future__ import annotations

import importlib
import os

from beingh_core.contract.schema import RobotContract
from beingh_core.errors import BeingHError
from beingh_ros.messages.state_messages import message_type

_INSTALL = {
    "control_msgs": "`sudo apt install ros-$ROS_DISTRO-control-msgs`",
    "franka_msgs": "build franka_msgs of https://github.com/frankarobotics/franka_ros2 in your workspace and source it",
    "unitree_hg": "build unitree_hg of https://github.com/unitreerobotics/unitree_ros2 in your workspace and source it",
}
# Kind of driver -> what it needs beside the packages that every ROS installation has.
NEEDED = {
    "follow_joint_trajectory": [("control_msgs.action", "FollowJointTrajectory")],
    "gripper_command": [("control_msgs.action", "GripperCommand")],
    "parallel_gripper": [("control_msgs.action", "ParallelGripperCommand")],
    "franka_gripper": [("franka_msgs.action", name) for name in ("Move", "Grasp", "Homing")],
    "unitree_g1_arm_sdk": [("unitree_hg.msg", name) for name in ("LowCmd", "LowState")],
}


def check_interfaces(contract: RobotContract) -> None:
    """Refuses a contract whose drivers or state need messages that are not installed.

    Raises:
        BeingHError: as `interface`.
    """
    for driver in contract.drivers:
        for module, name in NEEDED.get(driver.kind, ()):
            interface(module, name, driver.kind)
    for signal in contract.state:
        message_type(signal.type)


def interface(module: str, name: str, user: str) -> type:
    """A message or action type.

    Args:
        module: For example `control_msgs.action`.
        name: Type in it.
        user: What needs it, for the error.

    Raises:
        BeingHError: Not installed, or in this ROS distribution without that type; names what to install.
    """
    package = module.split(".")[0]
    try:
        return getattr(importlib.import_module(module), name)
    except ImportError as error:
        remedy = _INSTALL[package]
        if "ROS_DISTRO" not in os.environ:
            remedy += "; without a ROS installation `make environment` builds it"
        raise BeingHError(f"{user} needs {package}, which is not installed ({error})", remedy=remedy) from error
    except AttributeError as error:
        raise BeingHError(
            f"{user} needs {module}.{name}, which the installed {package} does not have",
            remedy=f"use a newer ROS distribution, or update it: {_INSTALL[package]}",
        ) from error
