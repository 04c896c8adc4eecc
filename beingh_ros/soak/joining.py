"""Ways of joining chunks that overlap in time, for comparison. Only the prefix lock is in the product.

All of them send through the product's commit buffer, so that the same limits act on each. A chunk's row i is for tick
base + i; it is asked for at its base tick and comes some ticks later. No ROS here.

Letters: H chunk length, J joints, d locked prefix, s steps between starts of inference.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable

import numpy as np

from beingh_core.contract import RobotContract
from beingh_core.realtime.commit_buffer import Chunk, CommitBuffer

EPOCH = "0@0"
# Weight of a chunk in an ensemble falls by this for each newer one: the oldest prediction counts most.
ENSEMBLE_DECAY = 0.01


class Joining:
    """What all ways have in common; a way overrides `prefix_steps`, `wants` and `_join`.

    Args:
        contract: Robot.
        start_J: Command before tick 0.

    Attributes:
        targets: (J,) of every tick that was sent: what was wanted before the limits.
        sent: (J,) of every tick: the commands.
        seams: ticks at which another chunk, or a halt, took over from a chunk.
        held: ticks that no chunk decided, and the first one of the first chunk: it begins at rest, it joins nothing.
    """

    locked = False

    def __init__(self, contract: RobotContract, start_J: np.ndarray) -> None:
        self._contract, self._start = contract, np.asarray(start_J, dtype=float)
        self.prefix_steps = contract.uac.delay_steps if self.locked else 0
        self._length = contract.policy.chunk_length
        self._buffer = CommitBuffer(
            joints=contract.joint_names,
            start_positions=self._start,
            limits=contract.limits,
            dt_s=contract.dt_s,
            chunk_length=self._length,
            delay_steps=self.prefix_steps,
            commit_margin=contract.uac.commit_margin if self.locked else 0,
            epoch=EPOCH,
        )
        self._wanted: dict[int, np.ndarray] = {}
        self._any_chunk = False
        self.targets: list[np.ndarray] = []
        self.sent: list[np.ndarray] = []
        self.seams: list[int] = []
        self.held: list[int] = []

    @property
    def tick(self) -> int:
        """The next tick to be sent."""
        return len(self.sent)

    def wants(self, last_start: int | None, pending: bool) -> bool:
        """Whether an inference starts now."""
        s = self._contract.uac.execution_steps
        return not pending and (last_start is None or self.tick >= last_start + s)

    def prefix(self) -> np.ndarray:
        """(d + 1, J) commands of the tick before the next one, and of the d ticks that the chunk must repeat."""
        before = self.sent[-1] if self.sent else self._start
        return np.vstack([before[None], self._buffer.planned(self.prefix_steps)[1][: self.prefix_steps]])

    def onward(self) -> np.ndarray:
        """(R, J) commands behind the prefix that the chunk before decides, for the blend from them."""
        return np.empty((0, len(self._start)))

    def add(self, base: int, rows_HJ: np.ndarray) -> None:
        """A chunk comes."""
        first = max(self.tick, base + self.prefix_steps)
        self._join(base, first, rows_HJ)

    def advance(self) -> np.ndarray:
        """Send the next tick; its command (J,)."""
        tick = self.tick
        command = self._buffer.advance().positions
        if tick in self._wanted:
            self.targets.append(self._wanted[tick])
        else:
            self.held.append(tick)
            self.targets.append(self.targets[-1] if self.targets else self._start)
        self.sent.append(command)
        return command

    def _join(self, base: int, first: int, rows_HJ: np.ndarray) -> None:
        raise NotImplementedError

    def _takes_over(self, tick: int) -> None:
        (self.seams if self._any_chunk else self.held).append(tick)
        self._any_chunk = True

    def _replace(self, base: int, first: int, rows_HJ: np.ndarray) -> None:
        """From tick `first` on the rows of a chunk are wanted, and nothing after its last one."""
        result = self._buffer.merge(
            Chunk(
                base_tick=base,
                epoch=EPOCH,
                joints=self._contract.joint_names,
                positions=rows_HJ,
                dt_s=self._contract.dt_s,
            )
        )
        assert result.accepted, result.reason
        first = max(first, result.first_tick)
        self._wanted = {tick: row for tick, row in self._wanted.items() if tick < first}
        self._wanted |= {base + i: row for i, row in enumerate(rows_HJ) if base + i >= first}


class PrefixLock(Joining):
    """The product's way: a chunk repeats what will have run when it comes, and continues it."""

    locked = True

    def onward(self) -> np.ndarray:
        """The first `blend_steps` of them."""
        d, steps = self.prefix_steps, self._contract.uac.blend_steps
        rows = self._buffer.planned(d + steps)[1]
        ticks = range(d, d + steps)
        decided = sum(1 for _ in itertools.takewhile(lambda i: self.tick + i in self._wanted, ticks))
        return rows[d : d + decided]

    def _join(self, base: int, first: int, rows_HJ: np.ndarray) -> None:
        self._replace(base, first, rows_HJ)
        self._takes_over(first)


class NaiveSwitching(Joining):
    """The newest chunk replaces the running one as soon as it comes, at the row of the present tick."""

    def _join(self, base: int, first: int, rows_HJ: np.ndarray) -> None:
        self._replace(base, first, rows_HJ)
        self._takes_over(first)


class TemporalEnsembling(Joining):
    """Every tick is the weighted mean of all chunks that have a row for it."""

    def __init__(self, contract: RobotContract, start_J: np.ndarray) -> None:
        super().__init__(contract, start_J)
        self._chunks: list[tuple[int, np.ndarray]] = []  # oldest first

    def _join(self, base: int, first: int, rows_HJ: np.ndarray) -> None:
        self._chunks = [(b, r) for b, r in self._chunks if b + self._length > first] + [(base, rows_HJ)]
        last = max(b + self._length for b, _ in self._chunks)
        means = np.array([self._mean(tick) for tick in range(first, last)])
        # A chunk has H rows; what is missing repeats the last one, so that the plan ends there.
        rows = np.vstack([means, np.repeat(means[-1:], max(0, self._length - len(means)), axis=0)])[: self._length]
        self._replace(first, first, rows)
        self._wanted = {tick: row for tick, row in self._wanted.items() if tick < last}
        self._takes_over(first)

    def _mean(self, tick: int) -> np.ndarray:
        rows = [rows[tick - base] for base, rows in self._chunks if base <= tick < base + self._length]
        weights = np.exp(-ENSEMBLE_DECAY * np.arange(len(rows)))
        return np.average(rows, axis=0, weights=weights)


class Waiting(Joining):
    """Synchronous: s steps of a chunk run, the robot halts, then the next one is asked for and waited for."""

    def __init__(self, contract: RobotContract, start_J: np.ndarray) -> None:
        super().__init__(contract, start_J)
        self._runs_until = 0

    def wants(self, last_start: int | None, pending: bool) -> bool:
        """Once the steps have run."""
        return not pending and self.tick >= self._runs_until

    def _join(self, base: int, first: int, rows_HJ: np.ndarray) -> None:
        steps = self._contract.uac.execution_steps
        # It was computed at rest: its first row is for the first tick after it comes.
        rows = np.vstack([rows_HJ[:steps], np.repeat(rows_HJ[steps - 1 : steps], self._length - steps, axis=0)])
        self._replace(first, first, rows)
        self._runs_until = first + steps
        self._wanted = {tick: row for tick, row in self._wanted.items() if tick < self._runs_until}
        self._takes_over(first)
        self._takes_over(self._runs_until)


MODES: dict[str, Callable[[RobotContract, np.ndarray], Joining]] = {
    "prefix_lock": PrefixLock,
    "naive": NaiveSwitching,
    "temporal_ensembling": TemporalEnsembling,
    "waiting": Waiting,
}
