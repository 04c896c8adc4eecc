"""Counts messages that never came, from the numbers that the middleware gives them. No ROS here."""

from __future__ import annotations


class Losses:
    """Of one topic. Publishers number their messages from 1 on; a message does not say whose number it has.

    With one publisher the count is exact. With several, a number goes to the publisher whose last one is nearest below it.
    """

    def __init__(self) -> None:
        self.lost = 0
        self._last: list[int] = []

    def received(self, number: int | None, publishers: int) -> int:
        """Take a message's number; how many are missing right before it.

        Args:
            number: None where the middleware does not count.
            publishers: How many there are now.
        """
        if number is None:
            return 0
        below = [last for last in self._last if last < number]
        nearest = max(below, default=None)
        if nearest is not None and (nearest == number - 1 or len(self._last) >= publishers):
            self._last.remove(nearest)
            missing = number - nearest - 1
        else:
            missing = 0  # a publisher whose first message comes, or again after a restart
        self._last.append(number)
        del self._last[: max(0, len(self._last) - max(1, publishers))]
        self.lost += missing
        return missing
