"""State and action signals of a contract, checked against the slot table, the URDF and the driver."""

from __future__ import annotations

from typing import Any

from beingh_core import slots
from beingh_core.contract import schema
from beingh_core.contract.reader import Section
from beingh_core.contract.urdf import SINGLE_TYPES, UrdfFacts
from beingh_core.errors import did_you_mean

BASE_SLOTS = ("base_motion",)
POSE_SLOTS = schema.POSITION_SLOTS + schema.ROTATION_SLOTS


def read_state(section: Section, urdf: UrdfFacts, frames: tuple[str, str]) -> tuple[schema.StateSignal, ...]:
    """The state signals, in the order of the file.

    Args:
        section: the `state` mapping, slot name -> signal.
        urdf: joints and links of the robot.
        frames: the contract's base and end-effector frames, used where a signal names none.

    Raises:
        BeingHError: unknown slot, overlap, wrong width, unknown joint or frame.
    """
    signals = []
    for name in _slot_names(section, "state"):
        entry = section.section(name)
        source = entry.choice("source", schema.STATE_SOURCES)
        if (source == "fk") != (name in POSE_SLOTS):
            wanted = "fk" if name in POSE_SLOTS else "position"
            raise entry.error("source", f"`{source}` cannot fill slot `{name}`", allowed=wanted)
        joints = entry.strings("joints")
        check_joints(entry, joints, urdf)
        if source != "fk":
            slots.check_width("state", name, len(joints), where=entry.where("joints"))
        poses = _frames(entry, source == "fk", joints, urdf, frames)
        signal = schema.StateSignal(
            slot=name,
            topic=entry.topic("topic"),
            source=source,
            joints=joints,
            max_age_s=entry.number("max_age_s", **schema.MAX_AGE_S),
            **_gripper_range(entry, name, joints, urdf),
            **poses,
        )
        entry.finish()
        signals.append(signal)
    return tuple(signals)


def read_action(
    section: Section, urdf: UrdfFacts, frames: tuple[str, str], velocities: tuple[str, ...] = ()
) -> tuple[schema.ActionSignal, ...]:
    """The action signals, in the order of the file; see `read_state`.

    Args:
        section: the `action` mapping, slot name -> signal.
        urdf: joints and links of the robot.
        frames: the contract's base and end-effector frames.
        velocities: names of a base's velocities, which only `base_motion` commands.
    """
    signals = []
    for name in _slot_names(section, "action"):
        entry = section.section(name)
        wanted = "delta" if name in POSE_SLOTS else "absolute"
        mode = entry.choice("mode", schema.ACTION_MODES)
        if mode != wanted:
            raise entry.error("mode", f"`{mode}` is not known for slot `{name}`", allowed=wanted)
        joints = entry.strings("joints")
        if name in BASE_SLOTS:
            _check_velocities(entry, joints, velocities)
        else:
            check_joints(entry, joints, urdf, commanded=True)
        if mode == "absolute":
            slots.check_width("action", name, len(joints), where=entry.where("joints"))
        poses = _frames(entry, mode == "delta", joints, urdf, frames)
        if poses:
            _check_reach(entry, joints, urdf, poses["eef_frame"])
        signal = schema.ActionSignal(
            slot=name,
            mode=mode,
            frame=entry.choice("frame", schema.ACTION_FRAMES, "world") if mode == "delta" else None,
            joints=joints,
            **_gripper_range(entry, name, joints, urdf),
            **poses,
        )
        entry.finish()
        signals.append(signal)
    _check_pose_pairs(section, signals)
    return tuple(signals)


def check_joints(entry: Section, joints: tuple[str, ...], urdf: UrdfFacts, *, commanded: bool = False) -> None:
    """Refuses joints that the URDF lacks, and mimic joints where a command is meant."""
    for joint in joints:
        if joint not in urdf.joints:
            close = did_you_mean(joint, urdf.joints)
            raise entry.error(
                "joints",
                f"the URDF {urdf.path.name} has no movable joint `{joint}`",
                allowed=urdf.joints,
                remedy=close or "use a joint of the URDF, or correct `urdf`",
            )
        if urdf.joints[joint].type not in SINGLE_TYPES:
            raise entry.error(
                "joints", f"`{joint}` is {urdf.joints[joint].type}, which no single number describes", allowed=SINGLE_TYPES
            )
        source = urdf.joints[joint].mimics
        if commanded and source is not None:
            raise entry.error("joints", f"`{joint}` only mimics `{source}`", remedy=f"command `{source}` instead")


def _check_velocities(entry: Section, names: tuple[str, ...], velocities: tuple[str, ...]) -> None:
    for name in names:
        if name not in velocities:
            raise entry.error(
                "joints",
                f"no base driver commands a velocity `{name}`",
                allowed=velocities or None,
                remedy=did_you_mean(name, velocities) or f"add a driver of kind twist_base with `{name}`",
            )


def check_action_joints(
    file: Section, action: tuple[schema.ActionSignal, ...], drivers: tuple[schema.Driver, ...]
) -> None:
    """Action signals and drivers must command the same joints, each signal its own."""
    owner: dict[str, str] = {}
    for signal in action:
        if _is_second_of_pair(signal, action):
            continue
        for joint in signal.joints:
            if joint in owner:
                raise file.section("action").section(signal.slot).error(
                    "joints", f"`{joint}` is already commanded by `{owner[joint]}`", remedy="command it in one signal"
                )
            owner[joint] = signal.slot
    sent = [joint for driver in drivers for joint in driver.joints]
    key = "driver" if "driver" in file else "drivers"
    for joint, slot in owner.items():
        if joint not in sent:
            raise file.error(
                key, f"no group sends `{joint}`, which action `{slot}` commands", remedy="add it to a group"
            )
    for joint in sent:
        if joint not in owner:
            raise file.error(
                key,
                f"`{joint}` is sent, but no action commands it",
                allowed=owner,
                remedy="remove it from the group, or add an action for it",
            )


def _slot_names(section: Section, kind: str) -> list[str]:
    names = section.names()
    for name in names:
        slots.slot(kind, name, where=section.where(name))
    slots.check_no_overlap(kind, names, where=section.where())
    if not names:
        raise section.error(None, f"no {kind} signal is named", remedy="add at least one slot")
    return names


def _gripper_range(entry: Section, slot: str, joints: tuple[str, ...], urdf: UrdfFacts) -> dict[str, Any]:
    """`closed` and `open` joint positions of a gripper slot; no other slot has them."""
    if slot not in ("gripper_position", "left_gripper_position"):
        return {}
    closed, opened = (entry.number(key, **schema.POSITION) for key in ("closed", "open"))
    joint = urdf.joints[joints[0]]
    for key, value in (("closed", closed), ("open", opened)):
        if not joint.lower <= value <= joint.upper:
            raise entry.error(
                key, f"{value:g} is outside the limits of `{joints[0]}`", allowed=f"{joint.lower:g} to {joint.upper:g}"
            )
    if abs(opened - closed) < schema.MIN_RANGE:
        raise entry.error(
            "open", "closed and open are the same position", remedy=f"give positions at least {schema.MIN_RANGE:g} apart"
        )
    return {"closed": closed, "open": opened}


def _frames(
    entry: Section, wanted: bool, joints: tuple[str, ...], urdf: UrdfFacts, frames: tuple[str, str]
) -> dict[str, Any]:
    """Base and end-effector links of a pose signal, by default those of the contract; the base stands still."""
    if not wanted:
        return {}
    base = entry.choice("base_frame", urdf.links, frames[0])
    for joint in joints:
        if urdf.joints[joint].type == "continuous":
            raise entry.error(
                "joints",
                f"`{joint}` is continuous, which kinematics does not represent",
                remedy="write it in the URDF as revolute with wide limits",
            )
        if joint in urdf.movers(base):
            raise entry.error(
                "base_frame",
                f"`{base}` moves with `{joint}`",
                remedy="choose a base frame before the arm's first joint",
            )
    return {"base_frame": base, "eef_frame": entry.choice("eef_frame", urdf.links, frames[1])}


def _check_reach(entry: Section, joints: tuple[str, ...], urdf: UrdfFacts, eef_frame: str) -> None:
    for joint in joints:
        if joint not in urdf.movers(eef_frame):
            raise entry.error(
                "joints",
                f"`{joint}` does not move `{eef_frame}`",
                allowed=urdf.movers(eef_frame) or None,
                remedy="correct the joints or eef_frame",
            )


def _check_pose_pairs(section: Section, signals: list[schema.ActionSignal]) -> None:
    """A rotation action needs the position action of the same arm, with the same joints and frames."""
    by_slot = {signal.slot: signal for signal in signals}
    for position, rotation in zip(schema.POSITION_SLOTS, schema.ROTATION_SLOTS):
        if rotation not in by_slot:
            continue
        if position not in by_slot:
            raise section.error(rotation, f"`{rotation}` needs `{position}`", remedy=f"add `{position}`")
        for key in ("joints", "frame", "base_frame", "eef_frame"):
            if getattr(by_slot[position], key) != getattr(by_slot[rotation], key):
                raise section.error(rotation, f"`{key}` differs from that of `{position}`", remedy="make them equal")


def _is_second_of_pair(signal: schema.ActionSignal, action: tuple[schema.ActionSignal, ...]) -> bool:
    return signal.slot in schema.ROTATION_SLOTS and any(a.slot in schema.POSITION_SLOTS for a in action)
