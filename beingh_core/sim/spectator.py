"""The camera of reports: it has the whole robot and the cubes in its picture, however large the robot is."""

from __future__ import annotations

import mujoco
import numpy as np

from beingh_core.sim.layout import Layout
from beingh_core.sim.standing import look_at

SPECTATOR = "spectator_camera"
# From where it looks, as seen from what it looks at; width of its pictures as a multiple of their height; the share of the
# picture that the robot at home may fill, since it moves; how high a cube is lifted [m].
_FROM, _ASPECT, _FILLED, _LIFT_M = np.array([0.84, -0.76, 0.58]), 4.0 / 3.0, 0.84, 0.15
_CORNERS = np.array([[x, y, z] for x in (-1.0, 1.0) for y in (-1.0, 1.0) for z in (-1.0, 1.0)])


def frame(
    model: mujoco.MjModel, data: mujoco.MjData, robot_geoms: np.ndarray, layout: Layout, around_m: float = 0.0
) -> None:
    """Place the camera as near as everything is in its picture.

    Args:
        model: the scene; its camera is moved.
        data: the robot at home; its camera follows.
        robot_geoms: (G,) indices of the robot's shapes.
        layout: where cubes lie.
        around_m: how far around them further things may lie [m].
    """
    quat = look_at(_FROM, np.zeros(3), np.array([0.0, 0.0, 1.0]))
    turn = np.empty(9)
    mujoco.mju_quat2Mat(turn, quat)
    axes = turn.reshape(3, 3)
    points = _points(model, data, robot_geoms, layout, around_m) @ axes  # right, up, back
    half = _FILLED * np.tan(np.deg2rad(model.camera(SPECTATOR).fovy[0] / 2.0))
    middle, back = np.zeros(2), -np.inf
    for axis, slope in enumerate((half * _ASPECT, half)):
        # A point p is inside where |p - eye| <= slope (eye_back - p_back) along this axis.
        most = float((points[:, axis] + slope * points[:, 2]).max())
        least = float((-points[:, axis] + slope * points[:, 2]).max())
        middle[axis], back = (most - least) / 2.0, max(back, (most + least) / (2.0 * slope))
    camera = model.camera(SPECTATOR)
    camera.pos, camera.quat = axes @ [*middle, back], quat
    mujoco.mj_camlight(model, data)


def _points(
    model: mujoco.MjModel, data: mujoco.MjData, geoms: np.ndarray, layout: Layout, around_m: float
) -> np.ndarray:
    """Corners (N, 3) of the boxes around the robot's shapes, and of the space over the cubes' area [m]."""
    axes = data.geom_xmat[geoms].reshape(-1, 3, 3)
    corners = model.geom_aabb[geoms, None, :3] + _CORNERS * model.geom_aabb[geoms, None, 3:]
    robot = data.geom_xpos[geoms, None] + np.einsum("nij,nkj->nki", axes, corners)
    top = layout.table[2]
    xs, ys = np.array(layout.area) + [-around_m, around_m]
    cubes = [[x, y, z] for x in xs for y in ys for z in (top, top + _LIFT_M)]
    return np.vstack([robot.reshape(-1, 3), cubes])
