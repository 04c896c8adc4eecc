"""What the drivers that publish have in common."""

from __future__ import annotations

from collections.abc import Iterable

from rclpy.publisher import Publisher


def count_subscribers(publishers: Iterable[Publisher]) -> dict[str, int]:
    """Matched subscribers by topic."""
    return {publisher.topic_name: publisher.get_subscription_count() for publisher in publishers}
