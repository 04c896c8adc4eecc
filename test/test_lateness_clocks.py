"""Clocks that are set while setpoints brake or ticks are late, in virtual time; errors of the setpoints' thread."""

import threading

import numpy as np
import pytest
from lateness_support import NOW, ROBOTS, SETPOINT_NS, Cell, Stream, VirtualTime, braked_in_time, robot

from beingh_core.contract import load_contract
from beingh_core.control.command_path import CommandPath
from beingh_core.control.command_thread import CommandThread
from beingh_core.control.stop_causes import CLOCK, STOPPED, STOPPING, WAITING
from beingh_core.control.timing import SteadyTime

robot = robot


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
