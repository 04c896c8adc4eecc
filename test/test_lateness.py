"""Ticks and setpoints that come late, in virtual time: what is sent goes on within the limits from what was sent last."""

import itertools
import threading

import numpy as np
import pytest

from beingh_core.contract import load_contract
from beingh_core.realtime.commit_buffer import Chunk
from beingh_ros.command_path import CommandPath
from beingh_ros.command_thread import HOLD_NS, CommandThread
from beingh_ros.controller import Controller
from beingh_ros.drivers.driver import Driver
from beingh_ros.stop_causes import CLOCK, ESTOP, RUNNING, STOPPED

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
        self.controller = Controller(self.contract, watch_tracking=False)
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
                self.commands._command(stream, start_ns)
                continue
            self.controller.joint_state(self.time.now, self.home)
            output = self.controller.tick(self.time.now)
            if output is not None:
                self.rows.append(output.committed[0])
                self.newest = output
                self.path.extend(
                    output.stamp_ns,
                    self.dt_ns,
                    output.before,
                    output.committed,
                    output.velocities,
                    fresh=output.fresh,
                    stopping=output.stopping,
                )
                self.commands.extended(output.stamp_ns)

    def stop(self):
        self.controller.set_estop(True, self.time.now)


def peaks(rows, step_s):
    """Largest speed, acceleration and jerk by differences."""
    return [np.abs(np.diff(rows, order, axis=0)).max() / step_s**order for order in (1, 2, 3)]

if __name__ == "__main__":
    import sys
    for robot in ("fr3","ur5e"):
        for sp in (False, True):
            worst={}
            for ticks, late in itertools.product(range(6), (0, .05,.1,.2,.5,.9,1.0,1.1,1.5,1.9,2.0,2.1,3.5,10.3,70)):
                c=Cell(robot, .05 if robot=="fr3" else .04)
                c.run(8); c.stop(); c.run(ticks+.5)
                if c.controller.next_tick_ns() is None: continue
                c.hold_up(late*c.dt_ns, setpoints=sp)
                c.run(late+40)
                L=c.contract.limits
                r=np.array(c.rows)[:,0]; s=np.array(c.stream.rows)[:,0]
                pr=peaks(np.append(r,r[-1:]),c.contract.dt_s); ps=peaks(np.append(s,s[-1:]),SETPOINT_NS/1e9)
                worst[ticks,late]=(round(pr[1],1),round(ps[0],2),round(ps[1],1),c.controller.status.state, round(r[-1]-s[-1],4))
            print(robot, sp, L.acceleration[0], L.velocity[0])
            for k,v in worst.items():
                print(k,v)
