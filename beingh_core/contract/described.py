"""What a contract's cameras, signals and groups mean, for people: units, signs, zeros, names, ranges, couplings, frames."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence

from beingh_core.contract.driver_options import DRIVER_KINDS
from beingh_core.contract.schema import (
    JOINT_SOURCES,
    POSE_SLOTS,
    POSITION_SLOTS,
    ActionSignal,
    CameraStream,
    Coupling,
    Driver,
    DriverGroup,
    StateSignal,
)
from beingh_core.contract.urdf import UrdfJoint
from beingh_core.contract.wire import Wire

Joints = Mapping[str, UrdfJoint]
Signal = StateSignal | ActionSignal


def camera_words(camera: CameraStream) -> str:
    """Where pictures come from and what is done with them."""
    parts = [f"{camera.topic}: {_short(camera.type)} {camera.encoding}"]
    if camera.depth:
        step, near, far = camera.depth
        parts.append(f"depth of {step:g} m a step from {near:g} m (white) to {far:g} m (black)")
    parts += [f"undistorted by {camera.undistort}"] * bool(camera.undistort)
    parts += [f"turned clockwise by {camera.rotate} deg"] * bool(camera.rotate)
    if camera.crop:
        left, top, width, height = camera.crop
        parts.append(f"cut to {width}x{height} at ({left}, {top})")
    parts += [f"stale after {camera.max_age_s:g} s"] + ["optional"] * camera.optional
    return ", ".join(parts)


def state_words(signal: StateSignal, joints: Joints, *, counted: bool = True) -> str:
    """Where a state signal comes from; with `counted` how its numbers become positions."""
    kind = _short(signal.type)
    if signal.source == "pose":
        what = f"{'position' if _is_place(signal) else 'rotation'} of {kind} in {signal.frame_id or 'any frame'}"
        what += f" of {signal.child_frame_id}" * bool(signal.child_frame_id)
    elif signal.source == "field":
        what = f"{_ends_of(signal.fields, 'numbers')} of {kind} as they are"
    else:
        what = f"{_ends_of(signal.wire.joints if signal.wire else signal.joints)} of {kind}"
    words = [f"{signal.topic}: {what}"]
    if counted and signal.wire is not None:
        words.append(counting(signal.wire, joints))
    words += [f"as the pose of {signal.eef_frame} in {signal.base_frame}"] * (signal.source == "fk")
    words += [f"written as {signal.rotation}"] * (not _is_place(signal) and _is_pose(signal))
    words += _slot_words(signal) if counted else []
    return ", ".join([*words, f"stale after {signal.max_age_s:g} s"])


def action_words(signal: ActionSignal, *, counted: bool = True) -> str:
    """What an action signal commands, and what its numbers mean."""
    if not signal.joints:
        return f"{signal.mode}, always {signal.value:g}: moves nothing"
    mode = signal.mode + (f" in the axes of {signal.frame}" if signal.frame else "")
    words = [f"{mode} for {_ends_of(signal.commanded)}"]
    if signal.slot in POSE_SLOTS:
        words.append(f"pose of {signal.eef_frame} in {signal.base_frame}")
        words += [f"written as {signal.rotation}"] * (not _is_place(signal))
    return ", ".join(words + (_slot_words(signal) if counted else []))


def group_words(driver: Driver, group: DriverGroup, joints: Joints, *, counted: bool = True) -> str:
    """What a driver sends on one topic, or to one action."""
    words, options = [f"{group.topic}: {_ends_of(group.joints)}"], driver.options
    if counted and group.wire is not None and DRIVER_KINDS[driver.kind].has_wire:
        words.append(counting(group.wire, joints))
    if "axes" in options:
        words.append(f"along {', '.join(options['axes'])}")
    if driver.kind == "pose_command":
        frame = options["frame_id"] or options["base_frame"]
        words.append(f"as the pose of {options['eef_frame']} in {options['base_frame']}, frame_id {frame}")
    if options.get("closed_command") is not None:
        words.append(f"closed is {options['closed_command']:g} and open {options['open_command']:g} there")
    return ", ".join(words)


def counting(wire: Wire, joints: Joints) -> str:
    """How numbers x of messages become positions, in one line: what most joints do, then the others."""
    formulas = {joint: formula(wire, joint, joints) for joint in wire.joints}
    (usual, _), *_ = Counter(formulas.values()).most_common(1)
    odd = [f"{joint} = {text}" for joint, text in formulas.items() if text != usual]
    text = f"in {_units(wire, joints)}"
    if usual != f"x {_size(joints, wire.joints[0])}" or odd:
        text += f": position = {usual}" + (f" (but {'; '.join(odd)})" if odd else "")
    if wire.names == wire.joints:
        return f"{text}, by the URDF's names"
    return f"{text}, called {' to '.join(dict.fromkeys((wire.names[0], wire.names[-1])))}"


def formula(wire: Wire, joint: str, joints: Joints) -> str:
    """Position of a joint from the number x of a message."""
    _, factor, shift = wire.of(joint)
    text = {1.0: "x", -1.0: "-x"}.get(factor, f"{factor:.6g} x")
    text += f" {'-' if shift < 0.0 else '+'} {abs(shift):.6g}" if shift else ""
    return f"{text} {_size(joints, joint)}"


def state_table(signal: StateSignal, joints: Joints) -> list[str]:
    """A line for each joint (or number) of a signal that is not counted plainly; else its joints in a line."""
    if signal.source not in JOINT_SOURCES or signal.wire is None:
        return [", ".join(signal.fields)] if signal.fields else []
    return _wire_table(signal.wire, joints, signal.fields, _of_slot(signal, joints))


def action_table(signal: ActionSignal, joints: Joints) -> list[str]:
    """The same of an action."""
    meaning = _of_slot(signal, joints)
    if not meaning:
        return [", ".join(signal.commanded)] if signal.commanded[1:] else []
    return _table([("joint", "in the slot"), *((joint, meaning.get(joint, "position")) for joint in signal.commanded)])


def group_table(driver: Driver, group: DriverGroup, joints: Joints) -> list[str]:
    """The same of a group of a driver."""
    if group.wire is None or not DRIVER_KINDS[driver.kind].has_wire:
        return [", ".join(group.joints)] if group.joints[1:] else []
    return _wire_table(group.wire, joints, (), {})


def _wire_table(wire: Wire, joints: Joints, fields: Sequence[str], slot: Mapping[str, str]) -> list[str]:
    if wire.is_plain and not wire.unit and not fields and not slot:
        return [f"{counting(wire, joints)}: {', '.join(wire.joints)}"]
    called = fields or wire.names
    unit = {joint: wire.unit or _size(joints, joint) for joint in wire.joints}
    rows = [
        (joint, name, unit[joint], formula(wire, joint, joints), slot.get(joint, "position" * bool(slot)))
        for joint, name in zip(wire.joints, called)
    ]
    return _table([("joint", "in messages x is", "unit", "position", "in the slot" if slot else ""), *rows])


def _of_slot(signal: Signal, joints: Joints) -> dict[str, str]:
    """What the slot holds of the joints of which it has no position."""
    found = {}
    ends = [(signal.closed, signal.open)] if signal.closed is not None else signal.ranges
    for joint, (closed, opened) in zip(signal.joints, ends):
        found[joint] = f"0 at {closed:g} {_size(joints, joint)} (closed), 1 at {opened:g} (open)"
    for one in signal.coupling:
        found[one.joint] = f"nothing: {_follows(one, joints)}"
    return found


def _slot_words(signal: Signal) -> list[str]:
    """The same in one line."""
    words = []
    if signal.closed is not None:
        words.append(f"0 at {signal.closed:g} (closed), 1 at {signal.open:g} (open)")
    elif signal.ranges:
        words.append("each 0 where it is closed and 1 where it is open")
    return words + [f"{one.joint} is {_follows(one, {})}" for one in signal.coupling]


def _follows(one: Coupling, joints: Joints) -> str:
    offset = f" {'-' if one.offset < 0.0 else '+'} {abs(one.offset):g}" if one.offset else ""
    return f"{one.scale:g} * {one.of}{offset}" + (f" {_size(joints, one.joint)}" if joints and offset else "")


def _table(rows: Sequence[Sequence[str]]) -> list[str]:
    """Rows as lines, columns under each other, those without anything left out."""
    columns = [column for column in zip(*rows) if any(column)]
    widths = [max(map(len, column)) for column in columns]
    return ["  ".join(f"{cell:<{width}}" for cell, width in zip(row, widths)).rstrip() for row in zip(*columns)]


def _units(wire: Wire, joints: Joints) -> str:
    return wire.unit or " and ".join(dict.fromkeys(_size(joints, joint) for joint in wire.joints))


def _size(joints: Joints, joint: str) -> str:
    return "m" if joint in joints and joints[joint].type == "prismatic" else "rad"


def _is_place(signal: Signal) -> bool:
    return signal.slot in (*POSITION_SLOTS, "base_position")


def _is_pose(signal: Signal) -> bool:
    return signal.slot in POSE_SLOTS or signal.slot == "base_rotation"


def _ends_of(names: Sequence[str], noun: str = "joints") -> str:
    """One name, or how many with the first and the last."""
    return f"{len(names)} {noun} ({names[0]} to {names[-1]})" if names[1:] else "".join(names)


def _short(kind: str) -> str:
    return kind.rpartition("/")[2]
