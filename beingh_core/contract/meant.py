"""Positions that are out of bounds as they are written, and within them in the unit that people write by mistake."""

from __future__ import annotations

from collections.abc import Sequence

from beingh_core.contract.urdf import UrdfJoint
from beingh_core.contract.wire_units import ANGLES, LENGTHS

# Numbers below these may be radians or metres [rad, m].
_LEAST_ANGLE, _LEAST_LENGTH = 7.0, 0.5


def meant(values: Sequence[float], joint: UrdfJoint, low: float, high: float) -> str | None:
    """What to write in place of positions (or speeds) of a joint outside of `low` to `high`; None where nothing fits.

    Args:
        values: as they are written.
        joint: whose they are.
        low, high: what is allowed [rad, or m where it slides; or that a second].
    """
    slides = joint.type == "prismatic"
    size, least = (LENGTHS["mm"], _LEAST_LENGTH) if slides else (ANGLES["deg"], _LEAST_ANGLE)
    found = [value * size for value in values]
    if max(map(abs, values)) <= least or not all(low <= value <= high for value in found):
        return None
    numbers = ", ".join(f"{value:.4f}" for value in found)
    return f"write {'metres, not millimetres' if slides else 'radians, not degrees'}: " + (
        f"[{numbers}]" if len(found) > 1 else numbers
    )


def position_meant(values: Sequence[float], joint: UrdfJoint) -> str:
    """The same of ends of a range, which messages may count otherwise, such as a hand in registers."""
    unit = "m" if joint.type == "prismatic" else "rad"
    return meant(values, joint, joint.lower, joint.upper) or (
        f"write positions of the URDF [{unit}], not numbers of messages: where the joint stands when it is closed, and open"
    )
