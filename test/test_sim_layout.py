"""Hands and how they grasp, and cubes where a robot's first hand reaches them."""

import numpy as np
import pytest

from beingh_core.contract import load_contract
from beingh_core.contract.kinematics import Kinematics
from beingh_core.sim import SimRobot, sample_cubes
from beingh_core.sim.hand import hands_of
from beingh_core.sim.layout import Layout


@pytest.mark.parametrize(
    ("name", "link", "joint", "closed", "opened", "width"),
    [
        # Franka: two fingers of 40 mm each. Robotiq: 85 mm at 0 rad of its knuckle. UFACTORY: 84 mm between its pads at 0.
        ("fr3", "fr3_hand", "fr3_finger_joint1", 0.0, 0.04, 0.080),
        ("ur5e_2f85", "robotiq_85_base_link", "robotiq_85_left_knuckle_joint", 0.8, 0.0, 0.085),
        ("xarm7", "xarm_gripper_base_link", "drive_joint", 0.85, 0.0, 0.084),
    ],
)
def test_grippers_open_as_wide_as_their_makers_say(name, link, joint, closed, opened, width):
    (hand,) = hands_of(load_contract(name))
    assert hand.link == link
    assert hand.closed == {joint: closed} and hand.open == pytest.approx({joint: opened})
    assert hand.opening_m == pytest.approx(width, abs=0.008)
    assert hand.widths_m[0] < 0.005 and (np.diff(hand.widths_m) > 0).all()
    assert hand.posture(hand.share_of(0.04))[joint] == pytest.approx(closed + 0.45 * (opened - closed), abs=0.08)


def test_the_grasp_of_the_franka_hand_is_at_its_tool_frame():
    contract = load_contract("fr3")
    (hand,) = hands_of(contract)
    arm = Kinematics(contract.urdf_path, hand.arm_joints, "fr3_hand", "fr3_link0")
    tool = Kinematics(contract.urdf_path, hand.arm_joints, "fr3_hand_tcp", "fr3_link0")
    posture = np.array([0.3, 0.1, -0.2, -2.0, 0.15, 2.1, 0.6])
    (place, axes), (tool_place, tool_axes) = arm.fk(posture), tool.fk(posture)
    np.testing.assert_allclose(place + axes @ np.array(hand.point), tool_place, atol=0.005)
    np.testing.assert_allclose(axes @ hand.axes, tool_axes, atol=1e-6)


@pytest.mark.parametrize(
    ("name", "count"),
    [("g1", 0), ("ur5e", 0), ("so101", 1), ("aloha", 2), ("g1_dex3", 2), ("g1_inspire", 2), ("d1", 1)],
)
def test_every_hand_is_found_with_its_arm(name, count):
    contract = load_contract(name)
    hands = hands_of(contract)
    assert len(hands) == count
    for hand in hands:
        axes = hand.axes
        np.testing.assert_allclose(axes.T @ axes, np.eye(3), atol=1e-6)
        assert hand.slot.startswith("left") == hand.arm.startswith("left")
        assert hand.opening_m > 0.04 and 0 <= hand.widths_m[0] < 0.02
        signal = next(signal for signal in contract.action if signal.slot == hand.slot)
        assert set(hand.closed) == set(hand.open) == set(signal.commanded)


def reached(name: str) -> None:
    """Every cube of some seeds is grasped by the first hand, which then holds it in the middle and square to its sides."""
    contract = load_contract(name)
    robot = SimRobot.of(contract)
    layout, hand = robot.layout, hands_of(contract)[0]
    assert layout.cube_m < hand.opening_m - 0.01
    names = list(contract.joint_names)
    columns = [names.index(joint) for joint in hand.arm_joints]
    limits = contract.limits.lower[columns], contract.limits.upper[columns]
    arm = Kinematics(contract.urdf_path, hand.arm_joints, hand.link, None, limits)
    axes = np.array(layout.grasp).reshape(3, 3) @ hand.axes.T
    home = np.array(contract.home)[columns]
    starts = [home, *np.random.default_rng(0).uniform(np.maximum(home - 1.5, limits[0]), home + 1.5, (8, len(home)))]
    for seed in range(3):
        for place, yaw in sample_cubes(np.random.default_rng(seed), layout).values():
            place = place + [0.0, 0.0, layout.grasp_height_m - layout.cube_m / 2.0]
            target = place - axes @ np.array(hand.point)
            for found in (arm.solve(target, axes, start) for start in starts):
                if found.position_error_m > 1e-3 or found.rotation_error_rad > 0.03:
                    continue
                robot.place_joints(robot.home | dict(zip(hand.arm_joints, found.positions)) | hand.posture(1.0))
                if not any(contact.other in ("table", "floor") for contact in robot.contacts()):
                    break
            else:
                raise AssertionError(f"{name}: {place} of seed {seed} is out of reach")
            link = robot.data.body(hand.link)
            turn = link.xmat.reshape(3, 3)
            np.testing.assert_allclose(link.xpos + turn @ np.array(hand.point), place, atol=2e-3)
            closing, side = turn @ np.array(hand.closing), np.array([np.cos(yaw), np.sin(yaw), 0.0])
            assert max(abs(closing @ side), abs(closing @ [-side[1], side[0], 0.0])) > np.cos(0.3)
    robot.close()


@pytest.mark.parametrize("name", ["vx300s", "ur5e_2f85"])
def test_cubes_lie_within_reach(name):
    reached(name)


@pytest.mark.slow
@pytest.mark.parametrize(
    "name", ["aloha", "d1", "fr3_inspire", "g1_dex3", "g1_inspire", "gen3", "mobile_ur5e", "so101", "xarm7"]
)
def test_cubes_lie_within_reach_of_every_hand(name):
    reached(name)


def test_same_contract_same_layout():
    contract = load_contract("vx300s")
    assert SimRobot.of(contract).layout == SimRobot.of(contract).layout != Layout()
