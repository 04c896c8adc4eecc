"""A robot's outside from its URDF: primitives on its links, and where they are in a posture. No colours of meshes, no meshes.

Letters: N shapes.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import coal
import numpy as np
import pinocchio as pin

from beingh_core.contract.kinematics import load_model, model_text
from beingh_core.contract.urdf import read_urdf
from beingh_core.errors import BeingHError

BOX, CYLINDER, SPHERE = "box", "cylinder", "sphere"
GREY = (0.75, 0.75, 0.78)


@dataclass(frozen=True, kw_only=True)
class Shape:
    """One primitive.

    Attributes:
        kind: BOX, CYLINDER (along its z) or SPHERE; a capsule is one CYLINDER and two SPHEREs.
        size: (3,) edges of the box around it [m].
        link: the link that it is part of.
        colour: red, green, blue.
    """

    kind: str
    size: tuple[float, float, float]
    link: str
    colour: tuple[float, float, float]


class RobotShapes:
    """The shapes of a URDF. One thread at a time.

    Args:
        urdf_path: the robot's URDF; its visual shapes are taken where all are primitives, else those for collisions.

    Attributes:
        shapes: all of them.
        root: the link in which places are told.

    Raises:
        BeingHError: unreadable URDF, or one without shapes that are primitives.
    """

    def __init__(self, urdf_path: Path) -> None:
        self._urdf, self._model = read_urdf(urdf_path), load_model(urdf_path)
        self._data = self._model.createData()
        self._rest = np.clip(pin.neutral(self._model), self._model.lowerPositionLimit, self._model.upperPositionLimit)
        self.root = next(link for link in self._urdf.links if link not in self._urdf.carriers)
        found = [part for shape in _primitives(self._model, urdf_path) for part in _parts(self._model, shape)]
        self.shapes = tuple(shape for shape, _, _ in found)
        self._joints = [joint for _, joint, _ in found]
        self._placements = [placement for _, _, placement in found]

    def places(self, positions: Mapping[str, float]) -> tuple[np.ndarray, np.ndarray]:
        """Middles (N, 3) [m] and axes (N, 3, 3) of all shapes in the root link.

        Args:
            positions: of joints [rad or m]; joints without one stay at rest, those that mimic follow.
        """
        self._pose(positions)
        placed = [self._data.oMi[joint] * placement for joint, placement in zip(self._joints, self._placements)]
        return np.array([place.translation for place in placed]), np.array([place.rotation for place in placed])

    def link(self, link: str, positions: Mapping[str, float]) -> tuple[np.ndarray, np.ndarray]:
        """Place (3,) [m] and axes (3, 3) of a link in the root link."""
        self._pose(positions)
        place = self._data.oMf[self._model.getFrameId(link, pin.FrameType.BODY)]
        return place.translation.copy(), place.rotation.copy()

    def carried_by(self, joints: tuple[str, ...]) -> dict[str, str]:
        """Link -> the link that stands still under it while `joints` and those that mimic them move; others are left out."""
        moving = {name for name, joint in self._urdf.joints.items() if (joint.mimics or name) in joints}
        found = {}
        for link in self._urdf.links:
            at = link
            while at in self._urdf.carriers:
                joint, at = self._urdf.carriers[at]
                if joint in moving:
                    found[link] = at
        return found

    def _pose(self, positions: Mapping[str, float]) -> None:
        vector = self._rest.copy()
        for name, joint in self._urdf.joints.items():
            source = joint.mimics or name
            if source in positions:
                follows = (joint.multiplier, joint.offset) if joint.mimics else (1.0, 0.0)
                column = self._model.joints[self._model.getJointId(name)].idx_q
                vector[column] = follows[0] * positions[source] + follows[1]
        pin.framesForwardKinematics(self._model, self._data, vector)


def _primitives(model: pin.Model, urdf_path: Path) -> list[pin.GeometryObject]:
    text = model_text(urdf_path)
    for kind in (pin.GeometryType.VISUAL, pin.GeometryType.COLLISION):
        try:
            shapes = list(pin.buildGeomFromUrdfString(model, text, kind).geometryObjects)
        except (ValueError, RuntimeError):  # a mesh that is not here
            continue
        if shapes and all(isinstance(s.geometry, (coal.Box, coal.Cylinder, coal.Sphere, coal.Capsule)) for s in shapes):
            return shapes
    raise BeingHError(
        "the URDF has no shapes that can be drawn",
        where=urdf_path,
        allowed="boxes, cylinders and spheres, as <visual> or <collision>",
    )


def _parts(model: pin.Model, shape: pin.GeometryObject) -> list[tuple[Shape, int, pin.SE3]]:
    """What is drawn for one shape, the joint that carries it, and where on that."""
    form, link = shape.geometry, model.frames[shape.parentFrame].name
    red, green, blue, alpha = (float(value) for value in shape.meshColor)
    colour = (red, green, blue) if alpha > 0 and shape.overrideMaterial else GREY

    def part(kind: str, size: tuple[float, float, float], up: float = 0.0) -> tuple[Shape, int, pin.SE3]:
        place = shape.placement * pin.SE3(np.eye(3), np.array([0.0, 0.0, up]))
        return Shape(kind=kind, size=size, link=link, colour=colour), shape.parentJoint, place

    if isinstance(form, coal.Box):
        x, y, z = (2 * float(half) for half in form.halfSide)
        return [part(BOX, (x, y, z))]
    width = 2 * float(form.radius)
    if isinstance(form, coal.Sphere):
        return [part(SPHERE, (width, width, width))]
    half = float(form.halfLength)
    middle = part(CYLINDER, (width, width, 2 * half))
    if isinstance(form, coal.Cylinder):
        return [middle]
    return [middle, *(part(SPHERE, (width, width, width), up) for up in (-half, half))]
