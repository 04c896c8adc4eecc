"""The controller's states and ticks, without messages.

    waiting --robot at rest--> running --stop--> stopping --brakes--> stopped (sends nothing) --reset--> waiting

Letters: J commanded joints, T committed ticks, M planned ticks.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable, Mapping
from dataclasses import replace

import numpy as np

from beingh_core.contract import RobotContract
from beingh_core.control.measured_joints import NOT_AT_REST, Problem, measured_joints, start_position
from beingh_core.control.setpoints import Setpoints
from beingh_core.control.stop_causes import (
    CHUNKS_SILENT,
    CLOCK,
    COLLISION,
    DRIVER,
    ESTOP,
    FOR_JOINT_STATES,
    JOINT_STATES_INVALID,
    RESET,
    RUNNING,
    SHUTDOWN,
    STOPPED,
    STOPPING,
    WAITING,
    Status,
)
from beingh_core.control.subscribers import Subscribed
from beingh_core.control.tick_output import TickOutput
from beingh_core.control.tick_plan import TickPlan, longest_late_ticks
from beingh_core.control.tracking import TrackingWatch, following_problem
from beingh_core.errors import BeingHError
from beingh_core.realtime.clock import exact_period_ns
from beingh_core.realtime.commit_buffer import Chunk, Command, CommitBuffer, MergeResult
from beingh_core.realtime.cut import PathCheck

Values = Mapping[str, float]  # by joint name
# Ticks that come later than this stop it: the robot may have been moved meanwhile.
MAX_HOLD_UP_NS = 1_000_000_000
# Time between two reasons to wait that say almost the same.
REPEAT_NS = 1_000_000_000


class Controller:
    """Owner of the tick clock and the commit buffer.

    Every method may be called from any thread; one lock makes each of them atomic and is never held while sending, nor
    while a chunk is checked.

    Args:
        contract: Robot.
        joint_state_timeout_s: Without joint states for longer it stops [s]; 0 for the contract's.
        max_late_ticks: A tick that comes later than this many periods, or later than the robot can go on by what it was
            sent, ends the epoch; the next epoch starts at the last command, so that no burst of overdue commands
            leaves. A stop goes on from there.
        watch_tracking: Whether a robot that does not follow stops it; off where nothing is sent to the robot.
        topics: Of the joint states, for messages; the contract's where none are given.
        publishers: Gives who publishes joint states, for messages.
        changed: Called with every new status, under the lock: it must only hand over.
        check: Says which rows of a chunk must not be commanded; see `path_check`.
        still: Whether what is commanded between the ticks has come to rest by itself, where they have ended.
    """

    def __init__(
        self,
        contract: RobotContract,
        *,
        joint_state_timeout_s: float = 0.0,
        max_late_ticks: float = 2.0,
        watch_tracking: bool = True,
        topics: Iterable[str] = (),
        publishers: Callable[[], str] = str,
        changed: Callable[[Status], None] = lambda _status: None,
        check: PathCheck | None = None,
        still: Callable[[], bool] = lambda: True,
    ) -> None:
        self._contract = contract
        self._dt_ns = exact_period_ns(contract.rate_hz)
        self._max_late_ns = min(max_late_ticks, longest_late_ticks(contract)) * self._dt_ns
        self._lock = threading.RLock()
        topics = ", ".join(tuple(topics) or contract.joint_state_topics)
        timeout_s = joint_state_timeout_s or contract.watchdog.joint_states_s
        self._is_joint = ~contract.limits.is_velocity  # the others command a base and are not measured
        self._measured = measured_joints(contract, timeout_s, topics, publishers)
        self._tracking = TrackingWatch(contract) if watch_tracking else None
        self._ticks = TickPlan(contract, check)
        self._at_rest = True
        self._reset_wanted = self._chunk_runs = False
        self._judged_tick = 0
        self._estops: set[str] = set()
        self._waiting = f"{FOR_JOINT_STATES} on {topics}"
        self._status = Status(state=WAITING, reason=self._waiting)
        self._active, self._changed, self._unsubscribed = True, changed, ""
        self._still = still
        self._look_ns: int | None = None  # when to look whether it is still; there are no ticks any more
        self.overruns = 0

    @property
    def status(self) -> Status:
        """State, cause and reason, all of one moment."""
        return self._status

    @property
    def period_ns(self) -> float:
        """One tick [ns]."""
        return self._dt_ns

    @property
    def counters(self) -> dict[str, int]:
        """The commit buffer's counters over all epochs; empty before the first."""
        with self._lock:
            return self._buffer.counters if self._buffer else {}

    @property
    def tracking_share(self) -> float:
        """The newest tracking error of the worst joint, in parts of what is allowed."""
        return self._tracking.worst if self._tracking else 0.0

    @property
    def clock_difference(self) -> tuple[float, str]:
        """How far the stamps of joint states are ahead of this computer's clock [s], and what that means."""
        with self._lock:
            return self._measured.clock_difference()

    @property
    def last_sent(self) -> np.ndarray | None:
        """(T, J) the newest tick and the committed ones after it; None before the first tick of an epoch."""
        return self._ticks.last_sent

    @property
    def at_rest(self) -> bool:
        """Whether nothing is being sent: before the first epoch, and when a stop has braked to rest."""
        return self._at_rest

    def activate(self) -> None:
        """Wait for joint states and start, unless something else than `deactivate` has stopped it."""
        with self._lock:
            self._active = True
            self._measured.forget()
            if self._status.state == STOPPED and self._status.cause == SHUTDOWN and not self._estops:
                self._set(WAITING, reason=self._waiting)

    def deactivate(self, now_ns: int, reason: str) -> None:
        """Stop, and start no more until `activate`."""
        with self._lock:
            self._active = False
            self.stop(SHUTDOWN, reason, now_ns)

    def joint_state(self, now_ns: int, positions: Values, velocities: Values | None = None, stamp_ns: int = 0) -> None:
        """Take measured positions; they start a waiting robot and stop a running one where they cannot be true."""
        with self._lock:
            self._measured.update(now_ns, positions, velocities, stamp_ns)
            if self._status.state == WAITING and self._active:
                self._wait(now_ns)
            elif self._status.state == RUNNING:
                self._stop_for(self._measured.invalid(now_ns), now_ns)

    def malformed_joint_state(self, now_ns: int, reason: str) -> None:
        """Joint states of a commanded joint came that cannot be read."""
        with self._lock:
            if self._status.state == RUNNING:
                self.stop(JOINT_STATES_INVALID, reason, now_ns)

    def subscribers(self, subscribed: Subscribed, now_ns: int) -> None:
        """Whether the robot receives its commands: a waiting controller starts only then; without it, a running one stops."""
        with self._lock:
            self._unsubscribed = subscribed.reason
            if subscribed.lost and self._status.state == RUNNING:
                self.stop(DRIVER, subscribed.reason, now_ns)

    def merge(self, chunk: Chunk) -> MergeResult | None:
        """Merge a chunk; None before the first epoch and while not active."""
        with self._lock:
            buffer = self._buffer if self._active else None
        if buffer is None:
            return None
        result = buffer.merge(chunk)  # what has stopped or left this epoch meanwhile has told the buffer
        with self._lock:
            if self._status.state == RUNNING and chunk.epoch == self._ticks.epoch:
                self._note_merged(result, buffer.next_tick)
        return result

    def stop(self, cause: str, reason: str, now_ns: int) -> None:
        """End the epoch: the coming ticks brake, then nothing is sent until `reset`. The first cause stands."""
        with self._lock:
            self._reset_wanted = False
            status = self._status
            if status.state == RUNNING and self._buffer is not None:
                self._buffer.stop(reason)
            if status.state in (WAITING, RUNNING) or status.cause == RESET:
                self._set(STOPPED if self._at_rest else STOPPING, cause, reason, now_ns)

    def set_estop(self, active: bool, now_ns: int, source: str = "topic") -> None:
        """Follow one source of emergency stops: active stops, released allows a reset."""
        with self._lock:
            (self._estops.add if active else self._estops.discard)(source)
            if active:
                self.stop(ESTOP, f"emergency stop ({source})", now_ns)
            self._become(replace(self._status, estop=bool(self._estops)))

    def reset(self, now_ns: int) -> None:
        """Brake if moving, then start an epoch at the positions measured from then on, once the robot is at rest.

        Raises:
            BeingHError: While the emergency stop is active or the measured positions are not usable.
        """
        with self._lock:
            problem = self._refusal(now_ns)
            if problem:
                raise BeingHError(f"cannot reset: {problem}", remedy="remove the cause and call reset again")
            self.stop(RESET, "reset", now_ns)
            self._reset_wanted = True
            if self._at_rest:
                self._wait_for_joints()

    def next_tick_ns(self) -> int | None:
        """When `tick` is to be called next, None when there is no need."""
        with self._lock:
            if self._look_ns is not None:
                return self._look_ns
            return None if self._at_rest else self._ticks.next_ns()

    def announcement(self) -> Setpoints | None:
        """The plan of an epoch before its first tick, once an epoch."""
        with self._lock:
            return None if self._at_rest else self._ticks.announcement()

    def tick(self, now_ns: int) -> TickOutput | None:
        """Commit the next tick, which is due; None when there is nothing to send."""
        with self._lock:
            if self._at_rest:
                return None
            if self._look_ns is not None:
                self._let_come_to_rest(now_ns)
                return None
            late_ns = now_ns - self._ticks.next_ns()
            if late_ns > self._max_late_ns:
                self._overrun(now_ns, late_ns)
                return None
            if self._status.state == RUNNING:
                self._stop_for(self._measured.problem(now_ns), now_ns)
            command, output = self._ticks.advance(now_ns, stopping=self._status.state == STOPPING)
            self._note_sent(command, output.points.stamp_ns)
            if output.stopping and self._ticks.rests():
                self._come_to_rest()
            return output

    def clock_set(self, now_ns: int, step_ns: int, reason: str) -> None:
        """The clock behind the stamps was set by `step_ns` and shows `now_ns`: stop, and brake in the new time."""
        with self._lock:
            self._measured.shift(step_ns)
            if self._at_rest:
                return
            self.stop(CLOCK, reason, now_ns)
            if self._look_ns is not None:
                self._let_come_to_rest(now_ns)
                return
            if self._ticks.rests():
                self._come_to_rest()
                return
            promised_ns = due_ns = self._ticks.next_ns() + step_ns
            if not now_ns <= due_ns <= now_ns + 2 * self._dt_ns:
                due_ns = now_ns + round(self._dt_ns)
            self._retime(due_ns, due_ns - promised_ns)

    def final_path(self, now_ns: int, cause: str = SHUTDOWN, reason: str = "the node ends") -> Setpoints | None:
        """Stop, and give the whole braking path at once; nothing can be sent after it.

        Returns:
            The path from the last sent tick, which is at its stamp, to rest; None when it rests already, but for what
            is commanded between the ticks.
        """
        with self._lock:
            self._active = False
            self.stop(cause, reason, now_ns)
            if self._at_rest:
                return None
            path = None if self._look_ns is not None else self._ticks.braking_path(now_ns, self._max_late_ns)
            self._come_to_rest()
            return path

    @property
    def _buffer(self) -> CommitBuffer | None:
        return self._ticks.buffer

    def _stop_for(self, problem: Problem | None, now_ns: int) -> None:
        problem = problem or following_problem(self._tracking, self._measured, now_ns)
        if problem:
            self.stop(*problem, now_ns)

    def _set(self, state: str, cause: str = "", reason: str = "", stamp_ns: int = 0) -> None:
        active = bool(self._estops)
        self._become(
            Status(state=state, cause=cause, reason=reason, epoch=self._ticks.epoch, stamp_ns=stamp_ns, estop=active)
        )

    def _become(self, status: Status) -> None:
        if status != self._status:
            self._status = status
            self._changed(status)

    def _refusal(self, now_ns: int) -> str | None:
        if self._estops:
            return "the emergency stop is active, until each that has pressed it releases it or its publisher has gone"
        if not self._active:
            return "the node is not active"
        problem = self._measured.problem(now_ns)
        return problem[1] if problem else None

    def _note_merged(self, result: MergeResult, next_tick: int) -> None:
        """Tell what is in a chunk's way, once, and that nothing is any more."""
        self._judged_tick = next_tick
        reason = f"a chunk was cut, the joints brake and hold: {result.blocked}"
        if result.blocked and (self._status.cause, self._status.reason) != (COLLISION, reason):
            self._set(RUNNING, COLLISION, reason, self._ticks.next_ns())
        elif result.accepted and not result.blocked and self._status.cause in (CHUNKS_SILENT, COLLISION):
            self._set(RUNNING)

    def _note_sent(self, command: Command, stamp_ns: int) -> None:
        """Keep what the watchdogs need to know of a tick."""
        if self._tracking is not None:
            self._tracking.commanded(stamp_ns + round(self._dt_ns), command.positions)
        ran_dry, self._chunk_runs = command.held and self._chunk_runs, not command.held
        if self._status.cause == COLLISION:  # until no chunk comes any more that could be cut
            ran_dry = command.held and command.tick - self._judged_tick > self._contract.policy.chunk_length
        if ran_dry and self._status.state == RUNNING:
            self._set(RUNNING, CHUNKS_SILENT, "the last chunk is used up: the joints brake and hold", stamp_ns)

    def _wait(self, now_ns: int) -> None:
        """Start when the robot is measured and at rest, else say what is missing."""
        if now_ns <= 0:
            reason = "no simulated time on /clock"
        elif problem := self._measured.problem(now_ns):
            reason = problem[1]
        else:
            reason = self._measured.moving(now_ns) or self._unsubscribed or self._start(now_ns)
        # Which joint is the fastest changes with every message.
        same = reason.startswith(NOT_AT_REST) and self._status.reason.startswith(NOT_AT_REST)
        if reason and reason != self._status.reason and not (same and now_ns - self._status.stamp_ns < REPEAT_NS):
            self._set(WAITING, reason=reason, stamp_ns=now_ns)

    def _start(self, now_ns: int) -> str:
        """Begin an epoch at the measured positions, or return why not."""
        start, problem = start_position(self._contract, self._measured.row())
        if not problem:
            self._ticks.begin(now_ns, start, fresh=True)
            self._run(start, start)
        return problem

    def _run(self, from_J: np.ndarray, to_J: np.ndarray) -> None:
        """An epoch has begun at `to_J`; the robot may still be on its way there."""
        if self._tracking is not None:
            self._tracking.begin(from_J)
            self._tracking.commanded(self._ticks.next_ns(), to_J)
        self._at_rest = self._chunk_runs = False
        self._measured.settle()
        self._set(RUNNING)

    def _overrun(self, now_ns: int, late_ns: int) -> None:
        """The thread was held up: go on from where that has left the robot, or stop."""
        self.overruns += 1
        if self._status.state == STOPPING:
            self._retime(now_ns + round(self._dt_ns), late_ns + round(self._dt_ns))
        elif late_ns > MAX_HOLD_UP_NS:
            self.stop(CLOCK, f"the ticks were held up for {late_ns / 1e9:.1f} s", now_ns)
            self._let_come_to_rest(now_ns)
        else:
            left = self.last_sent
            start = self._ticks.begin_again(now_ns)
            self._run(start if left is None else left[-1], start)

    def _retime(self, due_ns: int, late_ns: int) -> None:
        self._ticks.retime(due_ns, late_ns)
        self._become(replace(self._status, epoch=self._ticks.epoch))

    def _let_come_to_rest(self, now_ns: int) -> None:
        """Without a tick: what was commanded by them rests, what is commanded between them brakes by itself."""
        self._look_ns = now_ns + round(self._dt_ns)
        if self._still():
            self._come_to_rest()

    def _come_to_rest(self) -> None:
        self._at_rest, self._look_ns = True, None
        if self._reset_wanted:
            self._wait_for_joints()
        else:
            self._become(replace(self._status, state=STOPPED))

    def _wait_for_joints(self) -> None:
        self._reset_wanted = False
        self._measured.forget()
        self._set(WAITING, reason=self._waiting)
