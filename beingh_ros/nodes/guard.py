"""What comes from outside must not end a node: messages that cannot be taken are dropped, counted, and told once."""

from __future__ import annotations

import functools
from collections import Counter
from collections.abc import Callable
from typing import Any

from rclpy.node import Node
from rclpy.serialization import deserialize_message

from beingh_core.errors import BeingHError, shown


class GuardedNode(Node):
    """A node whose subscriptions and services outlive an error in their callbacks.

    For nodes that command nothing: there, to go on without the message is safe. Put it before any other base class.

    Attributes:
        dropped: How many messages and calls were dropped, by topic or service.
    """

    def __init__(self, *arguments: Any, **options: Any) -> None:
        self.dropped: Counter[str] = Counter()
        self._kinds_told: set[tuple[str, type]] = set()
        super().__init__(*arguments, **options)

    def create_subscription(self, msg_type: type, topic: str, callback: Callable, *args, **options):
        """As in `Node`."""
        return super().create_subscription(msg_type, topic, self._guarded(topic, callback), *args, **options)

    def create_service(self, srv_type: type, srv_name: str, callback: Callable, *args, **options):
        """As in `Node`; a call that fails is answered with the response as it was when it failed."""
        return super().create_service(srv_type, srv_name, self._guarded(srv_name, callback), *args, **options)

    def _guarded(self, name: str, callback: Callable) -> Callable:
        @functools.wraps(callback)
        def guarded(*arguments: Any) -> Any:
            try:
                return callback(*arguments)
            except Exception as error:  # noqa: BLE001
                self._drop(name, error)
                return arguments[-1]  # the response of a service

        return guarded

    def now_ns(self) -> int:
        """The time of this node's clock [ns], 0 before anything was received on /clock when that is followed."""
        return self.get_clock().now().nanoseconds

    def _drop(self, name: str, error: Exception) -> None:
        """Count, and tell once for each kind of error."""
        self.dropped[name] += 1
        if (name, type(error)) not in self._kinds_told:
            self._kinds_told.add((name, type(error)))
            what = str(error) if isinstance(error, BeingHError) else f"{type(error).__name__}: {shown(str(error))}"
            self.get_logger().error(f"{name}: a message was dropped: {what}")


def bounded(
    kind: type, most_bytes: int, take: Callable[[Any], None], refuse: Callable[[BeingHError], None]
) -> Callable[[bytes], None]:
    """The callback of a subscription with `raw=True` that refuses large messages before anything in them is read.

    To make a message of hundreds of thousands of parts holds the interpreter, and so every other thread, for seconds.

    Args:
        kind: Message type.
        most_bytes: Largest message taken.
        take: Takes a message.
        refuse: Takes the error of one that is too large, or that is not of this type.
    """

    def receive(data: bytes) -> None:
        if len(data) > most_bytes:
            refuse(
                BeingHError(
                    f"a {kind.__name__} of {len(data)} bytes",
                    allowed=f"at most {most_bytes} bytes, of what is expected",
                )
            )
            return
        try:
            message = deserialize_message(data, kind)
        except Exception as error:  # noqa: BLE001
            refuse(BeingHError(f"it is no {kind.__name__}: {shown(str(error))}"))
            return
        take(message)

    return receive
