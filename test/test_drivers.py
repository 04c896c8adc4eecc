"""Drivers that publish: what a controller on the other side of DDS receives."""

import numpy as np
import pytest
from driver_support import ARM, ARM_DRIVER, BASE, FINGER, HAND_DRIVER, T0_NS, contract_with, setpoints, two_nodes
from geometry_msgs.msg import Twist, TwistStamped
from hypothesis import given, settings
from hypothesis import strategies as st
from ros_support import Recorder, wait_until
from sensor_msgs.msg import JointState
from std_msgs.msg import Float64MultiArray
from trajectory_msgs.msg import JointTrajectory

from beingh_core.contract import load_contract
from beingh_core.contract.wire import plain
from beingh_core.control.commander import Commander
from beingh_core.control.driver import Driver, stop_drivers
from beingh_core.control.setpoints import Setpoints, sample_to_rest
from beingh_core.control.tick_output import TickOutput
from beingh_core.control.timing import SteadyTime
from beingh_core.errors import BeingHError
from beingh_ros.drivers import DRIVERS, make_drivers
from beingh_ros.drivers.trajectories import trajectory_of
from beingh_ros.messages.conversions import read_trajectory, stamp_to_ns

ROWS = np.array([[0.1, -0.2, 0.3, -1.0, 0.5, 2.0, 0.7, 0.01], [0.12, -0.18, 0.31, -1.1, 0.52, 2.1, 0.72, 0.02]])
SLOPES = np.full((2, 8), 0.4)


def ready(*publishers_of):
    """Wait until the drivers' publishers have their subscribers."""
    for driver in publishers_of:
        for publisher, *_ in driver._groups:
            wait_until(lambda p=publisher: p.get_subscription_count() > 0, what=publisher.topic_name)


def at_once(driver):
    """Let a driver play its braking path without waiting; returns the times it would have waited for."""
    times = []
    driver.wait_until = times.append
    return times


# The rules of joint_trajectory_controller, as shared facts about Humble 2.54 and Jazzy 4.42 state them.


def refusal(message: JointTrajectory, joints, *, nonzero_end: bool) -> str | None:
    """Why the controller would drop a message silently, None when it takes it."""
    if not message.joint_names or not message.points:
        return "empty"
    if sorted(message.joint_names) != sorted(joints):
        return "joints"
    times = [stamp_to_ns(point.time_from_start) for point in message.points]
    if any(np.diff(times) <= 0):
        return "times do not rise"
    if times[0] <= 0:
        return "a point at 0 is a step"
    for point in message.points:
        fields = (point.positions, point.velocities, point.accelerations, point.effort)
        if len(point.positions) != len(joints) or any(len(f) not in (0, len(joints)) for f in fields):
            return "field length"
        if len(point.effort):
            return "effort"
    if len({len(point.velocities) for point in message.points}) > 1:
        return "points differ in their fields"
    if not nonzero_end and any(abs(v) > 1e-9 for v in message.points[-1].velocities):
        return "last velocity"
    return None


FINITE = st.floats(-3, 3)


@settings(max_examples=300, deadline=None)
@given(st.integers(1, 5), st.booleans(), st.lists(st.floats(-0.1, 0.3), min_size=5, max_size=5), st.data())
def test_humble_and_jazzy_take_every_trajectory(rows, velocities, times_s, data):
    values = np.array(data.draw(st.lists(FINITE, min_size=4 * rows, max_size=4 * rows))).reshape(rows, 4)
    points = setpoints(values[:, :2], values[:, 2:], times_s=times_s[:rows])
    message = trajectory_of(plain(("a", "b")), points, velocities=velocities)
    for nonzero_end in (True, False):
        assert refusal(message, ("a", "b"), nonzero_end=nonzero_end) is None
    assert message.points[-1].positions.tolist() in values[:, :2].tolist()
    sent = [stamp_to_ns(p.time_from_start) for p in message.points]
    due = [t for t in np.round(np.array(times_s[:rows]) * 1e9) if t > 0]
    assert not due or set(sent) <= set(due)


def test_the_rules_of_the_controller_find_what_is_wrong():
    message = trajectory_of(plain(("a", "b")), setpoints([[1, 2], [3, 4]], [[1, 1], [1, 1]]), velocities=True)
    message.points[-1].velocities = [0.1, 0.0]
    assert refusal(message, ("a", "b"), nonzero_end=False) == "last velocity"
    assert refusal(message, ("a", "b"), nonzero_end=True) is None
    message.points.reverse()
    assert refusal(message, ("a", "b"), nonzero_end=True) == "times do not rise"


def test_joint_trajectory_sends_every_committed_tick_by_group(tmp_path):
    contract = contract_with(tmp_path, ARM_DRIVER | {"velocities": True}, HAND_DRIVER)
    with two_nodes() as (observer, owner):
        arm = Recorder(observer, JointTrajectory, "/arm/joint_trajectory")
        hand = Recorder(observer, JointTrajectory, "/hand/joint_trajectory")
        drivers = make_drivers(owner, contract)
        ready(*drivers)
        for driver in drivers:
            assert driver.command_rate_hz is None and driver.problem() is None
            driver.send(setpoints(ROWS, SLOPES))
        (message,) = arm.wait_for(1)
        assert list(message.joint_names) == ARM and stamp_to_ns(message.header.stamp) == T0_NS
        assert [p.positions.tolist() for p in message.points] == ROWS[:, :7].tolist()
        assert [p.velocities.tolist() for p in message.points] == [[0.4] * 7, [0.0] * 7]
        assert [stamp_to_ns(p.time_from_start) for p in message.points] == [50_000_000, 100_000_000]
        (message,) = hand.wait_for(1)
        assert list(message.joint_names) == [FINGER] and [p.positions.tolist() for p in message.points] == [
            [0.01],
            [0.02],
        ]
        assert [len(p.velocities) for p in message.points] == [0, 0]  # positions only, by default


def test_a_single_committed_tick_goes_without_velocity():
    """A last velocity of 0 at every tick would make the robot stop at every tick."""
    message = trajectory_of(plain(("a",)), setpoints([[1.0]], [[0.5]]), velocities=True)
    assert len(message.points) == 1 and not len(message.points[0].velocities)


def test_elapsed_rows_are_left_out_and_the_last_one_never():
    message = trajectory_of(
        plain(("a",)), setpoints([[1], [2], [3], [4]], times_s=[-0.05, 0.0, 0.05, 0.1]), velocities=False
    )
    assert [p.positions.tolist() for p in message.points] == [[3.0], [4.0]]
    message = trajectory_of(plain(("a",)), setpoints([[1], [2]], times_s=[-0.1, -0.05]), velocities=True)
    assert [p.positions.tolist() for p in message.points] == [[2.0]]
    assert stamp_to_ns(message.points[0].time_from_start) > 0


def test_joint_trajectory_stops_with_the_whole_path_to_rest(tmp_path):
    contract = contract_with(tmp_path, ARM_DRIVER | {"velocities": True}, HAND_DRIVER)
    path = np.vstack([ROWS, ROWS[1:] + 0.01, ROWS[1:] + 0.013])
    with two_nodes() as (observer, owner):
        arm = Recorder(observer, JointTrajectory, "/arm/joint_trajectory")
        drivers = make_drivers(owner, contract)
        ready(drivers[0])
        drivers[0].send(setpoints(ROWS, SLOPES))
        assert stop_drivers(drivers, setpoints(path, np.full((4, 8), 0.3), stamp_ns=T0_NS + 50_000_000)) == []
        _, last = arm.wait_for(2)
        np.testing.assert_array_equal(read_trajectory(last).positions, path[:, :7])
        assert last.points[-1].velocities.tolist() == [0.0] * 7 and stamp_to_ns(last.header.stamp) == T0_NS + 50_000_000


def forward(topic, joints, rate_hz=250.0):
    return {"kind": "forward_command", "topic": topic, "joints": joints, "rate_hz": rate_hz}


def test_forward_command_sends_positions_in_the_order_of_the_contract(tmp_path):
    shuffled = [ARM[i] for i in (3, 0, 6, 1, 5, 2, 4)]
    contract = contract_with(tmp_path, HAND_DRIVER, forward("/forward/commands", shuffled))
    with two_nodes() as (observer, owner):
        received = Recorder(observer, Float64MultiArray, "/forward/commands")
        driver = make_drivers(owner, contract)[1]
        ready(driver)
        assert driver.command_rate_hz == 250.0 and contract.joint_names == (FINGER, *shuffled)
        row = np.arange(8) / 10
        driver.send(setpoints(row, times_s=[0.0]))
        (message,) = received.wait_for(1)
        assert message.data.tolist() == row[1:].tolist()


def moving(contract, speed=0.4, rate_hz=20.0, steps=6):
    """A path at constant speed in every column that brakes evenly to rest, its velocities, and its last row."""
    speeds = speed * (1 - np.arange(1, steps + 1) / steps)
    rows = np.cumsum((speeds + np.concatenate([[speed], speeds[:-1]])) / 2 / rate_hz)
    width = len(contract.joint_names)
    return np.repeat(rows[:, None], width, 1), np.repeat(speeds[:, None], width, 1)


def test_a_streamed_stop_follows_the_braking_path_at_its_rate_and_ends_at_rest(tmp_path):
    contract = contract_with(tmp_path, forward("/arm/commands", ARM), HAND_DRIVER)
    rows, slopes = moving(contract)
    with two_nodes() as (observer, owner):
        received = Recorder(observer, Float64MultiArray, "/arm/commands")
        driver = make_drivers(owner, contract)[0]
        ready(driver)
        waits = []

        def one_by_one(time_s):
            """No waiting, but no command overtakes the recorder either."""
            waits.append(time_s)
            received.wait_for(len(waits))

        driver.wait_until = one_by_one
        driver.send(setpoints(np.zeros(8), np.full(8, 0.4), times_s=[0.0]))
        driver.stop(setpoints(rows, slopes))
        messages = received.wait_for(1 + 75)  # 0.3 s at 250 Hz
        values = np.array([m.data for m in messages])[:, 0]
        assert len(waits) == 75
        np.testing.assert_allclose(np.diff(waits), 1 / 250, atol=1e-9)
        assert values[-1] == rows[-1, 0], "the last command is the posture at rest, exactly"
        np.testing.assert_allclose(values[[25, 50, 75]], rows[[1, 3, 5], 0], atol=1e-12)  # every 0.1 s
        speed = np.diff(values) * 250
        assert np.abs(np.diff(speed)).max() * 250 < 3 * 0.4 / 0.3, "no step in velocity"
        assert abs(speed[0] - 0.4) < 0.02 and 0 <= speed[-1] < 0.02


@pytest.mark.parametrize("rate_hz", [20.0, 33.0, 250.0])
def test_sampling_a_path_goes_through_its_rows_and_is_smooth(rate_hz):
    times_s = np.arange(1, 9) * 0.05
    positions = np.stack([1 - np.cos(times_s * 3), times_s**2], 1)
    velocities = np.stack([3 * np.sin(times_s * 3), 2 * times_s], 1)
    path = sample_to_rest(setpoints(positions, velocities), rate_hz)
    exact = np.stack([1 - np.cos(path.times_s * 3), path.times_s**2], 1)
    inside = path.times_s <= times_s[-2]  # the last interval brakes to 0
    np.testing.assert_allclose(path.positions[inside], exact[inside], atol=2e-5)
    assert path.positions[-1].tolist() == positions[-1].tolist() and path.velocities[-1].tolist() == [0.0, 0.0]
    np.testing.assert_allclose(np.diff(path.times_s), 1 / rate_hz)
    braking = sample_to_rest(setpoints(positions, velocities), 1000.0).velocities
    assert np.abs(braking[-2]).max() < 0.3 < np.abs(velocities[-1]).min(), (
        "it comes to rest, whatever slope the last row has"
    )


def test_what_was_sent_before_is_where_a_path_begins():
    before = setpoints([[0.0]], [[1.0]], times_s=[0.0])
    path = sample_to_rest(setpoints([[0.04], [0.05]], [[0.5], [0.0]]), 100.0, before)
    assert path.times_s[0] == pytest.approx(0.01) and 0 < path.positions[0, 0] < 0.011
    late = setpoints([[0.05]], [[0.0]], stamp_ns=T0_NS + 1_000_000_000, times_s=[0.0])
    path = sample_to_rest(setpoints([[0.04], [0.05]]), 100.0, late)
    assert path.positions.tolist() == [[0.05]], "rows that are over are not gone back to"


@pytest.mark.parametrize("velocities", [False, True])
def test_joint_state_command(tmp_path, velocities):
    driver = {"kind": "joint_state_command", "topic": "/follower/command", "joints": [*ARM, FINGER], "rate_hz": 30.0}
    contract = contract_with(tmp_path, driver | {"velocities": velocities})
    with two_nodes() as (observer, owner):
        received = Recorder(observer, JointState, "/follower/command")
        (driver,) = make_drivers(owner, contract)
        ready(driver)
        assert driver.command_rate_hz == 30.0
        driver.send(setpoints(ROWS[0], SLOPES[0], times_s=[0.0]))
        (message,) = received.wait_for(1)
        assert list(message.name) == [*ARM, FINGER] and message.position.tolist() == ROWS[0].tolist()
        assert message.velocity.tolist() == ([0.4] * 8 if velocities else []) and not len(message.effort)
        assert stamp_to_ns(message.header.stamp) == T0_NS
        at_once(driver)
        driver.stop(setpoints(ROWS))
        last = wait_until(
            lambda: received.messages[-1] if received.messages[-1].position.tolist() == ROWS[1].tolist() else None
        )
        assert stamp_to_ns(last.header.stamp) == T0_NS + 100_000_000


def twist(**options):
    axes = ["linear.x", "linear.y", "angular.z"]
    return {"kind": "twist_base", "topic": "/cmd_vel", "joints": BASE, "axes": axes, "rate_hz": 20.0} | options


def test_a_base_gets_its_velocities_as_twist_and_zeros_at_the_end(tmp_path):
    contract = contract_with(tmp_path, twist(zero_s=0.5), ARM_DRIVER, HAND_DRIVER, base=True)
    assert contract.joint_names == (*ARM, FINGER, *BASE), "velocities come last, wherever the driver stands"
    assert contract.limits.is_velocity.tolist() == [False] * 8 + [True] * 3 and contract.home[8:] == (0.0, 0.0, 0.0)
    with two_nodes() as (observer, owner):
        received = Recorder(observer, Twist, "/cmd_vel")
        driver = make_drivers(owner, contract)[0]
        ready(driver)
        row = [*ROWS[0], 0.3, -0.1, 0.6]
        driver.send(setpoints(row, times_s=[0.0]))
        (message,) = received.wait_for(1)
        assert (message.linear.x, message.linear.y, message.angular.z) == (0.3, -0.1, 0.6)
        assert (message.linear.z, message.angular.x, message.angular.y) == (0.0, 0.0, 0.0)
        driver.send(setpoints([*ROWS[0], 0.0, 0.0, 0.0], times_s=[0.0], stamp_ns=T0_NS + 50_000_000))
        assert received.wait_for(2)[1] == Twist(), "a hold is zero, sent like any other command"
        driver.send(setpoints(row, times_s=[0.0], stamp_ns=T0_NS + 100_000_000))
        received.wait_for(3)
        waits = []
        driver.wait_until = lambda time_s: (waits.append(time_s), received.wait_for(2 + len(waits)))
        brake = np.array([[*ROWS[0], *(share * np.array(row[8:]))] for share in (2 / 3, 1 / 3, 0.0)])
        driver.stop(setpoints(brake, stamp_ns=T0_NS + 100_000_000))
        last = received.wait_for(3 + len(waits))
        np.testing.assert_allclose(np.diff(waits), 0.05, atol=1e-9)
        forward = [message.linear.x for message in last[2:]]
        np.testing.assert_allclose(forward[:4], [0.3, 0.2, 0.1, 0.0], atol=1e-12)
        assert len(waits) == 3 + 10 and all(message == Twist() for message in last[5:])


def test_a_stamped_twist_has_stamp_and_frame(tmp_path):
    contract = contract_with(
        tmp_path, ARM_DRIVER, HAND_DRIVER, twist(stamped=True, frame_id="base_footprint"), base=True
    )
    with two_nodes() as (observer, owner):
        received = Recorder(observer, TwistStamped, "/cmd_vel")
        driver = make_drivers(owner, contract)[2]
        ready(driver)
        driver.send(setpoints([*ROWS[0], 0.3, -0.1, 0.6], times_s=[0.0]))
        (message,) = received.wait_for(1)
        assert message.header.frame_id == "base_footprint" and stamp_to_ns(message.header.stamp) == T0_NS
        assert message.twist.angular.z == 0.6


def test_streams_stop_side_by_side_and_one_failure_stops_no_other(tmp_path):
    class Broken(Driver):
        def stop(self, points):
            raise RuntimeError("cable")

    contract = contract_with(tmp_path, forward("/arm/commands", ARM), HAND_DRIVER)
    with two_nodes() as (observer, owner):
        received = Recorder(observer, Float64MultiArray, "/arm/commands")
        drivers = make_drivers(owner, contract)
        ready(drivers[0])
        errors = stop_drivers([Broken(), *drivers], setpoints(ROWS))
        assert errors == ["Broken: cable"]
        wait_until(lambda: received.messages and received.messages[-1].data.tolist() == ROWS[1, :7].tolist())


def test_every_kind_of_the_contract_has_a_driver():
    from beingh_core.contract.driver_options import DRIVER_KINDS

    assert set(DRIVERS) == set(DRIVER_KINDS)


def test_the_shipped_robot_commands_the_same_as_before():
    contract = load_contract("fr3")
    assert [driver.kind for driver in contract.drivers] == ["joint_trajectory"]
    assert contract.driver.options == {"velocities": False}


MISTAKES = {
    "unknown key": (forward("/f", ARM) | {"rate": 20}, "did you mean `rate_hz`"),
    "no rate": ({"kind": "forward_command", "topic": "/f", "joints": ARM}, "`rate_hz` is missing"),
    "topic for an action": ({"kind": "follow_joint_trajectory", "topic": "/f", "joints": ARM}, "write `action:` in place of `topic:`"),
    "gripper with many joints": (
        {"kind": "gripper_command", "action": "/g", "joints": ARM, "min_change": 0.1, "max_effort": 1.0}, "7 joints are given",
    ),
    "flag as text": (ARM_DRIVER | {"velocities": "yes"}, "write `true` or `false`"),
    "base of arm joints": (twist(joints=ARM[:3]), "`fr3_joint1` is a joint of the URDF"),
    "unknown axis": (twist(axes=["x", "y", "yaw"]), "there is no axis `x`"),
    "too few axes": (twist(axes=["linear.x"]), "1 axes for 3 joints"),
    "base without action": (twist(), "`base_x` is sent, but no action commands it"),
    "negative gain": (
        {"kind": "unitree_g1_arm_sdk", "topic": "/arm_sdk", "joints": ARM, "kp": {"fr3_joint1": -1.0}}, "kp.fr3_joint1: -1 is out of range",
    ),
    "conversion of an arm joint": (
        {"kind": "gripper_command", "action": "/g", "joints": ARM[:1], "min_change": 0.1, "max_effort": 1.0,
         "closed_command": 0.0, "open_command": 1.0}, "is no gripper action",
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", MISTAKES)
def test_a_mistake_in_a_driver_is_one_error(name, tmp_path):
    driver, text = MISTAKES[name]
    rest = [joint for joint in ARM if joint not in driver["joints"]]
    others = [ARM_DRIVER | {"joints": rest}] if rest else []
    with pytest.raises(BeingHError) as caught:
        contract_with(tmp_path, *others, HAND_DRIVER, driver)
    assert text in str(caught.value) and "robot.yaml:" in str(caught.value)


def test_what_is_commanded_between_the_ticks_is_braked_where_no_tick_is_left():
    """After a hold-up the node may end before the first tick of its new epoch."""
    contract = load_contract("ur5e")
    columns, period_ns = len(contract.joint_names), round(1e9 * contract.dt_s)

    class Stream(Driver):
        command_rate_hz = 200.0

        def __init__(self):
            self.sent, self.last = [], None

        def send(self, points):
            self.sent.append(points.positions[-1].copy())

        def stop(self, points):
            self.last = points

    stream, time_ = Stream(), SteadyTime()
    commander = Commander(contract, [stream], pytest.fail)
    assert not commander.come_to_rest()
    commander.start(time_, pytest.fail)
    rows = np.zeros((3, columns))
    rows[:, 0] = [0.02, 0.04, 0.06]
    slopes = np.zeros_like(rows)
    slopes[:, 0] = 0.02 / contract.dt_s
    stamp_ns = time_.now_ns()
    points, plan = (
        Setpoints.by_tick(at_ns, contract.dt_s, rows, slopes, "0@1") for at_ns in (stamp_ns, stamp_ns + period_ns)
    )
    commander.send(TickOutput(before=np.zeros(columns), points=points, plan=plan, fresh=True))
    wait_until(lambda: stream.sent and stream.sent[-1][0] > 0.01, what="a setpoint in motion")
    assert commander.end() and commander.come_to_rest()
    path = stream.last.positions[:, 0]
    assert path[0] >= stream.sent[-1][0] and (np.diff(path) >= -1e-9).all()
    assert stream.last.velocities[-1, 0] == 0.0
