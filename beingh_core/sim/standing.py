"""Cameras of the scene: where they stand, and that of a hand."""

from __future__ import annotations

from dataclasses import dataclass

import mujoco
import numpy as np

from beingh_core.contract.schema import CameraStream
from beingh_core.sim.hand import Hand

SCENE_FOVY_DEG, WRIST_FOVY_DEG = 42.0, 80.0
# Of half the picture counts as well inside.
_INSIDE = 0.9
# A camera may be inside the shape of a head that is so large [m].
_AROUND_M = 0.15
# The camera of a hand: so far before what it grasps and beside the line to it, looking so far beyond [m].
_BEFORE_M, _BESIDE_M, _BEYOND_M = 0.13, 0.08, 0.03


@dataclass(frozen=True)
class Standing:
    """A camera of the scene: on `link` (None: the world), at `eye` (3,) [m], looking along `ahead` (3,) with `up` (3,)."""

    name: str
    link: str | None
    eye: tuple[float, ...]
    ahead: tuple[float, ...]
    up: tuple[float, ...]
    fovy_deg: float


def is_wrist(stream: CameraStream) -> bool:
    """Whether a view is that of a hand."""
    return "wrist" in stream.name or "wrist" in stream.topic


def at_hand(name: str, hand: Hand, model: mujoco.MjModel, data: mujoco.MjData) -> Standing:
    """A camera beside a hand, on the side that is above at home or else away from the robot, which sees what the hand grasps."""
    axes = data.body(hand.link).xmat.reshape(3, 3)
    place = np.array(hand.point)
    across, _, approach = hand.axes.T
    away = (data.body(hand.link).xpos + axes @ place) * [1.0, 1.0, 0.0]
    side = axes @ across @ (np.array([0.0, 0.0, 1.0]) + away / max(1e-6, float(np.linalg.norm(away))))
    across = across if side >= 0.0 else -across
    eye = place - _BEFORE_M * approach + _BESIDE_M * across
    look = place + _BEYOND_M * approach - eye
    return Standing(name, hand.link, *(tuple(vector.tolist()) for vector in (eye, look, across)), WRIST_FOVY_DEG)


def sees(
    camera: Standing, aspect: float, data: mujoco.MjData, place: np.ndarray, model: mujoco.MjModel | None = None
) -> bool:
    """Whether a place (3,) [m] is well inside the pictures of a camera, whose width is `aspect` times their height.

    With the `model` of `data`, not behind a shape, either; those around the camera do not count.
    """
    link = data.body(camera.link or "world")
    axes = link.xmat.reshape(3, 3)
    eye, ahead, up = (np.array(vector) for vector in (camera.eye, camera.ahead, camera.up))
    quat = look_at(eye, eye + ahead, up)
    turn = np.empty(9)
    mujoco.mju_quat2Mat(turn, quat)
    right, above, back = turn.reshape(3, 3).T @ (axes.T @ (place - link.xpos) - eye)
    most = _INSIDE * np.tan(np.deg2rad(camera.fovy_deg / 2.0)) * -back
    inside = bool(back < 0.0 and abs(above) < most and abs(right) < most * aspect)
    return inside and (model is None or not _hidden(model, data, place, link.xpos + axes @ eye))


def _hidden(model: mujoco.MjModel, data: mujoco.MjData, place: np.ndarray, eye: np.ndarray) -> bool:
    """Whether a shape is between a place and an eye."""
    way = eye - place
    far = float(np.linalg.norm(way))
    hit = mujoco.mj_ray(model, data, place, way / far, None, 1, -1, np.zeros(1, np.int32))
    return 0.0 <= hit < far - _AROUND_M


def look_at(eye: np.ndarray, target: np.ndarray, up: np.ndarray) -> np.ndarray:
    """Quaternion (w, x, y, z) of a MuJoCo camera (looks along its -z, y up) at `eye` that looks at `target`."""
    back = (eye - target) / np.linalg.norm(eye - target)
    right = np.cross(up, back)
    right /= np.linalg.norm(right)
    quat = np.empty(4)
    mujoco.mju_mat2Quat(quat, np.column_stack([right, np.cross(back, right), back]).ravel())
    return quat
