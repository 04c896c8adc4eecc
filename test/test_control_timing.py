"""The controller's sources of time: simulated time and the steady clock."""

import threading
import time

from control_support import NOW

from beingh_core.control.timing import SimulatedTime, SteadyTime


class SteppedClock:
    """A node clock that a test sets."""

    def __init__(self):
        self.nanoseconds = NOW

    def now(self):
        return self


def test_simulated_time_tells_jumps_from_steps():
    clock = SteppedClock()
    source = SimulatedTime(clock)
    for _ in range(5):
        clock.nanoseconds += 900_000_000
        assert source.step() is None
    clock.nanoseconds += 3_000_000_000
    step_ns, words = source.step()
    assert step_ns == 3_000_000_000 and "ahead by 3.000 s" in words and source.step() is None
    clock.nanoseconds -= 1
    assert source.step() == (-1, "simulated time went back") and source.step() is None
    clock.nanoseconds -= 10
    assert source.wait_until(NOW * 2, threading.Event()) is False, "a wait ends where time steps"
    assert source.step()[0] == -10


def test_steady_time_follows_a_system_clock_that_is_set(monkeypatch):
    source = SteadyTime()
    real, shift_ns = time.time_ns, 7_000_000_000
    monkeypatch.setattr(time, "time_ns", lambda: real() + shift_ns)
    before_ns = source.now_ns()
    step_ns, words = source.step()
    assert abs(step_ns - shift_ns) < 5_000_000 and "+7.0" in words
    assert source.now_ns() - before_ns > 6_900_000_000 and source.step() is None


def test_steady_time_waits_on_the_scale_of_the_system_clock():
    source = SteadyTime()
    target = source.now_ns() + 20_000_000
    assert source.wait_until(target, threading.Event()) is False
    assert source.now_ns() >= target and source.step() is None
    interrupt = threading.Event()
    interrupt.set()
    assert source.wait_until(target + 10**12, interrupt) is True
