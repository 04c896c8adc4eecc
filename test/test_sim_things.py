"""Things beside the cubes, and links that collide with each other."""

from dataclasses import replace

import mujoco
import numpy as np
import pytest

from beingh_core.contract import load_contract
from beingh_core.sim import CUBE_COLOURS, SimRobot
from beingh_core.sim.planar_base import BASE_JOINTS
from beingh_core.sim.things import DRAWER_JOINT, DRAWER_M


@pytest.fixture(scope="module")
def contract():
    contract = load_contract("vx300s")
    return replace(contract, sim=replace(contract.sim, objects=("cylinder", "bowl", "drawer")))


@pytest.fixture(scope="module")
def robot(contract):
    return SimRobot.of(contract)


def test_things_stand_still_on_the_table_where_the_seed_says(robot):
    robot.reset(1)
    before = robot.things()
    assert list(before) == ["cylinder", "bowl", "drawer"]
    robot.step(1.0)
    for name, thing in robot.things().items():
        np.testing.assert_allclose(thing.position, before[name].position, atol=2e-3)
        assert thing.position[2] > robot.layout.table[2] and abs(thing.quaternion[0]) > 0.9999
    robot.reset(1)
    assert (robot.things()["bowl"].position == before["bowl"].position).all()
    robot.reset(2)
    assert (robot.things()["bowl"].position != before["bowl"].position).any()
    cubes = np.array([place for place, _ in robot.objects().values()])
    for name in ("cylinder", "bowl", "drawer"):
        assert np.linalg.norm(cubes - robot.things()[name].position, axis=1).min() > 0.06


def test_a_cube_in_the_bowl_stays_there_and_one_in_the_drawer_comes_with_it(robot):
    robot.reset(0)
    things = robot.things()
    robot.place_cube("red", things["bowl"].position + [0.01, 0.0, 0.05], 0.3)
    robot.place_cube("blue", things["drawer"].position + [0.0, 0.0, 0.0], 0.0)
    robot.step(0.5)
    inside = robot.objects()["blue"][0]
    drawer = robot.data.joint(DRAWER_JOINT)
    for _ in range(60):
        drawer.qvel = 0.2
        robot.step(0.01)
    robot.step(0.3)
    assert DRAWER_M - 0.02 < drawer.qpos[0] < DRAWER_M + 0.005
    moved = robot.objects()["blue"][0] - inside
    assert moved[0] == pytest.approx(-drawer.qpos[0], abs=0.02) and abs(moved[2]) < 0.005
    aside = robot.objects()["red"][0] - robot.things()["bowl"].position
    assert np.linalg.norm(aside[:2]) < 0.055 and aside[2] < 0.03
    assert DRAWER_JOINT not in robot.joint_names


def test_without_them_the_scene_has_cubes_alone():
    robot = SimRobot.of(load_contract("vx300s"))
    assert robot.things() == {} and set(robot.objects()) == set(CUBE_COLOURS)


def test_an_arm_that_is_sent_into_its_base_stops_there():
    contract = load_contract("ur5e_2f85")
    robot = SimRobot.of(contract)
    passing = SimRobot(contract.urdf_path, robot.home, layout=robot.layout)
    folded = {"elbow_joint": 3.0, "wrist_1_joint": 1.5}
    for each in (robot, passing):
        for _ in range(60):
            each.step(0.05, each.home | folded)
    pairs = {frozenset((contact.link, contact.other)) for contact in robot.contacts()}
    assert any("table" not in pair for pair in pairs), "something of the robot touches itself"
    assert all("table" in pair for pair in {frozenset((c.link, c.other)) for c in passing.contacts()})
    assert abs(robot.positions()["elbow_joint"] - 3.0) > 0.05 > abs(passing.positions()["elbow_joint"] - 3.0)


def test_hands_close_as_before_and_nothing_touches_at_home():
    robot = SimRobot.of(load_contract("fr3"))
    robot.step(0.2, robot.home | {"fr3_finger_joint1": 0.0})
    robot.step(0.5)
    assert robot.contacts() == [], "the fingers meet as they always did, without a contact"
    assert robot.positions()["fr3_finger_joint1"] == pytest.approx(0.0, abs=5e-4)


def test_cubes_and_things_are_told_from_where_the_base_has_driven():
    contract = load_contract("mobile_ur5e")
    robot = SimRobot.of(replace(contract, sim=replace(contract.sim, objects=("bowl",))))
    seen = lambda: np.array([*(place for place, _ in robot.objects().values()), robot.things()["bowl"].position])
    before, away = seen(), np.array([-0.3, 0.1, np.pi / 2])
    for joint, value in zip(BASE_JOINTS, away):
        robot.data.joint(joint).qpos = value
    mujoco.mj_forward(robot.model, robot.data)
    expected = (before - [*away[:2], 0.0]) @ np.array([[0.0, -1.0, 0.0], [1.0, 0.0, 0.0], [0.0, 0.0, 1.0]])
    np.testing.assert_allclose(seen(), expected, atol=1e-9)
