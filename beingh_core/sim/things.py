"""Further things on the table: a cylinder, a bowl, and a drawer that opens towards the robot."""

from __future__ import annotations

from typing import NamedTuple

import mujoco
import numpy as np

from beingh_core.sim.layout import TABLE_HALF_M, Layout
from beingh_core.tasks import BOWL_RADIUS_M

# No joint of a URDF has such a name; that of the drawer slides from 0 (shut) to this [m].
DRAWER_JOINT, DRAWER_M = "thing:drawer", 0.12
CYLINDER_M = (0.02, 0.04)  # radius and half height
BOWL_M = (BOWL_RADIUS_M, 0.022)  # radius and half height of the wall
_CABINET_M = np.array([0.08, 0.10, 0.05])
_WALL_M, _SEGMENTS = 0.004, 12
# Beyond the cubes' area, as seen from the robot: ahead of its far side and aside of its middle [m].
_PLACES = {"cylinder": (0.07, -0.12), "bowl": (0.09, 0.02), "drawer": (0.20, 0.25)}
_EDGE_M, _JITTER_M = 0.11, 0.015
_COLOURS = {"cylinder": (0.85, 0.65, 0.10, 1), "bowl": (0.85, 0.85, 0.88, 1), "drawer": (0.45, 0.30, 0.18, 1)}
_SEED = 2  # of their places, beside that of the cubes


class Thing(NamedTuple):
    """Where a thing is: middle (3,) [m], quaternion (4,) w x y z, whole lengths (3,) [m] and colour (4,)."""

    position: np.ndarray
    quaternion: np.ndarray
    size: np.ndarray
    colour: tuple[float, ...]


def add_things(spec: mujoco.MjSpec, names: tuple[str, ...], layout: Layout, collide: dict) -> None:
    """Adds bodies `thing_NAME`; cylinder and bowl are free, the drawer slides in a cabinet that stands still.

    Args:
        spec: the scene.
        names: of `simulated.OBJECTS`.
        layout: where the cubes are.
        collide: `contype` and `conaffinity` of things.
    """
    for name in names:
        body = spec.worldbody.add_body(name=f"thing_{name}", pos=_place(name, layout))
        like = {"rgba": _COLOURS[name], "friction": [1.0, 0.02, 0.001], **collide}
        _SHAPES[name](body, like)


def scatter(model: mujoco.MjModel, data: mujoco.MjData, names: tuple[str, ...], seed: int) -> None:
    """Moves what is free a little, as a seed says, and shuts the drawer."""
    rng = np.random.default_rng([seed, _SEED])
    for name in names:
        aside = rng.uniform(-_JITTER_M, _JITTER_M, 2)
        if name != "drawer":
            data.joint(f"thing_{name}").qpos[:2] = model.body(f"thing_{name}").pos[:2] + aside


def things_of(data: mujoco.MjData, names: tuple[str, ...]) -> dict[str, Thing]:
    """Name -> where it is; of the drawer the part that slides."""
    sizes = {
        "cylinder": np.array([2 * CYLINDER_M[0], 2 * CYLINDER_M[0], 2 * CYLINDER_M[1]]),
        "bowl": np.array([2 * BOWL_M[0], 2 * BOWL_M[0], 2 * BOWL_M[1]]),
        "drawer": 2 * (_CABINET_M - 2 * _WALL_M),
    }
    found = {}
    for name in names:
        body = data.body("thing_drawer_box" if name == "drawer" else f"thing_{name}")
        found[name] = Thing(body.xpos.copy(), body.xquat.copy(), sizes[name], _COLOURS[name])
    return found


def _place(name: str, layout: Layout) -> np.ndarray:
    """Middle (3,) of a thing on the table, at least a little from its edge [m]."""
    (_, x1), (y0, y1) = layout.area
    ahead, aside = _PLACES[name]
    wanted = np.array([x1 + ahead, (y0 + y1) / 2.0 + aside])
    middle = np.array(layout.table[:2])
    half = TABLE_HALF_M - _EDGE_M
    height = {"cylinder": CYLINDER_M[1], "bowl": BOWL_M[1], "drawer": _CABINET_M[2]}[name]
    return np.array([*np.clip(wanted, middle - half, middle + half), layout.table[2] + height])


def _cylinder(body, like: dict) -> None:
    body.add_freejoint(name=body.name)
    body.add_geom(type=mujoco.mjtGeom.mjGEOM_CYLINDER, size=[*CYLINDER_M, 0.0], mass=0.08, condim=4, **like)


def _bowl(body, like: dict) -> None:
    """A disc with a ring of upright plates."""
    radius, half = BOWL_M
    body.add_freejoint(name=body.name)
    floor = {"size": [radius, _WALL_M / 2, 0.0], "pos": [0, 0, _WALL_M / 2 - half], "mass": 0.08}
    body.add_geom(type=mujoco.mjtGeom.mjGEOM_CYLINDER, **floor, **like)
    for k in range(_SEGMENTS):
        angle = 2 * np.pi * k / _SEGMENTS
        body.add_geom(
            type=mujoco.mjtGeom.mjGEOM_BOX,
            size=[_WALL_M / 2, radius * np.tan(np.pi / _SEGMENTS), half],
            pos=[radius * np.cos(angle), radius * np.sin(angle), 0.0],
            quat=[np.cos(angle / 2), 0.0, 0.0, np.sin(angle / 2)],
            mass=0.12 / _SEGMENTS,
            **like,
        )


def _drawer(body, like: dict) -> None:
    """A cabinet, open towards the robot (-x), and a box with a handle that slides in it."""
    x, y, z = _CABINET_M
    wall = _WALL_M / 2
    for size, pos in (
        ([x, y, wall], [0, 0, z - wall]),
        ([x, y, wall], [0, 0, wall - z]),
        ([x, wall, z], [0, y - wall, 0]),
        ([x, wall, z], [0, wall - y, 0]),
        ([wall, y, z], [x - wall, 0, 0]),
    ):
        body.add_geom(type=mujoco.mjtGeom.mjGEOM_BOX, size=size, pos=pos, **like)
    box = body.add_body(name="thing_drawer_box")
    box.add_joint(
        name=DRAWER_JOINT,
        type=mujoco.mjtJoint.mjJNT_SLIDE,
        axis=[-1, 0, 0],
        range=[0.0, DRAWER_M],
        limited=mujoco.mjtLimited.mjLIMITED_TRUE,
        frictionloss=0.5,
    )
    x, y, z = _CABINET_M - 2 * _WALL_M
    like = like | {"rgba": (0.70, 0.52, 0.32, 1)}
    for size, pos, mass in (
        ([x, y, wall], [0, 0, wall - z], 0.1),
        ([wall, y, z], [wall - x, 0, 0], 0.06),
        ([wall, y, 0.6 * z], [x - wall, 0, -0.4 * z], 0.05),
        ([x, wall, 0.6 * z], [0, y - wall, -0.4 * z], 0.05),
        ([x, wall, 0.6 * z], [0, wall - y, -0.4 * z], 0.05),
        ([0.004, 0.03, 0.004], [-x - 0.024, 0, 0.01], 0.02),
        ([0.012, 0.004, 0.004], [-x - 0.012, 0.026, 0.01], 0.01),
        ([0.012, 0.004, 0.004], [-x - 0.012, -0.026, 0.01], 0.01),
    ):
        box.add_geom(type=mujoco.mjtGeom.mjGEOM_BOX, size=size, pos=pos, mass=mass, **like)


_SHAPES = {"cylinder": _cylinder, "bowl": _bowl, "drawer": _drawer}
