"""controller_node as a process with action drivers: their failures stop it, and its last goal ends at rest."""

import signal
from contextlib import contextmanager

import numpy as np
import pytest
from driver_support import ARM, FINGER, ActionStandIn, contract_with
from interface_builder import for_children, provide
from ros_support import NodeProcess, Recorder, in_executor, ros_graph, wait_until
from stand_in_robot import FR3, H, StandInRobot

from beingh_ros.messages.controller_state import read_state
from beingh_ros.messages.conversions import read_trajectory

FOLLOW = {
    "kind": "follow_joint_trajectory",
    "action": "/arm/follow_joint_trajectory",
    "joints": ARM,
    "velocities": True,
}
GRIPPER = {"kind": "gripper_command", "action": "/hand/gripper_cmd", "joints": [FINGER], "min_change": 0.004}
PREEMPTED = ("abort", {"error_code": -1})


@contextmanager
def bench(folder):
    """A stand-in robot and a starter of its controller."""
    provide("control_msgs")
    contract = contract_with(folder, FOLLOW, GRIPPER | {"max_effort": 20.0})
    with ros_graph() as graph:
        for_children(graph.environment, "control_msgs")
        controllers = []

        def start():
            log = folder / "controller.log"
            controllers.append(NodeProcess(graph, "controller_node", {"contract": str(contract.path)}, log))
            return controllers[-1]

        robot = StandInRobot(graph)
        robot.servers = []
        try:
            yield robot, start
        finally:
            for server in robot.servers:  # else they may outlive their domain's lock
                in_executor(graph, server._server.destroy)
            for process in controllers:
                process.__exit__()


def serve(robot):
    """The robot's two action servers; the arm follows its goals."""
    from control_msgs.action import FollowJointTrajectory, GripperCommand

    arm = ActionStandIn(robot.node, FollowJointTrajectory, FOLLOW["action"], replaces=PREEMPTED)
    arm.on_goal = lambda goal: robot._follow(goal.trajectory)
    hand = ActionStandIn(robot.node, GripperCommand, GRIPPER["action"], replaces=("abort", {}))
    robot.servers += [arm, hand]
    return arm, hand


def test_goals_flow_and_the_last_one_ends_at_rest(tmp_path):
    with bench(tmp_path) as (robot, start):
        arm, hand = serve(robot)
        controller = start()
        robot.start()
        robot.move(0.06)
        assert controller.end(signal.SIGTERM) == 0, controller.output
        last = arm.goals[-1].trajectory
        rows = read_trajectory(last).positions
        assert last.points[-1].velocities.tolist() == [0.0] * 7
        steps = np.abs(np.diff(rows[:, 0]))
        assert len(rows) > 2 and steps[-1] < steps[0] and steps.max() < 0.07, "it brakes"
        assert robot.wait_for_state("stopped", "shutdown") and not hand.goals
        ticks = {round(p.positions[0], 9) for goal in arm.goals for p in goal.trajectory.points}
        assert len(ticks) > 5 and arm.cancels == 0


@pytest.mark.parametrize("failure", ["refuse", "abort"])
def test_a_goal_that_fails_stops_the_robot_with_the_reason(tmp_path, failure):
    with bench(tmp_path) as (robot, start):
        arm, _ = serve(robot)
        start()
        robot.start()
        robot.move(0.02)
        if failure == "refuse":
            arm.accept = False
        else:
            arm.end("abort", error_code=-4, error_string="joint 3")
        status = robot.wait_for_state("stopping", "driver")
        assert ("has refused a goal" if failure == "refuse" else "path tolerance violated") in status.reason
        robot.driving = 0.0
        robot.wait_for_state("stopped", "driver")
        arm.accept = True
        received, goals = len(robot.state.messages), len(arm.goals)
        assert robot.call("reset").success
        robot.wait_for_state("running", since=received)
        wait_until(lambda: len(arm.goals) > goals + 5, what="goals after the reset")


def test_a_gripper_that_holds_something_goes_on_and_one_that_does_not_move_stops_the_robot(tmp_path):
    with bench(tmp_path) as (robot, start):
        _, hand = serve(robot)
        start()
        robot.start()
        follow = lambda goal: robot.positions.update({FINGER: max(goal.command.position, 0.02)})

        def send_gripper(position):
            first, planned = robot.next_tick()
            rows = planned[:H].copy()
            rows[FR3.uac.delay_steps :, FR3.joint_names.index(FINGER)] = position
            robot.send_chunk(rows, first)
            wait_until(lambda: hand.goals and hand.goals[-1].command.position == position, what="the goal")

        hand.on_goal = follow
        send_gripper(0.0)
        hand.end("abort")
        wait_until(lambda: robot.status()["gripper_ended_short"] == "1", what="an object")
        status = robot.status()
        assert status["state"] == "running" and "fingers short" in status["message"]
        hand.on_goal = None
        send_gripper(0.04)
        hand.end("abort")
        assert "has not moved: it is at 0.02" in robot.wait_for_state("stopping", "driver").reason


def test_without_a_server_the_robot_waits_with_a_clear_reason_and_stops_when_one_goes(tmp_path):
    with bench(tmp_path) as (robot, start):
        start()
        wait_until(
            lambda: any(read_state(m).reason.startswith("there is no action server /") for m in robot.state.messages),
            what=lambda: [read_state(m) for m in robot.state.messages],
        )
        assert not robot.buffer.messages
        arm, hand = serve(robot)
        robot.wait_for_state("running")
        received = len(robot.state.messages)
        in_executor(robot.node, robot.servers.pop()._server.destroy)
        status = robot.wait_for_state("stopped", "driver", since=received)
        assert status.reason.startswith("there is no action server /hand/gripper_cmd"), status.reason
        received, goals = len(robot.state.messages), len(arm.goals)
        robot.servers.append(ActionStandIn(robot.node, hand._type, GRIPPER["action"], replaces=("abort", {})))
        assert robot.call("reset").success
        robot.wait_for_state("running", since=received)
        wait_until(lambda: len(arm.goals) > goals, what="goals after the reset")
        wait_until(lambda: len(arm.goals) > 5, what="goals")
        np.testing.assert_allclose(arm.goals[0].trajectory.points[0].positions, list(robot.positions.values())[:7])


def test_a_g1_from_its_own_state_to_the_weight_that_falls_at_the_end(tmp_path):
    """The shipped contract, the bridge for joint states and the controller, as processes."""
    provide("unitree_hg")
    from unitree_hg.msg import LowCmd, LowState

    with ros_graph() as graph:
        for_children(graph.environment, "unitree_hg")
        received = Recorder(graph, LowCmd, "/arm_sdk")
        state = LowState(mode_machine=5)
        state.motor_state[18].q = 0.3
        publishers = [graph.create_publisher(LowState, topic, 1) for topic in ("/lowstate", "/lf/lowstate")]
        graph.create_timer(0.01, lambda: [publisher.publish(state) for publisher in publishers])
        with (
            NodeProcess(graph, "unitree_joint_states", {}, tmp_path / "states.log"),
            NodeProcess(graph, "controller_node", {"contract": "g1"}, tmp_path / "controller.log") as controller,
        ):
            received.wait_for(300)
            rate_hz = 299 / (received.times_s[299] - received.times_s[0])
            assert controller.end(signal.SIGTERM) == 0, controller.output
        commands = received.messages
        assert 100 < rate_hz < 260, f"{rate_hz:.0f} Hz"
        weights = np.array([message.motor_cmd[29].q for message in commands])
        top = int(weights.argmax())
        assert weights[0] < 0.001 and 0.01 < weights[top] < 1.0 and weights[-1] == 0.0
        assert np.diff(weights[: top + 1]).min() >= 0.0 and np.diff(weights[top:]).max() <= 0.0
        # It follows time: a sender that was held up goes on as much further as its silence lasted.
        periods = np.maximum(1.0, np.diff(received.times_s[: len(weights)]) * 250.0 + 1.0)
        assert (np.abs(np.diff(weights)) / periods).max() < 0.02, "the weight never steps"
        assert {message.mode_machine for message in commands} == {5}
        assert all(message.motor_cmd[18].q == pytest.approx(0.3, abs=1e-6) for message in commands), "it held"
        assert all(message.crc for message in commands)
