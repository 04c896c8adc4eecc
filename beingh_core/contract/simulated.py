"""The optional key `sim` of a contract: how the simulator's joints, cameras, faults and further objects differ from its own."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from types import MappingProxyType

from beingh_core.contract.reader import Section
from beingh_core.contract.urdf import UrdfFacts

OBJECTS = ("cylinder", "bowl", "drawer")
MAX_PLACE_M, MIN_SIDE, MAX_SIDE = 10.0, 16, 2048
# A picture of the simulator where nothing says how large: width and height [pixels].
USUAL_SIZE = (640, 480)


@dataclass(frozen=True, kw_only=True)
class SimJoint:
    """A joint of the simulator; None where the simulator decides.

    Attributes:
        stiffness: of its position controller [N m/rad, N/m].
        damping: of the joint [N m s/rad, N s/m].
        friction: dry friction [N m, N].
        armature: inertia of rotor and gears, as the joint feels it [kg m^2, kg].
        effort: the controller's most [N m, N].
    """

    stiffness: float | None = None
    damping: float | None = None
    friction: float = 0.0
    armature: float | None = None
    effort: float | None = None


@dataclass(frozen=True, kw_only=True)
class SimCamera:
    """A camera of the simulator.

    Attributes:
        link: in whose axes the following three are; None for a place that the simulator chooses.
        position: (3,) [m].
        look: (3,) direction in which it looks.
        up: (3,) direction of the upper edge of its pictures.
        fovy_deg: how much it sees from the upper edge to the lower [deg]; None where the simulator decides.
        size: width and height [pixels].
        rate_hz: pictures a second; None for the contract's rate.
        noise: standard deviation of every value of a pixel, of 255.
    """

    link: str | None = None
    position: tuple[float, ...] = (0.0, 0.0, 0.0)
    look: tuple[float, ...] = (1.0, 0.0, 0.0)
    up: tuple[float, ...] = (0.0, 0.0, 1.0)
    fovy_deg: float | None = None
    size: tuple[int, int] = USUAL_SIZE
    rate_hz: float | None = None
    noise: float = 0.0


@dataclass(frozen=True, kw_only=True)
class SimFaults:
    """What goes wrong on purpose.

    Attributes:
        camera_latency_s: from the exposure of a picture, which is its stamp, to its message [s].
        camera_jitter_s: up to so much is added, anew for every picture [s].
        actuator_delay_s: from a reference to the actuators [s].
        joint_friction: dry friction of every joint, as a share of its effort.
        joint_noise: standard deviation of measured positions [rad, m].
    """

    camera_latency_s: float = 0.0
    camera_jitter_s: float = 0.0
    actuator_delay_s: float = 0.0
    joint_friction: float = 0.0
    joint_noise: float = 0.0


@dataclass(frozen=True, kw_only=True)
class SimWorld:
    """The whole key.

    Attributes:
        joints: joint -> what is said of it.
        cameras: view -> camera; views without an entry have `SimCamera()`.
        faults: see `SimFaults`.
        objects: further things on the table, of `OBJECTS`.
    """

    joints: Mapping[str, SimJoint] = field(default_factory=dict)
    cameras: Mapping[str, SimCamera] = field(default_factory=dict)
    faults: SimFaults = SimFaults()
    objects: tuple[str, ...] = ()


def read_sim(file: Section, urdf: UrdfFacts) -> SimWorld:
    """The key `sim` of a contract; the simulator's own choices where it is absent.

    Raises:
        BeingHError: an unknown joint, view, link or object, a joint that only follows another one, or a camera that looks
            nowhere.
    """
    section = file.section("sim", optional=True)
    world = SimWorld(
        joints=_joints(section.section("joints", optional=True), urdf),
        cameras=_cameras(section.section("cameras", optional=True), urdf, file.section("cameras").names()),
        faults=_faults(section.section("faults", optional=True)),
        objects=_objects(section),
    )
    section.finish()
    return world


def _joints(section: Section, urdf: UrdfFacts) -> Mapping[str, SimJoint]:
    section.refuse_unknown((name for name, joint in urdf.joints.items() if joint.mimics is None), "joint")
    found = {}
    for name in section.names():
        entry = section.section(name)
        given = {key: entry.number(key) for key in ("stiffness", "damping", "armature", "effort") if key in entry}
        found[name] = SimJoint(friction=entry.number("friction"), **given)
        entry.finish()
    return MappingProxyType(found)


def _cameras(section: Section, urdf: UrdfFacts, views: list[str]) -> Mapping[str, SimCamera]:
    section.refuse_unknown(views, "view")
    found = {}
    for name in section.names():
        entry = section.section(name)
        given: dict = {"noise": entry.number("noise")}
        given |= {key: entry.number(key) for key in ("fovy_deg", "rate_hz") if key in entry}
        if "size" in entry:
            given["size"] = _size(entry)
        if "link" in entry:
            given["link"] = entry.choice("link", urdf.links)
            given |= {key: entry.numbers(key, 3) for key in ("position", "look")}
            given |= {"up": entry.numbers("up", 3)} if "up" in entry else {}
            _check_place(entry, given)
        elif any(key in entry for key in ("position", "look", "up")):
            raise entry.error(None, "a place needs `link`", remedy="name the link in whose axes it is")
        found[name] = SimCamera(**given)
        entry.finish()
    return MappingProxyType(found)


def _check_place(entry: Section, given: dict) -> None:
    if max(map(abs, given["position"])) > MAX_PLACE_M:
        raise entry.error("position", f"{list(given['position'])} is far away", allowed=f"up to {MAX_PLACE_M:g} m")
    look, up = given["look"], given.get("up", SimCamera.up)
    across = (
        look[1] * up[2] - look[2] * up[1],
        look[2] * up[0] - look[0] * up[2],
        look[0] * up[1] - look[1] * up[0],
    )
    lengths = [sum(value * value for value in vector) ** 0.5 for vector in (look, up, across)]
    if min(lengths[:2]) < 1e-3 or lengths[2] < 1e-3 * lengths[0] * lengths[1]:
        raise entry.error(
            "look",
            f"{list(look)} with {list(up)} up is no direction",
            remedy="write two directions that differ: where it looks, and what is up in its picture",
        )


def _size(entry: Section) -> tuple[int, int]:
    width, height = entry.numbers("size", 2)
    if not all(side == int(side) and MIN_SIDE <= side <= MAX_SIDE for side in (width, height)):
        raise entry.error(
            "size",
            f"{[f'{side:g}' for side in (width, height)]} is no size of a picture",
            allowed=f"[width, height] in whole pixels, {MIN_SIDE} to {MAX_SIDE} each",
        )
    return int(width), int(height)


def _faults(section: Section) -> SimFaults:
    faults = SimFaults(**{name: section.number(name) for name in SimFaults.__dataclass_fields__})
    section.finish()
    return faults


def _objects(section: Section) -> tuple[str, ...]:
    if "objects" not in section:
        return ()
    names = section.strings("objects")
    for name in names:
        if name not in OBJECTS:
            raise section.error("objects", f"the simulator has no `{name}`", allowed=OBJECTS)
    return names
