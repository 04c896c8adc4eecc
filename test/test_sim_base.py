"""The simulated base: velocities within limits, a stop when they cease, odometry; commanded over DDS in simulated time."""

from dataclasses import replace
from types import MappingProxyType

import numpy as np
import pytest
from driver_support import two_nodes
from interface_builder import provide
from ros_support import Recorder, in_executor, wait_until

pytest.importorskip("mujoco")
from geometry_msgs.msg import Twist, TwistStamped

from beingh_core.contract import load_contract
from beingh_core.contract.simulation import ODOMETRY, check_simulation
from beingh_core.errors import BeingHError
from beingh_core.sim import SimRobot
from beingh_core.sim.planar_base import TIMEOUT_NS, BaseFollower
from beingh_ros.messages.state_messages import message_type
from beingh_ros.nodes.sim_base import odometries
from beingh_ros.nodes.sim_drivers import SimDrivers

STEP_NS, STEP_S = 10_000_000, 0.01
LIMITS = {"linear.x": (-0.2, 0.3, 0.5), "angular.z": (-0.6, 0.6, 1.0)}


@pytest.fixture(scope="module")
def contract():
    provide("control_msgs")
    provide("nav_msgs")
    return load_contract("mobile_ur5e")


def driven(follower, seconds, wanted=None, start_ns=0):
    """Velocities (T, 3) of a time in which a velocity is repeated at 20 Hz, or nothing comes."""
    found = []
    for step in range(round(seconds / STEP_S)):
        now_ns = start_ns + step * STEP_NS
        if wanted is not None and step % 5 == 0:
            assert follower.accept(np.array(wanted), now_ns) is None
        follower.advance(now_ns, STEP_S)
        found.append(follower.velocity)
    return np.array(found)


def test_a_base_keeps_its_limits_and_stops_when_nothing_comes():
    follower = BaseFollower(LIMITS)
    moving = driven(follower, 3.0, [9.0, 9.0, -9.0])
    assert moving[-1].tolist() == pytest.approx([0.3, 0.0, -0.6]), "its fastest, and not sideways"
    silent = driven(follower, 2.0, start_ns=3 * 10**9)
    assert silent[0].tolist() == pytest.approx([0.3, 0.0, -0.6]) and silent[-1].tolist() == [0.0, 0.0, 0.0]
    still_s = STEP_S * np.flatnonzero(np.abs(silent).max(axis=1) == 0.0)[0]
    assert still_s == pytest.approx(TIMEOUT_NS / 1e9 - 0.04 + 0.3 / 0.5, abs=0.03)
    change = np.abs(np.diff(np.vstack([np.zeros(3), moving, silent]), axis=0)) / STEP_S
    assert (change <= np.array([0.5, 0.0, 1.0]) + 1e-9).all()


def test_it_goes_where_its_velocities_lead():
    follower = BaseFollower({"linear.x": (-1.0, 1.0, 1e6), "angular.z": (-1.0, 1.0, 1e6)})
    driven(follower, np.pi, [0.5, 0.0, 1.0])  # half a circle of radius 0.5 to the left
    assert follower.pose.tolist() == pytest.approx([0.0, 1.0, np.pi], abs=0.01)
    assert follower.accept(np.array([np.nan, 0.0, 0.0]), 0) == "a velocity that is not a number"


@pytest.mark.parametrize("stamped", [False, True])
def test_a_twist_moves_the_robot_and_its_odometry_while_the_table_stays(contract, stamped):
    *others, base = contract.drivers
    base = replace(base, options=MappingProxyType({**base.options, "stamped": stamped}))
    contract = replace(contract, drivers=(*others, base))
    with two_nodes() as (server, client):
        told, robot, now_ns = [], SimRobot.of(contract), 0
        drivers = SimDrivers(server, contract, robot, told.append)
        (publish,) = odometries(server, contract, robot)
        odometry = Recorder(client, message_type(ODOMETRY), "odom")
        publisher = client.create_publisher(TwistStamped if stamped else Twist, "cmd_vel", 10)
        wait_until(publisher.get_subscription_count, what="the base")
        cubes = {colour: place.copy() for colour, (place, _) in robot.objects().items()}
        arm, speeds = robot.positions(), []
        for step in range(250):
            if step % 10 == 0 and step < 100:
                message = Twist()
                message.linear.x = -0.2  # away from the table
                publisher.publish(TwistStamped(twist=message) if stamped else message)
                wait_until(lambda: drivers._inbox, what="a twist")
            drivers.take(now_ns)
            drivers.drive(now_ns, STEP_S)
            robot.step(STEP_S, drivers.references(now_ns + STEP_NS))
            now_ns += STEP_NS
            speeds.append(robot.base()[1])
        wait_until(lambda: publish(now_ns) or odometry.messages, what="odometry")
        in_executor(server, drivers.destroy)
    speeds, pose = np.array(speeds), robot.base()[0]
    assert speeds[:, 0].min() == pytest.approx(-0.2, abs=0.01) and np.abs(speeds[-20:]).max() < 1e-3
    # 0.4 s up, constant until 0.5 s after the last twist, 0.4 s down
    assert pose.tolist() == pytest.approx([-0.2 * (0.9 + TIMEOUT_NS / 1e9), 0.0, 0.0], abs=0.02)
    message = odometry.messages[-1]
    assert (message.header.frame_id, message.child_frame_id) == ("odom", "base_footprint")
    assert message.pose.pose.position.x == pytest.approx(pose[0]) and message.twist.twist.linear.x > -1e-3
    after = robot.positions()
    assert max(abs(after[joint] - arm[joint]) for joint in contract.drivers[0].joints) < 0.02, "the arm is held"
    for colour, (place, _) in robot.objects().items():
        np.testing.assert_allclose(place, cubes[colour] - [pose[0], 0.0, 0.0], atol=1e-3)  # as seen from the robot
    assert told == [] and "base:x" not in robot.joint_state()[0]


def test_a_reset_puts_it_back(contract):
    robot = SimRobot.of(contract)
    robot.drive(np.array([-0.1, 0.0, 0.1]))
    for _ in range(50):
        robot.step(STEP_S, robot.positions())
    assert robot.base()[0].tolist() == pytest.approx([-0.1, 0.0, 0.1], abs=0.01)
    place, quaternion = robot.objects()["red"]
    cube, (x, y, yaw) = robot.data.body("cube_red"), robot.base()[0]
    cos, sin = np.cos(yaw), np.sin(yaw)
    seen = np.array([[cos, sin, 0.0], [-sin, cos, 0.0], [0.0, 0.0, 1.0]]) @ (cube.xpos - [x, y, 0.0])
    np.testing.assert_allclose(place, seen, atol=1e-9)
    turned = lambda w, i, j, k: np.arctan2(2 * (w * k + i * j), 1 - 2 * (j * j + k * k))
    assert turned(*quaternion) == pytest.approx(turned(*cube.xquat) - yaw, abs=1e-3)
    robot.reset(0)
    robot.step(STEP_S, robot.positions())
    assert robot.base()[0].tolist() == pytest.approx([0.0, 0.0, 0.0], abs=1e-3)


def test_a_base_that_flies_is_refused(contract):
    *others, base = contract.drivers
    options = MappingProxyType({**base.options, "axes": ("linear.x", "linear.z")})
    with pytest.raises(BeingHError, match="no `linear.z`.*angular.z"):
        check_simulation(replace(contract, drivers=(*others, replace(base, options=options))))


def test_a_simulator_that_is_behind_takes_commands_at_the_times_at_which_they_came(contract):
    with two_nodes() as (server, client):
        came_ns = iter([100, 200, 300])
        robot, told = SimRobot.of(contract), []
        drivers = SimDrivers(server, contract, robot, told.append, lambda: next(came_ns))
        publisher = client.create_publisher(Twist, "cmd_vel", 10)
        wait_until(publisher.get_subscription_count, what="the base")
        for speed in (-0.1, -0.2, -0.3):
            message = Twist()
            message.linear.x = speed
            publisher.publish(message)
        wait_until(lambda: len(drivers._inbox) == 3, what="all of them")
        wanted = []
        for now_ns in (50, 150, 350):
            drivers.take(now_ns)
            wanted.append(drivers._base._wanted[0])
        in_executor(server, drivers.destroy)
    assert wanted == pytest.approx([0.0, -0.1, -0.3])
