"""The contracts of `config/robots`: they load, bring up, and their URDFs are where independent facts say."""

import re

import numpy as np
import pytest
from ros_support import ROOT

from beingh_core.contract import load_contract
from beingh_core.contract.kinematics import Kinematics
from beingh_core.errors import BeingHError
from beingh_core.policy.from_contract import data_config_for
from beingh_ros.bringup import processes
from beingh_ros.drivers import DRIVERS
from beingh_ros.robots.launch_arguments import ARGUMENTS
from beingh_ros.robots.launching import options_from

ROBOTS = sorted(path.stem for path in (ROOT / "config" / "robots").glob("*.yaml"))
# name -> (commanded joints, kinds of drivers)
EXPECTED = {
    "adam_u": (19, ["joint_state_command"]),
    "adam_u_eef": (19, ["joint_state_command"]),
    "aloha": (14, ["joint_trajectory"] * 4),
    "aloha_eef": (14, ["joint_trajectory"] * 4),
    "d1": (14, ["joint_state_command"]),
    "d1_eef": (14, ["joint_state_command"]),
    "fr3": (8, ["joint_trajectory"]),
    "fr3_hand": (8, ["joint_trajectory", "franka_gripper"]),
    "fr3_inspire": (13, ["joint_trajectory"] * 2),
    "fr3_inspire_eef": (13, ["joint_trajectory"] * 2),
    "fr3_joints": (8, ["joint_trajectory", "franka_gripper"]),
    "g1": (14, ["unitree_g1_arm_sdk"]),
    "g1_dex3": (28, ["unitree_g1_arm_sdk", "joint_state_command", "joint_state_command"]),
    "g1_dex3_eef": (28, ["unitree_g1_arm_sdk", "joint_state_command", "joint_state_command"]),
    "g1_eef": (14, ["unitree_g1_arm_sdk"]),
    "g1_inspire": (26, ["unitree_g1_arm_sdk", "joint_state_command", "joint_state_command"]),
    "g1_inspire_eef": (26, ["unitree_g1_arm_sdk", "joint_state_command", "joint_state_command"]),
    "gen3": (8, ["joint_trajectory", "parallel_gripper"]),
    "gen3_eef": (8, ["joint_trajectory", "parallel_gripper"]),
    "mobile_ur5e": (9, ["joint_trajectory", "parallel_gripper", "twist_base"]),
    "mobile_ur5e_eef": (9, ["joint_trajectory", "parallel_gripper", "twist_base"]),
    "so101": (6, ["joint_trajectory", "parallel_gripper"]),
    "so101_short": (6, ["joint_trajectory", "parallel_gripper"]),
    "ur5e": (6, ["joint_trajectory"]),
    "ur5e_2f85": (7, ["joint_trajectory", "parallel_gripper"]),
    "ur5e_2f85_eef": (7, ["joint_trajectory", "parallel_gripper"]),
    "vx300s": (7, ["joint_trajectory"] * 2),
    "vx300s_eef": (7, ["joint_trajectory"] * 2),
    "xarm7": (8, ["joint_trajectory", "gripper_command"]),
    "xarm7_eef": (8, ["joint_trajectory", "gripper_command"]),
}
# Joints that turn without end have no limits of position.
ENDLESS = {"joint_1", "joint_3", "joint_5", "joint_7"}


def test_no_robot_is_forgotten():
    assert set(EXPECTED) == set(ROBOTS)


@pytest.mark.parametrize("name", ROBOTS)
def test_a_robot_loads_and_its_launch_resolves(name):
    contract = load_contract(name)
    if name in EXPECTED:
        joints, kinds = EXPECTED[name]
        assert len(contract.joint_names) == joints and [driver.kind for driver in contract.drivers] == kinds
    assert {driver.kind for driver in contract.drivers} <= set(DRIVERS)
    limits = contract.limits
    bounded = ~np.isin(contract.joint_names, sorted(ENDLESS)) if name.startswith("gen3") else slice(None)
    assert np.isfinite(limits.lower[bounded]).all() and np.isfinite(limits.upper[bounded]).all()
    assert limits.velocity.max() <= 3.5, "no contract starts at the full speed of a motor"
    assert (np.array(contract.home) >= limits.lower).all() and (np.array(contract.home) <= limits.upper).all()
    text = {key: default for key, (default, _) in ARGUMENTS.items()} | {"robot": name, "checkpoint": "none"}
    (controller,) = (s for s in processes(options_from(text)) if s.name == "controller")
    assert controller.parameters["contract"] == name
    assert data_config_for(contract).views == tuple(camera.name for camera in contract.cameras)
    header = contract.path.read_text().split("robot:")[0]
    assert "Facts:" in header or name == "fr3", "where its numbers come from"


def test_the_hand_of_the_fr3_changes_nothing_for_a_model():
    assert load_contract("fr3_hand").hash == load_contract("fr3").hash
    assert load_contract("fr3_hand").robot == load_contract("fr3").robot


def pose(name, joints, eef, base, q):
    position, rotation = Kinematics(load_contract(name).urdf_path, joints, eef, base).fk(np.asarray(q, float))
    return position, rotation


def test_ur5e_against_its_denavit_hartenberg_parameters():
    """Published: d1 0.1625, a2 -0.425, a3 -0.3922, d4 0.1333, d5 0.0997, d6 0.0996, alpha pi/2 0 0 pi/2 -pi/2 0."""
    d, a = (0.1625, 0, 0, 0.1333, 0.0997, 0.0996), (0, -0.425, -0.3922, 0, 0, 0)
    alpha = (np.pi / 2, 0, 0, np.pi / 2, -np.pi / 2, 0)
    q = np.array([0.3, -1.1, 0.9, -0.4, 0.7, 0.2])
    expected = np.diag([-1.0, -1.0, 1.0, 1.0])  # base_link is the controller's base, half a turn about z
    for angle, d_i, a_i, twist in zip(q, d, a, alpha):
        c, s, ct, st = np.cos(angle), np.sin(angle), np.cos(twist), np.sin(twist)
        expected = expected @ [
            [c, -s * ct, s * st, a_i * c],
            [s, c * ct, -c * st, a_i * s],
            [0, st, ct, d_i],
            [0, 0, 0, 1],
        ]
    joints = load_contract("ur5e").joint_names
    position, rotation = pose("ur5e", joints, "tool0", "base_link", q)
    np.testing.assert_allclose(position, expected[:3, 3], atol=1e-6)
    np.testing.assert_allclose(rotation, expected[:3, :3], atol=1e-6)


def test_xarm7_stands_at_zero_where_its_manual_says():
    """Flange at x = 206 mm, y = 0, z = 120.5 mm, pointing down."""
    joints = load_contract("xarm7").joint_names[:7]
    position, rotation = pose("xarm7", joints, "link_eef", "link_base", np.zeros(7))
    np.testing.assert_allclose(position, [0.206, 0.0, 0.1205], atol=1e-5)
    np.testing.assert_allclose(rotation[:, 2], [0, 0, -1], atol=1e-4)


def test_the_arms_of_the_g1_are_mirror_images():
    contract = load_contract("g1")
    right, left = contract.joint_names[:7], contract.joint_names[7:]
    assert [name.replace("left", "right") for name in left] == list(right)
    mirror = np.array([1, -1, -1, 1, -1, 1, -1])  # roll and yaw turn the other way
    q = np.array([0.4, -0.3, 0.2, 0.7, -0.5, 0.3, 0.6])
    (p_right, r_right), (p_left, r_left) = (
        pose("g1", joints, f"{side}_rubber_hand", "torso_link", values)
        for joints, side, values in ((right, "right", q), (left, "left", q * mirror))
    )
    flip = np.diag([1.0, -1.0, 1.0])
    np.testing.assert_allclose(p_left, flip @ p_right, atol=2e-4)
    np.testing.assert_allclose(r_left, flip @ r_right @ flip, atol=2e-3)
    low, high = contract.limits.lower, contract.limits.upper
    np.testing.assert_allclose(np.minimum(low[:7] * mirror, high[:7] * mirror), low[7:])


def test_so101_reaches_as_far_as_its_links_are_long():
    joints = load_contract("so101").joint_names[:5]
    rows = np.random.default_rng(0).uniform(-1.6, 1.6, (60, 5))
    tip, shoulder = (
        np.array([pose("so101", joints, link, "base_link", q)[0] for q in rows])
        for link in ("gripper_frame_link", "upper_arm_link")
    )
    reach = np.linalg.norm(tip - shoulder, axis=1)
    links = np.hypot(0.11257, 0.028) + np.hypot(0.1349, 0.0052) + np.hypot(0.0611, 0.0181) + np.hypot(0.0079, 0.0981)
    assert 0.7 * links < reach.max() <= links


def test_the_robot_of_the_walk_through_is_one(tmp_path):
    """What docs/your_robot.md tells a newcomer to write."""
    text = (ROOT / "docs" / "your_robot.md").read_text()
    for name, language in (("my_arm.urdf", "xml"), ("my_arm.yaml", "yaml")):
        body = re.search(rf"`{name}`:\n\n```{language}\n(.*?)```", text, re.DOTALL)[1]
        (tmp_path / name).write_text(body)
    contract = load_contract(tmp_path / "my_arm.yaml")
    assert contract.robot == "my_arm" and contract.joint_names == ("shoulder", "elbow", "wrist")
    (tmp_path / "my_arm.yaml").write_text(body.replace("latency_budget_s: 0.2", "latency_budget_s: 0.9"))
    with pytest.raises(BeingHError, match="d <= 8"):
        load_contract(tmp_path / "my_arm.yaml")
