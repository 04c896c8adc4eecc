"""Stamped streams of observations, and the gate that refuses to infer on missing or stale ones."""

from __future__ import annotations

import bisect
import threading
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from beingh_core.errors import BeingHError


@dataclass(frozen=True)
class Sample:
    """One value of a stream and when it was measured [ns]."""

    stamp_ns: int
    value: Any


class StreamBuffer:
    """The newest samples of one stream, in the order of their stamps.

    Every method may be called from any thread.

    Args:
        name: what errors and the gate call it.
        max_age_s: older samples are stale [s].
        depth: samples kept.
    """

    def __init__(self, name: str, max_age_s: float, depth: int = 50) -> None:
        if depth < 1 or not max_age_s > 0:
            raise BeingHError(f"stream `{name}` cannot have depth {depth} and age {max_age_s} s")
        self.name = name
        self.max_age_s = float(max_age_s)
        self._depth = depth
        self._samples: list[Sample] = []
        self._lock = threading.Lock()

    def push(self, stamp_ns: int, value: Any) -> None:
        """Adds a sample; late ones are put in their place, one with a known stamp replaces it."""
        with self._lock:
            stamps = [sample.stamp_ns for sample in self._samples]
            place = bisect.bisect_left(stamps, stamp_ns)
            known = place < len(stamps) and stamps[place] == stamp_ns
            self._samples[place : place + known] = [Sample(stamp_ns, value)]
            del self._samples[: -self._depth]

    def latest(self) -> Sample | None:
        """The newest sample, None when there is none."""
        with self._lock:
            return self._samples[-1] if self._samples else None

    def at(self, stamp_ns: int) -> Sample | None:
        """The newest sample measured at or before a time: what was known then. None when there is none."""
        with self._lock:
            place = bisect.bisect_right([sample.stamp_ns for sample in self._samples], stamp_ns)
            return self._samples[place - 1] if place else None

    def clear(self) -> None:
        """Forgets everything (the clock or the source was restarted)."""
        with self._lock:
            self._samples.clear()


class FreshnessGate:
    """Says which streams are not fit to infer on.

    Args:
        streams: all streams that an observation needs.
    """

    def __init__(self, streams: Iterable[StreamBuffer]) -> None:
        self._streams = tuple(streams)

    def check(self, now_ns: int) -> list[tuple[str, str]]:
        """(name, reason) of every missing or stale stream; empty when the gate is open.

        A stamp further in the future than the allowed age is refused too: it comes from another clock.
        """
        closed = []
        for stream in self._streams:
            sample = stream.latest()
            if sample is None:
                closed.append((stream.name, "missing: nothing was received"))
                continue
            age_s = (now_ns - sample.stamp_ns) * 1e-9
            if age_s > stream.max_age_s:
                closed.append((stream.name, f"stale: {age_s:.3f} s old, at most {stream.max_age_s:g} s allowed"))
            elif age_s < -stream.max_age_s:
                closed.append((stream.name, f"its stamp is {-age_s:.3f} s in the future: another clock"))
        return closed
