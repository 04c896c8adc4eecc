"""Stamped streams of observations, and the gate that refuses to infer on missing or stale ones."""

from __future__ import annotations

import bisect
import threading
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from beingh_core.errors import BeingHError

MISSING = "missing: nothing was received"


@dataclass(frozen=True)
class Sample:
    """One value of a stream and when it was measured [ns]."""

    stamp_ns: int
    value: Any


class _Series:
    """Values in the order of their stamps. The caller holds a lock."""

    def __init__(self, depth: int) -> None:
        self._depth = depth
        self._stamps: list[int] = []
        self._values: list[Any] = []

    def push(self, stamp_ns: int, value: Any) -> None:
        place = len(self._stamps)
        if place and stamp_ns <= self._stamps[-1]:
            place = bisect.bisect_left(self._stamps, stamp_ns)
        known = self._stamps[place : place + 1] == [stamp_ns]
        self._stamps[place : place + known] = [stamp_ns]
        self._values[place : place + known] = [value]
        del self._stamps[: -self._depth], self._values[: -self._depth]

    def at(self, stamp_ns: int | None) -> Sample | None:
        """The newest at or before a time, None for the newest of all."""
        place = len(self._stamps) if stamp_ns is None else bisect.bisect_right(self._stamps, stamp_ns)
        return Sample(self._stamps[place - 1], self._values[place - 1]) if place else None

    def nearest(self, stamp_ns: int) -> Sample | None:
        """The one nearest to a time; the earlier of two that are equally near."""
        place = bisect.bisect_right(self._stamps, stamp_ns)
        around = range(max(0, place - 1), min(place + 1, len(self._stamps)))
        best = min(around, key=lambda index: abs(self._stamps[index] - stamp_ns), default=None)
        return None if best is None else Sample(self._stamps[best], self._values[best])

    def close_to(self, stamp_ns: int, reach_ns: int) -> Sample | None:
        """The one nearest to a time where that is within reach, else the newest before it."""
        sample = self.nearest(stamp_ns)
        return sample if sample and abs(sample.stamp_ns - stamp_ns) <= reach_ns else self.at(stamp_ns)

    def drop_older(self, stamp_ns: int) -> None:
        place = bisect.bisect_left(self._stamps, stamp_ns)
        del self._stamps[:place], self._values[:place]

    def drop_before(self, stamp_ns: int) -> None:
        """Forgets what is older than the newest at or before a time."""
        place = bisect.bisect_right(self._stamps, stamp_ns) - 1
        if place > 0:
            del self._stamps[:place], self._values[:place]

    def drop_after(self, stamp_ns: int) -> int:
        place = bisect.bisect_right(self._stamps, stamp_ns)
        dropped = len(self._stamps) - place
        del self._stamps[place:], self._values[place:]
        return dropped


class StreamBuffer:
    """The newest samples of one stream, in the order of their stamps.

    Every method may be called from any thread.

    Args:
        name: what errors and the gate call it.
        max_age_s: older samples are stale [s].
        depth: samples kept.
    """

    def __init__(self, name: str, max_age_s: float, depth: int = 50) -> None:
        _check(name, max_age_s, depth)
        self.name = name
        self.max_age_s = float(max_age_s)
        self._depth = depth
        self._series = _Series(depth)
        self._lock = threading.Lock()

    def push(self, stamp_ns: int, value: Any) -> None:
        """Adds a sample; late ones are put in their place, one with a known stamp replaces it."""
        with self._lock:
            self._series.push(stamp_ns, value)

    def latest(self) -> Sample | None:
        """The newest sample, None when there is none."""
        with self._lock:
            return self._series.at(None)

    def at(self, stamp_ns: int) -> Sample | None:
        """The newest sample measured at or before a time: what was known then. None when there is none."""
        with self._lock:
            return self._series.at(stamp_ns)

    def nearest(self, stamp_ns: int) -> Sample | None:
        """The sample measured nearest to a time, before or after it: for recordings. None when there is none."""
        with self._lock:
            return self._series.nearest(stamp_ns)

    def drop_before(self, stamp_ns: int) -> None:
        """Forgets the samples that `at` cannot give for this or a later time."""
        with self._lock:
            self._series.drop_before(stamp_ns)

    def problem(self, now_ns: int) -> str | None:
        """Why there is nothing to infer on, None when there is."""
        sample = self.latest()
        return MISSING if sample is None else _age_problem(now_ns - sample.stamp_ns, self.max_age_s)

    def drop_after(self, stamp_ns: int) -> int:
        """Forgets the samples with later stamps; returns how many."""
        with self._lock:
            return self._series.drop_after(stamp_ns)

    def clear(self) -> None:
        """Forgets everything (the clock or the source was restarted)."""
        with self._lock:
            self._series = _Series(self._depth)


class JointHistory:
    """The newest positions of joints by name, in whatever messages they come. Any thread.

    Args:
        joints: names to keep.
        depth: positions kept of each.
    """

    def __init__(self, joints: Iterable[str], depth: int) -> None:
        self._joints, self._depth = tuple(joints), depth
        self._lock = threading.Lock()
        self._newest_ns: int
        self.clear()

    def push(self, stamp_ns: int, positions: Mapping[str, float]) -> None:
        """Adds one message; it may hold any joints."""
        with self._lock:
            self._newest_ns = max(self._newest_ns, stamp_ns)
            for joint, position in positions.items():
                if joint in self._series:
                    self._series[joint].push(stamp_ns, position)

    def at(self, joints: Sequence[str], stamp_ns: int | None) -> list[Sample | None]:
        """Each joint's newest position at or before a time; None for the newest of all."""
        with self._lock:
            return [self._series[joint].at(stamp_ns) for joint in joints]

    def nearest(self, joints: Sequence[str], stamp_ns: int) -> list[Sample | None]:
        """Each joint's position measured nearest to a time."""
        with self._lock:
            return [self._series[joint].nearest(stamp_ns) for joint in joints]

    def close_to(self, joints: Sequence[str], stamp_ns: int, reach_ns: int) -> list[Sample | None]:
        """Each joint's position nearest to a time where that is within reach, else its newest before it."""
        with self._lock:
            return [self._series[joint].close_to(stamp_ns, reach_ns) for joint in joints]

    def drop_before(self, stamp_ns: int) -> None:
        """Forgets positions with earlier stamps."""
        with self._lock:
            for series in self._series.values():
                series.drop_older(stamp_ns)

    def drop_after(self, stamp_ns: int) -> int:
        """Forgets positions with later stamps; returns of how many messages at least."""
        with self._lock:
            if self._newest_ns <= stamp_ns:
                return 0
            self._newest_ns = stamp_ns
            return max((series.drop_after(stamp_ns) for series in self._series.values()), default=0)

    def clear(self) -> None:
        """Forgets everything."""
        with self._lock:
            self._series = {joint: _Series(self._depth) for joint in self._joints}
            self._newest_ns = -(2**63)


class JointStream:
    """Some joints of a history as one stream of (J,) positions; any thread.

    A sample of it is as old as its oldest joint, so that each of them must be fresh.

    Args:
        name: what errors and the gate call it.
        max_age_s: a joint that was measured earlier is stale [s].
        joints: names, in the order of the values.
        history: where they are.
    """

    def __init__(self, name: str, max_age_s: float, joints: Sequence[str], history: JointHistory) -> None:
        _check(name, max_age_s, 1)
        self.name, self.max_age_s, self.joints = name, float(max_age_s), tuple(joints)
        self._history = history

    def latest(self) -> Sample | None:
        """The newest position of every joint; None before each has one."""
        return _merged(self._history.at(self.joints, None))

    def at(self, stamp_ns: int) -> Sample | None:
        """What was known of every joint at a time; None when one was not known yet."""
        return _merged(self._history.at(self.joints, stamp_ns))

    def nearest(self, stamp_ns: int) -> Sample | None:
        """Every joint's position nearest to a time; None when one has none."""
        return _merged(self._history.nearest(self.joints, stamp_ns))

    def close_to(self, stamp_ns: int, reach_ns: int) -> Sample | None:
        """Every joint's position nearest to a time where that is within reach, else its newest before it: for recordings."""
        return _merged(self._history.close_to(self.joints, stamp_ns, reach_ns))

    def missing(self) -> list[str]:
        """Joints that were not received."""
        return [joint for joint, sample in zip(self.joints, self._history.at(self.joints, None)) if sample is None]

    def problem(self, now_ns: int) -> str | None:
        """Why there is nothing to infer on, and for which joints; None when there is."""
        newest = self._history.at(self.joints, None)
        missing = [joint for joint, sample in zip(self.joints, newest) if sample is None]
        if missing:
            return MISSING if len(missing) == len(newest) else f"missing: {_listed(missing)} never received"
        stamps = [sample.stamp_ns for sample in newest if sample is not None]
        old = [joint for joint, stamp_ns in zip(self.joints, stamps) if now_ns - stamp_ns > self.max_age_s * 1e9]
        reason = _age_problem(now_ns - min(stamps), self.max_age_s) or _age_problem(
            now_ns - max(stamps), self.max_age_s
        )
        return f"{reason} ({_listed(old)})" if reason and 0 < len(old) < len(newest) else reason

    def drop_after(self, stamp_ns: int) -> int:
        """Forgets positions with later stamps, also for other streams of the history; returns of how many messages."""
        return self._history.drop_after(stamp_ns)

    def clear(self) -> None:
        """Forgets everything, also for other streams of the history."""
        self._history.clear()


class FreshnessGate:
    """Says which streams are not fit to infer on.

    Args:
        streams: all streams that an observation needs.
    """

    def __init__(self, streams: Iterable[StreamBuffer | JointStream]) -> None:
        self._streams = tuple(streams)

    def check(self, now_ns: int) -> list[tuple[str, str]]:
        """(name, reason) of every missing or stale stream; empty when the gate is open.

        A stamp further in the future than the allowed age is refused too: it comes from another clock.
        """
        reasons = ((stream.name, stream.problem(now_ns)) for stream in self._streams)
        return [(name, reason) for name, reason in reasons if reason is not None]


def _check(name: str, max_age_s: float, depth: int) -> None:
    if depth < 1 or not max_age_s > 0:
        raise BeingHError(f"stream `{name}` cannot have depth {depth} and age {max_age_s} s")


def _age_problem(age_ns: int, max_age_s: float) -> str | None:
    age_s = age_ns * 1e-9
    if age_s > max_age_s:
        return f"stale: {age_s:.3f} s old, at most {max_age_s:g} s allowed"
    if age_s < -max_age_s:
        return f"its stamp is {-age_s:.3f} s in the future: another clock"
    return None


def _merged(samples: Sequence[Sample | None]) -> Sample | None:
    known = [sample for sample in samples if sample is not None]
    if len(known) < len(samples):
        return None
    return Sample(min(sample.stamp_ns for sample in known), np.array([sample.value for sample in known]))


def _listed(names: Sequence[str], most: int = 8) -> str:
    """The first names, and how many more."""
    more = f" and {len(names) - most} more" if len(names) > most else ""
    return ", ".join(names[:most]) + more
