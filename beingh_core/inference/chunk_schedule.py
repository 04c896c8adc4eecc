"""When the policy infers, for which base tick, and behind which prefix (DESIGN 4.4).

Letters: J commanded joints, M planned ticks, d locked prefix, s execution steps, H chunk length.
"""

from __future__ import annotations

import threading
from collections import deque
from dataclasses import dataclass

import numpy as np

from beingh_core.contract import RobotContract
from beingh_core.errors import BeingHError
from beingh_core.realtime.clock import TickClock, parse_epoch
from beingh_core.realtime.planner import PrefixLog
from beingh_core.realtime.uac import DelayEstimator, check_plan

# A controller that has told nothing for this long has stopped or gone [s].
BUFFER_MAX_AGE_S = 0.25
# A publication that is stamped further from the present than this is late, or another clock's [s].
OTHER_CLOCK_S = 1.0
MOST_POINTS = 10_000
LEFT_EPOCHS = 32
# Publications of another epoch in so long a time: no late ones of the last epoch, but another controller.
RIVAL_MESSAGES, RIVAL_S = 5, 3.0


@dataclass(frozen=True, kw_only=True, eq=False)
class Request:
    """One inference to make.

    Attributes:
        epoch: Epoch of the ticks.
        base_tick: n0.
        stamp_ns: Time of tick n0 [ns].
        prefix: (d + 1, J) commands of ticks n0 - 1 .. n0 + d - 1.
        onward: (R, J) commands of the ticks behind them that the last chunk decides, at most `blend_steps`.
        new_epoch: Whether this is the first request of its epoch.
    """

    epoch: str
    base_tick: int
    stamp_ns: int
    prefix: np.ndarray
    onward: np.ndarray
    new_epoch: bool


class ChunkSchedule:
    """The policy's copy of the controller's log and the rules for the next inference. Any thread may call it.

    Args:
        contract: Robot.
        trained_delay: Longest prefix the checkpoint was trained to continue [steps].

    Raises:
        BeingHError: When delay, execution steps, chunk length and the checkpoint do not fit together.
    """

    def __init__(self, contract: RobotContract, trained_delay: int) -> None:
        uac, self._contract = contract.uac, contract
        check_plan(
            uac.delay_steps, uac.execution_steps, contract.policy.chunk_length, trained_delay, where=contract.path
        )
        self._longest_delay = min(
            trained_delay, uac.execution_steps, contract.policy.chunk_length - uac.execution_steps
        )
        self._estimator = DelayEstimator(budget_steps=uac.delay_steps - uac.margin_steps, margin=uac.margin_steps)
        self._log = PrefixLog(commit_margin=uac.commit_margin)
        self._lock = threading.Lock()
        self._epoch: str | None = None
        self._clock: TickClock | None = None
        self._received_ns: int | None = None
        self._newest_ns = 0
        self._foreign: tuple[int, str] | None = None
        self._left: deque[str | None] = deque(maxlen=LEFT_EPOCHS)
        self._ignored_ns: deque[int] = deque(maxlen=RIVAL_MESSAGES)
        self._forget_chunks()

    @property
    def delay(self) -> int:
        """d of the next chunk: the running estimate, no longer than the checkpoint and the plan allow."""
        return min(self._estimator.delay, self._longest_delay)

    @property
    def estimated_delay(self) -> int:
        """What d should be by the measured delays; more than `delay` means late chunks."""
        return self._estimator.delay

    def buffer(self, epoch: str, stamp_ns: int, positions_MJ: np.ndarray, now_ns: int) -> None:
        """Take a publication of `controller/buffer`: (M, J) commands from the tick at `stamp_ns` on.

        Another epoch than the present one is followed when it began later and was not left before, or when the present
        one's controller is silent and this was said after it. What was stamped by a clock before it was set does not
        count.

        Raises:
            BeingHError: When the epoch's name is not one.
        """
        _, start_ns = parse_epoch(epoch)
        with self._lock:
            ahead_s = (stamp_ns - now_ns) / 1e9
            if abs(ahead_s) > OTHER_CLOCK_S:
                where = "in the future" if ahead_s > 0 else "in the past"
                self._foreign = now_ns, f"stamped {abs(ahead_s):.3f} s {where}: another clock, or late"
                return
            if self._of_another_time(now_ns):
                self._leave()
            if epoch != self._epoch:
                if not self._is_followed(epoch, start_ns, stamp_ns, now_ns):
                    self._ignored_ns.append(now_ns)
                    return
                self._leave()
                self._epoch, self._clock = epoch, TickClock(self._contract.rate_hz, start_ns)
            self._log.update(self._clock.nearest_tick(stamp_ns), positions_MJ)
            self._newest_ns, self._received_ns = max(stamp_ns, self._newest_ns), now_ns

    def _of_another_time(self, now_ns: int) -> bool:
        """Whether the clock was set back, so that what is known of the present epoch lies in the future."""
        return self._epoch is not None and self._newest_ns - now_ns > OTHER_CLOCK_S * 1e9

    def _is_followed(self, epoch: str, start_ns: int, stamp_ns: int, now_ns: int) -> bool:
        if self._epoch is None or (start_ns > self._clock.start_ns and epoch not in self._left):
            return True
        return self._controller_silent(now_ns) is not None and stamp_ns > self._newest_ns

    def clear(self) -> None:
        """Forget the controller: time went back."""
        with self._lock:
            self._forget_controller()
            self._foreign = None
            self._left.clear()

    def accepted(self, epoch: str, stamp_ns: int, now_ns: int) -> int | None:
        """Take `controller/accepted`; returns the ticks consumed until then, None when it is not our chunk's."""
        with self._lock:
            if epoch != self._epoch or self._log.first_tick is None:
                return None
            base_tick = self._clock.nearest_tick(stamp_ns)
            self._log.accept(base_tick, self._clock.tick_at_or_before(now_ns) + 1)
            if base_tick != self._sent_base:
                return None
            consumed = self._log.first_tick - base_tick
            self._estimator.add(consumed)
            return consumed

    def controller_silent(self, now_ns: int) -> str | None:
        """Why the controller's buffer is not known; None when it is."""
        with self._lock:
            return self._controller_silent(now_ns)

    def has_rivals(self, now_ns: int) -> bool:
        """Whether another controller publishes beside the one that is followed, the one that began last."""
        with self._lock:
            oldest = self._ignored_ns[0] if len(self._ignored_ns) == RIVAL_MESSAGES else None
            return oldest is not None and abs(now_ns - oldest) <= RIVAL_S * 1e9

    def waiting_for(self, now_ns: int) -> str | None:
        """Why no inference may start now; None when one may."""
        with self._lock:
            return self._waiting_for(now_ns)

    def next_start_ns(self, now_ns: int) -> int | None:
        """When the execution steps of the present chunk will have run [ns]; None when the controller is silent."""
        with self._lock:
            if self._controller_silent(now_ns) is not None:
                return None
            if self._started_tick is None:
                return now_ns
            # The buffer that begins behind these steps is published when the last of them has been sent.
            return self._clock.stamp_ns(self._started_tick + self._contract.uac.execution_steps - 1)

    def request(self, observation_ns: int, now_ns: int) -> Request | None:
        """The inference to start now on an observation taken at `observation_ns`, None when there is none."""
        with self._lock:
            if self._waiting_for(now_ns) is not None:
                return None
            base = self._clock.tick_at_or_after(observation_ns)
            if self._sent_base is not None and base <= self._sent_base:
                return None
            prefix = self._log.positions(base - 1, base + self.delay)
            if prefix is None:
                return None
            new_epoch = self._started_tick is None
            self._started_tick = self._log.first_tick
            return Request(
                epoch=self._epoch,
                base_tick=base,
                stamp_ns=self._clock.stamp_ns(base),
                prefix=prefix,
                onward=self._onward(base + self.delay),
                new_epoch=new_epoch,
            )

    def _onward(self, tick: int) -> np.ndarray:
        """(R, J) what the last chunk wants from a tick on; behind it the plan only brakes, which nothing should follow."""
        rows = None
        if self._sent_base is not None and self._log.contains(self._sent_base):
            end = self._sent_base + self._contract.policy.chunk_length
            rows = self._log.positions(tick, min(tick + self._contract.uac.blend_steps, end))
        return np.empty((0, len(self._contract.joint_names))) if rows is None else rows

    def sent(self, request: Request) -> None:
        """Note that the chunk of a request goes out; call it before publishing, since acceptance may come at once."""
        with self._lock:
            if request.epoch == self._epoch:
                self._sent_base = request.base_tick

    def _controller_silent(self, now_ns: int) -> str | None:
        if self._received_ns is not None and self._is_recent(self._received_ns, now_ns):
            return None
        if self._foreign is not None and self._is_recent(self._foreign[0], now_ns):
            return f"its messages are {self._foreign[1]}"
        if self._received_ns is None:
            return "missing: nothing was received"
        silent_s = (now_ns - self._received_ns) / 1e9
        return f"stale: silent for {silent_s:.2f} s, the controller has stopped or gone"

    def _is_recent(self, received_ns: int, now_ns: int) -> bool:
        """Whether a controller whose plan came at a time still publishes; not when the clock was set since."""
        return abs(now_ns - received_ns) <= 1e9 * max(BUFFER_MAX_AGE_S, 2 * self._contract.dt_s)

    def _waiting_for(self, now_ns: int) -> str | None:
        silent = self._controller_silent(now_ns)
        if silent is not None:
            return silent
        next_tick, base = self._log.first_tick, self._sent_base
        if base is not None and not self._log.contains(base) and next_tick < base + self._contract.policy.chunk_length:
            return "the last chunk is not in the controller's buffer yet"
        if self._started_tick is not None and next_tick < self._started_tick + self._contract.uac.execution_steps:
            return "the present chunk is running"
        return None

    def _leave(self) -> None:
        self._left.append(self._epoch)
        self._forget_controller()

    def _forget_controller(self) -> None:
        self._epoch = self._clock = self._received_ns = None
        self._newest_ns = 0
        self._log.clear()
        self._forget_chunks()

    def _forget_chunks(self) -> None:
        self._sent_base: int | None = None
        self._started_tick: int | None = None


def commanded(joints: tuple[str, ...], message_joints: tuple[str, ...], positions_MJ: np.ndarray) -> np.ndarray:
    """Columns of a buffer message in the contract's order.

    Raises:
        BeingHError: When the message is about other joints, or longer than any plan, or holds no numbers.
    """
    if len(positions_MJ) > MOST_POINTS or not np.isfinite(positions_MJ).all():
        raise BeingHError(
            f"controller/buffer has {len(positions_MJ)} points, or positions that are not finite",
            allowed=f"at most {MOST_POINTS} points of finite positions",
        )
    if sorted(joints) != sorted(message_joints):
        raise BeingHError(
            f"controller/buffer has joints {list(message_joints)}",
            allowed=joints,
            remedy="start controller and policy with the same contract",
        )
    return positions_MJ[:, [message_joints.index(name) for name in joints]]
