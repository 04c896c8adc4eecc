"""What a readable URDF says that is hardly meant: limits in degrees, masses and moments of inertia that no body has."""

from __future__ import annotations

import math
from collections.abc import Mapping
from pathlib import Path

import numpy as np

from beingh_core.contract.meant import meant
from beingh_core.contract.urdf import read_urdf
from beingh_core.contract.xml_text import Element, read_xml_file
from beingh_core.errors import shown

# A joint that turns farther either way is rare [rad]; ends beyond WIDEST stand for "no end" [rad].
FAR_TURN, WIDEST = 4.0 * math.pi, 1000.0
# Of the largest principal moment: what rounding in a file may break the triangle inequality by.
_ROUNDING = 0.01
_MOST_TOLD = 5
_MOMENTS = ("ixx", "ixy", "ixz", "iyy", "iyz", "izz")


def urdf_doubts(path: Path, ranges: Mapping[str, tuple[float, float]]) -> list[str]:
    """One line for each kind of doubt, with the joints or links and what to do.

    Args:
        path: the URDF, which `read_urdf` accepts.
        ranges: joint -> (lower, upper) [rad or m] that a contract narrows it to.

    Raises:
        BeingHError: not a readable URDF.
    """
    root = read_xml_file(path)
    inertials = {
        link.attributes["name"]: inertial
        for link in root.all("link")
        if (inertial := link.first("inertial")) is not None
    }
    found = [_far_turns(path, ranges), _masses(path, inertials), _inertias(path, inertials)]
    return [text for text in found if text]


def _far_turns(path: Path, ranges: Mapping[str, tuple[float, float]]) -> str:
    told, remedies = [], []
    for name, joint in read_urdf(path).joints.items():
        lower, upper = ranges.get(name, (joint.lower, joint.upper))
        if joint.type == "revolute" and FAR_TURN < max(abs(lower), abs(upper)) <= WIDEST:
            told.append(f"{name} ({lower:g} to {upper:g} rad)")
            remedies.append(meant([lower, upper], joint, -FAR_TURN, FAR_TURN))
    if not told:
        return ""
    remedy = next((f"{remedy} for {one.split(' (')[0]}" for one, remedy in zip(told, remedies) if remedy), "")
    remedy = remedy or "write radians"
    return (
        f"{path}: joints that turn farther than two turns, so that their limits are probably degrees: {_listed(told)}. "
        f"To fix: {remedy}; leave them only where the robot really turns that far"
    )


def _masses(path: Path, inertials: Mapping[str, Element]) -> str:
    told, lines = [], []
    for link, inertial in inertials.items():
        mass = inertial.first("mass")
        text = None if mass is None else mass.attributes.get("value")
        if not 0.0 < _number(text) < math.inf:
            told.append(f"{link} ({'none' if text is None else shown(text)[1:-1]})")
            lines.append(inertial.line)
    remedy = "write the mass in kg, or remove <inertial> from a link that weighs nothing"
    return f"{path}:{lines[0]}: masses that are not above 0: {_listed(told)}. To fix: {remedy}" if told else ""


def _inertias(path: Path, inertials: Mapping[str, Element]) -> str:
    """Principal moments are at least 0 and none is above the sum of the others (MuJoCo XML reference, `balanceinertia`)."""
    told, lines = [], []
    for link, inertial in inertials.items():
        if (inertia := inertial.first("inertia")) is None:
            continue
        moments = [_number(inertia.attributes.get(key, "0")) for key in _MOMENTS]
        xx, xy, xz, yy, yz, zz = moments
        if not all(map(math.isfinite, moments)):
            told.append(f"{link} (no numbers)")
            lines.append(inertia.line)
            continue
        small, middle, large = np.linalg.eigvalsh([[xx, xy, xz], [xy, yy, yz], [xz, yz, zz]]).tolist()
        slack = _ROUNDING * max(abs(large), abs(small))
        if small < -slack or large > small + middle + slack:
            told.append(f"{link} ({small:.3g}, {middle:.3g}, {large:.3g} kg m^2)")
            lines.append(inertia.line)
    remedy = "correct <inertia>: none is below 0, or above the sum of the two others"
    return f"{path}:{lines[0]}: principal moments that no body has: {_listed(told)}. To fix: {remedy}" if told else ""


def _number(text: str | None) -> float:
    try:
        return float(text or "")
    except ValueError:
        return math.nan


def _listed(told: list[str]) -> str:
    more = len(told) - _MOST_TOLD
    return ", ".join(told[:_MOST_TOLD]) + (f" and {more} more" if more > 0 else "")
