"""Message classes by name, and the full text of their definitions as MCAP's `ros2msg` wants it."""

from __future__ import annotations

import functools
import importlib
import re
from collections.abc import Iterator
from pathlib import Path

from beingh_core.errors import BeingHError

_RULE = "=" * 80
# Names of rosidl's basic types in the language of .msg files.
_BASIC = {"boolean": "bool", "octet": "byte", "float": "float32", "double": "float64"}
_TYPE = re.compile(r"(?P<package>[A-Za-z]\w*)/(?:msg/)?(?P<name>[A-Za-z]\w*)")
_SEQUENCE = re.compile(r"sequence<(?P<of>.*?)(?:, (?P<most>\d+))?>")
_ARRAY = re.compile(r"(?P<of>.*)\[(?P<size>\d+)\]")
_TEXT = re.compile(r"(?P<of>w?string)<(?P<most>\d+)>")


def message_class(name: str) -> type:
    """The class of a type such as `sensor_msgs/msg/Image`.

    Raises:
        BeingHError: Its package is not installed.
    """
    package, _, kind = name.partition("/msg/")
    try:
        return getattr(importlib.import_module(f"{package}.msg"), kind)
    except (ImportError, AttributeError, ValueError):
        remedy = f"sudo apt install ros-$ROS_DISTRO-{package.replace('_', '-')}, or build and source it"
        raise BeingHError(f"the message type {name} is not installed", remedy=remedy) from None


@functools.cache
def definition_text(name: str) -> str:
    """The definition of a type and, behind lines of `=`, those of every type that it uses.

    Raises:
        BeingHError: A package is not installed.
    """
    texts, waiting = {}, [name]
    while waiting:
        kind = waiting.pop(0)
        if kind not in texts:
            texts[kind] = _own_text(kind)
            waiting += _used(texts[kind], kind.split("/")[0])
    first, *others = texts.items()
    return first[1] + "".join(f"\n{_RULE}\nMSG: {kind.replace('/msg/', '/')}\n{text}" for kind, text in others)


def _own_text(name: str) -> str:
    """Of an installation's .msg file, which has constants and comments; otherwise from the fields of the class."""
    kind = message_class(name)
    package, _, short = name.partition("/msg/")
    try:
        from ament_index_python.packages import get_package_share_directory

        return (Path(get_package_share_directory(package)) / "msg" / f"{short}.msg").read_text(encoding="utf-8").strip()
    except (ImportError, LookupError, OSError):
        fields = kind.get_fields_and_field_types()
        return "\n".join(f"{_written(written)} {field}" for field, written in fields.items())


def _written(kind: str) -> str:
    """A field's type as rosidl's Python names it, in the language of .msg files."""
    if found := _SEQUENCE.fullmatch(kind):
        return f"{_written(found['of'])}[{'<=' + found['most'] if found['most'] else ''}]"
    if found := _ARRAY.fullmatch(kind):
        return f"{_written(found['of'])}[{found['size']}]"
    if found := _TEXT.fullmatch(kind):
        return f"{found['of']}<={found['most']}"
    return _BASIC.get(kind, kind)


def _used(text: str, package: str) -> Iterator[str]:
    """Full names of the message types of the fields in a definition."""
    for line in text.splitlines():
        words = line.split("#")[0].split()
        if len(words) < 2 or "=" in words[1] or (len(words) > 2 and words[2].startswith("=")):
            continue  # empty, or a constant
        kind = re.sub(r"(\[.*\]|<=\d+)+$", "", words[0])
        if found := _TYPE.fullmatch(kind):
            yield f"{found['package']}/msg/{found['name']}"
        elif kind == "Header":
            yield "std_msgs/msg/Header"
        elif kind[:1].isupper():
            yield f"{package}/msg/{kind}"
