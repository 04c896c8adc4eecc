"""The drivers of a contract: who commands which joints, how and on which topic or action."""

from __future__ import annotations

from types import MappingProxyType
from typing import Any

from beingh_core.contract import schema
from beingh_core.contract.reader import Section
from beingh_core.contract.signals import check_joints
from beingh_core.contract.urdf import UrdfFacts

DRIVER_KINDS = ("joint_trajectory",)


def read_drivers(file: Section, urdf: UrdfFacts) -> tuple[schema.Driver, ...]:
    """The drivers under `driver` (one) or `drivers` (a list); each joint goes out in one group of one driver.

    Args:
        file: the contract.
        urdf: joints of the robot.

    Raises:
        BeingHError: unknown kind, key or joint, or a joint that is commanded twice.
    """
    if "driver" in file and "drivers" in file:
        raise file.error("drivers", "there are both `driver` and `drivers`", remedy="list all of them under `drivers`")
    sections = file.sections("drivers") if "drivers" in file else [file.section("driver")]
    if not sections:
        raise file.error("drivers", "no driver is given", remedy="add `- {kind: ..., groups: [...]}`")
    seen: dict[str, str] = {}
    return tuple(_read_driver(section, urdf, seen) for section in sections)


def _read_driver(section: Section, urdf: UrdfFacts, seen: dict[str, str]) -> schema.Driver:
    """One driver; `seen` holds the topic of every joint that is commanded already."""
    kind = section.choice("kind", DRIVER_KINDS)
    groups = []
    for entry in section.sections("groups"):
        group = schema.DriverGroup(topic=entry.topic("topic"), joints=entry.strings("joints"))
        entry.finish()
        check_joints(entry, group.joints, urdf, commanded=True)
        for joint in group.joints:
            if joint in seen:
                raise entry.error(
                    "joints",
                    f"`{joint}` is already commanded on {seen[joint]}",
                    remedy="command each joint in one group",
                )
            seen[joint] = group.topic
        groups.append(group)
    if not groups:
        raise section.error("groups", "no command topic is given", remedy="add `- {topic: ..., joints: [...]}`")
    options: dict[str, Any] = {}
    section.finish()
    return schema.Driver(kind=kind, groups=tuple(groups), options=MappingProxyType(options))
