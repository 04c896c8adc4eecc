"""What a node can see of the others: who publishes on a topic, and what the middleware tells of a message."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable
from typing import Any

from rclpy.node import Node
from rclpy.qos import DurabilityPolicy
from rclpy.subscription import Subscription

try:
    from rclpy.event_handler import PublisherEventCallbacks, SubscriptionEventCallbacks
except ImportError:  # Humble
    from rclpy.qos_event import PublisherEventCallbacks, SubscriptionEventCallbacks

# No word about publishers of another quality of service: another subscription receives them.
QUIET = SubscriptionEventCallbacks(use_default_callbacks=False)
# No word about subscriptions of another quality of service: they listen to latched publishers beside others.
QUIET_PUBLISHER = PublisherEventCallbacks(use_default_callbacks=False)
UNKNOWN = "_NODE_NAME_UNKNOWN_"
NOT_KNOWN = "a node not known yet"
MOST_NAMES = 6
_UNSUPPORTED = 2**64 - 1


def resolved(node: Node, topic: str) -> str:
    """The name of a topic after namespace and remapping: the one to count by and to tell people."""
    return node.resolve_topic_name(topic)


def publishers(node: Node, topic: str) -> list[str]:
    """Full names of the nodes that publish on a resolved topic, one a publisher."""
    found = node.get_publishers_info_by_topic(topic)
    return [
        NOT_KNOWN if end.node_name == UNKNOWN else f"{end.node_namespace.rstrip('/')}/{end.node_name}" for end in found
    ]


def endpoints(node: Node, topic: str) -> set[bytes]:
    """What tells each publisher of a resolved topic from every other one, also from one that comes after it."""
    return {bytes(end.endpoint_gid) for end in node.get_publishers_info_by_topic(topic)}


def latched(node: Node, topic: str) -> bool:
    """Whether a publisher of a resolved topic repeats what it has said to those that come later."""
    infos = node.get_publishers_info_by_topic(topic)
    return any(end.qos_profile.durability == DurabilityPolicy.TRANSIENT_LOCAL for end in infos)


def of_other_type(node: Node, topic: str, wanted: str) -> dict[str, str]:
    """Full name of a node that publishes on a resolved topic with another message type than wanted -> that type."""
    return {
        f"{end.node_namespace.rstrip('/')}/{end.node_name}": end.topic_type
        for end in node.get_publishers_info_by_topic(topic)
        if end.topic_type != wanted
    }


def namesakes(node: Node, topic: str, kind: str) -> list[str]:
    """Topics of that type that are published in other namespaces under the last word of a resolved topic."""
    last = topic.rpartition("/")[2]
    return sorted(
        name
        for name, kinds in node.get_topic_names_and_types()
        if name != topic and name.rpartition("/")[2] == last and kind in kinds and node.count_publishers(name)
    )


def rivals(node: Node, topics: Iterable[str]) -> dict[str, list[str]]:
    """Resolved topic -> the other nodes that publish on it; topics without any are left out.

    Args:
        node: Publishes once on each of them.
        topics: Resolved names, one for each publisher of the node.
    """
    found = {}
    for topic, own in Counter(topics).items():
        if node.count_publishers(topic) > own:
            names = publishers(node, topic)
            for _ in range(own):
                if node.get_fully_qualified_name() in names:
                    names.remove(node.get_fully_qualified_name())
            if names:
                found[topic] = names
    return found


def rival_text(topic: str, names: Iterable[str]) -> str:
    """That these nodes publish on a command topic, too."""
    text = f"another node publishes commands on {topic} too: {listed(names)}"
    return f"{text} (one that was killed is seen for up to 20 s more)"


def listed(names: Iterable[str]) -> str:
    """Names for people, each once, not too many."""
    each = [name if count == 1 else f"{name} ({count} times)" for name, count in sorted(Counter(names).items())]
    return ", ".join(each[:MOST_NAMES]) + (f" and {len(each) - MOST_NAMES} more" if len(each) > MOST_NAMES else "")


def with_info(callback: Callable[[Any, dict], None]) -> Callable:
    """A subscription's callback that also gets what the middleware tells of a message, {} where rclpy does not."""
    if hasattr(Subscription, "CallbackType"):
        return lambda message, info: callback(message, info)
    return lambda message: callback(message, {})


def message_number(info: dict) -> int | None:
    """The message's number among those of its publisher, from 1 on; None where the middleware does not count."""
    number = info.get("publication_sequence_number")
    return number if number and number != _UNSUPPORTED else None


def sent_ns(info: dict) -> int:
    """When a message was published, on the publisher's clock [ns]; 0 where that is not told."""
    return info.get("source_timestamp") or 0
