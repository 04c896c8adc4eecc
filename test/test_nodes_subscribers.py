"""Who listens: the controller starts only when the robot receives its commands, and stops when it no longer does."""

import time
from types import SimpleNamespace

import pytest
from control_support import HOME, NOW, measure_at_rest
from rclpy.node import Node
from rclpy.parameter import Parameter
from ros_support import Recorder, ros_graph, wait_until
from sensor_msgs.msg import JointState
from stand_in_robot import ARM, DT_NS, FR3, HAND, controller_beside_robot
from trajectory_msgs.msg import JointTrajectory

from beingh_core.control.controller import Controller
from beingh_core.control.stop_causes import DRIVER, RUNNING, STOPPED, WAITING
from beingh_core.control.subscribers import DISCOVERY_S, SETTLING, Subscribed, SubscriberWatch
from beingh_ros.messages.controller_state import read_state
from beingh_ros.nodes.runtime import declare, refuse_misspelled, rename


def test_the_numbers_must_have_settled_with_a_subscriber_on_each_topic():
    subscribers, nobody = SubscriberWatch(2.0), "nobody subscribes to /b"
    assert subscribers.look(10.0, {"/a": 1, "/b": 0}, nobody) == Subscribed(
        f"waiting for subscribers: {nobody}", lost=True
    )
    assert subscribers.look(10.0 + DISCOVERY_S, {"/a": 1, "/b": 0}, nobody) == Subscribed(nobody, lost=True)
    assert subscribers.look(12.0, {"/a": 1, "/b": 1}, None).reason.startswith(SETTLING)
    assert subscribers.look(13.9, {"/a": 2, "/b": 1}, None).reason.startswith(SETTLING), "an onlooker, then the robot"
    assert subscribers.look(15.8, {"/a": 2, "/b": 1}, None).reason.startswith(SETTLING)
    assert subscribers.look(15.9, {"/a": 2, "/b": 1}, None) == Subscribed()
    assert subscribers.look(99.0, {"/a": 1, "/b": 1}, None).reason.startswith(SETTLING), "one that goes is a change too"


def test_a_subscriber_that_goes_early_is_lost_and_not_awaited():
    subscribers = SubscriberWatch(0.0)
    assert subscribers.look(10.0, {"/a": 1}, None) == Subscribed()
    assert (
        subscribers.look(10.0 + 0.5 * DISCOVERY_S, {"/a": 0}, "nobody subscribes to /a").reason
        == "nobody subscribes to /a"
    )


def test_nothing_commanded_needs_no_subscriber_and_no_settling_is_allowed():
    assert SubscriberWatch(2.0).look(0.0, {}, None) == Subscribed()
    assert SubscriberWatch(0.0).look(0.0, {"/a": 1}, None) == Subscribed()


def test_the_old_name_of_the_time_to_settle_is_taken_and_told_once():
    with ros_graph() as graph:
        given = [Parameter("listener_settle_s", value=1.5)]
        node = Node("renamed", context=graph.context, parameter_overrides=given)
        told = []
        node.get_logger = lambda: SimpleNamespace(warning=told.append)
        rename(node, "listener_settle_s", "subscriber_settle_s")
        assert declare(node, "subscriber_settle_s", 4.0, "time") == 1.5
        refuse_misspelled(node)
        assert told == ["parameter `listener_settle_s` is called `subscriber_settle_s` now: write that in its place"]
        node.destroy_node()


def test_settling_keeps_a_controller_waiting_but_stops_none_that_runs():
    controller = Controller(FR3, joint_state_timeout_s=1.0)
    controller.subscribers(Subscribed("nobody subscribes to /a", lost=True), NOW)
    now_ns = measure_at_rest(controller, NOW, HOME)
    assert (controller.status.state, controller.status.reason) == (WAITING, "nobody subscribes to /a")
    assert controller.next_tick_ns() is None
    controller.subscribers(Subscribed(SETTLING), now_ns)
    now_ns = measure_at_rest(controller, now_ns + DT_NS, HOME)
    assert (controller.status.state, controller.status.reason) == (WAITING, SETTLING)
    controller.subscribers(Subscribed(), now_ns)
    now_ns = measure_at_rest(controller, now_ns + DT_NS, HOME)
    assert controller.status.state == RUNNING
    controller.subscribers(Subscribed(SETTLING), now_ns)
    assert controller.status.state == RUNNING, "one more onlooker"
    controller.subscribers(Subscribed("nobody subscribes to /a", lost=True), now_ns)
    assert controller.status.state != RUNNING and controller.status.cause == DRIVER
    assert controller.status.reason == "nobody subscribes to /a"


@pytest.fixture
def bench(tmp_path):
    with controller_beside_robot(tmp_path) as start:
        yield start


def deafen(robot, group):
    """Take every subscription of a command topic away."""
    recorder = robot.arm if group is ARM else robot.hand
    followers = [link for link in robot._links if link.topic_name == f"/{group.topic}"]
    robot._links = [link for link in robot._links if link not in followers]
    for subscription in (recorder._subscription, *followers):
        robot.node.destroy_subscription(subscription)


def received(robot, word):
    return any(word in read_state(message).reason for message in robot.state.messages)


def test_a_robot_that_listens_late_gets_the_first_tick(bench):
    robot, process = bench(before=lambda robot: deafen(robot, HAND), subscriber_settle_s=1.0)
    wait_until(lambda: received(robot, f"nobody subscribes to /{HAND.topic}"), what=lambda: process.output)
    assert not robot.buffer.messages and not robot.arm.messages
    onlooker = Recorder(robot.node, JointTrajectory, HAND.topic)
    late = Recorder(robot.node, JointTrajectory, HAND.topic)
    wait_until(lambda: received(robot, SETTLING), what="settling")
    robot.start()
    first_ns = robot.clock().start_ns
    for recorder in (onlooker, late, robot.arm):
        stamp = recorder.wait_for(1)[0].header.stamp
        assert stamp.sec * 10**9 + stamp.nanosec == first_ns, "everybody receives the first tick"
    assert "nobody subscribes" in process.output


def test_a_robot_that_turns_up_after_a_recorder_is_waited_for(bench):
    def nothing_but_onlookers(robot):
        robot.node.destroy_publisher(robot._states)
        robot.talking = False
        for group in (HAND, ARM):
            deafen(robot, group)
            robot._links.append(robot.node.create_subscription(JointTrajectory, group.topic, lambda _: None, 10))

    settle_s = 1.0
    robot, _ = bench(before=nothing_but_onlookers, subscriber_settle_s=settle_s)
    wait_until(lambda: received(robot, "waiting for joint states"), what="a controller without joint states")
    wait_until(lambda: all(robot.node.count_publishers(g.topic) for g in (HAND, ARM)), what="its publishers")
    settled_s = time.monotonic() + settle_s + DISCOVERY_S
    wait_until(lambda: time.monotonic() > settled_s, what="settled onlookers")
    told = len(robot.state.messages)
    robot._states = robot.node.create_publisher(JointState, "/joint_states", 10)
    robot.talking = True
    wait_until(
        lambda: any(read_state(message).reason.startswith(SETTLING) for message in robot.state.messages[told:]),
        what=lambda: [read_state(message) for message in robot.state.messages],
    )
    assert not robot.buffer.messages
    robot.start()


def test_the_last_subscriber_that_goes_stops_it_and_a_reset_waits_for_the_next(bench):
    robot, _ = bench()
    robot.start()
    robot.move()
    since = len(robot.state.messages)
    deafen(robot, HAND)
    status = robot.wait_for_state("stopped", "driver", since=since)
    robot.driving = 0.0
    assert status.reason.startswith(f"nobody subscribes to /{HAND.topic}"), status.reason
    told = len(robot.state.messages)
    assert robot.call("reset").success
    wait_until(
        lambda: any(
            (s.state, s.reason) == (WAITING, status.reason) for s in map(read_state, robot.state.messages[told:])
        ),
        what="waiting",
    )
    count = len(robot.arm.messages)  # by now the braking path has come
    _hand = Recorder(robot.node, JointTrajectory, HAND.topic)
    robot.wait_for_state("running", since=told)
    jump = robot.arm.wait_for(count + 1)[count].points[0].positions[0] - robot.positions[ARM.joints[0]]
    assert abs(jump) < 1e-9, "it starts where the robot is"


def test_a_dry_run_needs_no_subscriber(bench):
    robot, _ = bench(before=lambda robot: [deafen(robot, HAND), deafen(robot, ARM)], dry_run=True)
    robot.wait_for_state("running")
    assert STOPPED not in {read_state(message).state for message in robot.state.messages}
