"""Message packages that come with a ROS installation or with a robot, imported by the driver that needs them."""

from __future__ import annotations

import importlib

from beingh_core.errors import BeingHError

_INSTALL = {
    "control_msgs": "`sudo apt install ros-$ROS_DISTRO-control-msgs`",
    "franka_msgs": "build franka_msgs of https://github.com/frankarobotics/franka_ros2 in your workspace and source it",
    "unitree_hg": "build unitree_hg of https://github.com/unitreerobotics/unitree_ros2 in your workspace and source it",
}


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
        raise BeingHError(
            f"{user} needs {package}, which is not installed ({error})", remedy=_INSTALL[package]
        ) from error
    except AttributeError as error:
        raise BeingHError(
            f"{user} needs {module}.{name}, which the installed {package} does not have",
            remedy=f"use a newer ROS distribution, or update it: {_INSTALL[package]}",
        ) from error
