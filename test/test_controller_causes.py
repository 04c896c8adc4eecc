"""What stops the controller, under a virtual clock: a robot that does not follow, clocks, silence; causes are told once."""

import math

import numpy as np
import pytest
from control_support import DT_NS, FR3, HOME, NOW, H, Robot, controller, measure_at_rest
from realtime_schedules import check_of
from ros_support import ROOT

from beingh_core.control.stop_causes import (
    CAUSES,
    CHUNKS_SILENT,
    CLOCK,
    COLLISION,
    ESTOP,
    RUNNING,
    SHUTDOWN,
    STOP_SERVICE,
    STOPPED,
    STOPPING,
    TRACKING_ERROR,
    WAITING,
)
from beingh_core.errors import BeingHError
from beingh_core.realtime.clock import parse_epoch


def moving_robot(speed=0.03):
    robot = Robot()
    robot.run(3)
    assert robot.controller.merge(robot.chunk(speed)).accepted
    robot.run(10)
    return robot


def assert_brakes_to_rest(robot, cause):
    """The commands of joint 1 from the stop on respect the acceleration limit and end at rest."""
    assert robot.controller.status.cause == cause
    robot.run(100)
    assert (robot.controller.status.state, robot.controller.status.cause) == (STOPPED, cause)
    path = [*(output.points.positions[0, 0] for output in robot.sent), *robot.sent[-1].points.positions[1:, 0]]
    speed = np.diff(path) / FR3.dt_s
    assert speed[-1] == 0.0 and np.abs(speed).max() > 0.3
    assert np.abs(np.diff(speed)).max() / FR3.dt_s <= FR3.limits.acceleration[0] + 1e-6


def test_a_robot_that_does_not_follow_stops_it():
    robot = moving_robot(0.0)
    stuck = robot.measured["fr3_joint1"]
    for k in range(40):
        if k % 6 == 0:
            robot.controller.merge(robot.chunk(0.04))
        due = robot.controller.next_tick_ns()
        robot.controller.joint_state(due, robot.measured | {"fr3_joint1": stuck})
        robot.now_ns = due
        robot.sent.append(robot.controller.tick(due))
        if robot.controller.status.state != RUNNING:
            break
    off = robot.sent[-1].points.positions[0, 0] - stuck
    assert "fr3_joint1" in robot.controller.status.reason
    assert FR3.watchdog.tracking_error[0] < off
    assert_brakes_to_rest(robot, TRACKING_ERROR)


@pytest.mark.parametrize("lead_ns", [2_000_000, 15_000_000, 35_000_000, 48_000_000])
def test_a_robot_that_stops_following_brakes_at_the_first_tick_when_its_time_is_up(lead_ns):
    """Joint states at 100 Hz go wrong `lead_ns` after a tick; the ticks come with jitter."""
    robot = moving_robot(0.0)
    target, first_ns = robot.controller, robot.controller.next_tick_ns()
    wrong_ns, right = first_ns + lead_ns, dict(robot.measured)
    wrong = right | {"fr3_joint3": right["fr3_joint3"] + 0.6}
    for k in range(40):
        now_ns = first_ns + k * 10_000_000
        target.joint_state(now_ns, wrong if now_ns >= wrong_ns else right)
        if now_ns + 10_000_000 > target.next_tick_ns():
            target.tick(target.next_tick_ns() + (500_000 if k % 2 else 0))
        if target.status.state != RUNNING:
            break
    assert target.status.cause == TRACKING_ERROR
    time_ns = FR3.watchdog.tracking_time_s * 1e9
    assert 0.75 * time_ns <= target.status.stamp_ns - wrong_ns <= time_ns + 0.5 * DT_NS


def test_a_robot_that_follows_late_is_in_order_and_a_gripper_may_be_blocked():
    robot = moving_robot(0.0)
    late = [dict(robot.measured)] * 5  # a quarter of a second
    for _ in range(4):
        robot.controller.merge(robot.chunk(0.06))
        for _ in range(8):
            due = robot.controller.next_tick_ns()
            robot.controller.joint_state(due, late[-5] | {"fr3_finger_joint1": 0.04})
            robot.now_ns = due
            robot.sent.append(robot.controller.tick(due))
            late.append(dict(zip(FR3.joint_names, robot.sent[-1].points.positions[0])))
    assert robot.controller.status.state == RUNNING
    assert abs(late[-1]["fr3_joint1"] - late[-6]["fr3_joint1"]) > FR3.watchdog.tracking_error[0]
    assert math.isinf(FR3.watchdog.tracking_error[FR3.joint_names.index("fr3_finger_joint1")])


@pytest.mark.parametrize("step_s", [3600.0, -3600.0, 0.03])
def test_a_clock_that_is_set_brakes_in_the_new_time_under_another_epoch(step_s):
    robot = moving_robot()
    epoch, step_ns = robot.controller.status.epoch, round(step_s * 1e9)
    robot.now_ns += DT_NS // 2 + step_ns
    robot.controller.clock_set(robot.now_ns, step_ns, "the clock was set")
    count = len(robot.sent)
    assert robot.controller.status.epoch != epoch
    assert_brakes_to_rest(robot, CLOCK)
    stamps = [output.points.stamp_ns for output in robot.sent[count:]]
    assert stamps[0] - (robot.sent[count - 1].points.stamp_ns + step_ns) < 2 * DT_NS and set(np.diff(stamps)) == {DT_NS}
    assert robot.sent[-1].plan.epoch == robot.controller.status.epoch
    _, start_ns = parse_epoch(robot.controller.status.epoch)
    assert [(stamp - start_ns) / DT_NS for stamp in stamps] == list(range(count, len(robot.sent)))


def test_a_clock_that_is_set_while_waiting_changes_nothing():
    waiting = controller()
    waiting.joint_state(NOW, HOME)
    waiting.clock_set(NOW - 10**12, -(10**12), "the clock was set")
    measure_at_rest(waiting, NOW - 10**12, HOME)
    assert waiting.status.state == RUNNING


def test_ticks_that_are_held_up_for_long_stop_it_for_good():
    robot = moving_robot()
    robot.now_ns = robot.controller.next_tick_ns() + 2 * 10**9
    assert robot.controller.tick(robot.now_ns) is None
    status = robot.controller.status
    assert (status.state, status.cause) == (STOPPED, CLOCK) and "held up for 2.0 s" in status.reason


def test_silent_chunks_are_told_and_the_next_chunk_goes_on():
    robot = Robot()
    robot.run(5)
    assert robot.controller.status.cause == "", "nobody has promised chunks yet"
    robot.controller.merge(robot.chunk(0.02))
    robot.run(60)
    status = robot.controller.status
    assert (status.state, status.cause) == (RUNNING, CHUNKS_SILENT)
    assert status.stamp_ns == robot.sent[5 + H].points.stamp_ns
    robot.controller.merge(robot.chunk(0.02))
    assert robot.controller.status.cause == ""


def test_chunks_that_stay_away_after_a_cut_are_told_as_such():
    robot = Robot(check_of(lambda row: row[0] > 0.2))
    robot.run(5)
    robot.controller.merge(robot.chunk(0.02))
    robot.run(H)
    assert robot.controller.status.cause == COLLISION
    robot.run(3)
    assert (robot.controller.status.state, robot.controller.status.cause) == (RUNNING, CHUNKS_SILENT)
    robot.controller.merge(robot.chunk(0.02))
    assert robot.controller.status.cause == COLLISION


def test_a_cut_chunk_is_told_once_and_until_one_is_free():
    """Joint 1 must not go beyond 0.2 rad; the policy wants to twice, holds before it, and goes back."""
    robot, received = Robot(check_of(lambda row: row[0] > 0.2)), []
    robot.run(5)
    robot.controller._changed = received.append
    first = robot.controller.merge(robot.chunk(0.02))
    assert first.accepted and first.cut_at and first.blocked == "a wall"
    robot.run(H)
    assert np.array_equal(robot.sent[-1].points.positions[0], robot.sent[-3].points.positions[0]), "it holds"
    robot.controller.merge(robot.chunk(0.02))
    robot.run(6)
    assert [(status.state, status.cause) for status in received] == [(RUNNING, COLLISION)], "not silent chunks"
    assert received[0].reason == "a chunk was cut, the joints brake and hold: a wall"
    assert received[0].stamp_ns == robot.sent[5].points.stamp_ns
    robot.controller.merge(robot.chunk(-0.02))
    assert (robot.controller.status.cause, len(received)) == ("", 2)
    robot.run(8)
    robot.controller.stop(STOP_SERVICE, "test", robot.now_ns)
    assert robot.controller.merge(robot.chunk(0.1)).status == "stopped"
    assert_brakes_to_rest(robot, STOP_SERVICE)


def test_every_status_is_handed_on_once_and_the_first_cause_stays():
    received = []
    robot = Robot()
    robot.controller._changed = received.append
    robot.run(3)
    robot.controller.merge(robot.chunk(0.04))
    robot.run(12)
    robot.controller.set_estop(True, robot.now_ns)
    robot.controller.stop(STOP_SERVICE, "later", robot.now_ns)
    robot.run(100)
    robot.controller.deactivate(robot.now_ns, "deactivated")
    assert [(status.state, status.cause) for status in received] == [
        (STOPPING, ESTOP),
        (STOPPED, ESTOP),
    ]
    robot.controller.activate()
    assert robot.controller.status.cause == ESTOP, "an emergency stop outlives a deactivation"


def test_deactivation_and_activation_start_at_the_measured_positions_again():
    robot = moving_robot()
    robot.controller.deactivate(robot.now_ns, "deactivated")
    assert robot.controller.final_path(robot.now_ns) is not None
    assert robot.controller.merge(robot.chunk(0.02)) is None
    measure_at_rest(robot.controller, robot.now_ns, HOME)
    assert (robot.controller.status.state, robot.controller.status.cause) == (STOPPED, SHUTDOWN)
    with pytest.raises(BeingHError, match="not active"):
        robot.controller.reset(robot.now_ns)
    robot.controller.activate()
    assert robot.controller.status.state == WAITING
    measure_at_rest(robot.controller, robot.now_ns, HOME)
    assert robot.controller.status.state == RUNNING


def test_the_safety_page_explains_every_cause():
    page = (ROOT / "docs" / "safety.md").read_text()
    assert [cause for cause in CAUSES if f"| `{cause}` |" not in page] == []
