"""A robot alone, as MuJoCo reads its URDF."""

from __future__ import annotations

from pathlib import Path

import mujoco
import numpy as np

from beingh_core.contract.schema import RobotContract
from beingh_core.contract.self_collision import Collisions, collisions_of
from beingh_core.contract.urdf import UrdfFacts
from beingh_core.errors import BeingHError
from beingh_core.sim.completed import complete


def robot_spec(urdf_path: str | Path) -> mujoco.MjSpec:
    """The robot alone, with all links of its URDF.

    Raises:
        BeingHError: a file that MuJoCo cannot read, or a robot that it cannot move.
    """
    return _completed(urdf_path)[0]


def left_open(urdf_path: str | Path) -> tuple[str, ...]:
    """What the URDF does not tell and the simulation leaves out or assumes, a line each; see `robot_spec`."""
    return _completed(urdf_path)[1]


def _completed(urdf_path: str | Path) -> tuple[mujoco.MjSpec, tuple[str, ...]]:
    try:
        spec = mujoco.MjSpec.from_file(str(urdf_path))
        spec.compiler.fusestatic = False
        notes = complete(spec, Path(urdf_path).resolve().parent)
        spec.compile()
    except ValueError as error:
        raise BeingHError(f"MuJoCo cannot read this: {' '.join(str(error).split())}", where=urdf_path) from error
    return spec, notes


def shape_check(contract: RobotContract) -> Collisions | None:
    """What finds links that touch each other; None where the URDF has no shapes for that.

    Raises:
        BeingHError: the contract has boxes to keep out of, and they cannot be checked.
    """
    try:
        return collisions_of(contract)
    except BeingHError:
        if contract.keep_out:
            raise
        return None


def followed(urdf: UrdfFacts, positions: dict[str, float]) -> dict[str, float]:
    """`positions` of joints with those of the joints that mimic them [rad or m]; names that are no joints are left out."""
    found = {name: value for name, value in positions.items() if name in urdf.joints}
    for name, joint in urdf.joints.items():
        if joint.mimics in found:
            found[name] = joint.multiplier * found[joint.mimics] + joint.offset
    return found


def carried_by(model: mujoco.MjModel, body: int) -> list[int]:
    """A body and all that it carries; parents come before children."""
    found = [body]
    for other in range(body + 1, model.nbody):
        if model.body_parentid[other] in found:
            found.append(other)
    return found


def lowest_points(model: mujoco.MjModel, data: mujoco.MjData) -> np.ndarray:
    """(N,) height of the lowest point of every shape [m]; of a mesh, of the box around it."""
    axes = data.geom_xmat.reshape(-1, 3, 3)[:, 2]
    half = model.geom_aabb[:, 3:]
    boxes = (
        data.geom_xpos[:, 2] + np.einsum("nj,nj->n", axes, model.geom_aabb[:, :3]) - (np.abs(axes) * half).sum(axis=1)
    )
    kind, radius = model.geom_type, model.geom_size[:, 0]
    length = np.abs(axes[:, 2]) * model.geom_size[:, 1]
    drop = np.select(
        [
            kind == mujoco.mjtGeom.mjGEOM_SPHERE,
            kind == mujoco.mjtGeom.mjGEOM_CAPSULE,
            kind == mujoco.mjtGeom.mjGEOM_CYLINDER,
        ],
        [radius, length + radius, length + radius * np.sqrt(np.maximum(0.0, 1.0 - axes[:, 2] ** 2))],
        np.nan,
    )
    return np.where(np.isnan(drop), boxes, data.geom_xpos[:, 2] - drop)
