"""The unified 200-slot layout of states and actions: the one table of names and ranges.

State and action vectors are both `WIDTH` wide; a slot that an embodiment does not use is 0. Ranges
are half-open. A few ranges are used by two names (an arm's `base_position` in the state and
`base_motion` in the action share 70:73, for instance); a robot contract or data configuration says
which names it uses, and `check_no_overlap` refuses two names on one range.

Units: metres, radians, rotations as axis-angle vectors, gripper 0 = closed and 1 = open.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from types import MappingProxyType

from beingh_core.errors import BeingHError, did_you_mean

WIDTH = 200

_COMMON = {
    "eef_position": (0, 3),
    "eef_rotation": (3, 6),
    "left_eef_position": (9, 12),
    "left_eef_rotation": (12, 15),
    "gripper_position": (18, 19),
    "left_gripper_position": (19, 20),
    "dexhand_position": (20, 26),
    "left_dexhand_position": (32, 38),
    "arm_joint_position": (50, 57),
    "left_arm_joint_position": (57, 64),
    "head_position": (64, 66),
    "waist_position": (66, 69),
    "right_theta": (110, 155),
    "left_theta": (155, 200),
}
_STATE_ONLY = {
    "gripper_qpos": (44, 46),
    "libero_gripper_position": (44, 46),
    "base_position": (70, 73),
    "base_rotation": (73, 76),
    "right_beta": (90, 100),
    "left_beta": (100, 110),
}
_ACTION_ONLY = {
    "base_motion": (70, 74),
    "control_mode": (74, 75),
}


def _table(*parts: Mapping[str, tuple[int, int]]) -> Mapping[str, slice]:
    """One read-only name -> slice table, ordered by range."""
    ranges = {name: bounds for part in parts for name, bounds in part.items()}
    ordered = sorted(ranges.items(), key=lambda item: item[1])
    return MappingProxyType({name: slice(*bounds) for name, bounds in ordered})


STATE_SLOTS: Mapping[str, slice] = _table(_COMMON, _STATE_ONLY)
ACTION_SLOTS: Mapping[str, slice] = _table(_COMMON, _ACTION_ONLY)

# Arms, hands, heads and waists with fewer joints and bases with fewer motions fill the front of these ranges; every other
# slot has exactly its width.
PARTIAL_SLOTS = frozenset(
    {
        "arm_joint_position",
        "left_arm_joint_position",
        "dexhand_position",
        "left_dexhand_position",
        "head_position",
        "waist_position",
        "base_motion",
    }
)

_TABLES = {"state": STATE_SLOTS, "action": ACTION_SLOTS}


def slots(kind: str) -> Mapping[str, slice]:
    """The table of `kind`, "state" or "action"."""
    if kind not in _TABLES:
        raise BeingHError(f"there is no slot table `{kind}`", allowed=_TABLES)
    return _TABLES[kind]


def slot(kind: str, name: str, *, where: object | None = None) -> slice:
    """The range of one named slot.

    Args:
        kind: "state" or "action".
        name: slot name, as in `STATE_SLOTS` or `ACTION_SLOTS`.
        where: what to name in an error (a file and key).

    Raises:
        BeingHError: no such slot; names the nearest ones, and the other table if it is there.
    """
    table = slots(kind)
    if name in table:
        return table[name]
    other = "action" if kind == "state" else "state"
    if name in _TABLES[other]:
        remedy = f"`{name}` is an {other} slot" if other == "action" else f"`{name}` is a {other} slot"
        remedy += f"; use it under {other}"
    else:
        remedy = did_you_mean(name, table)
    raise BeingHError(f"unknown {kind} slot `{name}`", where=where, allowed=table, remedy=remedy)


def check_no_overlap(kind: str, names: Iterable[str], *, where: object | None = None) -> None:
    """Refuses a set of slot names in which two claim one range, or one is named twice.

    Args:
        kind: "state" or "action".
        names: the slots one embodiment uses.
        where: what to name in an error.

    Raises:
        BeingHError: naming both slots and their ranges.
    """
    owner: dict[int, str] = {}
    for name in names:
        bounds = slot(kind, name, where=where)
        for index in range(bounds.start, bounds.stop):
            if index in owner:
                other = slot(kind, owner[index])
                raise BeingHError(
                    f"{kind} slots `{owner[index]}` ({other.start}:{other.stop}) and `{name}` "
                    f"({bounds.start}:{bounds.stop}) overlap",
                    where=where,
                    remedy="keep one of the two",
                )
            owner[index] = name


def check_width(kind: str, name: str, width: int, *, where: object | None = None) -> None:
    """Refuses a signal whose number of values does not fit its slot.

    The slots in `PARTIAL_SLOTS` take fewer values too, filled from the front; all others take exactly their width.

    Raises:
        BeingHError: naming the slot, its width and the given one.
    """
    bounds = slot(kind, name, where=where)
    capacity = bounds.stop - bounds.start
    fits = 1 <= width <= capacity if name in PARTIAL_SLOTS else width == capacity
    if not fits:
        allowed = f"1 to {capacity} values" if name in PARTIAL_SLOTS else f"{capacity} values"
        raise BeingHError(
            f"{kind} slot `{name}` was given {width} values",
            where=where,
            allowed=allowed,
            remedy=f"list as many joints as slot `{name}` holds, or choose another slot",
        )
