"""Recorded streams at a contract's rate: rows of a dataset from the messages of a bag.

Time is counted in ticks of the contract's period, on the ticks of the commands. At each, every stream gives one sample:

- hold: the newest at or before the tick, as the live nodes do;
- nearest: the one nearest to the tick, before or after it;
- drop: as hold, but a tick for which a stream has nothing newer than one period is left out.

Nothing is filled in but the pictures of optional cameras, which are black where these are silent, as the policy sees them
then. Where another stream has no sample within its `max_age`, the recording is cut there, or refused by name.

The action of a row is its tick's command, what the first step of a chunk that begins there is: it leads from the command of
the tick before, under which the robot is seen in the row, to the tick's own. Measured positions in place of commands lead
from those of the tick to those of the next one. The last tick of a piece makes no row.
"""

from __future__ import annotations

import bisect
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, Protocol

import numpy as np

from beingh_core.contract import RobotContract
from beingh_core.contract.views import black
from beingh_core.data import contract_rows
from beingh_core.data.contract_rows import ACTION, IMAGES, IN_CHARGE, STATE
from beingh_core.data.in_charge import INTERVENTION, ONLY, WHO
from beingh_core.data.lerobot.episode import Frame
from beingh_core.data.recorded import NS, PATIENCE_NS, Findings, Recorded, Stamped
from beingh_core.errors import BeingHError, shown
from beingh_core.realtime.clock import TickClock
from beingh_core.realtime.streams import Sample

# Ticks of two clocks with one period differ by rounding [ns].
ROUNDING_NS = 1_000
METHODS, ON_GAP = ("hold", "nearest", "drop"), ("cut", "refuse")


class BagReader(Protocol):
    """What is needed of a bag (`beingh_core.data.bags.Bag`)."""

    topics: Any

    def messages(self, topics: Iterable[str]) -> Iterable[Any]:
        """Serialised messages with `topic` and `log_ns`, by log time."""

    def deserialise(self, message: Any) -> Any:
        """A message with its fields."""

    def stamp_ns(self, message: Any) -> int | None:
        """Time in its header; None for a type without one."""


@dataclass(frozen=True, kw_only=True)
class Resampling:
    """How streams become rows.

    Attributes:
        method: one of `METHODS`.
        on_gap: one of `ON_GAP`.
        max_age_s: largest age of a sample [s]; None for each stream's in the contract.
        commands: topic of the commands (JointTrajectory or JointState), "states" for the measured positions, None to
            look for the controller's buffer and then for the driver's topics.
        min_frames: shorter pieces are left out.
        only: one of `in_charge.ONLY`, whose rows alone are taken; None for all.
    """

    method: str = "hold"
    on_gap: str = "cut"
    max_age_s: float | None = None
    commands: str | None = None
    min_frames: int = 10
    only: str | None = None

    def __post_init__(self) -> None:
        for name, allowed in (("method", METHODS), ("on_gap", ON_GAP), ("only", (None, *ONLY))):
            if getattr(self, name) not in allowed:
                raise BeingHError(
                    f"resampling {name} {shown(getattr(self, name))}", allowed=[one for one in allowed if one]
                )
        if self.min_frames < 1 or (self.max_age_s is not None and not 0.0 < self.max_age_s <= 60.0):
            raise BeingHError(
                f"min_frames {self.min_frames}, max_age_s {self.max_age_s}", allowed="at least 1; 0 to 60 s"
            )


def from_bag(bag: BagReader, topics: Iterable[str]) -> Iterator[Stamped]:
    """A bag's messages of some topics, deserialised only when they are needed."""
    for message in bag.messages(topics):
        yield Stamped(message.topic, message.log_ns, bag.stamp_ns(message), _once(bag.deserialise, message))


class Piece:
    """The rows of one uncut piece of a recording; read them once, to the end.

    Attributes:
        ticks_ns: Times of the rows that have been read [ns].
    """

    def __init__(self, head: list[_Row], rest: Iterator[_Row], events: list[tuple[int, dict[str, Any]]]) -> None:
        self._head, self._rest, self._events = head, rest, events
        self.ticks_ns: list[int] = []

    def __iter__(self) -> Iterator[Frame]:
        while self._head:
            yield self._read(self._head.pop(0))
        for row in self._rest:
            yield self._read(row)

    def _read(self, row: _Row) -> Frame:
        self.ticks_ns.append(row.tick_ns)
        return row.frame

    def events(self) -> list[dict[str, Any]]:
        """What the recorder told while the rows passed that have been read, each with the `frame` at which it did."""
        found = []
        for stamp_ns, event in self._events:
            place = bisect.bisect_right(self.ticks_ns, stamp_ns) - 1
            if place >= 0 and (place + 1 < len(self.ticks_ns) or stamp_ns < self._end_ns()):
                found.append({"frame": place, **event})
        return found

    def _end_ns(self) -> int:
        """One row behind the last."""
        return self.ticks_ns[-1] + (self.ticks_ns[-1] - self.ticks_ns[-2] if len(self.ticks_ns) > 1 else 0)


class Resampler:
    """Makes rows of one recording; memory holds the messages of about a second.

    Args:
        contract: The robot.
        messages: The recording, by log time.
        commands: Topics of the commands; () for the measured positions.
        task: Instruction of all rows.
        settings: How.
        sizes: View -> (height, width) of the black pictures of optional cameras; default as in `contract.views`.
        depth: View -> column of its depth, of the depth cameras whose depth is wanted.
        in_charge: Whether rows say who was in charge.

    Attributes:
        findings: What happened, filled while the rows are read.
    """

    def __init__(
        self,
        contract: RobotContract,
        messages: Iterable[Stamped],
        commands: tuple[str, ...],
        task: str,
        settings: Resampling,
        *,
        sizes: Mapping[str, tuple[int, int]] | None = None,
        depth: Mapping[str, contract_rows.DepthColumn] | None = None,
        in_charge: bool = True,
    ) -> None:
        self.findings = Findings()
        self._contract, self._messages, self._task, self._settings = contract, messages, task, settings
        self._commands, self._depth, self._in_charge = commands, dict(depth or {}), in_charge
        self._sizes = {c.name: black(c).shape[:2] for c in contract.cameras if c.optional} | dict(sizes or {})
        self._period_ns = TickClock(contract.rate_hz, 0).period_ns
        self._rows = contract_rows.RowEncoder(contract)
        self._streams = Recorded(contract, commands, settings.max_age_s, bool(self._depth), self.findings)
        self._tick_ns: int | None = None
        self._begun_ns, self._count = 0, 0

    def pieces(self) -> Iterator[Piece]:
        """The rows of each uncut piece; read each to its end before the next.

        Raises:
            BeingHError: A gap when gaps are refused, or a message that does not fit the contract.
        """
        ticks = self._ticks()
        for first in ticks:
            if first is not None:
                head, rest = [first], _until_none(ticks)
                for row in rest:
                    head.append(row)
                    if len(head) >= self._settings.min_frames:
                        break
                if len(head) < self._settings.min_frames:
                    self.findings.short += 1
                else:
                    yield Piece(head, rest, self._streams.events)
                    for _ in rest:
                        pass

    def _ticks(self) -> Iterator[_Row | None]:
        """Rows, and None where the recording is cut."""
        before: _Tick | None = None
        streams = self._streams
        for message in self._messages:
            jump = streams.push(message, self._tick_ns is not None)
            if jump:
                yield from self._rest(before)
                self._gap(jump)
                streams.clear()
                self._tick_ns = None
                streams.push(message, False)
                before = None
                yield None
            if self._tick_ns is None and self._may_begin():
                self._begin()
            while self._is_due():
                before, row = self._row(before)
                yield from row
        silent = [stream.name for stream in streams.needed if stream.latest() is None]
        if self._tick_ns is None and not silent:
            self._begin()
        elif self._tick_ns is None:
            self._gap(f"no row could be made: nothing from {', '.join(silent)}")
        yield from self._rest(before)

    def _rest(self, before: _Tick | None) -> Iterator[_Row | None]:
        """The last rows, when nothing more comes: as long as there are commands."""
        command = self._streams.command
        while self._tick_ns is not None and self._command_ns(self._tick_ns) <= command.latest().stamp_ns + ROUNDING_NS:
            before, row = self._row(before)
            yield from row

    def _row(self, before: _Tick | None) -> tuple[_Tick | None, list[_Row | None]]:
        """Evaluates the tick: (it as the one before the next, the finished row before it or the mark of a cut)."""
        tick_ns, self._count = self._tick_ns, self._count + 1
        self._tick_ns = TickClock(self._contract.rate_hz, self._begun_ns).stamp_ns(self._count)
        who, intervention = self._streams.charge.at(self._command_ns(tick_ns))
        samples, problem = self._sample(tick_ns)
        self._streams.drop_before(tick_ns - self._period_ns)
        if problem:
            if before is not None or not self.findings.gaps:
                self._gap(f"{problem} at {(tick_ns - self._begun_ns) / NS:.3f} s")
            self._rows.restart()
            return None, [None]
        if samples is None:
            self.findings.dropped += 1
            return before, []
        row: list[_Row | None] = []
        if before is not None and self._is_wanted(who, intervention):
            action = self._rows.action(before.command_J, samples.command.value)
            row = [before.row(action, self._task, self._charge_columns(who, intervention))]
        elif before is not None:  # its action is of somebody else
            self.findings.others += 1
            row = [None]
        positions: dict[str, float] = {}
        for stream, sample in zip(self._streams.states, samples.states):
            positions.update(zip(stream.joints, sample.value.tolist()))
        return _Tick(tick_ns, samples.command.value, self._rows.state(positions), self._pictures(samples)), row

    def _command_ns(self, tick_ns: int) -> int:
        """When the command was sent under which the robot is at a tick [ns]."""
        return tick_ns - self._period_ns if self._commands else tick_ns

    def _is_wanted(self, who: str, intervention: bool) -> bool:
        only = self._settings.only
        return only is None or only == who or (only == INTERVENTION and intervention)

    def _charge_columns(self, who: str, intervention: bool) -> dict[str, np.ndarray]:
        if not self._in_charge:
            return {}
        return {IN_CHARGE: np.array([WHO.index(who)], np.int64), INTERVENTION: np.array([intervention])}

    def _pictures(self, samples: _Samples) -> dict[str, np.ndarray]:
        found = {}
        for view, sample in samples.cameras.items():
            pixels, depth = self._streams.picture(view, sample, self._sizes.get(view, (0, 0)))
            found[IMAGES + view] = pixels
            if view in self._depth:
                found[self._depth[view].key] = self._depth[view].values(depth)
        return found

    def _sample(self, tick_ns: int) -> tuple[_Samples | None, str | None]:
        """(each stream's sample, what is missing); (None, None) for a tick to leave out."""
        streams, fresh, taken = self._streams, True, []
        near = self._settings.method == "nearest"
        for stream in (*streams.cameras.values(), *streams.states, streams.command):
            at_ns = self._command_ns(tick_ns) + ROUNDING_NS if stream is streams.command else tick_ns
            sample = stream.nearest(at_ns) if near else stream.at(at_ns)
            age_ns = None if sample is None else abs(at_ns - sample.stamp_ns)
            if age_ns is None or age_ns > stream.max_age_s * NS:
                last = "nothing" if sample is None else f"nothing for more than {stream.max_age_s:g} s"
                if stream in streams.needed:
                    return None, f"{stream.name}: {last}"
                sample = None
            else:
                fresh = fresh and (age_ns < self._period_ns or stream is streams.command)
            taken.append(sample)
        views = dict(zip(streams.cameras, taken))
        found = _Samples(views, taken[len(views) : -1], taken[-1])
        return (None, None) if self._settings.method == "drop" and not fresh else (found, None)

    def _begin(self) -> None:
        """The first tick on the commands' ticks for which every stream has a sample."""
        low, high = self._streams.span()
        needed = self._streams.needed
        anchor_ns = self._streams.command.latest().stamp_ns if self._commands else low
        clock = TickClock(self._contract.rate_hz, anchor_ns)
        tick = clock.tick_at_or_after(low)
        command = self._streams.command
        while (at_ns := clock.stamp_ns(tick)) < high and any(
            stream.at(self._command_ns(at_ns) + ROUNDING_NS if stream is command else at_ns) is None for stream in needed
        ):
            tick += 1
        self._tick_ns = self._begun_ns = at_ns
        self._count = 0

    def _may_begin(self) -> bool:
        """Whether every stream has said something, and nothing earlier can come."""
        if any(stream.latest() is None for stream in self._streams.needed):
            return False
        low, high = self._streams.span()
        return high - low > PATIENCE_NS

    def _is_due(self) -> bool:
        """Whether nothing more can come for the tick: all streams have gone past it, or one is too late anyway."""
        if self._tick_ns is None:
            return False
        behind = [s for s in self._streams.active() if s.latest().stamp_ns <= self._tick_ns]
        if not behind:
            return True
        late_ns = round(max(stream.max_age_s for stream in behind) * NS)
        return self._streams.span()[1] > self._tick_ns + late_ns + PATIENCE_NS

    def _gap(self, text: str) -> None:
        if self._settings.on_gap == "refuse":
            raise BeingHError(
                f"the recording has a gap: {text}",
                remedy="record again, allow a larger --max-age, or let gaps cut episodes (--on-gap cut)",
            )
        self.findings.gaps.append(text)


@dataclass(frozen=True)
class _Samples:
    """Of each stream at one tick."""

    cameras: dict[str, Sample | None]
    states: list[Sample]
    command: Sample


@dataclass(frozen=True)
class _Row:
    """A finished row and its tick."""

    tick_ns: int
    frame: Frame


@dataclass(frozen=True)
class _Tick:
    """A tick whose action is known with the next one."""

    tick_ns: int
    command_J: np.ndarray
    state_D: np.ndarray
    pictures: dict[str, np.ndarray] = field(repr=False)

    def row(self, action_D: np.ndarray, task: str, more: Mapping[str, np.ndarray]) -> _Row:
        vectors = {STATE: self.state_D, ACTION: action_D, **more}
        return _Row(self.tick_ns, Frame(vectors=vectors, images=self.pictures, task=task, stamp_ns=self.tick_ns))


def _once(read: Callable[[Any], Any], message: Any) -> Callable[[], Any]:
    """Reads a message when it is wanted for the first time."""
    made: list[Any] = []

    def get() -> Any:
        if not made:
            made.append(read(message))
        return made[0]

    return get


def _until_none(rows: Iterator[_Row | None]) -> Iterator[_Row]:
    for row in rows:
        if row is None:
            return
        yield row
