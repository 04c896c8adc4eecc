"""State messages as rclpy gives them: the class of each topic's type, read by `beingh_core.contract.state_messages`."""

from __future__ import annotations

import importlib
from collections.abc import Iterable

from beingh_core.contract import RobotContract
from beingh_core.contract.state_messages import StateMessages
from beingh_core.errors import BeingHError


class StateReader(StateMessages):
    """Reads the messages of one topic; arguments and attributes as of `StateMessages`.

    Attributes:
        type: Class of the messages.

    Raises:
        BeingHError: The message type is not installed.
    """

    def __init__(self, contract: RobotContract, topic: str, wanted: Iterable[str] | None = None) -> None:
        super().__init__(contract, topic, wanted)
        self.type = message_type(self.kind)


def message_type(name: str) -> type:
    """The class of a message type such as `nav_msgs/msg/Odometry`.

    Raises:
        BeingHError: It is not installed.
    """
    package, _, kind = name.split("/")
    try:
        return getattr(importlib.import_module(f"{package}.msg"), kind)
    except (ImportError, AttributeError) as error:
        raise BeingHError(
            f"the state needs the message type {name}, which is not installed ({error})",
            remedy=f"`sudo apt install ros-$ROS_DISTRO-{package.replace('_', '-')}`, or build {package} in your workspace",
        ) from error
