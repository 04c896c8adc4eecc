"""What an SRDF (MoveIt's description beside a URDF) says of a start posture, and of links that may touch."""

from __future__ import annotations

import math
from collections.abc import Collection, Iterable
from dataclasses import dataclass
from pathlib import Path

from beingh_core.contract.urdf import MAX_NAME, UrdfFacts
from beingh_core.contract.xml_text import Element, read_xml_file
from beingh_core.errors import BeingHError, did_you_mean, shown

# MoveIt's setup assistant writes it on pairs that were apart in all postures that it tried: that is no leave to touch.
_APART = "never"
# Names of postures, the first that is there is taken for each joint.
POSTURES = ("home", "ready", "start", "rest", "default")
_PAIRS = ("disable_collisions", "enable_collisions")
# Unknown names that are told one by one.
_MOST_TOLD = 10


@dataclass(frozen=True, kw_only=True)
class Srdf:
    """What a contract takes from an SRDF.

    Attributes:
        postures: joint -> position [rad or m] in the posture that is called home, or something like it.
        allowed: link -> links behind it in the alphabet that it may touch.
        unknown_joints, unknown_links: names that the URDF does not have, each with the nearest one.
    """

    postures: dict[str, float]
    allowed: dict[str, tuple[str, ...]]
    unknown_joints: tuple[str, ...] = ()
    unknown_links: tuple[str, ...] = ()


def read_srdf(path: Path, urdf: UrdfFacts) -> Srdf:
    """Reads postures, and pairs by `disable_collisions` and `disable_default_collisions`.

    Pairs that were disabled because they never touch stay apart, and names that the URDF does not have are left out.

    Args:
        path: the SRDF.
        urdf: joints and links of the robot.

    Raises:
        BeingHError: no SRDF, a position that is no number, or a pair without the names of two links.
    """
    root = _root(path)
    joints = [joint for joint, _ in urdf.carriers.values()]
    virtual = [element.attributes.get("name", "") for element in root.all("virtual_joint")]
    set_joints = [joint.attributes.get("name", "") for state in root.all("group_state") for joint in state.all("joint")]
    links = [_link(path, element, key) for tag in _PAIRS for element in root.all(tag) for key in ("link1", "link2")]
    links += [_link(path, element, "link") for element in root.all("disable_default_collisions")]
    return Srdf(
        postures=_postures(path, root),
        allowed=_allowed(path, root, urdf.links),
        unknown_joints=_unknown(set_joints, joints, virtual),
        unknown_links=_unknown(links, urdf.links),
    )


def _postures(path: Path, root: Element) -> dict[str, float]:
    found: dict[str, float] = {}
    for wanted in POSTURES:
        for state in root.all("group_state"):
            if state.attributes.get("name", "").lower() != wanted:
                continue
            for joint in state.all("joint"):
                name = joint.attributes.get("name", "")
                found.setdefault(name, _number(path, joint.line, joint.attributes.get("value", "")))
    return found


def _allowed(path: Path, root: Element, links: Collection[str]) -> dict[str, tuple[str, ...]]:
    touching = set()
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


def _unknown(names: Iterable[str], known: Collection[str], more: Collection[str] = ()) -> tuple[str, ...]:
    """The names that are neither `known` nor `more`, once each, with the nearest of `known`."""
    unknown = [name for name in dict.fromkeys(names) if name not in known and name not in more]
    told = []
    for name in unknown[:_MOST_TOLD]:
        close = did_you_mean(name[:MAX_NAME], known)
        told.append(shown(name)[1:-1] + (f" ({close})" if close else ""))
    return (*told, f"{len(unknown) - _MOST_TOLD} more") if len(unknown) > _MOST_TOLD else tuple(told)


def _root(path: Path) -> Element:
    """The root of a file that has what this reads, and is no URDF."""
    root = read_xml_file(path)
    if root.tag != "robot":
        raise BeingHError(f"the root element is {shown(root.tag)}", where=path, allowed="<robot>, as SRDF has it")
    remedy = "name MoveIt's SRDF with `--srdf FILE`, or leave `--srdf` out"
    for element in root.children:
        if element.tag in ("link", "joint"):
            what = f"<{element.tag}> is of a URDF: this file is no SRDF"
            raise BeingHError(what, where=f"{path}:{element.line}", remedy=remedy)
        if element.tag.startswith("xacro:"):
            what = "this is a xacro file, no SRDF"
            raise BeingHError(what, where=f"{path}:{element.line}", remedy=f"expand it with `xacro`; {remedy}")
    read = ("group_state", "disable_collisions", "disable_default_collisions")
    if not any(root.first(tag) for tag in read):
        allowed = " or ".join(f"<{tag}>" for tag in read)
        raise BeingHError("this SRDF has nothing for a contract", where=path, allowed=allowed, remedy=remedy)
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
