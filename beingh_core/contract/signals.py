"""State and action signals of a contract, checked against the slot table, the URDF and the driver."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from beingh_core import slots
from beingh_core.contract import schema
from beingh_core.contract.meant import position_meant
from beingh_core.contract.reader import Section
from beingh_core.contract.sources import JOINT_STATE, TF, WITH_CHILD, read_fields, read_type
from beingh_core.contract.urdf import SINGLE_TYPES, UrdfFacts
from beingh_core.contract.wire import NAMING, read_ranges, read_wire
from beingh_core.errors import did_you_mean

BASE_SLOTS = ("base_motion",)
GRIPPER_SLOTS = ("gripper_position", "left_gripper_position")
POSE_SLOTS = schema.POSE_SLOTS
_ROTATED = (*schema.ROTATION_SLOTS, "base_rotation")


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
        _check_source(entry, name, source)
        kind = read_type(entry, source)
        joints: tuple[str, ...] = ()
        coupling: tuple[schema.Coupling, ...] = ()
        if source in schema.JOINT_SOURCES:
            joints = entry.strings("joints")
            check_joints(entry, joints, urdf)
            coupling = _coupling(entry, joints, urdf)
        coupled = tuple(one.joint for one in coupling)
        ranges = read_ranges(entry, joints, urdf, coupled)
        grasp = _grasp(entry, name, joints, urdf, ranges)
        counted = (*joints, *coupled)
        if name in GRIPPER_SLOTS and joints:
            ranges = {joints[0]: (grasp["closed"], grasp["open"])} | ranges
        wire = read_wire(entry, counted, urdf, ranges) if joints else None
        count = len(counted) if joints else None
        signal = schema.StateSignal(
            slot=name,
            topic=entry.topic("topic"),
            source=source,
            joints=joints,
            max_age_s=entry.number("max_age_s", **schema.MAX_AGE_S),
            type=kind,
            fields=() if source == "pose" else read_fields(entry, kind, count),
            wire=wire,
            rotation=_rotation(entry, name),
            coupling=coupling,
            **_frame_ids(entry, source, kind),
            **grasp,
            **_frames(entry, source == "fk", joints, urdf, frames),
        )
        _check_values(entry, signal)
        entry.finish()
        signals.append(signal)
    _check_topics(section, signals)
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
        mode = entry.choice("mode", ("absolute",) if name in (*BASE_SLOTS, "control_mode") else schema.ACTION_MODES)
        if name == "control_mode":
            value = entry.number("value", 0.0, at_least=-1e3, at_most=1e3)
            entry.finish()
            signals.append(schema.ActionSignal(slot=name, mode=mode, joints=(), value=value))
            continue
        joints, is_pose = entry.strings("joints"), name in POSE_SLOTS
        coupling: tuple[schema.Coupling, ...] = ()
        if name in BASE_SLOTS:
            _check_velocities(entry, joints, velocities)
        else:
            check_joints(entry, joints, urdf, commanded=True)
            coupling = _coupling(entry, joints, urdf)
        if not is_pose:
            slots.check_width("action", name, len(joints), where=entry.where("joints"))
        poses = _frames(entry, is_pose, joints, urdf, frames)
        if "frame" in entry and mode != "delta":
            raise entry.error(
                "frame", f"`{mode}` has no axes of its own", remedy="leave `frame` out, or use mode: delta"
            )
        if poses:
            check_arm(entry, joints, urdf, **poses)
        signal = schema.ActionSignal(
            slot=name,
            mode=mode,
            frame=entry.choice("frame", schema.ACTION_FRAMES, "world") if is_pose and mode == "delta" else None,
            joints=joints,
            coupling=coupling,
            rotation=_rotation(entry, name),
            **(
                {}
                if is_pose or name in BASE_SLOTS
                else _grasp(entry, name, joints, urdf, read_ranges(entry, joints, urdf))
            ),
            **poses,
        )
        entry.finish()
        signals.append(signal)
    _check_pose_pairs(section, signals)
    return tuple(signals)


def _check_source(entry: Section, slot: str, source: str) -> None:
    allowed: tuple[str, ...]
    if slot in POSE_SLOTS:
        allowed = ("fk", "pose", "field")
    elif slot in schema.BASE_POSE_SLOTS:
        allowed = ("pose", "field", "position")
    else:
        allowed = ("position", "field")
    if source not in allowed:
        raise entry.error("source", f"`{source}` cannot fill slot `{slot}`", allowed=allowed)


def _check_values(entry: Section, signal: schema.StateSignal) -> None:
    """As many values as the slot holds."""
    if signal.source == "position":
        slots.check_width("state", signal.slot, len(signal.joints), where=entry.where("joints"))
    elif signal.source == "field":
        if signal.type == JOINT_STATE:
            raise entry.error("source", "joint states are read by joint", allowed="position", remedy="or give a `type`")
        count = len(signal.fields)
        if signal.rotation != "axis_angle" or signal.slot in _ROTATED:
            if count != signal.width:
                raise entry.error(None, f"{count} numbers are no {signal.rotation}", allowed=f"{signal.width} numbers")
        else:
            slots.check_width("state", signal.slot, count, where=entry.where())


def _check_topics(section: Section, signals: list[schema.StateSignal]) -> None:
    """A topic has one type, and a joint is counted in one way on it."""
    types: dict[str, schema.StateSignal] = {}
    counted: dict[tuple[str, str], tuple] = {}
    for signal in signals:
        entry = section.section(signal.slot)
        first = types.setdefault(signal.topic, signal)
        if first.type != signal.type:
            what = f"`{signal.topic}` carries {first.type} in `{first.slot}`"
            raise entry.error("type", what, remedy="give both the same type")
        if signal.wire is None:
            continue
        fields = signal.fields or (None,) * len(signal.wire.joints)
        for joint, field in zip(signal.wire.joints, fields):
            found = (*signal.wire.of(joint), field)
            if counted.setdefault((signal.topic, joint), found) != found:
                raise entry.error(
                    None,
                    f"`{joint}` is counted in another way on `{signal.topic}` than in a slot above",
                    remedy="give both the same unit, scale, offset and name",
                )
        names = [found[0] for (topic, _), found in counted.items() if topic == signal.topic and not signal.fields]
        if len(set(names)) < len(names):
            twice = next(name for name in names if names.count(name) > 1)
            called = [joint for (topic, joint), found in counted.items() if topic == signal.topic and found[0] == twice]
            raise entry.error(
                next((key for key in NAMING if key in entry), "joints"),
                f"`{called[0]}` and `{called[1]}` are both called `{twice}` on `{signal.topic}`",
                remedy="give each arm a topic of its own, or names of its own by `names` or `strip_prefix`",
            )


def _rotation(entry: Section, slot: str) -> str:
    return entry.choice("rotation", schema.ROTATIONS, "axis_angle") if slot in _ROTATED else "axis_angle"


def _frame_ids(entry: Section, source: str, kind: str) -> dict[str, Any]:
    """The frames that a measured pose must be between; of transforms among others both must be named."""
    keys = ("frame_id", "child_frame_id") if source == "pose" else ()
    found = {key: entry.get(key, str, "") for key in keys}
    if found.get("child_frame_id") and kind not in WITH_CHILD:
        raise entry.error(
            "child_frame_id", f"`{kind}` has no child frame", allowed=WITH_CHILD, remedy="leave `child_frame_id` out"
        )
    for key, value in found.items():
        if kind == TF and not value:
            raise entry.error(
                key,
                f"`{key}` is missing: transforms between many frames come on one topic",
                remedy=f"add `{key}: FRAME`",
            )
    return found


def _coupling(entry: Section, joints: tuple[str, ...], urdf: UrdfFacts) -> tuple[schema.Coupling, ...]:
    """`coupling`: joint -> {of, scale, offset}; joints beside those of the slot, each following one of them."""
    table, found = entry.section("coupling", optional=True), []
    for joint in table.names():
        one = table.section(joint)
        check_joints(table, (joint,), urdf, commanded=True)
        if joint in joints:
            raise table.error(
                joint, f"`{joint}` is in the slot itself", remedy="take it out of `joints`, or of `coupling`"
            )
        coupling = schema.Coupling(
            joint=joint,
            of=one.choice("of", joints),
            scale=one.number("scale", 1.0, at_least=-1e3, at_most=1e3),
            offset=one.number("offset", 0.0, **schema.POSITION),
        )
        one.finish()
        _check_reach(one, coupling, urdf)
        found.append(coupling)
    return tuple(found)


def _check_reach(one: Section, coupling: schema.Coupling, urdf: UrdfFacts) -> None:
    """Refuses a coupling that puts its joint outside of its limits wherever the other one stands."""
    joint, other = urdf.joints[coupling.joint], urdf.joints[coupling.of]
    if coupling.scale == 0.0:
        ends = (coupling.offset, coupling.offset)
    else:
        ends = (coupling.scale * other.lower + coupling.offset, coupling.scale * other.upper + coupling.offset)
    if max(ends) < joint.lower or min(ends) > joint.upper:
        raise one.error(
            "offset" if coupling.offset else "scale",
            f"`{coupling.joint}` would be at {min(ends):g} to {max(ends):g}, always outside of its limits",
            allowed=f"{joint.lower:g} to {joint.upper:g}",
            remedy="give `offset` in rad or m, and the sign of `scale`",
        )


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
                "joints",
                f"`{joint}` is {urdf.joints[joint].type}, which no single number describes",
                allowed=SINGLE_TYPES,
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


def _slot_names(section: Section, kind: str) -> list[str]:
    names = section.names()
    for name in names:
        slots.slot(kind, name, where=section.where(name))
    for count, name in enumerate(names, start=1):
        slots.check_no_overlap(kind, names[:count], where=section.where(name))
    if not names:
        raise section.error(None, f"no {kind} signal is named", remedy="add at least one slot")
    return names


def _grasp(
    entry: Section, slot: str, joints: tuple[str, ...], urdf: UrdfFacts, ranges: Mapping[str, tuple[float, float]]
) -> dict[str, Any]:
    """What a slot has as 0 and 1: of a gripper `closed` and `open` or its `range`, of other joints their `range`."""
    if slot not in GRIPPER_SLOTS:
        return {"ranges": tuple(ranges[joint] for joint in joints) if ranges and slot not in POSE_SLOTS else ()}
    if joints and joints[0] in ranges:
        closed, opened = ranges[joints[0]]
        return {"closed": closed, "open": opened}
    return _gripper_range(entry, joints, urdf) if joints else {}


def _gripper_range(entry: Section, joints: tuple[str, ...], urdf: UrdfFacts) -> dict[str, Any]:
    """`closed` and `open` joint positions of a gripper slot."""
    closed, opened = (entry.number(key, **schema.POSITION) for key in ("closed", "open"))
    joint = urdf.joints[joints[0]]
    for key, value in (("closed", closed), ("open", opened)):
        if not joint.lower <= value <= joint.upper:
            raise entry.error(
                key,
                f"{value:g} is outside the limits of `{joints[0]}`",
                allowed=f"{joint.lower:g} to {joint.upper:g}",
                remedy=position_meant([value], joint),
            )
    if abs(opened - closed) < schema.MIN_RANGE:
        raise entry.error(
            "open",
            "closed and open are the same position",
            remedy=f"give positions at least {schema.MIN_RANGE:g} apart",
        )
    return {"closed": closed, "open": opened}


def _frames(
    entry: Section, wanted: bool, joints: tuple[str, ...], urdf: UrdfFacts, frames: tuple[str, str]
) -> dict[str, Any]:
    """Base and end-effector links of a pose signal, by default those of the contract; the base stands still."""
    if not wanted:
        return {}
    base = entry.choice("base_frame", urdf.links, frames[0])
    _check_base(entry, joints, urdf, base)
    return {"base_frame": base, "eef_frame": entry.choice("eef_frame", urdf.links, frames[1])}


def check_arm(entry: Section, joints: tuple[str, ...], urdf: UrdfFacts, base_frame: str, eef_frame: str) -> None:
    """Refuses a base that moves with the joints, and joints that do not move the end effector."""
    _check_base(entry, joints, urdf, base_frame)
    for joint in joints:
        if joint not in urdf.movers(eef_frame):
            raise entry.error(
                "joints",
                f"`{joint}` does not move `{eef_frame}`",
                allowed=urdf.movers(eef_frame) or None,
                remedy="correct the joints or eef_frame",
            )


def _check_base(entry: Section, joints: tuple[str, ...], urdf: UrdfFacts, base: str) -> None:
    for joint in joints:
        if joint in urdf.movers(base):
            raise entry.error(
                "base_frame",
                f"`{base}` moves with `{joint}`",
                remedy="choose a base frame before the arm's first joint",
            )


def _check_pose_pairs(section: Section, signals: list[schema.ActionSignal]) -> None:
    """A rotation action needs the position action of the same arm, with the same joints and frames."""
    by_slot = {signal.slot: signal for signal in signals}
    for position, rotation in zip(schema.POSITION_SLOTS, schema.ROTATION_SLOTS):
        if rotation not in by_slot:
            continue
        if position not in by_slot:
            raise section.error(rotation, f"`{rotation}` needs `{position}`", remedy=f"add `{position}`")
        for key in ("joints", "mode", "frame", "base_frame", "eef_frame", "coupling"):
            if getattr(by_slot[position], key) != getattr(by_slot[rotation], key):
                raise section.error(rotation, f"`{key}` differs from that of `{position}`", remedy="make them equal")
