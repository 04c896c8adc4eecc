"""Recorded streams at a contract's rate: rows of a dataset from the messages of a bag.

Time is counted in ticks of the contract's period, on the ticks of the commands. At each, every stream gives one sample:

- hold: the newest at or before the tick, as the live nodes do;
- nearest: the one nearest to the tick, before or after it;
- drop: as hold, but a tick for which a stream has nothing newer than one period is left out.

Nothing is filled in but the pictures of optional cameras, which are black where these are silent, as the policy sees them
then. Where another stream has no sample within its `max_age`, the recording is cut there, or refused by name.

A command is that of the tick to which it stands nearest, since commands without stamps, or of a clock with jitter, stand around
their ticks; a tick without one has the newest before it. Where the controller begins a new epoch, whose ticks stand elsewhere,
a piece ends and the next begins. It goes on, though, where the robot held its last command until the new epoch began with
that one, as it does when a tick came late: rows that hold it, and then those on the new ticks.

The action of a row is what the first step of a chunk that begins at its tick is: it leads from the command of the tick
before, under which the robot is seen in the row, to the tick's own. Measured positions in place of commands lead from those
of the tick to those of the next one, which its command brought about.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np

from beingh_core.contract import RobotContract
from beingh_core.contract.views import black
from beingh_core.data import contract_rows
from beingh_core.data.contract_rows import ACTION, IMAGES, IN_CHARGE, STATE
from beingh_core.data.in_charge import INTERVENTION, ONLY, WHO
from beingh_core.data.lerobot.episode import Frame
from beingh_core.data.phase import ROUNDING_NS
from beingh_core.data.pieces import Piece, Row, until_none
from beingh_core.data.recorded import NS, PATIENCE_NS, Findings, Recorded, Stamped
from beingh_core.errors import BeingHError, shown
from beingh_core.realtime.clock import TickClock
from beingh_core.realtime.streams import Sample

_REMEMBERED = 2048  # commands, of more than a second
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
        begin_ns: Log time of the recording's first message, from which the times in findings count; None takes that of `messages`.

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
        begin_ns: int | None = None,
    ) -> None:
        self.findings = Findings()
        self._contract, self._messages, self._task, self._settings = contract, messages, task, settings
        self._commands, self._depth, self._in_charge = commands, dict(depth or {}), in_charge
        self._sizes = {c.name: black(c).shape[:2] for c in contract.cameras if c.optional} | dict(sizes or {})
        self._period_ns = TickClock(contract.rate_hz, 0).period_ns
        self._rows = contract_rows.RowEncoder(contract)
        self._streams = Recorded(contract, commands, settings.max_age_s, bool(self._depth), self.findings)
        # Which command of a row's two is that of its tick, and how far from their ticks commands may stand.
        self._lead, self._slack_ns = (0, self._period_ns // 2) if commands else (1, 0)
        self._clock: TickClock | None = None
        self._tick, self._begin_ns = 0, begin_ns
        # (stamp, log time) of the newest commands: when a tick was recorded.
        self._timed = set(commands or contract.joint_state_topics)
        self._recorded: deque[tuple[int, int]] = deque(maxlen=_REMEMBERED)
        self._is_whole = False  # nothing was missing at the tick before

    def pieces(self) -> Iterator[Piece]:
        """The rows of each uncut piece; read each to its end before the next.

        Raises:
            BeingHError: A gap when gaps are refused, or a message that does not fit the contract.
        """
        ticks = self._ticks()
        for first in ticks:
            if first is not None:
                head, rest = [first], until_none(ticks)
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

    def _ticks(self) -> Iterator[Row | None]:
        """Rows, and None where the recording is cut."""
        streams = self._streams
        for message in self._messages:
            self._note_time(message)
            jump = streams.push(message, self._clock is not None)
            if jump:
                yield from self._rest()
                self._gap(f"{jump} {self._when(message.log_ns)}")
                streams.clear()
                self._clock, self._is_whole = None, False
                self._recorded.clear()
                self._note_time(message)
                streams.push(message, False)
                self._rows.restart()
                yield None
            if self._clock is None and self._may_begin():
                self._begin()
            while self._turns() or self._is_due():
                yield from self._turn() if self._turns() else self._row()
        silent = [stream.name for stream in streams.needed if stream.latest() is None]
        if self._clock is None and not silent:
            self._begin()
        elif self._clock is None:
            self._gap(f"no row could be made: nothing from {', '.join(silent)}")
        yield from self._rest()

    def _note_time(self, message: Stamped) -> None:
        self._begin_ns = message.log_ns if self._begin_ns is None else self._begin_ns
        if message.topic in self._timed:
            self._recorded.append((message.stamp_ns or message.log_ns, message.log_ns))

    def _when(self, log_ns: int) -> str:
        return f"at {(log_ns - (self._begin_ns or 0)) / NS:.2f} s of the bag"

    def _logged_ns(self, tick_ns: int) -> int:
        """When a tick was recorded, by the command before it: clocks of stamps may begin anywhere."""
        stamp_ns, log_ns = next((pair for pair in reversed(self._recorded) if pair[0] <= tick_ns), (tick_ns, tick_ns))
        return tick_ns + log_ns - stamp_ns

    def _rest(self) -> Iterator[Row | None]:
        """The last rows, when nothing more comes: as long as there are commands."""
        while self._clock is not None:
            newest = self._streams.command.latest()
            if self._turns():
                yield from self._turn()
            elif newest is None or self._command_times(self._clock)[1] > newest.stamp_ns + self._slack_ns:
                return
            else:
                yield from self._row()

    def _turns(self) -> bool:
        """Whether the controller's epoch has no more commands, and the next one has begun."""
        next_one = self._streams.next_epoch()
        return self._clock is not None and next_one is not None and (
            self._command_times(self._clock)[1] > next_one.before_ns + self._slack_ns
        )  # fmt: skip

    def _turn(self) -> Iterator[None]:
        """Goes on with the ticks of the controller's next epoch, which may stand elsewhere; cuts unless a command is held."""
        held = self._streams.next_epoch().held
        if not held and self._is_whole and self._streams.goes_on():
            self._hold()
            return
        first_ns = self._streams.begin_epoch()
        self._clock = TickClock(self._contract.rate_hz, first_ns)
        if held:
            self._tick = 0
            return
        if self._is_whole:
            self._gap(f"a new epoch of the controller {self._when(self._logged_ns(first_ns))}")
        # The first tick has no command before it that would belong to its epoch.
        self._tick, self._is_whole = 1, False
        self._rows.restart()
        yield None

    def _hold(self) -> None:
        """Rows that hold the last command until the next epoch; between two rows there is half a period at least."""
        first_ns, before_ns, _ = self._streams.next_epoch()
        waited = range(self._tick, self._clock.tick_at_or_before(first_ns - self._period_ns // 2) + 1)
        self._streams.hold([self._clock.stamp_ns(tick) for tick in waited])
        self.findings.held.append(f"{(first_ns - before_ns) / NS:.2f} s {self._when(self._logged_ns(before_ns))}")

    def _row(self) -> Iterator[Row | None]:
        """Evaluates the tick and goes on to the next: its row, the mark of a cut, or nothing where it is left out."""
        clock = self._clock
        tick_ns = clock.stamp_ns(self._tick)
        who, intervention = self._streams.charge.at(tick_ns + ROUNDING_NS)
        samples, problem = self._sample(tick_ns, self._command_times(clock))
        self._tick += 1
        self._streams.drop_before(tick_ns)
        was_whole, self._is_whole = self._is_whole, problem is None
        if samples is not None and self._is_wanted(who, intervention):
            yield self._made(tick_ns, samples, self._charge_columns(who, intervention))
            return
        if samples is None and problem is None:
            self.findings.dropped += 1
            return
        if samples is not None:
            self.findings.others += 1
        elif was_whole or not self.findings.gaps:
            self._gap(f"{problem} {self._when(self._logged_ns(tick_ns))}")
        self._rows.restart()
        yield None

    def _made(self, tick_ns: int, samples: _Samples, charge: Mapping[str, np.ndarray]) -> Row:
        positions: dict[str, float] = {}
        for stream, sample in zip(self._streams.states, samples.states):
            positions.update(zip(stream.joints, sample.value.tolist()))
        action = self._rows.action(samples.before.value, samples.command.value)
        vectors = {STATE: self._rows.state(positions), ACTION: action, **charge}
        frame = Frame(vectors=vectors, images=self._pictures(samples), task=self._task, stamp_ns=tick_ns)
        return Row(tick_ns, frame)

    def _command_times(self, clock: TickClock) -> tuple[int, int]:
        """From which time's command the tick's action leads to which one's [ns]."""
        last = self._tick + self._lead
        return clock.stamp_ns(last - 1), clock.stamp_ns(last)

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

    def _sample(self, tick_ns: int, command_times: tuple[int, int]) -> tuple[_Samples | None, str | None]:
        """(each stream's sample, what is missing); (None, None) for a tick to leave out."""
        streams, fresh, taken = self._streams, True, []
        near = self._settings.method == "nearest"
        wanted = [(stream, tick_ns) for stream in (*streams.cameras.values(), *streams.states)]
        wanted += [(streams.command, time_ns) for time_ns in command_times]
        for stream, at_ns in wanted:
            if stream is streams.command and self._commands:  # of the tick to which it stands nearest
                sample = stream.close_to(at_ns, self._slack_ns)
            else:
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
        found = _Samples(views, taken[len(views) : -2], *taken[-2:])
        return (None, None) if self._settings.method == "drop" and not fresh else (found, None)

    def _begin(self) -> None:
        """The first tick on the commands' ticks for which every stream has a sample."""
        low, high = self._streams.span()
        command = self._streams.command
        others = [stream for stream in self._streams.needed if stream is not command]
        while (next_one := self._streams.next_epoch()) is not None and next_one.first_ns <= low:
            self._streams.begin_epoch()
        clock = TickClock(self._contract.rate_hz, self._streams.phase_ns() if self._commands else low)
        self._clock, self._tick = clock, clock.tick_at_or_after(low)
        while (tick_ns := clock.stamp_ns(self._tick)) < high and (
            command.at(self._command_times(clock)[0] + self._slack_ns) is None
            or any(stream.at(tick_ns) is None for stream in others)
        ):
            self._tick += 1

    def _may_begin(self) -> bool:
        """Whether every stream has said something, and nothing earlier can come."""
        if any(stream.latest() is None for stream in self._streams.needed):
            return False
        low, high = self._streams.span()
        return high - low > PATIENCE_NS

    def _is_due(self) -> bool:
        """Whether nothing more can come for the tick: all streams have gone past it, or one is too late anyway."""
        if self._clock is None:
            return False
        tick_ns, command_ns = self._clock.stamp_ns(self._tick), self._command_times(self._clock)[1]
        due = lambda stream: command_ns + self._slack_ns if stream is self._streams.command else tick_ns
        newest = ((stream, stream.latest()) for stream in self._streams.active())
        behind = [stream for stream, sample in newest if sample is None or sample.stamp_ns <= due(stream)]
        if not behind:
            return True
        late_ns = round(max(stream.max_age_s for stream in behind) * NS)
        return self._streams.span()[1] > command_ns + late_ns + PATIENCE_NS

    def _gap(self, text: str) -> None:
        if self._settings.on_gap == "refuse":
            raise BeingHError(
                f"the recording has a gap: {text}",
                remedy="record again, allow a larger --max-age, or let gaps cut episodes (--on-gap cut)",
            )
        self.findings.gaps.append(text)


@dataclass(frozen=True)
class _Samples:
    """Of each stream at one tick, and the two commands between which its action leads."""

    cameras: dict[str, Sample | None]
    states: list[Sample]
    before: Sample
    command: Sample


def _once(read: Callable[[Any], Any], message: Any) -> Callable[[], Any]:
    """Reads a message when it is wanted for the first time."""
    made: list[Any] = []

    def get() -> Any:
        if not made:
            made.append(read(message))
        return made[0]

    return get
