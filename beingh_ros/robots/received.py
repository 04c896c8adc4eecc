"""What was received on one topic, or of one joint: how often, how old, and what was refused. No ROS here."""

from __future__ import annotations

from beingh_core.errors import BeingHError

# A stamp may be so far ahead of this computer's clock [s].
AHEAD_S = 0.03


class Received:
    """Counts messages. One thread at a time.

    Attributes:
        count: Messages that can be used.
    """

    def __init__(self) -> None:
        self.count, self._first_ns, self._last_ns = 0, 0, 0
        self._oldest_s, self._youngest_s = float("-inf"), float("inf")
        self._error, self._detail = "", ""

    def take(self, stamp_ns: int, now_ns: int, detail: str = "") -> None:
        """Note a message.

        Args:
            stamp_ns: Its stamp [ns].
            now_ns: When it came [ns].
            detail: In words what it held.
        """
        self.count += 1
        self._first_ns = self._first_ns or now_ns
        self._last_ns, self._detail = now_ns, detail
        age_s = (now_ns - stamp_ns) / 1e9
        self._oldest_s, self._youngest_s = max(self._oldest_s, age_s), min(self._youngest_s, age_s)

    def refuse(self, error: BeingHError) -> None:
        """Note a message that cannot be used."""
        self._error = self._error or str(error)

    @property
    def rate_hz(self) -> float:
        """Messages per second; 0 before the second one."""
        return (self.count - 1) * 1e9 / (self._last_ns - self._first_ns) if self._last_ns > self._first_ns else 0.0

    def check(self, who: str, max_age_s: float) -> None:
        """Refuses what the nodes would refuse.

        Args:
            who: Topic and publisher, for errors.
            max_age_s: Older messages are stale [s].

        Raises:
            BeingHError: Nothing came, some of it could not be used, it comes too seldom, or with wrong stamps.
        """
        if self._error:
            raise BeingHError(f"{who}: {self._error}")
        if self.count < 2:
            raise BeingHError(f"{who}: {self.count} messages came", remedy="is it running? or wait longer with --wait")
        if self.rate_hz * max_age_s < 1.0:
            raise BeingHError(
                f"{who}: {self.rate_hz:.2g} Hz is too slow for {max_age_s:g} s", remedy="publish more often"
            )
        if self._youngest_s > max_age_s or self._oldest_s < -AHEAD_S or self._youngest_s < -AHEAD_S:
            raise BeingHError(
                f"{who}: stamps are {self._youngest_s:.3g} to {self._oldest_s:.3g} s old",
                allowed=f"{-AHEAD_S:g} to {max_age_s:g} s",
                remedy="let the driver stamp what it measures with this computer's time (chrony, PTP)",
            )

    def summary(self) -> str:
        """Rate, age and the last detail."""
        detail = f"{self._detail}, " if self._detail else ""
        return f"{detail}{self.rate_hz:.1f} Hz, up to {max(self._oldest_s, 0.0) * 1e3:.0f} ms old"
