"""What a contract says twice of one joint agrees: how it is counted, which end is open, what it follows."""

from __future__ import annotations

import math
from collections.abc import Iterator

from beingh_core.contract import schema
from beingh_core.contract.driver_options import DRIVER_KINDS
from beingh_core.contract.drivers import placed_groups
from beingh_core.contract.reader import Section
from beingh_core.contract.wire import Wire
from beingh_core.contract.wire_units import SHARES
from beingh_core.realtime.limits import JointLimits

# How far a coupling may take a joint beyond its limits [rad or m]: gears are rounded.
BEYOND = 0.01


def check_agreement(
    file: Section,
    drivers: tuple[schema.Driver, ...],
    state: tuple[schema.StateSignal, ...],
    action: tuple[schema.ActionSignal, ...],
) -> None:
    """Refuses a joint that is counted, opened or coupled in one way where it is measured, and in another where it is commanded.

    Raises:
        BeingHError: at the later of the two places, which names the earlier.
    """
    _check_counts(file, drivers, state)
    _check_ends(file, drivers, state, action)
    _check_couplings(file, state, action)


def check_action_joints(
    file: Section, action: tuple[schema.ActionSignal, ...], drivers: tuple[schema.Driver, ...]
) -> None:
    """Action signals and drivers must command the same joints, each signal its own."""
    owner: dict[str, str] = {}
    for signal in action:
        if _is_second_of_pair(signal, action):
            continue
        for joint in signal.commanded:
            if joint in owner:
                raise (
                    file.section("action")
                    .section(signal.slot)
                    .error(
                        "joints",
                        f"`{joint}` is already commanded by `{owner[joint]}`",
                        remedy="command it in one signal",
                    )
                )
            owner[joint] = signal.slot
    base = {joint for driver in drivers if driver.kind == "twist_base" for joint in driver.joints}
    if owner and set(owner) <= base:
        raise file.error(
            "action",
            "it commands a base and no joint, but the controller begins at measured positions of joints",
            remedy="command an arm, a head or a gripper beside the base",
        )
    sent = [joint for driver in drivers for joint in driver.joints]
    key = "driver" if "driver" in file else "drivers"
    for joint, slot in owner.items():
        if joint not in sent:
            raise file.error(
                key, f"no group sends `{joint}`, which action `{slot}` commands", remedy="add it to a group"
            )
    for _, group, entry in placed_groups(file, drivers):
        for joint in group.joints:
            if joint not in owner:
                raise entry.error(
                    "joints",
                    f"`{joint}` is sent, but no action commands it",
                    allowed=owner,
                    remedy="remove it from the group, or add an action for it",
                )


def _is_second_of_pair(signal: schema.ActionSignal, action: tuple[schema.ActionSignal, ...]) -> bool:
    return signal.slot in schema.ROTATION_SLOTS and any(a.slot in schema.POSITION_SLOTS for a in action)


def _is_silent(wire: Wire, other: Wire, joint: str) -> bool:
    """Whether one side says nothing of how a joint is counted that the other side counts in its own way.

    Names are no word about that; an offset is one only where the other side has no more than an offset.
    """
    _, factor, shift = other.of(joint)
    words = {"unit", "scale"} if factor != 1.0 else {"unit", "scale", "offset"}
    return (factor, shift) != (1.0, 0.0) and not wire.counts & words


def _opposes(wire: Wire, other: Wire, joint: str) -> bool:
    """Whether both sides count a joint in opposite directions; a share may count from open to closed where angles do not."""
    factor, other_factor = wire.of(joint)[1], other.of(joint)[1]
    same_size = math.isclose(factor, -other_factor, rel_tol=1e-9)
    return factor * other_factor < 0.0 and (same_size or not {wire.unit, other.unit} & set(SHARES))


def _forgotten(wire: Wire, other: Wire, joint: str) -> str | None:
    """The key by which `other` counts a joint in its own way, without a word about it in `wire`."""
    if wire.unit in SHARES or other.unit in SHARES:
        return None  # how far a range goes may differ
    (_, factor, shift), (_, other_factor, other_shift) = wire.of(joint), other.of(joint)
    if wire.unit == other.unit and _differ(factor, other_factor, wire, "scale"):
        return "scale"
    return "offset" if _differ(shift, other_shift, wire, "offset") else None


def _differ(value: float, other: float, wire: Wire, key: str) -> bool:
    return key not in wire.counts and not math.isclose(value, other, rel_tol=1e-9, abs_tol=1e-12)


def _check_forgotten(entry: Section, key: str, topic: str, joint: str, sent: Wire, read: Wire) -> None:
    """Refuses a `scale` or `offset` that is said where a joint is measured or where it is commanded, and not in the other."""
    for wire, other, there, here in (
        (sent, read, "in the state", f"for {topic}"),
        (read, sent, f"for {topic}", "in the state"),
    ):
        if forgotten := _forgotten(wire, other, joint):
            none = f"`{forgotten}: {1 if forgotten == 'scale' else 0}`"
            raise entry.error(
                key,
                f"`{forgotten}` of `{joint}` is given {there} and not {here}: the robot would jump when it is told to stay",
                remedy=f"write `{forgotten}` there too, {none} where that is meant",
            )


def _check_counts(file: Section, drivers: tuple[schema.Driver, ...], state: tuple[schema.StateSignal, ...]) -> None:
    """A joint that is measured in another unit than the URDF's is not commanded in the URDF's by mistake, nor the reverse."""
    wires = [signal.wire for signal in state if signal.wire is not None]
    counted = {joint for wire in wires for joint in wire.joints}
    for driver, group, entry in placed_groups(file, drivers):
        if not DRIVER_KINDS[driver.kind].has_wire:
            continue
        assert group.wire is not None, "of a kind that has one"
        key = next((key for key in ("range", "scale", "unit", "offset") if key in entry), "joints")
        for joint in group.joints:
            measured = [wire for wire in wires if joint in wire.joints]
            if any(_is_silent(group.wire, wire, joint) for wire in measured):
                raise entry.error(
                    key,
                    f"`{joint}` is measured in a unit of its own, but {group.topic} says none",
                    remedy="write `unit` there too, `unit: rad` (or m) where commands are in the URDF's unit",
                )
            if any(_is_silent(wire, group.wire, joint) for wire in measured):
                raise entry.error(
                    key,
                    f"`{joint}` is commanded in a unit of its own, but a state signal of it says none",
                    remedy="write `unit` there too, `unit: rad` (or m) where it is measured in the URDF's unit",
                )
            if any(_opposes(group.wire, wire, joint) for wire in measured):
                raise entry.error(
                    key,
                    f"`{joint}` is measured in one direction and commanded in the other on {group.topic}: the robot would "
                    "jump when it is told to stay",
                    remedy="give both the same sign of `scale`, or the same order of `range`",
                )
            for wire in measured:
                _check_forgotten(entry, key, group.topic, joint, group.wire, wire)
            if counted and joint not in counted and not all(wire.is_plain for wire in wires):
                raise entry.error(
                    "joints",
                    f"no state signal says how `{joint}` is counted",
                    remedy="read it in a state signal, or name it under `coupling` of one",
                )


_Ends = tuple[str, tuple[float, float], Section, str]


def _ends(
    file: Section,
    drivers: tuple[schema.Driver, ...],
    state: tuple[schema.StateSignal, ...],
    action: tuple[schema.ActionSignal, ...],
) -> Iterator[_Ends]:
    """Joint, its (closed, open), and the place and key that say so, in the order of the arguments' flow: state, action, drivers."""
    for signal in state:
        entry = file.section("state").section(signal.slot)
        for joint, ends in signal.wire.ends if signal.wire else ():
            yield joint, ends, entry, "range" if "range" in entry else "closed"
    for command in action:
        entry = file.section("action").section(command.slot)
        if command.closed is not None and command.open is not None:
            yield command.joints[0], (command.closed, command.open), entry, "range" if "range" in entry else "closed"
        for joint, ends in zip(command.joints, command.ranges):
            yield joint, ends, entry, "range"
    for _, group, entry in placed_groups(file, drivers):
        for joint, ends in group.wire.ends if group.wire else ():
            yield joint, ends, entry, "range"


def _check_ends(
    file: Section,
    drivers: tuple[schema.Driver, ...],
    state: tuple[schema.StateSignal, ...],
    action: tuple[schema.ActionSignal, ...],
) -> None:
    """The end of a joint that is called open is the same one everywhere; how far it opens may differ."""
    said: dict[str, _Ends] = {}
    for found in _ends(file, drivers, state, action):
        joint, (closed, opened), entry, key = found
        _, (first_closed, first_open), first_entry, first_key = said.setdefault(joint, found)
        if (opened - closed) * (first_open - first_closed) < 0.0:
            raise entry.error(
                key,
                f"`{joint}` opens from {closed:g} to {opened:g} here, but the other way, from {first_closed:g} to "
                f"{first_open:g}, in {'.'.join((*first_entry.keys, first_key))}: told to stay, the robot would jump",
                remedy="write [closed, open] (or `closed` and `open`) in the same order in both",
            )


def _check_couplings(
    file: Section, state: tuple[schema.StateSignal, ...], action: tuple[schema.ActionSignal, ...]
) -> None:
    """A coupled joint follows the same joint, in the same way, wherever that is said."""
    said: dict[str, tuple[schema.Coupling, Section]] = {}
    signals: list[tuple[str, schema.StateSignal | schema.ActionSignal]] = [
        *(("state", signal) for signal in state),
        *(("action", signal) for signal in action),
    ]
    for kind, signal in signals:
        for coupling in signal.coupling:
            entry = file.section(kind).section(signal.slot).section("coupling")
            first, first_entry = said.setdefault(coupling.joint, (coupling, entry))
            if first != coupling:
                raise entry.error(
                    coupling.joint,
                    f"`{coupling.joint}` is {_formula(coupling)} here, but {_formula(first)} in "
                    f"{'.'.join((*first_entry.keys, first.joint))}",
                    remedy="write the same `of`, `scale` and `offset` in both",
                )


def check_coupled_limits(
    file: Section, action: tuple[schema.ActionSignal, ...], joint_names: tuple[str, ...], limits: JointLimits
) -> None:
    """Refuses a coupling that takes its joint out of its limits while the one that it follows stays within its own.

    Raises:
        BeingHError: with the limits that would do.
    """
    ends = {joint: (low, high) for joint, low, high in zip(joint_names, limits.lower, limits.upper)}
    for signal in action:
        for one in signal.coupling:
            (low, high), followed = ends[one.joint], ends[one.of]
            taken = sorted(one.scale * end + one.offset if one.scale else one.offset for end in followed)
            if low - BEYOND <= taken[0] and taken[1] <= high + BEYOND:
                continue
            fit = sorted((end - one.offset) / one.scale for end in (low, high)) if one.scale else (0.0, 0.0)
            fit = [max(fit[0], followed[0]), min(fit[1], followed[1])]
            entry = file.section("action").section(signal.slot).section("coupling").section(one.joint)
            narrow = f", or narrow that one: `limits.position: {{{one.of}: [{fit[0]:.4g}, {fit[1]:.4g}]}}`"
            raise entry.error(
                "scale" if "scale" in entry or "offset" not in entry else "offset",
                f"`{one.joint}` would be at {taken[0]:.4g} to {taken[1]:.4g} while `{one.of}` is at {followed[0]:.4g} to "
                f"{followed[1]:.4g}",
                allowed=f"{low:.4g} to {high:.4g}, its limits",
                remedy=f"correct `scale` and `offset`{narrow if fit[1] - fit[0] > 2 * BEYOND else ''}",
            )


def _formula(coupling: schema.Coupling) -> str:
    return f"{coupling.scale:g} * {coupling.of} + {coupling.offset:g}"
