"""Recorded streams at a contract's rate: rows of a dataset from the messages of a bag.

Time is counted in ticks of the contract's period, on the ticks of the commands. At each, every stream gives one sample:

- hold: the newest at or before the tick, as the live nodes do;
- nearest: the one nearest to the tick, before or after it;
- drop: as hold, but a tick for which a stream has nothing newer than one period is left out.

Nothing is filled in. Where a stream has no sample within its `max_age`, the recording is cut there, or refused by name.
The action of a row leads from its tick's command to the next tick's, so that the last tick of a piece makes no row.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from typing import Any, NamedTuple, Protocol

import numpy as np

from beingh_core.contract import RobotContract
from beingh_core.data import contract_rows
from beingh_core.data.contract_rows import ACTION, IMAGES, NS, STATE
from beingh_core.data.lerobot.episode import Frame
from beingh_core.errors import BeingHError, shown
from beingh_core.realtime.streams import JointHistory, JointStream, Sample, StreamBuffer

METHODS, ON_GAP, FROM_STATES = ("hold", "nearest", "drop"), ("cut", "refuse"), "states"
_DEPTH = 1 << 14
_PATIENCE_NS = NS // 2  # how much later than its age allows a message may stand in the bag
_BACK_NS = NS  # stamps that go back further are another clock


class Stamped(NamedTuple):
    """One message of a recording, in the order of log times.

    Attributes:
        topic: its topic.
        log_ns: when it was recorded [ns].
        stamp_ns: its header's time [ns]; 0 when it has none.
        read: gives the message with its fields; called once at most.
    """

    topic: str
    log_ns: int
    stamp_ns: int
    read: Callable[[], Any]


class BagReader(Protocol):
    """What is needed of a bag (`beingh_core.data.bags.Bag`)."""

    topics: Any

    def messages(self, topics: Iterable[str]) -> Iterable[Any]:
        """Serialised messages with `topic` and `log_ns`, by log time."""

    def deserialise(self, message: Any) -> Any:
        """A message with its fields."""

    def stamp_ns(self, message: Any) -> int | None:
        """Time in its header."""


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
    """

    method: str = "hold"
    on_gap: str = "cut"
    max_age_s: float | None = None
    commands: str | None = None
    min_frames: int = 10

    def __post_init__(self) -> None:
        for name, allowed in (("method", METHODS), ("on_gap", ON_GAP)):
            if getattr(self, name) not in allowed:
                raise BeingHError(f"resampling {name} {shown(getattr(self, name))}", allowed=allowed)
        if self.min_frames < 1 or (self.max_age_s is not None and not 0.0 < self.max_age_s <= 60.0):
            raise BeingHError(
                f"min_frames {self.min_frames}, max_age_s {self.max_age_s}", allowed="at least 1; 0 to 60 s"
            )


@dataclass
class Findings:
    """What happened to a recording.

    Attributes:
        gaps: where it was cut and why, in words.
        dropped: ticks that `drop` left out.
        without_stamp: messages whose log time stood in for a missing stamp.
        short: pieces that were too short.
    """

    gaps: list[str] = field(default_factory=list)
    dropped: int = 0
    without_stamp: int = 0
    short: int = 0


def command_topics(contract: RobotContract, topics: Iterable[str], wanted: str | None) -> tuple[str, ...]:
    """Where the commands are; () for the measured positions.

    Raises:
        BeingHError: The recording has none of these topics.
    """
    known = list(topics)
    if wanted == FROM_STATES:
        return ()
    if wanted:
        if wanted not in known:
            raise BeingHError(f"the recording has no {wanted}", allowed=known)
        return (wanted,)
    buffers = [topic for topic in known if topic == "controller/buffer" or topic.endswith("/controller/buffer")]
    groups = tuple(group.topic for group in contract.command_groups)
    if len(buffers) == 1:
        return (buffers[0],)
    if not buffers and set(groups) <= set(known):
        return groups
    raise BeingHError(
        f"the recording has {'several buffers' if buffers else 'no commands'}: not one controller/buffer, nor all of "
        + ", ".join(groups),
        allowed=known,
        remedy="name the topic of the commands, or `states` to take the measured positions of the next step as actions",
    )


def from_bag(bag: BagReader, topics: Iterable[str]) -> Iterator[Stamped]:
    """A bag's messages of some topics, deserialised only when they are needed."""
    for message in bag.messages(topics):
        read = lambda message=message: bag.deserialise(message)
        yield Stamped(message.topic, message.log_ns, bag.stamp_ns(message) or 0, read)


class Resampler:
    """Makes rows of one recording; memory holds the messages of about a second.

    Args:
        contract: The robot.
        messages: The recording, by log time.
        commands: Topics of the commands; () for the measured positions.
        task: Instruction of all rows.
        settings: How.

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
    ) -> None:
        self.findings = Findings()
        self._contract, self._messages, self._task, self._settings = contract, messages, task, settings
        self._commands = commands
        self._period_ns = round(NS / contract.rate_hz)
        self._rows = contract_rows.RowEncoder(contract)
        self._cameras = {camera.topic: camera for camera in contract.cameras}
        self._restart()

    def pieces(self) -> Iterator[Iterator[Frame]]:
        """The rows of each uncut piece; read each to its end before the next.

        Raises:
            BeingHError: A gap when gaps are refused, or a message that does not fit the contract.
        """
        ticks = self._ticks()
        for first in ticks:
            if first is not None:
                head, rest = [first], _until_none(ticks)
                for frame in rest:
                    head.append(frame)
                    if len(head) >= self._settings.min_frames:
                        break
                if len(head) < self._settings.min_frames:
                    self.findings.short += 1
                else:
                    yield _chain(head, rest)
                    for _ in rest:
                        pass

    def _restart(self) -> None:
        """Nothing has been received."""
        age = self._settings.max_age_s
        self._images = {c.topic: StreamBuffer(c.topic, age or c.max_age_s, _DEPTH) for c in self._contract.cameras}
        joints: dict[str, list[str]] = {}
        for signal in self._contract.state:
            joints.setdefault(signal.topic, []).extend(signal.joints)
        if not self._commands:
            joints.setdefault(self._contract.joint_state_topics[0], []).extend(self._contract.joint_names)
        self._histories = {topic: JointHistory(dict.fromkeys(names), _DEPTH) for topic, names in joints.items()}
        self._states = [
            JointStream(f"state.{s.slot} ({s.topic})", age or s.max_age_s, s.joints, self._histories[s.topic])
            for s in self._contract.state
        ]
        names, longest = (
            self._contract.joint_names,
            age or max((s.max_age_s for s in self._contract.state), default=0.25),
        )
        self._command_history = (
            JointHistory(names, _DEPTH) if self._commands else self._histories[self._contract.joint_state_topics[0]]
        )
        self._command = JointStream("commands", longest, names, self._command_history)
        self._streams = [*self._images.values(), *self._states, self._command]
        self._newest: dict[str, int] = {}
        self._first: dict[str, int] = {}
        self._tick_ns: int | None = None
        self._begun_ns, self._count = 0, 0

    def _ticks(self) -> Iterator[Frame | None]:
        """Rows, and None where the recording is cut."""
        before: _Tick | None = None
        for message in self._messages:
            jump = self._push(message)
            if jump:
                self._gap(jump)
                self._restart()
                self._push(message)
                before = None
                yield None
            while self._is_due():
                before, row = self._row(before)
                yield from row
        silent = [stream.name for stream in self._streams if stream.latest() is None]
        if self._tick_ns is None and not silent:
            self._begin()
        elif self._tick_ns is None:
            self._gap(f"no row could be made: nothing from {', '.join(silent)}")
        while self._tick_ns is not None and self._tick_ns <= min(self._stamps()):
            before, row = self._row(before)
            yield from row

    def _row(self, before: _Tick | None) -> tuple[_Tick | None, list[Frame | None]]:
        """Evaluates the tick: (it as the one before the next, the finished row before it or the mark of a cut)."""
        tick_ns, self._count = self._tick_ns, self._count + 1
        self._tick_ns = self._begun_ns + round(self._count * NS / self._contract.rate_hz)
        samples, problem = self._sample(tick_ns)
        for stream in self._images.values():
            stream.drop_before(tick_ns - self._period_ns)
        if problem:
            if before is not None or not self.findings.gaps:
                self._gap(f"{problem} at {(tick_ns - self._begun_ns) / NS:.3f} s")
            self._rows.restart()
            return None, [None]
        if samples is None:
            self.findings.dropped += 1
            return before, []
        command = samples.pop(self._command.name).value
        row = [] if before is None else [before.row(self._rows.action(before.command_J, command), self._task)]
        positions: dict[str, float] = {}
        for stream in self._states:
            positions.update(zip(stream.joints, samples[stream.name].value.tolist()))
        pictures = {IMAGES + camera.name: samples[topic].value() for topic, camera in self._cameras.items()}
        return _Tick(tick_ns, command, self._rows.state(positions), pictures), row

    def _sample(self, tick_ns: int) -> tuple[dict[str, Sample] | None, str | None]:
        """(each stream's sample, what is missing); (None, None) for a tick to leave out."""
        found, fresh = {}, True
        for stream in self._streams:
            near = self._settings.method == "nearest"
            sample = stream.nearest(tick_ns) if near else stream.at(tick_ns)
            age_ns = None if sample is None else abs(tick_ns - sample.stamp_ns)
            if age_ns is None or age_ns > stream.max_age_s * NS:
                last = "nothing" if sample is None else f"nothing for more than {stream.max_age_s:g} s"
                return None, f"{stream.name}: {last}"
            fresh = fresh and (age_ns < self._period_ns or stream is self._command)
            found[stream.name] = sample
        return (None, None) if self._settings.method == "drop" and not fresh else (found, None)

    def _push(self, message: Stamped) -> str | None:
        """Adds a message to its stream; what is wrong with its clock, None when nothing is."""
        stamp_ns = message.stamp_ns
        if stamp_ns == 0:
            stamp_ns, self.findings.without_stamp = message.log_ns, self.findings.without_stamp + 1
        newest = self._newest.get(message.topic, stamp_ns)
        if stamp_ns < newest - _BACK_NS:
            return f"{message.topic}: its clock went back by {(newest - stamp_ns) / NS:.3f} s"
        self._newest[message.topic] = max(newest, stamp_ns)
        self._first[message.topic] = min(self._first.get(message.topic, stamp_ns), stamp_ns)
        if message.topic in self._cameras:
            camera = self._cameras[message.topic]
            buffer = self._images[message.topic]
            buffer.push(stamp_ns, _Picture(message.read, camera))
            if self._tick_ns is None:  # another stream has said nothing yet; memory must not grow until it does
                buffer.drop_before(stamp_ns - round(buffer.max_age_s * NS) - _PATIENCE_NS)
        if message.topic in self._histories or message.topic in self._commands:
            content = message.read()
            positions = contract_rows.joint_positions(content)
            if message.topic in self._histories:
                self._histories[message.topic].push(stamp_ns, positions)
            if message.topic in self._commands:
                due_ns = stamp_ns + contract_rows.delay_ns(content)
                self._command_history.push(due_ns, positions)
        if self._tick_ns is None and self._may_begin():
            self._begin()
        return None

    def _begin(self) -> None:
        """The first tick on the commands' ticks for which every stream has a sample."""
        low, high = max(self._first.values()), max(self._newest.values())
        anchor_ns = self._command.latest().stamp_ns if self._commands else low
        count = -((anchor_ns - low) * round(self._contract.rate_hz * 1000) // (NS * 1000))
        tick = lambda: anchor_ns + round(count * NS / self._contract.rate_hz)
        while tick() < low or (tick() < high and any(stream.at(tick()) is None for stream in self._streams)):
            count += 1
        self._tick_ns = self._begun_ns = tick()

    def _may_begin(self) -> bool:
        """Whether every stream has said something, and nothing earlier can come."""
        if any(stream.latest() is None for stream in self._streams):
            return False
        return max(self._newest.values()) - max(self._first.values()) > _PATIENCE_NS

    def _stamps(self) -> list[int]:
        """Of each stream's newest sample [ns]."""
        return [stream.latest().stamp_ns for stream in self._streams]

    def _is_due(self) -> bool:
        """Whether nothing more can come for the tick: all streams have gone past it, or one is too late anyway."""
        if self._tick_ns is None:
            return False
        stamps, needed = self._stamps(), self._tick_ns
        if min(stamps) > needed:
            return True
        late = max(stream.max_age_s for stream, stamp in zip(self._streams, stamps) if stamp <= needed)
        return max(self._newest.values()) > needed + round(late * NS) + _PATIENCE_NS

    def _gap(self, text: str) -> None:
        if self._settings.on_gap == "refuse":
            raise BeingHError(
                f"the recording has a gap: {text}",
                remedy="record again, allow a larger --max-age, or let gaps cut episodes (--on-gap cut)",
            )
        self.findings.gaps.append(text)


@dataclass(frozen=True)
class _Tick:
    """A tick whose action is known with the next one."""

    stamp_ns: int
    command_J: np.ndarray
    state_D: np.ndarray
    pictures: dict[str, np.ndarray]

    def row(self, action_D: np.ndarray, task: str) -> Frame:
        vectors = {STATE: self.state_D, ACTION: action_D}
        return Frame(vectors=vectors, images=self.pictures, task=task, stamp_ns=self.stamp_ns)


class _Picture:
    """A picture that is made of its message when it is wanted, once."""

    def __init__(self, read: Callable[[], Any], camera) -> None:
        self._read, self._camera = read, camera
        self._pixels: np.ndarray | None = None

    def __call__(self) -> np.ndarray:
        if self._pixels is None:
            self._pixels = contract_rows.picture(self._read(), self._camera)
            self._read = None
        return self._pixels


def _until_none(ticks: Iterator[Frame | None]) -> Iterator[Frame]:
    for frame in ticks:
        if frame is None:
            return
        yield frame


def _chain(head: list[Frame], rest: Iterator[Frame]) -> Iterator[Frame]:
    while head:
        yield head.pop(0)
    yield from rest
