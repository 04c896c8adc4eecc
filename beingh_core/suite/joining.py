"""Ways of joining chunks that overlap in time, for comparison. Only `Uac` is in the product.

A chunk is asked for at one tick, from a picture of that time, and comes some ticks later. All ways but one send through the
product's commit buffer, so that the same limits and the same check act on each. Actions that are steps are added to the last
command before the chunk decides anything, as a controller of steps does; so no way pays for a place that has moved on.

Letters: H chunk length, J joints, d locked prefix, s steps between starts of inference, R rows of the chunk before.
"""

from __future__ import annotations

import itertools
from dataclasses import dataclass

import numpy as np

from beingh_core.contract import RobotContract
from beingh_core.realtime.commit_buffer import Chunk, CommitBuffer
from beingh_core.realtime.cut import PathCheck

EPOCH = "0@0"
# Temporal ensembling weighs the i-th oldest prediction of a tick with exp(-DECAY i): ACT, arXiv 2304.13705, algorithm 2, whose
# published code takes 0.01.
DECAY = 0.01


@dataclass(frozen=True, kw_only=True)
class Timing:
    """When chunks are asked for, and when they come.

    Attributes:
        delay, jitter: a chunk comes `delay` to `delay + jitter` ticks after its picture.
        lock: d, steps at its head that repeat what will have run.
        execution_steps: s.
        commit_margin: ticks ahead of the next one that no chunk changes; 0 where its time is exact.
    """

    delay: int
    jitter: int = 0
    lock: int
    execution_steps: int
    commit_margin: int = 0

    @classmethod
    def of(cls, contract: RobotContract, delay: int, jitter: int, trained_delay: int) -> Timing:
        """The plan for a delay: d covers it as far as H / 2 and training allow, and d <= s <= H - d.

        Args:
            contract: Robot.
            delay, jitter: See the class.
            trained_delay: Longest prefix that the checkpoint was taught to continue; 0 for one that was taught none,
                which is not shown any and bounds nothing.
        """
        length = contract.policy.chunk_length
        lock = min(delay + jitter, length // 2, trained_delay or length)
        steps = min(max(contract.uac.execution_steps, lock), length - lock)
        return cls(delay=delay, jitter=jitter, lock=lock, execution_steps=steps)


@dataclass(frozen=True, kw_only=True, eq=False)
class Ask:
    """What a chunk is asked for with.

    Attributes:
        base: Tick of its first row.
        prefix: (n + 1, J) commands of the tick before `base` and of the n ticks that its first rows repeat.
        onward: (R, J) what the chunk before wants behind them, for the blend from it.
    """

    base: int
    prefix: np.ndarray
    onward: np.ndarray


class Joining:
    """What all ways have in common: the newest chunk replaces the running one as soon as it comes.

    Args:
        contract: Robot.
        start_J: Command before tick 0.
        timing: Plan.
        check: Says which rows must not be commanded.

    Attributes:
        shown: Whether the model is told the prefix.
        locked: Whether it is promised: only what lies behind it is taken from a chunk.
        guided: Whether the model is steered towards the chunk before; see `guided`.
        targets: (J,) of every tick that was sent: what was wanted before the limits.
        sent: (J,) of every tick: the commands.
        seams: Ticks at which another chunk, or a halt, took over from a chunk.
        held: Ticks that no chunk decided, and the first one of the first chunk: it begins at rest, it joins nothing.
        chunks: (base, (H, J)) of every chunk that was taken.
        undecided: How many ticks no chunk decided.
        late, refused: Chunks that came behind the prefix that they repeat; that could not be used at all.
    """

    shown = locked = guided = False

    def __init__(
        self, contract: RobotContract, start_J: np.ndarray, timing: Timing, check: PathCheck | None = None
    ) -> None:
        self._contract, self._start, self.timing = contract, np.asarray(start_J, dtype=float), timing
        self._length = contract.policy.chunk_length
        self._lock = timing.lock if self.locked else 0
        self.buffer = CommitBuffer(
            joints=contract.joint_names,
            start_positions=self._start,
            limits=contract.limits,
            dt_s=contract.dt_s,
            chunk_length=self._length,
            delay_steps=self._lock,
            commit_margin=timing.commit_margin if self.locked else 0,
            epoch=EPOCH,
            check=check,
        )
        self._wanted: dict[int, np.ndarray] = {}
        self._any_chunk = False
        self.targets: list[np.ndarray] = []
        self.sent: list[np.ndarray] = []
        self.seams: list[int] = []
        self.held: list[int] = []
        self.chunks: list[tuple[int, np.ndarray]] = []
        self.late = self.refused = self.undecided = 0

    @property
    def tick(self) -> int:
        """The next tick to be sent."""
        return len(self.sent)

    def wants(self, last_start: int | None, pending: bool) -> bool:
        """Whether an inference starts now."""
        return not pending and (last_start is None or self.tick >= last_start + self.timing.execution_steps)

    def ask(self, arrival: int) -> Ask:
        """For a chunk that comes before tick `arrival` is sent; nothing else can come before it."""
        return self._asked(self.tick, arrival - self.tick)

    def add(self, base: int, rows_HJ: np.ndarray) -> None:
        """A chunk comes."""
        self.late += self.shown and self.tick - base > self.timing.lock
        self._join(base, max(self.tick, base + self._lock), rows_HJ)

    def advance(self) -> np.ndarray:
        """Send the next tick; its command (J,)."""
        command = self.buffer.advance().positions
        self._note(self._wanted.get(self.tick), command)
        return command

    def _asked(self, base: int, steps: int) -> Ask:
        """Behind `steps` rows of what will run from tick `base` on; at least one row of a chunk is left."""
        steps = min(steps, self._length - 1)
        ahead = base - self.tick
        rows = np.vstack([self.sent[-1] if self.sent else self._start, self._ahead(ahead + steps)])
        return Ask(base=base, prefix=rows[ahead : ahead + steps + 1], onward=np.empty((0, len(self._start))))

    def _ahead(self, count: int) -> np.ndarray:
        """(count, J) what the next ticks will send."""
        return self.buffer.planned(count)[1][:count]

    def _join(self, base: int, first: int, rows_HJ: np.ndarray) -> None:
        if self._replace(base, first, rows_HJ):
            self._takes_over(first)

    def _note(self, wanted_J: np.ndarray | None, command_J: np.ndarray) -> None:
        if wanted_J is None:
            self.held.append(self.tick)
            self.undecided += 1
            wanted_J = self.targets[-1] if self.targets else self._start
        self.targets.append(wanted_J)
        self.sent.append(command_J)

    def _takes_over(self, tick: int) -> None:
        if tick not in self.seams:
            (self.seams if self._any_chunk else self.held).append(tick)
        self._any_chunk = True

    def _replace(self, base: int, first: int, rows_HJ: np.ndarray) -> bool:
        """From tick `first` on the rows of a chunk are wanted, and nothing after its last one; whether they may be."""
        result = self.buffer.merge(
            Chunk(
                base_tick=base,
                epoch=EPOCH,
                joints=self._contract.joint_names,
                positions=rows_HJ,
                dt_s=self._contract.dt_s,
            )
        )
        if not result.accepted:
            self.refused += 1
            return False
        self.chunks.append((base, rows_HJ))
        until = base + len(rows_HJ) if result.cut_at is None else base + result.cut_at
        self._want(base, max(first, result.first_tick), rows_HJ[: until - base])
        return True

    def _want(self, base: int, first: int, rows_HJ: np.ndarray) -> None:
        self._wanted = {tick: row for tick, row in self._wanted.items() if tick < first}
        self._wanted |= {base + i: row for i, row in enumerate(rows_HJ) if base + i >= first}


class Uac(Joining):
    """The product's way: a chunk repeats what will have run when it comes, and continues it."""

    shown = locked = True

    def ask(self, arrival: int) -> Ask:
        """Behind the locked prefix."""
        d, steps = self._lock, self._contract.uac.blend_steps
        rows = self._ahead(d + steps)
        ticks = range(d, d + steps)
        decided = sum(1 for _ in itertools.takewhile(lambda i: self.tick + i in self._wanted, ticks))
        asked = self._asked(self.tick, d)
        return Ask(base=asked.base, prefix=asked.prefix, onward=rows[d : d + decided])


class NaiveSwitching(Joining):
    """The newest chunk replaces the running one as soon as it comes, at the row of the present tick."""


class GuidedRtc(NaiveSwitching):
    """The same, but the model was steered towards the chunk before: real-time chunking, arXiv 2506.07339."""

    guided = True


class TrainingTimeRtc(Joining):
    """The model continues what the chunk before wants, and nothing limits what is sent: arXiv 2512.05964 alone."""

    shown = True

    def ask(self, arrival: int) -> Ask:
        """Behind the rows that are expected to have run."""
        return self._asked(self.tick, self.timing.lock)

    def advance(self) -> np.ndarray:
        """What the chunk wants is sent as it is; behind its last row that one is held."""
        wanted = self._wanted.get(self.tick)
        before = self.sent[-1] if self.sent else self._start
        self._note(wanted, before if wanted is None else wanted)
        return self.sent[-1]

    def _ahead(self, count: int) -> np.ndarray:
        rows, row = [], self.sent[-1] if self.sent else self._start
        for tick in range(self.tick, self.tick + count):
            row = self._wanted.get(tick, row)
            rows.append(row)
        return np.array(rows).reshape(count, len(self._start))

    def _replace(self, base: int, first: int, rows_HJ: np.ndarray) -> bool:
        if first >= base + len(rows_HJ):
            self.refused += 1
            return False
        self.chunks.append((base, rows_HJ))
        self._want(base, first, rows_HJ)
        return True


class TemporalEnsembling(Joining):
    """Every tick is the weighted mean of all chunks that have a row for it; chunks are asked for one after the other."""

    def __init__(
        self, contract: RobotContract, start_J: np.ndarray, timing: Timing, check: PathCheck | None = None
    ) -> None:
        super().__init__(contract, start_J, timing, check)
        self._newest: list[tuple[int, np.ndarray]] = []  # oldest first

    def wants(self, last_start: int | None, pending: bool) -> bool:
        """At every tick, as published, where the one before has come."""
        return not pending

    def _join(self, base: int, first: int, rows_HJ: np.ndarray) -> None:
        self._newest = [(b, r) for b, r in (*self._newest, (base, rows_HJ)) if b + self._length > first]
        if not self._newest:
            self.refused += 1
            return
        last = max(b + self._length for b, _ in self._newest)
        means = np.array([self._mean(tick) for tick in range(first, last)])
        # A chunk has H rows; what is missing repeats the last one, so that the plan ends there.
        rows = np.vstack([means, np.repeat(means[-1:], max(0, self._length - len(means)), axis=0)])[: self._length]
        if self._replace(first, first, rows):
            self._wanted = {tick: row for tick, row in self._wanted.items() if tick < last}
            self._takes_over(first)

    def _mean(self, tick: int) -> np.ndarray:
        rows = [rows[tick - base] for base, rows in self._newest if base <= tick < base + self._length]
        weights = np.exp(-DECAY * np.arange(len(rows)))
        return np.average(rows, axis=0, weights=weights)


class Waiting(Joining):
    """Synchronous: s steps of a chunk run, the robot halts, then the next one is asked for and waited for."""

    def __init__(
        self, contract: RobotContract, start_J: np.ndarray, timing: Timing, check: PathCheck | None = None
    ) -> None:
        super().__init__(contract, start_J, timing, check)
        self._runs_until = 0

    def wants(self, last_start: int | None, pending: bool) -> bool:
        """Once the steps have run."""
        return not pending and self.tick >= self._runs_until

    def ask(self, arrival: int) -> Ask:
        """Its first row is for the first tick after it comes: the robot waits for it."""
        return self._asked(arrival, 0)

    def _join(self, base: int, first: int, rows_HJ: np.ndarray) -> None:
        steps = self._contract.uac.execution_steps
        rows = np.vstack([rows_HJ[:steps], np.repeat(rows_HJ[steps - 1 : steps], self._length - steps, axis=0)])
        if self._replace(base, first, rows):
            self._runs_until = first + steps
            self._wanted = {tick: row for tick, row in self._wanted.items() if tick < self._runs_until}
            self._takes_over(first)
            self._takes_over(self._runs_until)


WAYS: dict[str, type[Joining]] = {
    "uac": Uac,
    "naive": NaiveSwitching,
    "waiting": Waiting,
    "ensembling": TemporalEnsembling,
    "guided_rtc": GuidedRtc,
    "training_rtc": TrainingTimeRtc,
}
