"""The streams of a recording at a time: the buffers, message readers and calibrations of the live nodes, in bag time."""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import numpy as np

from beingh_core.contract import CameraStream, RobotContract
from beingh_core.contract.state_messages import StateMessages
from beingh_core.data.camera_reader import CameraReader, lens_of
from beingh_core.data.command_messages import CommandMessages, epoch_of
from beingh_core.data.in_charge import CHARGE, EVENTS, InChargeLog, event_of
from beingh_core.data.phase import ROUNDING_NS, phase_of
from beingh_core.data.views import Lens
from beingh_core.errors import BeingHError
from beingh_core.realtime.streams import JointHistory, JointStream, Sample, StreamBuffer

NS = 1_000_000_000
DEPTH = 1 << 14
_PHASE_OF = 64  # newest commands from which the ticks are known
PATIENCE_NS = NS // 2  # how much later than its age allows a message may stand in the bag
LONGEST_HOLD_NS = NS  # a controller whose ticks are held up for longer stops
_SAME = 1e-6  # commands that differ by less are one [rad or m]
_BACK_NS = NS  # stamps that go back further are another clock


class Stamped(NamedTuple):
    """One message of a recording, in the order of log times.

    Attributes:
        topic: its topic.
        log_ns: when it was recorded [ns].
        stamp_ns: its header's time [ns]; 0 when that is empty, None for a type without header.
        read: gives the message with its fields; called once at most.
    """

    topic: str
    log_ns: int
    stamp_ns: int | None
    read: Callable[[], Any]


class Epoch(NamedTuple):
    """A new epoch of the controller.

    Attributes:
        first_ns: when its first command is due [ns].
        before_ns: when the last one of the epoch before it is [ns].
        held: whether the robot holds that one until the first.
    """

    first_ns: int
    before_ns: int
    held: bool = False


@dataclass
class Findings:
    """What happened to a recording.

    Attributes:
        gaps: where it was cut and why, in words.
        held: where it was not, since a command was held until the next epoch of the controller, in words.
        dropped: ticks that `drop` left out.
        without_stamp: messages whose log time stood in for a missing stamp.
        short: pieces that were too short.
        not_finite: state messages and commands with numbers that are none, which were left out.
        uncalibrated: pictures that came before the calibration that they need.
        blank: black pictures in place of those of optional cameras.
        others: rows of others than the wanted ones.
    """

    gaps: list[str] = field(default_factory=list)
    held: list[str] = field(default_factory=list)
    dropped: int = 0
    without_stamp: int = 0
    short: int = 0
    not_finite: int = 0
    uncalibrated: int = 0
    blank: int = 0
    others: int = 0


class Picture:
    """What a camera's message shows, made when it is wanted, once."""

    def __init__(self, read: Callable[[], Any], reader: CameraReader, lens: Lens | None, with_depth: bool) -> None:
        self._read, self._reader, self._lens, self._with_depth = read, reader, lens, with_depth
        self._made: tuple[np.ndarray, np.ndarray | None] | None = None

    def __call__(self) -> tuple[np.ndarray, np.ndarray | None]:
        """(the picture as the policy sees it, uint16 (H, W) depth where it is wanted)."""
        if self._made is None:
            message = self._read()
            if self._lens is not None:
                self._reader.calibrate(self._lens)
            depth = self._reader.depth(message) if self._with_depth else None
            self._made = self._reader.pixels(message), depth
            self._read = None
        return self._made


class Recorded:
    """All streams of a recording; memory holds the messages of about a second.

    Args:
        contract: The robot.
        commands: Topics of the commands; () for the measured positions.
        max_age_s: Largest age of a sample [s]; None for each stream's in the contract.
        depth: Whether the depth of depth cameras is wanted beside their pictures.
        findings: What happened, filled here.

    Attributes:
        cameras: View -> stream of `Picture`.
        optional: Views of optional cameras.
        states: Streams of the state signals' numbers.
        command: Stream of the commands.
        needed: The streams without which there is no row.
        charge: Who was in charge.
        events: (stamp [ns], event) of the recorder.
    """

    def __init__(
        self,
        contract: RobotContract,
        commands: tuple[str, ...],
        max_age_s: float | None,
        depth: bool,
        findings: Findings,
    ) -> None:
        self._findings, self._commands = findings, commands
        self._depth = depth
        age = max_age_s
        self.cameras = {c.name: StreamBuffer(c.topic, age or c.max_age_s, DEPTH) for c in contract.cameras}
        self.optional = frozenset(camera.name for camera in contract.cameras if camera.optional)
        self._readers = {camera.name: CameraReader(camera) for camera in contract.cameras}
        self._by_topic: dict[str, list[CameraStream]] = {}
        self._by_lens: dict[str, list[CameraStream]] = {}
        for camera in contract.cameras:
            self._by_topic.setdefault(camera.topic, []).append(camera)
            if camera.undistort:
                self._by_lens.setdefault(camera.undistort, []).append(camera)
        self._spare = {topic for topic, those in self._by_topic.items() if all(c.optional for c in those)}
        self._lenses: dict[str, Lens] = {}
        self._messages = {topic: StateMessages(contract, topic) for topic in contract.state_topics}
        values: dict[str, list[str]] = {topic: [] for topic in contract.state_topics}
        for signal in contract.state:
            values[signal.topic].extend(signal.values)
        self._histories = {topic: JointHistory(dict.fromkeys(names), DEPTH) for topic, names in values.items()}
        self.states = [
            JointStream(f"state.{s.slot} ({s.topic})", age or s.max_age_s, s.values, self._histories[s.topic])
            for s in contract.state
        ]
        longest = age or max((s.max_age_s for s in contract.state), default=0.25)
        self._command_messages = CommandMessages(contract)
        self._command_history = JointHistory(contract.joint_names, DEPTH)
        self._home = {j: s.topic for s in contract.state for j in (s.wire.joints if s.wire else s.joints)}
        self._measured = () if commands else contract.joint_state_topics
        for topic in self._measured:
            self._messages.setdefault(topic, StateMessages(contract, topic))
        self.command = JointStream("commands", longest, contract.joint_names, self._command_history)
        self.needed = [*(b for n, b in self.cameras.items() if n not in self.optional), *self.states, self.command]
        self.charge = InChargeLog(round(2 * NS / contract.rate_hz))
        self.events: list[tuple[int, dict[str, Any]]] = []
        self._newest: dict[str, int] = {}
        self._first: dict[str, int] = {}
        self._period_ns = NS / contract.rate_hz
        self._epochs: deque[Epoch] = deque()
        self._may_hold = not contract.limits.is_velocity.any()  # a base rests where no command comes
        self._due: deque[int] = deque(maxlen=_PHASE_OF)
        self._epoch: tuple[int, int] | None = None
        self._last_due_ns = 0

    def clear(self) -> None:
        """Nothing has been received but calibrations and events: another clock begins."""
        for stream in (*self.cameras.values(), *self.states, self.command):
            stream.clear()
        self.charge.clear()
        self._newest, self._first = {}, {}
        self._epochs.clear()
        self._due.clear()
        self._epoch = None

    @staticmethod
    def topics(contract: RobotContract, commands: tuple[str, ...]) -> set[str]:
        """Topics without which there are no rows, of a recording whose commands are on these."""
        found = {camera.topic for camera in contract.cameras if not camera.optional} | set(contract.state_topics)
        found |= {camera.undistort for camera in contract.cameras if camera.undistort and not camera.optional}
        return found | set(commands or contract.joint_state_topics)

    @staticmethod
    def more_topics(contract: RobotContract) -> set[str]:
        """Topics that are read where they are there."""
        found = {c.topic for c in contract.cameras} | {c.undistort for c in contract.cameras if c.undistort}
        return found | {EVENTS, CHARGE}

    def push(self, message: Stamped, begun: bool) -> str | None:
        """Adds a message to its streams; what is wrong with its clock, None when nothing is.

        Args:
            message: The next one of the recording.
            begun: Whether rows are being made; until then pictures that are too old for any are forgotten.
        """
        if message.topic == EVENTS:
            event = event_of(message.read().data)
            if event:
                self.events.append((event["stamp_ns"], event))
            return None
        stamp_ns = message.log_ns if message.stamp_ns is None else message.stamp_ns
        if message.topic == CHARGE:
            header = message.read()
            self.charge.push(header.stamp.sec * NS + header.stamp.nanosec, header.frame_id)
            return None
        if message.topic in self._by_lens:
            self._calibrate(message)
            return None
        if stamp_ns == 0:
            stamp_ns = message.log_ns
            self._findings.without_stamp += 1
        newest = self._newest.get(message.topic, stamp_ns)
        if stamp_ns < newest - _BACK_NS:
            return f"{message.topic}: its clock went back by {(newest - stamp_ns) / NS:.3f} s"
        self._newest[message.topic] = max(newest, stamp_ns)
        if message.topic not in self._spare:
            self._first[message.topic] = min(self._first.get(message.topic, stamp_ns), stamp_ns)
        for camera in self._by_topic.get(message.topic, ()):
            self._push_picture(camera, stamp_ns, message.read, begun)
        if message.topic in self._messages or message.topic in self._commands:
            self._push_numbers(message.topic, stamp_ns, message.read())
        return None

    def active(self) -> list[StreamBuffer | JointStream]:
        """The needed streams, and those of optional cameras that have sent something."""
        return [*self.needed, *(s for n, s in self.cameras.items() if n in self.optional and s.latest() is not None)]

    def span(self) -> tuple[int, int]:
        """(when the last topic began, the newest stamp of all) [ns]."""
        return max(self._first.values()), max(self._newest.values())

    def next_epoch(self) -> Epoch | None:
        """The controller's epoch after the present one; None while there is none."""
        return self._epochs[0] if self._epochs else None

    def goes_on(self) -> bool:
        """Whether the next epoch begins with the last command of this one, soon: a tick was late, and nothing was lost."""
        epoch = self._epochs[0]
        last, first = self.command.at(epoch.before_ns), self.command.at(epoch.first_ns)
        if not self._may_hold or last is None or first is None:
            return False
        soon = self._period_ns / 2 <= epoch.first_ns - epoch.before_ns <= LONGEST_HOLD_NS
        return soon and bool(np.all(np.abs(first.value - last.value) <= _SAME))

    def hold(self, ticks_ns: list[int]) -> None:
        """Hold the last command until the next epoch, which goes on from it.

        Args:
            ticks_ns: Ticks of this epoch for which it holds, behind that of the command [ns].
        """
        epoch = self._epochs[0]
        last = self.command.at(epoch.before_ns)
        for tick_ns in (*ticks_ns, epoch.first_ns - round(self._period_ns)):
            self._command_history.push(tick_ns, dict(zip(self.command.joints, last.value.tolist())))
        self._epochs[0] = epoch._replace(before_ns=max((epoch.before_ns, *ticks_ns)), held=True)

    def begin_epoch(self) -> int:
        """Go over to the next epoch; commands before it are forgotten but for a held one. When its first is due [ns]."""
        first_ns, _, held = self._epochs.popleft()
        self._command_history.drop_before(first_ns - (round(self._period_ns) if held else 0) - ROUNDING_NS)
        while self._due and self._due[0] < first_ns - ROUNDING_NS:
            self._due.popleft()
        return first_ns

    def phase_ns(self) -> int:
        """A time on the ticks of the present epoch's commands [ns]."""
        end_ns = self._epochs[0].first_ns if self._epochs else math.inf
        own = [due_ns for due_ns in self._due if due_ns < end_ns]
        return phase_of(own or list(self._due), self._period_ns)

    def drop_before(self, stamp_ns: int) -> None:
        """Forgets pictures that no row at or after a time can show."""
        for stream in self.cameras.values():
            stream.drop_before(stamp_ns)

    def picture(self, view: str, sample: Sample | None, size: tuple[int, int]) -> tuple[np.ndarray, np.ndarray | None]:
        """What a camera shows; where an optional one is silent black, of (height, width), as the policy sees it then."""
        if sample is not None:
            return sample.value()
        self._findings.blank += 1
        return np.zeros((*size, 3), np.uint8), np.zeros(size, np.uint16)

    def _push_picture(self, camera: CameraStream, stamp_ns: int, read: Callable[[], Any], begun: bool) -> None:
        lens, buffer = self._lenses.get(camera.name), self.cameras[camera.name]
        if camera.undistort and lens is None:
            self._findings.uncalibrated += 1
            return
        with_depth = self._depth and bool(camera.depth)
        buffer.push(stamp_ns, Picture(read, self._readers[camera.name], lens, with_depth))
        if not begun:  # another stream has said nothing yet; memory must not grow until it does
            buffer.drop_before(stamp_ns - round(buffer.max_age_s * NS) - PATIENCE_NS)

    def _push_numbers(self, topic: str, stamp_ns: int, content: Any) -> None:
        if topic in self._messages:
            read = self._messages[topic].read(content, stamp_ns)
            measured_ns, positions = read.stamp_ns or stamp_ns, self._finite(read.positions)
            if topic in self._histories:
                self._histories[topic].push(measured_ns, positions)
            if topic in self._measured:
                self._command_history.push(measured_ns, self._own(topic, positions))
        if topic in self._commands:
            delay_ns, positions = self._command_messages.read(topic, content)
            self._note_due(topic, stamp_ns + delay_ns, epoch_of(content))
            self._command_history.push(stamp_ns + delay_ns, self._finite(positions))

    def _note_due(self, topic: str, due_ns: int, epoch: tuple[int, int] | None) -> None:
        """When a command is due, and whether a new epoch begins with it; of the base's part that is known already."""
        self._due.append(due_ns)
        if topic != self._commands[0] or epoch is None or (self._epoch is not None and epoch < self._epoch):
            return
        if self._epoch not in (None, epoch):
            self._epochs.append(Epoch(due_ns, self._last_due_ns))
            self._last_due_ns = due_ns
        self._epoch, self._last_due_ns = epoch, max(self._last_due_ns, due_ns)

    def _own(self, topic: str, positions: dict[str, float]) -> dict[str, float]:
        """The joints that are taken from a topic, as the controller does: a merged topic may repeat others' joints."""
        return {joint: value for joint, value in positions.items() if self._home.get(joint, topic) == topic}

    def _finite(self, positions: dict[str, float]) -> dict[str, float]:
        finite = {name: value for name, value in positions.items() if math.isfinite(value)}
        self._findings.not_finite += len(finite) < len(positions)
        return finite

    def _calibrate(self, message: Stamped) -> None:
        lens = lens_of(message.read())
        for camera in self._by_lens[message.topic]:
            try:
                self._readers[camera.name].calibrate(lens)
            except BeingHError:
                self._findings.uncalibrated += 1  # the one before stays
            else:
                self._lenses[camera.name] = lens
