"""Joints that turn without end and report their angle within one turn: watched and started by the shorter way around."""

import math
import warnings
from dataclasses import replace

import numpy as np
import pytest
from control_support import DT_NS, FR3, HOME, NOW, H
from ros_support import ROOT
from test_joint_continuity import judge as judge_one

from beingh_core.contract.turns import TURN, endless_joints, nearest_turn, way
from beingh_core.control.controller import Controller
from beingh_core.control.joint_continuity import JUMP_NS, JointContinuity
from beingh_core.control.measured_joints import start_position
from beingh_core.control.stop_causes import JOINT_STATES_INVALID, RUNNING, TRACKING_ERROR, WAITING
from beingh_core.control.tracking import TrackingWatch
from beingh_core.realtime.commit_buffer import Chunk

JOINT = FR3.joint_names[6]
REST = np.zeros(len(HOME))


@pytest.fixture
def endless(tmp_path):
    """The FR3 with a last joint without end."""
    urdf = (ROOT / "urdf" / "fr3.urdf").read_text()
    (tmp_path / "robot.urdf").write_text(urdf.replace('"fr3_joint7" type="revolute"', '"fr3_joint7" type="continuous"'))
    lower, upper = FR3.limits.lower.copy(), FR3.limits.upper.copy()
    lower[6], upper[6] = -math.inf, math.inf
    return replace(FR3, urdf_path=tmp_path / "robot.urdf", limits=replace(FR3.limits, lower=lower, upper=upper))


def wrapped(angle):
    return math.remainder(angle, TURN)


class Turning:
    """A robot that follows, and reports its last joint as some function of the angle."""

    def __init__(self, contract, angle, report=wrapped):
        self.controller = Controller(contract, joint_state_timeout_s=1.0)
        self.posture, self.report = HOME | {JOINT: angle}, report
        self.now_ns = NOW
        for _ in range(8):
            self.now_ns += DT_NS
            self.measure()

    def measure(self):
        self.controller.joint_state(self.now_ns, self.posture | {JOINT: self.report(self.posture[JOINT])})

    def run(self, ticks, speed=0.0):
        """Tick, and let chunks turn the last joint by `speed` [rad/tick]; the commands of it."""
        sent = []
        for k in range(ticks):
            due = self.controller.next_tick_ns()
            if due is None:
                break
            self.now_ns = due
            self.measure()
            output = self.controller.tick(due)
            sent.append(output.points.positions[0][6])
            self.posture = dict(zip(FR3.joint_names, output.points.positions[0]))
            rows = np.tile(output.points.positions[-1], (H, 1))
            rows[:, 6] += speed * np.arange(H)
            epoch = self.controller.status.epoch
            chunk = Chunk(base_tick=k + 1, epoch=epoch, joints=FR3.joint_names, positions=rows, dt_s=FR3.dt_s)
            self.controller.merge(chunk)
        return sent


@pytest.mark.parametrize("report", [wrapped, lambda angle: angle % TURN, lambda angle: angle])
@pytest.mark.parametrize("speed", [0.05, -0.05])
def test_a_joint_turns_beyond_the_end_of_what_it_reports(endless, report, speed):
    robot = Turning(endless, math.copysign(2.9, speed), report)
    assert robot.controller.status.state == RUNNING, robot.controller.status.reason
    sent = robot.run(150, speed)
    status = robot.controller.status
    assert status.state == RUNNING, status.reason
    assert abs(sent[-1] - sent[0]) > 5.0 and np.abs(np.diff(sent)).max() < 0.2
    assert robot.controller.tracking_share < 1.0


@pytest.mark.parametrize("angle", [math.pi, 3 * math.pi, -4.0, 6.5])
def test_it_starts_at_the_angle_that_is_reported(endless, angle):
    noise = np.random.default_rng(0)
    robot = Turning(endless, angle, lambda a: wrapped(a + noise.uniform(-0.001, 0.001)))
    assert robot.controller.status.state == RUNNING, robot.controller.status.reason
    (first,) = robot.run(1)
    assert abs(way(first, angle, True)) < 0.01 and abs(first) < math.pi + 0.01


def test_other_steps_are_jumps_and_those_of_other_joints_too(endless):
    for contract, step, stops in (
        (endless, TURN, False),
        (endless, 3.0, True),
        (endless, TURN + 1.0, True),
        (FR3, TURN, True),
    ):
        robot = Turning(contract, -3.0, lambda angle: angle)
        robot.run(3)
        robot.report = lambda angle, step=step: angle + step
        robot.run(30)
        status = robot.controller.status
        assert (status.state != RUNNING) == stops, (step, status.reason)
        assert not stops or status.cause in (TRACKING_ERROR, JOINT_STATES_INVALID)


def test_a_joint_that_does_not_follow_is_found_at_the_seam_too(endless):
    watch, home = TrackingWatch(endless), np.array(FR3.home)
    home[6] = 3.1
    for off, found in ((0.05, False), (2 * endless.watchdog.tracking_error[6], True)):
        watch.begin(home)
        away = home.copy()
        away[6] = wrapped(3.1 + off)
        told = [watch.problem(NOW + k * 10**7, NOW, away) for k in range(100)]
        assert (told[-1] is not None) == found
        assert watch.worst == pytest.approx(off / endless.watchdog.tracking_error[6])


def test_which_joints_have_no_end(endless):
    assert endless_joints(endless).tolist() == [name == JOINT for name in FR3.joint_names]
    assert not endless_joints(FR3).any()


def test_the_shorter_way_around():
    assert way(-3.1, 3.1, True) == pytest.approx(TURN - 6.2) and way(-3.1, 3.1, False) == -6.2
    assert way(100 * TURN + 0.1, 0.0, True) == pytest.approx(0.1)
    assert way(1e308, -1e308, True) == math.inf and way(1e9, 0.0, True) == 1e9
    near = nearest_turn(
        np.array([-3.1, -3.1, 1e308, math.nan]), np.array([9.5, 9.5, -1e308, 0.0]), np.array([True, False, True, True])
    )
    assert near[:3] == pytest.approx([2 * TURN - 3.1, -3.1, 1e308]) and math.isnan(near[3])


# --- numbers beyond all measure ----------------------------------------------------------------------------------


@pytest.mark.parametrize("huge", [1e308, -1e308, 1.7e308, 1e30])
@pytest.mark.parametrize("without_end", [False, True])
def test_huge_positions_are_told_in_one_short_line(endless, huge, without_end):
    contract = endless if without_end else FR3
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        robot = Turning(contract, 0.5, lambda angle: huge)
        status = robot.controller.status
        assert status.state == WAITING and "outside its limits" in status.reason and len(status.reason) < 400
        for report in (lambda angle: huge, lambda angle, k=iter(range(10**6)): huge * (-1) ** next(k)):
            robot = Turning(contract, 0.5, lambda angle: angle)
            robot.run(3)
            robot.report = report
            robot.run(40)
            status = robot.controller.status
            assert status.cause in (JOINT_STATES_INVALID, TRACKING_ERROR) and f"{huge:.4g}" in status.reason
            assert len(status.reason) < 400
        swaying = Turning(contract, 0.5, lambda angle, k=iter(range(10**6)): huge * (-1) ** next(k)).controller.status
        assert swaying.state == WAITING and len(swaying.reason) < 400
        row = np.array(FR3.home)
        row[:2] = -huge, huge
        assert len(start_position(contract, row)[1]) < 400


def test_a_jump_is_told_in_few_digits():
    contradictions, jump = judge_one([(0.0, None, 0.0), (0.02, None, 1e308), (0.04, None, 1e308)])
    assert not contradictions and jump == "a went from 0 to 1e+308 within 0.020 s"
    watch = JointContinuity({"a": (1.0, 0.01)}, {"a"})
    for k, position in enumerate((-1e308, 1e308, 0.0)):
        watch.add("a", NOW + k * 10**7, 0, position)
    assert len(watch.jump(NOW + JUMP_NS * 2)) < 80
