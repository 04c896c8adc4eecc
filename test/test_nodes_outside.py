"""What comes from outside ends no node: hostile messages, held-up processes, and every order of transitions."""

import io
import signal
import subprocess
import sys
import time

import numpy as np
import pytest
from builtin_interfaces.msg import Duration
from lifecycle_msgs.msg import Transition
from lifecycle_msgs.srv import ChangeState
from rclpy.executors import SingleThreadedExecutor
from rclpy.serialization import serialize_message
from rich.console import Console
from ros_support import ROOT, NodeProcess, Recorder, ros_graph, tiny_checkpoint, wait_matched, wait_until
from stand_in_robot import FR3, H, controller_beside_robot
from std_msgs.msg import Header
from trajectories import trajectory_message
from trajectory_msgs.msg import JointTrajectory, JointTrajectoryPoint
from visualization_msgs.msg import MarkerArray

from beingh_core.realtime.clock import parse_stamp
from beingh_ros.messages.controller_state import read_state
from beingh_ros.monitor.page import Surroundings, page
from beingh_ros.monitor.state import MonitorState
from beingh_ros.nodes.guard import GuardedNode

CONFIGURE, CLEANUP = Transition.TRANSITION_CONFIGURE, Transition.TRANSITION_CLEANUP
ACTIVATE, DEACTIVATE = Transition.TRANSITION_ACTIVATE, Transition.TRANSITION_DEACTIVATE
SHUTDOWNS = {
    "unconfigured": Transition.TRANSITION_UNCONFIGURED_SHUTDOWN,
    "inactive": Transition.TRANSITION_INACTIVE_SHUTDOWN,
    "active": Transition.TRANSITION_ACTIVE_SHUTDOWN,
}
EPOCHS = (
    "0@" + "9" * 400,
    "9" * 5000 + "@0",
    "\u0661@\u0662",
    "0@-" + "1" * 30,
    "-1@5",
    "0@",
    "@",
    "x" * 1_000_000,
    "0@1\n",
    "1e3@2",
)


@pytest.fixture
def bench(tmp_path):
    with controller_beside_robot(tmp_path) as start:
        yield start


def plan(epoch, **changes):
    """A message like those of plans and chunks."""
    rows = np.tile(FR3.home, (H, 1))
    message = trajectory_message(FR3.joint_names, rows, stamp_ns=10**9, rate_hz=FR3.rate_hz, frame_id=epoch)
    for name, value in changes.items():
        setattr(message, name, value)
    return message


def stamped(epoch, sec, nanosec):
    message = plan(epoch)
    message.header.stamp.sec, message.header.stamp.nanosec = sec, nanosec
    return message


def hostile(epoch):
    """Messages that are none of a plan or a chunk, the large ones last."""
    points = plan(epoch).points
    twice = Duration(sec=1)
    yield from (plan(text) for text in EPOCHS)
    yield from (stamped(epoch, *stamp) for stamp in ((-(2**31), 0), (2**31 - 1, 2**32 - 1), (0, 2**32 - 1)))
    yield plan(epoch, points=[])
    yield plan(epoch, points=points[:1])
    yield plan(epoch, joint_names=[])
    yield plan(epoch, joint_names=[*FR3.joint_names[:-1], "x" * 2_000_000])
    yield plan(epoch, joint_names=["\x1b[31m\n"] * len(FR3.joint_names))
    yield plan(epoch, points=[*points[:-1], JointTrajectoryPoint(positions=[0.0] * 3)])
    yield plan(epoch, points=[JointTrajectoryPoint(positions=p.positions, time_from_start=twice) for p in points])
    yield plan(epoch, points=[JointTrajectoryPoint(positions=[float("nan")] * 8)] * H)
    yield plan(epoch, joint_names=["j"] * 500_000)
    yield plan(epoch, points=[JointTrajectoryPoint(positions=[0.0] * 8)] * 100_000)


def test_no_message_ends_or_holds_up_the_controller(bench):
    robot, process = bench()
    robot.start()
    robot.move()
    late_before = float(robot.status()["tick_lateness_ms_max"])
    sent = 0
    for message in hostile(robot.buffer.messages[-1].header.frame_id):
        data = serialize_message(message)
        for cut in (data, data[: len(data) // 2]):
            robot.chunks.publish(cut)
            sent += 1
        time.sleep(0.02)
    robot.chunks.publish(b"\x00\x01\x00\x00")
    epoch, used = robot.buffer.messages[-1].header.frame_id, len(robot.accepted.messages)
    robot.accepted.wait_for(used + 3)
    status = robot.status()
    assert status["state"] == "running" and process.process.poll() is None
    assert {m.header.frame_id for m in robot.buffer.messages[-5:]} == {epoch}
    refused = sum(int(status[name]) for name in ("malformed", "foreign_epoch", "bad_joints", "bad_dt", "bad_length"))
    assert refused + int(status["nonfinite"]) + int(status["stale"]) >= 20, status
    assert float(status["tick_lateness_ms_max"]) < late_before + 150, "a tick waited for a message to be read"
    assert "Traceback" not in process.output and "\x1b[31m" not in process.output
    assert max(map(len, process.output.splitlines())) < 2_000


def test_a_controller_that_is_held_up_goes_on_by_itself_or_is_reset(bench):
    robot, process = bench()
    robot.start()
    for seconds, cause in ((0.3, ""), (3.0, "clock")):
        robot.move()
        told, since = len(robot.state.messages), len(robot.arm.messages)
        last = np.array([point.positions for point in robot.arm.messages[-1].points])
        process.process.send_signal(signal.SIGSTOP)
        time.sleep(seconds)
        process.process.send_signal(signal.SIGCONT)
        if cause:
            robot.wait_for_state("stopped", cause, since=told)
            robot.driving = 0.0
            assert len(robot.arm.messages) <= since + 2
            wait_until(lambda: robot.call("reset").success, what="reset")
        robot.wait_for_state("running", since=told)
        robot.arm.wait_for(since + 5)
        first = robot.arm.messages[since + 1].points[0].positions[0]
        assert abs(first - last[-1, 0]) <= 0.07, "it goes on where the robot was left"
    robot.move()
    assert process.end(signal.SIGINT) == 0 and process.output.splitlines()[-1].endswith("ended by SIGINT")
    assert "Traceback" not in process.output


def test_a_brake_that_is_held_up_comes_to_rest_and_is_reset(bench):
    robot, process = bench()
    robot.start()
    robot.move()
    since = len(robot.arm.messages)
    assert robot.call("stop").success
    process.process.send_signal(signal.SIGSTOP)
    time.sleep(0.4)
    process.process.send_signal(signal.SIGCONT)
    robot.wait_for_state("stopped", "stop_service")
    robot.driving = 0.0
    path, stamp = (
        [m.points[0].positions[0] for m in robot.arm.messages[since - 3 :]],
        robot.arm.messages[-1].header.stamp,
    )
    path += [point.positions[0] for point in robot.arm.messages[-1].points[1:]]
    steps = np.diff([*path, path[-1], path[-1]])
    assert np.abs(np.diff(steps)).max() <= FR3.limits.acceleration[0] * FR3.dt_s**2 + 1e-9 and stamp.sec
    wait_until(lambda: robot.call("reset").success, what="reset")
    robot.move()


def change(robot, transition):
    return robot.call("change_state", ChangeState.Request(transition=Transition(id=transition))).success


@pytest.mark.parametrize(
    "steps, number",
    [
        ([-DEACTIVATE, -99, CONFIGURE, -CONFIGURE, ACTIVATE, -ACTIVATE, DEACTIVATE, -DEACTIVATE], signal.SIGINT),
        ([SHUTDOWNS["unconfigured"], -CONFIGURE, -SHUTDOWNS["active"]], signal.SIGTERM),
        ([CONFIGURE, ACTIVATE, DEACTIVATE, CLEANUP, CONFIGURE, ACTIVATE, SHUTDOWNS["active"]], signal.SIGINT),
    ],
)
def test_every_order_of_transitions_is_answered_and_every_state_ends_in_order(bench, steps, number):
    """Negative numbers are transitions that the state does not have. The first state is unconfigured."""
    robot, process = bench(autostart=False, subscriber_settle_s=0.0)
    robot.wait_for_state("stopped", "shutdown")
    for step in steps:
        assert change(robot, abs(step)) is (step > 0), step
    assert process.end(number) == 0
    assert "Traceback" not in process.output
    assert process.output.splitlines()[-1].endswith(f"ended by {number.name}")
    assert process.output.count("Allowed:") == sum(step < 0 for step in steps)
    assert process.output.count("ros2 lifecycle set /controller configure") == 1


def test_after_cleanup_and_activation_the_controller_moves_the_robot_again(bench):
    robot, process = bench()
    robot.start()
    robot.move()
    told = len(robot.state.messages)
    assert all(change(robot, step) for step in (DEACTIVATE, CLEANUP, CONFIGURE, ACTIVATE))
    robot.wait_for_state("running", since=told)
    robot.move()
    assert read_state(robot.state.messages[-1]).cause == "" and process.process.poll() is None


def _answers(client, request):
    """Whether a request is answered within a second."""
    future, until = client.call_async(request), time.monotonic() + 1.0
    while not future.done() and time.monotonic() < until:
        time.sleep(0.01)
    return future.done()


def test_no_message_and_no_transition_ends_the_policy(tmp_path):
    checkpoint = tiny_checkpoint(tmp_path / "checkpoint", FR3)
    parameters = {"contract": "fr3", "checkpoint": str(checkpoint), "torch_threads": 1}
    with ros_graph() as graph, NodeProcess(graph, "policy_node", parameters, tmp_path / "log") as process:
        buffer = graph.create_publisher(JointTrajectory, "controller/buffer", 10)
        accepted = graph.create_publisher(Header, "controller/accepted", 10)
        client = graph.create_client(ChangeState, "/policy/change_state")
        assert client.wait_for_service(30.0)

        def change(transition):
            future = client.call_async(ChangeState.Request(transition=Transition(id=transition)))
            wait_until(future.done, 30.0, what=f"transition {transition}")
            return future.result().success

        # A first answer is lost where the node has not found the client yet, which wait_for_service does not say.
        unknown = ChangeState.Request(transition=Transition(id=99))
        wait_until(lambda: _answers(client, unknown), what="an answer")
        assert [change(step) for step in (ACTIVATE, CLEANUP, 99, CONFIGURE, CONFIGURE, ACTIVATE)] == [
            *[False] * 3,
            *[True, False, True],
        ]
        wait_matched(graph, buffer, accepted)
        for message in hostile("0@1000000000"):
            buffer.publish(serialize_message(message))
            accepted.publish(Header(stamp=message.header.stamp, frame_id=message.header.frame_id))
        assert [change(step) for step in (DEACTIVATE, CLEANUP, CONFIGURE, SHUTDOWNS["inactive"], CONFIGURE)] == [
            *[True] * 4,
            False,
        ]
        assert process.end(signal.SIGINT) == 0
        assert "Traceback" not in process.output and process.output.splitlines()[-1].endswith("ended by SIGINT")


def test_no_plan_ends_the_markers_or_the_monitor(tmp_path):
    with ros_graph() as graph, NodeProcess(graph, "markers_node", {"contract": "fr3"}, tmp_path / "log") as process:
        buffer = graph.create_publisher(JointTrajectory, "controller/buffer", 10)
        wait_matched(graph, buffer)
        for message in hostile("0@1000000000"):
            buffer.publish(serialize_message(message))
        markers = Recorder(graph, MarkerArray, "markers/eef_path")

        def shown():
            buffer.publish(plan("0@1000000000"))
            time.sleep(0.05)
            return markers.messages

        wait_until(shown, what="markers of a good plan")
        assert process.end(signal.SIGTERM) == 0 and "Traceback" not in process.output


def test_an_error_in_a_callback_drops_the_message_and_is_told_once():
    with ros_graph() as graph:
        node = GuardedNode("listener", context=graph.context)
        received, told = [], []
        node.get_logger().error = told.append

        def take(message):
            received.append(message.frame_id)
            raise ValueError(f"cannot take \x1b[31m{message.frame_id}" + "x" * 100_000)

        node.create_subscription(Header, "topic", take, 10)
        publisher = graph.create_publisher(Header, "topic", 10)
        wait_matched(graph, publisher)
        executor = SingleThreadedExecutor(context=graph.context)
        executor.add_node(node)
        for word in "abc":
            publisher.publish(Header(frame_id=word))
            wait_until(lambda w=word: executor.spin_once(timeout_sec=0.1) or w in received, what="the message")
        assert node.dropped == {"topic": 3} and len(told) == 1
        assert (
            len(told[0]) < 200
            and told[0].isprintable()
            and told[0].startswith("topic: a message was dropped: ValueError")
        )
        node.destroy_node()


@pytest.mark.parametrize(
    "text", ["", "-5", "\u00b2", "\u0661\u0662", "1" * 20, "9" * 5000, "1e3", " 12", "12\n", "0x10"]
)
def test_what_is_no_time_is_read_as_none(text):
    assert parse_stamp(text) == 0 and parse_stamp("1700000000000000000") == 1_700_000_000_000_000_000
    state = MonitorState()
    state.control("because", {"state": "stopped", "cause": "clock", "stamp_ns": text})
    assert state.last_stop.stamp_ns == 0


@pytest.mark.parametrize("value", ["nan", "inf", "-inf", "1e400", "9" * 5000, "x", ""])
def test_the_page_of_the_monitor_is_drawn_whatever_is_reported(value):
    keys = ("chunk_length", "delay_steps", "tick_rate_hz_target", "tracking_error_share", "failures", "age_s", "lost")
    state = MonitorState()
    for name in ("controller: commands", "policy: inference", "policy: video.scene_view"):
        state.diagnostic(0.0, name, 0, "fine", "fr3", dict.fromkeys(keys, value))
    state.buffer(0.0, "0@5", 10**9, 0.05)
    state.accepted("0@5", 10**9)
    console = Console(file=io.StringIO(), width=100)
    console.print(page(state, Surroundings(title="", hints=[], recording=""), 0.0, 100, 1000))
    assert "fr3" in console.file.getvalue()


@pytest.mark.parametrize(
    "words, told",
    [
        (["-p", "dryrun:=true"], "there is no parameter `dryrun`"),
        (["-p", "dry_run:=1"], "give a bool, such as False"),
        (["-r", "/estop:=/joint_states"], "it cannot be connected"),
        (["-p", "dry-run:=true"], "the command line cannot be read"),
        (["--dry_run"], "the command line cannot be read"),
        (["--params-file", "/nobody/has/this.yaml"], "the command line cannot be read"),
    ],
)
def test_a_mistake_on_the_command_line_is_one_line(words, told):
    command = [sys.executable, "-m", "beingh_ros.nodes.controller_node", "--ros-args", "-p", "contract:=fr3", *words]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=30)
    said = (done.stdout + done.stderr).splitlines()
    assert done.returncode == 2 and sum(told in line for line in said) == 1, said
    assert not any("Traceback" in line for line in said)
