"""Clocks for threads that must keep a schedule. No ROS here except an optional clock object.

A schedule runs in its own thread, not in an rclpy timer: an rclpy timer waits its turn behind every other
callback of the executor, and a late one moves those after it.
"""

from __future__ import annotations

import os
import threading
import time
from typing import Protocol

POLL_S = 0.002
# Two clocks read within this are read at the same time.
READING_NS = 500_000
# The system clock is corrected all the time; only a step this large breaks the relation of stamps to ticks.
MAX_SYSTEM_STEP_NS = 20_000_000
# Simulated time that goes ahead by more than this at once has jumped, unless this process was held up meanwhile.
MAX_SIMULATED_STEP_NS = 1_000_000_000
HOLD_UP_NS = 250_000_000


class RosTime(Protocol):
    """What is needed of an rclpy time."""

    @property
    def nanoseconds(self) -> int:
        """Since its epoch."""


class RosClock(Protocol):
    """What is needed of an rclpy clock."""

    def now(self) -> RosTime:
        """The present time."""


class TimeSource(Protocol):
    """What a schedule needs of a clock."""

    def now_ns(self) -> int:
        """Present time on the message-stamp scale [ns]."""

    def wait_until(self, stamp_ns: int, interrupt: threading.Event) -> bool:
        """Sleep until a time, or a little less; True when interrupted before."""

    def step(self) -> tuple[int, str] | None:
        """(ns, in words) how far the clock that stamps messages was set since the last call, None when it was not.

        From one thread. `now_ns` is on the new scale from then on.
        """

    def steady_ns(self) -> int:
        """Present time on a scale that setting the system clock does not move [ns]."""

    def to_steady(self, stamp_ns: int) -> int:
        """A stamp on that scale [ns]."""

    def to_stamp(self, steady_ns: int) -> int:
        """A time on that scale as a stamp [ns]."""

    def wait_until_steady(self, steady_ns: int, interrupt: threading.Event) -> bool:
        """Like `wait_until`, on that scale."""


class SteadyTime:
    """The monotonic clock, put on the scale of the system clock once; see `step` for when that is set."""

    def __init__(self) -> None:
        found = None
        while found is None:
            found = _system_minus_monotonic_ns()
        self._offset_ns = found

    def now_ns(self) -> int:
        """Present time [ns]."""
        return time.monotonic_ns() + self._offset_ns

    def wait_until(self, stamp_ns: int, interrupt: threading.Event) -> bool:
        """Sleep until a time; True when interrupted before."""
        return interrupt.wait(max(0, stamp_ns - self.now_ns()) / 1e9)

    def steady_ns(self) -> int:
        """The monotonic clock [ns]."""
        return time.monotonic_ns()

    def to_steady(self, stamp_ns: int) -> int:
        """A stamp on the monotonic clock [ns]."""
        return stamp_ns - self._offset_ns

    def to_stamp(self, steady_ns: int) -> int:
        """A time of the monotonic clock as a stamp [ns]."""
        return steady_ns + self._offset_ns

    def wait_until_steady(self, steady_ns: int, interrupt: threading.Event) -> bool:
        """Sleep until a time of the monotonic clock; True when interrupted before."""
        return interrupt.wait(max(0, steady_ns - time.monotonic_ns()) / 1e9)

    def step(self) -> tuple[int, str] | None:
        """(ns, in words) how far the system clock was set; None also when the reading was interrupted."""
        found = _system_minus_monotonic_ns()
        if found is None:
            return None
        step_ns = found - self._offset_ns
        if abs(step_ns) <= MAX_SYSTEM_STEP_NS:
            return None
        self._offset_ns = found
        return step_ns, f"the system clock was set by {step_ns / 1e9:+.3f} s"


def _system_minus_monotonic_ns() -> int | None:
    """Difference of the two clocks, None when the thread lost the processor between reading them."""
    before_ns = time.monotonic_ns()
    system_ns = time.time_ns()
    after_ns = time.monotonic_ns()
    return system_ns - before_ns if after_ns - before_ns < READING_NS else None


def prefer_this_thread(priority: int = 50) -> bool:
    """Ask for real-time scheduling of the calling thread; False without the right to ask for it."""
    try:
        os.sched_setscheduler(0, os.SCHED_FIFO, os.sched_param(priority))
    except (AttributeError, OSError):
        return False
    return True


def joined(thread: threading.Thread, timeout_s: float) -> bool:
    """Wait for a thread that was told to end; True when it has, was never started, or asks itself."""
    if thread.ident is None or thread is threading.current_thread():
        return True
    thread.join(timeout_s)
    return not thread.is_alive()


class SimulatedTime:
    """A node clock driven by /clock; another thread must spin the node.

    Args:
        clock: The node's rclpy clock.
    """

    def __init__(self, clock: RosClock) -> None:
        self._clock = clock
        self._last = (self.now_ns(), time.monotonic_ns())

    def now_ns(self) -> int:
        """Present simulated time [ns]; 0 before the first /clock."""
        return self._clock.now().nanoseconds

    def wait_until(self, stamp_ns: int, interrupt: threading.Event) -> bool:
        """Wait until simulated time has come or has stepped; True when interrupted before."""
        while self._last[0] < stamp_ns:
            if interrupt.wait(POLL_S):
                return True
            reading = self.now_ns(), time.monotonic_ns()
            if self._stepped(reading):
                return False
            self._last = reading
        return interrupt.is_set()

    def step(self) -> tuple[int, str] | None:
        """(ns, in words) how far simulated time has jumped, back or far ahead."""
        reading = self.now_ns(), time.monotonic_ns()
        before_ns, stepped, self._last = self._last[0], self._stepped(reading), reading
        if not stepped:
            return None
        step_ns = reading[0] - before_ns
        if step_ns < 0:
            return step_ns, "simulated time went back"
        return step_ns, f"simulated time jumped ahead by {step_ns / 1e9:.3f} s"

    def steady_ns(self) -> int:
        """Simulated time: there is no other scale."""
        return self.now_ns()

    def to_steady(self, stamp_ns: int) -> int:
        """The same time [ns]."""
        return stamp_ns

    def to_stamp(self, steady_ns: int) -> int:
        """The same time [ns]."""
        return steady_ns

    def wait_until_steady(self, steady_ns: int, interrupt: threading.Event) -> bool:
        """Wait until simulated time has come or goes back; from any thread."""
        last_ns = now_ns = self.now_ns()
        while last_ns <= now_ns < steady_ns:
            if interrupt.wait(POLL_S):
                return True
            last_ns, now_ns = now_ns, self.now_ns()
        return interrupt.is_set()

    def _stepped(self, reading: tuple[int, int]) -> bool:
        (before_ns, wall_before_ns), (now_ns, wall_ns) = self._last, reading
        ahead = now_ns - before_ns > MAX_SIMULATED_STEP_NS and wall_ns - wall_before_ns < HOLD_UP_NS
        return before_ns > 0 and (now_ns < before_ns or ahead)
