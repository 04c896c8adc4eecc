"""The controller's states and ticks, without messages. No ROS here.

    waiting --fresh joint states--> running --stop--> stopped (brakes, then sends nothing) --reset--> waiting

Letters: J commanded joints, T committed ticks, M planned ticks.
"""

from __future__ import annotations

import threading
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from beingh_core.contract import RobotContract
from beingh_core.errors import BeingHError
from beingh_core.realtime.clock import TickClock, epoch_id
from beingh_core.realtime.commit_buffer import Chunk, CommitBuffer, MergeResult
from beingh_ros.measured_joints import MeasuredJoints

WAITING, RUNNING, STOPPED = "waiting", "running", "stopped"
BY_SERVICE, FOR_RESET, AT_END = "stop service", "reset", "shutdown"
REQUESTED = (BY_SERVICE, FOR_RESET, AT_END)  # reasons to stop that nobody needs to put right
# A measured position may lie this far outside the limits (sensor noise at an end stop) [rad or m].
START_TOLERANCE = 0.01
# Time between the announcement of an epoch and its first tick.
START_LEAD_TICKS = 2


@dataclass(frozen=True, kw_only=True, eq=False)
class Plan:
    """What will be sent: (M, J) `positions` of the tick at `stamp_ns` [ns] and those after it, in an epoch."""

    epoch: str
    stamp_ns: int
    positions: np.ndarray


@dataclass(frozen=True, kw_only=True, eq=False)
class TickOutput:
    """What one tick sends and tells.

    Attributes:
        stamp_ns: Time of the tick [ns].
        committed: (T, J) the tick's command and the committed ones after it.
        plan: Everything from the next tick on.
    """

    stamp_ns: int
    committed: np.ndarray
    plan: Plan


class Controller:
    """Owner of the tick clock and the commit buffer.

    Every method may be called from any thread; one lock makes each of them atomic and is never held while sending.

    Args:
        contract: Robot.
        joint_state_timeout_s: Without joint states for longer it stops [s].
        max_late_ticks: A tick that comes later than this many periods ends the epoch; the next epoch starts
            at the last command, so that no burst of overdue commands leaves.
    """

    def __init__(self, contract: RobotContract, *, joint_state_timeout_s: float, max_late_ticks: float) -> None:
        self._contract = contract
        self._dt_ns = 1e9 / contract.rate_hz
        self._max_late_ns = max_late_ticks * self._dt_ns
        self._lock = threading.RLock()
        topics = ", ".join(dict.fromkeys(signal.topic for signal in contract.state)) or "/joint_states"
        self._measured = MeasuredJoints(contract.joint_names, joint_state_timeout_s, topics)
        self._clock: TickClock | None = None
        self._buffer: CommitBuffer | None = None
        self._epochs = 0
        self._announced = True
        self._at_rest = True
        self._reset_wanted = False
        self._estop = False
        self._last_sent: np.ndarray | None = None  # (T, J) of the newest tick
        self._waiting = f"waiting for joint states on {topics}"
        self.state, self.reason = WAITING, self._waiting
        self.overruns = 0

    @property
    def counters(self) -> dict[str, int]:
        """The commit buffer's counters over all epochs; empty before the first."""
        with self._lock:
            return self._buffer.counters if self._buffer else {}

    @property
    def epoch(self) -> str:
        """Present epoch, "" before the first."""
        with self._lock:
            return self._buffer.epoch if self._buffer else ""

    @property
    def at_rest(self) -> bool:
        """Whether nothing is being sent: before the first epoch, and when a stop has braked to rest."""
        return self._at_rest

    def joint_state(self, now_ns: int, positions: Mapping[str, float]) -> None:
        """Take measured positions; they start a waiting controller and stop a running one when they are no numbers."""
        with self._lock:
            self._measured.update(now_ns, positions)
            problem = self._measured.problem(now_ns) if now_ns > 0 else "no simulated time on /clock"
            if self.state == WAITING:
                self.reason = problem or self._start(now_ns)
            elif self.state == RUNNING and problem:
                self.stop(problem)

    def merge(self, chunk: Chunk) -> MergeResult | None:
        """Merge a chunk; None before the first epoch."""
        with self._lock:
            return self._buffer.merge(chunk) if self._buffer else None

    def stop(self, reason: str) -> None:
        """End the epoch: the coming ticks brake, then nothing is sent until `reset`. The first reason stands."""
        with self._lock:
            self._reset_wanted = False
            if self.state == RUNNING:
                self._buffer.stop(reason)
            if self.state != STOPPED:
                self.state, self.reason = STOPPED, reason

    def set_estop(self, active: bool) -> None:
        """Follow the emergency stop: active stops, released allows a reset."""
        with self._lock:
            self._estop = active
            if active:
                self.stop("emergency stop")

    def reset(self, now_ns: int) -> None:
        """Brake if moving, then start an epoch at the positions measured from then on.

        Raises:
            BeingHError: While the emergency stop is active or the measured positions are not usable.
        """
        with self._lock:
            problem = "the emergency stop is active" if self._estop else self._measured.problem(now_ns)
            if problem:
                raise BeingHError(f"cannot reset: {problem}", remedy="remove the cause and call reset again")
            self.stop(FOR_RESET)
            self._reset_wanted = True
            if self._at_rest:
                self._wait_for_joints()

    def next_tick_ns(self) -> int | None:
        """Time of the next tick to be sent, None when there is none."""
        with self._lock:
            return None if self._at_rest else self._clock.stamp_ns(self._buffer.next_tick)

    def announcement(self) -> Plan | None:
        """The plan of an epoch before its first tick, once an epoch."""
        with self._lock:
            if self._announced or self._at_rest:
                return None
            self._announced = True
            return self._plan()

    def tick(self, now_ns: int) -> TickOutput | None:
        """Commit the next tick, which is due; None when there is nothing to send."""
        with self._lock:
            if self._at_rest:
                return None
            problem = self._measured.problem(now_ns)
            if problem and self.state == RUNNING:
                self.stop(problem)
            if now_ns - self.next_tick_ns() > self._max_late_ns:
                self._overrun(now_ns)
                return None
            command = self._buffer.advance()
            plan = self._plan()
            ahead = self._buffer.committed_until - self._buffer.next_tick
            self._last_sent = np.vstack([command.positions[None], plan.positions[:ahead]])
            if self.state == STOPPED and np.all(plan.positions == command.positions):
                self._come_to_rest()
            return TickOutput(stamp_ns=self._clock.stamp_ns(command.tick), committed=self._last_sent, plan=plan)

    def clock_set(self, now_ns: int) -> None:
        """The clock behind the stamps was set and shows `now_ns`: the ticks of the present epoch no longer fit."""
        with self._lock:
            if not self._at_rest:
                self._overrun(now_ns)

    def time_went_back(self) -> None:
        """Simulated time began again, and the robot with it: stop at once, without the ticks of the old time."""
        with self._lock:
            self.stop("simulated time went back")
            if not self._at_rest:
                self._come_to_rest()

    def final_path(self) -> tuple[int, np.ndarray] | None:
        """Stop, and give the whole braking path at once; nothing can be sent after it.

        Returns:
            (stamp [ns], (T, J) rows from the last sent tick, which is at that stamp, to rest);
            None when it rests already.
        """
        with self._lock:
            self.stop(AT_END)
            if self._at_rest or self._last_sent is None:
                return None
            self._at_rest = True
            rows = np.vstack([self._last_sent[:1], self._plan().positions])
            moving = np.any(rows != rows[-1], axis=1).sum()
            return self._clock.stamp_ns(self._buffer.next_tick - 1), rows[: moving + 1]

    def _plan(self) -> Plan:
        first, positions = self._buffer.planned()
        return Plan(epoch=self._buffer.epoch, stamp_ns=self._clock.stamp_ns(first), positions=positions)

    def _start(self, now_ns: int) -> str:
        """Begin an epoch at the measured positions, or return why not."""
        limits, measured = self._contract.limits, self._measured.positions()
        start = np.clip(measured, limits.lower, limits.upper)
        outside = np.abs(start - measured) > START_TOLERANCE
        if outside.any():
            joint = int(np.argmax(outside))
            return (
                f"{self._contract.joint_names[joint]} is at {measured[joint]:.3f}, outside its limits "
                f"{limits.lower[joint]:.3f} to {limits.upper[joint]:.3f}"
            )
        self._begin(now_ns, start)
        return ""

    def _begin(self, now_ns: int, start_J: np.ndarray) -> None:
        contract = self._contract
        start_ns = now_ns + round(START_LEAD_TICKS * self._dt_ns)
        epoch = epoch_id(self._epochs, start_ns)
        self._epochs += 1
        self._clock = TickClock(contract.rate_hz, start_ns)
        if self._buffer is None:
            self._buffer = CommitBuffer(
                joints=contract.joint_names,
                start_positions=start_J,
                limits=contract.limits,
                dt_s=contract.dt_s,
                chunk_length=contract.policy.chunk_length,
                delay_steps=contract.uac.delay_steps,
                commit_margin=contract.uac.commit_margin,
                epoch=epoch,
            )
        else:
            self._buffer.restart(start_J, epoch)
        self.state, self.reason = RUNNING, ""
        self._announced = self._at_rest = False
        self._last_sent = None

    def _overrun(self, now_ns: int) -> None:
        """The thread was held up: the robot holds the last row it was sent; go on from there."""
        self.overruns += 1
        if self.state == STOPPED:
            self._come_to_rest()
        elif self._last_sent is None:
            self._begin(now_ns, self._plan().positions[0])
        else:
            self._begin(now_ns, self._last_sent[-1])

    def _come_to_rest(self) -> None:
        self._at_rest = True
        if self._reset_wanted:
            self._wait_for_joints()

    def _wait_for_joints(self) -> None:
        self._reset_wanted = False
        self._measured.forget()
        self.state, self.reason = WAITING, self._waiting
