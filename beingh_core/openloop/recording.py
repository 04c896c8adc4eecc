"""A recorded bag as a replay needs it: its messages in order, what was commanded at any tick, and by whom. No ROS here."""

from __future__ import annotations

import copy
import math
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from beingh_core.contract import RobotContract
from beingh_core.data.bag_files import HASH, ContractBag, full_name, open_bag
from beingh_core.data.bags.message import header_of
from beingh_core.data.command_messages import FROM_STATES, CommandMessages, command_topics
from beingh_core.data.phase import ROUNDING_NS as ON_TICK_NS
from beingh_core.data.phase import phase_of
from beingh_core.data.recorded import NS
from beingh_core.data.said_tasks import INSTRUCTION, said_in
from beingh_core.errors import BeingHError
from beingh_core.realtime.clock import TickClock, parse_epoch

# Commands that come at least so far apart are those of ticks, one each [periods].
ONE_A_TICK = 0.6
# Stamps of one tick on two clocks of one rate differ by rounding [ns].
ROUNDING_NS = 50
IN_CHARGE, BASE_BUFFER = "record/in_charge", "controller/base_buffer"
# Between two commands further apart than this nothing is known [periods]; measured positions may come less often.
GAP_PERIODS, GAP_STATES_S = 1.6, 0.3


def is_epoch(name: str) -> bool:
    """Whether a plan's frame_id names an epoch of the controller."""
    try:
        parse_epoch(name)
    except BeingHError:
        return False
    return True


@dataclass(frozen=True)
class Played:
    """One message to be published again: topic as in the contract, log time [ns], serialised."""

    topic: str
    log_ns: int
    data: bytes


class Recording:
    """A stretch of a bag under one contract: one epoch of the controller, or all of it where the bag tells no epochs.

    The bag is read once for this, and once more when it is played, which alone reads pictures. `recordings_of` makes them.

    Args:
        path: Bag.
        contract: Robot.
        namespace: In which its nodes were recorded.
        commands: Topic of the commands, "states" for the measured positions; "" looks for it.
        task: Instruction; "" for the bag's own.

    Attributes:
        name: Of the bag, with a number where it has several stretches.
        task: Instruction.
        notes: What people should know of it.
        streams: Topics of cameras and states that it has.
        begin_ns, end_ns: First tick at which every stream has spoken, and log time of the last message [ns].

    Raises:
        BeingHError: No bag, of another robot, or without cameras, joint states, commands or a task.
    """

    def __init__(
        self, path: Path, contract: RobotContract, *, namespace: str = "", commands: str = "", task: str = ""
    ) -> None:
        self.path, self.name = Path(path), Path(path).name
        self._contract, self._namespace = contract, namespace
        self._inputs = list(dict.fromkeys([c.topic for c in contract.cameras] + [s.topic for s in contract.state]))
        self._inputs += [topic for topic in contract.joint_state_topics if topic not in self._inputs]
        with open_bag(self.path) as bag:
            named = ContractBag(bag, contract, namespace)
            self._check(bag, named)
            self.streams = frozenset(topic for topic in self._inputs if topic in named.topics)
            self.notes = [f"{self.name}: {text}" for text in bag.findings]
            if bag.custom.get(HASH) not in (None, "", contract.hash):
                self.notes.append(f"{self.name}: recorded under another version of the contract of {contract.robot}")
            self._instruction = "" if task else full_name(INSTRUCTION, namespace)
            said = said_in(named, bag.custom)
            self.task = task or said.task
            if not task and said.stand_in:
                self.notes.append(f"{self.name}: its task is taken from {said.stand_in}: its metadata has none")
            if not self.task.strip():
                raise BeingHError("does not say its task", where=self.path, remedy="name it: --task TEXT")
            self._read_commands(bag, named, commands)
            self._read_in_charge(bag)
            self._first_ns = max(self._first_stamps(named))
            self._last_ns = bag.end_ns
        self._cut(-math.inf, math.inf)

    def stretches(self) -> list[Recording]:
        """One for each epoch of the recorded commands that is long enough; shorter ones are noted.

        Raises:
            BeingHError: None is.
        """
        marks = sorted(self._epochs)
        edges = [
            -math.inf,
            *(new for old, new in zip(marks, marks[1:]) if self._epochs[old] != self._epochs[new]),
            math.inf,
        ]
        found, longest = [], (0.0, "")
        for begin, end in zip(edges, edges[1:]):
            part = copy.copy(self)
            part._cut(begin, end)
            longest = max(longest, (part.seconds, self._epochs.get(int(begin if begin > 0 else (marks or [0])[0]), "")))
            if part.seconds >= self._shortest_s:
                found.append(part)
            elif len(edges) > 2:
                self.notes.append(f"{self.name}: an epoch of {max(0.0, part.seconds):.2f} s was left out: too short")
        if not found:
            raise BeingHError(
                f"its longest epoch{f' (`{longest[1]}`)' if longest[1] else ''} lasts {longest[0]:.2f} s with all streams "
                "and commands", where=self.path,
                allowed=f"at least {self._shortest_s:g} s, two chunks",
            )  # fmt: skip
        if len(found) > 1:
            for number, part in enumerate(found):
                part.name = f"{self.name}#{number}"
        return found

    @property
    def seconds(self) -> float:
        """How long it lasts [s]."""
        return (self.end_ns - self.begin_ns) / NS

    @property
    def _shortest_s(self) -> float:
        return 2 * self._contract.policy.chunk_length * self._contract.dt_s

    def _cut(self, begin_ns: float, end_ns: float) -> None:
        """Keep the commands of [begin, end) and the time in which there are any."""
        kept = {}
        for joint, (times, values) in self._read.items():
            own = (times >= begin_ns) & (times < end_ns)
            kept[joint] = times[own], values[own]
        self._commands = kept
        times = max((times for times, _ in kept.values()), key=len)
        if not len(times):
            self.begin_ns = self.end_ns = self._first_ns
            self._grid = TickClock(self._contract.rate_hz, self._first_ns)
            return
        self._grid = TickClock(self._contract.rate_hz, phase_of(times, NS / self._contract.rate_hz))
        self._commands = {joint: self._on_ticks(*pair) for joint, pair in kept.items()}
        self.begin_ns = self.tick_ns(self.tick_at_or_after(max(self._first_ns, int(times[0]))))
        self.end_ns = min(self._last_ns, int(times[-1]))

    def _on_ticks(self, times: np.ndarray, values: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Commands that come once a tick and do not stand on it, at log times for instance, each at the tick nearest to it."""
        period_ns = NS / self._contract.rate_hz
        if self._measured or len(times) < 2 or np.median(np.diff(times)) < ONE_A_TICK * period_ns:
            return times, values
        ticks = np.round((times - self._grid.start_ns) / period_ns).astype(np.int64)
        stamps = self._grid.stamps_ns(ticks)
        apart = np.abs(times - stamps)
        order = np.lexsort((apart, ticks))  # of several at one tick the nearest
        _, first = np.unique(ticks[order], return_index=True)
        chosen = order[first]
        return np.where(apart <= ON_TICK_NS, times, stamps)[chosen], values[chosen]

    def messages(self) -> Iterator[Played]:
        """Cameras, states, and instructions unless one was given, by log time."""
        with open_bag(self.path) as bag:
            topics = [*self._inputs, *filter(None, [self._instruction])]
            for message in ContractBag(bag, self._contract, self._namespace).messages(topics):
                yield Played(message.topic, message.log_ns, bytes(message.inner.data))

    def tick_ns(self, tick: int) -> int:
        """Time of a tick of the recorded commands; the first one at or after the bag's first command is 0 [ns]."""
        return self._grid.stamp_ns(tick)

    def tick_at_or_after(self, stamp_ns: int) -> int:
        """The first tick not before a time."""
        return self._grid.tick_at_or_after(stamp_ns - ROUNDING_NS)

    def commanded(self, stamps_ns: np.ndarray) -> np.ndarray:
        """(T, J) what was commanded at times (T,) [ns]: between two commands in a line, NaN where none is near."""
        rows = np.full((len(stamps_ns), len(self._contract.joint_names)), np.nan)
        for column, joint in enumerate(self._contract.joint_names):
            times, values = self._commands[joint]
            if len(times):
                after = np.searchsorted(times, stamps_ns)  # first at or after
                right, left = np.minimum(after, len(times) - 1), np.maximum(after - 1, 0)
                exact = times[right] == stamps_ns
                near = (times[right] - times[left] <= self._gap_ns) & (after > 0) & (after < len(times))
                at = np.interp((stamps_ns - times[0]).astype(float), (times - times[0]).astype(float), values)
                rows[:, column] = np.where(exact, values[right], np.where(near, at, np.nan))
        return rows

    def in_charge(self, stamps_ns: np.ndarray) -> np.ndarray:
        """(T,) who commanded the ticks at times (T,) [ns]; "" where the bag does not say."""
        times, names = self._charge
        if not len(times):
            return np.full(len(stamps_ns), "", dtype="<U8")
        right = np.minimum(np.searchsorted(times, stamps_ns), len(times) - 1)
        left = np.maximum(right - 1, 0)
        nearest = np.where(np.abs(times[left] - stamps_ns) < np.abs(times[right] - stamps_ns), left, right)
        close = np.abs(times[nearest] - stamps_ns) <= 0.75 * NS / self._contract.rate_hz
        return np.where(close, names[nearest], "")

    def _check(self, bag, named: ContractBag) -> None:
        have = sorted(bag.topics)
        robot = {topic: full_name(topic, self._namespace) for topic in self._inputs}
        optional = {camera.topic for camera in self._contract.cameras if camera.optional}
        missing = [full for topic, full in robot.items() if topic not in named.topics and topic not in optional]
        if missing:
            cameras = {robot[camera.topic] for camera in self._contract.cameras}
            what = "no cameras" if cameras <= set(missing) else f"no {', '.join(missing)}"
            raise BeingHError(
                f"has {what} as the contract of `{self._contract.robot}` names them: it is of another robot, or was recorded "
                "without them", where=self.path, allowed=have,
                remedy="give the contract that it was recorded with, or --namespace",
            )  # fmt: skip
        wanted = {camera.topic: camera.type for camera in self._contract.cameras}
        wanted |= {signal.topic: signal.type for signal in self._contract.state}
        for topic, kind in wanted.items():
            if topic in named.topics and bag.topics[robot[topic]].type != kind:
                raise BeingHError(
                    f"{robot[topic]} holds {bag.topics[robot[topic]].type}", where=self.path, allowed=kind,
                    remedy="give the contract that it was recorded with",
                )  # fmt: skip

    def _read_commands(self, bag, named: ContractBag, wanted: str) -> None:
        own = {full_name(topic, self._namespace): topic for topic in named.topics}
        topics = command_topics(self._contract, named.topics, own.get(wanted, wanted) or None)
        self._gap_ns = GAP_PERIODS * NS / self._contract.rate_hz
        self._measured = not topics
        if not topics:
            topics, self._gap_ns = tuple(self._contract.joint_state_topics), GAP_STATES_S * NS
            self.notes.append(f"{self.name}: compared with measured positions, as --commands {FROM_STATES} asks")
        found: dict[str, dict[int, float]] = {joint: {} for joint in self._contract.joint_names}
        self._epochs: dict[int, str] = {}
        reader = CommandMessages(self._contract)
        for message in named.messages(topics):
            content = named.deserialise(message)
            delay_ns, values = reader.read(message.topic, content)
            due_ns = (named.stamp_ns(message) or message.log_ns) + delay_ns
            epoch = getattr(getattr(content, "header", None), "frame_id", "")
            if is_epoch(epoch):
                self._epochs[due_ns] = epoch
            for joint, value in values.items():
                if joint in found and np.isfinite(value):
                    found[joint][due_ns] = value
        for message in bag.messages([full_name(BASE_BUFFER, self._namespace)]):
            content = bag.deserialise(message)
            for joint, value in base_velocities(content, self._contract).items():
                found[joint][bag.stamp_ns(message) or message.log_ns] = value
        lacking = [joint for joint, values in found.items() if not values]
        if len(lacking) == len(found):
            raise BeingHError(
                f"holds no commands of the joints of `{self._contract.robot}` on {', '.join(topics)}", where=self.path,
                allowed=self._contract.joint_names, remedy="name their topic: --commands TOPIC, or --commands states",
            )  # fmt: skip
        if lacking:
            self.notes.append(f"{self.name}: nothing commands {', '.join(lacking)}, so that no step can be compared")
        self._read = {}
        for joint, values in found.items():
            times = np.array(sorted(values), dtype=np.int64)
            self._read[joint] = times, np.array([values[time] for time in times.tolist()])

    def _read_in_charge(self, bag) -> None:
        told = {}
        for message in bag.messages([full_name(IN_CHARGE, self._namespace)]):
            stamp_ns, name = header_of(message.data)
            told[stamp_ns] = name
        times = np.array(sorted(told), dtype=np.int64)
        self._charge = times, np.array([told[time] for time in times.tolist()], dtype="<U8")
        if not told:
            self.notes.append(f"{self.name}: does not say who was in charge (record/in_charge)")

    def _first_stamps(self, named: ContractBag) -> list[int]:
        """Log times of the first message of every stream."""
        first: dict[str, int] = {}
        for message in named.messages(self._inputs):
            first.setdefault(message.topic, message.log_ns)
            if self.streams <= first.keys():
                return list(first.values())
        empty = sorted(self.streams - first.keys())
        raise BeingHError(f"holds no message on {', '.join(empty)}", where=self.path, remedy="record them too")


def base_velocities(message: Any, contract: RobotContract) -> dict[str, float]:
    """Velocity columns of a mobile base -> first value of a MultiDOFJointTrajectory [m/s or rad/s]; {} when it holds none."""
    drivers = [driver for driver in contract.drivers if driver.is_velocity]
    if not message.points or not message.points[0].velocities:
        return {}
    twist, found = message.points[0].velocities[0], {}
    for driver in drivers:
        for joint, path in zip(driver.joints, driver.options["axes"]):
            part, axis = path.split(".")
            found[joint] = float(getattr(getattr(twist, part), axis))
    return found


def recordings_of(
    path: Path, contract: RobotContract, *, namespace: str = "", commands: str = "", task: str = ""
) -> tuple[list[Recording], list[str]]:
    """The stretches of a bag that can be replayed, and what people should know of it; arguments as for `Recording`.

    Raises:
        BeingHError: See `Recording`; or no stretch is long enough.
    """
    bag = Recording(path, contract, namespace=namespace, commands=commands, task=task)
    found = bag.stretches()
    return found, bag.notes
