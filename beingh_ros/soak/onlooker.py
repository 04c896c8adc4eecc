"""What the harness receives: commands, plans, accepted chunks, states, joint states and contacts, each with the time it was sent.

It takes nothing from the controller but messages. Its subscriptions are reliable and deep; what it loses all the same
shows in the numbers of the messages.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from diagnostic_msgs.msg import DiagnosticArray, DiagnosticStatus
from rclpy.node import Node
from rclpy.qos import DurabilityPolicy, QoSProfile
from sensor_msgs.msg import JointState
from std_msgs.msg import Header
from trajectory_msgs.msg import JointTrajectory
from visualization_msgs.msg import MarkerArray

from beingh_core.contract import RobotContract
from beingh_core.contract.schema import DriverGroup
from beingh_core.errors import BeingHError
from beingh_core.evaluate.motion import Touch
from beingh_core.evaluate.stops import StopReport
from beingh_core.evaluate.wire import WireLog
from beingh_ros.demo.observer import in_contract, positioned
from beingh_ros.messages.conversions import Trajectory, read_trajectory, stamp_to_ns
from beingh_ros.messages.diagnostics import read_status
from beingh_ros.messages.state_messages import StateReader
from beingh_ros.messages.topics import CONTACTS_TOPIC
from beingh_ros.nodes.sim_contacts import contact_force
from beingh_ros.soak.injector import ACCEPTED, BUFFER, CHUNK
from beingh_ros.soak.seen import Seen
from beingh_ros.soak.streams import streams_of

DEEP = QoSProfile(depth=5000)
LATCHED = QoSProfile(depth=50, durability=DurabilityPolicy.TRANSIENT_LOCAL)
STOPPED_STATES, RUNNING = ("stopping", "stopped"), "running"


@dataclass(frozen=True, kw_only=True)
class StateNote:
    """One report of the controller: what it does and why, in which epoch, since when on its clock, and when that was
    received and sent [ns]."""

    state: str
    cause: str
    reason: str
    epoch: str
    stamp_ns: int
    received_ns: int
    sent_ns: int


class Onlooker:
    """Subscribes and keeps. The executor's thread writes, any thread reads.

    Args:
        node: Owner of the subscriptions.
        contract: Robot.
        received: Called after every message.

    Attributes:
        seen: The joints whose ticks are judged.
        log: Commands, plans and chunks of these.
        streams: Commands that are no trajectories.
        plans: (when each plan was sent [ns], what it sends the `planned_joints` to next).
        states: Every report of the controller's state.
        joint_states: (time measured [ns], (J,) positions of the seen joints).
        touches: What the robot touched, as the simulator says.
        sent_ns: When each command was sent, of the first driver topic, in order [ns].
        accepted_s: When a chunk was accepted last, monotonic [s].
        plan_s: When a plan was received last, monotonic [s].
        speed: Largest joint speed of the newest plan's first step [rad/s or m/s].
        policy: Newest diagnostics of the policy's inference.
    """

    def __init__(self, node: Node, contract: RobotContract, received: Callable[[], None]) -> None:
        self.seen = Seen.of(contract)
        groups = self.seen.groups
        self.log = WireLog(
            joints=self.seen.joints,
            groups=[group.joints for group in groups] or [self.seen.joints],
            rate_hz=contract.rate_hz,
            planned=self.seen.planned,
        )
        self.streams = streams_of(node, contract)
        self.plans: list[tuple[int, np.ndarray]] = []
        self.states: list[StateNote] = []
        self.joint_states: list[tuple[int, np.ndarray]] = []
        self.touches: list[Touch] = []
        self.accepted_s = self.plan_s = float("-inf")
        self.accepted_count = 0
        self.speed, self.epoch = 0.0, ""
        self.policy: dict[str, str] = {}
        self.planned_joints = positioned(contract)
        self._rate_hz, self._received = contract.rate_hz, received
        self._readers = {topic: StateReader(contract, topic) for topic in contract.joint_state_topics}
        self._newest: dict[str, float] = {}
        make = node.create_subscription
        self.subscriptions = [
            *(make(JointTrajectory, g.topic, self._on_command(i, g), DEEP) for i, g in enumerate(groups)),
            make(JointTrajectory, BUFFER, self._on_buffer, DEEP),
            make(Header, ACCEPTED, self._on_accepted, DEEP),
            make(JointTrajectory, CHUNK, self._on_chunk, DEEP),
            make(DiagnosticStatus, "controller/state", self._on_state, LATCHED),
            make(DiagnosticArray, "/diagnostics", self._on_diagnostics, DEEP),
            make(MarkerArray, CONTACTS_TOPIC, self._on_contacts, DEEP),
            *(make(JointState, topic, self._on_joint_state(topic), DEEP) for topic in self._readers),
        ]

    @property
    def state(self) -> StateNote | None:
        """The newest report of the controller."""
        return self.states[-1] if self.states else None

    def stop_reports(self) -> list[StopReport]:
        """Every report of a stop."""
        return [
            StopReport(epoch=note.epoch, stamp_ns=note.stamp_ns, sent_ns=note.sent_ns)
            for note in self.states
            if note.state in STOPPED_STATES
        ]

    def halts(self) -> list[tuple[int, int]]:
        """(from, to) times in which the controller said that it does not run [ns]; the last one may have no end."""
        found, since_ns = [], None
        for note in self.states:
            if note.state == RUNNING:
                found += [] if since_ns is None else [(since_ns, note.sent_ns)]
                since_ns = None
            elif since_ns is None:
                since_ns = note.sent_ns
        return found if since_ns is None else [*found, (since_ns, sys.maxsize)]

    @property
    def silent_s(self) -> float:
        """Time since the controller's last plan [s]."""
        return time.monotonic() - self.plan_s

    def planned_since(self, since_ns: int, joint: str) -> np.ndarray:
        """Every position (N,) that the plans after a time on the system clock [ns] sent a joint to next."""
        column = self.planned_joints.index(joint)
        return np.array([row[column] for sent_ns, row in list(self.plans) if sent_ns >= since_ns])

    def _on_command(self, index: int, group: DriverGroup):
        def receive(message: JointTrajectory, info: dict) -> None:
            read = self._read(message)
            if read is not None:
                joints, positions = in_contract(group, read)
                self.log.command(
                    index,
                    read.stamp_ns,
                    joints,
                    positions,
                    info["received_timestamp"],
                    sent_ns=info["source_timestamp"],
                    sequence=info["publication_sequence_number"],
                )
            self._received()

        return receive

    def _on_buffer(self, message: JointTrajectory, info: dict) -> None:
        read = self._read(message)
        if read is not None and len(read.positions) and set(self.seen.joints) <= set(read.joints):
            sent_ns, rows = info["source_timestamp"], self._of_seen(read)
            number = info["publication_sequence_number"]
            self.log.buffer(read.frame_id, read.stamp_ns, self.seen.joints, rows, sent_ns=sent_ns, sequence=number)
            self.epoch, self.plan_s = read.frame_id, time.monotonic()
            self.speed = float(np.abs(np.diff(read.positions[:2], axis=0)).max(initial=0.0)) * self._rate_hz
            self.plans.append((sent_ns, read.positions[0, [read.joints.index(j) for j in self.planned_joints]]))
        self._received()

    def _of_seen(self, read: Trajectory) -> np.ndarray:
        return read.positions[:, [read.joints.index(joint) for joint in self.seen.joints]]

    def _on_accepted(self, message: Header) -> None:
        self.log.accepted(message.frame_id, stamp_to_ns(message.stamp))
        self.accepted_s = time.monotonic()
        self.accepted_count += 1
        self._received()

    def _on_chunk(self, message: JointTrajectory) -> None:
        """A chunk that cannot have been accepted promises nothing."""
        read = self._read(message)
        whole = read is not None and sorted(read.joints) == sorted(self.planned_joints)
        if whole and np.isfinite(read.positions).all():
            self.log.chunk(read.frame_id, read.stamp_ns, self.seen.joints, self._of_seen(read))
        self._received()

    def _on_state(self, message: DiagnosticStatus, info: dict) -> None:
        values = read_status(message)
        self.states.append(
            StateNote(
                state=values.get("state", ""),
                cause=values.get("cause", ""),
                reason=message.message,
                epoch=values.get("epoch", ""),
                stamp_ns=int(values.get("stamp_ns", "0")),
                received_ns=info["received_timestamp"],
                sent_ns=info["source_timestamp"],
            )
        )
        self._received()

    def _on_diagnostics(self, message: DiagnosticArray, info: dict) -> None:
        for status in message.status:
            if status.name == "policy: inference":
                self.policy = {**read_status(status), "message": status.message}
        self._received()

    def _on_joint_state(self, topic: str):
        """By the time of measurement: a simulator that catches up sends faster than its robot moves."""
        reader, last = self._readers[topic], topic == list(self._readers)[-1]

        def receive(message: JointState) -> None:
            try:
                read = reader.read(message)
            except BeingHError:
                return  # another robot's
            self._newest |= read.positions
            if last and set(self.seen.joints) <= self._newest.keys():
                row = np.array([self._newest[joint] for joint in self.seen.joints])
                self.joint_states.append((read.stamp_ns, row))
            self._received()

        return receive

    def _on_contacts(self, message: MarkerArray) -> None:
        self.touches += (
            Touch(stamp_ns=stamp_to_ns(marker.header.stamp), pair=marker.ns, force_n=contact_force(marker))
            for marker in message.markers
        )

    def _read(self, message: JointTrajectory) -> Trajectory | None:
        try:
            return read_trajectory(message)
        except (BeingHError, ValueError):
            self.log.unreadable += 1
            return None
