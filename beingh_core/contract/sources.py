"""Where the numbers of a state signal stand in messages: types and fields."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any

from beingh_core.contract.reader import MAX_TEXT, Section
from beingh_core.errors import misspelled

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
# Types of std_msgs with numbers in `data`: an array of them, or one.
_NUMBERS = ("Float64", "Float32", "Int64", "Int32", "Int16", "Int8", "UInt64", "UInt32", "UInt16", "UInt8")
ARRAYS = {f"std_msgs/msg/{name}MultiArray": "data" for name in _NUMBERS}
SCALARS = {f"std_msgs/msg/{name}": "data" for name in _NUMBERS}
ARRAYS_LIKE = "std_msgs/msg/Float64MultiArray"
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
    is_pose = kind in POSES and source == "position"
    named = kind in (JOINT_STATE, *ARRAYS, *SCALARS) or "field" in entry or "fields" in entry
    if not _TYPE.fullmatch(kind) or not named or is_pose:
        what = (
            f"`{kind}` is no message type"
            if not _TYPE.fullmatch(kind)
            else f"the numbers of `{kind}` are not known here"
        )
        raise entry.error(
            "type",
            f"joints cannot be read from `{kind}`" if is_pose else what,
            allowed=f"{JOINT_STATE}, {', '.join(list(ARRAYS)[:2])} and the other numbers of std_msgs, or another type with `field`",
            remedy="read joints from another topic; `source: pose` is for slots of poses"
            if is_pose
            else _type_meant(kind),
        )
    return kind


def _type_meant(kind: str) -> str:
    """What to write for a type that is none, or one whose numbers nobody named."""
    known = {known.rpartition("/")[2]: known for known in (JOINT_STATE, *ARRAYS, *SCALARS)}
    near = misspelled(kind.rpartition("/")[2], known)
    meant = f"did you mean `{known[near]}`? If not, " if near else ""
    if not _TYPE.fullmatch(kind):
        return f"{meant}write it like `{ARRAYS_LIKE}`"
    return f"{meant}say with `field` (or `fields`) where its numbers are"


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
    if kind in SCALARS:
        if entry.get("field", str, SCALARS[kind]) != SCALARS[kind] or "indices" in entry or count not in (1, None):
            what, remedy = f"`{kind}` holds one number, `data`", f"use it for one joint, or write `{ARRAYS_LIKE}`"
            raise entry.error("type", what, remedy=remedy)
        return (SCALARS[kind],)
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
