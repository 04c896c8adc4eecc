"""On the wire: what was said before the controller came, who else speaks, and under which names."""

import time

import pytest
from rclpy.executors import SingleThreadedExecutor
from rclpy.node import Node
from rclpy.parameter import Parameter
from rclpy.qos import DurabilityPolicy, QoSProfile
from ros_support import NodeProcess, Recorder, ros_graph, wait_until
from rosgraph_msgs.msg import Clock
from sensor_msgs.msg import JointState
from stand_in_robot import ARM, FR3, controller_beside_robot
from std_msgs.msg import Bool
from std_srvs.srv import SetBool
from trajectory_msgs.msg import JointTrajectory

from beingh_ros.messages.controller_state import read_state
from beingh_ros.messages.conversions import ns_to_stamp
from beingh_ros.nodes.runtime import subscribe_latched_clock

LATCHED = QoSProfile(depth=4, durability=DurabilityPolicy.TRANSIENT_LOCAL)
FINGER = "fr3_finger_joint1"


@pytest.fixture
def bench(tmp_path):
    with controller_beside_robot(tmp_path) as start:
        yield start


def latched(robot, *words):
    publisher = robot.node.create_publisher(Bool, FR3.estop_topic, LATCHED)
    for word in words:
        publisher.publish(Bool(data=word))
    return publisher


def reasons(robot):
    return [read_state(message).reason for message in robot.state.messages]


def say(robot, publisher, **fields):
    message = JointState(**fields)
    message.header.stamp = robot.node.get_clock().now().to_msg()
    publisher.publish(message)


def also_at_home(robot, shift=0.0):
    """A second source of the arm's joints, in another node: the posture that it knows, shifted."""
    publisher = robot.node.create_publisher(JointState, "/joint_states", 10)
    values = [value + shift for value in FR3.home[:7]]
    timer = robot.node.create_timer(0.023, lambda: say(robot, publisher, name=list(ARM.joints), position=values))
    return publisher, timer


def test_what_two_panels_said_before_is_obeyed_until_the_one_that_pressed_releases(bench):
    panels = []
    robot, _ = bench(before=lambda robot: panels.extend([latched(robot, False, True), latched(robot, False)]))
    status = robot.wait_for_state("stopped", "estop")
    assert status.estop and not robot.arm.messages and not robot.buffer.messages
    refused = robot.call("reset")
    assert not refused.success and "emergency stop is active" in refused.message
    panels[0].publish(Bool(data=False))
    wait_until(lambda: not read_state(robot.state.messages[-1]).estop, what="the release")
    assert robot.call("reset").success
    robot.wait_for_state("running")


def test_a_panel_that_holds_the_stop_is_released_by_no_restart_of_another_but_when_it_has_gone(bench):
    panels = []
    robot, _ = bench(before=lambda robot: panels.append(latched(robot, False, True)))
    robot.wait_for_state("stopped", "estop")
    held = lambda: read_state(robot.state.messages[-1]).estop
    others = []
    for _ in range(4):
        while others:
            robot.node.destroy_publisher(others.pop())
        other = robot.node.create_publisher(Bool, FR3.estop_topic, 10)
        others.append(other)
        wait_until(lambda: other.get_subscription_count() >= 2, what="the controller")  # noqa: B023
        for _ in range(3):
            other.publish(Bool(data=False))
        assert robot.call("estop", SetBool.Request(data=False)).success  # another source; it is answered behind these
        assert not robot.call("reset").success and held()
    robot.node.destroy_publisher(robot.estop)  # it never spoke: it might be the one that pressed
    robot.node.destroy_publisher(panels.pop())
    timer = robot.node.create_timer(0.1, lambda: other.publish(Bool(data=False)))
    wait_until(lambda: not held(), what="the release")
    timer.cancel()
    assert robot.call("reset").success


def test_a_stop_that_was_released_before_is_none_and_joints_may_come_from_their_own_drivers(bench):
    def two_drivers(robot):
        latched(robot, True, False)
        finger = robot.positions.pop(FINGER)
        hand = robot.node.create_publisher(JointState, "/joint_states", 10)
        robot.node.create_timer(
            0.033, lambda: say(robot, hand, name=[FINGER, "lamp", "lamp"], position=[finger, 0.0, 1.0])
        )
        force = robot.node.create_publisher(JointState, "/joint_states", 10)
        silent = [dict(name=[FINGER], effort=[12.5]), dict(name=list(ARM.joints), velocity=[0.0] * 7)]
        silent.append(dict(name=[FINGER]))
        robot.node.create_timer(0.05, lambda: [say(robot, force, **fields) for fields in silent])

    robot, process = bench(before=two_drivers)
    robot.wait_for_state("running")
    robot.arm.wait_for(20)
    assert {read_state(message).state for message in robot.state.messages} == {"waiting", "running"}, process.output


def test_a_second_publisher_of_a_joint_is_named_even_where_it_agrees_and_one_that_contradicts_stops(bench):
    second = []
    robot, _ = bench(before=lambda robot: second.extend(also_at_home(robot)))
    named = "several publishers on /joint_states"
    wait_until(lambda: any(named in reason for reason in reasons(robot)), what=lambda: reasons(robot))
    told = next(reason for reason in reasons(robot) if "several publishers" in reason)
    assert "fr3_joint1" in told and "/observer (2 times)" in told and not robot.buffer.messages
    second[1].cancel()
    robot.node.destroy_publisher(second[0])
    robot.wait_for_state("running")
    robot.start()
    count = len(robot.state.messages)
    _second = also_at_home(robot, shift=0.15)
    status = robot.wait_for_state("stopped", "joint_states_invalid", since=count)
    assert "contradict each other" in status.reason and "/observer" in status.reason


def test_another_commander_keeps_it_from_a_start_by_name_and_stops_it_when_it_comes(bench):
    rival = []
    robot, process = bench(
        before=lambda robot: rival.append(robot.node.create_publisher(JointTrajectory, ARM.topic, 10))
    )
    text = f"another node publishes commands on /{ARM.topic} too: /observer"
    wait_until(lambda: any(r.startswith(text) for r in reasons(robot)), what=lambda: reasons(robot))
    time.sleep(0.3)
    assert not robot.buffer.messages
    robot.node.destroy_publisher(rival.pop())
    robot.start()
    count = len(robot.state.messages)
    robot.move()
    since = len(robot.arm.messages)
    robot.node.create_publisher(JointTrajectory, ARM.topic, 10)
    status = robot.wait_for_state("stopped", "driver", since=count)
    assert status.reason.startswith(text) and len(robot.arm.messages) > since
    assert process.output.count("The robot brakes") == 1


def test_remapped_topics_are_counted_told_and_judged_under_their_own_names(bench, tmp_path):
    cell = {"/joint_states": "/cell/joint_states", ARM.topic: "/cell/arm"}
    rules = [f"{name}:={other}" for name, other in cell.items()]
    robot, first = bench()  # only for the stand-in's part of the wire
    robot.start()
    first.end(2)
    graph = robot.node
    wait_until(lambda: graph.count_publishers(ARM.topic) == 0, what="the end of the first controller")
    count = len(robot.state.messages)
    log = tmp_path / "remapped.log"
    words = {"contract": "fr3"}
    with NodeProcess(graph, "controller_node", words, log, remap=rules) as process:
        reason = f"waiting for joint states on {cell['/joint_states']}"
        wait_until(lambda: any(reason in r for r in reasons(robot)[count:]), what=lambda: reasons(robot)[count:])
        wait_until(lambda: "[WARN]" in process.output and reason in process.output, what=lambda: process.output)
        states = graph.create_publisher(JointState, cell["/joint_states"], 10)
        foreign = graph.create_timer(
            0.05, lambda: say(robot, states, name=[f"left_{n}" for n in FR3.joint_names], position=list(FR3.home))
        )
        wait_until(lambda: any("left_fr3_joint1" in r for r in reasons(robot)), what="the names that come")
        foreign.cancel()
        graph.create_timer(0.02, lambda: say(robot, states, name=list(FR3.joint_names), position=list(FR3.home)))
        deaf = f"nobody subscribes to {cell[ARM.topic]}"
        wait_until(lambda: any(deaf in reason for reason in reasons(robot)), what="the deaf robot")
        arm = Recorder(graph, JointTrajectory, cell[ARM.topic])
        arm.wait_for(3)
        count = len(robot.state.messages)
        graph.create_publisher(JointTrajectory, cell[ARM.topic], 10)
        status = robot.wait_for_state("stopped", "driver", since=count)
        assert f"commands on {cell[ARM.topic]} too" in status.reason


def test_an_order_to_end_that_reaches_the_robot_first_is_no_error(bench):
    robot, process = bench()
    robot.start()
    robot.move()
    for recorder in (robot.arm, robot.hand):
        robot.node.destroy_subscription(recorder._subscription)
    for link in robot._links:
        robot.node.destroy_subscription(link)
    robot.wait_for_state("stopping", "driver")
    assert process.end(2) == 0
    assert "ERROR" not in process.output and "everything is being ended" in process.output


def test_the_clock_of_a_paused_simulation_is_received_later_and_sets_no_time_back():
    with ros_graph() as graph:
        first = graph.create_publisher(Clock, "/clock", LATCHED)
        first.publish(Clock(clock=ns_to_stamp(5 * 10**9)))
        node = Node("late", context=graph.context, parameter_overrides=[Parameter("use_sim_time", value=True)])
        subscribe_latched_clock(node)
        received = []
        executor = SingleThreadedExecutor(context=graph.context)
        executor.add_node(node)

        def now():
            executor.spin_once(timeout_sec=0.05)
            return node.get_clock().now().nanoseconds

        wait_until(lambda: now() == 5 * 10**9, what="the latched time")
        running = graph.create_publisher(Clock, "/clock", 10)
        wait_until(running.get_subscription_count, what="the subscription")
        running.publish(Clock(clock=ns_to_stamp(9 * 10**9)))
        wait_until(lambda: now() == 9 * 10**9, what="the running time")
        subscribe_latched_clock(node)
        again = node.create_subscription(Clock, "/clock", received.append, LATCHED)
        wait_until(lambda: now() and received, what="the latched time again")
        assert now() == 9 * 10**9 and again.topic_name == "/clock"
        node.destroy_node()
