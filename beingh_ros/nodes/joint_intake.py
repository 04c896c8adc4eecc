"""Joint states as the controller takes them: from every topic of the contract, each joint from its own."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from typing import Any

from rclpy.node import Node
from rclpy.qos import QoSProfile, ReliabilityPolicy

from beingh_core.contract import RobotContract
from beingh_core.control.controller import Controller
from beingh_core.control.joint_sources import JointSources
from beingh_core.errors import BeingHError
from beingh_ros.messages.state_messages import StateReader
from beingh_ros.nodes.graph import NOT_KNOWN, listed, message_number, publishers, resolved, sent_ns, with_info

# Deep enough for a robot that publishes joint by joint, or at 1 kHz, while the executor is held up for 0.2 s.
JOINT_STATES = QoSProfile(depth=200, reliability=ReliabilityPolicy.BEST_EFFORT)


class JointIntake:
    """Hands joint states to the controller; executor thread.

    Args:
        node: Owner of the subscriptions.
        contract: Robot.

    Attributes:
        topics: Resolved names.
    """

    def __init__(self, node: Node, contract: RobotContract) -> None:
        self._node = node
        self._names = {topic: resolved(node, topic) for topic in contract.joint_state_topics}
        self.topics = tuple(dict.fromkeys(self._names.values()))
        # A joint that several topics carry, such as a merged one, is taken from where the contract has it.
        self._homes: dict[str, set[str]] = {}
        for signal in contract.state:
            for joint in signal.wire.joints if signal.wire else signal.joints:
                self._homes.setdefault(joint, set()).add(self._names[signal.topic])
        self._wanted = {
            topic: frozenset(name for name in contract.joint_names if self._is_home(topic, name))
            for topic in self.topics
        }
        self._readers = {name: StateReader(contract, topic, self._wanted[name]) for topic, name in self._names.items()}
        self._sources = JointSources(contract.joint_names)

    def connect(
        self, controller: Controller, measured: Callable[[Mapping[str, float]], None], now_ns: Callable[[], int]
    ) -> None:
        """Subscribe.

        Args:
            controller: Gets every message.
            measured: Gets the positions of every message, by joint.
            now_ns: The controller's clock.
        """
        self._controller, self._measured, self._now_ns = controller, measured, now_ns
        for topic, name in {name: topic for topic, name in self._names.items()}.items():
            self._node.create_subscription(
                self._readers[topic].type,
                name,
                with_info(lambda message, info, t=topic: self._receive(t, message, info)),
                JOINT_STATES,
            )

    def publishers(self) -> str:
        """Who publishes joint states, for people; "" while not all of them are known."""
        names = [name for topic in self.topics for name in publishers(self._node, topic)]
        return "" if NOT_KNOWN in names else listed(names)

    def counts(self) -> dict[str, int]:
        """Publishers by topic."""
        return {topic: self._node.count_publishers(topic) for topic in self.topics}

    def doubled(self) -> str:
        """That several publishers speak for one joint, in words; "" as far as is known."""
        for topic, joints in self._sources.doubled(time.monotonic()).items():
            if self._node.count_publishers(topic) < 2:
                self._sources.forget(topic)
                continue
            names = listed(publishers(self._node, topic))
            text = f"several publishers on {topic} speak for {listed(joints)}"
            return f"{text}: end all but one of those that do ({names})"
        return ""

    def _receive(self, topic: str, message: Any, info: dict) -> None:
        now_ns, reader = self._now_ns(), self._readers[topic]
        try:
            read = reader.read(message)
        except BeingHError as error:
            self._node.get_logger().error(f"{topic}: {error}", throttle_duration_sec=5.0)
            # Another publisher's message says nothing of our joints; one without names is always about them.
            if not reader.wanted.isdisjoint(getattr(message, "name", reader.wanted)):
                self._controller.malformed_joint_state(now_ns, f"{topic}: {error}")
            return
        if not read.positions:
            return  # efforts or velocities alone say nothing about positions
        positions = {name: value for name, value in read.positions.items() if self._is_home(topic, name)}
        self._sources.received(topic, positions, message_number(info), time.monotonic())
        self._controller.joint_state(now_ns, positions, read.velocities, read.stamp_ns or sent_ns(info))
        self._measured(positions)

    def _is_home(self, topic: str, joint: str) -> bool:
        """Whether a joint is taken from this topic."""
        return topic in self._homes.get(joint, (topic,))
