"""Subscribes the wanted topics as their publishers offer them, raw, and counts what never came."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from rclpy.node import Node
from rclpy.qos import DurabilityPolicy, QoSProfile, ReliabilityPolicy

from beingh_core.data.bags.topic import BagTopic
from beingh_core.errors import BeingHError
from beingh_ros.nodes.graph import QUIET, message_number, resolved, sent_ns, with_info
from beingh_ros.record.buffers import Item
from beingh_ros.record.definitions import definition_text, message_class
from beingh_ros.record.losses import Losses
from beingh_ros.record.topics import WantedTopic

# Enough for the executor to be held up for half a second.
DEPTH, DEPTH_OF_IMAGES = 1000, 30
_IMAGES = ("sensor_msgs/msg/Image", "sensor_msgs/msg/CompressedImage", "sensor_msgs/msg/PointCloud2")
_RELIABLE, _BEST_EFFORT = ReliabilityPolicy.RELIABLE, ReliabilityPolicy.BEST_EFFORT
_LATCHED, _VOLATILE = DurabilityPolicy.TRANSIENT_LOCAL, DurabilityPolicy.VOLATILE


class RecordedTopic:
    """One topic; executor thread.

    Args:
        node: Owner.
        wanted: The topic.
        take: Gets every message.

    Attributes:
        name: Resolved.
        bag_topic: As the bag describes it, None before a publisher has been seen.
        received, lost, dropped: Messages that came, that the middleware numbered but that never came, and that the disk
            was too slow for, since `reset`.
        newest: The last message, where the topic is one whose last message holds.
        trouble: Why it cannot be recorded, "" when it can.
    """

    def __init__(self, node: Node, wanted: WantedTopic, take: Callable[[RecordedTopic, Item], None]) -> None:
        self._node, self._wanted, self._take = node, wanted, take
        self.name = resolved(node, wanted.name)
        self.required = wanted.required
        self.bag_topic: BagTopic | None = None
        self.newest: Item | None = None
        self.trouble = ""
        self._keep = wanted.keep
        self._publishers = 0
        self._subscription: Any = None
        self._asked: tuple[ReliabilityPolicy, DurabilityPolicy] | None = None
        self.reset()

    def reset(self) -> None:
        """Count from here on."""
        self.received = self.lost = self.dropped = 0

    def look(self, *, recording: bool) -> None:
        """Often: subscribe as the publishers offer.

        Args:
            recording: Subscribe anew only if somebody could not be received otherwise, since a message may be lost then.
        """
        found = self._node.get_publishers_info_by_topic(self.name)
        self._publishers = len(found)
        kind = self._wanted.type or (found[0].topic_type if found else "")
        others = {end.topic_type for end in found if end.topic_type != kind}
        self.trouble = f"it is published as {', '.join(sorted(others))} too, which is not recorded" if others else ""
        found = [end for end in found if end.topic_type == kind]
        if not found:
            return
        reliable = all(end.qos_profile.reliability == _RELIABLE for end in found)
        holds = all(end.qos_profile.durability == _LATCHED for end in found)
        wanted = (_RELIABLE if reliable else _BEST_EFFORT, _LATCHED if holds else _VOLATILE)
        if self._asked is not None and (wanted == self._asked or (recording and self._receives_all(wanted))):
            return
        try:
            self._subscribe(kind, wanted, found)
        except BeingHError as error:
            self.trouble = str(error)

    def _receives_all(self, wanted: tuple) -> bool:
        """Whether the present subscription matches publishers that offer at least this."""
        return (self._asked[0] == _BEST_EFFORT or wanted[0] == _RELIABLE) and (
            self._asked[1] == _VOLATILE or wanted[1] == _LATCHED
        )

    def _subscribe(self, kind: str, wanted: tuple, found: list) -> None:
        message_type, definition = message_class(kind), definition_text(kind)
        if self._subscription is not None:
            self._node.destroy_subscription(self._subscription)
        self._asked, self._losses = wanted, Losses()
        self._keep = self._wanted.keep or wanted[1] == _LATCHED
        depth = DEPTH_OF_IMAGES if kind in _IMAGES else DEPTH
        if self.bag_topic is None or self.bag_topic.type != kind:
            self.bag_topic = BagTopic(
                name=self.name, type=kind, definition=definition, type_hash=_hash_of(found[0]),
                qos=tuple(_qos(end.qos_profile) for end in found),
            )  # fmt: skip
        self._subscription = self._node.create_subscription(
            message_type,
            self.name,
            with_info(self._receive),
            QoSProfile(depth=depth, reliability=wanted[0], durability=wanted[1]),
            raw=True,
            event_callbacks=QUIET,
        )

    def _receive(self, data: bytes, info: dict) -> None:
        now_ns = self._node.get_clock().now().nanoseconds
        number = message_number(info)
        self.received += 1
        self.lost += self._losses.received(number, self._publishers)
        item = Item(self.bag_topic, now_ns, sent_ns(info) or now_ns, number or 0, data)
        if self._keep:
            self.newest = item
        self._take(self, item)


def record_own(bag_topic: BagTopic, data: bytes, now_ns: int) -> Item:
    """A message that the recorder itself publishes."""
    return Item(bag_topic, now_ns, now_ns, 0, data)


def own_topic(node: Node, name: str, kind: str) -> BagTopic:
    """A topic that the recorder itself publishes."""
    return BagTopic(name=resolved(node, name), type=kind, definition=definition_text(kind))


def intake(node: Node, wanted: list[WantedTopic], take: Callable[[RecordedTopic, Item], None]) -> list[RecordedTopic]:
    """Topics, each subscribed as soon as it is published."""
    return [RecordedTopic(node, topic, take) for topic in wanted]


def _hash_of(end: Any) -> str:
    """The type's hash, where the distribution tells it (from Iron on)."""
    found = str(getattr(end, "topic_type_hash", "") or "")
    return found if found.startswith("RIHS01_") else ""


def _qos(profile: QoSProfile) -> dict[str, Any]:
    """As rosbag2 writes it."""

    def name(policy: Any) -> str:
        return policy.name.lower()

    def span(duration: Any) -> dict[str, int]:
        return {"sec": duration.nanoseconds // 10**9, "nsec": duration.nanoseconds % 10**9}

    return {
        "history": name(profile.history),
        "depth": profile.depth,
        "reliability": name(profile.reliability),
        "durability": name(profile.durability),
        "deadline": span(profile.deadline),
        "lifespan": span(profile.lifespan),
        "liveliness": name(profile.liveliness),
        "liveliness_lease_duration": span(profile.liveliness_lease_duration),
        "avoid_ros_namespace_conventions": profile.avoid_ros_namespace_conventions,
    }
