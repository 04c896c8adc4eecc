"""The simulated robot and the scripted expert, in real physics."""

from pathlib import Path

import mujoco
import numpy as np
import pytest
from PIL import Image

from beingh_core.contract import load_contract
from beingh_core.contract.kinematics import Kinematics
from beingh_core.contract.paths import contract_files
from beingh_core.contract.urdf import read_urdf
from beingh_core.errors import BeingHError
from beingh_core.sim import CUBE_COLOURS, CUBE_SIZE_M, SimRobot, build_model, sample_cubes
from beingh_core.sim.layout import CUBE_AREA_XY, CUBE_SPACING_M
from beingh_core.sim.robot import FINGERS

DATA = Path(__file__).parent / "data"
TAUGHT_CUBES = [[0.56100058, 0.09238224], [0.50306511, -0.06425959], [0.41078614, -0.03498934]]
TAUGHT_AFTER = [-0.00041404, 0.53472181, -0.00121733, -2.32549077, -0.00044095, 1.97877868, 0.78756183]


@pytest.fixture(scope="module")
def contract():
    return load_contract("fr3")


@pytest.fixture(scope="module")
def home(contract):
    return dict(zip(contract.joint_names, contract.home))


@pytest.fixture
def robot(contract, home):
    robot = SimRobot(contract.urdf_path, home)
    yield robot
    robot.close()


@pytest.fixture(scope="module")
def arm(contract):
    names = [n for n in contract.joint_names if n not in FINGERS]
    return Kinematics(contract.urdf_path, names, "fr3_hand_tcp", "fr3_link0")


def test_simulator_and_kinematics_agree_on_the_tool_pose(robot, arm):
    q = np.array([0.3, 0.1, -0.2, -2.0, 0.15, 2.1, 0.6])
    robot.place_joints(dict(zip(arm.joints, q)))
    position, rotation = arm.fk(q)
    tool = robot.data.body("fr3_hand_tcp")
    np.testing.assert_allclose(tool.xpos, position, atol=1e-6)
    np.testing.assert_allclose(tool.xmat.reshape(3, 3), rotation, atol=1e-6)


def test_home_holds_still_and_the_cubes_rest(robot, home):
    robot.reset(3)
    before = robot.objects()
    robot.step(1.0)
    after = robot.positions()
    assert all(abs(after[n] - home[n]) < 2e-3 for n in home)
    assert all(np.linalg.norm(robot.objects()[c][0] - before[c][0]) < 1e-3 for c in CUBE_COLOURS)


def test_contacts_name_both_sides_and_their_forces_are_in_balance(robot, home):
    for colour, y in zip(CUBE_COLOURS, (-0.5, 0.5, 0.4)):
        robot.place_cube(colour, np.array([0.5, y, CUBE_SIZE_M / 2]), 0.0)
    robot.step(0.5)
    assert robot.contacts() == []
    for _ in range(100):  # down onto the table
        robot.step(0.02, home | {"fr3_joint2": home["fr3_joint2"] + 0.8})
    pressed = robot.contacts()
    assert {contact.other for contact in pressed} == {"table"}
    assert {contact.link for contact in pressed} == {"fr3_leftfinger", "fr3_rightfinger"}
    assert all(contact.force[2] > 0 and abs(contact.position[2]) < 0.01 for contact in pressed)
    # What the contacts do to a joint, from the solver and from the forces.
    total = sum(contact.force for contact in pressed)
    jacobian = np.zeros((3, robot.model.nv))
    mujoco.mj_jac(robot.model, robot.data, jacobian, None, pressed[0].position, robot.model.body("fr3_hand").id)
    joint = robot.model.joint("fr3_joint2").dofadr[0]
    assert jacobian[:, joint] @ total == pytest.approx(robot.data.qfrc_constraint[joint], rel=0.05)


def test_second_finger_follows_the_first(robot):
    robot.step(0.5, {FINGERS[0]: 0.01})
    robot.step(0.5)
    joints = robot.positions()
    assert joints[FINGERS[0]] == pytest.approx(0.01, abs=1e-3)
    assert joints[FINGERS[1]] == pytest.approx(0.01, abs=1e-3)


def test_same_seed_same_scene_other_seed_other_scene():
    first, again, other = (sample_cubes(np.random.default_rng(s)) for s in (5, 5, 6))
    assert all((first[c][0] == again[c][0]).all() for c in first)
    assert any((first[c][0] != other[c][0]).any() for c in first)


def test_cubes_are_apart_and_inside_their_area():
    (x0, x1), (y0, y1) = CUBE_AREA_XY
    for seed in range(200):
        places = np.array([p for p, _ in sample_cubes(np.random.default_rng(seed)).values()])
        assert (places[:, 0] >= x0).all() and (places[:, 0] <= x1).all()
        assert (places[:, 1] >= y0).all() and (places[:, 1] <= y1).all()
        gaps = np.linalg.norm(places[:, None] - places[None], axis=-1)[np.triu_indices(len(places), 1)]
        assert gaps.min() >= CUBE_SPACING_M


@pytest.mark.parametrize("camera", ["scene_camera", "wrist_camera"])
def test_every_cube_is_seen_from_home(robot, camera):
    robot.reset(1)
    image = robot.render(camera).astype(int)
    for channel in range(3):
        others = [c for c in range(3) if c != channel]
        strong = (image[..., channel] > 60) & (image[..., channel] > 1.8 * image[..., others].max(-1))
        assert strong.sum() >= 4, f"no cube of channel {channel} in {camera}"


def test_a_file_that_mujoco_cannot_read_is_one_error(tmp_path):
    path = tmp_path / "robot.urdf"
    path.write_text("<robot name='r'><link name='a'/><joint name='j' type='fixed'/></robot>")
    with pytest.raises(BeingHError, match="MuJoCo cannot read this"):
        build_model(path)


def test_the_fr3_has_no_more_torque_than_its_maker_says(robot):
    for name, torque in [("fr3_joint1", 87.0), ("fr3_joint4", 87.0), ("fr3_joint5", 12.0), ("fr3_joint7", 12.0)]:
        assert robot.model.actuator(name).forcerange.tolist() == [-torque, torque]


@pytest.mark.slow
def test_every_shipped_robot_stands_at_home_and_follows_a_slow_motion(capsys):
    """Prints, for each contract, the error at rest after 2 s and the largest one behind a cosine of 0.1 rad in 2 s."""
    lines = []
    for name in sorted(contract_files()):
        contract = load_contract(name)
        robot = SimRobot.of(contract)
        home = {n: v for n, v in zip(contract.joint_names, contract.home) if n in robot.joint_names}
        robot.step(2.0)
        rest = max(abs(robot.positions()[n] - home[n]) for n in home)
        touching = [contact.other for contact in robot.contacts()]
        ways = dict(zip(contract.joint_names, np.where(contract.limits.upper > np.array(contract.home) + 0.11, 1, -1)))
        turns = [n for n in home if robot.model.joint(n).type[0] == mujoco.mjtJoint.mjJNT_HINGE]
        worst = 0.0
        for tick in range(1, 41):
            share = 0.05 * (1 - np.cos(np.pi * tick * 0.05))
            goal = {n: home[n] + ways[n] * share for n in turns}
            robot.step(0.05, goal)
            worst = max(worst, max(abs(robot.positions()[n] - goal[n]) for n in turns))
        lines.append(f"{name:18} rest {rest:.4f} following {worst:.4f}")
        assert np.isfinite(robot.data.qpos).all() and not touching, lines[-1]
        # Damping over stiffness of ALOHA's wrist is 0.17 s: so much it is behind what moves with 0.16 rad/s.
        assert rest < 0.005 and worst < 0.03, lines[-1]
    with capsys.disabled():
        print("", *lines, sep="\n")


@pytest.mark.parametrize("name", ["ur5e_2f85", "xarm7", "fr3_inspire", "g1_inspire", "vx300s"])
def test_coupled_fingers_follow_as_the_urdf_says(name):
    contract = load_contract(name)
    robot, joints = SimRobot.of(contract), read_urdf(contract.urdf_path).joints
    home = {n: v for n, v in zip(contract.joint_names, contract.home) if n in joints}
    leaders = {joint.mimics for joint in joints.values() if joint.mimics is not None}
    for _ in range(20):
        robot.step(0.05, home | {n: (joints[n].lower + joints[n].upper) / 2 for n in leaders})
    found = robot.positions()
    for follower, joint in joints.items():
        if joint.mimics is not None:
            wanted = joint.multiplier * (joints[joint.mimics].lower + joints[joint.mimics].upper) / 2 + joint.offset
            assert found[follower] == pytest.approx(wanted, abs=0.02), follower


def test_the_fr3s_scene_is_that_in_which_its_checkpoint_was_taught(contract):
    """Pictures and motion of seed 5 as they were when `checkpoints/` was trained."""
    robot = SimRobot.of(contract)
    robot.reset(5)
    for camera in ("scene_camera", "wrist_camera"):
        with Image.open(DATA / f"fr3_{camera}.png") as taught:
            difference = np.abs(robot.render(camera, (240, 240)).astype(int) - np.asarray(taught).astype(int))
        # Another machine's renderer rounds otherwise, and at edges.
        assert difference.mean() < 0.5 and (difference.max(axis=2) > 8).mean() < 0.005, camera
    robot.close()
    places = np.array([robot.data.body(f"cube_{colour}").xpos[:2] for colour in CUBE_COLOURS])
    np.testing.assert_allclose(places, TAUGHT_CUBES, atol=1e-8)
    robot.step(0.5, robot.home | {"fr3_joint2": 0.7, "fr3_finger_joint1": 0.0})
    np.testing.assert_allclose(robot.data.qpos[:7], TAUGHT_AFTER, atol=1e-4)
