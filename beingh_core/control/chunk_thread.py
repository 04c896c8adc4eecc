"""The thread that merges chunks: a check of a chunk can take longer than a tick, and nothing else may wait for it."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable
from typing import Generic, TypeVar

from beingh_core.control.timing import joined

JOIN_S = 1.0
# As many as a subscription keeps. Those that have waited for too long cost nothing: they are useless before any check.
MOST_WAITING = 10

T = TypeVar("T")


class ChunkThread(Generic[T]):
    """Takes what is put one after another, in order.

    Args:
        take: Called in the thread with each.
        fail: Called in the thread with the error that ends it (a defect).
    """

    def __init__(self, take: Callable[[T], None], fail: Callable[[Exception], None]) -> None:
        self._take, self._fail = take, fail
        self._news = threading.Condition()
        self._waiting: deque[T] = deque()
        self._busy = self._ending = False
        self._thread = threading.Thread(target=self._run, name="chunks", daemon=True)

    def start(self) -> None:
        """Start the thread."""
        self._thread.start()

    def put(self, item: T) -> bool:
        """Hand over; from any thread, and never waits for `take`. False when the one that waited longest had to go."""
        with self._news:
            self._waiting.append(item)
            self._news.notify()
            fits = len(self._waiting) <= MOST_WAITING
            if not fits:
                self._waiting.popleft()
            return fits

    @property
    def idle(self) -> bool:
        """Whether everything that was put has been taken."""
        with self._news:
            return not (self._waiting or self._busy)

    def close(self) -> bool:
        """End the thread, behind what it takes at present; False when it does not end in time."""
        with self._news:
            self._ending = True
            self._news.notify()
        return joined(self._thread, JOIN_S)

    def _run(self) -> None:
        try:
            while (item := self._next()) is not None:
                self._take(item)
        except Exception as error:
            self._fail(error)

    def _next(self) -> T | None:
        """The next one, once there is one; None at the end."""
        with self._news:
            self._busy = False
            self._news.wait_for(lambda: self._waiting or self._ending)
            if self._ending:
                return None
            self._busy = True
            return self._waiting.popleft()
