"""Physics simulation of a robot at a table, and the scripted expert that demonstrates in it."""

import os

# MuJoCo chooses its OpenGL platform at import; without a display only EGL works.
if not os.environ.get("DISPLAY"):
    os.environ.setdefault("MUJOCO_GL", "egl")

from beingh_core.sim.robot import Contact, SimRobot  # noqa: E402
from beingh_core.sim.scene import CUBE_COLOURS, CUBE_SIZE_M, build_model, sample_cubes  # noqa: E402

__all__ = ["CUBE_COLOURS", "CUBE_SIZE_M", "Contact", "SimRobot", "build_model", "sample_cubes"]
