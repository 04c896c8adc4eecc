"""How joints are named and counted in the messages of a robot, and as positions of the URDF.

For each joint: share or angle or length = scale * value * (size of its unit) + offset; a share s of a range is the position
closed + s * (open - closed). In all, position = factor * value + shift.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from beingh_core.contract.meant import position_meant
from beingh_core.contract.reader import Section
from beingh_core.contract.urdf import UrdfFacts
from beingh_core.contract.wire_units import ANGLES, LENGTHS, SHARES, UNITS
from beingh_core.errors import did_you_mean

Ranges = Mapping[str, tuple[float, float]]  # joint -> positions that are closed and open
NAMING = ("names", "add_prefix", "strip_prefix")
# The smallest and largest factor between a number of a message and a position.
MIN_FACTOR, MAX_FACTOR = 1e-9, 1e6
# How far the zero of a message that has angles [rad] or lengths [m] may be from a joint's limits.
TURN, MAX_ZERO_M = 2.0 * math.pi, 10.0


@dataclass(frozen=True, kw_only=True)
class Wire:
    """Names and numbers of some joints in messages: position = factor * value + shift.

    Attributes:
        joints: names in the URDF.
        names: names in messages, each once.
        factors, shifts: of each joint [rad or m a number of the message; rad or m].
        counts: which of `unit`, `scale` and `offset` the contract gives, and `names` where it gives names or a prefix.
        ends: joint and its (closed, open) positions, of those whose `range` (or `closed` and `open`) is given.
        unit: of the messages, "" where the contract gives none.
    """

    joints: tuple[str, ...]
    names: tuple[str, ...]
    factors: tuple[float, ...]
    shifts: tuple[float, ...]
    counts: frozenset[str] = frozenset()
    ends: tuple[tuple[str, tuple[float, float]], ...] = ()
    unit: str = ""

    @property
    def is_plain(self) -> bool:
        """Whether messages have the URDF's names and units."""
        return self.names == self.joints and set(self.factors) <= {1.0} and set(self.shifts) <= {0.0}

    def positions(self, values: Mapping[str, float]) -> dict[str, float]:
        """Joint -> position [rad or m] from name -> number. Other names stay as they are, but for those of joints that
        are called otherwise here.
        """
        if self.is_plain:
            return dict(values)
        found = {name: value for name, value in values.items() if name not in self.joints and name not in self.names}
        for joint, name, factor, shift in zip(self.joints, self.names, self.factors, self.shifts):
            if name in values:
                found[joint] = factor * values[name] + shift
        return found

    def velocities(self, values: Mapping[str, float]) -> dict[str, float]:
        """Joint -> velocity [rad/s or m/s] from name -> number a second."""
        if self.is_plain:
            return dict(values)
        return {j: f * values[name] for j, name, f in zip(self.joints, self.names, self.factors) if name in values}

    def named(self, joints: Sequence[str]) -> list[str]:
        """Names in messages."""
        name_of = dict(zip(self.joints, self.names))
        return [name_of[joint] for joint in joints]

    def values(self, positions: np.ndarray) -> np.ndarray:
        """Numbers (..., J) for messages of positions (..., J), in the order of `joints`."""
        return (positions - np.array(self.shifts)) / np.array(self.factors)

    def rates(self, velocities: np.ndarray) -> np.ndarray:
        """Numbers a second (..., J) for messages of velocities (..., J)."""
        return velocities / np.array(self.factors)

    def of(self, joint: str) -> tuple[str, float, float]:
        """Name, factor and shift of a joint."""
        index = self.joints.index(joint)
        return self.names[index], self.factors[index], self.shifts[index]


def plain(joints: Sequence[str]) -> Wire:
    """The URDF's own names and units."""
    count = len(joints)
    return Wire(joints=tuple(joints), names=tuple(joints), factors=(1.0,) * count, shifts=(0.0,) * count)


def merged(wires: Sequence[Wire]) -> Wire:
    """All joints of several, each once."""
    parts = {joint: wire.of(joint) for wire in wires for joint in wire.joints}
    names, factors, shifts = (tuple(column) for column in zip(*parts.values())) if parts else ((), (), ())
    return Wire(
        joints=tuple(parts),
        names=names,
        factors=factors,
        shifts=shifts,
        counts=frozenset().union(*(wire.counts for wire in wires)),
    )


def read_ranges(
    entry: Section, joints: Sequence[str], urdf: UrdfFacts, also: Sequence[str] = ()
) -> dict[str, tuple[float, float]]:
    """`range`: joint -> [closed, open] positions, of every joint or of none, and of others where they are given.

    Raises:
        BeingHError: an unknown joint, one that is missing, or positions that are no range within the URDF's limits.
    """
    if "range" not in entry:
        return {}
    table = entry.section("range")
    table.refuse_unknown((*joints, *also), "joint")
    found = {}
    for joint in (*joints, *also):
        if joint not in table and joint in also:
            continue
        if joint not in table:
            raise table.error(None, f"joint `{joint}` has no range", remedy=f"add `{joint}: [closed, open]`")
        low, high = urdf.joints[joint].lower, urdf.joints[joint].upper
        closed, opened = ends = table.numbers(joint, 2)
        if not all(low <= end <= high for end in ends) or abs(opened - closed) < 1e-5:
            raise table.error(
                joint,
                f"{list(ends)} is no range of this joint",
                allowed=f"[closed, open] within {low:g} to {high:g}",
                remedy=position_meant(ends, urdf.joints[joint]),
            )
        found[joint] = (closed, opened)
    return found


def read_wire(entry: Section, joints: tuple[str, ...], urdf: UrdfFacts, ranges: Ranges) -> Wire:
    """`unit`, `scale`, `offset` and the names of some joints in messages.

    Args:
        entry: a state signal or a group of a driver.
        joints: its joints.
        urdf: the robot.
        ranges: what a share (`share`, `percent`, `per_mille`) is of.

    Raises:
        BeingHError: a unit that does not fit a joint, a factor of nothing, an offset in another unit than rad or m, or a name
            that comes twice.
    """
    unit = entry.choice("unit", UNITS, None)
    scales, offsets = (_per_joint(entry, key, joints, default) for key, default in (("scale", 1.0), ("offset", 0.0)))
    factors, shifts = [], []
    for joint, scale, offset in zip(joints, scales, offsets):
        _check_unit(entry, unit, joint, urdf, ranges)
        if unit not in SHARES:
            _check_offset(entry, joint, scale * UNITS.get(unit, 1.0), offset, urdf)
        closed, opened = ranges[joint] if unit in SHARES else (0.0, 1.0)
        factors.append(scale * UNITS.get(unit, 1.0) * (opened - closed))
        shifts.append(closed + offset * (opened - closed))
        if not MIN_FACTOR <= abs(factors[-1]) <= MAX_FACTOR:
            raise entry.error("scale", f"{scale:g} makes one step of `{joint}` {factors[-1]:g}", allowed="a usual size")
    return Wire(
        joints=joints,
        names=_names(entry, joints),
        factors=tuple(factors),
        shifts=tuple(shifts),
        counts=frozenset(key for key in ("unit", "scale", "offset") if key in entry)
        | (frozenset(("names",)) if any(key in entry for key in NAMING) else frozenset()),
        ends=tuple((joint, ranges[joint]) for joint in joints if joint in ranges),
        unit=unit or "",
    )


def _check_unit(entry: Section, unit: str | None, joint: str, urdf: UrdfFacts, ranges: Ranges) -> None:
    if unit is None:
        return
    if unit in SHARES:
        if joint not in ranges:
            raise entry.error(
                "unit", f"`{unit}` counts from closed to open", remedy=f"add `range: {{{joint}: [closed, open]}}` here"
            )
        return
    fitting = LENGTHS if urdf.joints[joint].type == "prismatic" else ANGLES
    if unit not in fitting:
        kind = "slides" if fitting is LENGTHS else "turns"
        number = "the opening of a gripper in mm" if fitting is ANGLES else "the turns of a spindle"
        raise entry.error(
            "unit",
            f"`{unit}` is no unit of `{joint}`, which {kind}",
            allowed=[*fitting, *SHARES],
            remedy=f"where the number is something else ({number}), leave `unit` out and write `scale`, in {next(iter(fitting))} "
            "a number; joints that slide and joints that turn stand in signals and groups of their own",
        )


def _check_offset(entry: Section, joint: str, factor: float, offset: float, urdf: UrdfFacts) -> None:
    """Refuses an offset [rad or m] that can only be one in degrees or millimetres.

    A joint that reports angles or lengths stands within its limits there, too, give or take another zero: no further away
    than one turn, or `MAX_ZERO_M`. Numbers of another size are counts of an encoder, whose zero may be anywhere.
    """
    slides = urdf.joints[joint].type == "prismatic"
    sizes, most = (LENGTHS, MAX_ZERO_M) if slides else (ANGLES, TURN)
    if not any(math.isclose(abs(factor), size, rel_tol=1e-3) for size in sizes.values()):
        return
    ends = [abs(end) for end in (urdf.joints[joint].lower, urdf.joints[joint].upper) if math.isfinite(end)]
    most += max(ends, default=0.0)
    if abs(offset) <= most:
        return
    unit, kind, size = ("m", "millimetres", LENGTHS["mm"]) if slides else ("rad", "degrees", ANGLES["deg"])
    raise entry.error(
        "offset",
        f"{offset:g} {unit} is beyond every zero of `{joint}`: `offset` is in {unit}, whatever `unit` says",
        allowed=f"{-most:.4g} to {most:.4g}",
        remedy=f"if {offset:g} is meant in {kind}, write {offset * size:.6g}",
    )


def _per_joint(entry: Section, key: str, joints: Sequence[str], default: float) -> list[float]:
    if entry.is_mapping(key):
        table = entry.named_numbers(key, joints, at_least=-1e6, at_most=1e6)
        return [table.get(joint, default) for joint in joints]
    return [entry.number(key, default, at_least=-1e6, at_most=1e6)] * len(joints)


def _names(entry: Section, joints: tuple[str, ...]) -> tuple[str, ...]:
    """What messages call the joints: a table, or a prefix that one side has and the other has not."""
    given = [key for key in NAMING if key in entry]
    if len(given) > 1:
        raise entry.error(given[1], f"there is `{given[0]}` too", remedy="keep one of the two")
    table, add, strip = entry.texts("names"), entry.get("add_prefix", str, ""), entry.get("strip_prefix", str, "")
    for joint in table.values():
        if joint not in joints:
            remedy = did_you_mean(joint, joints)
            if any(name in joints for name in table):
                remedy = f"write it the other way around, `{{{joint}: {next(n for n in table if table[n] == joint)}}}`"
            raise entry.error("names", f"`{joint}` is not among the joints here", allowed=joints, remedy=remedy)
    for joint in joints:
        if add and not joint.startswith(add):
            raise entry.error("add_prefix", f"`{joint}` does not begin with `{add}`", remedy="use `names`")
    name_of = {joint: name for name, joint in table.items()}
    names = tuple(name_of.get(joint, strip + joint.removeprefix(add)) for joint in joints)
    if len(set(names)) < len(names) or len(name_of) < len(table):
        raise entry.error("names", "two names are one joint's, or two joints have one name", remedy="name each once")
    return names
