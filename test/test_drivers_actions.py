"""Drivers that talk to action servers: goals, replacement, refusals, failures, a server that is not there.

The interfaces are real ones (installed, or built from their fields by `interface_builder`) and travel over DDS. The
servers are stand-ins: they prove what a controller would receive and what the driver makes of its answers, not how a
real controller moves.
"""

import sys
import time

import numpy as np
import pytest
from driver_support import (
    ARM,
    ARM_DRIVER,
    FINGER,
    HAND_DRIVER,
    T0_NS,
    ActionStandIn,
    contract_with,
    setpoints,
    two_nodes,
)
from interface_builder import provide
from ros_support import wait_until

from beingh_core.errors import BeingHError
from beingh_ros.drivers import make_drivers
from beingh_ros.drivers.gripper import GoalTrigger
from beingh_ros.messages.conversions import read_trajectory

ROWS = np.tile(np.arange(8) / 10, (2, 1)) + [[0.0], [0.01]]
FOLLOW = {"kind": "follow_joint_trajectory", "action": "/arm_controller/follow_joint_trajectory", "joints": ARM}
PREEMPTED = ("abort", {"error_code": -1, "error_string": "Current goal preempted by new incoming action."})
TICK_NS = 50_000_000


@pytest.fixture(scope="module", autouse=True)
def interfaces():
    for package in ("control_msgs", "franka_msgs"):
        provide(package)


def connected(driver):
    """Wait until a driver has found its servers."""
    for goals, *_ in getattr(driver, "_groups", None) or driver._grippers:
        wait_until(lambda g=goals: all(c.server_is_ready() for c in g._clients.values()), what="an action server")
    return driver


def follower(tmp_path, observer, owner, **options):
    """A connected FollowJointTrajectory driver and a server that replaces goals as joint_trajectory_controller does."""
    from control_msgs.action import FollowJointTrajectory

    server = ActionStandIn(observer, FollowJointTrajectory, FOLLOW["action"], replaces=PREEMPTED)
    contract = contract_with(tmp_path, FOLLOW | options, HAND_DRIVER)
    return connected(make_drivers(owner, contract)[0]), server


def test_every_tick_is_a_goal_and_a_replaced_goal_is_no_failure(tmp_path):
    with two_nodes() as (observer, owner):
        driver, server = follower(tmp_path, observer, owner, velocities=True)
        for tick in range(4):
            driver.send(setpoints(ROWS + tick, np.full((2, 8), 0.2), stamp_ns=T0_NS + tick * TICK_NS))
            wait_until(lambda n=tick: len(server.goals) == n + 1, what="a goal")
        for tick, goal in enumerate(server.goals):
            read = read_trajectory(goal.trajectory)
            np.testing.assert_array_equal(read.positions, (ROWS + tick)[:, :7])
            assert (read.joints, read.stamp_ns) == (tuple(ARM), T0_NS + tick * TICK_NS)
            assert read.times_ns.tolist() == [TICK_NS, 2 * TICK_NS]
            assert [p.velocities.tolist() for p in goal.trajectory.points] == [[0.2] * 7, [0.0] * 7]
        server.end("succeed", error_code=0)
        driver.send(setpoints(ROWS, stamp_ns=T0_NS + 4 * TICK_NS))  # the end above is received before this one's answer
        wait_until(lambda: len(server.goals) == 5, what="a goal")
        assert driver.problem() is None and server.cancels == 0


def test_a_slow_server_gets_the_newest_goal_only(tmp_path):
    """Goals that wait are replaced, so a server that answers late never lags behind."""
    with two_nodes() as (observer, owner):
        driver, server = follower(tmp_path, observer, owner)
        goals = driver._groups[0][0]
        first = goals.send(_goal(driver, 0.0))
        for tick in range(1, 6):
            goals.send(_goal(driver, float(tick)))
        wait_until(
            lambda: server.goals and server.goals[-1].trajectory.points[0].positions[0] == 5.0, what="the newest"
        )
        assert first.is_set() and len(server.goals) < 6


def _goal(driver, value):
    from beingh_core.contract.wire import plain
    from beingh_ros.drivers.trajectories import trajectory_of

    goal = driver._type.Goal()
    goal.trajectory = trajectory_of(plain(ARM), setpoints([[value] * 7]), velocities=False)
    return goal


def test_the_stop_is_the_braking_path_as_last_goal_not_a_cancellation(tmp_path):
    with two_nodes() as (observer, owner):
        driver, server = follower(tmp_path, observer, owner)
        driver.send(setpoints(ROWS))
        wait_until(lambda: server.goals, what="a goal")
        path = np.vstack([ROWS, ROWS[1:] + 0.02, ROWS[1:] + 0.021])
        driver.stop(setpoints(path, stamp_ns=T0_NS + TICK_NS))
        assert len(server.goals) == 2, "it has been taken when stop returns"
        np.testing.assert_array_equal(read_trajectory(server.goals[-1].trajectory).positions, path[:, :7])
        assert server.cancels == 0


def test_a_goal_that_is_refused_is_told_once(tmp_path):
    with two_nodes() as (observer, owner):
        driver, server = follower(tmp_path, observer, owner)
        server.accept = False
        driver.send(setpoints(ROWS))
        problem = wait_until(driver.problem, what="a problem")
        assert problem == "/arm_controller/follow_joint_trajectory has refused a goal: is its controller active?"
        assert driver.problem() is None
        server.accept = True
        driver.send(setpoints(ROWS))
        wait_until(lambda: server.goals, what="a goal after a refused one")
        assert driver.problem() is None


@pytest.mark.parametrize(
    ("outcome", "result", "text"),
    [
        ("abort", {"error_code": -4, "error_string": "fr3_joint1"}, "error -4 (path tolerance violated) fr3_joint1"),
        ("abort", {"error_code": -5}, "error -5 (goal tolerance violated)"),
        ("abort", {"error_code": -1, "error_string": "deactivated"}, "error -1 (invalid goal) deactivated"),
        ("abort", {}, "error 0 (aborted)"),
        ("canceled", {}, "cancelled by somebody else"),
    ],
)
def test_the_newest_goal_ending_badly_is_a_failure(tmp_path, outcome, result, text):
    with two_nodes() as (observer, owner):
        driver, server = follower(tmp_path, observer, owner)
        driver.send(setpoints(ROWS))
        wait_until(lambda: server.goals, what="a goal")
        if outcome == "canceled":
            goals = driver._groups[0][0]
            wait_until(lambda: goals._running, what="the answer").handle.cancel_goal_async()
            wait_until(lambda: server.cancels == 1, what="the cancellation")
        server.end(outcome, **result)
        problem = wait_until(driver.problem, what="a problem")
        assert text in problem and problem.startswith("/arm_controller/follow_joint_trajectory: ")
        assert driver.problem() is None


def test_a_violated_tolerance_counts_even_when_a_newer_goal_has_come(tmp_path):
    with two_nodes() as (observer, owner):
        driver, server = follower(tmp_path, observer, owner)
        server._replaces = ("abort", {"error_code": -4})
        for tick in range(2):
            driver.send(setpoints(ROWS + tick))
            wait_until(lambda n=tick: len(server.goals) == n + 1, what="a goal")
        assert "path tolerance violated" in wait_until(driver.problem, what="a problem")


def test_a_server_that_is_not_there_is_one_clear_problem_and_nothing_waits_for_it(tmp_path):
    from control_msgs.action import FollowJointTrajectory

    contract = contract_with(tmp_path, FOLLOW, HAND_DRIVER)
    with two_nodes() as (observer, owner):
        begin_s = time.monotonic()
        driver = make_drivers(owner, contract)[0]
        driver.send(setpoints(ROWS))
        assert time.monotonic() - begin_s < 1.0, "neither making nor sending waits for a server"
        problem = wait_until(driver.problem, what="a problem")
        assert "there is no action server /arm_controller/follow_joint_trajectory" in problem
        assert driver.problem() == problem, "it lasts"
        server = ActionStandIn(observer, FollowJointTrajectory, FOLLOW["action"], replaces=PREEMPTED)
        wait_until(lambda: driver.problem() is None, what="the server")
        driver.send(setpoints(ROWS + 1))
        wait_until(lambda: server.goals, what="a goal")
        assert server.goals[0].trajectory.points[0].positions[0] == 1.0, "the old goal was not kept"
        server._server.destroy()
        assert "there is no action server" in wait_until(driver.problem, what="a problem")
        begin_s = time.monotonic()
        driver.stop(setpoints(ROWS))
        assert time.monotonic() - begin_s < 2.0, "a stop waits a bounded time"


def test_without_the_messages_the_error_names_what_to_install(tmp_path, monkeypatch):
    contract = contract_with(tmp_path, FOLLOW, HAND_DRIVER)
    for module in ("control_msgs", "control_msgs.action"):
        monkeypatch.setitem(sys.modules, module, None)
    with two_nodes() as (_, owner), pytest.raises(BeingHError) as caught:
        make_drivers(owner, contract)
    assert "follow_joint_trajectory needs control_msgs" in str(caught.value)
    assert "sudo apt install ros-$ROS_DISTRO-control-msgs" in str(caught.value)


def test_a_goal_of_a_distribution_that_lacks_it(tmp_path, monkeypatch):
    import control_msgs.action

    monkeypatch.delattr(control_msgs.action, "ParallelGripperCommand")
    contract = contract_with(tmp_path, ARM_DRIVER, gripper("parallel_gripper"))
    with two_nodes() as (_, owner), pytest.raises(BeingHError, match="use a newer ROS distribution"):
        make_drivers(owner, contract)


# Grippers


def gripper(kind, **options):
    return {"kind": kind, "action": "/gripper", "joints": [FINGER], "min_change": 0.004} | options


def at(finger, tick=0):
    """A tick at which the finger is commanded to a position."""
    return setpoints([[*[0.0] * 7, finger]] * 2, stamp_ns=T0_NS + tick * TICK_NS)


def hold(driver, finger, ticks):
    """Command one position for a range of ticks."""
    for tick in ticks:
        driver.send(at(finger, tick))


@pytest.fixture
def trigger():
    return GoalTrigger(min_change=0.1, max_rate_hz=5.0)


def feed(trigger, commands, dt_s=0.05):
    """(index, command) of every command that became a goal."""
    return [(i, c) for i, c in enumerate(commands) if trigger.due(T0_NS + round(i * dt_s * 1e9), c)]


def test_the_first_command_is_no_goal(trigger):
    assert feed(trigger, [0.7] * 50) == []


def test_small_moves_make_no_goals_but_a_new_rest_does(trigger):
    assert feed(trigger, [0.0, 0.03, 0.06, 0.06, 0.06]) == [(3, 0.06)]


def test_goals_keep_their_distance_in_time_and_the_last_one_is_exact(trigger):
    ramp = list(np.linspace(0.0, 1.0, 21))
    goals = feed(trigger, [*ramp, *[1.0] * 10])
    assert np.diff([i for i, _ in goals]).min() >= 4 and len(goals) <= 7
    assert goals[-1][1] == 1.0


def test_a_stream_of_noise_makes_few_goals(trigger):
    rng = np.random.default_rng(0)
    goals = feed(trigger, list(0.5 + rng.uniform(-0.04, 0.04, 400)))
    assert goals == []


def test_gripper_command_converts_and_sends_few_goals(tmp_path):
    from control_msgs.action import GripperCommand

    options = {"max_effort": 25.0, "closed_command": 0.8, "open_command": 0.0}
    contract = contract_with(tmp_path, ARM_DRIVER, gripper("gripper_command", **options))
    with two_nodes() as (observer, owner):
        server = ActionStandIn(observer, GripperCommand, "/gripper", replaces=("abort", {}))
        driver = connected(make_drivers(owner, contract)[1])
        assert driver.command_rate_hz is None
        driver.send(at(0.04))
        for tick in range(1, 9):  # closes in 0.4 s
            driver.send(at(0.04 - 0.005 * tick, tick))
        for tick in range(9, 20):
            driver.send(at(0.0, tick))
            time.sleep(0.01)
        wait_until(
            lambda: server.goals and server.goals[-1].command.position == pytest.approx(0.8), what="the closed goal"
        )
        assert 1 <= len(server.goals) <= 4, "not one a tick"
        assert {goal.command.max_effort for goal in server.goals} == {25.0}
        server.end("abort", stalled=True)  # it holds an object
        hold(driver, 0.04, range(20, 30))
        wait_until(lambda: server.goals[-1].command.position == pytest.approx(0.0), what="the open goal")
        assert driver.problem() is None
        server.end("abort", stalled=False)
        assert wait_until(driver.problem, what="a problem") == "/gripper: goal was aborted"


def test_a_gripper_that_is_at_its_goal_gets_nothing_at_a_stop(tmp_path):
    from control_msgs.action import GripperCommand

    contract = contract_with(tmp_path, ARM_DRIVER, gripper("gripper_command", max_effort=25.0))
    with two_nodes() as (observer, owner):
        server = ActionStandIn(observer, GripperCommand, "/gripper", replaces=("abort", {}))
        driver = connected(make_drivers(owner, contract)[1])
        driver.send(at(0.04))
        driver.send(at(0.01, 1))
        wait_until(lambda: len(server.goals) == 1, what="a goal")
        driver.stop(at(0.01, 2))
        assert server.cancels == 0
        driver.send(at(0.04, 10))  # a new start: where it is, no goal
        driver.send(at(0.03, 11))
        wait_until(lambda: len(server.goals) == 2, what="a goal after the stop")
        assert [g.command.position for g in server.goals] == [0.01, 0.03]
        driver.stop(at(0.025, 12))
        assert [g.command.position for g in server.goals] == [0.01, 0.03, 0.025], "where the braking path ends"


def test_after_a_pause_the_gripper_stays_as_it_is(tmp_path):
    """A controller that was stopped and reset begins at the measured positions: an object that is held stays held."""
    from control_msgs.action import GripperCommand

    contract = contract_with(tmp_path, ARM_DRIVER, gripper("gripper_command", max_effort=25.0))
    with two_nodes() as (observer, owner):
        server = ActionStandIn(observer, GripperCommand, "/gripper", replaces=("abort", {}))
        driver = connected(make_drivers(owner, contract)[1])
        hold(driver, 0.04, range(2))
        hold(driver, 0.0, range(2, 10))
        wait_until(lambda: len(server.goals) == 1, what="the goal to close")
        server.end("abort", stalled=False)
        wait_until(lambda: driver.counts()["gripper_goals_failed"], what="the failure")
        hold(driver, 0.02, range(100, 110))  # an object of 2 x 0.02 m is between the fingers
        assert driver.problem() is None, "what happened before the reset does not stop the new start"
        hold(driver, 0.03, range(110, 120))
        wait_until(lambda: len(server.goals) == 2, what="the goal to open")
        assert [goal.command.position for goal in server.goals] == [0.0, 0.03]


def test_parallel_gripper(tmp_path):
    from control_msgs.action import ParallelGripperCommand

    contract = contract_with(tmp_path, ARM_DRIVER, gripper("parallel_gripper", max_effort=30.0, max_velocity=0.1))
    with two_nodes() as (observer, owner):
        server = ActionStandIn(observer, ParallelGripperCommand, "/gripper", replaces=("abort", {}))
        driver = connected(make_drivers(owner, contract)[1])
        driver.send(at(0.04))
        driver.send(at(0.01, 1))
        wait_until(lambda: server.goals, what="a goal")
        command = server.goals[0].command
        assert (list(command.name), command.position.tolist()) == ([FINGER], [0.01])
        assert (command.velocity.tolist(), command.effort.tolist()) == ([0.1], [30.0])


def franka(**options):
    values = {"speed": 0.1, "force": 20.0, "closed_command": 0.0, "open_command": 0.08}
    return gripper("franka_gripper", action="/franka_gripper", **values, **options)


def franka_servers(observer, *names):
    import franka_msgs.action

    kinds = {name: getattr(franka_msgs.action, name.capitalize()) for name in names}
    return [ActionStandIn(observer, kind, f"/franka_gripper/{name}") for name, kind in kinds.items()]


def test_the_franka_hand_grasps_to_close_and_moves_to_open_one_after_the_other(tmp_path):
    contract = contract_with(tmp_path, ARM_DRIVER, franka())
    with two_nodes() as (observer, owner):
        move, grasp = franka_servers(observer, "move", "grasp")
        driver = connected(make_drivers(owner, contract)[1])
        driver.send(at(0.04))
        driver.send(at(0.01, 1))
        goal = wait_until(lambda: grasp.goals, what="a grasp")[0]
        assert (goal.width, goal.speed, goal.force) == (pytest.approx(0.02), 0.1, 20.0)
        assert (goal.epsilon.inner, goal.epsilon.outer) == (0.08, 0.08)
        hold(driver, 0.04, range(2, 21))
        wait_until(lambda: grasp.cancels == 1, what="the cancellation of the grasp")
        assert not move.goals, "it waits until the hand has stopped"
        grasp.end("canceled", success=False)
        goal = wait_until(lambda: move.goals, what="a move")[0]
        assert (goal.width, goal.speed) == (pytest.approx(0.08), 0.1)
        assert driver.problem() is None
        move.end("abort", success=False, error="no power")
        assert wait_until(driver.problem, what="a problem") == "/franka_gripper/move: move failed: no power"


def test_homing_comes_first_and_is_never_broken_off(tmp_path):
    contract = contract_with(tmp_path, ARM_DRIVER, franka(homing=True))
    with two_nodes() as (observer, owner):
        move, _, homing = franka_servers(observer, "move", "grasp", "homing")
        driver = connected(make_drivers(owner, contract)[1])
        assert not homing.goals, "nothing moves before the robot runs"
        driver.send(at(0.0))
        driver.send(at(0.02, 1))
        wait_until(lambda: homing.goals, what="the homing")
        hold(driver, 0.04, range(2, 21))
        homing.end("succeed", success=True)
        goal = wait_until(lambda: move.goals, what="a move")[0]
        assert goal.width == pytest.approx(0.08) and homing.cancels == 0 and len(homing.goals) == 1
        move.end("succeed", success=True)


class Fingers:
    """Tells a driver where they are, as the controller does, and asks it for problems."""

    def __init__(self, driver, position):
        self.driver, self.position = driver, position

    def problem(self, seconds=0.6):
        end_s, problem = time.monotonic() + seconds, None
        while time.monotonic() < end_s:
            self.driver.measured({FINGER: self.position})
            problem = problem or self.driver.problem()
            time.sleep(0.01)
        return problem


@pytest.mark.parametrize(
    ("kind", "outcome"),
    [
        ("gripper_command", "abort"),
        ("gripper_command", "cancel"),
        ("parallel_gripper", "abort"),
        ("franka", "unsuccessful"),
    ],
)
def test_every_gripper_is_judged_by_its_fingers(tmp_path, kind, outcome):
    """It closes and holds something, after a reset too; then it does not open."""
    import control_msgs.action

    settings = franka() if kind == "franka" else gripper(kind, max_effort=20.0)
    with two_nodes() as (observer, owner):
        driver = make_drivers(owner, contract_with(tmp_path, ARM_DRIVER, settings))[1]
        if kind == "franka":
            opens, closes = franka_servers(observer, "move", "grasp")
        else:
            name = {"gripper_command": "GripperCommand", "parallel_gripper": "ParallelGripperCommand"}[kind]
            opens = closes = ActionStandIn(observer, getattr(control_msgs.action, name), "/gripper")
        fingers = Fingers(connected(driver), 0.04)
        goals = driver._grippers[0][0]

        def fail(server, count):
            wait_until(lambda: len(server.goals) == count and goals._running is not None, what="a goal")
            if outcome == "cancel":
                goals._running.handle.cancel_goal_async()
                wait_until(lambda: server.cancels, what="the cancellation")
            server.end(*{"abort": ("abort",), "cancel": ("canceled",), "unsuccessful": ("succeed",)}[outcome])

        fingers.problem(0.1)
        hold(driver, 0.04, range(2))
        hold(driver, 0.0, range(2, 4))
        fingers.position = 0.02
        fail(closes, 1)
        assert fingers.problem() is None and driver.counts()["gripper_ended_short"] == 1
        hold(driver, 0.02, range(100, 102))
        hold(driver, 0.0, range(102, 130))
        fail(closes, 2)
        assert fingers.problem() is None and driver.counts()["gripper_ended_short"] == 2
        hold(driver, 0.04, range(130, 132))
        fail(opens, 1 if kind == "franka" else 3)
        assert "has not moved: it is at 0.02, its goal was 0.04" in fingers.problem()
        assert driver.counts() == {"gripper_goals_failed": 3, "gripper_ended_short": 2}
