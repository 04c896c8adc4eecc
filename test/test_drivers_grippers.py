"""Grippers that are commanded by goals: when a command is one, what it says, and how the fingers judge it."""

import time

import numpy as np
import pytest
from action_support import TICK_NS, connected, interfaces
from driver_support import (
    ARM_DRIVER,
    FINGER,
    T0_NS,
    ActionStandIn,
    contract_with,
    setpoints,
    two_nodes,
)
from rclpy.node import Node
from ros_support import in_executor, spun, wait_until

from beingh_core.errors import BeingHError
from beingh_ros.drivers import action_goals, make_drivers
from beingh_ros.drivers.gripper import GoalTrigger

interfaces = interfaces


def test_a_goal_of_a_distribution_that_lacks_it(tmp_path, monkeypatch):
    import control_msgs.action

    monkeypatch.delattr(control_msgs.action, "ParallelGripperCommand")
    contract = contract_with(tmp_path, ARM_DRIVER, gripper("parallel_gripper"))
    with two_nodes() as (_, owner), pytest.raises(BeingHError, match="use a newer ROS distribution"):
        make_drivers(owner, contract)


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


def test_homing_survives_the_start_it_belongs_to_and_a_reset_before_it_is_taken(tmp_path, monkeypatch):
    monkeypatch.setattr(action_goals, "ANSWER_S", 30.0)
    with two_nodes() as (observer, owner):
        held_up = Node("held_up", context=observer.context)
        servers = move, _, homing = franka_servers(held_up, "move", "grasp", "homing")
        driver = connected(make_drivers(owner, contract_with(tmp_path, ARM_DRIVER, franka(homing=True)))[1])
        goals = driver._grippers[0][0]
        hand_over = goals.send

        def sent_at_once(*arguments, **options):
            taken = hand_over(*arguments, **options)
            wait_until(lambda: goals._unanswered, what="the homing to be on its way")
            return taken

        goals.send = sent_at_once
        driver.send(at(0.0))
        goals.send = hand_over
        driver.send(at(0.0, 100))
        driver.send(at(0.04, 101))
        with spun(held_up):
            running = wait_until(lambda: goals._running, what="the answer")
            assert (running.server, running.cancelled_s) == ("homing", 0.0)
            wait_until(lambda: homing.goals, what="the homing")
            homing.end("succeed", success=True)
            wait_until(lambda: move.goals, what="the move behind it")
            assert (len(homing.goals), homing.cancels, driver.problem()) == (1, 0, None)
            move.end("succeed", success=True)
            in_executor(held_up, lambda: [server._server.destroy() for server in servers])


def test_the_hand_is_homed_at_the_next_start_where_that_was_lost_refused_or_has_failed(tmp_path):
    with two_nodes() as (observer, owner):
        driver = make_drivers(owner, contract_with(tmp_path, ARM_DRIVER, franka(homing=True)))[1]
        driver.send(at(0.0))
        assert "a goal was dropped" in wait_until(driver.problem, what="the drop")
        move, _, homing = franka_servers(observer, "move", "grasp", "homing")
        connected(driver)
        wait_until(lambda: driver.unsubscribed() is None, what="the servers to be seen")
        homing.accept = False
        driver.send(at(0.0, 100))
        assert "has refused a goal" in wait_until(driver.problem, what="the refusal")
        homing.accept = True
        driver.send(at(0.0, 200))
        wait_until(lambda: len(homing.goals) == 1, what="the homing")
        homing.end("abort", success=False, error="no power")
        assert "homing failed: no power" in wait_until(driver.problem, what="the failure")
        driver.send(at(0.0, 300))
        wait_until(lambda: len(homing.goals) == 2, what="the homing, again")
        homing.end("succeed", success=True)
        driver.send(at(0.0, 400))
        driver.send(at(0.04, 401))
        wait_until(lambda: move.goals, what="a move")
        assert len(homing.goals) == 2, "it is homed"
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
