"""Who is in charge of a tick: the policy, a person, or nobody. No ROS here."""

from __future__ import annotations

from beingh_core.data.bags.message import header_of
from beingh_core.data.in_charge import NOBODY, PERSON, POLICY

AUTO = "auto"


class InCharge:
    """Follows the controller's messages; one thread.

    A person who takes over is in charge. Otherwise the policy is, while the tick lies within its newest chunk.

    Args:
        rule: `policy` or `person` holds whenever nobody takes over; `auto` as above.
        chunk_ns: Length of a chunk [ns].
    """

    def __init__(self, rule: str, chunk_ns: int) -> None:
        self._rule, self._chunk_ns = rule, chunk_ns
        self._epoch, self._begun_ns = None, 0
        self.person = False

    def accepted(self, data: bytes) -> None:
        """A `controller/accepted`, serialised: the first tick of the newest merged chunk, and the epoch."""
        self._begun_ns, self._epoch = header_of(data)

    def of_plan(self, data: bytes) -> tuple[int, str]:
        """(time of the tick [ns], who) for a `controller/buffer`, serialised: its stamp is the next tick."""
        stamp_ns, epoch = header_of(data)
        runs = epoch == self._epoch and self._begun_ns <= stamp_ns < self._begun_ns + self._chunk_ns
        return stamp_ns, self.of_time(POLICY if runs else NOBODY)

    def of_time(self, otherwise: str = NOBODY) -> str:
        """Who, for a robot whose plan is not known."""
        if self.person:
            return PERSON
        return otherwise if self._rule == AUTO else self._rule
