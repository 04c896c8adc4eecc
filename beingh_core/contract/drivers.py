"""The drivers of a contract: who commands which joints, how and on which topic or action."""

from __future__ import annotations

import math
from dataclasses import replace
from types import MappingProxyType

from beingh_core.contract import schema
from beingh_core.contract.driver_options import DRIVER_KINDS, DriverKind, read_option
from beingh_core.contract.reader import Section
from beingh_core.contract.signals import check_arm, check_joints
from beingh_core.contract.urdf import UrdfFacts
from beingh_core.contract.wire import Wire, plain, read_ranges, read_wire


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
    return tuple(_read_driver(file, section, urdf, seen) for section in sections)


def command_names(drivers: tuple[schema.Driver, ...]) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Names of the position columns and, after them, of the columns that command a velocity of the base."""
    positions = tuple(joint for driver in drivers if not driver.is_velocity for joint in driver.joints)
    return positions, tuple(joint for driver in drivers if driver.is_velocity for joint in driver.joints)


def check_gripper_commands(file: Section, drivers: tuple[schema.Driver, ...], action: tuple) -> None:
    """`closed_command` and `open_command` stand for a gripper's `closed` and `open` joint positions."""
    grippers = [signal.joints for signal in action if signal.closed is not None]
    for driver in drivers:
        given = [key for key in ("closed_command", "open_command") if driver.options.get(key) is not None]
        key = "driver" if "driver" in file else "drivers"
        if len(given) == 1:
            raise file.error(key, f"`{given[0]}` comes alone", remedy="give both closed_command and open_command")
        if given and any((joint,) not in grippers for joint in driver.joints):
            raise file.error(
                key,
                f"`{driver.joints[0]}` is no gripper action, so `{given[0]}` has no meaning",
                remedy="leave closed_command and open_command out: the joint's position is sent as it is",
            )


def _is_silent(wire: Wire, other: Wire, joint: str) -> bool:
    """Whether one side says nothing of how a joint is counted that the other side counts in its own way.

    Names are no word about that; an offset is one only where the other side has no more than an offset.
    """
    _, factor, shift = other.of(joint)
    words = {"unit", "scale"} if factor != 1.0 else {"unit", "scale", "offset"}
    return (factor, shift) != (1.0, 0.0) and not wire.counts & words


def _opposes(wire: Wire, other: Wire, joint: str) -> bool:
    """Whether both sides count a joint in steps of one size, but in opposite directions."""
    factor, other_factor = wire.of(joint)[1], other.of(joint)[1]
    return math.isclose(factor, -other_factor, rel_tol=1e-9)


def check_counts(file: Section, drivers: tuple[schema.Driver, ...], state: tuple[schema.StateSignal, ...]) -> None:
    """A joint that is measured in another unit than the URDF's is not commanded in the URDF's by mistake, nor the reverse."""
    wires = [signal.wire for signal in state if signal.wire is not None]
    counted = {joint for wire in wires for joint in wire.joints}
    key = "driver" if "driver" in file else "drivers"
    for driver in drivers:
        if not DRIVER_KINDS[driver.kind].has_wire:
            continue
        for group in driver.groups:
            for joint in group.joints:
                assert group.wire is not None, "of a kind that has one"
                measured = [wire for wire in wires if joint in wire.joints]
                if any(_is_silent(group.wire, wire, joint) for wire in measured):
                    raise file.error(
                        key,
                        f"`{joint}` is measured in a unit of its own, but {group.topic} says none",
                        remedy="write `unit` there too, `unit: rad` (or m) where commands are in the URDF's unit",
                    )
                if any(_is_silent(wire, group.wire, joint) for wire in measured):
                    raise file.error(
                        key,
                        f"`{joint}` is commanded in a unit of its own, but a state signal of it says none",
                        remedy="write `unit` there too, `unit: rad` (or m) where it is measured in the URDF's unit",
                    )
                if any(_opposes(group.wire, wire, joint) for wire in measured):
                    raise file.error(
                        key,
                        f"`{joint}` is measured in one direction and commanded in the other on {group.topic}: the robot would "
                        "jump when it is told to stay",
                        remedy="give both the same sign of `scale`, or the same order of `range`",
                    )
                if counted and joint not in counted and not all(wire.is_plain for wire in wires):
                    raise file.error(
                        key,
                        f"no state signal says how `{joint}` is counted",
                        remedy="read it in a state signal, or name it under `coupling` of one",
                    )


def check_command_names(file: Section, drivers: tuple[schema.Driver, ...]) -> None:
    """Two joints have not one name on one topic."""
    seen: dict[tuple[str, str], str] = {}
    for group in (group for driver in drivers for group in driver.groups):
        for joint, name in zip(group.joints, group.joints if group.wire is None else group.wire.names):
            other = seen.setdefault((group.topic.lstrip("/"), name), joint)
            if other != joint:
                raise file.error(
                    "driver" if "driver" in file else "drivers",
                    f"`{joint}` and `{other}` are both called `{name}` on {group.topic}",
                    remedy="give each arm a topic of its own, or correct `names`",
                )


def _read_driver(file: Section, section: Section, urdf: UrdfFacts, seen: dict[str, str]) -> schema.Driver:
    """One driver; `seen` holds the endpoint of every joint that is commanded already."""
    name = section.choice("kind", DRIVER_KINDS)
    kind = DRIVER_KINDS[name]
    # One group may stand in the driver itself.
    entries = [section] if "groups" not in section and kind.endpoint in section else section.sections("groups")
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
