"""The thread that sends: one controller tick at each tick time, nothing else."""

from __future__ import annotations

import threading
from collections.abc import Callable

from beingh_core.control.controller import Controller
from beingh_core.control.setpoints import Setpoints
from beingh_core.control.tick_output import TickOutput
from beingh_core.control.timing import TimeSource, joined, prefer_this_thread
from beingh_core.realtime.samples import Samples

IDLE_POLL_S = 0.005
JOIN_S = 1.0
# Other threads begin nothing that takes longer than a fraction of this when a tick is due within it [ns].
CLEAR_NS = 3_000_000


class TickThread:
    """Runs the controller's ticks on an absolute schedule, so that a late tick does not move those after it.

    Args:
        controller: What to tick.
        time: Clock of the schedule.
        send: Called first with every tick.
        publish: Called with every new plan, after `send`.
        fail: Called in this thread with the error that ends it (a defect).
        clock_set: Called with the step [ns] and the reason when the clock was set; default: tell the controller.
    """

    def __init__(
        self,
        controller: Controller,
        time: TimeSource,
        send: Callable[[TickOutput], None],
        publish: Callable[[Setpoints], None],
        fail: Callable[[Exception], None],
        clock_set: Callable[[int, str], None] | None = None,
    ) -> None:
        self._controller, self.time = controller, time
        self._send, self._publish, self._fail = send, publish, fail
        self._clock_set = clock_set or (lambda step_ns, reason: controller.clock_set(time.now_ns(), step_ns, reason))
        self.periods_ms = Samples(100_000)
        self.lateness_ms = Samples(100_000)
        self._ending, self._sent = threading.Event(), threading.Event()
        self._thread = threading.Thread(target=self._run, name="ticks", daemon=True)

    def start(self) -> None:
        """Start ticking."""
        self._thread.start()

    def let_pass(self) -> None:
        """From another thread, before something that takes a while: wait for a tick that is about to be sent."""
        due_ns, period_ns = self._controller.next_tick_ns(), self._controller.period_ns
        if due_ns is None:
            return
        ahead_ns = due_ns - self.time.now_ns()
        if ahead_ns < min(CLEAR_NS, period_ns / 4):
            self._sent.clear()
            self._sent.wait(2 * CLEAR_NS / 1e9)

    def close(self) -> bool:
        """End the thread; False when it does not end in time."""
        self._ending.set()
        return joined(self._thread, JOIN_S)

    def _run(self) -> None:
        prefer_this_thread()
        try:
            self._tick_until_closed()
        except Exception as error:
            self._fail(error)

    def _tick_until_closed(self) -> None:
        last_ns = None
        while not self._ending.is_set():
            self._follow_clock()
            plan = self._controller.announcement()
            if plan is not None:
                self._publish(plan)
                last_ns = None
            due_ns = self._controller.next_tick_ns()
            if due_ns is None:
                last_ns = None
                self._ending.wait(IDLE_POLL_S)
                continue
            if self.time.wait_until(due_ns, self._ending):
                return
            now_ns = self.time.now_ns()
            if self._follow_clock() or now_ns < due_ns:
                continue
            output = self._controller.tick(now_ns)
            if output is None:
                continue
            self._send(output)
            self._publish(output.plan)
            self._sent.set()
            self.lateness_ms.add((now_ns - due_ns) / 1e6)
            if last_ns is not None:
                self.periods_ms.add((now_ns - last_ns) / 1e6)
            last_ns = now_ns

    def _follow_clock(self) -> bool:
        """Tell the controller when the clock was set; whether it was."""
        stepped = self.time.step()
        if stepped is not None:
            self._clock_set(*stepped)
        return stepped is not None
