"""The controller under a virtual clock: when it starts, what it sends, how it stops and begins again."""

import math

import numpy as np
import pytest
from control_support import DT_NS, FR3, HOME, NOW, H, J, Robot, controller, measure_at_rest

from beingh_core.control.stop_causes import (
    ESTOP,
    JOINT_STATES_INVALID,
    JOINT_STATES_SILENT,
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
from beingh_core.realtime.commit_buffer import Chunk


def test_nothing_is_sent_before_every_joint_is_measured():
    waiting = controller()
    measure_at_rest(waiting, NOW, {name: 0.0 for name in FR3.joint_names[:-1]})
    assert waiting.status.state == WAITING and FR3.joint_names[-1] in waiting.status.reason
    assert waiting.next_tick_ns() is None and waiting.tick(NOW) is None and waiting.announcement() is None


def test_an_epoch_starts_at_the_measured_positions_and_holds():
    robot = Robot()
    plan = robot.controller.announcement()
    assert robot.controller.announcement() is None
    assert parse_epoch(plan.epoch) == (0, plan.stamp_ns) and plan.stamp_ns > NOW
    robot.run(30)
    start_ns = plan.stamp_ns
    assert [output.points.stamp_ns for output in robot.sent] == [start_ns + n * DT_NS for n in range(30)]
    assert all(np.array_equal(output.points.positions, np.tile(FR3.home, (2, 1))) for output in robot.sent)
    assert all(output.plan.stamp_ns == output.points.stamp_ns + DT_NS for output in robot.sent)


@pytest.mark.parametrize(
    "positions, word",
    [
        (HOME | {"fr3_joint3": math.nan}, "fr3_joint3"),
        (HOME | {"fr3_joint2": math.inf}, "fr3_joint2"),
        (HOME | {"fr3_joint4": 1.0}, "limits"),
    ],
)
def test_unusable_positions_do_not_start_it(positions, word):
    waiting = controller()
    now_ns = measure_at_rest(waiting, NOW, positions)
    assert waiting.status.state == WAITING and word in waiting.status.reason and waiting.next_tick_ns() is None
    measure_at_rest(waiting, now_ns + DT_NS, HOME)
    assert waiting.status.state == RUNNING


def test_joints_may_come_in_several_messages():
    waiting = controller()
    for k in range(6):
        waiting.joint_state(NOW + k * DT_NS, {name: HOME[name] for name in FR3.joint_names[:7]})
        waiting.joint_state(NOW + k * DT_NS, {FR3.joint_names[7]: HOME[FR3.joint_names[7]], "another": math.nan})
    assert waiting.status.state == RUNNING


def test_committed_rows_are_what_the_next_ticks_send():
    robot = Robot()
    for tick in range(60):
        robot.run(1)
        if tick % 6 == 0:
            robot.controller.merge(robot.chunk(0.01 * math.cos(tick), base=tick))
    unchanged = 0
    for before, after in zip(robot.sent, robot.sent[1:]):
        np.testing.assert_array_equal(before.points.positions[1], after.points.positions[0])
        np.testing.assert_array_equal(before.plan.positions[0], after.points.positions[0])
        if np.array_equal(before.plan.positions[1:], after.plan.positions[: len(before.plan.positions) - 1]):
            unchanged += 1
            np.testing.assert_array_equal(before.plan.velocities[0], after.points.velocities[0])
    assert unchanged > 10


def test_a_stop_brakes_within_limits_and_is_latched():
    robot = Robot()
    robot.run(3)
    assert robot.controller.merge(robot.chunk(0.04)).accepted
    robot.run(10)
    robot.controller.stop(STOP_SERVICE, "first", robot.now_ns)
    robot.controller.stop(TRACKING_ERROR, "second", robot.now_ns + 1)
    status = robot.controller.status
    assert (status.state, status.cause, status.reason) == (STOPPING, STOP_SERVICE, "first")
    assert status.stamp_ns == robot.now_ns
    assert robot.controller.merge(robot.chunk(0.04)).status == "stopped"
    robot.run(100)
    path = np.array([*(output.points.positions[0, 0] for output in robot.sent), robot.sent[-1].points.positions[1, 0]])
    speed = np.diff(path) / FR3.dt_s
    assert speed[11] > 0.5 and speed[-1] == 0.0
    assert np.abs(np.diff(speed)).max() / FR3.dt_s <= FR3.limits.acceleration[0] + 1e-6
    count = len(robot.sent)
    measure_at_rest(robot.controller, robot.now_ns, HOME)
    robot.run(5)
    assert len(robot.sent) == count
    status = robot.controller.status
    assert (status.state, status.cause, status.reason) == (STOPPED, STOP_SERVICE, "first")


def test_reset_while_moving_brakes_first_and_then_starts_a_new_epoch_at_the_measured_positions():
    robot = Robot()
    robot.run(3)
    first = robot.controller.status.epoch
    robot.controller.merge(robot.chunk(0.04))
    robot.run(8)
    robot.controller.reset(robot.now_ns)
    assert robot.controller.status.state == STOPPING
    robot.run(50)
    assert robot.controller.status.state == WAITING and robot.controller.next_tick_ns() is None
    moved = HOME | {"fr3_joint1": 0.3}
    robot.measured = moved
    robot.now_ns = measure_at_rest(robot.controller, robot.now_ns, moved)
    assert robot.controller.status.state == RUNNING and robot.controller.status.epoch != first
    robot.run(1)
    assert robot.sent[-1].points.positions[0, 0] == 0.3
    assert (
        robot.controller.merge(
            Chunk(base_tick=0, epoch=first, joints=FR3.joint_names, positions=np.zeros((H, J)), dt_s=FR3.dt_s)
        ).status
        == "foreign_epoch"
    )


def test_a_stop_during_a_reset_stays():
    robot = Robot()
    robot.run(3)
    robot.controller.merge(robot.chunk(0.04))
    robot.run(8)
    robot.controller.reset(robot.now_ns)
    robot.controller.stop(STOP_SERVICE, "stop service", robot.now_ns)
    robot.run(50)
    assert (robot.controller.status.state, robot.controller.status.cause) == (STOPPED, STOP_SERVICE)


def test_the_emergency_stop_refuses_a_reset_until_released():
    robot = Robot()
    robot.run(3)
    robot.controller.set_estop(True, robot.now_ns)
    robot.run(10)
    with pytest.raises(BeingHError, match="emergency stop is active"):
        robot.controller.reset(robot.now_ns)
    robot.controller.set_estop(False, robot.now_ns)
    assert (robot.controller.status.state, robot.controller.status.cause) == (STOPPED, ESTOP)
    robot.controller.reset(robot.now_ns)
    assert robot.controller.status.state == WAITING


def test_each_source_of_the_emergency_stop_must_be_released():
    robot = Robot()
    robot.controller.set_estop(True, robot.now_ns, "topic")
    robot.controller.set_estop(True, robot.now_ns, "service")
    robot.controller.set_estop(False, robot.now_ns, "service")
    with pytest.raises(BeingHError, match="emergency stop is active"):
        robot.controller.reset(robot.now_ns)
    assert robot.controller.status.estop and "topic" in robot.controller.status.reason
    robot.controller.set_estop(False, robot.now_ns, "topic")
    assert not robot.controller.status.estop
    robot.run(10)
    robot.controller.reset(robot.now_ns)
    assert robot.controller.status.state == WAITING


def test_positions_that_turn_to_nan_or_fall_silent_stop_it():
    robot = Robot()
    robot.run(3)
    robot.controller.joint_state(robot.now_ns, HOME | {"fr3_joint5": math.nan})
    status = robot.controller.status
    assert (status.state, status.cause) == (STOPPING, JOINT_STATES_INVALID) and "fr3_joint5" in status.reason
    with pytest.raises(BeingHError, match="fr3_joint5"):
        robot.controller.reset(robot.now_ns)
    silent = Robot()
    for _ in range(30):
        silent.controller.tick(silent.controller.next_tick_ns() or 0)
    status = silent.controller.status
    assert (status.state, status.cause) == (STOPPED, JOINT_STATES_SILENT) and "no fresh joint states" in status.reason


def test_a_held_up_thread_starts_a_new_epoch_where_the_robot_was_left():
    robot = Robot()
    robot.run(3)
    robot.controller.merge(robot.chunk(0.03))
    robot.run(8)
    first, last = robot.controller.status.epoch, robot.sent[-1].points.positions[-1]
    robot.now_ns += 4 * DT_NS
    robot.controller.joint_state(robot.now_ns, robot.measured)
    assert robot.controller.tick(robot.now_ns) is None
    assert robot.controller.overruns == 1 and robot.controller.status.epoch != first
    robot.run(1)
    np.testing.assert_array_equal(robot.sent[-1].points.positions[0], last)


def test_the_final_path_goes_on_from_the_last_tick_to_rest():
    robot = Robot()
    robot.run(3)
    robot.controller.merge(robot.chunk(0.04))
    robot.run(10)
    path = robot.controller.final_path(robot.now_ns)
    rows = path.positions
    assert path.stamp_ns == robot.sent[-1].points.stamp_ns
    np.testing.assert_array_equal(rows[0], robot.sent[-1].points.positions[0])
    path = [robot.sent[-2].points.positions[0, 0], *rows[:, 0], rows[-1, 0]]
    assert np.abs(np.diff(path, 2)).max() <= FR3.limits.acceleration[0] * FR3.dt_s**2 + 1e-9
    assert (robot.controller.status.state, robot.controller.status.cause) == (STOPPED, SHUTDOWN)
    assert robot.controller.final_path(robot.now_ns) is None and robot.controller.next_tick_ns() is None
    assert controller().final_path(NOW) is None


def test_a_moving_robot_does_not_start_it_until_it_rests():
    waiting = controller()
    for k in range(30):
        waiting.joint_state(NOW + k * DT_NS, HOME | {"fr3_joint2": HOME["fr3_joint2"] + 0.01 * k})
        assert waiting.status.state == WAITING
    assert "fr3_joint2 moves" in waiting.status.reason
    swinging = controller()
    for k in range(20):  # positions too coarse to tell, but velocities reported
        swinging.joint_state(NOW + k * DT_NS, HOME | {"fr3_joint2": 0.02 * (k % 2)}, {"fr3_joint2": (-1) ** k * 0.4})
        assert swinging.status.state == WAITING
    now_ns = measure_at_rest(waiting, NOW + 30 * DT_NS, HOME)
    assert waiting.status.state == RUNNING
    noisy = controller()
    for k in range(6):
        noisy.joint_state(now_ns + k * DT_NS, HOME, {name: 0.3 for name in HOME})
    assert noisy.status.state == RUNNING, "velocities that contradict the positions are noise"
