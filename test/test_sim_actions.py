"""The simulator's action servers, asked over DDS, in simulated time."""

import math
import signal

import pytest
from action_support import interfaces
from driver_support import contract_with, two_nodes
from ros_support import NodeProcess, in_executor, ros_graph, wait_until

pytest.importorskip("mujoco")
from action_msgs.msg import GoalStatus
from rclpy.action import ActionClient, ActionServer
from rclpy.executors import SingleThreadedExecutor
from rclpy.node import Node

from beingh_core.contract import load_contract
from beingh_core.sim import SimRobot
from beingh_ros.nodes.sim_drivers import SimDrivers
from beingh_ros.nodes.sim_jobs import ParallelGripperJob

interfaces = interfaces
STEP_NS = 10_000_000
SUCCEEDED, CANCELED, ABORTED = GoalStatus.STATUS_SUCCEEDED, GoalStatus.STATUS_CANCELED, GoalStatus.STATUS_ABORTED


class Bench:
    """The simulated drivers of a contract, and a client of one of their actions."""

    def __init__(self, server_node, client_node, contract, action=None):
        self.told, self.feedback, self.now_ns = [], [], STEP_NS
        self.robot, self._server_node = SimRobot.of(contract), server_node
        self.drivers = SimDrivers(server_node, contract, self.robot, self.told.append)
        self._node = client_node
        driver = contract.drivers[-1]
        self.joint, self.action = driver.joints[0], action or driver.groups[0].topic

    def client(self, kind, suffix=""):
        """A client that has found its server."""
        self._client = ActionClient(self._node, kind, self.action + suffix)
        wait_until(self._client.server_is_ready, what="the server")
        return self._client

    def until(self, condition, what):
        """Simulate until something is so."""

        def step():
            self.drivers.take(self.now_ns)
            self.robot.step(STEP_NS / 1e9, self.drivers.references(self.now_ns + STEP_NS))
            self.now_ns += STEP_NS
            self.drivers.watch(self.now_ns)
            return condition()

        return wait_until(step, what=what)

    def send(self, client, goal):
        """Send a goal and return its handle, where it is accepted."""
        future = client.send_goal_async(goal, feedback_callback=lambda message: self.feedback.append(message.feedback))
        self.until(future.done, "an answer")
        return future.result()

    def end(self, handle):
        """(status, result) of a goal."""
        future = handle.get_result_async()
        self.until(future.done, "a result")
        return future.result().status, future.result().result

    def accepted(self, client, goal):
        """Send a goal while physics stands still, so that it does not begin."""
        future = client.send_goal_async(goal)
        wait_until(future.done, what="an answer")
        return future.result()

    def reset(self):
        in_executor(self._server_node, self.drivers.reset)

    def position(self):
        return self.robot.positions()[self.joint]


@pytest.fixture
def bench():
    found = []

    with two_nodes() as (server_node, client_node):

        def make(contract, **options):
            made = Bench(server_node, client_node, contract, **options)
            found.append(made)
            return made

        yield make
        for made in found:
            in_executor(client_node, made._client.destroy)
            in_executor(server_node, made.drivers.destroy)


def parallel(position, *, velocity=()):
    from control_msgs.action import ParallelGripperCommand

    goal = ParallelGripperCommand.Goal()
    goal.command.position, goal.command.velocity = list(position), list(velocity)
    return goal


def test_a_parallel_gripper_reaches_its_goal_and_stalls_before_one_that_it_cannot_reach(bench):
    from control_msgs.action import ParallelGripperCommand

    made = bench(load_contract("so101"))
    client = made.client(ParallelGripperCommand)
    status, result = made.end(made.send(client, parallel([1.0])))
    assert (status, result.reached_goal, result.stalled) == (SUCCEEDED, True, False)
    # Told as soon as it is within 0.01, while the jaw still swings: its servo is soft.
    assert result.state.name == ["gripper"] and abs(result.state.position[0] - 1.0) < 0.1
    status, result = made.end(made.send(client, parallel([9.0])))
    assert (status, result.reached_goal, result.stalled) == (ABORTED, False, True)
    assert made.feedback and made.feedback[-1].state.position[0] > 1.0
    assert made.position() == pytest.approx(1.74533, abs=0.02), "it goes as far as the joint goes, and stays there"


def test_a_newer_goal_aborts_the_one_before_and_a_cancelled_one_leaves_the_fingers_where_they_are(bench):
    from control_msgs.action import ParallelGripperCommand

    made = bench(load_contract("so101"))
    client = made.client(ParallelGripperCommand)
    first = made.send(client, parallel([1.7], velocity=[0.1]))
    made.until(lambda: made.position() > 0.05, "motion")
    second = made.send(client, parallel([-0.1], velocity=[0.1]))
    assert made.end(first)[0] == ABORTED
    made.until(lambda: made.position() < 0.03, "motion the other way")
    future = second.cancel_goal_async()
    made.until(future.done, "the cancellation")
    assert made.end(second)[0] == CANCELED
    held = made.position()
    for _ in range(50):
        made.until(lambda: True, "")
    assert made.position() == pytest.approx(held, abs=0.01)


@pytest.mark.parametrize("position", [[], [0.1, 0.2], [math.nan]])
def test_a_goal_that_is_none_is_refused(bench, position):
    from control_msgs.action import ParallelGripperCommand

    made = bench(load_contract("so101"))
    assert not made.send(made.client(ParallelGripperCommand), parallel(position)).accepted


def test_gripper_command_counts_in_the_servers_numbers(bench, tmp_path):
    from control_msgs.action import GripperCommand
    from driver_support import ARM_DRIVER, FINGER

    hand = {"kind": "gripper_command", "action": "/hand", "joints": [FINGER], "min_change": 0.004, "max_effort": 5.0}
    made = bench(contract_with(tmp_path, ARM_DRIVER, hand | {"closed_command": 100.0, "open_command": 0.0}))
    goal = GripperCommand.Goal()
    goal.command.position = 50.0
    status, result = made.end(made.send(made.client(GripperCommand), goal))
    assert (status, result.reached_goal) == (SUCCEEDED, True)
    assert result.position == pytest.approx(50.0, abs=3.0) and made.position() == pytest.approx(0.02, abs=0.001)


def test_a_franka_hand_moves_and_grasps_one_after_the_other(bench):
    from franka_msgs.action import Grasp, Homing, Move

    made = bench(load_contract("fr3_hand"))
    grasp, move = made.client(Grasp, "/grasp"), made.client(Move, "/move")
    shut = made.send(grasp, Grasp.Goal(width=0.03, speed=0.1, force=20.0))
    opened = made.send(move, Move.Goal(width=0.07, speed=0.1))
    assert made.end(shut)[0] == SUCCEEDED, "within its epsilon"
    assert made.position() < 0.02, "the move has waited"
    status, result = made.end(opened)
    assert (status, result.success, made.position()) == (SUCCEEDED, True, pytest.approx(0.035, abs=0.002))
    status, result = made.end(made.send(move, Move.Goal(width=0.2, speed=0.1)))
    assert (status, result.success) == (ABORTED, False) and "0.2000 m are wanted" in result.error
    assert made.end(made.send(made.client(Homing, "/homing"), Homing.Goal()))[1].success


def test_a_reset_breaks_off_every_goal_also_those_that_have_not_begun(bench, monkeypatch):
    from franka_msgs.action import Grasp, Move

    made = bench(load_contract("fr3_hand"))
    grasp, move = made.client(Grasp, "/grasp"), made.client(Move, "/move")
    runs = made.send(grasp, Grasp.Goal(width=0.03, speed=0.01, force=20.0))
    waits = made.accepted(move, Move.Goal(width=0.07, speed=0.1))
    made.reset()
    for handle in (runs, waits):
        status, result = made.end(handle)
        assert (status, result.success, result.error) == (ABORTED, False, "the simulator was reset")
    accept = ActionServer._execute_goal_request

    async def reset_at_once(*arguments):
        await accept(*arguments)
        made.drivers.reset()

    with monkeypatch.context() as patch:
        patch.setattr(ActionServer, "_execute_goal_request", reset_at_once)
        accepted = made.accepted(move, Move.Goal(width=0.07, speed=0.1))
        assert made.end(accepted)[0] == ABORTED, "before rclpy has called its execute callback, too"
    status, result = made.end(made.send(move, Move.Goal(width=0.07, speed=0.1)))
    assert (status, result.success) == (SUCCEEDED, True)


def test_a_goal_that_cannot_be_dealt_with_is_refused_or_aborted(bench, monkeypatch):
    from control_msgs.action import ParallelGripperCommand

    def fail(error):
        def failing(*_):
            raise error

        return failing

    made = bench(load_contract("so101"))
    client = made.client(ParallelGripperCommand)
    for method, accepted in (("refusal", False), ("begin", True), ("ended", True)):
        with monkeypatch.context() as patch:
            patch.setattr(ParallelGripperJob, method, fail(ValueError("too large")))
            handle = made.send(client, parallel([1.0]))
            assert handle.accepted == accepted
            if accepted:
                assert made.end(handle)[0] == ABORTED
    assert made.end(made.send(client, parallel([1.0])))[0] == SUCCEEDED, "and it goes on"


def test_a_defect_in_the_begin_of_a_goal_ends_the_node(monkeypatch):
    from control_msgs.action import ParallelGripperCommand

    def defect(*_):
        raise AttributeError("no such thing")

    monkeypatch.setattr(ParallelGripperJob, "begin", defect)
    contract = load_contract("so101")
    with ros_graph() as client_node:
        node = Node("sim", context=client_node.context)
        drivers = SimDrivers(node, contract, SimRobot.of(contract), print)
        client = ActionClient(client_node, ParallelGripperCommand, contract.drivers[-1].groups[0].topic)
        wait_until(client.server_is_ready, what="the server")
        executor = SingleThreadedExecutor(context=node.context)
        executor.add_node(node)
        answer = client.send_goal_async(parallel([1.0]))
        with pytest.raises(AttributeError, match="no such thing"):  # as it ends `run_node`
            wait_until(lambda: executor.spin_once(timeout_sec=0.05), what="the defect")
        wait_until(answer.done, what="the answer")
        result = answer.result().get_result_async()
        assert drivers.abort("the simulator has ended")
        wait_until(lambda: executor.spin_once(timeout_sec=0.05) or result.done(), what="the result")
        assert result.result().status == ABORTED
        in_executor(client_node, client.destroy)
        drivers.destroy()
        node.destroy_node()


def test_a_goal_that_is_cancelled_before_its_turn_moves_nothing(bench):
    from franka_msgs.action import Move

    made = bench(load_contract("fr3_hand"))
    move = made.client(Move, "/move")
    opens, shuts = (made.send(move, Move.Goal(width=width, speed=0.1)) for width in (0.07, 0.0))
    cancellation = shuts.cancel_goal_async()
    made.until(cancellation.done, "the cancellation")
    assert made.end(opens)[0] == SUCCEEDED
    (follower,) = made.drivers._grippers
    number, goal = follower.state.number, follower.sample(made.now_ns)
    assert made.end(shuts)[0] == CANCELED
    assert (follower.state.number, follower.sample(made.now_ns)) == (number, goal)


def test_fingers_whose_goal_cannot_be_dealt_with_stop(bench, monkeypatch):
    from control_msgs.action import ParallelGripperCommand

    def fail(*_):
        raise ValueError("too large")

    made = bench(load_contract("so101"))
    client = made.client(ParallelGripperCommand)
    (follower,) = made.drivers._grippers
    for method in ("begin", "ended"):
        begins = made.position()
        handle = made.send(client, parallel([1.7], velocity=[0.3]))
        made.until(lambda at=begins: made.position() > at + 0.05, "motion")
        with monkeypatch.context() as patch:
            patch.setattr(ParallelGripperJob, method, fail)
            if method == "begin":
                handle = made.send(client, parallel([1.0]))
            assert made.end(handle)[0] == ABORTED
        made.until(lambda: not made.drivers._inbox, "the stop")
        assert follower.sample(made.now_ns) == follower.sample(made.now_ns + 10**9) < 1.0


@pytest.mark.slow
def test_goals_that_run_when_the_node_ends_are_aborted(tmp_path):
    from control_msgs.action import ParallelGripperCommand

    with ros_graph() as graph, NodeProcess(graph, "sim_node", {"contract": "so101"}, tmp_path / "log") as node:
        topic = load_contract("so101").drivers[-1].groups[0].topic
        client = ActionClient(graph, ParallelGripperCommand, topic)
        wait_until(client.server_is_ready, what="the server")
        answer = client.send_goal_async(parallel([1.7], velocity=[0.001]))
        wait_until(answer.done, what="the answer")
        result = answer.result().get_result_async()
        assert node.end(signal.SIGINT) == 0, node.output
        wait_until(result.done, what="the result")
        assert result.result().status == ABORTED
        in_executor(graph, client.destroy)


def test_a_trajectory_action_answers_as_the_controller(bench, tmp_path):
    from control_msgs.action import FollowJointTrajectory
    from driver_support import ARM, HAND_DRIVER
    from trajectory_msgs.msg import JointTrajectoryPoint

    arm = {"kind": "follow_joint_trajectory", "action": "/arm/follow", "joints": ARM}
    made = bench(contract_with(tmp_path, HAND_DRIVER, arm))
    client = made.client(FollowJointTrajectory)

    def goal(joint1, names=ARM, seconds=1):
        wanted = FollowJointTrajectory.Goal()
        wanted.trajectory.joint_names = list(names)
        row = [made.robot.positions()[name] for name in ARM]
        wanted.trajectory.points = [JointTrajectoryPoint(positions=[joint1, *row[1:]])]
        wanted.trajectory.points[0].time_from_start.sec = seconds
        return wanted

    status, result = made.end(made.send(client, goal(0.2)))
    assert (status, result.error_code, made.position()) == (SUCCEEDED, 0, pytest.approx(0.2, abs=0.02))
    assert not made.send(client, goal(0.2, names=[*ARM[:-1], "nobody"])).accepted
    first = made.send(client, goal(0.4, seconds=50))
    second = made.send(client, goal(0.1))
    status, result = made.end(first)
    assert (status, result.error_code) == (ABORTED, FollowJointTrajectory.Result.INVALID_GOAL)
    assert made.end(second)[0] == SUCCEEDED
    runs = made.send(client, goal(0.4, seconds=50))
    made.until(lambda: made.position() > 0.1001, "motion")
    made.reset()
    status, result = made.end(runs)
    assert (status, result.error_string) == (ABORTED, "the simulator was reset"), "it has not succeeded"
    lost = made.accepted(client, goal(0.3))
    made.reset()
    status, result = made.end(lost)
    assert (status, result.error_string) == (ABORTED, "the simulator was reset")
