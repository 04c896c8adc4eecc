"""What `beingh suite latency` is to play."""

from __future__ import annotations

import itertools
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from beingh_core.contract import RobotContract
from beingh_core.errors import BeingHError, did_you_mean
from beingh_core.suite.joining import WAYS
from beingh_core.suite.plan import Experiment, check_delays, each_once


@dataclass(frozen=True, kw_only=True)
class Latency(Experiment):
    """An experiment; every method and delay has the same scenes.

    Attributes:
        methods: Of `WAYS`.
        delays: From the picture to the chunk's arrival [ticks].
        jitter: A chunk comes up to so many ticks later, drawn anew for each.
    """

    methods: tuple[str, ...]
    delays: tuple[int, ...]
    jitter: int

    def __post_init__(self) -> None:
        for method in self.methods:
            if method not in WAYS:
                raise BeingHError(
                    f"there is no method `{method}`", where="--methods", allowed=WAYS, remedy=did_you_mean(method, WAYS)
                )
        each_once("--methods", self.methods)
        each_once("--delays", self.delays)
        super().__post_init__()

    def refuse(self, contract: RobotContract) -> None:
        """See `Experiment`.

        Raises:
            BeingHError: A delay that no chunk is long enough for, or guidance that has nothing to compare.
        """
        check_delays(contract, self.delays, self.jitter, "--delays, --jitter")
        counted = [s for s in contract.action if s.mode == "relative" or s.frame == "chunk_start"]
        if counted and "guided_rtc" in self.methods:
            raise BeingHError(
                f"the action `{counted[0].slot}` counts from where a chunk begins, so two chunks' numbers cannot be compared",
                where=f"{contract.path}, --methods guided_rtc",
                remedy="leave guided_rtc out for this robot",
            )

    def points(self) -> Iterable[tuple[str, str, int]]:
        """(checkpoint, method, delay)."""
        return itertools.product(self.checkpoints, self.methods, self.delays)

    def settings(self) -> dict[str, Any]:
        """See `Experiment`."""
        return {"jitter": self.jitter}
