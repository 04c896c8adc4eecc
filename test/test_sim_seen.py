"""Every shipped contract's policy sees what it is told to pick, at home and wherever the simulator puts it."""

from dataclasses import replace
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


@pytest.mark.parametrize("name", ["fr3", "adam_u", "ur5e"])
def test_reports_show_the_whole_robot_before_a_light_background(name):
    robot = SimRobot.of(load_contract(name))
    model, data = robot.model, robot.data
    root = model.body_rootid[model.jnt_bodyid[model.joint(robot.joint_names[0]).id]]
    geoms = [geom for geom in range(model.ngeom) if model.body_rootid[model.geom_bodyid[geom]] == root]
    view = replace(next(iter(robot.views.values())), camera="spectator_camera", height=480, width=640, fovy_deg=42.0)
    signs = np.array(np.meshgrid(*[[-1.0, 1.0]] * 3)).reshape(3, -1).T
    for geom in geoms:
        turn = data.geom_xmat[geom].reshape(3, 3)
        for corner in model.geom_aabb[geom, :3] + signs * model.geom_aabb[geom, 3:]:
            assert inside(robot, view, data.geom_xpos[geom] + turn @ corner), model.body(model.geom_bodyid[geom]).name
    assert robot.render("spectator_camera", (48, 64))[0].min() > 180
    robot.close()
