"""Every cause of a stop on the wire: the robot brakes within its limits, rests, is told why, and recovers by a reset."""

import math
import signal
import time
from functools import partial
from pathlib import Path

import numpy as np
import pytest
from lifecycle_msgs.msg import Transition
from lifecycle_msgs.srv import ChangeState
from ros_support import Recorder, wait_matched, wait_until
from stand_in_robot import ARM, DT_NS, FR3, controller_beside_robot
from std_msgs.msg import Bool, String
from std_srvs.srv import SetBool
from trajectory_msgs.msg import JointTrajectory

from beingh_core.realtime.clock import parse_epoch
from beingh_ros.messages.controller_state import read_state
from beingh_ros.messages.conversions import stamp_to_ns

FAULTY = str(Path(__file__).with_name("faulty_controller.py"))
MAX_STEP = FR3.limits.acceleration[0] * FR3.dt_s**2 + 1e-9


@pytest.fixture
def bench(tmp_path):
    with controller_beside_robot(tmp_path) as start:
        yield start


def braked(robot, since):
    """Whether the commands of joint 1 from message `since` on, and the points of the last message, end at rest."""
    path, stamp = [], None
    for message in robot.arm.messages[since:]:
        path = path[: -1 if message.header.stamp == stamp else None]  # a braking path begins with the last tick again
        path.append(message.points[0].positions[0])
        stamp = message.header.stamp
    path += [point.positions[0] for point in message.points[1:]]
    speed = np.diff([*path, path[-1], path[-1]])
    if abs(speed[-3]) > MAX_STEP:
        return False
    assert abs(speed).max() > 0.01 and abs(np.diff(speed)).max() <= MAX_STEP
    return True


class Cell:
    """A moving robot, what can happen to it, and how it is put right."""

    def __init__(self, robot):
        self.robot = robot
        self.fault = robot.node.create_publisher(String, "/fault", 10)

    def faults(self):
        robot = self.robot
        say = lambda word: lambda: self.fault.publish(String(data=word))
        topic = lambda active: lambda: robot.estop.publish(Bool(data=active))
        service = lambda active: lambda: robot.call("estop", SetBool.Request(data=active))
        put = lambda **attributes: lambda: [setattr(robot, *pair) for pair in attributes.items()]
        nothing = lambda: None
        lost = {"position": [0.0] * 3}
        nan = {"position": [math.nan] * len(FR3.joint_names)}
        return [
            ("estop", topic(True), topic(False)),
            ("estop", service(True), service(False)),
            ("stop_service", lambda: robot.call("stop"), nothing),
            ("joint_states_silent", put(talking=False), put(talking=True)),
            ("joint_states_invalid", put(extra=nan), put(extra={})),
            ("joint_states_invalid", put(extra=lost), put(extra={})),
            ("tracking_error", put(following=False), put(following=True)),
            ("driver", say("driver"), say("driver works")),
            ("clock", say("clock"), nothing),
        ]


def test_each_cause_brakes_rests_is_told_once_and_is_reset(bench):
    robot, process = bench(FAULTY, joint_state_timeout_s=0.6)
    cell = Cell(robot)
    robot.start()
    wait_matched(robot.node, cell.fault)
    for cause, happen, put_right in cell.faults():
        robot.move()
        told, since = len(robot.state.messages), max(0, len(robot.arm.messages) - 3)
        happen()
        status = robot.wait_for_state("stopped", cause, since=told)
        robot.driving = 0.0
        statuses = [read_state(message) for message in robot.state.messages[told:]]
        assert {(s.cause, s.stamp_ns, s.reason) for s in statuses if s.state in ("stopping", "stopped")} == {
            (cause, status.stamp_ns, status.reason)
        }
        assert parse_epoch(status.epoch)
        if cause != "driver":  # then nothing leaves any more
            wait_until(partial(braked, robot, since), what="the braking path")
            late_ns = stamp_to_ns(robot.arm.messages[-1].header.stamp) - status.stamp_ns
            braking = 0.06 / (FR3.limits.acceleration[0] * FR3.dt_s**2)
            assert late_ns <= (2 + math.ceil(braking)) * DT_NS, cause
        count = len(robot.arm.messages)
        put_right()
        wait_until(lambda: robot.call("reset").success, what="reset")
        robot.wait_for_state("running", since=told + len(statuses))
        robot.arm.wait_for(count + 2)
        jump = np.array(robot.arm.messages[count].points[0].positions) - [robot.positions[j] for j in ARM.joints]
        assert abs(jump).max() < 1e-9, "it starts where the robot is"
    errors = [line for line in process.output.splitlines() if "ERROR" in line and "To fix" in line]
    assert sum("call /controller/reset" in line for line in errors) == 8, "\n".join(errors)


def test_a_released_emergency_stop_stays_latched(bench):
    robot, _ = bench()
    robot.start()
    robot.move()
    robot.estop.publish(Bool(data=True))
    robot.wait_for_state("stopped", "estop")
    assert not robot.call("reset").success
    count = len(robot.arm.messages)
    robot.estop.publish(Bool(data=False))
    wait_until(lambda: not read_state(robot.state.messages[-1]).estop, what="the release")
    time.sleep(0.3)
    assert read_state(robot.state.messages[-1]).state == "stopped" and len(robot.arm.messages) == count
    late = Recorder(robot.node, type(robot.state.messages[0]), "controller/state", robot.state.qos)
    wait_until(lambda: late.messages and read_state(late.messages[-1]).cause == "estop", what="the latched state")


@pytest.mark.parametrize("word", ["tick", "callback"])
def test_a_defect_brakes_by_the_last_command_and_ends_the_node(bench, word):
    robot, process = bench(FAULTY)
    cell = Cell(robot)
    robot.start()
    wait_matched(robot.node, cell.fault)
    robot.move()
    since = len(robot.arm.messages) - 3
    cell.fault.publish(String(data=word))
    assert process.wait() == 1
    status = robot.wait_for_state("stopped", "exception")
    assert "injected fault" in status.reason and "injected fault" in process.output
    wait_until(lambda: braked(robot, since), what="the braking path")


def test_sigterm_and_deactivation_send_the_braking_path_last_and_activation_goes_on(bench):
    robot, process = bench()
    robot.start()
    robot.move()
    since, count = len(robot.arm.messages) - 3, len(robot.state.messages)

    def change(transition):
        request = ChangeState.Request(transition=Transition(id=transition))
        assert robot.call("change_state", request).success

    change(Transition.TRANSITION_DEACTIVATE)
    status = robot.wait_for_state("stopped", "shutdown", since=count)
    assert status.reason == "deactivated"
    wait_until(lambda: braked(robot, since), what="the braking path")
    count = len(robot.arm.messages)
    refused = robot.call("reset")
    assert not refused.success and "not active" in refused.message
    robot.driving = 0.0
    change(Transition.TRANSITION_ACTIVATE)
    robot.arm.wait_for(count + 3)
    robot.move()
    since = len(robot.arm.messages) - 3
    assert process.end(signal.SIGTERM) == 0
    assert robot.wait_for_state("stopped", "shutdown", since=len(robot.state.messages) - 2).reason == "the node ends"
    wait_until(lambda: braked(robot, since), what="the braking path")


def test_a_controller_killed_in_motion_starts_again_without_a_jump_once_the_robot_rests(bench):
    robot, process = bench()
    robot.start()
    robot.move()
    process.process.kill()
    process.process.wait()
    robot.following = False

    def coast():  # nobody tells it anything
        robot.positions["fr3_joint1"] += 0.002

    coasting = robot.node.create_timer(0.02, coast)
    robot.driving, count, told = 0.0, len(robot.arm.messages), len(robot.state.messages)
    _, restarted = bench()
    moving = robot.wait_for_state("waiting", since=told)
    wait_until(lambda: "fr3_joint1 moves" in read_state(robot.state.messages[-1]).reason, what="the reason")
    assert moving and len(robot.arm.messages) == count, "nothing is sent while the robot moves"
    coasting.cancel()
    robot.wait_for_state("running", since=told)
    robot.arm.wait_for(count + 3)
    rest = robot.positions["fr3_joint1"]
    assert [m.points[0].positions[0] for m in robot.arm.messages[count:]] == pytest.approx(
        [rest] * (len(robot.arm.messages) - count), abs=1e-9
    )
    robot.following = True
    robot.move()
    assert restarted.end(signal.SIGTERM) == 0


def test_without_chunks_the_robot_brakes_and_holds_and_the_next_chunk_goes_on_from_there(bench):
    robot, _ = bench()
    robot.start()
    robot.move()
    since, told = len(robot.arm.messages) - 3, len(robot.state.messages)
    robot.driving = 0.0  # as when the policy is killed
    status = robot.wait_for_state("running", "chunks_silent", since=told)
    wait_until(lambda: len(set(m.points[0].positions[0] for m in robot.arm.messages[-5:])) == 1, what="a hold")
    assert braked(robot, since)
    first_held = stamp_to_ns(robot.arm.messages[since].header.stamp)
    assert first_held < status.stamp_ns <= stamp_to_ns(robot.arm.messages[-1].header.stamp)
    rest, count = robot.positions["fr3_joint1"], len(robot.arm.messages)
    robot.move()
    robot.wait_for_state("running", since=told + 1)
    path = [m.points[0].positions[0] for m in robot.arm.messages[count - 3 :]]
    assert path[0] == rest and abs(np.diff(path, 2)).max() <= MAX_STEP
    assert len({m.header.frame_id for m in robot.buffer.messages}) == 1, "one epoch all the while"


def test_dry_run_tells_everything_and_watches_no_tracking(bench):
    robot, _ = bench(dry_run=True)
    robot.start()
    robot.driving = 0.03
    base = Recorder(robot.node, JointTrajectory, "controller/buffer")
    base.wait_for(40)
    moved = [m.points[0].positions[0] for m in base.messages]
    assert np.ptp(moved) > FR3.watchdog.tracking_error[0] + 0.1
    assert read_state(robot.state.messages[-1]).state == "running" and not robot.arm.messages
    assert robot.call("stop").success
    robot.wait_for_state("stopped", "stop_service")
