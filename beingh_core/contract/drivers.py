"""The drivers of a contract: who commands which joints, how and on which topic or action."""

from __future__ import annotations

from dataclasses import replace
from types import MappingProxyType

from beingh_core.contract import schema
from beingh_core.contract.driver_options import DRIVER_KINDS, DriverKind, read_option
from beingh_core.contract.reader import Section
from beingh_core.contract.signals import check_arm, check_joints
from beingh_core.contract.urdf import UrdfFacts
from beingh_core.contract.wire import plain, read_ranges, read_wire


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
    sections = driver_sections(file)
    if not sections:
        raise file.error("drivers", "no driver is given", remedy="add `- {kind: ..., groups: [...]}`")
    seen: dict[str, str] = {}
    return tuple(_read_driver(file, section, urdf, seen) for section in sections)


def driver_sections(file: Section) -> list[Section]:
    """The places of the drivers in a contract, in the order of `read_drivers`."""
    return file.sections("drivers") if "drivers" in file else [file.section("driver")]


def group_sections(section: Section) -> list[Section]:
    """The places of a driver's groups, in their order; one group may stand in the driver itself."""
    kind = DRIVER_KINDS[section.choice("kind", DRIVER_KINDS)]
    if "groups" in section:
        return section.sections("groups")
    if kind.endpoint not in section:
        _refuse_other_endpoint(section, kind)
        remedy = f"add `{kind.endpoint}:` and `joints:` here, or several of them under `groups:`"
        raise section.error(None, f"`{kind.endpoint}` is missing", remedy=remedy)
    return [section]


def _refuse_other_endpoint(entry: Section, kind: DriverKind) -> None:
    """A driver with a topic has no `action`, nor the reverse."""
    other = "action" if kind.endpoint == "topic" else "topic"
    if other in entry and kind.endpoint not in entry:
        what = f"this kind of driver takes `{kind.endpoint}`, not `{other}`"
        remedy = f"write `{kind.endpoint}:` in place of `{other}:`, or choose another `kind`"
        raise entry.error(
            other, what, allowed=[n for n, k in DRIVER_KINDS.items() if k.endpoint == other], remedy=remedy
        )


def placed_groups(
    file: Section, drivers: tuple[schema.Driver, ...]
) -> list[tuple[schema.Driver, schema.DriverGroup, Section]]:
    """Every group of every driver with its place in the contract."""
    return [
        (driver, group, entry)
        for driver, section in zip(drivers, driver_sections(file))
        for group, entry in zip(driver.groups, group_sections(section))
    ]


def command_names(drivers: tuple[schema.Driver, ...]) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Names of the position columns and, after them, of the columns that command a velocity of the base."""
    positions = tuple(joint for driver in drivers if not driver.is_velocity for joint in driver.joints)
    return positions, tuple(joint for driver in drivers if driver.is_velocity for joint in driver.joints)


def check_gripper_commands(file: Section, drivers: tuple[schema.Driver, ...], action: tuple) -> None:
    """`closed_command` and `open_command` stand for a gripper's `closed` and `open` joint positions."""
    grippers = [signal.joints for signal in action if signal.closed is not None]
    for driver, section in zip(drivers, driver_sections(file)):
        given = [key for key in ("closed_command", "open_command") if driver.options.get(key) is not None]
        if len(given) == 1:
            raise section.error(
                given[0], f"`{given[0]}` comes alone", remedy="give both closed_command and open_command"
            )
        if given and any((joint,) not in grippers for joint in driver.joints):
            raise section.error(
                given[0],
                f"`{driver.joints[0]}` is no gripper action, so `{given[0]}` has no meaning",
                remedy="leave closed_command and open_command out: the joint's position is sent as it is",
            )


def _read_driver(file: Section, section: Section, urdf: UrdfFacts, seen: dict[str, str]) -> schema.Driver:
    """One driver; `seen` holds the endpoint of every joint that is commanded already."""
    name = section.choice("kind", DRIVER_KINDS)
    kind = DRIVER_KINDS[name]
    entries = group_sections(section)
    groups = tuple(_read_group(entry, kind, urdf, seen) for entry in entries)
    if not groups:
        remedy = f"add `- {{{kind.endpoint}: ..., joints: [...]}}`"
        raise section.error("groups", f"no command {kind.endpoint} is given", remedy=remedy)
    joints = tuple(joint for group in groups for joint in group.joints)
    options = {name: read_option(section, name, key, joints) for name, key in kind.options.items()}
    for key in ("base_frame", "eef_frame") if "eef_frame" in kind.options else ():
        options[key] = section.choice(key, urdf.links, file.choice(key, urdf.links))
    for entry in [*entries, section]:
        entry.finish()
    if "eef_frame" in kind.options:
        if len(groups) > 1:
            raise section.error("groups", f"{len(groups)} groups share one end effector", remedy="give each a driver")
        check_arm(section, joints, urdf, options["base_frame"], options["eef_frame"])
    return schema.Driver(kind=name, groups=groups, options=MappingProxyType(options), is_velocity=kind.is_velocity)


def _read_group(entry: Section, kind: DriverKind, urdf: UrdfFacts, seen: dict[str, str]) -> schema.DriverGroup:
    _refuse_other_endpoint(entry, kind)
    topic, joints = entry.topic(kind.endpoint), entry.strings("joints")
    group = schema.DriverGroup(topic=topic, joints=joints, wire=plain(joints))
    if kind.is_velocity:
        for joint in group.joints:
            if joint in urdf.joints:
                raise entry.error(
                    "joints", f"`{joint}` is a joint of the URDF", remedy="name the base's motion otherwise"
                )
    else:
        check_joints(entry, joints, urdf, commanded=True)
    if kind.has_wire:
        group = replace(group, wire=read_wire(entry, joints, urdf, read_ranges(entry, joints, urdf)))
    if kind.joints_per_group not in (None, len(group.joints)):
        raise entry.error("joints", f"{len(group.joints)} joints are given", allowed=f"{kind.joints_per_group}")
    for joint in group.joints:
        if joint in seen:
            raise entry.error(
                "joints", f"`{joint}` is already commanded on {seen[joint]}", remedy="command each joint in one group"
            )
        seen[joint] = group.topic
    return group
