"""Reads a bag once, from its first message to its last, into an episode's facts; memory holds no pictures but small ones."""

from __future__ import annotations

from array import array
from pathlib import Path
from typing import Any

import numpy as np

from beingh_core.contract import RobotContract
from beingh_core.data.bag_files import full_name, open_bag
from beingh_core.data.bags.message import header_of, text_of
from beingh_core.data.doctor import clocks, known_contract
from beingh_core.data.doctor.bag_views import CameraTopic, is_camera
from beingh_core.data.doctor.epochs import STATE, STATE_TYPE, Epochs
from beingh_core.data.doctor.events import Events
from beingh_core.data.doctor.facts import (
    CAMERA,
    COMMANDS,
    FAULT,
    FLAW,
    JOINTS,
    NOTE,
    OTHER,
    EpisodeFacts,
    Finding,
    Stream,
)
from beingh_core.data.doctor.positions import Positions
from beingh_core.data.said_tasks import INSTRUCTION
from beingh_core.errors import BeingHError

EVENTS, IN_CHARGE, BUFFER, CHUNK = "record/events", "record/in_charge", "controller/buffer", "policy/chunk"
_JOINT_STATE, _TRAJECTORY = "sensor_msgs/msg/JointState", "trajectory_msgs/msg/JointTrajectory"
LONGEST_S = 86_400.0  # an episode that lasts longer has log times that are wrong
_LARGEST = 2**63 - 1


def read_bag(
    path: Path, contract: RobotContract | None = None, namespace: str = "", progress=lambda share: None
) -> EpisodeFacts:
    """The facts of a bag.

    Args:
        path: Directory or file.
        contract: Robot; None takes the one that the bag brings along, if any.
        namespace: In which its nodes were recorded; "" looks where the events are.
        progress: Called now and then with how much has been read, 0 to 1.

    Raises:
        BeingHError: Nothing in it can be read.
    """
    with open_bag(path) as bag:
        return _Reading(path, bag, contract, namespace).run(progress)


class _Reading:
    """One pass over a bag."""

    def __init__(self, path: Path, bag, contract: RobotContract | None, namespace: str) -> None:
        self._bag = bag
        self._facts = EpisodeFacts(name=path.resolve().name, source=str(path), kind="bag")
        self._events_topic = next((name for name in bag.topics if ("/" + name).endswith("/" + EVENTS)), "")
        self._namespace = namespace or self._events_topic.removesuffix(EVENTS).strip("/")
        self._in_charge_topic, self._instruction_topic = self._full(IN_CHARGE), self._full(INSTRUCTION)
        self._events, self._epochs = Events(bag.custom), Epochs()
        self._buffer_topic, self._state_topic = self._full(BUFFER), self._full(STATE)
        if self._state_topic in bag.topics and bag.topics[self._state_topic].type != STATE_TYPE:
            self._state_topic = ""
        self._contract = contract
        if contract is None:
            self._contract = self._brought()
        self._facts.judged_by = self._contract.robot if self._contract else ""
        self._streams = self._known_streams()
        self._times = {name: array("q") for name in bag.topics}
        self._stamps = {name: array("q") for name in bag.topics if bag.types.has_header(bag.topics[name])}

    def _full(self, name: str) -> str:
        return full_name(name, self._namespace)

    def _brought(self) -> RobotContract | None:
        """The contract in the bag's first event."""
        for message in self._bag.messages([self._events_topic] if self._events_topic else []):
            contract, why = known_contract.from_text(Events.contract_in(text_of(message.data)))
            if why:
                self._facts.findings.append(Finding(kind="contract", weight=NOTE, text=why))
            return contract
        return None

    def _known_streams(self) -> dict[str, Stream]:
        """Every topic, with its role; those that the contract wants and the bag lacks are found missing."""
        streams = {name: Stream(name=name, type=t.type, count=t.count) for name, t in self._bag.topics.items()}
        for stream in streams.values():
            if is_camera(stream.type):
                stream.role = CAMERA
            elif stream.type == _JOINT_STATE:
                stream.role = JOINTS
            elif stream.type == _TRAJECTORY and not stream.name.endswith(CHUNK):
                stream.role = COMMANDS
        if self._contract is None:
            return streams
        wanted = {self._full(c.topic): (CAMERA, c.max_age_s, c.type) for c in self._contract.cameras if not c.optional}
        wanted |= {self._full(s.topic): (JOINTS, s.max_age_s, s.type) for s in self._contract.state}
        for name, (role, max_age_s, kind) in wanted.items():
            if name not in streams or not streams[name].count:
                text = "is not in the bag, and the contract needs it" if name not in streams else "has no message"
                self._found("missing", FAULT, text, name)
            else:
                streams[name].max_age_s = max_age_s
                streams[name].role = role if streams[name].role == OTHER else streams[name].role
                if streams[name].type != kind:
                    self._found("type", FAULT, f"is {streams[name].type}, the contract says {kind}", name)
        groups = [self._full(group.topic) for group in self._contract.command_groups]
        sent = [n for n in [self._full(BUFFER), *groups] if n in streams and streams[n].count]
        if not sent:
            text = "no commands: neither the controller's buffer nor the driver's topics"
            self._found("missing", FLAW, text, self._full(BUFFER))
        return streams

    def _found(self, kind: str, weight: str, text: str, topic: str = "") -> None:
        self._facts.findings.append(Finding(kind=kind, weight=weight, text=text, topic=topic))

    def run(self, progress) -> EpisodeFacts:
        """Reads everything."""
        cameras = {
            name: CameraTopic(self._bag, name, self._contract, self._full)
            for name, stream in self._streams.items()
            if stream.role == CAMERA and is_camera(stream.type)
        }
        positions = Positions(self._bag, self._contract, self._full, self._streams)
        base_ns = self._bag.start_ns
        span_ns = max(1, self._bag.end_ns - base_ns)
        for number, message in enumerate(self._bag.messages()):
            log_ns = min(message.log_ns, _LARGEST)
            self._times[message.topic].append(log_ns)
            stamps = self._stamps.get(message.topic)
            if stamps is not None:
                stamp_ns, frame = header_of(message.data)
                stamps.append(stamp_ns)
                if message.topic == self._buffer_topic:
                    self._epochs.tick(log_ns, frame)
            if message.topic in cameras:
                cameras[message.topic].take(log_ns * 1e-9, message)
            elif message.topic in positions.topics:
                positions.take(log_ns, message)
            elif message.topic == self._events_topic:
                if self._events.take(log_ns, text_of(message.data)):
                    for camera in cameras.values():
                        camera.looker.look()
            elif message.topic == self._instruction_topic:
                self._events.instruct(text_of(message.data))
            elif message.topic == self._in_charge_topic:
                self._events.tick(log_ns, header_of(message.data)[1])
            elif message.topic == self._state_topic:
                self._state(log_ns, message)
            if number % 500 == 0:
                progress((message.log_ns - base_ns) / span_ns)
        self._finish(cameras, positions)
        return self._facts

    def _state(self, log_ns: int, message: Any) -> None:
        try:
            self._epochs.state(log_ns, self._bag.deserialise(message))
        except BeingHError:
            return  # of damaged messages only the commands' own epochs are left

    def _finish(self, cameras: dict[str, CameraTopic], positions: Positions) -> None:
        facts = self._facts
        begin_ns, end_ns = self._main_part()
        facts.duration_s = (end_ns - begin_ns) * 1e-9
        for name, stream in self._streams.items():
            logs = np.frombuffer(self._times[name], np.int64)
            inside = (logs >= begin_ns) & (logs <= end_ns)
            stream.count, stream.times_s = len(logs), (logs[inside] - begin_ns) * 1e-9
            if name in self._stamps:
                stream.stamps_ns = np.frombuffer(self._stamps[name], np.int64)[inside]
            if len(logs) > inside.sum():
                self._found(
                    "log_time", FAULT, f"{len(logs) - inside.sum()} messages more than a day away from the others", name
                )
        facts.streams = list(self._streams.values())
        facts.views = [camera.finish(begin_ns * 1e-9, facts.duration_s, facts.findings) for camera in cameras.values()]
        facts.curves = positions.curves(begin_ns, end_ns, facts.findings)
        self._events.into(facts, begin_ns, end_ns)
        facts.pauses = self._epochs.pauses(begin_ns, end_ns)
        if not self._events.started:
            facts.begin_s = clocks.all_there_s(facts.streams, facts.duration_s)
        facts.robot = facts.robot or facts.judged_by
        for text in self._bag.findings:
            self._found("damage", FLAW, text)
        if not sum(stream.count for stream in facts.streams):
            self._found("empty", FAULT, "it holds no message")

    def _main_part(self) -> tuple[int, int]:
        """Log times between which the episode lies: all of them, without those that are days away."""
        logs = np.concatenate([np.frombuffer(times, np.int64) for times in self._times.values()] or [np.zeros(0)])
        if not len(logs):
            return 0, 0
        if float(logs.max()) - float(logs.min()) > LONGEST_S * 1e9:
            middle = int(np.partition(logs, len(logs) // 2)[len(logs) // 2])
            near = np.abs(logs.astype(np.float64) - middle) <= LONGEST_S / 2 * 1e9
            logs = logs[near]
        return int(logs.min()), int(logs.max())
