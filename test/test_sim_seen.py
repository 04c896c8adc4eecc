"""Every shipped contract's policy sees what it is told to pick, at home and wherever the simulator puts it."""

from pathlib import Path

import numpy as np
import pytest
from ros_support import ROOT

from beingh_core.contract import load_contract
from beingh_core.sim import SimRobot
from beingh_core.sim.scene import sample_cubes

NAMES = sorted(path.stem for path in Path(ROOT / "config" / "robots").glob("*.yaml"))
# Of two contracts of one robot that differ in their actions the second waits for the slow tests.
TWINS = {name for name in NAMES if f"{name}_eef" in NAMES} | {"fr3_hand", "fr3_joints"}


def inside(robot, view, place):
    """Whether a place (3,) [m] projects into the picture of a view (pinhole camera that looks along its -z)."""
    camera = robot.data.camera(view.camera)
    right, up, back = camera.xmat.reshape(3, 3).T @ (place - camera.xpos)
    fx, fy, cx, cy = view.intrinsics
    column, row = cx + fx * right / -back, cy - fy * up / -back
    return back < 0 and 0 <= column <= view.width - 1 and 0 <= row <= view.height - 1


@pytest.mark.parametrize(
    "name", [pytest.param(name, marks=[pytest.mark.slow] if name in TWINS else []) for name in NAMES]
)
def test_one_camera_sees_all_cubes_from_home(name):
    contract = load_contract(name)
    assert contract.cameras
    robot = SimRobot.of(contract)
    for seed in range(5):
        places = [place for place, _ in sample_cubes(np.random.default_rng(seed), robot.layout).values()]
        views = [view for view in robot.views.values() if all(inside(robot, view, place) for place in places)]
        assert views, f"seed {seed}: {np.round(places, 2).tolist()}"
    robot.close()
