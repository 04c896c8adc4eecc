"""Whether several publishers speak for one joint, from the numbers of their messages."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable

# Falls of a joint's numbers within this time are told; one fall is a publisher that was started anew [s].
MEMORY_S = 10.0
FALLS = 2


class JointSources:
    """A publisher numbers its messages in rising order, so a joint's numbers on a topic rise unless it has several.

    Publishers of different joints may share a topic. Not thread-safe.

    Args:
        joints: Those that matter.
    """

    def __init__(self, joints: Iterable[str]) -> None:
        self._joints = frozenset(joints)
        self._last: dict[tuple[str, str], int] = {}
        self._falls: dict[tuple[str, str], deque[float]] = {}

    def received(self, topic: str, names: Iterable[str], number: int | None, now_s: float) -> None:
        """Note one message of these joints; without a number it tells nothing."""
        if number is None:
            return
        for name in self._joints.intersection(names):
            key = topic, name
            if number <= self._last.get(key, -1):
                self._falls.setdefault(key, deque(maxlen=FALLS)).append(now_s)
            self._last[key] = number

    def forget(self, topic: str) -> None:
        """Nobody, or only one, publishes on this topic now."""
        self._falls = {key: falls for key, falls in self._falls.items() if key[0] != topic}

    def doubled(self, now_s: float) -> dict[str, list[str]]:
        """Topic -> joints that several publishers speak for."""
        found: dict[str, list[str]] = {}
        for (topic, name), falls in self._falls.items():
            if len(falls) == FALLS and now_s - falls[0] <= MEMORY_S:
                found.setdefault(topic, []).append(name)
        return found
