"""The monitor's ears: its subscriptions, and what it can see of the ROS graph."""

from __future__ import annotations

import os
import time
from collections.abc import Callable

from diagnostic_msgs.msg import DiagnosticArray, DiagnosticStatus
from rclpy.qos import DurabilityPolicy, QoSProfile
from std_msgs.msg import Header
from trajectory_msgs.msg import JointTrajectory

from beingh_ros.messages.conversions import stamp_to_ns
from beingh_ros.messages.diagnostics import read_status
from beingh_ros.monitor.state import CONTROLLER, INFERENCE, MonitorState
from beingh_ros.nodes.guard import GuardedNode, bounded

BUFFER = "controller/buffer"
LATCHED = QoSProfile(depth=10, durability=DurabilityPolicy.TRANSIENT_LOCAL)
# Of a plan; the monitor does not know the robot.
MOST_BYTES = 500_000
DISCOVERY = ("ROS_DOMAIN_ID", "ROS_AUTOMATIC_DISCOVERY_RANGE", "ROS_LOCALHOST_ONLY", "RMW_IMPLEMENTATION")


class MonitorNode(GuardedNode):
    """Subscribes what the page shows; publishes nothing and calls no service.

    Args:
        namespace: Of the robot's nodes, "" for the root.
        clock: Monotonic time [s].
        options: Of the node, such as its context.

    Attributes:
        state: What was received.
    """

    def __init__(self, namespace: str = "", clock: Callable[[], float] = time.monotonic, **options) -> None:
        name = f"beingh_monitor_{os.getpid()}"
        super().__init__(name, namespace=f"/{namespace}", start_parameter_services=False, **options)
        self.state = MonitorState(namespace=namespace)
        self._now_s = clock
        self.create_subscription(DiagnosticArray, "/diagnostics", self._on_diagnostics, QoSProfile(depth=50))
        self.create_subscription(DiagnosticStatus, "controller/state", self._on_state, LATCHED)
        for topic, take in ((BUFFER, self._on_buffer), ("policy/chunk", self._on_chunk)):
            receive = bounded(JointTrajectory, MOST_BYTES, take, lambda _error: None)  # the nodes that need it say so
            self.create_subscription(JointTrajectory, topic, receive, QoSProfile(depth=10), raw=True)
        self.create_subscription(Header, "controller/accepted", self._on_accepted, QoSProfile(depth=10))

    def hints(self) -> list[str]:
        """What to check when no controller reports."""
        found = []
        spaces = self._controller_namespaces()
        if spaces:
            others = ", ".join(f"--namespace {space}" if space else "no --namespace" for space in spaces)
            found.append(f"a controller publishes in another namespace; use {others}")
        nodes = [
            f"{namespace.rstrip('/')}/{name}"
            for name, namespace in self.get_node_names_and_namespaces()
            if name != self.get_name() and not name.startswith("_")
        ]
        if nodes and not spaces:
            shown = ", ".join(sorted(nodes)[:6]) + (", ..." if len(nodes) > 6 else "")
            found.append(f"other nodes are visible ({shown}), but no controller: is the launch file running?")
        if not nodes:
            found.append("no other node is visible: is the robot's launch file running?")
            settings = ", ".join(f"{name}={os.environ.get(name) or 'unset'}" for name in DISCOVERY)
            found.append(f"these must be the same here and there: {settings}")
            found.append("across machines: multicast must pass the network and the firewall (UDP ports 7400 and up)")
        return found

    def expects_more(self) -> bool:
        """Whether a node is there of which nothing has been received yet."""
        received = self.state.statuses
        return (
            CONTROLLER not in received
            or (INFERENCE not in received and self.count_publishers("policy/chunk") > 0)
            or (not self.state.receives_control and self.count_publishers("controller/state") > 0)
        )

    def _controller_namespaces(self) -> list[str]:
        """Namespaces other than this one in which somebody publishes controller/buffer."""
        topics = [name for name, _ in self.get_topic_names_and_types() if name.endswith(f"/{BUFFER}")]
        published = [name for name in topics if self.count_publishers(name)]
        spaces = {name[: -len(BUFFER)].strip("/") for name in published}
        return sorted(spaces - {self.state.namespace})

    def _on_diagnostics(self, message: DiagnosticArray) -> None:
        for status in message.status:
            self.state.diagnostic(
                self._now_s(), status.name, ord(status.level), status.message, status.hardware_id, read_status(status)
            )

    def _on_state(self, message: DiagnosticStatus) -> None:
        self.state.control(message.message, read_status(message))

    def _on_buffer(self, message: JointTrajectory) -> None:
        points = message.points
        period_ns = stamp_to_ns(points[1].time_from_start) - stamp_to_ns(points[0].time_from_start) if points[1:] else 0
        self.state.buffer(self._now_s(), message.header.frame_id, stamp_to_ns(message.header.stamp), period_ns / 1e9)

    def _on_accepted(self, message: Header) -> None:
        self.state.accepted(message.frame_id, stamp_to_ns(message.stamp))

    def _on_chunk(self, message: JointTrajectory) -> None:
        self.state.chunk(len(message.points))
