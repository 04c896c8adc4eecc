"""Whether a robot touches itself or a box of its contract's `keep_out`: pinocchio and coal on the shapes of the URDF.

Not thread-safe: one `Collisions` per thread. Letters: T postures, K rows of a path, J commanded joints.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from xml.etree import ElementTree

import coal
import numpy as np
import pinocchio as pin

from beingh_core.contract.keep_out import KeepOut
from beingh_core.contract.kinematics import load_model, model_text
from beingh_core.contract.relative_motion import RelativeMotion
from beingh_core.contract.schema import RobotContract
from beingh_core.contract.urdf import UrdfFacts, read_urdf
from beingh_core.errors import BeingHError

# Shapes are coarse, so pairs that touch in nearly all postures are neighbours and not in each other's way.
SAMPLES, NEIGHBOURS_SHARE = 200, 0.8
# So are links of one chain whose joints are nearer than this share of the robot's reach: joints of a shoulder or a wrist.
NEIGHBOURS_REACH = 0.12
# Shapes that are nearer than the margin at home keep this share of that distance.
HOME_SHARE = 0.5
# Fingers of two hands, which may give each other things, keep this share of the margin.
FINGERS_SHARE = 0.3
# What a pair that touches may come nearer by computing it [m].
ROUNDING_M = 1e-6
# Looks between two rows, at most: limits bound what a robot moves in a tick, no limit bounds what a caller asks.
MOST_LOOKS = 200
# Before the names of boxes among those of shapes.
BOX = "keep_out."
# Joints without an end are sampled within this [rad].
_TURN = np.pi


@dataclass(frozen=True, kw_only=True)
class Hit:
    """The first row of some postures in which something comes too near: its number, and the two links, or link and box."""

    row: int
    first: str
    second: str


class Collisions:
    """The pairs of a robot's shapes that must not come nearer to each other than a margin.

    Left out are pairs on one link, on links that one joint joins, or joints close together; those of a hand with itself and its
    palm, which grasp; those that touch at home, or in nearly all postures (as MoveIt's setup assistant does); those that no
    commanded joint moves; those that are allowed. Pairs that are near at home keep half of that distance, if that is less;
    fingers of two hands keep less, since they may give each other things.

    Args:
        urdf_path: the robot's URDF, with collision shapes that are primitives.
        joints: commanded joints; fixes the order of every posture. Others stand at 0, or at the limit next to it.
        home: (J,) posture in which nothing touches.
        lower, upper: (J,) positions within which neighbours are looked for.
        grasping: joints of hands and grippers.
        keep_out: boxes.
        margin: the distance that they keep [m].
        allowed: link -> links that it may touch.

    Attributes:
        meshed: links that are not looked at, because all their shapes are meshes.

    Raises:
        BeingHError: unreadable URDF, one without shapes, or a box that the robot touches at home.
    """

    def __init__(
        self,
        urdf_path: Path,
        joints: Sequence[str],
        home: np.ndarray,
        lower: np.ndarray,
        upper: np.ndarray,
        grasping: Sequence[str] = (),
        keep_out: Sequence[KeepOut] = (),
        margin: float = 0.0,
        allowed: Mapping[str, Sequence[str]] = MappingProxyType({}),
    ) -> None:
        self._model = load_model(urdf_path)
        self._urdf = read_urdf(urdf_path)
        self._columns = _columns(self._model, self._urdf, joints)
        self._rest = np.clip(pin.neutral(self._model), self._model.lowerPositionLimit, self._model.upperPositionLimit)
        self._data = self._model.createData()
        self._shapes, self.meshed = _shapes(self._model, urdf_path)
        robot = self._shapes.ngeoms
        self._add_boxes(keep_out)
        self._allowed = {frozenset((link, other)) for link, others in allowed.items() for other in others}
        self._near = NEIGHBOURS_REACH * max(_path_lengths(self._model), default=0.0)
        parts, self._is_finger = _parts(self._model, self._urdf, joints, grasping)
        for second in range(self._shapes.ngeoms):
            for first in range(min(second, robot)):
                if self._may_touch(parts, first, second):
                    self._shapes.addCollisionPair(pin.CollisionPair(first, second))
        self._contacts = pin.GeometryData(self._shapes)
        self._check_boxes(home, robot)
        self._drop_neighbours(home, lower, upper, robot)
        self._keep_apart(margin, home)
        self._motion = RelativeMotion(
            self._model,
            self._shapes,
            self._pairs,
            [(column, source, scale) for column, source, scale, _ in self._columns],
            len(joints),
        )

    def first_hit(self, positions: np.ndarray) -> Hit | None:
        """The first of the postures (T, J) in which something is too near; None where nothing is."""
        for row, posture in enumerate(positions):
            if found := self._too_near(posture, {}):
                return self._hit(row, found)
        return None

    def first_on_path(self, start_J: np.ndarray, rows_KJ: np.ndarray, known: int = 0) -> Hit | None:
        """The first row of a path that cannot be reached without something being too near; None where all can.

        The path is straight between rows and looked at so often that nothing moves against anything else by more than twice
        the margin in between: then nothing touches there either. What is too near at its start may stay so or part, but
        not come nearer, so that a robot which starts like that can move out.

        Args:
            start_J: (J,) posture before the first row, at which the robot is whatever comes.
            rows_KJ: (K, J) the path.
            known: so many rows are known to be free and passed over.
        """
        already = self._distances(start_J)
        path = np.vstack([rows_KJ[known - 1] if known else start_J, rows_KJ[known:]])
        for row, (one, other, parts) in enumerate(zip(path, path[1:], self._looks(path)), known):
            for part in range(1, parts + 1):
                posture = other if part == parts else one + (part / parts) * (other - one)
                if found := self._too_near(posture, already):
                    return self._hit(row, found)
        return None

    @property
    def pairs(self) -> tuple[tuple[str, str], ...]:
        """Names of what must not touch, links and boxes, each pair once."""
        names = [(self._name(pair.first), self._name(pair.second)) for pair in self._shapes.collisionPairs]
        return tuple(dict.fromkeys(names))

    @property
    def margin(self) -> float:
        """The distance that pairs keep [m]; less where they are nearer at home."""
        return self._margin

    def _hit(self, row: int, shapes: tuple[int, int]) -> Hit:
        return Hit(row=row, first=self._name(shapes[0]), second=self._name(shapes[1]))

    def _looks(self, path: np.ndarray) -> list[int]:
        """How often to look on the way to each row but the first."""
        if not self._margin:
            return [1] * (len(path) - 1)
        parts = np.ceil(self._motion.bound(np.diff(path, axis=0)) / (2.0 * self._margin))
        return np.clip(parts, 1, MOST_LOOKS).astype(int).tolist()

    def _too_near(self, posture: np.ndarray, already: Mapping[tuple[int, int], float]) -> tuple[int, int] | None:
        """A pair of shapes that is too near, and nearer than it was already; None where there is none."""
        if not pin.computeCollisions(self._model, self._data, self._broad, self._vector(posture), True):
            return None
        found = self._distances(posture)
        return next((pair for pair, gap in found.items() if gap < already.get(pair, np.inf) - ROUNDING_M), None)

    def _distances(self, posture: np.ndarray) -> dict[tuple[int, int], float]:
        """Distances of the pairs that are too near [m], negative where they overlap."""
        if not pin.computeCollisions(self._model, self._data, self._broad, self._vector(posture), True):
            return {}
        self._touches(posture)
        near = [i for i, result in enumerate(self._contacts.collisionResults) if result.isCollision()]
        gaps = (pin.computeDistance(self._shapes, self._contacts, i).min_distance for i in near)
        return dict(zip((self._pairs[i] for i in near), gaps))

    def _vector(self, posture: np.ndarray) -> np.ndarray:
        vector = self._rest.copy()
        for column, source, scale, offset in self._columns:
            vector[column] = scale * posture[source] + offset
        return vector

    def _touches(self, posture: np.ndarray) -> None:
        pin.computeCollisions(self._model, self._data, self._shapes, self._contacts, self._vector(posture), False)

    def _touching(self) -> list[pin.CollisionPair]:
        pairs, results = self._shapes.collisionPairs, self._contacts.collisionResults
        return [pairs[i] for i, result in enumerate(results) if result.isCollision()]

    def _name(self, shape: int) -> str:
        one = self._shapes.geometryObjects[shape]
        frame = self._model.frames[one.parentFrame]
        return one.name if one.parentJoint == 0 and frame.type != pin.FrameType.BODY else frame.name

    def _add_boxes(self, keep_out: Sequence[KeepOut]) -> None:
        pin.framesForwardKinematics(self._model, self._data, self._rest)
        for box in keep_out:
            frame = self._model.getFrameId(box.frame, pin.FrameType.BODY)
            place = self._data.oMf[frame] * pin.SE3(np.eye(3), np.array(box.center))
            shape = pin.GeometryObject(BOX + box.name, 0, 0, place, coal.Box(*box.size))
            self._shapes.addGeometryObject(shape)

    def _may_touch(self, parts: list[int], first: int, second: int) -> bool:
        """Whether a commanded joint is between two shapes that are no neighbours; boxes stand still, as the base does."""
        one, other = (self._shapes.geometryObjects[shape].parentJoint for shape in (first, second))
        if parts[one] == parts[other] or frozenset((self._name(first), self._name(second))) in self._allowed:
            return False
        if self._shapes.geometryObjects[second].name.startswith(BOX):
            return True
        return min(_between(self._model, one, other), _between(self._model, other, one)) > self._near

    def _check_boxes(self, home: np.ndarray, robot: int) -> None:
        self._touches(home)
        for pair in self._touching():
            if pair.second >= robot:
                box, link = self._name(pair.second), self._name(pair.first)
                raise BeingHError(
                    f"at home `{link}` is in the box `{box}`",
                    where=self._urdf.path,
                    remedy="move the box, or choose another home",
                )

    def _drop_neighbours(self, home: np.ndarray, lower: np.ndarray, upper: np.ndarray, robot: int) -> None:
        rng = np.random.default_rng(0)
        low, high = np.maximum(lower, home - _TURN), np.minimum(upper, home + _TURN)
        # How often those were apart that may be neighbours, by number of the pair.
        missed = dict.fromkeys(range(len(self._shapes.collisionPairs)), 0)
        for posture in rng.uniform(low, high, (SAMPLES, len(home))):
            self._touches(posture)
            results = self._contacts.collisionResults
            for pair in [pair for pair in missed if not results[pair].isCollision()]:
                missed[pair] += 1
                if missed[pair] > SAMPLES - NEIGHBOURS_SHARE * SAMPLES:
                    del missed[pair]
                    self._contacts.deactivateCollisionPair(pair)
        neighbours = [self._shapes.collisionPairs[pair] for pair in missed]
        self._contacts = pin.GeometryData(self._shapes)
        self._touches(home)
        for first, second in {(pair.first, pair.second) for pair in [*neighbours, *self._touching()]}:
            if second < robot:
                self._shapes.removeCollisionPair(pin.CollisionPair(first, second))

    def _keep_apart(self, margin: float, home: np.ndarray) -> None:
        """Let the pairs keep a margin."""
        self._contacts, self._margin = pin.GeometryData(self._shapes), margin
        if margin:
            pin.computeDistances(self._model, self._data, self._shapes, self._contacts, self._vector(home))
            requests, results = self._contacts.collisionRequests, self._contacts.distanceResults
            for pair, request, result in zip(self._shapes.collisionPairs, requests, results):
                joints = (self._shapes.geometryObjects[i].parentJoint for i in (pair.first, pair.second))
                share = FINGERS_SHARE if all(self._is_finger[joint] for joint in joints) else 1.0
                request.security_margin = min(share * margin, HOME_SHARE * result.min_distance)
        self._pairs = [(pair.first, pair.second) for pair in self._shapes.collisionPairs]
        # It takes its boxes from these margins, so they must be there first.
        self._broad = pin.BroadPhaseManager_DynamicAABBTreeCollisionManager(self._model, self._shapes, self._contacts)


def collisions_of(contract: RobotContract, margin: float | None = None) -> Collisions:
    """The check of a contract's commanded joints; a base's velocities are not among them.

    Args:
        contract: robot.
        margin: distance to keep [m]; None for the contract's.

    Raises:
        BeingHError: see `Collisions`.
    """
    moving = ~contract.limits.is_velocity
    joints = [joint for joint, is_joint in zip(contract.joint_names, moving) if is_joint]
    hands = [s for s in contract.action if "gripper" in s.slot or "dexhand" in s.slot or "theta" in s.slot]
    return Collisions(
        contract.urdf_path,
        joints,
        np.array(contract.home)[moving],
        contract.limits.lower[moving],
        contract.limits.upper[moving],
        [joint for signal in hands for joint in signal.commanded],
        contract.keep_out,
        contract.self_collision.margin if margin is None else margin,
        contract.self_collision.allowed,
    )


def _shapes(model: pin.Model, urdf_path: Path) -> tuple[pin.GeometryModel, tuple[str, ...]]:
    """The collision shapes of the URDF that are primitives, and the links that have none but meshes.

    Meshes are not looked at: that would take a thousand times as long.
    """
    root = ElementTree.fromstring(model_text(urdf_path))
    meshed = {}
    for link in root.iter("link"):
        shapes = link.findall("collision")
        meshes = [shape for shape in shapes if shape.find("geometry/mesh") is not None]
        for mesh in meshes:
            link.remove(mesh)
        meshed[link.get("name", "")] = bool(meshes) and len(meshes) == len(shapes)
    try:
        text = ElementTree.tostring(root, encoding="unicode")
        found = pin.buildGeomFromUrdfString(model, text, pin.GeometryType.COLLISION)
    except (ValueError, RuntimeError) as error:
        raise BeingHError(
            f"its collision shapes cannot be read: {error}", where=urdf_path, remedy="use boxes, cylinders and spheres"
        ) from error
    if not found.ngeoms:
        kind = "shapes but meshes" if any(meshed.values()) else "shapes"
        remedy = "add <collision> with boxes, cylinders and spheres to its links"
        raise BeingHError(f"the URDF has no collision {kind}", where=urdf_path, remedy=remedy)
    return found, tuple(link for link, is_meshed in meshed.items() if is_meshed)


def _path_lengths(model: pin.Model) -> list[float]:
    """For each joint of the model the length of the way to it, from joint to joint [m]."""
    lengths = [0.0]
    for index in range(1, model.njoints):
        parent = model.parents[index]
        step = float(np.linalg.norm(model.jointPlacements[index].translation)) if parent else 0.0
        lengths.append(lengths[parent] + step)
    return lengths


def _between(model: pin.Model, carrier: int, joint: int) -> float:
    """Length of the way from the first joint that `carrier` carries to `joint` [m]; infinite where it does not carry that."""
    length = 0.0
    while joint != carrier:
        if joint == 0:
            return np.inf
        parent = model.parents[joint]
        if parent == carrier:
            return length
        length += float(np.linalg.norm(model.jointPlacements[joint].translation))
        joint = parent
    return 0.0


def _columns(model: pin.Model, urdf: UrdfFacts, joints: Sequence[str]) -> list[tuple[int, int, float, float]]:
    """(place in the model's vector, place in the posture, scale, offset) of commanded joints and of those that mimic them."""
    found = []
    for name, joint in urdf.joints.items():
        source = name if joint.mimics is None else joint.mimics
        if source in joints:
            follows = (joint.multiplier, joint.offset) if joint.mimics is not None else (1.0, 0.0)
            found.append((model.joints[model.getJointId(name)].idx_q, list(joints).index(source), *follows))
    return found


def _parts(
    model: pin.Model, urdf: UrdfFacts, joints: Sequence[str], grasping: Sequence[str]
) -> tuple[list[int], list[bool]]:
    """For each joint of the model the commanded joint that carries it, fingers left out (0 for none); and whether it is a finger's.

    What one such joint carries does not move against itself, but for a hand, which grasps.
    """
    parts, in_hand = [0], [False]
    for index in range(1, model.njoints):
        name, parent = model.names[index], model.parents[index]
        source = urdf.joints[name].mimics or name
        in_hand.append(in_hand[parent] or source in grasping)
        parts.append(index if source in joints and not in_hand[index] else parts[parent])
    return parts, in_hand
