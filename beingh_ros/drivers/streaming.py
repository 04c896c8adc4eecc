"""Drivers of robots that take one command at a time and interpolate nothing."""

from __future__ import annotations

import time
from collections.abc import Callable

import numpy as np
from rclpy.duration import Duration
from rclpy.node import Node
from rclpy.publisher import Publisher
from rclpy.qos import QoSProfile

from beingh_core.contract import Driver as DriverSettings
from beingh_core.contract import RobotContract
from beingh_core.contract.turns import endless_joints, nearest_turn
from beingh_core.contract.wire import Wire
from beingh_core.control.driver import FLUSH_S, Driver, columns_of
from beingh_core.control.setpoints import Setpoints, sample_to_rest
from beingh_ros.drivers.publishing import count_subscribers

# Only the newest command counts; reliable delivery still brings the last one of a stop to a slow subscriber.
QUEUE = 1


class StreamingDriver(Driver):
    """Publishes one row a command, and the braking path row by row at the same rate.

    A subclass gives `_message`. Between two commands the robot holds the last one; what it does when they end is its
    own affair, so the last command of a stop is always the posture at rest.

    Args:
        node: Owner of the publishers.
        contract: Order of the columns.
        settings: Topics and joints of the groups, `rate_hz`.
        message_type: Type of the command topics.

    Attributes:
        wait_until: Waits until a time of `time.monotonic()`; replaced in tests that need no real time.
    """

    def __init__(self, node: Node, contract: RobotContract, settings: DriverSettings, message_type: type) -> None:
        self.command_rate_hz = float(settings.options["rate_hz"])
        self.wait_until: Callable[[float], None] = _wait_until
        self._groups: list[tuple[Publisher, Wire, list[int]]] = [
            (
                node.create_publisher(message_type, group.topic, QoSProfile(depth=QUEUE)),
                group.wire,
                columns_of(contract, group.joints),
            )
            for group in settings.groups
        ]
        self._wrapped = endless_joints(contract) if settings.options.get("wrap") else None
        self._sent: Setpoints | None = None

    def send(self, points: Setpoints) -> None:
        """Send the last row."""
        self._sent = points
        self._publish(points.stamp_ns, points.positions[-1], points.velocities[-1])

    def stop(self, points: Setpoints) -> None:
        """Send the braking path at the command rate, then wait a bounded time until it has been received.

        This takes as long as the braking.
        """
        path = sample_to_rest(points, self.command_rate_hz, self._sent)
        self._play(path)
        self._flush()
        self._sent = None

    def subscribers(self) -> dict[str, int]:
        """Subscribers of each topic."""
        return count_subscribers(publisher for publisher, _, _ in self._groups)

    def _message(self, joints: tuple[str, ...], stamp_ns: int, positions: np.ndarray, velocities: np.ndarray):
        """The message of one group for one row (its columns only, with the names and units that messages have)."""
        raise NotImplementedError

    def _publish(self, stamp_ns: int, positions: np.ndarray, velocities: np.ndarray) -> None:
        if self._wrapped is not None:
            positions = nearest_turn(positions, np.zeros(len(positions)), self._wrapped)
        messages = [
            self._message(wire.names, stamp_ns, wire.values(positions[columns]), wire.rates(velocities[columns]))
            for _, wire, columns in self._groups
        ]
        for (publisher, _, _), message in zip(self._groups, messages):
            publisher.publish(message)

    def _play(self, path: Setpoints) -> None:
        """Publish every row at its time, the first one at once."""
        start_s = time.monotonic() - path.times_s[0]
        for time_s, positions, velocities in zip(path.times_s, path.positions, path.velocities):
            self.wait_until(start_s + time_s)
            self._publish(path.stamp_ns + round(time_s * 1e9), positions, velocities)

    def _flush(self) -> None:
        for publisher, _, _ in self._groups:
            publisher.wait_for_all_acked(Duration(seconds=FLUSH_S))


def _wait_until(time_s: float) -> None:
    time.sleep(max(0.0, time_s - time.monotonic()))
