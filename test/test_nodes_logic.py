"""The ROS-free parts of the nodes under a virtual clock: ticks and stops, inputs, schedule, follower."""

import math
import threading
import time

import numpy as np
import pytest
from ros_support import ROOT

from beingh_core.contract import load_contract
from beingh_core.control import tick_plan
from beingh_core.control.controller import Controller
from beingh_core.control.stop_causes import (
    CAUSES,
    CHUNKS_SILENT,
    CLOCK,
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
from beingh_core.control.timing import SimulatedTime, SteadyTime
from beingh_core.errors import BeingHError
from beingh_core.inference.chunk_schedule import ChunkSchedule, commanded
from beingh_core.inference.policy_inputs import PolicyInputs
from beingh_core.inference.stream_stats import StreamStats
from beingh_core.realtime.clock import TickClock, parse_epoch
from beingh_core.realtime.commit_buffer import Chunk
from beingh_core.sim.trajectory_follower import TrajectoryFollower

FR3 = load_contract("fr3")
DT_NS = 50_000_000
NOW = 1_700_000_000_000_000_000
H, J = FR3.policy.chunk_length, len(FR3.joint_names)
HOME = dict(zip(FR3.joint_names, FR3.home))


def controller():
    return Controller(FR3, joint_state_timeout_s=1.0, max_late_ticks=2.0)


def measure_at_rest(target, now_ns, positions):
    """Joint states of a robot at rest, for as long as it takes to count as that."""
    for k in range(6):
        target.joint_state(now_ns + k * DT_NS, positions)
    return now_ns + 5 * DT_NS


class Robot:
    """Drives a controller tick by tick, with joint states that follow what is sent."""

    def __init__(self):
        self.controller = controller()
        self.now_ns, self.sent = NOW, []
        self.measured = dict(HOME)
        self.now_ns = measure_at_rest(self.controller, self.now_ns, self.measured)

    def run(self, ticks):
        for _ in range(ticks):
            due = self.controller.next_tick_ns()
            if due is None:
                return
            self.now_ns = due
            self.controller.joint_state(self.now_ns, self.measured)
            output = self.controller.tick(self.now_ns)
            if output is not None:
                self.sent.append(output)
                self.measured = dict(zip(FR3.joint_names, output.points.positions[0]))

    def chunk(self, speed, base=None):
        """A chunk that moves joint 1 by `speed` [rad/tick] from the planned position at its base."""
        epoch = self.controller.status.epoch
        base = len(self.sent) if base is None else base
        start = self.sent[-1].points.positions[0] if self.sent else np.array(FR3.home)
        rows = np.tile(start, (H, 1))
        rows[:, 0] += speed * np.arange(1, H + 1)
        return Chunk(base_tick=base, epoch=epoch, joints=FR3.joint_names, positions=rows, dt_s=FR3.dt_s)


# --- controller -----------------------------------------------------------------------------------------------


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
            np.testing.assert_array_equal(before.points.velocities[1], after.points.velocities[0])
    assert unchanged > 10


def test_a_tick_computes_the_velocities_of_what_it_sends_and_no_others(monkeypatch):
    robot, rows = Robot(), []
    real = tick_plan.point_velocities
    monkeypatch.setattr(tick_plan, "point_velocities", lambda *of: rows.append(len(of[1])) or real(*of))
    robot.run(3)
    robot.controller.merge(robot.chunk(0.01, base=3))
    robot.run(4)
    assert rows == [len(output.points.positions) + 1 for output in robot.sent], (
        "and of the row behind, for the last one"
    )
    for output in robot.sent:
        assert output.points.velocities.shape == output.points.positions.shape and not len(output.plan.velocities)
        path = np.vstack(
            [output.before, output.points.positions, output.plan.positions[len(output.points.positions) - 1 :]]
        )
        slopes = (path[2 : 2 + len(output.points.positions)] - path[: len(output.points.positions)]) / (2 * FR3.dt_s)
        np.testing.assert_allclose(output.points.velocities, slopes, atol=1e-12)


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


class SteppedClock:
    """A node clock that a test sets."""

    def __init__(self):
        self.nanoseconds = NOW

    def now(self):
        return self


def test_simulated_time_tells_jumps_from_steps():
    clock = SteppedClock()
    source = SimulatedTime(clock)
    for _ in range(5):
        clock.nanoseconds += 900_000_000
        assert source.step() is None
    clock.nanoseconds += 3_000_000_000
    step_ns, words = source.step()
    assert step_ns == 3_000_000_000 and "ahead by 3.000 s" in words and source.step() is None
    clock.nanoseconds -= 1
    assert source.step() == (-1, "simulated time went back") and source.step() is None
    clock.nanoseconds -= 10
    assert source.wait_until(NOW * 2, threading.Event()) is False, "a wait ends where time steps"
    assert source.step()[0] == -10


def test_steady_time_follows_a_system_clock_that_is_set(monkeypatch):
    source = SteadyTime()
    real, shift_ns = time.time_ns, 7_000_000_000
    monkeypatch.setattr(time, "time_ns", lambda: real() + shift_ns)
    before_ns = source.now_ns()
    step_ns, words = source.step()
    assert abs(step_ns - shift_ns) < 5_000_000 and "+7.0" in words
    assert source.now_ns() - before_ns > 6_900_000_000 and source.step() is None


def test_steady_time_waits_on_the_scale_of_the_system_clock():
    source = SteadyTime()
    target = source.now_ns() + 20_000_000
    assert source.wait_until(target, threading.Event()) is False
    assert source.now_ns() >= target and source.step() is None
    interrupt = threading.Event()
    interrupt.set()
    assert source.wait_until(target + 10**12, interrupt) is True


def test_the_safety_page_explains_every_cause():
    page = (ROOT / "docs" / "safety.md").read_text()
    assert [cause for cause in CAUSES if f"| `{cause}` |" not in page] == []


# --- policy inputs --------------------------------------------------------------------------------------------


def fill(inputs, stamp_ns, value=0):
    for camera in FR3.cameras:
        inputs.push_image(f"video.{camera.name}", stamp_ns, np.full((2, 2, 3), value, np.uint8))
    inputs.push_joints("joint_states", stamp_ns, HOME | {"other": math.nan})


def test_the_gate_names_what_is_missing_stale_or_refused():
    inputs = PolicyInputs(FR3)
    assert {name for name, _ in inputs.closed(NOW)} == set(inputs.streams)
    fill(inputs, NOW)
    assert inputs.closed(NOW + 1) == []
    inputs.refuse("video.wrist_view", "16UC1")
    assert inputs.closed(NOW + 1) == [("video.wrist_view", "16UC1")]
    inputs.push_image("video.wrist_view", NOW + 1, np.zeros((2, 2, 3), np.uint8))
    assert inputs.closed(NOW + 1) == []
    reasons = dict(inputs.closed(NOW + 300_000_000))
    assert set(reasons) == set(inputs.streams) and "scene_camera/color/image_raw" in reasons["video.scene_view"]


@pytest.mark.parametrize(
    "positions, stream, word",
    [
        ({"fr3_finger_joint1": math.nan}, "state.gripper_position", "fr3_finger_joint1"),
        ({"fr3_joint1": 0.0, "fr3_joint2": math.inf}, "state.eef_position", "fr3_joint2"),
    ],
)
def test_joint_states_that_are_no_numbers_close_the_gate(positions, stream, word):
    inputs = PolicyInputs(FR3)
    fill(inputs, NOW)
    wrong = inputs.push_joints("joint_states", NOW + 1, positions)
    assert list(wrong) == [stream] and word in wrong[stream]
    assert [name for name, _ in inputs.closed(NOW + 1)] == [stream]


def test_the_observation_is_at_the_oldest_of_the_newest_images():
    inputs = PolicyInputs(FR3)
    for k in range(5):
        fill(inputs, NOW + k * DT_NS, value=k)
        inputs.push_joints("joint_states", NOW + k * DT_NS, HOME | {"fr3_joint1": float(k)})
    inputs.push_image("video.scene_view", NOW + 5 * DT_NS, np.full((2, 2, 3), 5, np.uint8))
    inputs.push_joints("joint_states", NOW + 5 * DT_NS, HOME | {"fr3_joint1": 5.0})
    observation = inputs.observe()
    assert observation.stamp_ns == NOW + 4 * DT_NS
    assert {view: image[0, 0, 0] for view, image in observation.images.items()} == {"scene_view": 4, "wrist_view": 4}
    assert observation.joints["fr3_joint1"] == 4.0 and set(observation.joints) == set(FR3.joint_names)


def test_joint_states_that_begin_after_the_images_close_the_gate_until_the_next_image():
    inputs = PolicyInputs(FR3)
    for view in ("scene_view", "wrist_view"):
        inputs.push_image(f"video.{view}", NOW, np.zeros((2, 2, 3), np.uint8))
    inputs.push_joints("joint_states", NOW + 1, HOME)
    closed = inputs.closed(NOW + 2)
    assert [name for name, _ in closed] == ["state.eef_position", "state.gripper_position"]
    assert all("time of the images (joint_states)" in reason for _, reason in closed)
    fill(inputs, NOW + 3)
    assert inputs.closed(NOW + 3) == []


def test_after_time_went_back_the_new_samples_count():
    inputs = PolicyInputs(FR3)
    fill(inputs, NOW)
    assert {name for name, reason in inputs.closed(6) if "missing" in reason} == set(inputs.streams)
    fill(inputs, NOW)
    inputs.clear()
    fill(inputs, 7)
    assert inputs.closed(8) == [] and inputs.observe().stamp_ns == 7


def test_losses_are_counted_from_the_stamps():
    stats = StreamStats()
    for k in [*range(20), 22, 23, 27, 28, 100, 101]:
        stats.add(NOW + k * DT_NS)
    # 20, 21, 24, 25, 26 are missing; the pause of four seconds is a stopped publisher.
    assert (stats.received, stats.lost) == (26, 5) and stats.rate_hz == pytest.approx(20.0)
    jitter = StreamStats()
    for k in range(100):
        jitter.add(NOW + k * DT_NS + (-1) ** k * 10_000_000)
    assert jitter.lost == 0


# --- schedule -------------------------------------------------------------------------------------------------


class Schedule:
    """A schedule fed with the plan of a robot whose joint 1 moves by 0.001 a tick."""

    def __init__(self):
        self.schedule = ChunkSchedule(FR3, trained_delay=8)
        self.clock = TickClock(20, NOW)
        self.epoch = f"0@{NOW}"

    def plan(self, first):
        rows = np.tile(np.array(FR3.home), (H, 1))
        rows[:, 0] = 0.001 * (first + np.arange(H))
        return rows

    def tell(self, first, offset=0.0):
        self.schedule.buffer(self.epoch, self.clock.stamp_ns(first), self.plan(first) + offset, self.now(first))

    def now(self, first):
        return self.clock.stamp_ns(first) - DT_NS + 1_000_000

    def request(self, first, age_ns=20_000_000):
        return self.schedule.request(self.now(first) - age_ns, self.now(first))


def test_the_prefix_is_the_log_before_and_the_plan_after_the_base_tick():
    feed = Schedule()
    assert "nothing" in feed.schedule.waiting_for(NOW)
    for first in range(5):
        feed.tell(first)
    request = feed.request(4, age_ns=30_000_000)
    # now is 1 ms after tick 3; the picture is 29 ms before tick 3, so tick 3 is the first one after it.
    assert request.base_tick == 3 and request.stamp_ns == feed.clock.stamp_ns(3) and request.new_epoch
    np.testing.assert_array_equal(request.prefix[:, 0], 0.001 * np.arange(2, 3 + feed.schedule.delay))
    assert len(request.prefix) == 1 + FR3.uac.delay_steps


def test_no_inference_before_the_log_reaches_back_to_the_picture():
    feed = Schedule()
    feed.tell(0)
    assert feed.request(0, age_ns=200_000_000) is None
    feed.tell(1)
    assert feed.request(1, age_ns=20_000_000) is None  # base tick 0: what ran before it is not known
    feed.tell(2)
    assert feed.request(2, age_ns=20_000_000).base_tick == 1


def test_the_next_inference_waits_for_its_last_chunk_and_for_the_execution_steps():
    feed = Schedule()
    for first in range(5):
        feed.tell(first)
    request = feed.request(4)
    feed.schedule.sent(request)
    feed.tell(11)
    assert "not in the controller's buffer" in feed.schedule.waiting_for(feed.now(11))
    assert feed.schedule.accepted(feed.epoch, request.stamp_ns) == 11 - request.base_tick
    feed.tell(12)
    assert feed.request(12) is None  # may have been under way during the merge
    feed.tell(13)
    again = feed.request(13)
    assert again.base_tick == 12 and not again.new_epoch
    feed.schedule.sent(again)
    feed.schedule.accepted(feed.epoch, again.stamp_ns)
    for first in range(14, 19):
        feed.tell(first)
        assert "running" in feed.schedule.waiting_for(feed.now(first)) or first < 15
    feed.tell(19)
    assert feed.schedule.waiting_for(feed.now(19)) is None


@pytest.mark.parametrize("first", [15, 17, 19, 20, 23])
def test_what_the_last_chunk_still_wants_comes_with_the_request_and_nothing_behind_it(first):
    feed = Schedule()
    for tick in range(1, 9):
        feed.tell(tick)
    one = feed.request(8)
    assert one.onward.shape == (0, J)  # no chunk ran before
    feed.schedule.sent(one)
    feed.schedule.accepted(feed.epoch, one.stamp_ns)
    for tick in range(9, first + 1):
        feed.tell(tick)
    request = feed.request(first)
    begin = request.base_tick + feed.schedule.delay
    ticks = range(begin, max(begin, min(begin + FR3.uac.blend_steps, one.base_tick + H)))
    assert request.onward.shape == (len(ticks), J)
    np.testing.assert_allclose(request.onward[:, 0], [0.001 * tick for tick in ticks])


def test_a_chunk_that_was_never_accepted_is_given_up_when_it_is_over():
    feed = Schedule()
    for first in range(5):
        feed.tell(first)
    request = feed.request(4)
    feed.schedule.sent(request)
    feed.tell(request.base_tick + H - 1)
    assert feed.schedule.waiting_for(feed.now(request.base_tick + H - 1)) is not None
    feed.tell(request.base_tick + H)
    assert feed.schedule.waiting_for(feed.now(request.base_tick + H)) is None


def test_a_silent_controller_closes_the_gate_and_a_new_epoch_starts_afresh():
    feed = Schedule()
    for first in range(5):
        feed.tell(first)
    assert "silent" in feed.schedule.waiting_for(feed.now(4) + 400_000_000)
    feed.schedule.sent(feed.request(4))
    feed.epoch, feed.clock = f"1@{NOW + 10**10}", TickClock(20, NOW + 10**10)
    for first in range(4):
        feed.tell(first)
    assert feed.request(3).new_epoch
    feed.schedule.buffer(f"0@{NOW}", NOW + DT_NS, feed.plan(1), feed.now(3))  # a late message of the old epoch
    assert feed.schedule.accepted(f"0@{NOW}", NOW) is None


def test_delays_longer_than_the_budget_lengthen_the_prefix_up_to_what_was_trained():
    feed = Schedule()
    first = 5
    for tick in range(first + 1):
        feed.tell(tick)
    for _ in range(6):
        request = feed.request(first)
        feed.schedule.sent(request)
        for tick in range(first + 1, first + 12):
            feed.tell(tick)
            if tick - request.base_tick == 9:
                assert feed.schedule.accepted(feed.epoch, request.stamp_ns) == 9
        first += 11
    assert feed.schedule.estimated_delay == 10 and feed.schedule.delay == min(8, FR3.uac.execution_steps)


@pytest.mark.parametrize("trained", [0, FR3.uac.delay_steps - 1])
def test_a_checkpoint_trained_for_shorter_delays_is_refused(trained):
    with pytest.raises(BeingHError, match=f"trained for delays up to {trained}"):
        ChunkSchedule(FR3, trained_delay=trained)


def test_buffer_joints_are_matched_by_name():
    rows = np.array([[1.0, 2.0]])
    np.testing.assert_array_equal(commanded(("a", "b"), ("b", "a"), rows), [[2.0, 1.0]])
    with pytest.raises(BeingHError, match="same contract"):
        commanded(("a", "b"), ("a", "c"), rows)


# --- trajectory follower --------------------------------------------------------------------------------------


def follower():
    return TrajectoryFollower(("a", "b"), np.zeros(2))


def accept(target, rows, times_s, *, stamp_ns=0, now_ns=NOW, joints=("a", "b")):
    times_ns = np.array([round(t * 1e9) for t in times_s], dtype=np.int64)
    return target.accept(joints, np.array(rows, float).reshape(len(times_s), len(joints)), times_ns, stamp_ns, now_ns)


def test_it_interpolates_linearly_from_the_last_desired_point_and_holds_the_last_one():
    target = follower()
    assert accept(target, [[2.0, 1.0]], [1.0], joints=("b", "a")) is None
    np.testing.assert_allclose(target.sample(NOW + 500_000_000), [0.5, 1.0])
    assert accept(target, [[0.0, 0.0], [0.0, 4.0]], [0.5, 1.5], now_ns=NOW + 500_000_000) is None
    np.testing.assert_allclose(target.sample(NOW + 750_000_000), [0.25, 0.5])
    np.testing.assert_allclose(target.sample(NOW + 1_500_000_000), [0.0, 2.0])
    np.testing.assert_allclose(target.sample(NOW + 9_000_000_000), [0.0, 4.0])


def test_elapsed_points_are_skipped_without_a_blend():
    target = follower()
    assert accept(target, [[1.0, 0.0], [2.0, 0.0]], [0.1, 0.3], stamp_ns=NOW - 200_000_000) is None
    np.testing.assert_allclose(target.sample(NOW), [1.5, 0.0])


@pytest.mark.parametrize(
    "arguments, word",
    [
        (dict(rows=[[]], times_s=[0.1], joints=()), "Empty joint names"),
        (dict(rows=[[0, 0]], times_s=[0.1], joints=("a", "c")), "c"),
        (dict(rows=[[0]], times_s=[0.1], joints=("a",)), "don't match"),
        (dict(rows=[], times_s=[]), "Empty trajectory"),
        (dict(rows=[[0, 0], [0, 0]], times_s=[0.1, 0.1]), "strictly increasing"),
        (dict(rows=[[0, math.nan]], times_s=[0.1]), "not a number"),
        (dict(rows=[[0, 0]], times_s=[0.1], stamp_ns=NOW - 200_000_000), "in the past"),
    ],
)
def test_messages_the_real_controller_drops(arguments, word):
    target = follower()
    assert word in accept(target, arguments.pop("rows"), arguments.pop("times_s"), **arguments)
    np.testing.assert_array_equal(target.sample(NOW + 10**9), [0.0, 0.0])
