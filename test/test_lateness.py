"""Ticks and setpoints that come late, in virtual time: what is sent goes on within the limits from what was sent last."""

import itertools
import threading

import numpy as np
import pytest
from driver_support import ARM, HAND_DRIVER, contract_with

from beingh_core.contract import load_contract
from beingh_core.control.command_path import CommandPath
from beingh_core.control.command_thread import CommandThread
from beingh_core.control.controller import Controller
from beingh_core.control.driver import Driver
from beingh_core.control.stop_causes import CLOCK, RUNNING, STOPPED, STOPPING, WAITING
from beingh_core.control.timing import SteadyTime
from beingh_core.realtime.commit_buffer import Chunk

NOW = 1_700_000_000_000_000_000
SETPOINT_NS = 5_000_000
ROUNDING = 1e-6
FAST_ARM = {"kind": "joint_state_command", "topic": "/arm/command", "joints": ARM, "rate_hz": 200.0}


class VirtualTime:
    """A clock that a test sets; stamps and steady times are the same."""

    now = NOW

    def steady_ns(self):
        return self.now

    def to_steady(self, stamp_ns):
        return stamp_ns

    to_stamp = to_steady


class Stream(Driver):
    """Keeps every setpoint."""

    command_rate_hz = 1e9 / SETPOINT_NS

    def __init__(self):
        self.rows, self.times_ns = [], []


class Cell:
    """A controller, its drivers, and a time in which either thread can be held up.

    Attributes:
        rows: Command of each tick, as it was sent.
        stream: What a robot that is commanded between the ticks was sent.
    """

    def __init__(self, robot="fr3", speed=0.05):
        self.contract = load_contract(robot)
        self.dt_ns = round(1e9 * self.contract.dt_s)
        self.time, self.stream, self.rows = VirtualTime(), Stream(), []
        self.path = CommandPath(self.contract.limits)
        self.commands = CommandThread([self.stream], self.path, self.time, self._keep)
        self.controller = Controller(self.contract, watch_tracking=False, still=lambda: self.path.still)
        self.home = dict(zip(self.contract.joint_names, self.contract.home))
        self.ticks_from = self.setpoints_from = 0
        while self.controller.status.state != RUNNING:
            self.time.now += self.dt_ns
            self.controller.joint_state(self.time.now, self.home)
        self.run(3)
        self.chunk(speed)

    def _keep(self, driver, points):
        driver.rows.append((points.positions[-1, 0], points.velocities[-1, 0]))
        driver.times_ns.append(points.stamp_ns)

    def chunk(self, speed):
        """Ask joint 1 to move by `speed` [rad/tick]."""
        length = self.contract.policy.chunk_length
        rows = np.tile(self.controller._buffer.planned()[1][0], (length, 1))
        rows[:, 0] += speed * np.arange(1, length + 1)
        buffer = self.controller._buffer
        made = Chunk(
            base_tick=buffer.next_tick,
            epoch=self.controller.status.epoch,
            joints=self.contract.joint_names,
            positions=rows,
            dt_s=self.contract.dt_s,
        )
        assert self.controller.merge(made).accepted

    def hold_up(self, ns, *, setpoints=False):
        """No tick, and no setpoint either, before so long from the next tick on."""
        self.ticks_from = self.controller.next_tick_ns() + round(ns)
        self.setpoints_from = self.ticks_from if setpoints else 0

    def run(self, ticks, until=lambda: False):
        """Let time go by for so many ticks' time; both threads do what is due."""
        end_ns = self.time.now + round(ticks * self.dt_ns)
        while not until():
            start_ns, stream = self.commands._start_ns, self.commands._streams[0]
            tick_ns = self.controller.next_tick_ns()
            events = []
            if tick_ns is not None:
                events.append((max(tick_ns, self.ticks_from), 1))
            if start_ns is not None:
                events.append((max(stream.due_ns(start_ns), self.setpoints_from), 0))
            at_ns, is_tick = min(events, default=(end_ns, 0))
            if at_ns >= end_ns:
                self.time.now = max(self.time.now, end_ns)
                return
            self.time.now = max(self.time.now, at_ns)
            if not is_tick:
                self.commands._command()
                continue
            self.controller.joint_state(self.time.now, self.home)
            output = self.controller.tick(self.time.now)
            if output is not None:
                self.rows.append(output.points.positions[0])
                self.newest = output
                self.path.extend(
                    output.points.stamp_ns,
                    self.dt_ns,
                    output.before,
                    output.points.positions,
                    output.points.velocities,
                    fresh=output.fresh,
                    stopping=output.stopping,
                )
                self.commands.extended(output.points.stamp_ns)

    def stop(self):
        self.controller.set_estop(True, self.time.now)

    def faults(self, normal):
        """What of everything that was sent breaks a limit or goes on although the robot rests.

        Between the ticks the acceleration of a path may be a multiple of that of the commands: it is compared with
        the peaks `normal` of a stop in time, which depend on where between two ticks it begins.
        """
        limits, found = self.contract.limits, []
        rows = np.vstack([self.rows[:1], *[[row] for row in self.rows], self.rows[-1:], self.rows[-1:]])
        for order, most in ((1, limits.velocity), (2, limits.acceleration), (3, limits.jerk)):
            excess = np.abs(np.diff(rows, order, axis=0)).max(axis=0) / self.contract.dt_s**order / most - 1.0
            if excess.max() > ROUNDING:
                found.append(f"difference {order} of the commands exceeds its limit by {100 * excess.max():.0f} %")
        if not ((rows >= limits.lower - ROUNDING) & (rows <= limits.upper + ROUNDING)).all():
            found.append("a command is outside the position limits")
        speed, acceleration = self.peaks()
        if speed > 1.05 * normal[0] or acceleration > 1.6 * normal[1]:
            found.append(f"setpoints with {speed:.2f} rad/s and {acceleration:.1f} rad/s^2, in time {normal}")
        if self.controller.status.state != STOPPED or self.stream.rows[-1][1] != 0.0:
            found.append(f"{self.controller.status.state}, setpoints end at {self.stream.rows[-1][1]} rad/s")
        count = len(self.stream.rows)
        self.run(40)
        if len(self.stream.rows) != count:
            found.append("setpoints go on for ever")
        return found

    def peaks(self):
        """Largest speed and acceleration of joint 1 in its setpoints."""
        rows = np.array(self.stream.rows)[:, 0]
        return [np.abs(np.diff(rows, order)).max() * self.stream.command_rate_hz**order for order in (1, 2)]


ROBOTS = {"fr3": 0.05, "ur5e": 0.04}  # with and without limits of jerk; speed [rad/tick]
LATE = (0.02, 0.1, 0.2, 0.3, 0.6, 0.95, 1.05, 1.5, 1.95, 2.05, 3.5, 11.3, 70.0)


@pytest.fixture(params=ROBOTS)
def robot(request):
    return request.param


def braked_in_time(robot):
    cell = Cell(robot, ROBOTS[robot])
    cell.run(8.5)
    cell.stop()
    cell.run(60)
    return cell


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


@pytest.mark.parametrize("step_s", [0.0, 3600.0, -3600.0])
def test_a_clock_that_is_set_and_a_reset_while_only_setpoints_brake(step_s):
    cell = Cell("fr3", 0.05)
    cell.run(8.5)
    cell.hold_up(25.0 * cell.dt_ns, setpoints=True)
    cell.run(75, until=lambda: cell.controller.overruns)
    cell.controller.reset(cell.time.now)
    step_ns = round(step_s * 1e9)
    cell.time.now, cell.ticks_from, cell.setpoints_from = cell.time.now + step_ns, 0, 0
    if step_ns:
        cell.commands.shift(step_ns)
        cell.controller.clock_set(cell.time.now, step_ns, "the clock was set")
    assert cell.controller.status.state == STOPPING
    wanted = STOPPED if step_ns else WAITING  # a clock that is set calls a reset off
    cell.run(30, until=lambda: cell.controller.status.state == wanted)
    assert cell.controller.status.state == wanted and cell.stream.rows[-1][1] == 0.0


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


@pytest.mark.parametrize("step_s", [5.0, -5.0])
@pytest.mark.parametrize("first", ["thread", "shift"])
def test_a_clock_that_is_set_between_two_setpoints_moves_the_schedule_once(step_s, first):
    cell = Cell("fr3", 0.05)
    cell.run(8.5)
    step_ns, count, last = round(step_s * 1e9), len(cell.stream.rows), cell.stream.rows[-1][0]
    cell.time.now += step_ns
    for who in (first, "shift" if first == "thread" else "thread"):
        if who == "thread":
            cell.commands._command()
        else:
            cell.commands.shift(step_ns)
    for _ in range(10):
        cell.commands._command()
        cell.time.now += SETPOINT_NS
    rows = np.array(cell.stream.rows)[count:, 0]
    assert 9 <= len(rows) <= 11, "neither silent for the time of the step nor twice"
    speeds = np.abs(np.diff([last, *rows])) * cell.stream.command_rate_hz
    assert speeds.max() < 1.15 * cell.contract.limits.velocity[0]
    assert np.ptp(rows) > 0.01, "it goes on"


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


@pytest.mark.parametrize("step_s", [3600.0, -3600.0])
@pytest.mark.parametrize("late", [0.0, 0.6, 1.5])
def test_a_clock_that_is_set_while_a_tick_is_late_brakes_from_what_the_robot_was_sent(robot, step_s, late):
    normal = braked_in_time(robot)
    cell = Cell(robot, ROBOTS[robot])
    cell.run(8.5)
    promised = cell.newest.points.positions[1]
    cell.hold_up(late * cell.dt_ns)
    cell.run(0.5 + late * 0.99)
    step_ns = round(step_s * 1e9)
    cell.time.now, cell.ticks_from, cell.setpoints_from = cell.time.now + step_ns, 0, 0
    cell.commands.shift(step_ns)
    cell.controller.clock_set(cell.time.now, step_ns, "the clock was set")
    cell.run(60)
    assert cell.controller.status.cause == CLOCK and cell.faults(normal.peaks()) == []
    assert any(np.array_equal(row, promised) for row in cell.rows) == (late > 0)


class PolledTime(VirtualTime):
    """Waits as simulated time does: until the time has come or goes back."""

    def wait_until_steady(self, steady_ns, interrupt):
        last_ns = now_ns = self.now
        while last_ns <= now_ns < steady_ns:
            if interrupt.wait(0.001):
                return True
            last_ns, now_ns = now_ns, self.now
        return False


def test_a_clock_that_goes_back_before_the_thread_is_told_does_not_silence_it():
    clock, sent, path = PolledTime(), threading.Semaphore(0), CommandPath(load_contract("fr3").limits)
    commands = CommandThread([Stream()], path, clock, lambda *_: sent.release())
    rows = np.tile(load_contract("fr3").home, (2, 1))
    path.extend(NOW, 50_000_000, rows[0], rows, np.zeros_like(rows))
    commands.extended(NOW)
    commands.start()
    try:
        assert sent.acquire(timeout=5.0)
        clock.now -= 3_600_000_000_000
        threading.Event().wait(0.05)  # the thread waits anew meanwhile
        commands.shift(-3_600_000_000_000)
        for _ in range(3):
            clock.now += 6 * SETPOINT_NS
            assert sent.acquire(timeout=5.0)
    finally:
        assert commands.close()


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


class Failing(CommandPath):
    """Cannot be sampled."""

    def sample(self, at_ns):
        raise RuntimeError("injected fault")


def test_an_error_in_the_thread_of_the_setpoints_is_told_once_and_ends_it():
    errors, told = [], threading.Event()
    limits = load_contract("fr3").limits
    commands = CommandThread(
        [Stream()], Failing(limits), SteadyTime(), lambda *_: None, lambda error: (errors.append(error), told.set())
    )
    assert commands.close() is True, "a thread that never ran has ended"
    commands = CommandThread(
        [Stream()],
        Failing(limits),
        SteadyTime(),
        lambda *_: None,
        lambda error: (errors.append(error), commands.close(), told.set()),
    )
    commands.start()
    commands.extended(SteadyTime().steady_ns())
    assert told.wait(5.0) and commands.close()
    assert [str(error) for error in errors] == ["injected fault"]
