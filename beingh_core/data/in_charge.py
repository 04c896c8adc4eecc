"""What a recorder says of an episode beside the robot's streams: who was in charge of each tick, and events."""

from __future__ import annotations

import json
from collections import deque
from typing import Any

EVENTS, CHARGE = "record/events", "record/in_charge"  # topics: std_msgs/String with JSON, std_msgs/Header
POLICY, PERSON, NOBODY, UNKNOWN = "policy", "person", "nobody", "unknown"
# The numbers in the column `in_charge` are places in this list. Their order is part of the format.
WHO = (UNKNOWN, NOBODY, POLICY, PERSON)
INTERVENTION = "intervention"
ONLY = (POLICY, PERSON, INTERVENTION)
_KEPT = 4096


class InChargeLog:
    """Who was in charge of the ticks of one recording.

    An intervention is what a person does who has taken over from the policy: it ends when the policy is in charge again.

    Args:
        patience_ns: how long a word holds when no other one follows [ns].
    """

    def __init__(self, patience_ns: int) -> None:
        self._patience_ns = patience_ns
        self._said: deque[tuple[int, str]] = deque(maxlen=_KEPT)
        self._taken_over = False

    def push(self, stamp_ns: int, who: str) -> None:
        """The word for a tick. One for an earlier tick than the last says that its clock was set back."""
        while self._said and self._said[-1][0] >= stamp_ns:
            self._said.pop()
        self._said.append((stamp_ns, who if who in WHO else UNKNOWN))

    def clear(self) -> None:
        """Nothing has been said."""
        self._said.clear()
        self._taken_over = False

    def at(self, tick_ns: int) -> tuple[str, bool]:
        """(who, whether it is an intervention) for a tick; ask for ticks in their order."""
        while len(self._said) > 1 and self._said[1][0] <= tick_ns:
            self._taken_over = self._follows(self._said.popleft()[1])
        who = UNKNOWN
        if self._said and 0 <= tick_ns - self._said[0][0] <= self._patience_ns:
            who = self._said[0][1]
        return who, who == PERSON and self._follows(who)

    def _follows(self, who: str) -> bool:
        """Whether a person who acts now has taken over from the policy, after this word."""
        return True if who == POLICY else self._taken_over


def event_of(text: str) -> dict[str, Any] | None:
    """One event of the recorder; None when it is none."""
    try:
        event = json.loads(text)
    except ValueError:
        return None
    is_event = isinstance(event, dict) and isinstance(event.get("event"), str)
    return event if is_event and type(event.get("stamp_ns")) is int else None
