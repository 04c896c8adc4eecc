"""Ticks and setpoints that come late, in virtual time: what is sent goes on within the limits from what was sent last."""

import itertools

import numpy as np
import pytest
from driver_support import ARM, HAND_DRIVER, contract_with
from lateness_support import NOW, ROBOTS, ROUNDING, Cell, braked_in_time, robot

from beingh_core.control.stop_causes import CLOCK, RUNNING, STOPPED, STOPPING

robot = robot
FAST_ARM = {"kind": "joint_state_command", "topic": "/arm/command", "joints": ARM, "rate_hz": 200.0}
LATE = (0.02, 0.1, 0.2, 0.3, 0.6, 0.95, 1.05, 1.5, 1.95, 2.05, 3.5, 11.3, 70.0)


@pytest.mark.parametrize("setpoints", [False, True], ids=["ticks", "ticks and setpoints"])
def test_a_brake_that_is_held_up_at_any_tick_for_any_time_goes_on_within_limits_and_ends(robot, setpoints):
    """By the commands in their order, as a controller that holds the last one gets them, and by the setpoints."""
    normal = braked_in_time(robot)
    ticks = len(normal.rows) - 11  # of the brake
    assert normal.faults(normal.peaks()) == [] and ticks >= 2
    for tick, late in itertools.product(range(ticks), LATE):
        cell = Cell(robot, ROBOTS[robot])
        cell.run(8.5)
        cell.stop()
        cell.run(tick)
        cell.hold_up(late * cell.dt_ns, setpoints=setpoints)
        cell.run(late + 60)
        assert cell.faults(normal.peaks()) == [], f"{late} periods late at tick {tick} of the brake"
        if late < 2.0 and not 0.25 < late:
            np.testing.assert_allclose(cell.rows[-1], normal.rows[-1], atol=ROUNDING)


@pytest.mark.parametrize("late", LATE[:9])
def test_a_stop_that_comes_while_a_tick_is_late_brakes_from_what_the_robot_is_under_way_to(robot, late):
    normal = braked_in_time(robot)
    for share in (0.2, 0.5, 0.9):
        cell = Cell(robot, ROBOTS[robot])
        cell.run(8.5)
        promised = cell.newest.points.positions[1]
        cell.hold_up(late * cell.dt_ns)
        cell.run(0.5 + share * late)
        cell.stop()
        cell.run(60)
        assert cell.faults(normal.peaks()) == [], f"{share} of the lateness"
        upheld = any(np.array_equal(row, promised) for row in cell.rows)
        assert upheld == (late > 0.25), "less than a quarter of a period on the way can be called back"


@pytest.mark.parametrize("setpoints", [False, True], ids=["ticks", "ticks and setpoints"])
@pytest.mark.parametrize("late", [0.3, 0.95, 1.5, 2.05, 3.5, 11.3, 70.0])
def test_a_tick_that_is_late_while_running_leaves_no_jump_between_the_setpoints(robot, late, setpoints):
    cell = Cell(robot, ROBOTS[robot])
    cell.run(6.5)
    cell.hold_up(late * cell.dt_ns, setpoints=setpoints)
    cell.run(late + 5)
    late_by_seconds = late * cell.dt_ns > 10**9
    assert (cell.controller.status.state, cell.controller.status.cause) == (
        (STOPPING if setpoints else STOPPED, CLOCK) if late_by_seconds else (RUNNING, "")
    )
    if not late_by_seconds:
        cell.chunk(-ROBOTS[robot])
    cell.run(40)
    speed, acceleration = cell.peaks()
    limits = cell.contract.limits
    assert speed < 1.15 * limits.velocity[0] and acceleration < 5.2 * limits.acceleration[0]
    assert abs(cell.stream.rows[-1][1]) < 1e-3
    assert cell.controller.overruns == (late > cell.contract.uac.commit_margin)


@pytest.mark.parametrize("robot", ["fr3", "ur5e", "streamed"])
def test_after_a_hold_up_of_seconds_it_is_stopping_until_the_last_setpoint_is_still(robot, tmp_path):
    """Nothing is sent by ticks any more, also at the end of the node: only the setpoints brake."""
    streamed = robot == "streamed"
    name = contract_with(tmp_path, FAST_ARM, HAND_DRIVER).path if streamed else robot
    for setpoints, ended in itertools.product((False, True), (False, True)):
        cell = Cell(name, 0.04)
        cell.run(8.5)
        cell.hold_up(25.0 * cell.dt_ns, setpoints=setpoints)
        cell.run(75, until=lambda: cell.controller.overruns)
        status, count = cell.controller.status, len(cell.rows)
        assert (status.state, status.cause) == (STOPPING if setpoints else STOPPED, CLOCK)
        assert (abs(cell.stream.rows[-1][1]) > 0.1) == setpoints
        if ended:
            assert cell.controller.final_path(cell.time.now) is None
            knots = cell.path.to_rest()
            moves = np.abs(knots[-1][1] - cell.path.newest[1]).max() > 0.01
            assert moves == setpoints and np.all(knots[-1][2] == 0.0)
            continue
        cell.run(40, until=lambda: cell.controller.status.state == STOPPED)
        assert cell.controller.status.cause == CLOCK and cell.stream.rows[-1][1] == 0.0
        assert len(cell.rows) == count and cell.controller.next_tick_ns() is None
        speed, acceleration = cell.peaks()
        limits = cell.contract.limits
        assert speed < 1.15 * limits.velocity[0] and acceleration < 5.2 * limits.acceleration[0]


class Trajectories:
    """The reference of a controller that follows trajectories as joint_trajectory_controller does, of joint 1."""

    def __init__(self, at):
        self.points, self.before, self.jump = [], (NOW, at), 0.0

    def at(self, now_ns):
        times, rows = zip(self.before, *((t, row) for t, row in self.points if t > self.before[0]))
        inside = [point for point in self.points if point[0] <= now_ns]
        if inside:  # from its own points alone, once the first of them is reached
            times, rows = zip(*self.points)
        return float(np.interp(now_ns, times, rows))

    def take(self, now_ns, output, dt_ns):
        before = self.at(now_ns)
        self.points = [
            (output.points.stamp_ns + (i + 1) * dt_ns, row[0]) for i, row in enumerate(output.points.positions)
        ]
        self.before = (now_ns, before)
        self.jump = max(self.jump, abs(self.at(now_ns) - before))


@pytest.mark.parametrize("stop", [False, True])
@pytest.mark.parametrize("late", LATE[:-1])
def test_a_tick_that_is_late_makes_no_trajectory_controller_step(robot, late, stop):
    """It evaluates a new trajectory at the present time: what it should have done meanwhile would be done at once."""
    cell = Cell(robot, ROBOTS[robot])
    follower, taken = Trajectories(cell.rows[-1][0]), cell.controller.tick

    def tick(now_ns):
        output = taken(now_ns)
        if output is not None:
            follower.take(now_ns, output, cell.dt_ns)
        return output

    cell.controller.tick = tick
    cell.run(8.5)
    if stop:
        cell.stop()
        cell.run(1)
    cell.hold_up(late * cell.dt_ns)
    cell.run(late + 30)
    assert follower.jump < ROUNDING


def test_a_robot_that_is_commanded_between_the_ticks_begins_again_where_its_brake_has_ended(tmp_path):
    contract = contract_with(tmp_path, FAST_ARM, HAND_DRIVER)
    cell = Cell(contract.path, 0.05)
    cell.run(8.5)
    left = cell.newest.points.positions
    cell.hold_up(3.5 * cell.dt_ns)
    cell.run(30)
    begun = cell.rows[next(n for n, row in enumerate(cell.rows) if np.array_equal(row, cell.rows[-1]))]
    assert begun[0] > left[1, 0] + 0.01 and begun[7] == left[1, 7], "the hand's controller has held the last command"
    assert begun[0] == pytest.approx(cell.stream.rows[-1][0], abs=ROUNDING)
    path = np.array(cell.stream.rows)[:, 0]
    assert np.diff(path).min() * 200.0 > -0.1, "it does not go back"


@pytest.mark.parametrize("late", [0.0, 0.6, 1.5, 3.5, 30.0])
def test_the_last_path_of_a_node_goes_on_from_what_was_sent_however_late_it_is(robot, late):
    cell = Cell(robot, ROBOTS[robot])
    cell.run(8.5)
    sent, next_ns = cell.newest.points.positions, cell.controller.next_tick_ns()
    cell.time.now = next_ns + round(late * cell.dt_ns) - 1000
    path = cell.controller.final_path(cell.time.now)
    np.testing.assert_array_equal(path.positions[0], sent[0])
    assert np.array_equal(path.positions[1], sent[1]) == (late > 0)
    rows = np.vstack([cell.rows[-3:-1], path.positions, path.positions[-1:], path.positions[-1:]])
    assert np.abs(np.diff(rows, 2, axis=0)).max() <= cell.contract.limits.acceleration.max() * cell.contract.dt_s**2 * (
        1 + ROUNDING
    )
    begins_ns = path.stamp_ns + cell.dt_ns
    assert begins_ns == (next_ns if late <= 1.0 else cell.time.now), "no point of a late path is over before it is sent"


def test_setpoints_that_were_held_up_go_on_where_they_were():
    cell = Cell("ur5e", 0.04)
    cell.run(6.3)
    cell.setpoints_from = cell.time.now + 3 * cell.dt_ns
    cell.run(45)
    speed, acceleration = cell.peaks()
    assert speed < 1.15 * cell.contract.limits.velocity[0], "no jump over what was left out"
    assert cell.commands.missed > 10
    assert cell.stream.rows[-1][0] == pytest.approx(cell.rows[-1][0], abs=ROUNDING), "where the ticks are"
    missed = cell.commands.missed
    cell.chunk(0.02)
    cell.run(3)
    cell.setpoints_from = cell.time.now + 12_000_000
    cell.run(3)
    assert cell.commands.missed == missed + 2
    gaps_s = np.diff(cell.stream.times_ns[-200:]) / 1e9
    speeds = np.abs(np.diff([row for row, _ in cell.stream.rows[-200:]])) / gaps_s
    assert speeds.max() < 1.15 * cell.contract.limits.velocity[0], "a few that are left out move nothing in time"
