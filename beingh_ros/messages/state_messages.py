"""State messages as rclpy gives them: the class of each topic's type, read by `beingh_core.contract.state_messages`."""

from __future__ import annotations

import importlib
import re
from collections.abc import Iterable, Sequence

from beingh_core.contract import RobotContract
from beingh_core.contract.state_messages import StateMessages
from beingh_core.errors import BeingHError, did_you_mean


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


def check_fields(name: str, fields: Sequence[str]) -> None:
    """Looks for fields such as `motor_state[].q` in the class of a message type.

    Raises:
        BeingHError: The type is not installed, or has no such field.
    """
    for field in fields:
        kind, rest = message_type(name), field.split(".")
        while rest:
            known = kind.get_fields_and_field_types()
            part = rest.pop(0).partition("[")[0]
            if part not in known:
                raise BeingHError(f"{name} has no field `{field}`", allowed=known, remedy=did_you_mean(part, known))
            inner = re.sub(r"^sequence<(.*?)(, \d+)?>$|\[\d*\]$", r"\1", known[part])
            if rest and "/" not in inner:
                raise BeingHError(f"{name} has no field `{field}`: `{part}` is {inner}", remedy="correct `field`")
            kind = message_type("/msg/".join(inner.split("/"))) if rest else kind


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
