"""Whether the robot receives its commands, and only these: who subscribes to the command topics, and since when.

A publisher is matched with its subscribers one by one, over a second or more, and what is published before that is
lost: the plan would go on without the robot, which would then jump after it. A recorder may be matched before the
robot, so one subscriber is not enough to start: nothing may have been found or lost for longer than the 3 s after which
Fast DDS announces a participant again whose first announcements were lost.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

# Nobody has been found yet: no reason to worry before that [s].
DISCOVERY_S = 1.0
SETTLING = "waiting until nothing more of the robot is found on the network"


@dataclass(frozen=True)
class Subscribed:
    """What keeps the commands from arriving, or which others arrive beside them.

    Attributes:
        reason: Why the robot must not start, "" when it may.
        lost: Whether that stops a robot that runs, too.
    """

    reason: str = ""
    lost: bool = False


class SubscriberWatch:
    """Follows the number of subscribers.

    Args:
        settle_s: How long the numbers must have been the same before a start [s].
    """

    def __init__(self, settle_s: float) -> None:
        self._settle_s = settle_s
        self._counts: dict[str, int] = {}
        self._begun_s: float | None = None
        self._received = False
        self._since_s, self._changed = 0.0, ""

    def look(
        self, now_s: float, counts: Mapping[str, int], unsubscribed: str | None, rivals: str = "", obstacle: str = ""
    ) -> Subscribed:
        """Judge the present numbers.

        Args:
            now_s: Monotonic time [s].
            counts: Subscribers by topic or action, and publishers of joint states; empty where nothing is commanded.
            unsubscribed: Which topic has no subscriber, in words; None when each has.
            rivals: Who else commands the robot, in words.
            obstacle: What else must be put right before a start, in words: several publishers that speak for one joint, an
                emergency stop that cannot be received. It stops no robot that runs.
        """
        if self._begun_s is None:
            self._begun_s = now_s
        if counts != self._counts:
            changed = [name for name in counts if counts[name] != self._counts.get(name, 0)]
            self._changed = ", ".join(changed)
            self._counts, self._since_s = dict(counts), now_s
        if rivals:
            return Subscribed(rivals, lost=True)
        if unsubscribed:
            early = not self._received and now_s - self._begun_s < DISCOVERY_S
            return Subscribed(f"waiting for subscribers: {unsubscribed}" if early else unsubscribed, lost=True)
        self._received = True
        if obstacle:
            return Subscribed(obstacle)
        if counts and now_s - self._since_s < self._settle_s:
            return Subscribed(f"{SETTLING} (the newest change: {self._changed})" if self._changed else SETTLING)
        return Subscribed()
