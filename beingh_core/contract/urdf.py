"""The facts of a URDF that a contract is checked against: movable joints, limits, links and who carries whom."""

from __future__ import annotations

import math
import re
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from beingh_core.contract.xml_text import Element, read_xml_file
from beingh_core.errors import BeingHError, did_you_mean, shown

# Those of which one number is the position, and the others.
SINGLE_TYPES = ("revolute", "prismatic", "continuous")
TYPES = (*SINGLE_TYPES, "fixed", "floating", "planar")
MAX_LINKS = 1000
MAX_NAME = 200
# Of a number in metres or radians: the ends of a range may stand for "no end" in joints that nobody commands.
_MAX_ORIGIN, _MAX_END = 1e3, 1e17
_NUMBER = re.compile(r"[-+]?(?:[0-9]+\.?[0-9]*|\.[0-9]+)(?:[eE][-+]?[0-9]+)?")


@dataclass(frozen=True, kw_only=True)
class UrdfJoint:
    """One movable joint.

    Attributes:
        type: of URDF.
        lower, upper: positions [rad or m]; infinite where it turns without end.
        velocity: limit [rad/s or m/s].
        effort: limit [N m or N].
        mimics: the joint that it follows, None where it moves by itself.
        multiplier, offset: its position is multiplier * position of `mimics` + offset.
    """

    type: str
    lower: float
    upper: float
    velocity: float
    effort: float
    mimics: str | None
    multiplier: float = 1.0
    offset: float = 0.0


@dataclass(frozen=True, kw_only=True)
class UrdfFacts:
    """Movable joints and links of a URDF, by name.

    Attributes:
        path: the file.
        joints: the joints that are not fixed.
        links: the links.
        carriers: link -> (joint, link) that carry it; the root has none.
    """

    path: Path
    joints: dict[str, UrdfJoint]
    links: tuple[str, ...]
    carriers: dict[str, tuple[str, str]]

    def movers(self, link: str) -> list[str]:
        """The movable joints between the root and a link."""
        found = []
        while link in self.carriers:
            joint, link = self.carriers[link]
            found += [joint] if joint in self.joints else []
        return found


def read_urdf(path: Path) -> UrdfFacts:
    """Reads joints and links.

    Raises:
        BeingHError: not a readable URDF, or one that describes no tree of links with joints of finite limits.
    """
    root = read_xml_file(path)
    _refuse_xacro(path, root)
    if root.tag != "robot":
        raise _error(path, root, f"the root element is {shown(root.tag)}", allowed="<robot>, as URDF has it")
    links = tuple(_named(path, root, "link"))
    elements = _named(path, root, "joint")
    carriers = _carriers(path, elements, links)
    joints = {
        name: _joint(path, name, element) for name, element in elements.items() if _type(path, element) != "fixed"
    }
    _check_mimics(path, elements, joints)
    return UrdfFacts(path=path, joints=joints, links=links, carriers=carriers)


def _error(
    path: Path, element: Element, what: str, *, allowed: Iterable[str] | str | None = None, remedy: str | None = None
) -> BeingHError:
    name = element.attributes.get("name")
    where = f"{path}:{element.line}: {element.tag}" + (f" {shown(name)[1:-1]}" if name else "")
    return BeingHError(what, where=where, allowed=allowed, remedy=remedy)


def _refuse_xacro(path: Path, root: Element) -> None:
    """Macros are expanded by a program that only a ROS installation has."""
    elements = [root]
    while elements:
        element = elements.pop()
        elements += element.children
        if element.tag.startswith("xacro:") or any(
            "${" in text or "$(" in text for text in element.attributes.values()
        ):
            raise _error(
                path,
                element,
                "this is a xacro file, no URDF",
                remedy=f"run `xacro {path.name} > {_expanded_name(path)}` and name that file "
                "(`urdf` of a contract, `--urdf FILE` of `beingh robots new`)",
            )


def _expanded_name(path: Path) -> str:
    """A name that is not the file's own, which the shell would empty before it is read."""
    stem = path.name.split(".")[0]
    return f"{stem}.urdf" if path.name != f"{stem}.urdf" else f"{stem}_expanded.urdf"


def _named(path: Path, root: Element, tag: str) -> dict[str, Element]:
    """The elements of a tag by name, each once."""
    found: dict[str, Element] = {}
    for element in root.all(tag):
        name = element.attributes.get("name", "")
        if not (0 < len(name) <= MAX_NAME and name.isprintable()):
            raise _error(path, element, f"{shown(name)} is no name", allowed=f"1 to {MAX_NAME} printable characters")
        if name in found:
            raise _error(
                path,
                element,
                f"{tag} `{name}` is there twice (first in line {found[name].line})",
                remedy="rename or remove one of the two",
            )
        found[name] = element
    if len(found) > MAX_LINKS:
        raise _error(path, root, f"there are {len(found)} {tag}s", allowed=f"up to {MAX_LINKS}")
    return found


def _type(path: Path, element: Element) -> str:
    kind = element.attributes.get("type", "")
    if kind not in TYPES:
        raise _error(
            path, element, f"{shown(kind)} is no type of joint", allowed=TYPES, remedy=did_you_mean(kind[:50], TYPES)
        )
    return kind


def _carriers(path: Path, joints: dict[str, Element], links: tuple[str, ...]) -> dict[str, tuple[str, str]]:
    """The tree of links; refuses what is none."""
    known = set(links)
    carriers: dict[str, tuple[str, str]] = {}
    for name, element in joints.items():
        parent, child = (_link(path, element, tag, known) for tag in ("parent", "child"))
        if child in carriers:
            raise _error(
                path,
                element,
                f"link `{child}` already hangs on joint `{carriers[child][0]}`",
                remedy="give each link one joint that carries it",
            )
        carriers[child] = (name, parent)
    roots = [link for link in links if link not in carriers]
    if links and not roots:
        raise BeingHError("the joints form a cycle", where=path, remedy="remove the joint that closes it")
    if len(roots) != 1:
        raise BeingHError(
            f"{len(roots)} links hang on no joint" if roots else "there are no links",
            where=path,
            allowed="one root link" + (f", not {', '.join(roots[:5])}" if roots else ""),
            remedy="join them to one tree, with fixed joints where nothing moves",
        )
    _refuse_cycles(path, joints, carriers)
    return carriers


def _refuse_cycles(path: Path, joints: dict[str, Element], carriers: dict[str, tuple[str, str]]) -> None:
    """Every link must lead to the root."""
    safe: set[str] = set()
    for start in carriers:
        walked, link = {}, start
        while link in carriers and link not in safe:
            if link in walked:
                name = carriers[link][0]
                raise _error(
                    path, joints[name], f"joint `{name}` is part of a cycle", remedy="remove the joint that closes it"
                )
            walked[link] = True
            link = carriers[link][1]
        safe.update(walked)


def _link(path: Path, joint: Element, tag: str, known: set[str]) -> str:
    element = joint.first(tag)
    name = None if element is None else element.attributes.get("link")
    if name not in known:
        what = f"there is no <{tag} link=...>" if name is None else f"there is no link {shown(name)} for <{tag}>"
        remedy = None if name is None else did_you_mean(name[:MAX_NAME], known)
        raise _error(path, joint, what, remedy=remedy or "name a link of this file")
    return name


def _joint(path: Path, name: str, element: Element) -> UrdfJoint:
    kind = _type(path, element)
    for tag, key in (("origin", "xyz"), ("origin", "rpy"), ("axis", "xyz")):
        vector = _vector(path, element, tag, key)
        if tag == "axis" and math.hypot(*vector) < 1e-6:
            raise _error(path, element, "the axis has no direction", allowed='a direction such as xyz="0 0 1"')
    limit, mimic = element.first("limit"), element.first("mimic")
    values = {} if limit is None else limit.attributes
    if kind in ("revolute", "prismatic") and limit is None:
        raise _error(
            path, element, "a joint of this type needs <limit>", remedy="add lower, upper, effort and velocity"
        )
    unbounded = kind == "continuous"
    lower, upper, velocity, effort = (
        _number(path, limit or element, values, k, _MAX_END) for k in ("lower", "upper", "velocity", "effort")
    )
    if lower > upper:
        raise _error(path, element, f"lower {lower:g} is above upper {upper:g}", remedy="exchange the two")
    if velocity < 0.0:
        raise _error(path, element, f"the velocity limit {velocity:g} is negative", allowed="at least 0")
    return UrdfJoint(
        type=kind,
        lower=-math.inf if unbounded else lower,
        upper=math.inf if unbounded else upper,
        velocity=velocity,
        effort=effort,
        mimics=None if mimic is None else mimic.attributes.get("joint", ""),
        **_follows(path, mimic),
    )


def _follows(path: Path, mimic: Element | None) -> dict[str, float]:
    """`multiplier` and `offset` of a joint that mimics."""
    if mimic is None:
        return {}
    defaults = {"multiplier": "1", "offset": "0"}
    return {key: _number(path, mimic, defaults | mimic.attributes, key, _MAX_ORIGIN) for key in defaults}


def _vector(path: Path, joint: Element, tag: str, key: str) -> list[float]:
    """Three numbers of an element of a joint, as they are when it is left out."""
    element = joint.first(tag)
    text = None if element is None else element.attributes.get(key)
    if text is None:
        return [1.0, 0.0, 0.0]
    words = text[:300].split()
    parsed = [_parsed(word, _MAX_ORIGIN) for word in words]
    numbers = [number for number in parsed if number is not None]
    if not len(numbers) == len(words) == 3:
        raise _error(
            path, joint, f"{shown(text)} in <{tag} {key}=...>", allowed=f"three numbers up to {_MAX_ORIGIN:g} in size"
        )
    return numbers


def _number(path: Path, element: Element, values: dict[str, str], key: str, most: float) -> float:
    number = _parsed(values.get(key, "0"), most)
    if number is None:
        raise _error(path, element, f"{shown(values[key])} in {key}", allowed=f"a number up to {most:g} in size")
    return number


def _parsed(text: str, most: float) -> float | None:
    """A finite decimal number, None for anything else."""
    text = text.strip()
    if len(text) > 60 or not _NUMBER.fullmatch(text) or abs(float(text)) > most:
        return None
    return float(text)


def _check_mimics(path: Path, elements: dict[str, Element], joints: dict[str, UrdfJoint]) -> None:
    """A joint mimics another movable one, which moves by itself in the end."""
    for name, joint in joints.items():
        if joint.mimics is None:
            continue
        if joint.mimics not in joints:
            close = did_you_mean(joint.mimics[:MAX_NAME], joints)
            what = f"`{name}` mimics {shown(joint.mimics)}, which is no movable joint"
            raise _error(path, elements[name], what, remedy=close or "name a movable joint of this file")
        seen = {name}
        source: str | None = joint.mimics
        while source is not None:
            if source in seen:
                what = f"`{name}` mimics itself through `{source}`" if source != name else f"`{name}` mimics itself"
                raise _error(path, elements[name], what, remedy="remove <mimic> from one of them")
            seen.add(source)
            source = joints[source].mimics if source in joints else None
