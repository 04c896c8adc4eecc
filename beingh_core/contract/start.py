"""The optional key `start_tolerance` of a contract: how far outside its limits a joint may stand at the start."""

from __future__ import annotations

from beingh_core.contract.reader import Section

# Sensor noise at an end stop [rad or m].
DEFAULT = 0.01
# The first command is the limit itself, so this is the largest step that a start can make.
MOST = 0.1


def read_start_tolerance(file: Section, joint_names: tuple[str, ...]) -> tuple[float, ...]:
    """(J,) tolerances [rad or m]: one number for every joint, or {joint: number} with the default for the others.

    Args:
        file: the contract.
        joint_names: commanded joints and velocities of a base; fixes the order.

    Raises:
        BeingHError: an unknown joint, or a number that is negative or more than `MOST`.
    """
    key = "start_tolerance"
    if not file.is_mapping(key):
        return (_number(file, key),) * len(joint_names)
    table = file.section(key)
    table.refuse_unknown(joint_names, "joint")
    return tuple(_number(table, name) for name in joint_names)


def _number(section: Section, key: str) -> float:
    value = section.number(key, DEFAULT)
    if not 0.0 <= value <= MOST:
        raise section.error(key, f"{value:g} is out of range", allowed=f"0 to {MOST:g}")
    return value
