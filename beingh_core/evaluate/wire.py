"""What was seen on the wire between policy, controller and robot, sorted by epoch and tick.

This is the log of an onlooker. It shares no code with the controller, and takes every number from the messages:
the epoch's start from its name, ticks from stamps. The order in which different topics arrive does not matter.

Letters: J joints, G joints of one driver topic, M planned ticks, T ticks in one command, H chunk length.
"""

from __future__ import annotations

import re
import threading
from bisect import bisect_right
from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np

NS_PER_S = 1_000_000_000
# A stamp may miss its tick by rounding only.
GRID_NS = 1_000


@dataclass(frozen=True, eq=False)
class Rows:
    """Positions of ticks first, first + 1, ...: (N, joints) [rad or m].

    Attributes:
        sent_ns: when its publisher sent it, on the system clock [ns]; None when the onlooker was not told.
        sequence: its number among all messages of that publisher; None when the onlooker was not told.
    """

    first: int
    positions: np.ndarray
    sent_ns: int | None = None
    sequence: int | None = None


@dataclass(kw_only=True, eq=False)
class EpochLog:
    """Everything seen of one epoch, each list in the order of arrival.

    Attributes:
        name: the epoch's name.
        start_ns: stamp of tick 0.
        commands: for each driver topic, the commands of its joints; row 0 is the tick that is being sent.
        buffers: publications of controller/buffer; row 0 is the next tick to be sent.
        chunks: chunks of this epoch; row 0 is their base tick.
        accepted: base ticks of accepted chunks.
        off_grid: stamps of commands that are no tick's time.
    """

    name: str
    start_ns: int
    commands: tuple[list[Rows], ...]
    buffers: list[Rows] = field(default_factory=list)
    chunks: list[Rows] = field(default_factory=list)
    accepted: list[int] = field(default_factory=list)
    off_grid: list[int] = field(default_factory=list)

    @property
    def seen_from_start(self) -> bool:
        """Whether the epoch's announcement was received, so that tick 0 must be among the commands."""
        return bool(self.buffers) and self.buffers[0].first == 0


@dataclass(frozen=True, kw_only=True, eq=False)
class _Command:
    stamp_ns: int
    received_ns: int
    positions: np.ndarray
    sent_ns: int | None
    sequence: int | None
    epoch: str | None = None


class WireLog:
    """Collects messages. Any thread may add; `epochs` gives what has come so far.

    A command does not name its epoch. With the times at which messages were sent, it is of the epoch that was
    announced last before it, even when the clock behind the stamps is set; without them, of the one that its stamp
    lies in. A plan does name it: one that stands for the command of its first tick is not sent when another epoch was
    announced before that tick.

    Args:
        joints: the J joints, in the order of every result.
        groups: joints of each driver topic.
        rate_hz: ticks per second.
        planned: whether the first row of each plan stands for the command that is sent a period later, on the only topic.
    """

    def __init__(
        self, *, joints: Sequence[str], groups: Sequence[Sequence[str]], rate_hz: float, planned: bool = False
    ) -> None:
        self.joints, self.rate_hz, self.planned = tuple(joints), float(rate_hz), planned
        self._period_ns = round(NS_PER_S / self.rate_hz)
        self.groups = tuple(tuple(group) for group in groups)
        self._lock = threading.Lock()
        self._commands: tuple[list[_Command], ...] = tuple([] for _ in self.groups)
        self._epochs: dict[str, EpochLog] = {}
        self._announced_ns: dict[str, int] = {}
        self.unreadable = 0

    def command(
        self,
        group: int,
        stamp_ns: int,
        joints: Sequence[str],
        positions: np.ndarray,
        received_ns: int,
        sent_ns: int | None = None,
        sequence: int | None = None,
    ) -> None:
        """A command on a driver topic: row i is of the tick at `stamp_ns` + i periods.

        Args:
            group: index of the topic.
            stamp_ns: header stamp [ns].
            joints: names of the columns.
            positions: (T, G) [rad or m].
            received_ns: when it came, on any clock that runs evenly [ns].
            sent_ns: when it was sent, on the system clock [ns].
            sequence: number of the message.
        """
        rows = self._ordered(self.groups[group], joints, positions)
        if rows is not None:
            command = _Command(
                stamp_ns=stamp_ns, received_ns=received_ns, positions=rows, sent_ns=sent_ns, sequence=sequence
            )
            with self._lock:
                self._commands[group].append(command)

    def buffer(
        self,
        epoch: str,
        stamp_ns: int,
        joints: Sequence[str],
        positions: np.ndarray,
        sent_ns: int | None = None,
        sequence: int | None = None,
    ) -> None:
        """A publication of controller/buffer: (M, J) from the tick at `stamp_ns` on, sent at `sent_ns` [ns]."""
        rows = self._ordered(self.joints, joints, positions)
        if sent_ns is not None:
            with self._lock:
                self._announced_ns.setdefault(epoch, sent_ns)
                if self.planned and rows is not None and len(rows):
                    due_ns = sent_ns + self._period_ns
                    self._commands[0].append(
                        _Command(
                            stamp_ns=stamp_ns,
                            received_ns=due_ns,
                            positions=rows[:1],
                            sent_ns=due_ns,
                            sequence=sequence,
                            epoch=epoch,
                        )
                    )
        self._add("buffers", epoch, stamp_ns, rows)

    def chunk(self, epoch: str, stamp_ns: int, joints: Sequence[str], positions: np.ndarray) -> None:
        """A chunk of the policy: (H, J) from the tick at `stamp_ns` on."""
        self._add("chunks", epoch, stamp_ns, self._ordered(self.joints, joints, positions))

    def accepted(self, epoch: str, stamp_ns: int) -> None:
        """A publication of controller/accepted: the chunk whose base tick is at `stamp_ns`."""
        with self._lock:
            log = self._epoch(epoch)
            if log is not None:
                log.accepted.append(self._tick(log, stamp_ns))

    def epochs(self) -> list[EpochLog]:
        """Every epoch seen so far, oldest first, as copies; commands before the first known epoch are left out."""
        with self._lock:
            logs = [
                EpochLog(
                    name=log.name,
                    start_ns=log.start_ns,
                    commands=tuple([] for _ in self.groups),
                    buffers=list(log.buffers),
                    chunks=list(log.chunks),
                    accepted=list(log.accepted),
                )
                for log in sorted(self._epochs.values(), key=self._begin_ns)
            ]
            begins = [self._begin_ns(log) for log in logs]
            for group, commands in enumerate(self._commands):
                for command in commands:
                    index = bisect_right(begins, self._time_ns(command)) - 1
                    if index >= 0 and not self._overtaken(command, logs[index].name, begins[index]):
                        self._place(logs[index], group, command)
            return logs

    def periods_ms(self) -> np.ndarray:
        """Time between the arrivals of consecutive ticks on the first driver topic (N,) [ms], within epochs."""
        with self._lock:
            begins = sorted(self._begin_ns(log) for log in self._epochs.values())
            commands = [(bisect_right(begins, self._time_ns(c)), c.received_ns) for c in self._commands[0]]
        return np.array([(b[1] - a[1]) / 1e6 for a, b in zip(commands, commands[1:]) if a[0] == b[0] > 0])

    def sent_since(self, since_ns: int, joint: str) -> np.ndarray:
        """Every position (N,) that a joint was sent to after a time on the system clock [ns]."""
        group = next(i for i, names in enumerate(self.groups) if joint in names)
        column = self.groups[group].index(joint)
        with self._lock:
            commands = [c for c in self._commands[group] if c.sent_ns is not None and c.sent_ns >= since_ns]
            return np.array([command.positions[0, column] for command in commands])

    @property
    def chunk_count(self) -> int:
        """Chunks seen."""
        with self._lock:
            return sum(len(log.chunks) for log in self._epochs.values())

    def _begin_ns(self, log: EpochLog) -> int:
        return self._announced_ns.get(log.name, log.start_ns - GRID_NS)

    def _time_ns(self, command: _Command) -> int:
        """The command's time on the scale of `_begin_ns`."""
        return command.stamp_ns if command.sent_ns is None or not self._announced_ns else command.sent_ns

    def _overtaken(self, command: _Command, epoch: str, begin_ns: int) -> bool:
        """Whether it is a plan that `epoch` has replaced before its first tick was due."""
        if command.epoch is None or command.sent_ns is None or command.epoch == epoch:
            return False
        return command.sent_ns - self._period_ns < begin_ns

    def _place(self, log: EpochLog, group: int, command: _Command) -> None:
        tick = self._tick(log, command.stamp_ns)
        if abs(log.start_ns + round(tick * NS_PER_S / self.rate_hz) - command.stamp_ns) > GRID_NS:
            log.off_grid.append(command.stamp_ns)
        else:
            log.commands[group].append(Rows(tick, command.positions, command.sent_ns, command.sequence))

    def _add(self, kind: str, epoch: str, stamp_ns: int, rows: np.ndarray | None) -> None:
        with self._lock:
            log = self._epoch(epoch)
            if log is not None and rows is not None:
                getattr(log, kind).append(Rows(self._tick(log, stamp_ns), rows))

    def _epoch(self, name: str) -> EpochLog | None:
        match = re.fullmatch(r"\d{1,18}@(\d{1,19})", name, re.ASCII)
        if match is None:
            self.unreadable += 1
            return None
        if name not in self._epochs:
            self._epochs[name] = EpochLog(name=name, start_ns=int(match[1]), commands=tuple([] for _ in self.groups))
        return self._epochs[name]

    def _tick(self, log: EpochLog, stamp_ns: int) -> int:
        return round((stamp_ns - log.start_ns) * self.rate_hz / NS_PER_S)

    def _ordered(self, wanted: Sequence[str], joints: Sequence[str], positions: np.ndarray) -> np.ndarray | None:
        """Columns in the wanted order; None (and counted) when the message is about other joints."""
        if sorted(wanted) != sorted(joints) or positions.ndim != 2 or positions.shape[1] != len(joints):
            self.unreadable += 1
            return None
        return positions[:, [list(joints).index(name) for name in wanted]].astype(float)
