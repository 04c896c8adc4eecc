"""What an SRDF (MoveIt's description beside a URDF) says of a start posture, and of links that may touch."""

from __future__ import annotations

import math
from collections.abc import Collection
from pathlib import Path

from beingh_core.contract.xml_text import Element, read_xml_file
from beingh_core.errors import BeingHError, shown

# MoveIt's setup assistant writes it on pairs that were apart in all postures that it tried: that is no leave to touch.
_APART = "never"
# Names of postures, the first that is there is taken for each joint.
_POSTURES = ("home", "ready", "start", "rest", "default")


def read_postures(path: Path) -> dict[str, float]:
    """Joint -> position [rad or m] in the posture that is called home, or something like it.

    Raises:
        BeingHError: no readable SRDF, or a position that is no number.
    """
    root = _root(path)
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


def read_allowed(path: Path, links: Collection[str]) -> dict[str, tuple[str, ...]]:
    """Link -> links behind it in the alphabet that it may touch, by `disable_collisions` and `disable_default_collisions`.

    Pairs that were disabled because they never touch stay apart, and links that the URDF does not have are left out.

    Args:
        path: the SRDF.
        links: those of the URDF.

    Raises:
        BeingHError: no readable SRDF, or a pair without the names of two links.
    """
    root, touching = _root(path), set()
    for link in (_link(path, element, "link") for element in root.all("disable_default_collisions")):
        touching |= {frozenset((link, other)) for other in links if link != other}
    touching -= {_pair(path, element) for element in root.all("enable_collisions")}
    for element in root.all("disable_collisions"):
        pair = _pair(path, element)
        if element.attributes.get("reason", "").strip().lower() != _APART:
            touching.add(pair)
    found: dict[str, tuple[str, ...]] = {}
    for first, second in sorted(sorted(pair) for pair in touching if pair <= set(links)):
        found[first] = (*found.get(first, ()), second)
    return found


def _root(path: Path) -> Element:
    root = read_xml_file(path)
    if root.tag != "robot":
        raise BeingHError(f"the root element is {shown(root.tag)}", where=path, allowed="<robot>, as SRDF has it")
    return root


def _pair(path: Path, element: Element) -> frozenset[str]:
    pair = frozenset(_link(path, element, key) for key in ("link1", "link2"))
    if len(pair) != 2:
        raise BeingHError(
            f"`{element.tag}` names {shown(min(pair))} twice", where=f"{path}:{element.line}", allowed="two links"
        )
    return pair


def _link(path: Path, element: Element, key: str) -> str:
    if not (name := element.attributes.get(key, "")):
        raise BeingHError(
            f"`{element.tag}` has no `{key}`", where=f"{path}:{element.line}", remedy="name the link that is meant"
        )
    return name


def _number(path: Path, line: int, text: str) -> float:
    try:
        value = float(text)
    except ValueError:
        value = math.nan
    if not math.isfinite(value):
        raise BeingHError(f"{shown(text)} is no position", where=f"{path}:{line}", allowed="a number, in rad or m")
    return value
