"""A robot's controller and its setpoints in virtual time, where ticks and setpoints may come late."""

import numpy as np
import pytest

from beingh_core.contract import load_contract
from beingh_core.control.command_path import CommandPath
from beingh_core.control.command_thread import CommandThread
from beingh_core.control.controller import Controller
from beingh_core.control.driver import Driver
from beingh_core.control.stop_causes import RUNNING, STOPPED
from beingh_core.realtime.commit_buffer import Chunk

NOW = 1_700_000_000_000_000_000
SETPOINT_NS = 5_000_000
ROUNDING = 1e-6


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


@pytest.fixture(params=ROBOTS)
def robot(request):
    return request.param


def braked_in_time(robot):
    cell = Cell(robot, ROBOTS[robot])
    cell.run(8.5)
    cell.stop()
    cell.run(60)
    return cell
