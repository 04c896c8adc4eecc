"""Kinematics against a forward kinematics written here from the URDF's XML and homogeneous transforms."""

import time
import xml.etree.ElementTree as ElementTree
from pathlib import Path

import numpy as np
import pytest

from beingh_core.contract.kinematics import Kinematics
from beingh_core.errors import BeingHError

URDF = Path(__file__).resolve().parents[1] / "urdf" / "fr3.urdf"
ARM = [f"fr3_joint{i}" for i in range(1, 8)]
READY = np.array([0, -np.pi / 4, 0, -3 * np.pi / 4, 0, np.pi / 2, np.pi / 4])


def axis_rotation(axis, angle):
    """Rodrigues' formula (3, 3)."""
    x, y, z = np.asarray(axis) / np.linalg.norm(axis)
    cross = np.array([[0, -z, y], [z, 0, -x], [-y, x, 0]])
    return np.eye(3) + np.sin(angle) * cross + (1 - np.cos(angle)) * cross @ cross


def homogeneous(rotation, translation):
    transform = np.eye(4)
    transform[:3, :3], transform[:3, 3] = rotation, translation
    return transform


def urdf_fk(positions, link, base="fr3_link0"):
    """Pose (4, 4) of a link in the base link; `positions` by joint name, others zero."""
    joints = {joint.find("child").get("link"): joint for joint in ElementTree.parse(URDF).getroot().findall("joint")}
    transform = np.eye(4)
    while link != base:
        joint = joints[link]
        origin = joint.find("origin")
        values = lambda key: (
            [float(v) for v in (origin.get(key) or "0 0 0").split()] if origin is not None else [0.0] * 3
        )
        roll, pitch, yaw = values("rpy")
        fixed = axis_rotation([0, 0, 1], yaw) @ axis_rotation([0, 1, 0], pitch) @ axis_rotation([1, 0, 0], roll)
        move = np.eye(4)
        if joint.get("type") != "fixed":
            axis = [float(v) for v in joint.find("axis").get("xyz").split()]
            value = positions.get(joint.get("name"), 0.0)
            if joint.get("type") == "prismatic":
                move[:3, 3] = np.array(axis) * value
            else:
                move[:3, :3] = axis_rotation(axis, value)
        transform = homogeneous(fixed, values("xyz")) @ move @ transform
        link = joint.find("parent").get("link")
    return transform


def rotation_angle(a, b):
    """Angle between two rotations, accurate near zero."""
    skew = a.T @ b - b.T @ a
    return np.arctan2(np.linalg.norm([skew[2, 1], skew[0, 2], skew[1, 0]]) / 2, (np.trace(a.T @ b) - 1) / 2)


@pytest.fixture(scope="module")
def arm():
    return Kinematics(URDF, ARM, "fr3_hand_tcp", "fr3_link0")


def random_postures(arm, count, seed=0, margin=0.15):
    rng = np.random.default_rng(seed)
    return rng.uniform(arm.lower + margin, arm.upper - margin, (count, 7))


def test_published_pose(arm):
    position, _ = arm.fk(READY)
    np.testing.assert_allclose(position, [0.3069, 0, 0.4869], atol=5e-5)


def test_fk_agrees_with_the_urdf(arm):
    for q in random_postures(arm, 50):
        expected = urdf_fk(dict(zip(ARM, q)), "fr3_hand_tcp")
        position, rotation = arm.fk(q)
        np.testing.assert_allclose(position, expected[:3, 3], atol=1e-12)
        np.testing.assert_allclose(rotation, expected[:3, :3], atol=1e-12)


def test_fk_with_another_base_and_joint_order():
    order = [ARM[i] for i in (3, 1, 6)]
    arm = Kinematics(URDF, order, "fr3_link7", "fr3_link0")
    q = np.array([-1.0, 0.4, 0.7])
    # Joints that are not named rest at zero, or at the nearest allowed position.
    expected = urdf_fk({**dict(zip(order, q)), "fr3_joint6": 0.5445}, "fr3_link7")
    position, rotation = arm.fk(q)
    np.testing.assert_allclose(position, expected[:3, 3], atol=1e-12)
    np.testing.assert_allclose(rotation, expected[:3, :3], atol=1e-12)


def test_ik_round_trip(arm):
    rng = np.random.default_rng(1)
    missed = 0
    for q in random_postures(arm, 300, seed=1):
        wanted = urdf_fk(dict(zip(ARM, q)), "fr3_hand_tcp")
        start = np.clip(q + rng.normal(0, 0.15, 7), arm.lower, arm.upper)
        result = arm.solve(wanted[:3, 3], wanted[:3, :3], start)
        missed += not result.converged
        if result.converged:
            reached = urdf_fk(dict(zip(ARM, result.positions)), "fr3_hand_tcp")
            assert np.linalg.norm(reached[:3, 3] - wanted[:3, 3]) <= 1e-5
            assert rotation_angle(reached[:3, :3], wanted[:3, :3]) <= 1e-5
        assert (result.positions >= arm.lower).all() and (result.positions <= arm.upper).all()
    assert missed <= 3


def test_ik_follows_a_path_quickly_and_smoothly(arm):
    position, rotation = arm.fk(READY)
    q, seconds, moved = READY, [], []
    for step in range(200):
        position = position + 0.01 * np.array([np.cos(step / 15), np.sin(step / 15), 0.3 * np.sin(step / 7)])
        began = time.thread_time()
        result = arm.solve(position, rotation, q, READY)
        seconds.append(time.thread_time() - began)
        assert result.converged
        moved.append(np.abs(result.positions - q).max())
        q = result.positions
    assert np.median(seconds) <= 0.5e-3
    assert max(moved) < 0.1


def test_null_space_pull_returns_to_rest_without_moving_the_hand(arm):
    position, rotation = arm.fk(READY)
    swung = arm.ik(position, rotation, READY + np.array([0.4, 0, -0.4, 0, 0.1, 0, 0]))
    before = np.linalg.norm(swung - READY)
    assert before > 0.2
    q = swung
    for _ in range(200):
        q = arm.ik(position, rotation, q, READY)
        assert np.linalg.norm(arm.fk(q)[0] - position) <= 1e-5
    assert np.linalg.norm(q - READY) < 0.05 * before


def test_limits_hold_where_the_path_leads_out_of_them(arm):
    """Turning the hand about the base past the limit of joint 1: other joints help out, none leaves its limits."""
    q = READY.copy()
    q[0] = arm.upper[0] - 0.01
    position, rotation = arm.fk(q)
    reached = []
    for _ in range(40):
        position = axis_rotation([0, 0, 1], 0.01) @ position
        result = arm.solve(position, rotation, q)
        assert (result.positions >= arm.lower).all() and (result.positions <= arm.upper).all()
        reached.append(result.converged)
        q = result.positions
    assert all(reached[:20])
    narrow = arm.upper - 0.2
    limited = Kinematics(URDF, ARM, "fr3_hand_tcp", "fr3_link0", (arm.lower, narrow))
    assert (limited.solve(position, rotation, q).positions <= narrow).all()


def test_out_of_reach_is_said(arm):
    _, rotation = arm.fk(READY)
    result = arm.solve(np.array([2.0, 0, 0.5]), rotation, READY)
    assert not result.converged and result.position_error_m > 0.5
    assert np.isfinite(result.positions).all()
    with pytest.raises(BeingHError, match="no joint positions within the limits reach"):
        arm.ik(np.array([2.0, 0, 0.5]), rotation, READY)


@pytest.mark.parametrize(
    "arguments, message",
    [
        (([*ARM[:6], "fr3_joint77"], "fr3_hand_tcp", "fr3_link0"), "no movable joint `fr3_joint77`.*fr3_joint7"),
        ((ARM, "fr3_tcp", "fr3_link0"), "no link `fr3_tcp`"),
        ((ARM, "fr3_hand_tcp", "fr3_link3"), "moves with the joints"),
    ],
)
def test_wrong_names(arguments, message):
    with pytest.raises(BeingHError, match=message):
        Kinematics(URDF, *arguments)


def test_missing_urdf(tmp_path):
    with pytest.raises(BeingHError, match="no such URDF"):
        Kinematics(tmp_path / "none.urdf", ARM, "fr3_hand_tcp")
