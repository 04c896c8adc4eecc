"""What decides whether a controller may start and go on: joint states that cannot be true, and who says what."""

import math
from dataclasses import replace

import numpy as np
import pytest
import yaml
from control_support import DT_NS, FR3, HOME, NOW, Robot, measure_at_rest
from ros_support import ROOT
from start_support import controller

from beingh_core.contract import load_contract
from beingh_core.control.joint_continuity import MEMORY_NS
from beingh_core.control.joint_sources import MEMORY_S, JointSources
from beingh_core.control.measured_joints import start_position
from beingh_core.control.stop_causes import (
    JOINT_STATES_INVALID,
    RUNNING,
    STOPPED,
    WAITING,
)
from beingh_core.control.subscribers import Subscribed, SubscriberWatch
from beingh_core.control.tracking import TrackingWatch
from beingh_core.errors import BeingHError

ARM_ZEROS = HOME | {name: 0.0 for name in FR3.joint_names[:7] if name not in ("fr3_joint4", "fr3_joint6")}
AWAY = HOME | {"fr3_joint1": 0.6, "fr3_joint3": -0.4}
RESTS = dict.fromkeys(HOME, 0.0)


@pytest.mark.parametrize("other", [ARM_ZEROS, AWAY | {"fr3_joint1": 0.45}])
@pytest.mark.parametrize("velocities", [None, RESTS])
@pytest.mark.parametrize("every", [1, 3, 50])
def test_two_postures_start_nothing_whatever_their_velocities_say(other, velocities, every):
    waiting, reasons = controller(publishers=lambda: "/driver, /sliders"), set()
    for k in range(300):
        waiting.joint_state(NOW + k * 20_000_000, AWAY, RESTS)
        if k % every == 0:
            waiting.joint_state(NOW + k * 20_000_000 + 3_000_000, other, velocities)
        reasons.add(waiting.status.reason)
        assert waiting.status.state == WAITING
    assert any("contradict each other" in reason and "/driver, /sliders" in reason for reason in reasons)
    assert len(reasons) < 12, "no new reason with every message"


def test_a_start_is_possible_when_the_second_source_has_gone():
    waiting = controller()
    for k in range(10):
        waiting.joint_state(NOW + k * DT_NS, AWAY if k % 2 else ARM_ZEROS)
    with pytest.raises(BeingHError, match="contradict"):
        waiting.reset(NOW + 10 * DT_NS)
    now_ns = measure_at_rest(waiting, NOW + 10 * DT_NS, AWAY)
    assert waiting.status.state == WAITING, "it may come back"
    measure_at_rest(waiting, now_ns + MEMORY_NS, AWAY)
    assert waiting.status.state == RUNNING


def test_a_robot_that_was_put_elsewhere_while_waiting_starts_there():
    waiting = controller()
    for k in range(4):
        waiting.joint_state(NOW + k * DT_NS, AWAY, RESTS)
    measure_at_rest(waiting, NOW + 4 * DT_NS, HOME)
    assert waiting.status.state == RUNNING


@pytest.mark.parametrize("joint", ["fr3_joint2", "fr3_finger_joint1"])
def test_a_second_source_that_joins_stops_a_robot_that_runs(joint):
    robot = Robot()
    robot.run(10)
    away = 0.0 if joint == "fr3_finger_joint1" else HOME[joint] - 0.5
    robot.controller.joint_state(robot.now_ns + 5_000_000, {joint: away})
    assert robot.controller.status.state == RUNNING, "one sample may be the robot's jump"
    robot.controller.joint_state(robot.now_ns + 10_000_000, {joint: HOME[joint]})
    status = robot.controller.status
    assert status.cause == JOINT_STATES_INVALID and joint in status.reason and "and back" in status.reason
    robot.run(20)
    assert robot.controller.status.state == STOPPED
    with pytest.raises(BeingHError, match="contradict"):
        robot.controller.reset(robot.now_ns)


def test_a_jump_that_no_tracking_watches_stops_it_too():
    robot = Robot()
    robot.run(5)
    for k in range(30):
        now_ns = robot.now_ns + k * 20_000_000
        robot.controller.joint_state(now_ns, robot.measured | ({"fr3_finger_joint1": 0.0} if k > 3 else {}))
        if now_ns + 20_000_000 > (robot.controller.next_tick_ns() or 2**63):
            robot.controller.tick(robot.controller.next_tick_ns())
    status = robot.controller.status
    assert status.cause == JOINT_STATES_INVALID and "fr3_finger_joint1 went from 0.04 to 0 within" in status.reason


def test_alternating_good_and_bad_samples_are_bad():
    for pattern in ((1, 0), (1, 1, 0), (1, 0, 0)):
        watch, home = TrackingWatch(FR3), np.array(FR3.home)
        watch.begin(home)
        away = home + np.array([0.25, 0, 0, 0, 0, 0, 0, 0])
        told = next(
            k
            for k in range(100)
            if watch.problem(NOW + k * 10**7, NOW, away if pattern[k % len(pattern)] else home) is not None
        )
        assert told * 0.01 <= FR3.watchdog.tracking_time_s + 0.03
    watch.begin(home)
    for k in range(300):  # a stroke of 50 ms out of order, then as long as it may take in order
        away_now = k % 20 < 5
        assert watch.problem(NOW + k * 10**7, NOW, away if away_now else home) is None


def test_a_reported_rest_covers_the_noise_of_a_sensor_and_no_more():
    for swing, state in ((0.018, RUNNING), (0.05, WAITING)):
        waiting = controller()
        for k in range(12):
            waiting.joint_state(NOW + k * DT_NS, HOME | {"fr3_joint2": HOME["fr3_joint2"] + swing * (k % 2)}, RESTS)
        assert waiting.status.state == state


def test_the_numbers_of_one_publisher_rise_and_those_of_two_fall_again_and_again():
    arm, hand = FR3.joint_names[:7], FR3.joint_names[7:]
    alone = JointSources(FR3.joint_names)
    for k in range(100):
        alone.received("/joint_states", arm, 500 + 2 * k, 0.02 * k)
        alone.received("/joint_states", hand, 3 + k, 0.02 * k)  # the gripper's driver
        alone.received("/joint_states", ["somebody_elses"], 100 - k, 0.02 * k)
        alone.received("/other", arm, None, 0.02 * k)
    assert alone.doubled(2.0) == {}
    alone.received("/joint_states", arm, 1, 2.1)  # started anew
    assert alone.doubled(2.2) == {}
    for number in (700, 2):
        alone.received("/joint_states", arm, number, 2.3)
    found = alone.doubled(2.4)
    assert list(found) == ["/joint_states"] and set(found["/joint_states"]) == set(arm)
    assert alone.doubled(2.1 + MEMORY_S + 0.1) == {}
    alone.forget("/joint_states")
    assert alone.doubled(2.4) == {}


def test_rivals_stop_and_doubled_joints_only_keep_from_a_start():
    subscribers = SubscriberWatch(0.0)
    assert subscribers.look(9.0, {"/a": 1}, None, "a rival", "two") == Subscribed("a rival", lost=True)
    assert subscribers.look(9.0, {"/a": 1}, None, "", "two") == Subscribed("two")
    assert subscribers.look(9.0, {"/a": 1}, None) == Subscribed()


def test_samples_of_which_every_second_is_not_a_number_never_rest():
    robot = controller()
    for step in range(200):
        now_ns = NOW + step * 20_000_000
        joints = dict(HOME) if step % 2 else dict.fromkeys(HOME, math.nan)
        robot.joint_state(now_ns, joints, dict.fromkeys(HOME, 0.0))
        assert robot.status.state == WAITING


def contract_with(tmp_path, **keys):
    document = yaml.safe_load((ROOT / "config" / "robots" / "fr3.yaml").read_text()) | keys
    path = tmp_path / "robot.yaml"
    path.write_text(yaml.safe_dump(document, sort_keys=False))
    return load_contract(path)


def test_a_start_outside_the_limits_says_how_far_and_what_to_do():
    row = np.array(FR3.home)
    row[1], row[4] = FR3.limits.lower[1] - 0.02, FR3.limits.upper[4] + 0.05
    start, problem = start_position(FR3, row)
    assert "fr3_joint5" in problem and "0.05 outside" in problem and "1 more" in problem and "move it back" in problem
    row[4] = FR3.home[4]
    assert "fr3_joint2" in start_position(FR3, row)[1]
    row[1] = FR3.limits.lower[1] - 0.009
    start, problem = start_position(FR3, row)
    assert not problem and start[1] == FR3.limits.lower[1]


def test_the_tolerance_stands_in_the_contract(tmp_path):
    assert FR3.start_tolerance == (0.01,) * 8
    assert contract_with(tmp_path, start_tolerance=0.03).start_tolerance == (0.03,) * 8
    contract = contract_with(tmp_path, start_tolerance={"fr3_joint2": 0.05, "fr3_finger_joint1": 0.0})
    assert contract.start_tolerance == (0.01, 0.05, 0.01, 0.01, 0.01, 0.01, 0.01, 0.0)
    assert contract.hash == FR3.hash, "a checkpoint does not depend on it"
    row = np.array(FR3.home)
    row[1] = FR3.limits.lower[1] - 0.04
    assert start_position(contract, row)[1] == ""
    assert "0.04 outside" in start_position(replace(contract, start_tolerance=FR3.start_tolerance), row)[1]


@pytest.mark.parametrize(
    "value, word",
    [
        (-0.1, "at least 0, at most 0.1"),
        (0.2, "at least 0, at most 0.1"),
        (math.nan, "start_tolerance"),
        (math.inf, "finite"),
        ("much", "not a number"),
        (True, "not a number"),
        ({"joint2": 0.02}, "fr3_joint2"),
        ({"fr3_joint2": 1}, "at least 0, at most 0.1"),
        ([0.1], "not a number"),
    ],
)
def test_mistakes_in_the_tolerance_name_the_key(tmp_path, value, word):
    with pytest.raises(BeingHError, match="start_tolerance") as error:
        contract_with(tmp_path, start_tolerance=value)
    assert word in str(error.value)
