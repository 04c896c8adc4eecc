"""Drivers that talk to action servers: goals, replacement, refusals, failures, a server that is not there.

The interfaces are real ones (installed, or built from their fields by `interface_builder`) and travel over DDS. The
servers are stand-ins: they prove what a controller would receive and what the driver makes of its answers, not how a
real controller moves.
"""

import sys
import time

import numpy as np
import pytest
from action_support import TICK_NS, connected, interfaces
from driver_support import (
    ARM,
    HAND_DRIVER,
    T0_NS,
    ActionStandIn,
    contract_with,
    setpoints,
    two_nodes,
)
from rclpy.action import ActionServer, GoalResponse
from rclpy.node import Node
from ros_support import in_executor, spun, wait_until

from beingh_core.errors import BeingHError
from beingh_ros.drivers import action_goals, make_drivers
from beingh_ros.messages.conversions import read_trajectory

interfaces = interfaces
ROWS = np.tile(np.arange(8) / 10, (2, 1)) + [[0.0], [0.01]]
FOLLOW = {"kind": "follow_joint_trajectory", "action": "/arm_controller/follow_joint_trajectory", "joints": ARM}
PREEMPTED = ("abort", {"error_code": -1, "error_string": "Current goal preempted by new incoming action."})


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
        assert "a goal was dropped: there is no action server" in wait_until(driver.problem, what="the drop")
        problem = wait_until(driver.problem, what="a problem")
        assert problem.startswith("there is no action server /arm_controller/follow_joint_trajectory")
        assert driver.problem() == problem, "it lasts"
        server = ActionStandIn(observer, FollowJointTrajectory, FOLLOW["action"], replaces=PREEMPTED)
        wait_until(lambda: driver.problem() is None, what="the server")
        driver.send(setpoints(ROWS + 1))
        wait_until(lambda: server.goals, what="a goal")
        assert server.goals[0].trajectory.points[0].positions[0] == 1.0, "the old goal was not kept"
        in_executor(observer, server._server.destroy)
        assert "there is no action server" in wait_until(driver.problem, what="a problem")
        begin_s = time.monotonic()
        driver.stop(setpoints(ROWS))
        assert time.monotonic() - begin_s < 2.0, "a stop waits a bounded time"


def test_a_server_that_was_started_anew_is_asked_again_after_a_reset(tmp_path):
    """A goal that a killed server has not answered, or not ended, keeps no later one back."""
    from control_msgs.action import FollowJointTrajectory

    with two_nodes() as (observer, owner):
        dead = Node("killed", context=observer.context)  # nobody spins it
        unspun = ActionServer(dead, FollowJointTrajectory, FOLLOW["action"], lambda _: None)
        driver = connected(make_drivers(owner, contract_with(tmp_path, FOLLOW, HAND_DRIVER))[0])
        driver.send(setpoints(ROWS))
        assert "does not answer" in wait_until(driver.problem, what="a problem")
        server = ActionStandIn(observer, FollowJointTrajectory, FOLLOW["action"], replaces=PREEMPTED)
        unspun.destroy()
        dead.destroy_node()
        driver.send(setpoints(ROWS, stamp_ns=T0_NS + 100 * TICK_NS))  # the first of a new start
        assert driver.problem() is None
        wait_until(lambda: server.goals, what="a goal")


def test_a_goal_that_is_taken_after_it_was_given_up_is_cancelled_and_one_that_waited_is_not_sent(tmp_path, monkeypatch):
    from control_msgs.action import FollowJointTrajectory

    monkeypatch.setattr(action_goals, "ANSWER_S", 0.3)
    with two_nodes() as (observer, owner):
        held_up = Node("held_up", context=observer.context)
        server = ActionStandIn(held_up, FollowJointTrajectory, FOLLOW["action"], replaces=PREEMPTED)
        driver = connected(make_drivers(owner, contract_with(tmp_path, FOLLOW, HAND_DRIVER))[0])
        goals = driver._groups[0][0]
        first = goals.send(_goal(driver, 0.0))
        assert "does not answer" in wait_until(driver.problem, what="a problem")
        waits = goals.send(_goal(driver, 1.0))
        goals.forget()
        assert first.wait(5.0) and waits.wait(5.0), "nobody waits for them any more"
        with spun(held_up):
            wait_until(lambda: server.cancels == 1, what="the cancellation")
            server.end("canceled")
            goals.send(_goal(driver, 2.0))
            wait_until(lambda: len(server.goals) == 2, what="the next goal")
            sent = [goal.trajectory.points[0].positions[0] for goal in server.goals]
            assert sent[0] == 0.0 and sent[1] == 2.0 and driver.problem() is None
            server.end("succeed")
            in_executor(held_up, server._server.destroy)


def test_a_late_goal_does_not_run_on_where_the_newer_one_is_refused(tmp_path, monkeypatch):
    from control_msgs.action import FollowJointTrajectory

    monkeypatch.setattr(action_goals, "ANSWER_S", 0.3)
    with two_nodes() as (observer, owner):
        held_up = Node("held_up", context=observer.context)
        server = ActionStandIn(held_up, FollowJointTrajectory, FOLLOW["action"], replaces=PREEMPTED)
        answers = iter((GoalResponse.ACCEPT, GoalResponse.REJECT))
        server._server.register_goal_callback(lambda _: next(answers))
        driver = connected(make_drivers(owner, contract_with(tmp_path, FOLLOW, HAND_DRIVER))[0])
        goals = driver._groups[0][0]
        goals.send(_goal(driver, 0.0))
        assert "does not answer" in wait_until(driver.problem, what="a problem")
        goals.forget()
        goals.send(_goal(driver, 1.0))
        wait_until(lambda: goals._numbers == 2, what="the second to be sent")
        with spun(held_up):
            wait_until(lambda: server.cancels == 1, what="the cancellation of the first")
            assert [goal.trajectory.points[0].positions[0] for goal in server.goals] == [0.0]
            server.end("canceled")
            in_executor(held_up, server._server.destroy)


def test_a_goal_of_before_a_new_start_is_not_sent_after_it(tmp_path):
    with two_nodes() as (observer, owner):
        driver, server = follower(tmp_path, observer, owner)
        goals = driver._groups[0][0]
        (client,) = goals._clients.values()
        look, forgotten = client.server_is_ready, []

        def look_late():
            if goals._numbers == 1 and not forgotten:  # the goal is taken and not sent yet
                forgotten.append(True)
                goals.forget()
            return look()

        client.server_is_ready = look_late
        assert goals.send(_goal(driver, 0.0)).wait(5.0)
        wait_until(lambda: forgotten, what="the new start")
        goals.send(_goal(driver, 1.0))
        wait_until(
            lambda: server.goals and server.goals[-1].trajectory.points[0].positions[0] == 1.0, what="the newer goal"
        )
        assert len(server.goals) == 1 and driver.problem() is None


def test_a_goal_that_is_lost_while_its_server_goes_and_returns_is_told(tmp_path):
    from control_msgs.action import FollowJointTrajectory

    with two_nodes() as (observer, owner):
        driver, server = follower(tmp_path, observer, owner)
        goals = driver._groups[0][0]

        def go():
            in_executor(observer, server._server.destroy)
            wait_until(goals.unsubscribed, what="the server to go")

        def come():
            returned = ActionStandIn(observer, FollowJointTrajectory, FOLLOW["action"], replaces=PREEMPTED)
            wait_until(lambda: goals.unsubscribed() is None, what="the server to return")
            return returned

        driver.send(setpoints(ROWS))
        wait_until(lambda: goals._running, what="the answer")
        go()
        server = come()
        assert "has gone while it had a goal" in driver.problem() and driver.problem() is None
        go()
        assert goals.send(_goal(driver, 1.0)).wait(5.0)
        server = come()
        assert "a goal was dropped" in driver.problem() and driver.problem() is None
        goals.send(_goal(driver, 2.0))
        wait_until(lambda: server.goals, what="a goal")
        assert server.goals[0].trajectory.points[0].positions[0] == 2.0


def test_without_the_messages_the_error_names_what_to_install(tmp_path, monkeypatch):
    contract = contract_with(tmp_path, FOLLOW, HAND_DRIVER)
    for module in ("control_msgs", "control_msgs.action"):
        monkeypatch.setitem(sys.modules, module, None)
    with two_nodes() as (_, owner), pytest.raises(BeingHError) as caught:
        make_drivers(owner, contract)
    assert "follow_joint_trajectory needs control_msgs" in str(caught.value)
    assert "sudo apt install ros-$ROS_DISTRO-control-msgs" in str(caught.value)
