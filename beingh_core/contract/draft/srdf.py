"""What an SRDF (MoveIt's description beside a URDF) says of a start posture."""

from __future__ import annotations

import math
from pathlib import Path

from beingh_core.contract.xml_text import read_xml_file
from beingh_core.errors import BeingHError, shown

# Names of postures, the first that is there is taken for each joint.
_POSTURES = ("home", "ready", "start", "rest", "default")


def read_postures(path: Path) -> dict[str, float]:
    """Joint -> position [rad or m] in the posture that is called home, or something like it.

    Raises:
        BeingHError: no readable SRDF, or a position that is no number.
    """
    root = read_xml_file(path)
    if root.tag != "robot":
        raise BeingHError(f"the root element is {shown(root.tag)}", where=path, allowed="<robot>, as SRDF has it")
    states = list(root.all("group_state"))
    found: dict[str, float] = {}
    for wanted in _POSTURES:
        for state in states:
            if state.attributes.get("name", "").lower() != wanted:
                continue
            for joint in state.all("joint"):
                name = joint.attributes.get("name", "")
                found.setdefault(name, _number(path, joint.line, joint.attributes.get("value", "")))
    return found


def _number(path: Path, line: int, text: str) -> float:
    try:
        value = float(text)
    except ValueError:
        value = math.nan
    if not math.isfinite(value):
        raise BeingHError(f"{shown(text)} is no position", where=f"{path}:{line}", allowed="a number, in rad or m")
    return value
