"""Whether every tick was sent exactly once, told apart from what the onlooker itself did not receive.

The middleware numbers the messages of a publisher. Where ticks are missing and numbers are not, they were never sent;
where both are missing, the onlooker lost them, which proves nothing and is counted apart.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from beingh_core.evaluate.wire import EpochLog, Rows


@dataclass(frozen=True, kw_only=True)
class TickCount:
    """Ticks of a run; a tick of several topics counts as missed or doubled once for each.

    Attributes:
        sent: ticks that were seen being sent.
        missed: ticks that were never sent.
        doubled: commands of ticks that had been sent already.
        unwitnessed: ticks that the onlooker lost.
        notes: each miss and double in words.
    """

    sent: int
    missed: int
    doubled: int
    unwitnessed: int
    notes: tuple[str, ...]


class _Counter:
    """One driver topic through all epochs."""

    def __init__(self) -> None:
        self.missed = self.doubled = self.unwitnessed = 0
        self.notes: list[str] = []
        self._sequence: int | None = None  # of the newest command

    def epoch(self, log: EpochLog, commands: Sequence[Rows], is_last: bool) -> None:
        expected = 0 if log.seen_from_start or not commands else commands[0].first
        seen: dict[int, np.ndarray] = {}
        for index, rows in enumerate(commands):
            lost = self._lost(rows.sequence)
            if rows.first > expected:
                self._gap(log.name, expected, rows.first - expected, lost)
            elif rows.first in seen and not _is_farewell(rows, seen[rows.first], index == len(commands) - 1):
                self.doubled += 1
                self.notes.append(f"tick {rows.first} of epoch {log.name} was sent again")
            elif rows.first < expected and rows.first not in seen:
                self.doubled += 1
                self.notes.append(f"tick {rows.first} of epoch {log.name} was sent after tick {expected - 1}")
            if len(rows.positions):
                seen.setdefault(rows.first, rows.positions[0])
            expected = max(expected, rows.first + 1)
        # A plan whose first tick is f is published after tick f - 1 was sent; at the end of the record that command
        # may still be under way.
        promised = max((rows.first for rows in log.buffers), default=0)
        if commands and promised > expected and not is_last:
            self._gap(log.name, expected, promised - expected, 0)

    def _gap(self, epoch: str, first: int, count: int, lost: int) -> None:
        self.unwitnessed += min(count, lost)
        if count > lost:
            self.missed += count - lost
            self.notes.append(f"{count - lost} ticks from {first} on of epoch {epoch} were not sent")

    def _lost(self, sequence: int | None) -> int:
        """Messages that this publisher has sent and nobody here has received, before the one with this number."""
        if sequence is None:
            return 0
        before, self._sequence = self._sequence, sequence
        # A lower number is a new publisher's, whose first message has number 1.
        return sequence - 1 - (before if before is not None and before < sequence else 0)


def _is_farewell(rows: Rows, sent: np.ndarray, is_last: bool) -> bool:
    """Whether this is the last command of a controller that ends: the tick before it again, and the way to rest."""
    return is_last and len(rows.positions) > 0 and np.array_equal(rows.positions[0], sent)


def count_ticks(logs: Sequence[EpochLog]) -> TickCount:
    """Count over all epochs, oldest first."""
    counters = [_Counter() for _ in (logs[0].commands if logs else ())]
    ticks = 0
    for number, log in enumerate(logs):
        ticks += len({rows.first for commands in log.commands for rows in commands})
        for counter, commands in zip(counters, log.commands):
            counter.epoch(log, commands, number == len(logs) - 1)
    return TickCount(
        sent=ticks,
        missed=sum(c.missed for c in counters),
        doubled=sum(c.doubled for c in counters),
        unwitnessed=sum(c.unwitnessed for c in counters),
        notes=tuple(note for c in counters for note in c.notes),
    )
