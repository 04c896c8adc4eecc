"""Clocks for threads that must keep a schedule. No ROS here except an optional clock object.

A schedule runs in its own thread, not in an rclpy timer: an rclpy timer waits its turn behind every other
callback of the executor, and a late one moves those after it.
"""

from __future__ import annotations

import threading
import time
from typing import Protocol

POLL_S = 0.002
# Two clocks read within this are read at the same time.
READING_NS = 500_000


class TimeSource(Protocol):
    """What a schedule needs of a clock."""

    def now_ns(self) -> int:
        """Present time on the message-stamp scale [ns]."""

    def wait_until(self, stamp_ns: int, interrupt: threading.Event) -> bool:
        """Sleep until a time, or a little less; True when interrupted before."""

    def step_ns(self) -> int:
        """How far the clock that stamps messages has been set since this source was made [ns]."""


class SteadyTime:
    """The monotonic clock, put on the scale of the system clock once; setting the system clock does not move it."""

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

    def step_ns(self) -> int:
        """How far the system clock has been set since [ns]; 0 when the reading was interrupted."""
        found = _system_minus_monotonic_ns()
        return 0 if found is None else found - self._offset_ns


def _system_minus_monotonic_ns() -> int | None:
    """Difference of the two clocks, None when the thread lost the processor between reading them."""
    before_ns = time.monotonic_ns()
    system_ns = time.time_ns()
    after_ns = time.monotonic_ns()
    return system_ns - before_ns if after_ns - before_ns < READING_NS else None


class SimulatedTime:
    """A node clock driven by /clock; another thread must spin the node.

    Args:
        clock: The node's rclpy clock.
    """

    def __init__(self, clock) -> None:
        self._clock = clock

    def now_ns(self) -> int:
        """Present simulated time [ns]; 0 before the first /clock."""
        return self._clock.now().nanoseconds

    def wait_until(self, stamp_ns: int, interrupt: threading.Event) -> bool:
        """Wait until simulated time has come or goes back; True when interrupted before."""
        last_ns = now_ns = self.now_ns()
        while last_ns <= now_ns < stamp_ns:
            if interrupt.wait(POLL_S):
                return True
            last_ns, now_ns = now_ns, self.now_ns()
        return interrupt.is_set()

    def step_ns(self) -> int:
        """Always 0: simulated time is the schedule itself."""
        return 0
