"""One uncut piece of a recording, row by row."""

from __future__ import annotations

import bisect
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from beingh_core.data.lerobot.episode import Frame


@dataclass(frozen=True)
class Row:
    """A finished row and its tick."""

    tick_ns: int
    frame: Frame


class Piece:
    """The rows of one uncut piece of a recording; read them once, to the end.

    Attributes:
        ticks_ns: Times of the rows that have been read [ns].
    """

    def __init__(self, head: list[Row], rest: Iterator[Row], events: list[tuple[int, dict[str, Any]]]) -> None:
        self._head, self._rest, self._events = head, rest, events
        self.ticks_ns: list[int] = []

    def __iter__(self) -> Iterator[Frame]:
        while self._head:
            yield self._read(self._head.pop(0))
        for row in self._rest:
            yield self._read(row)

    def _read(self, row: Row) -> Frame:
        self.ticks_ns.append(row.tick_ns)
        return row.frame

    def events(self) -> list[dict[str, Any]]:
        """What the recorder told while the rows passed that have been read, each with the `frame` at which it did."""
        found = []
        for stamp_ns, event in self._events:
            place = bisect.bisect_right(self.ticks_ns, stamp_ns) - 1
            if place >= 0 and (place + 1 < len(self.ticks_ns) or stamp_ns < self._end_ns()):
                found.append({"frame": place, **event})
        return found

    def _end_ns(self) -> int:
        """One row behind the last."""
        return self.ticks_ns[-1] + (self.ticks_ns[-1] - self.ticks_ns[-2] if len(self.ticks_ns) > 1 else 0)


def until_none(rows: Iterator[Row | None]) -> Iterator[Row]:
    """The rows up to the next cut."""
    for row in rows:
        if row is None:
            return
        yield row
