"""The emergency stop's topic: received from every kind of publisher, also what was said before this node came."""

from __future__ import annotations

import time
from collections.abc import Callable

from rclpy.node import Node
from rclpy.qos import DurabilityPolicy, QoSProfile, qos_profile_sensor_data
from std_msgs.msg import Bool

from beingh_core.control.estop_sources import EstopSources
from beingh_ros.nodes.graph import (
    QUIET,
    endpoints,
    latched,
    listed,
    message_number,
    namesakes,
    of_other_type,
    resolved,
    sent_ns,
    with_info,
)

RELIABLE = QoSProfile(depth=10)
BOOL = "std_msgs/msg/Bool"
# Publishers that run already have been found by then [s].
FOUND_S = 5.0
# What a latched publisher said before has been repeated by then: Fast DDS does so every 3 s where it was lost once [s].
REPEATED_S = 3.5
# Only this one receives what a latched publisher said before; a volatile publisher does not match it.
LATCHED = QoSProfile(depth=32, durability=DurabilityPolicy.TRANSIENT_LOCAL)


class EstopIntake:
    """Follows the topic; executor thread.

    Args:
        node: Owner of the subscriptions.
        topic: As the contract names it.
        follow: Called with every change: whether the stop is held.
    """

    def __init__(self, node: Node, topic: str, follow: Callable[[bool], None]) -> None:
        self._node, self._follow = node, follow
        self._sources, self._told, self._begun_ns = EstopSources(), False, time.time_ns()
        self._found_s = time.monotonic() + FOUND_S
        self._topic = resolved(node, topic)
        # A reliable subscription alone would never receive a best-effort publisher.
        for qos in (LATCHED, RELIABLE, qos_profile_sensor_data):
            node.create_subscription(
                Bool, topic, with_info(lambda message, info, q=qos: self._receive(message, info, q)), qos,
                event_callbacks=QUIET,
            )  # fmt: skip

    def look(self) -> None:
        """Often: follow what is said, and by whom. Of what was said before this node began, only the end counts."""
        self._sources.look(endpoints(self._node, self._topic), time.monotonic())
        self._follow_sources()

    def _follow_sources(self) -> None:
        if self._sources.active != self._told:
            self._told = self._sources.active
            self._follow(self._told)

    def unsubscribed(self) -> str:
        """Which publisher cannot be received because its messages are of another type, in words; "" when each can."""
        others = of_other_type(self._node, self._topic, BOOL)
        if not others:
            return ""
        told = ", ".join(f"{name} ({kind})" for name, kind in others.items())
        return f"{self._topic} is published as another type than std_msgs/msg/Bool by {told}: that emergency stop would not be received"

    def awaited(self) -> str:
        """That what a latched publisher has said may still be on its way, in words; else ""."""
        silent_s = self._sources.silent_s(time.monotonic())
        if silent_s is None or silent_s > REPEATED_S or not latched(self._node, self._topic):
            return ""
        return f"waiting for what was said on {self._topic} before this node began"

    def elsewhere(self) -> str:
        """That nobody publishes here, but on a topic of that name in another namespace, in words; else ""."""
        if time.monotonic() < self._found_s or endpoints(self._node, self._topic):
            return ""
        found = namesakes(self._node, self._topic, BOOL)
        if not found:
            return ""
        return (
            f"nobody publishes the emergency stop {self._topic}, but there is {listed(found)}: if that button is meant for this "
            "robot, publish it here too, or write the topic with `/` before it in the contract"
        )

    def _receive(self, message: Bool, info: dict, qos: QoSProfile) -> None:
        sent = sent_ns(info)
        replayed = qos is LATCHED and 0 < sent < self._begun_ns
        present = endpoints(self._node, self._topic)
        self._sources.received(message.data, message_number(info), sent, present, time.monotonic(), replayed=replayed)
        if not replayed:
            self._follow_sources()
