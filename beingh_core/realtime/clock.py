"""Ticks and epochs: the control period counted from the start of an epoch."""

from __future__ import annotations

import math
import re

import numpy as np

from beingh_core.errors import BeingHError

NANOSECONDS = 1_000_000_000


class TickClock:
    """Converts between tick numbers and stamps. Immutable: any thread may call it.

    Tick n of an epoch is at `start_ns + n / rate_hz`, rounded to a nanosecond; nothing accumulates.

    Args:
        rate_hz: ticks per second.
        start_ns: stamp of tick 0.
    """

    def __init__(self, rate_hz: float, start_ns: int) -> None:
        if not (math.isfinite(rate_hz) and rate_hz > 0):
            raise BeingHError(f"a clock cannot tick at {rate_hz} Hz", allowed="a rate above 0")
        self.rate_hz = float(rate_hz)
        self.start_ns = int(start_ns)

    @property
    def period_ns(self) -> int:
        """One tick, rounded to a nanosecond; for timers, not for arithmetic on stamps."""
        return round(exact_period_ns(self.rate_hz))

    def stamp_ns(self, tick: int) -> int:
        """The exact time of a tick [ns]."""
        return self.start_ns + round(tick * NANOSECONDS / self.rate_hz)

    def stamps_ns(self, ticks_T: np.ndarray) -> np.ndarray:
        """(T,) the exact times of ticks [ns]."""
        return self.start_ns + np.round(ticks_T * NANOSECONDS / self.rate_hz).astype(np.int64)

    def nearest_tick(self, stamp_ns: int) -> int:
        """The tick whose time is nearest to a stamp; recovers n from the stamp of tick n."""
        return round((stamp_ns - self.start_ns) * self.rate_hz / NANOSECONDS)

    def tick_at_or_after(self, stamp_ns: int) -> int:
        """The first tick that is not before a stamp: n0 of an observation."""
        tick = self.nearest_tick(stamp_ns)
        return tick if self.stamp_ns(tick) >= stamp_ns else tick + 1

    def tick_at_or_before(self, stamp_ns: int) -> int:
        """The last tick that is not after a stamp."""
        tick = self.nearest_tick(stamp_ns)
        return tick if self.stamp_ns(tick) <= stamp_ns else tick - 1


def exact_period_ns(rate_hz: float) -> float:
    """One period of a rate [ns], not rounded; for durations, not for arithmetic on stamps."""
    return NANOSECONDS / rate_hz


def epoch_id(index: int, start_ns: int) -> str:
    """Name of the epoch with number `index` whose tick 0 is at `start_ns`; goes into frame_id."""
    return f"{index}@{start_ns}"


def parse_stamp(text: str) -> int:
    """Nanoseconds written in digits; 0, which is no time, for anything else."""
    return int(text) if re.fullmatch(r"\d{1,19}", text, re.ASCII) else 0


def parse_epoch(text: str) -> tuple[int, int]:
    """(index, start_ns) of an epoch's name.

    Raises:
        BeingHError: not the name of an epoch.
    """
    match = re.fullmatch(r"(\d{1,18})@(-?\d{1,18}|-?[1-8]\d{18})", text, re.ASCII)
    if match is None:
        raise BeingHError(f"{text[:60]!r} is no epoch", allowed="INDEX@START_NANOSECONDS")
    return int(match[1]), int(match[2])
