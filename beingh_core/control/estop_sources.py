"""Which publishers of the emergency stop hold it.

The middleware numbers the messages of each publisher from 1 on; a message that follows one of them is from the same
publisher. Where it gives no numbers, all publishers count as one, and the newest message holds.
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass

# Lost messages in a row behind which a publisher is still recognised.
MOST_LOST = 10
MOST_SOURCES, MOST_SEEN = 32, 64


@dataclass(eq=False)
class _Source:
    number: int = 0
    active: bool = False
    turn: int = 0  # when it spoke last, counted in messages


class EstopSources:
    """Each source holds the stop from its `true` on until its own `false`, or anybody's once its publisher has gone.

    Not thread-safe.
    """

    def __init__(self) -> None:
        self._sources: list[_Source] = []
        self._seen: deque[tuple[int | None, int]] = deque(maxlen=MOST_SEEN)
        self._turn = self._newest_ns = 0

    @property
    def active(self) -> bool:
        """Whether any source holds it."""
        return any(source.active for source in self._sources)

    def heard(self, active: bool, number: int | None, sent_ns: int, publishers: int, *, replayed: bool = False) -> None:
        """Take one message; the same one may come several times, through several subscriptions.

        Args:
            active: What it says.
            number: Its number among its publisher's, None when it is not told.
            sent_ns: When it was sent, on its publisher's clock [ns]; 0 when it is not told.
            publishers: How many publishers there are now.
            replayed: Whether it was said before this subscription began; then it may be older than what was heard.
        """
        if sent_ns and (number, sent_ns) in self._seen:
            return
        self._seen.append((number, sent_ns))
        if number is None and replayed and sent_ns < self._newest_ns:
            return
        self._newest_ns = max(self._newest_ns, sent_ns)
        self._turn += 1
        source = self._source_of(number, active)
        source.number, source.active, source.turn = number or 0, active, self._turn
        if not active:
            self._release_gone(max(1, publishers))

    def _source_of(self, number: int | None, active: bool) -> _Source:
        """The source that a message continues; between equals, the one that says the same already: a stop stays rather held."""
        if number is None:
            known = self._sources[:1]
        else:
            known = [source for source in self._sources if 0 < number - source.number <= MOST_LOST and number > 1]
        if known:
            return min(known, key=lambda source: ((number or 0) - source.number, source.active != active))
        self._sources.append(_Source())
        if len(self._sources) > MOST_SOURCES:
            self._sources.remove(min(self._sources, key=lambda source: (source.active, source.turn)))
        return self._sources[-1]

    def _release_gone(self, publishers: int) -> None:
        """As many sources as there are publishers have spoken since: that one is not among them."""
        for source in self._sources:
            if source.active and sum(other.turn > source.turn for other in self._sources) >= publishers:
                source.active = False
