"""What the simulated robot takes and refuses, in the contract's names and units."""

from dataclasses import replace

import numpy as np
import pytest
from sensor_msgs.msg import JointState
from std_msgs.msg import Float64MultiArray
from trajectory_msgs.msg import JointTrajectory, JointTrajectoryPoint

from beingh_core.contract import load_contract
from beingh_core.contract.simulation import PLAYED, check_camera, check_simulation
from beingh_core.contract.wire import Wire
from beingh_core.errors import BeingHError
from beingh_core.sim.trajectory_follower import TrajectoryFollower
from beingh_ros.nodes.sim_commands import _READERS, STREAM_NS
from beingh_ros.nodes.sim_drivers import _ADD

# Degrees, and the second joint the other way round.
WIRE = Wire(
    joints=("a", "b"),
    names=("one", "two"),
    factors=(np.pi / 180, -np.pi / 180),
    shifts=(0.0, 0.5),
    counts=frozenset({"unit"}),
)


def _taken(kind, message):
    follower = TrajectoryFollower(("a", "b"), np.zeros(2))
    reason = _READERS[kind][1](WIRE, message, follower, 1)
    return reason, follower.sample(1 + STREAM_NS)


@pytest.mark.parametrize(
    ("kind", "message"),
    [
        (
            "joint_trajectory",
            JointTrajectory(joint_names=["two", "one"], points=[JointTrajectoryPoint(positions=[10.0, 90.0])]),
        ),
        ("forward_command", Float64MultiArray(data=[90.0, 10.0])),
        ("joint_state_command", JointState(name=["two", "one"], position=[10.0, 90.0])),
    ],
)
def test_commands_have_the_contracts_names_and_units(kind, message):
    if kind == "joint_trajectory":
        message.points[0].time_from_start.nanosec = STREAM_NS // 2
    reason, positions = _taken(kind, message)
    assert reason is None
    np.testing.assert_allclose(positions, [np.pi / 2, 0.5 - np.deg2rad(10.0)], atol=1e-12)


def test_a_joint_state_without_a_joint_leaves_it():
    _, positions = _taken("joint_state_command", JointState(name=["one"], position=[90.0]))
    np.testing.assert_allclose(positions, [np.pi / 2, 0.0], atol=1e-12)


@pytest.mark.parametrize(
    ("kind", "message", "what"),
    [
        ("forward_command", Float64MultiArray(data=[1.0]), "1 numbers for 2 joints"),
        ("forward_command", Float64MultiArray(data=[1.0, float("nan")]), "not a number"),
        ("joint_state_command", JointState(name=["three"], position=[1.0]), "no joint three"),
        ("joint_state_command", JointState(), "no positions"),
        ("joint_state_command", JointState(name=["one", "one"], position=[1.0, 2.0]), "more than once"),
        ("joint_trajectory", JointTrajectory(joint_names=["a", "b"]), "doesn't match"),
    ],
)
def test_what_is_no_command_is_dropped_with_its_reason(kind, message, what):
    reason, positions = _taken(kind, message)
    assert what in reason
    assert positions.tolist() == [0.0, 0.0]


@pytest.mark.parametrize(
    "name",
    ["fr3", "fr3_inspire", "ur5e", "aloha", "vx300s", "adam_u", "d1", "so101", "xarm7", "gen3", "fr3_hand", "g1"],
)
def test_these_robots_are_simulated(name):
    check_simulation(load_contract(name))


def test_a_driver_that_is_not_played_is_one_error_before_anything_is_made():
    contract = load_contract("ur5e")
    vendor = replace(contract, drivers=(replace(contract.driver, kind="pose_command"),))
    with pytest.raises(
        BeingHError, match="drivers: .*does not take.*`pose_command`.*joint_trajectory.*start this robot's own"
    ):
        check_simulation(vendor)


def test_a_camera_of_another_encoding_is_one_error():
    camera = load_contract("ur5e").cameras[0]
    with pytest.raises(BeingHError, match="cannot publish bayer_rggb8 on .*rgb8.*mono8"):
        check_camera(replace(camera, encoding="bayer_rggb8"))


def test_what_the_contract_may_send_is_what_is_read():
    assert sorted(_ADD) == list(PLAYED) and set(_READERS) < set(PLAYED)
