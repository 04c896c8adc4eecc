"""The controller's command buffer: which position goes out at which tick, and what may still change.

The rules (DESIGN 4.4), with n the last tick that was sent and n0 the base tick of a chunk:

* Ticks are sent by `advance`, in order, each exactly once, and appended to the log.
* A tick is *committed* once it is sent or lies less than `commit_margin` ticks ahead of the next one.
  A chunk may change ticks from max(n + 1 + commit_margin, n0 + d) on and no others: d is the head of the
  chunk that its author locked to what was going to run anyway.
* The buffer has a command for every tick from now to eternity. Chunk points come first; after the last
  one the joints brake at their acceleration limit and then hold. That tail is part of the plan: it is what
  will be sent, it is published, and a chunk that starts behind it (the buffer had run dry) leaves it as
  it is and continues from where it comes to rest. So there is no gap to jump over.
* Limits act on what a chunk may change, forward from the state at the end of what it may not. The points
  that are ignored have no influence: the chunk is taken to continue from the last command that stands.
* Only `stop` cuts committed ticks: the epoch ends at the last tick sent, the joints brake and hold, and no chunk is
  taken until `restart` begins another epoch. `uphold` gives back those that a robot is already moving towards.
* With a check, nothing that it blocks gets into the plan: a chunk is cut at the step before, or earlier where the brake
  behind that would be blocked, and the joints brake and hold there until the next chunk. Where even a brake at once would
  be blocked the plan stays as it is, which was free. Committed ticks are not asked about, nor is the brake of a stop.
* A column that commands a velocity (a base) obeys the same rules: its brake is a ramp to 0, its hold is 0, and an
  epoch begins with 0.

What becomes of a chunk, the first that fits; each has a counter and a reason in words:

    foreign_epoch   of another epoch                                                refused
    stopped         the epoch has ended                                             refused
    bad_joints, bad_dt, bad_length, nonfinite   not a chunk of this robot           refused
    future          n0 more than H ticks ahead (a clock error)                      refused
    duplicate       the newest merged chunk again, by every point that may count    refused
    reordered       n0 before the newest merged; in time, but overtaken on its way  refused
    stale           n0 before the newest merged; too old, or seen before            refused
    useless         none of its points lies behind the committed ticks              refused
    blocked         neither its first free step nor a brake before it is free       refused
    late            more than d ticks have run since n0                             merged from the first free tick
    merged          in time; another chunk of the same n0 replaces the newest       merged from n0 + d

Threads: every public method may be called from any thread; one lock inside makes each of them atomic.
`merge` holds it for well under 2 ms. A check runs outside that lock, so it may take longer than a tick: a chunk that
ticks have overtaken meanwhile is judged again, and leaves as many ticks as they are as went by.
"""

from __future__ import annotations

import math
import threading
from collections import Counter, deque
from collections.abc import Sequence

import numpy as np

from beingh_core.errors import BeingHError, shown
from beingh_core.realtime.chunk import ACCEPTED, STATUSES, Chunk, Command, Draft, MergeResult
from beingh_core.realtime.cut import Blocked, PathCheck, free_steps
from beingh_core.realtime.limits import JointLimits, brake, limit_forward

# Chunk periods that differ from the tick by less than this are equal [s].
SAME_PERIOD_S = 1e-6

__all__ = ["Chunk", "Command", "CommitBuffer", "MergeResult"]


class CommitBuffer:
    """Append-only commands of one robot; see the module for the rules and the threads.

    Args:
        joints: names of the J joints; fixes the order of every vector.
        start_positions: (J,) command before tick 0, at rest.
        limits: limits of these joints.
        dt_s: one tick [s].
        chunk_length: H.
        delay_steps: d.
        commit_margin: ticks ahead of the next one that are committed.
        epoch: name of the first epoch.
        check: says which rows must not be commanded; called by one thread at a time.
        log_length: commands that `log` remembers.
    """

    def __init__(
        self,
        *,
        joints: Sequence[str],
        start_positions: np.ndarray,
        limits: JointLimits,
        dt_s: float,
        chunk_length: int,
        delay_steps: int,
        commit_margin: int,
        epoch: str,
        check: PathCheck | None = None,
        log_length: int = 100_000,
    ) -> None:
        if not (0 <= delay_steps < chunk_length and commit_margin >= 0 and dt_s > 0):
            raise BeingHError(
                f"a buffer cannot have d = {delay_steps}, H = {chunk_length}, commit margin {commit_margin}",
                allowed="0 <= d < H, commit margin >= 0",
            )
        if len(limits.lower) != len(joints):
            raise BeingHError(f"limits of {len(limits.lower)} joints do not fit {len(joints)} joints")
        self.joints = tuple(joints)
        self.limits, self.dt_s = limits, dt_s
        self.chunk_length, self.delay_steps, self.commit_margin = chunk_length, delay_steps, commit_margin
        self._check = check
        self._merging = threading.Lock()  # taken before the other one, and held over a check
        self._lock = threading.Lock()
        self._log: deque[Command] = deque(maxlen=log_length)
        self._counters: Counter[str] = Counter()
        self._epoch = ""
        self._plan: list[tuple[np.ndarray, bool]]  # (positions, held) of the ticks from `_next` on
        self._past: list[np.ndarray]  # the newest three rows
        self._newest_base: int | None
        self._newest_chunk: np.ndarray | None
        self._stop_reason: str | None
        self._begin(start_positions, epoch)

    def advance(self) -> Command:
        """Commits the next tick and returns its command, which the caller sends at that tick's time."""
        with self._lock:
            positions, held = self._plan.pop(0) if self._plan else (self._past[-1], True)
            command = Command(
                tick=self._next,
                epoch=self._epoch,
                positions=positions,
                held=held,
                stopped=self._stop_reason is not None,
            )
            self._past = [*self._past[1:], positions]
            self._next += 1
            self._log.append(command)
            self._counters["sent"] += 1
            self._counters["held"] += held
            return command

    def merge(self, chunk: Chunk) -> MergeResult:
        """Takes what a chunk may still decide into the plan; never raises for a bad chunk.

        See the module for what becomes of which chunk.
        """
        with self._merging:
            overtaken = 0
            while True:
                with self._lock:
                    draft = self._draft(chunk, overtaken)
                    if not draft.accepted or self._check is None:
                        return self._take(chunk, draft, len(draft.rows_KJ), None)
                steps, blocked = free_steps(draft.rows_KJ, draft.past_3J, self.limits, self.dt_s, self._check)
                with self._lock:
                    if self._still_fits(draft):
                        return self._take(chunk, draft, steps, blocked)
                    overtaken = self._next - chunk.base_tick - draft.consumed

    def planned(self, minimum: int | None = None) -> tuple[int, np.ndarray]:
        """What will be sent from now on, unless a chunk or a stop changes it.

        Args:
            minimum: rows to return at least, the last position repeated; default H.

        Returns:
            the next tick, and (M, J) positions of it and the ticks after it.
        """
        with self._lock:
            rows = self._rows(max(len(self._plan), self.chunk_length if minimum is None else minimum))
            return self._next, np.array([positions for positions, _ in rows]).reshape(len(rows), len(self.joints))

    def stop(self, reason: str) -> bool:
        """Ends the epoch at the last tick sent: brake, hold, and refuse chunks until `restart`.

        Returns:
            whether this call stopped it; the first reason wins.
        """
        with self._lock:
            if self._stop_reason is not None:
                return False
            self._stop_reason = reason
            self._plan = self._stop_after([])
            self._counters["stops"] += 1
            return True

    def uphold(self, rows_TJ: np.ndarray) -> None:
        """What the robot is under way to stands, although a stop has cut it; the brake follows it.

        Args:
            rows_TJ: (T, J) commands of the next T ticks, as they were committed.
        """
        with self._lock:
            kept = [row for row, _ in self._rows(len(rows_TJ))]
            if not all(map(np.array_equal, kept, rows_TJ)):
                made = [(row, True) for row in _frozen(rows_TJ)]
                self._plan = [*made, *self._stop_after(made)]

    def rest_after(self, count: int) -> np.ndarray:
        """(J,) where a brake behind the next `count` ticks would come to rest."""
        with self._lock:
            rows = self._rows(count)
            return [(self._past[-1], True), *rows, *self._stop_after(rows)][-1][0]

    def restart(self, start_positions: np.ndarray, epoch: str) -> None:
        """Begins a new epoch: tick 0 is next, from `start_positions` (J,) at rest.

        The caller sees to it that the robot is there: between epochs the log may jump.

        Raises:
            BeingHError: the epoch is the present one, or the positions are not finite.
        """
        with self._lock:
            self._begin(start_positions, epoch)

    @property
    def next_tick(self) -> int:
        """n + 1, the tick that the next `advance` sends."""
        with self._lock:
            return self._next

    @property
    def committed_until(self) -> int:
        """First tick of the present epoch that is not committed."""
        with self._lock:
            return self._next + self.commit_margin

    @property
    def epoch(self) -> str:
        """Name of the present epoch (of the ended one while stopped)."""
        with self._lock:
            return self._epoch

    @property
    def log(self) -> tuple[Command, ...]:
        """The commands sent, oldest first; grows at its end only (and forgets the oldest, see `log_length`)."""
        with self._lock:
            return tuple(self._log)

    @property
    def counters(self) -> dict[str, int]:
        """Chunks by status, and `sent`, `held` (ticks), `clips` (values), `stops`, `cuts` (chunks), since construction."""
        with self._lock:
            names = (*STATUSES, "sent", "held", "clips", "stops", "cuts")
            return {name: self._counters[name] for name in names}

    def _first_free(self, chunk: Chunk) -> int:
        """The first tick that a chunk may decide."""
        return max(self._next + self.commit_margin, chunk.base_tick + self.delay_steps)

    def _draft(self, chunk: Chunk, overtaken: int) -> Draft:
        """What would become of a chunk, before anything is changed; `overtaken` more ticks are left as they are."""
        first = max(self._first_free(chunk), self._next + self.commit_margin + overtaken if overtaken else 0)
        status, reason = self._judge(chunk, first)
        past_3J = self._past_before(self._rows(max(0, first - self._next)) if status in ACCEPTED else [])
        rows_KJ, clips = self._decided(first, chunk, past_3J) if status in ACCEPTED else (np.empty((0, 0)), 0)
        return Draft(
            status=status,
            reason=reason,
            epoch=self._epoch,
            first=first,
            consumed=self._next - chunk.base_tick,
            past_3J=past_3J,
            rows_KJ=rows_KJ,
            clips=clips,
        )

    def _still_fits(self, draft: Draft) -> bool:
        """Whether a draft is still what would become of its chunk: ticks that it leaves as they are may have been sent."""
        same = self._epoch == draft.epoch and self._stop_reason is None
        return same and draft.first >= self._next + self.commit_margin

    def _take(self, chunk: Chunk, draft: Draft, steps: int | None, blocked: Blocked | None) -> MergeResult:
        """Brings so many steps of a draft into the plan; says what has become of the chunk."""
        status, reason, clips, first = draft.status, draft.reason, 0, draft.first
        if steps is None and blocked is not None:
            status, reason = "blocked", f"its steps from tick {first} on are not free: {blocked.reason}"
        if status in ACCEPTED:
            self._use(first, draft.rows_KJ[:steps])
            self._newest_base, self._newest_chunk = chunk.base_tick, self._in_order(chunk)
            self._seen_bases.append(chunk.base_tick)
            clips = draft.clips
        self._counters.update({status: 1, "clips": clips, "cuts": int(blocked is not None)})
        return MergeResult(
            status=status,
            first_tick=first if status in ACCEPTED else None,
            reason=reason,
            clips=clips,
            consumed=draft.consumed,
            cut_at=None if blocked is None or steps is None else first + steps - chunk.base_tick,
            blocked="" if blocked is None else blocked.reason,
        )

    def _judge(self, chunk: Chunk, first: int) -> tuple[str, str]:
        """Status and reason of a chunk that may decide ticks from `first` on."""
        base, newest = chunk.base_tick, self._newest_base
        positions, wanted = chunk.array(), (self.chunk_length, len(self.joints))
        consumed, ignored = self._next - base, first - base
        if chunk.epoch != self._epoch:
            return "foreign_epoch", f"it is of epoch {shown(chunk.epoch)}, not {self._epoch}"
        if self._stop_reason is not None:
            return "stopped", f"the epoch has ended: {self._stop_reason}"
        if len(chunk.joints) != len(self.joints) or sorted(chunk.joints) != sorted(self.joints):
            return "bad_joints", f"its joints are {shown(list(chunk.joints))}, not {list(self.joints)}"
        if math.isnan(chunk.dt_s):
            return "bad_dt", f"its points are not at 0, 1, 2, .. times {self.dt_s} s after its stamp"
        if not abs(chunk.dt_s - self.dt_s) <= SAME_PERIOD_S:
            return "bad_dt", f"its steps are {chunk.dt_s} s apart, not {self.dt_s} s"
        if positions.shape != wanted:
            return "bad_length", f"its positions have shape {positions.shape}, not {wanted}"
        if not np.isfinite(positions).all():
            return "nonfinite", "a position is not finite"
        if base > self._next + self.chunk_length:
            return "future", f"its base tick {base} is far ahead of the next tick {self._next}"
        if newest is not None and self._newest_chunk is not None and base <= newest:
            if base == newest and np.array_equal(self._in_order(chunk)[ignored:], self._newest_chunk[ignored:]):
                return "duplicate", f"what counts of it is the newest merged chunk (base tick {base}) again"
            if base < newest and consumed <= self.delay_steps and base not in self._seen_bases:
                return "reordered", f"its base tick is {base}, but a newer chunk of {newest} has overtaken it"
            if base < newest:
                return "stale", f"its base tick {base} is before {newest}, which is merged"
        if ignored >= self.chunk_length:
            return "useless", f"{consumed} of its {self.chunk_length} steps have passed"
        if consumed > self.delay_steps:
            return "late", f"{consumed} ticks have passed since its base tick, more than d = {self.delay_steps}"
        return "merged", f"{consumed} ticks have passed since its base tick"

    def _decided(self, first: int, chunk: Chunk, past_3J: np.ndarray) -> tuple[np.ndarray, int]:
        """(K, J) commands of a chunk from tick `first` on, behind these; and how many values the limits changed."""
        return limit_forward(self._in_order(chunk)[first - chunk.base_tick :], past_3J, self.limits, self.dt_s)

    def _use(self, first: int, rows_KJ: np.ndarray) -> None:
        """Replaces the plan from tick `first` on."""
        made = [*self._rows(first - self._next), *((row, False) for row in _frozen(rows_KJ))]
        self._plan = [*made, *self._stop_after(made)]

    def _in_order(self, chunk: Chunk) -> np.ndarray:
        """Its positions (H, J) with the columns in our order."""
        names = list(chunk.joints)
        return chunk.array()[:, [names.index(joint) for joint in self.joints]]

    def _past_before(self, rows: list[tuple[np.ndarray, bool]]) -> np.ndarray:
        """The three newest rows (3, J) when `rows` have followed what was sent."""
        return np.array([*self._past, *(row for row, _ in rows[-3:])][-3:])

    def _stop_after(self, rows: list[tuple[np.ndarray, bool]]) -> list[tuple[np.ndarray, bool]]:
        """Plan of a stop that follows the given plan."""
        return [(row, True) for row in _frozen(brake(self._past_before(rows), self.limits, self.dt_s))]

    def _rows(self, count: int) -> list[tuple[np.ndarray, bool]]:
        """The next `count` ticks as (positions, held); beyond the plan its last position is held."""
        rows = self._plan[:count]
        final = rows[-1][0] if rows else self._past[-1]
        return rows + [(final, True)] * (count - len(rows))

    def _begin(self, start_positions: np.ndarray, epoch: str) -> None:
        """State of a new epoch, at rest."""
        start = np.asarray(start_positions, dtype=np.float64)
        if start.shape != (len(self.joints),) or not np.isfinite(start).all():
            raise BeingHError(f"an epoch cannot start at {start.tolist()}", allowed=f"{len(self.joints)} finite values")
        if epoch == self._epoch:
            raise BeingHError(f"epoch `{epoch}` has been used", remedy="give the new epoch another name")
        self._epoch = epoch
        self._next = 0
        self._past = [_frozen(np.where(self.limits.is_velocity, 0.0, start))] * 3  # at rest
        self._plan = []
        self._newest_base = None
        self._newest_chunk = None
        self._seen_bases: deque[int] = deque(maxlen=self.chunk_length)  # of merged chunks
        self._stop_reason = None


def _frozen(rows: np.ndarray) -> np.ndarray:
    """A read-only copy of one row or several: what is in the log cannot be changed through another reference."""
    copy = np.array(rows, dtype=np.float64)
    copy.setflags(write=False)
    return copy
