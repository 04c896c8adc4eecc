"""What can happen to messages between two nodes. No ROS here: a message is any object.

An effect gets one message and says which messages leave instead, and after how long: a list of (delay [s], message).
"""

from __future__ import annotations

import heapq
import math
import random
import threading
import time
from collections.abc import Callable, Sequence

Outgoing = list[tuple[float, object]]
Effect = Callable[[object], Outgoing]


def delayed(low_s: float, high_s: float, rng: random.Random) -> Effect:
    """Each message takes between `low_s` and `high_s` longer; with a wide range later ones overtake earlier ones."""
    return lambda message: [(rng.uniform(low_s, high_s), message)]


def delayed_in_order(
    low_s: float, high_s: float, rng: random.Random, now_s: Callable[[], float] = time.monotonic
) -> Effect:
    """As `delayed`, but none overtakes another: the middleware keeps the order of one publisher."""
    last_s = -math.inf

    def apply(message: object) -> Outgoing:
        nonlocal last_s
        now = now_s()
        last_s = max(last_s, now + rng.uniform(low_s, high_s))
        return [(last_s - now, message)]

    return apply


def in_bursts(period_s: float, now_s: Callable[[], float] = time.monotonic) -> Effect:
    """Messages wait for the next multiple of a period and leave together."""
    return lambda message: [(period_s - now_s() % period_s, message)]


def dropped(share: float, rng: random.Random) -> Effect:
    """A share of the messages is lost."""
    return lambda message: [] if rng.random() < share else [(0.0, message)]


def duplicated(copies: int, spacing_s: float) -> Effect:
    """Each message comes several times."""
    return lambda message: [(copy * spacing_s, message) for copy in range(copies)]


def reordered(hold_s: float) -> Effect:
    """Every second message is held back, so that the next one overtakes it."""
    count = 0

    def apply(message: object) -> Outgoing:
        nonlocal count
        count += 1
        return [(hold_s if count % 2 else 0.0, message)]

    return apply


def frozen() -> Effect:
    """The first message comes again and again in the place of the later ones."""
    first: list[object] = []

    def apply(message: object) -> Outgoing:
        first[:] = first or [message]
        return [(0.0, first[0])]

    return apply


def changed(change: Callable[[object], object], share: float, rng: random.Random) -> Effect:
    """A share of the messages is replaced by a changed one."""
    return lambda message: [(0.0, change(message) if rng.random() < share else message)]


def once(change: Callable[[object], object]) -> Effect:
    """One message is replaced by a changed one, those after it pass."""
    changes = iter([change])

    def apply(message: object) -> Outgoing:
        change = next(changes, None)
        return [(0.0, message if change is None else change(message))]

    return apply


def apply_all(effects: Sequence[Effect], message: object) -> Outgoing:
    """The effects one after the other."""
    leaving: Outgoing = [(0.0, message)]
    for effect in effects:
        leaving = [(before + after, new) for before, old in leaving for after, new in effect(old)]
    return leaving


class DelayLine:
    """Hands messages over when their delay is over, in the order of those times.

    `put` from any thread; `close` drops what still waits.

    Args:
        begin: called first in its thread.
    """

    def __init__(self, begin: Callable[[], None] = lambda: None) -> None:
        self._begin = begin
        self._waiting: list[tuple[float, int, Callable[[], None]]] = []
        self._count = 0
        self._changed = threading.Condition()
        self._ending = False
        self._thread = threading.Thread(target=self._run, name="delays", daemon=True)
        self._thread.start()

    def put(self, delay_s: float, hand_over: Callable[[], None]) -> None:
        """Call `hand_over` in `delay_s`."""
        with self._changed:
            self._count += 1
            heapq.heappush(self._waiting, (time.monotonic() + delay_s, self._count, hand_over))
            self._changed.notify()

    def close(self) -> None:
        """End the thread."""
        with self._changed:
            self._ending = True
            self._changed.notify()
        self._thread.join()

    def _run(self) -> None:
        self._begin()
        while True:
            with self._changed:
                left_s = self._waiting[0][0] - time.monotonic() if self._waiting else None
                while not self._ending and (left_s is None or left_s > 0):
                    self._changed.wait(left_s)
                    left_s = self._waiting[0][0] - time.monotonic() if self._waiting else None
                if self._ending:
                    return
                hand_over = heapq.heappop(self._waiting)[2]
            hand_over()
