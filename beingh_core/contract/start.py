"""The optional key `start_tolerance` of a contract: how far outside its limits a joint may stand at the start."""

from __future__ import annotations

from beingh_core.contract.reader import Section


def read_start_tolerance(file: Section, joint_names: tuple[str, ...]) -> tuple[float, ...]:
    """(J,) tolerances [rad or m]: one number for every joint, or {joint: number} with the default for the others.

    Args:
        file: the contract.
        joint_names: commanded joints and velocities of a base; fixes the order.

    Raises:
        BeingHError: an unknown joint, or a number out of bounds.
    """
    key = "start_tolerance"
    if not file.is_mapping(key):
        return (file.number(key),) * len(joint_names)
    table = file.section(key)
    table.refuse_unknown(joint_names, "joint")
    return tuple(table.number(name) for name in joint_names)
