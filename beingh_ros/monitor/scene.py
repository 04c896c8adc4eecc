"""A picture of a robot from shapes, lines and boxes, drawn by MuJoCo without a screen. No ROS here.

Everything is told in the robot's root link [m]. Letters: N shapes, T points.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from beingh_core.contract.shapes import BOX, CYLINDER, Shape
from beingh_core.errors import BeingHError

_GAP_M = 0.002
_FOV_DEG, _AZIMUTH_DEG, _ELEVATION_DEG = 40.0, 138.0, -22.0
_FLOOR, _GRID = (0.30, 0.32, 0.35), (0.36, 0.38, 0.41)
_SQUARE_M, _FLOOR_M = 0.1, 4.0
_GHOST_SIZE = 0.97


@dataclass(frozen=True, kw_only=True)
class Body:
    """Shapes with their middles (N, 3) and axes (N, 3, 3); `colour` (red, green, blue, alpha) makes a ghost of them."""

    shapes: Sequence[Shape]
    middles: np.ndarray
    axes: np.ndarray
    colour: tuple[float, float, float, float] | None = None


@dataclass(frozen=True, kw_only=True)
class Line:
    """A path (T, 3), with a ball at every point where `balls`."""

    points: np.ndarray
    colour: tuple[float, float, float]
    width: float
    balls: bool = False


def drawn(bodies: Sequence[Body], lines: Sequence[Line], height: int, width: int) -> np.ndarray:
    """uint8 (height, width, 3), seen from in front and above, with everything in it.

    Raises:
        BeingHError: MuJoCo is not installed, or finds no way to draw.
    """
    mujoco = _mujoco()
    corners = np.vstack([_corners(body) for body in bodies if len(body.shapes)])
    low, high = corners.min(axis=0), corners.max(axis=0)
    try:
        model = _world(mujoco, float(min(0.0, low[2])) - _GAP_M, height, width)
        renderer = mujoco.Renderer(model, height, width)
    except (RuntimeError, mujoco.FatalError) as error:
        raise BeingHError(f"MuJoCo cannot draw: {error}", remedy="try MUJOCO_GL=osmesa, or egl with a GPU") from error
    try:
        data = mujoco.MjData(model)
        mujoco.mj_forward(model, data)
        camera = _camera(mujoco, low, high, width / height)
        renderer.update_scene(data, camera)
        for body in bodies:
            for index, shape in enumerate(body.shapes):
                colour = body.colour or (*shape.colour, 1.0)
                _add_shape(mujoco, renderer.scene, shape, body.middles[index], body.axes[index], colour)
        picture = renderer.render()
        return _over(picture, _lines_alone(mujoco, renderer, data, camera, lines)) if lines else picture
    finally:
        renderer.close()


def _lines_alone(mujoco, renderer, data, camera, lines: Sequence[Line]) -> np.ndarray:
    """The lines before black, so that a robot does not hide the path of its own hand."""
    nothing = mujoco.MjvOption()
    nothing.geomgroup[:] = 0
    renderer.update_scene(data, camera, nothing)
    renderer.scene.flags[mujoco.mjtRndFlag.mjRND_SKYBOX] = 0
    for line in lines:
        _add_line(mujoco, renderer.scene, line)
    return renderer.render()


def _over(picture: np.ndarray, lines: np.ndarray) -> np.ndarray:
    seen = lines.max(axis=-1, keepdims=True) > 0
    return np.where(seen, lines, picture)


def _mujoco():
    if not (os.environ.get("DISPLAY") or os.environ.get("WAYLAND_DISPLAY")):
        os.environ.setdefault("MUJOCO_GL", "egl")
    try:
        import mujoco
    except ImportError as error:
        raise BeingHError(f"a picture needs the Python package mujoco ({error})", remedy="pip install mujoco") from None
    return mujoco


def _world(mujoco, floor: float, height: int, width: int):
    """A chequered floor and light."""
    spec = mujoco.MjSpec()
    spec.visual.global_.offheight, spec.visual.global_.offwidth = height, width
    spec.visual.global_.fovy = _FOV_DEG
    spec.visual.headlight.ambient, spec.visual.headlight.diffuse = [0.40] * 3, [0.30] * 3
    spec.visual.quality.offsamples = 8
    spec.add_texture(
        name="sky", type=mujoco.mjtTexture.mjTEXTURE_SKYBOX, builtin=mujoco.mjtBuiltin.mjBUILTIN_GRADIENT,
        rgb1=[0.72, 0.76, 0.82], rgb2=[0.34, 0.38, 0.44], width=256, height=256,
    )  # fmt: skip
    spec.add_texture(
        name="floor", type=mujoco.mjtTexture.mjTEXTURE_2D, builtin=mujoco.mjtBuiltin.mjBUILTIN_CHECKER,
        rgb1=list(_FLOOR), rgb2=list(_GRID), width=256, height=256,
    )  # fmt: skip
    material = spec.add_material(name="floor", texrepeat=[_FLOOR_M / _SQUARE_M] * 2, texuniform=False)
    material.textures[mujoco.mjtTextureRole.mjTEXROLE_RGB] = "floor"
    world = spec.worldbody
    world.add_light(
        pos=[1, -1, 3],
        dir=[-0.3, 0.4, -1],
        type=mujoco.mjtLightType.mjLIGHT_DIRECTIONAL,
        castshadow=False,
        diffuse=[0.35] * 3,
    )
    size = [_FLOOR_M, _FLOOR_M, 0.1]
    world.add_geom(type=mujoco.mjtGeom.mjGEOM_PLANE, size=size, pos=[0, 0, floor], material="floor")
    return spec.compile()


def _corners(body: Body) -> np.ndarray:
    """Ends of the boxes around the shapes."""
    half = 0.5 * np.array([shape.size for shape in body.shapes])
    reach = np.einsum("nij,nj->ni", np.abs(body.axes), half)
    return np.vstack([body.middles - reach, body.middles + reach])


def _camera(mujoco, low: np.ndarray, high: np.ndarray, aspect: float):
    camera = mujoco.MjvCamera()
    mujoco.mjv_defaultCamera(camera)
    camera.lookat = (low + high) / 2
    radius = 0.5 * float(np.linalg.norm(high - low))
    camera.distance = radius / np.sin(np.deg2rad(_FOV_DEG / 2) * min(1.0, aspect)) * 0.95
    camera.azimuth, camera.elevation = _AZIMUTH_DEG, _ELEVATION_DEG
    return camera


def _add_shape(mujoco, scene, shape: Shape, middle: np.ndarray, axes: np.ndarray, colour) -> None:
    # A ghost is a little smaller, so that it cannot flicker on the robot itself.
    x, y, z = (0.5 * edge * (1.0 if colour[3] == 1.0 else _GHOST_SIZE) for edge in shape.size)
    kinds = {BOX: (mujoco.mjtGeom.mjGEOM_BOX, [x, y, z]), CYLINDER: (mujoco.mjtGeom.mjGEOM_CYLINDER, [x, z, 0.0])}
    kind, size = kinds.get(shape.kind, (mujoco.mjtGeom.mjGEOM_SPHERE, [x, x, x]))
    geom = _next(scene)
    if geom is not None:
        mujoco.mjv_initGeom(geom, kind, np.array(size), middle, axes.ravel(), np.array(colour, dtype=np.float32))


def _add_line(mujoco, scene, line: Line) -> None:
    colour = np.array([*line.colour, 1.0], dtype=np.float32)
    capsule, sphere = mujoco.mjtGeom.mjGEOM_CAPSULE, mujoco.mjtGeom.mjGEOM_SPHERE
    for first, last in zip(line.points[:-1], line.points[1:]):
        geom = _next(scene) if np.linalg.norm(last - first) > 1e-6 else None
        if geom is not None:
            mujoco.mjv_initGeom(geom, capsule, np.zeros(3), np.zeros(3), np.eye(3).ravel(), colour)
            mujoco.mjv_connector(geom, capsule, line.width, first, last)
            geom.emission = 0.6
    for point in line.points if line.balls else []:
        geom = _next(scene)
        if geom is not None:
            mujoco.mjv_initGeom(geom, sphere, np.full(3, 1.8 * line.width), point, np.eye(3).ravel(), colour)
            geom.emission = 0.6


def _next(scene):
    """The next free entry of a scene, None where it is full."""
    if scene.ngeom >= scene.maxgeom:
        return None
    scene.ngeom += 1
    return scene.geoms[scene.ngeom - 1]
