"""A topic as a bag describes it, and the numbers of quality of service in each of rosbag2's layouts."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import yaml

# Numbers of rmw's enums, which rosbag2 writes up to version 8 of its metadata; from 9 on it writes the names.
_NUMBERS = {
    "history": {"system_default": 0, "keep_last": 1, "keep_all": 2, "unknown": 3},
    "reliability": {"system_default": 0, "reliable": 1, "best_effort": 2, "unknown": 3, "best_available": 4},
    "durability": {"system_default": 0, "transient_local": 1, "volatile": 2, "unknown": 3, "best_available": 4},
    "liveliness": {"system_default": 0, "automatic": 1, "manual_by_topic": 3, "unknown": 4, "best_available": 5},
}
NAMES_FROM = 9


class _Plain(yaml.SafeDumper):
    """Writes equal parts anew instead of referring to the first one."""

    def ignore_aliases(self, _data: Any) -> bool:
        return True


def yaml_text(value: object) -> str:
    """YAML as rosbag2 writes it: in the given order, without anchors."""
    return yaml.dump(value, Dumper=_Plain, sort_keys=False, allow_unicode=True)


@dataclass(frozen=True, kw_only=True)
class BagTopic:
    """One topic of a bag.

    Attributes:
        name: Full name.
        type: Such as `sensor_msgs/msg/Image`.
        definition: The type's definition and those it uses, joined as in MCAP's `ros2msg`; "" when unknown.
        encoding: Of the definition, `ros2msg` or `ros2idl`.
        type_hash: `RIHS01_...`, "" when unknown.
        qos: Quality of service of each publisher, as rosbag2 writes it from version 9 on.
        serialization: Of the messages.
    """

    name: str
    type: str
    definition: str = ""
    encoding: str = "ros2msg"
    type_hash: str = ""
    qos: tuple[Mapping[str, Any], ...] = ()
    serialization: str = "cdr"

    def qos_value(self, version: int) -> list[dict[str, Any]] | str:
        """`offered_qos_profiles` in metadata.yaml: a list from version 9 on, before that a text with numbers."""
        if version >= NAMES_FROM:
            return [dict(entry) for entry in self.qos]
        return self.qos_text(version)

    def qos_text(self, version: int) -> str:
        """`offered_qos_profiles` inside a storage file: always YAML text."""
        if not self.qos:
            return ""
        entries = [dict(entry) for entry in self.qos]
        if version < NAMES_FROM:
            for entry in entries:
                entry.update(
                    {key: numbers[entry[key]] for key, numbers in _NUMBERS.items() if entry.get(key) in numbers}
                )
        return yaml_text(entries).strip()
