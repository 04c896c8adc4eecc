"""A camera that stands somewhere else for a while, as after a knock."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

import mujoco
import numpy as np


@contextlib.contextmanager
def moved_camera(model: mujoco.MjModel, data: mujoco.MjData, name: str, right_m: float, up_m: float) -> Iterator[None]:
    """Moves a camera of the model inside its picture's plane, its direction unchanged; puts it back at the end.

    Args:
        model, data: The scene; only places of cameras and lights in `data` are computed anew.
        name: Of the camera.
        right_m, up_m: How far, as it sees them [m].
    """
    camera = model.camera(name)
    before, axes = camera.pos.copy(), np.zeros(9)
    mujoco.mju_quat2Mat(axes, camera.quat)
    camera.pos[:] = before + axes.reshape(3, 3)[:, :2] @ [right_m, up_m]
    mujoco.mj_camlight(model, data)
    try:
        yield
    finally:
        camera.pos[:] = before
        mujoco.mj_camlight(model, data)
