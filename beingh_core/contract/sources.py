"""Where the numbers of a state signal stand in messages: types and fields."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any

from beingh_core.contract.reader import MAX_TEXT, Section

JOINT_STATE = "sensor_msgs/msg/JointState"
# type -> fields of the position and of the orientation (a quaternion)
POSES = {
    "geometry_msgs/msg/PoseStamped": ("pose.position", "pose.orientation"),
    "geometry_msgs/msg/PoseWithCovarianceStamped": ("pose.pose.position", "pose.pose.orientation"),
    "geometry_msgs/msg/TransformStamped": ("transform.translation", "transform.rotation"),
    "nav_msgs/msg/Odometry": ("pose.pose.position", "pose.pose.orientation"),
    "tf2_msgs/msg/TFMessage": ("transform.translation", "transform.rotation"),
}
# Many publishers share its topic: a message may hold any transforms, each with frames and a stamp of its own.
TF = "tf2_msgs/msg/TFMessage"
WITH_CHILD = ("geometry_msgs/msg/TransformStamped", "nav_msgs/msg/Odometry", TF)
# The only field of these with numbers.
ARRAYS = {"std_msgs/msg/Float64MultiArray": "data", "std_msgs/msg/Float32MultiArray": "data"}
MAX_INDEX = 1000
_TYPE = re.compile(r"[a-z][a-z0-9_]*/msg/[A-Z][A-Za-z0-9]*", re.ASCII)
_FIELD = re.compile(r"[A-Za-z]\w*(\[[0-9]*\])?(\.[A-Za-z]\w*(\[[0-9]*\])?)*", re.ASCII)
_PART = re.compile(r"(\w+)(?:\[(\d+)\])?")


def read_type(entry: Section, source: str) -> str:
    """`type` of a signal's topic, which must be one that the source can be read from.

    Raises:
        BeingHError: no message type, or another than those.
    """
    if source == "pose":
        return entry.choice("type", POSES)
    kind = entry.get("type", str, JOINT_STATE)
    if not _TYPE.fullmatch(kind) or kind in POSES and source == "position":
        raise entry.error(
            "type",
            f"joints cannot be read from `{kind}`" if kind in POSES else f"`{kind}` is no message type",
            allowed=[JOINT_STATE, *ARRAYS, "or another type with `field`"],
            remedy="write it like `std_msgs/msg/Float64MultiArray`",
        )
    return kind


def read_fields(entry: Section, kind: str, count: int | None) -> tuple[str, ...]:
    """The field of each number in messages of a type; empty for joint states, whose numbers have names.

    Keys: `fields`, one a number; or `field`, an array of numbers (`data`) or a field of each element of an array
    (`motor_state[].q`), with `indices` (0, 1, 2, ... unless given).

    Args:
        entry: the signal.
        kind: message type.
        count: how many numbers there must be, None for as many as are given.

    Raises:
        BeingHError: no field, or another number of them.
    """
    if kind == JOINT_STATE:
        return ()
    fields = entry.strings("fields") if "fields" in entry else _indexed(entry, kind, count)
    key = "fields" if "fields" in entry else "indices"
    for field in fields:
        if not _FIELD.fullmatch(field) or "[]" in field or len(field) > MAX_TEXT:
            raise entry.error(
                "fields" if "fields" in entry else "field",
                f"`{field}` names no number",
                allowed="names of fields with dots between, `[0]` for an element",
                remedy="write it like `motor_state[].q`, as `ros2 interface show` lists the fields",
            )
    if count is not None and len(fields) != count:
        raise entry.error(key, f"{len(fields)} numbers for {count} joints", remedy="give one a joint, in their order")
    return fields


def _indexed(entry: Section, kind: str, count: int | None) -> tuple[str, ...]:
    field = ARRAYS[kind] if kind in ARRAYS else entry.get("field", str)
    if "indices" in entry:
        indices = entry.get("indices", list)
        if not all(type(i) is int and 0 <= i <= MAX_INDEX for i in indices) or len(set(indices)) < len(indices):
            raise entry.error(
                "indices", "these are no places in an array", allowed=f"different numbers, 0 to {MAX_INDEX}"
            )
    elif count is None:
        raise entry.error(None, "`indices` is missing", remedy="say which elements of the array they are")
    else:
        indices = range(count)
    element = field if "[]" in field else f"{field}[]"
    return tuple(element.replace("[]", f"[{index}]", 1) for index in indices)


def number_at(message: Any, field: str) -> float:
    """The number in a field of a message.

    Raises:
        AttributeError, IndexError, TypeError, ValueError: there is none.
    """
    for name, index in _PART.findall(field):
        message = getattr(message, name)
        if index:
            message = message[int(index)]
    return float(message)


def numbers_at(message: Any, fields: Sequence[str]) -> list[float]:
    """The numbers in some fields; see `number_at`."""
    return [number_at(message, field) for field in fields]
