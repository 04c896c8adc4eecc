"""Which publishers of the emergency stop hold it.

The middleware numbers the messages of each publisher from 1 on; a message that follows one of them is from the same
publisher, a source. Where it gives no numbers, all publishers count as one source, and the newest message holds.

Which publisher a source is nobody says. It is one of those that the graph showed while the source spoke, and two sources
are two publishers. Where that leaves none of the present ones, the publisher of the source has gone.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Collection, Hashable
from dataclasses import dataclass

# Lost messages in a row behind which a publisher is still recognised.
MOST_LOST = 10
MOST_SOURCES, MOST_SEEN, MOST_PUBLISHERS = 32, 64, 256
# A message may be read so long after its publisher was seen last, or before it is seen first [s].
READ_LATE_S, FOUND_LATE_S = 5.0, 0.25


@dataclass(eq=False)
class _Source:
    number: int
    first_s: float  # when it spoke first, and last
    others: frozenset[Hashable]  # publishers that it is not
    active: bool = False
    last_s: float = 0.0
    turn: int = 0  # when it spoke last, counted in messages


@dataclass
class _Publisher:
    first_s: float  # when the graph showed it first, and last
    last_s: float = 0.0


class EstopSources:
    """Each source holds the stop from its `true` on until its own `false`, or anybody's once its publisher has gone.

    Where it is open which publisher a source is, the stop stays held. Not thread-safe.
    """

    def __init__(self) -> None:
        self._sources: list[_Source] = []
        self._seen: deque[tuple[int | None, int]] = deque(maxlen=MOST_SEEN)
        self._turn = self._newest_ns = 0
        self._publishers: dict[Hashable, _Publisher] = {}
        self._present: frozenset[Hashable] = frozenset()

    @property
    def active(self) -> bool:
        """Whether any source holds it."""
        return any(source.active for source in self._sources)

    def silent_s(self, now_s: float) -> float | None:
        """Since when every publisher is there, where more of them are than have spoken [s]; None where none can be silent."""
        if len(self._present) <= len(self._sources):
            return None
        return now_s - max(self._publishers[name].first_s for name in self._present)

    def look(self, present: Collection[Hashable], now_s: float) -> None:
        """Often: who publishes.

        Args:
            present: One name for each publisher that the graph shows; another one never gets it.
            now_s: Time on a clock that is never set [s].
        """
        self._present = frozenset(present)
        for name in self._present:
            self._publishers.setdefault(name, _Publisher(now_s)).last_s = now_s
        if len(self._publishers) > MOST_PUBLISHERS:
            for name in [name for name in self._publishers if name not in self._present]:
                self._forget(name)

    def received(
        self,
        active: bool,
        number: int | None,
        sent_ns: int,
        present: Collection[Hashable],
        now_s: float,
        *,
        replayed: bool = False,
    ) -> None:
        """Take one message; the same one may come several times, through several subscriptions.

        Args:
            active: What it says.
            number: Its number among its publisher's, None when it is not told.
            sent_ns: When it was sent, on its publisher's clock [ns]; 0 when it is not told.
            present, now_s: As in `look`.
            replayed: Whether it was said before this subscription began; then it may be older than what was received.
        """
        self.look(present, now_s)
        if sent_ns and (number, sent_ns) in self._seen:
            return
        self._seen.append((number, sent_ns))
        if number is None and replayed and sent_ns < self._newest_ns:
            return
        self._newest_ns = max(self._newest_ns, sent_ns)
        self._turn += 1
        source = self._source_of(number, active, now_s)
        source.number, source.active, source.last_s, source.turn = number or 0, active, now_s, self._turn
        if not active:
            for held in self._sources:
                held.active = held.active and not self._gone(held, now_s)

    def _source_of(self, number: int | None, active: bool, now_s: float) -> _Source:
        """The source that a message continues; between equals, the one that says the same already: a stop stays rather held."""
        if number is None:
            known = self._sources[:1]
        else:
            known = [
                source
                for source in self._sources
                if 0 < number - source.number <= MOST_LOST and number > 1 and self._may_speak(source, now_s)
            ]
            if not active and self._newcomer(now_s):  # its first messages may have been lost
                known = [source for source in known if not source.active]
        if not known:
            return self._begin(number or 0, now_s)
        source = min(known, key=lambda one: ((number or 0) - one.number, one.active != active, -one.turn))
        if sum(one.number == source.number for one in known) > 1 or number != source.number + 1:
            source.first_s, source.others = now_s, frozenset()  # it may have been another one until then
        return source

    def _begin(self, number: int, now_s: float) -> _Source:
        """Another source. What might be the same one, behind a loss, or can speak no more tells nothing about publishers."""
        older = [source for source in self._sources if source.number >= number]
        source = _Source(number, now_s, frozenset().union(*(self._alone(one, now_s) for one in older)))
        mine = self._candidates(source, now_s)

        def tells(one: _Source) -> bool:
            names = self._candidates(one, now_s)
            return bool(names) and (one in older or not mine & names)

        self._sources = [one for one in self._sources if one.active or tells(one)]
        if len(self._sources) >= MOST_SOURCES:
            self._sources.remove(min(self._sources, key=lambda one: (one.active, one.turn)))
        self._sources.append(source)
        return source

    def _candidates(self, source: _Source, last_s: float) -> frozenset[Hashable]:
        """The publishers that a source may be which spoke last at a time."""
        return frozenset(
            name
            for name, publisher in self._publishers.items()
            if publisher.first_s <= source.first_s + FOUND_LATE_S and publisher.last_s >= last_s - READ_LATE_S
        ).difference(source.others)

    def _may_speak(self, source: _Source, now_s: float) -> bool:
        return not self._publishers or bool(self._candidates(source, now_s))

    def _newcomer(self, now_s: float) -> bool:
        """Whether a publisher was found a moment ago that no source can be."""
        return any(
            now_s - self._publishers[name].first_s < READ_LATE_S
            and not any(name in self._candidates(source, source.last_s) for source in self._sources)
            for name in self._present
        )

    def _alone(self, source: _Source, now_s: float) -> frozenset[Hashable]:
        """The one publisher that a source can be; empty while there are several."""
        candidates = self._candidates(source, source.last_s)
        return candidates if len(candidates) == 1 and now_s > source.first_s + FOUND_LATE_S else frozenset()

    def _gone(self, source: _Source, now_s: float) -> bool:
        """Whether every present publisher is surely another source: those that have spoken since tell."""
        since = [other for other in self._sources if other.turn > source.turn]
        taken = frozenset().union(*(self._alone(other, now_s) for other in since))
        if not (self._candidates(source, source.last_s) & self._present) - taken:
            return True
        spoken = [self._candidates(other, other.last_s) for other in since]
        return sum(bool(names) and names <= self._present for names in spoken) >= len(self._present)

    def _forget(self, name: Hashable) -> None:
        """A publisher that has gone, and what was known by it."""
        self._sources = [
            source for source in self._sources if source.active or name not in self._candidates(source, source.last_s)
        ]
        del self._publishers[name]
