"""Messages on their way to the disk: the pre-roll before an episode, the queue in front of the writer. No ROS here."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Hashable, Iterable
from typing import NamedTuple

BATCH_BYTES = 8 << 20


class Item(NamedTuple):
    """One message.

    Attributes:
        topic: What tells its topic from others.
        log_ns, publish_ns: When it was received and published [ns].
        sequence: Its number among those of its publisher, 0 when unknown.
        data: Serialised.
    """

    topic: Hashable
    log_ns: int
    publish_ns: int
    sequence: int
    data: bytes


class PreRoll:
    """The last moments, bounded in time and bytes; one thread.

    Args:
        seconds: Longest time kept [s]; 0 keeps nothing.
        most_bytes: Most bytes kept.
    """

    def __init__(self, seconds: float, most_bytes: int) -> None:
        self._span_ns, self._most = round(seconds * 1e9), most_bytes
        self._items: deque[Item] = deque()
        self._bytes = 0

    def add(self, item: Item) -> None:
        """Keep a message, and let go of what is too old or too much."""
        if not self._span_ns:
            return
        if self._items and item.log_ns < self._items[-1].log_ns - self._span_ns:
            self.take()  # the clock was set back
        self._items.append(item)
        self._bytes += len(item.data)
        while self._bytes > self._most:
            self._drop()
        self.cut(item.log_ns)

    def cut(self, now_ns: int) -> None:
        """Let go of what is too old."""
        while self._items and self._items[0].log_ns < now_ns - self._span_ns:
            self._drop()

    def take(self) -> list[Item]:
        """All that is kept, which is then empty."""
        items = list(self._items)
        self._items.clear()
        self._bytes = 0
        return items

    def _drop(self) -> None:
        self._bytes -= len(self._items.popleft().data)


class WriteQueue:
    """Between the executor's thread, which must never wait, and the writer's thread, which waits for the disk.

    Args:
        most_bytes: Most bytes that wait; further messages are refused.
    """

    def __init__(self, most_bytes: int) -> None:
        self._most, self._bytes, self._closed = most_bytes, 0, False
        self._items: deque[Item] = deque()
        self._changed = threading.Condition()

    @property
    def fill(self) -> float:
        """Share of the bytes that may wait."""
        return self._bytes / self._most

    def put(self, item: Item) -> bool:
        """Hand over a message; False when it is refused."""
        with self._changed:
            if self._closed or self._bytes + len(item.data) > self._most:
                return False
            self._append(item)
            return True

    def put_all(self, items: Iterable[Item]) -> None:
        """Hand over messages whose number is bounded otherwise."""
        with self._changed:
            for item in items:
                self._append(item)

    def close(self) -> None:
        """Nothing more comes."""
        with self._changed:
            self._closed = True
            self._changed.notify()

    def take(self, timeout_s: float) -> tuple[list[Item], bool]:
        """What waits, at most `BATCH_BYTES`, after a wait of `timeout_s` at most; and whether more can come."""
        with self._changed:
            if not self._items and not self._closed:
                self._changed.wait(timeout_s)
            items, size = [], 0
            while self._items and size < BATCH_BYTES:
                items.append(self._items.popleft())
                size += len(items[-1].data)
            self._bytes -= size
            return items, bool(self._items) or not self._closed

    def _append(self, item: Item) -> None:
        self._items.append(item)
        self._bytes += len(item.data)
        self._changed.notify()
