"""The thread that sends setpoints at the robots' own command rates, between the ticks."""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence

import numpy as np

from beingh_core.control.command_path import CommandPath
from beingh_core.control.driver import Driver
from beingh_core.control.setpoints import Setpoints
from beingh_core.control.timing import TimeSource, joined, prefer_this_thread
from beingh_core.realtime.clock import TickClock
from beingh_core.realtime.samples import Samples

IDLE_POLL_S = 0.005
# The longest wait for a time that a clock that is set may move meanwhile [ns].
LOOK_NS = 20_000_000
JOIN_S = 1.0
# A thread that has sent nothing for longer than this, and than so many setpoints, goes on where it was: a jump to where
# it should be is no motion for a robot [ns].
HELD_UP_NS, HELD_UP_SETPOINTS = 20_000_000, 4
# How long the posture at rest is repeated [ns].
HOLD_NS = 500_000_000


class CommandThread:
    """Sends one interpolated row to each driver at its rate.

    Setpoint k of a driver belongs to the time `start + k / rate` and to no other; a late one does not move those after
    it, and one whose time is over when the next is due is left out and counted. When more than a few are left out, the
    path goes on from the last one that was sent. The setpoints end a while after the path has come to rest.

    Args:
        drivers: With a command rate each.
        path: What is committed; another thread extends it.
        time: Clock of the schedule.
        send: Sends a row through a driver; does not raise.
        fail: Called in this thread with the error that ends it (a defect).

    Attributes:
        sent, missed: Setpoints.
        lateness_ms: Of each, against its time.
    """

    def __init__(
        self,
        drivers: Sequence[Driver],
        path: CommandPath,
        time: TimeSource,
        send: Callable[[Driver, Setpoints], None],
        fail: Callable[[Exception], None] | None = None,
    ) -> None:
        self._path, self._time, self._send, self._fail = path, time, send, fail
        self._streams = [_Stream(driver) for driver in drivers]
        self._start_ns: int | None = None
        self.lateness_ms = Samples(100_000)
        self.sent = self.missed = 0
        self._lock = threading.Lock()
        self._ending = threading.Event()
        self._thread = threading.Thread(target=self._run, name="commands", daemon=True)

    def start(self) -> None:
        """Start the thread."""
        self._thread.start()

    def close(self) -> bool:
        """End the thread; False when it does not end in time."""
        self._ending.set()
        return joined(self._thread, JOIN_S)

    def extended(self, start_ns: int) -> None:
        """The path was extended by the tick at `start_ns` [ns]."""
        with self._lock:
            if self._start_ns is None:
                self._start_ns = start_ns
                for stream in self._streams:
                    stream.next = 0

    def shift(self, step_ns: int) -> None:
        """Move the schedule with a clock that was set, unless it has followed that already, as a sender held up does."""
        with self._lock:
            if self._start_ns is not None and 0 < step_ns > 2 * (self._time.steady_ns() - self._due_ns(self._start_ns)):
                return
            self._path.shift(step_ns)
            if self._start_ns is not None:
                self._start_ns += step_ns

    def _run(self) -> None:
        prefer_this_thread()
        try:
            self._command_until_closed()
        except Exception as error:
            if self._fail is None:
                raise
            self._fail(error)

    def _command_until_closed(self) -> None:
        while not self._ending.is_set():
            with self._lock:
                due_ns = None if self._start_ns is None else self._due_ns(self._start_ns)
            if due_ns is None:
                self._ending.wait(IDLE_POLL_S)
            elif not self._time.wait_until_steady(min(due_ns, self._time.steady_ns() + LOOK_NS), self._ending):
                self._command()

    def _due_ns(self, start_ns: int) -> int:
        """Under the lock, of a schedule that began then: time of the next setpoint."""
        return min(stream.due_ns(start_ns) for stream in self._streams)

    def _command(self) -> None:
        """Send the next setpoint if it is due."""
        with self._lock:
            start_ns = self._start_ns
            if start_ns is None:
                return
            stream = min(self._streams, key=lambda s: s.due_ns(start_ns))
            now_ns = self._time.steady_ns()
            if now_ns < stream.due_ns(start_ns):
                return
            newest = stream.newest(now_ns - start_ns)
            self.missed += newest - stream.next
            stream.next = newest
            at_ns = stream.due_ns(start_ns)
            stream.next += 1
            self._path.hold_up(at_ns - stream.period_ns, max(HELD_UP_NS, HELD_UP_SETPOINTS * stream.period_ns))
            sampled = self._path.sample(at_ns)
        if sampled is None:
            return
        points = Setpoints(
            stamp_ns=self._time.to_stamp(at_ns),
            times_s=np.zeros(1),
            positions=sampled[0][None],
            velocities=sampled[1][None],
        )
        self._send(stream.driver, points)
        self.sent += 1
        self.lateness_ms.add((now_ns - at_ns) / 1e6)
        self._rest(at_ns)

    def _rest(self, at_ns: int) -> None:
        """End the stream a while after the path has come to rest."""
        with self._lock:
            rest_ns = self._path.rest_ns
            if rest_ns is not None and at_ns >= rest_ns + HOLD_NS:
                self._start_ns = None


class _Stream:
    """One driver's own grid of times, counted from the start of the schedule."""

    def __init__(self, driver: Driver) -> None:
        assert driver.command_rate_hz is not None, "only drivers between the ticks are streamed"
        self.driver, self.next = driver, 0
        self._clock = TickClock(driver.command_rate_hz, 0)
        self.period_ns = self._clock.period_ns

    def due_ns(self, start_ns: int) -> int:
        """Time of the next setpoint [ns]."""
        return start_ns + self._clock.stamp_ns(self.next)

    def newest(self, elapsed_ns: int) -> int:
        """Number of the setpoint that is due after a time [ns], at least the next one."""
        return max(self.next, self._clock.tick_at_or_before(elapsed_ns))
