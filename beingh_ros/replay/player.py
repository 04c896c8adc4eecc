"""Plays one recording to the nodes in its own time: each message, each tick, waiting until the nodes have taken it.

In bag time everything is decided by the recording: /clock goes on only when the nodes have done what the time before asked of
them, and the policy looks once at every tick, after everything that was recorded until then. In real time /clock follows
this computer's, and the nodes are left to themselves.
"""

from __future__ import annotations

import re
import time
from collections import Counter, deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from rclpy.executors import SingleThreadedExecutor
from rclpy.node import Node
from rclpy.qos import QoSProfile
from rosgraph_msgs.msg import Clock
from std_msgs.msg import String
from trajectory_msgs.msg import JointTrajectory, MultiDOFJointTrajectory

from beingh_core.contract import RobotContract
from beingh_core.data.bags.message import restamped
from beingh_core.errors import BeingHError
from beingh_core.openloop.noise import noise_seed
from beingh_core.openloop.recording import INSTRUCTION, Played, Recording
from beingh_core.realtime.clock import TickClock
from beingh_ros.messages.conversions import ns_to_stamp, stamp_to_ns
from beingh_ros.messages.plan_messages import PlanWriter
from beingh_ros.messages.state_messages import message_type
from beingh_ros.nodes.graph import QUIET_PUBLISHER
from beingh_ros.replay.cameras import Cameras
from beingh_ros.replay.nodes import Predicted, Published, ReplayController, ReplayPolicy

NS = 1_000_000_000
DEEP = QoSProfile(depth=1000)
RELAYED = "replay/chunk", "replay/base_chunk"
# Reasons that differ only in numbers are one.
NUMBER = re.compile(r"\d+(\.\d+)?")
# A step that takes longer than this has gone wrong; inference is not counted [s].
PATIENCE_S = 10.0
# The robot is shown at rest for so long before the recording begins [s].
LEAD_IN_S = 0.4
# Between ticks, time goes on in steps of at least this: each waits for both nodes.
CLOCK_NS = 8_000_000


@dataclass(kw_only=True)
class Settings:
    """How recordings are played.

    Attributes:
        follow: "recorded": the controller commands what was recorded, so that every chunk is predicted from there;
            "policy": it commands what the policy wants.
        latency_s: from an inference to its chunk, in the recording's time [s].
        seed: of the noise.
        realtime: whether time runs as on the wall.
    """

    follow: str
    latency_s: float = 0.0
    seed: int = 0
    realtime: bool = False


@dataclass(kw_only=True, eq=False)
class Pass:
    """What one recording has given.

    Attributes:
        predicted: chunks of the policy.
        ages_ms: from each observation to its merged chunk.
        plans: see `ReplayController.plans`.
        counters: chunks by what became of them.
        closed: why no chunk was made -> ticks.
        stops: why the controller has stopped, each time.
        film: (time [s], view -> picture).
    """

    predicted: list[Predicted]
    ages_ms: list[float]
    plans: list[Published]
    counters: dict[str, int]
    closed: Counter[str] = field(default_factory=Counter)
    stops: list[str] = field(default_factory=list)
    film: list[tuple[float, dict[str, np.ndarray]]] = field(default_factory=list)


class Player:
    """Owns the publishers of recorded topics and of /clock, and the executor of all nodes. One thread.

    Args:
        contract: Robot.
        policy: The policy node, whose chunks go to `RELAYED`.
    """

    def __init__(self, contract: RobotContract, policy: ReplayPolicy) -> None:
        self._contract, self._policy = contract, policy
        self._node = Node("replay_player", use_global_arguments=False, start_parameter_services=False)
        self._executor = SingleThreadedExecutor()
        for node in (self._node, policy):
            self._executor.add_node(node)
        self._clock = self._node.create_publisher(Clock, "/clock", QoSProfile(depth=1), event_callbacks=QUIET_PUBLISHER)
        self._inputs = {camera.topic: message_type(camera.type) for camera in contract.cameras}
        self._inputs |= {signal.topic: message_type(signal.type) for signal in contract.state}
        for topic in contract.joint_state_topics:
            self._inputs.setdefault(topic, message_type("sensor_msgs/msg/JointState"))
        self._inputs[INSTRUCTION] = String
        self._publishers = {
            topic: self._node.create_publisher(kind, topic, DEEP) for topic, kind in self._inputs.items()
        }
        self._chunk = self._node.create_publisher(JointTrajectory, "policy/chunk", DEEP)
        self._base_chunk = self._node.create_publisher(MultiDOFJointTrajectory, "policy/base_chunk", DEEP)
        self._relayed: deque = deque()
        for topic, kind, publisher in zip(
            RELAYED, (JointTrajectory, MultiDOFJointTrajectory), (self._chunk, self._base_chunk)
        ):
            self._node.create_subscription(kind, topic, lambda m, p=publisher: self._relayed.append((p, m)), DEEP)
        self._writer = PlanWriter(contract)
        self._parts = 2 if contract.limits.is_velocity.any() else 1
        self.now_ns = 0

    def close(self) -> None:
        """Remove what it has made."""
        self._executor.shutdown()
        self._node.destroy_node()

    def play(self, recording: Recording, settings: Settings, cameras: Cameras) -> Pass:
        """One recording, with a controller of its own.

        Raises:
            BeingHError: The nodes do not take part: no chunk, no epoch, or a step that never ends.
        """
        self._recording, self._settings, self._cameras = recording, settings, cameras
        self._due: deque[tuple[int, list]] = deque()
        self._relayed.clear()
        self._closed, self._ages_ms, self._stops = Counter(), [], []
        self._wall_ns: int | None = None
        self._accepted = self._policy.taken[self._policy.resolve_topic_name("controller/accepted")]
        self._policy.start_over(recording.task)
        self._heard = self._policy.taken[self._policy.resolve_topic_name("controller/buffer")]
        self._controller = ReplayController()
        self._executor.add_node(self._controller)
        try:
            self._meet()
            self._lead_in()
            self._run()
            return Pass(
                predicted=list(self._policy.predicted),
                ages_ms=self._ages_ms,
                plans=list(self._controller.plans),
                counters=self._controller.counters,
                closed=self._closed,
                stops=self._stops,
                film=cameras.film,
            )
        finally:
            self._executor.remove_node(self._controller)
            self._controller.close()
            self._controller.destroy_node()

    def _meet(self) -> None:
        """Wait until everybody has found everybody."""

        def met() -> bool:
            topics = all(publisher.get_subscription_count() >= 1 for publisher in self._publishers.values())
            joints = all(
                self._publishers[topic].get_subscription_count() >= 2 for topic in self._contract.joint_state_topics
            )
            both = self._chunk.get_subscription_count() >= 1 and self._policy.count_publishers("controller/buffer") == 1
            matched = self._policy.cameras_matched and self._clock.get_subscription_count() >= 2
            subscribed = self._node.count_subscribers("controller/buffer") == 1
            accepted = self._policy.count_publishers("controller/accepted") == 1
            return topics and joints and both and matched and subscribed and accepted

        self._until(met, "the nodes do not find each other")

    def _lead_in(self) -> None:
        """Show the robot at rest where the recording begins, on its ticks, until the controller has begun an epoch."""
        first: dict[str, Played] = {}
        for message in self._recording.messages():
            if message.log_ns > self._recording.begin_ns and self._recording.streams <= first.keys():
                break
            if message.log_ns <= self._recording.begin_ns or message.topic not in first:
                first[message.topic] = message
        begin = self._recording.tick_at_or_after(self._recording.begin_ns)
        ticks = int(np.ceil(LEAD_IN_S * self._contract.rate_hz)) + 3
        states = [topic for topic in first if topic not in (*self._cameras.by_topic, INSTRUCTION)]
        for tick in range(begin - ticks, begin):
            self._set_clock(self._recording.tick_ns(tick))
            for topic in states:
                has_header = "header" in self._inputs[topic].get_fields_and_field_types()
                self._publish(topic, restamped(first[topic].data, self.now_ns) if has_header else first[topic].data)
            self._settle()
        if not self._controller.runs:
            raise BeingHError(
                f"the controller does not begin: {self._controller.sentence}", where=self._recording.path,
                remedy="give a recording that begins where the robot's limits allow it to be",
            )  # fmt: skip
        for message in sorted(first.values(), key=lambda one: one.log_ns):
            if message.log_ns <= self._recording.begin_ns:
                self._play(message)

    def _run(self) -> None:
        """All messages and ticks."""
        recording, tick = self._recording, self._recording.tick_at_or_after(self._recording.begin_ns)
        self._wall_ns = time.monotonic_ns() - recording.begin_ns
        for message in recording.messages():
            if message.log_ns <= recording.begin_ns:
                continue
            if message.log_ns > recording.end_ns:
                break
            while recording.tick_ns(tick) <= message.log_ns:
                self._tick(tick)
                tick += 1
            self._deliver_until(message.log_ns)
            if message.log_ns - self.now_ns >= CLOCK_NS:
                self._set_clock(message.log_ns)
            self._play(message)
        while recording.tick_ns(tick) <= recording.end_ns:
            self._tick(tick)
            tick += 1

    def _tick(self, tick: int) -> None:
        """One tick: the controller commits it, the policy looks."""
        stamp_ns = self._recording.tick_ns(tick)
        self._deliver_until(stamp_ns)
        self._set_clock(stamp_ns)
        self._settle()
        self._look_after()
        if self._settings.follow == "recorded":
            self._feed()
        if self._settings.realtime:
            self._policy.set_active(True)
            return
        self._infer(tick)
        self._deliver_until(stamp_ns)

    def _look_after(self) -> None:
        """Note a stop and let the controller begin again; end when a node has ended."""
        if self._policy.exit_status is not None or self._controller.exit_status is not None:
            raise RuntimeError("a node has ended with the error above")
        if self._controller.has_stopped:
            self._stops.append(self._controller.sentence)
            self._controller.begin_again()

    def _infer(self, tick: int) -> None:
        """Let the policy look once, from noise that belongs to this tick."""
        import torch

        torch.manual_seed(noise_seed(self._settings.seed, self._recording.name, tick))
        before = len(self._policy.predicted)
        reasons = self._policy.infer_if_due()
        for what, why in [*reasons, *(("no chunk", failure) for failure in self._policy.failures)]:
            self._closed[f"{what}: {NUMBER.sub('…', why)}"] += 1
        self._policy.failures.clear()
        if len(self._policy.predicted) > before:
            self._until(lambda: len(self._relayed) >= self._parts, "the policy's chunk does not arrive")
            self._pass_on()

    def _feed(self) -> None:
        """Hand the controller what was recorded from the next tick on, so that it commands that."""
        newest = self._controller.plans[-1]
        stamp_ns = newest.stamp_ns
        count = self._contract.policy.chunk_length
        stamps = TickClock(self._contract.rate_hz, stamp_ns).stamps_ns(np.arange(count))
        rows, row = self._recording.commanded(stamps), newest.positions[0]
        for index in range(count):  # where nothing is known it stays
            row = rows[index] = np.where(np.isfinite(rows[index]), rows[index], row)
        parts = [(self._chunk, self._writer.joints(rows, stamp_ns, self._controller.epoch))]
        base = self._writer.base(rows, stamp_ns, self._controller.epoch)
        self._send(parts if base is None else [(self._base_chunk, base), *parts])

    def _pass_on(self) -> None:
        """What the policy has just published: to the controller after the latency, or nowhere."""
        due_ns = self.now_ns + round(self._settings.latency_s * NS)
        while len(self._relayed) >= self._parts:
            parts = [self._relayed.popleft() for _ in range(self._parts)]
            if self._settings.follow == "policy":
                self._due.append((due_ns, parts))

    def _deliver_until(self, stamp_ns: int) -> None:
        """Chunks whose latency has passed by then, each at its time."""
        while self._due and self._due[0][0] <= stamp_ns:
            due_ns, parts = self._due.popleft()
            if due_ns > self.now_ns:
                self._set_clock(due_ns)
            self._send(parts)
            self._note_age(parts[0][1].header.stamp)

    def _note_age(self, stamp) -> None:
        """How old the observation of the chunk with this stamp is."""
        stamp_ns = stamp_to_ns(stamp)
        for one in reversed(self._policy.predicted):
            if one.request.stamp_ns == stamp_ns:
                self._ages_ms.append((self.now_ns - one.made.observation_ns) / 1e6)
                return

    def _send(self, parts: Sequence[tuple[Any, Any]]) -> None:
        """All parts of a chunk to the controller; returns when it has taken them and the policy knows what it accepts."""
        taken = self._controller.taken
        names = [self._controller.resolve_topic_name(publisher.topic_name) for publisher, _ in parts]
        before = [taken[name] for name in names]
        for publisher, message in parts:
            publisher.publish(message)
        self._until(
            lambda: all(taken[name] > count for name, count in zip(names, before)) and self._controller.has_merged,
            "the controller does not take a chunk",
        )
        accepted, counters = self._policy.resolve_topic_name("controller/accepted"), self._controller.counters
        merged = sum(counters.get(status, 0) for status in ("merged", "late"))
        wanted = self._accepted + merged
        self._until(lambda: self._policy.taken[accepted] >= wanted, "what the controller accepts does not arrive")

    def _play(self, message: Played) -> None:
        """One recorded message, disturbed as was asked."""
        data = message.data
        if message.topic in self._cameras.by_topic:
            data = self._cameras.sent(message, (message.log_ns - self._recording.begin_ns) / NS)
            if data is None:
                return
        self._publish(message.topic, data)

    def _publish(self, topic: str, data: bytes) -> None:
        """Serialised bytes; returns when every node has taken them."""
        publisher = self._publishers[topic]
        takers = [
            (node, name, node.taken[name])
            for node in (self._policy, self._controller)
            if (name := node.resolve_topic_name(topic)) in node.subscribed
        ]
        publisher.publish(data)
        self._until(lambda: all(node.taken[name] > before for node, name, before in takers), f"{topic} is not taken")

    def _set_clock(self, stamp_ns: int) -> None:
        """Let the nodes' time be this one."""
        if self._settings.realtime and self._wall_ns is not None:
            self._spin(max(0.0, (stamp_ns + self._wall_ns - time.monotonic_ns()) / NS))
        if stamp_ns == self.now_ns:
            return
        self.now_ns = stamp_ns
        self._clock.publish(Clock(clock=ns_to_stamp(stamp_ns)))
        nodes = (self._policy, self._controller)
        self._until(
            lambda: all(node.get_clock().now().nanoseconds == stamp_ns for node in nodes), "/clock is not followed"
        )

    def _settle(self) -> None:
        """Until every due tick was sent, and the policy has received it."""
        name = self._policy.resolve_topic_name("controller/buffer")
        self._until(
            lambda: (
                self._controller.has_settled(self.now_ns)
                and self._policy.taken[name] >= self._heard + len(self._controller.plans)
            ),
            "a tick is not sent",
        )

    def _until(self, done: Callable[[], bool], problem: str) -> None:
        until = time.monotonic() + PATIENCE_S
        while not done():
            self._executor.spin_once(timeout_sec=0.002)
            if time.monotonic() > until:
                raise BeingHError(
                    f"{problem} within {PATIENCE_S:g} s",
                    remedy="run it where other programs leave it time; report it if it stays",
                )

    def _spin(self, seconds: float) -> None:
        until = time.monotonic() + seconds
        while (left := until - time.monotonic()) > 0:
            self._executor.spin_once(timeout_sec=left)
            if len(self._relayed) >= self._parts:
                self._pass_on()
                self._deliver_until(self.now_ns)
