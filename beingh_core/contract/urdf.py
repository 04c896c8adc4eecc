"""The facts of a URDF that a contract is checked against: movable joints, limits, links."""

from __future__ import annotations

import math
import xml.etree.ElementTree as ElementTree
from dataclasses import dataclass
from pathlib import Path

from beingh_core.errors import BeingHError


@dataclass(frozen=True, kw_only=True)
class UrdfJoint:
    """One movable joint: type, limits [rad or m, per second] and the joint it mimics, if any."""

    type: str
    lower: float
    upper: float
    velocity: float
    mimics: str | None


@dataclass(frozen=True, kw_only=True)
class UrdfFacts:
    """Movable joints and links of a URDF, by name."""

    path: Path
    joints: dict[str, UrdfJoint]
    links: tuple[str, ...]


def read_urdf(path: Path) -> UrdfFacts:
    """Reads joints and links.

    Raises:
        BeingHError: not a readable URDF.
    """
    try:
        root = ElementTree.parse(path).getroot()
    except (OSError, ElementTree.ParseError) as error:
        raise BeingHError(f"this is not a readable URDF: {error}", where=path) from error
    joints = {}
    for element in root.findall("joint"):
        if element.get("type") == "fixed":
            continue
        limit, mimic = element.find("limit"), element.find("mimic")
        values = {} if limit is None else limit.attrib
        unbounded = element.get("type") == "continuous"
        joints[element.get("name", "")] = UrdfJoint(
            type=element.get("type", ""),
            lower=-math.inf if unbounded else float(values.get("lower", 0.0)),
            upper=math.inf if unbounded else float(values.get("upper", 0.0)),
            velocity=float(values.get("velocity", 0.0)),
            mimics=None if mimic is None else mimic.get("joint"),
        )
    links = tuple(element.get("name", "") for element in root.findall("link"))
    return UrdfFacts(path=path, joints=joints, links=links)
