"""The contract against the running graph: topics, types, QoS, rates, joint names, encodings, subscribers."""

from __future__ import annotations

import os
from collections.abc import Iterable
from functools import partial
from typing import Any

from rclpy.action import get_action_server_names_and_types_by_node
from rclpy.duration import Duration
from rclpy.node import Node
from rclpy.qos import LivelinessPolicy, QoSCompatibility, QoSProfile, qos_check_compatible

from beingh_core.contract import CameraStream, RobotContract
from beingh_core.contract.check import ERROR, OK, WARN, Row, checked
from beingh_core.contract.joint_names import ForeignNames
from beingh_core.errors import BeingHError, did_you_mean
from beingh_ros.messages.state_messages import StateReader
from beingh_ros.nodes.camera_input import RELIABLE, CameraInput
from beingh_ros.nodes.graph import listed, of_other_type, publishers, resolved
from beingh_ros.nodes.joint_intake import JOINT_STATES
from beingh_ros.robots.drivers import Endpoints
from beingh_ros.robots.received import Received

BOOL = "std_msgs/msg/Bool"
# As the drivers publish, in the words of the graph, where no deadline is an infinite one.
INFINITE = Duration(nanoseconds=2**63 - 1)
COMMANDS = QoSProfile(
    depth=1, deadline=INFINITE, liveliness=LivelinessPolicy.AUTOMATIC, liveliness_lease_duration=INFINITE
)


class LiveCheck(Node):
    """Subscribes to what the nodes of a robot subscribe to and looks at the graph; publishes and calls nothing.

    Spin it for a while, then take the rows. Executor thread.

    Args:
        contract: Robot.
        namespace: Of its nodes, "" for the root.
        options: Of the node, such as its context.
    """

    def __init__(self, contract: RobotContract, namespace: str = "", **options) -> None:
        name = f"beingh_check_{os.getpid()}"
        super().__init__(name, namespace=f"/{namespace}", start_parameter_services=False, **options)
        self._contract = contract
        self._pictures = {camera.name: Received() for camera in contract.cameras}
        self._readers: dict[str, StateReader] = {}
        self._numbers = {topic: {} for topic in contract.state_topics}
        self._messages = {topic: Received() for topic in contract.state_topics}
        self._cameras: dict[str, CameraInput] = {}
        for camera in contract.cameras:
            try:
                take = partial(self._on_picture, camera.name)
                self._cameras[camera.name] = CameraInput(self, camera, take, self._pictures[camera.name].refuse)
            except BeingHError as error:  # no OpenCV
                self._pictures[camera.name].refuse(error)
        for topic in contract.state_topics:
            try:
                self._readers[topic] = StateReader(contract, topic)
                self.create_subscription(self._readers[topic].type, topic, partial(self._on_state, topic), JOINT_STATES)
            except BeingHError as error:  # its messages are not installed
                self._messages[topic].refuse(error)
        self.create_timer(0.25, self._match)

    def rows(self, endpoints: Endpoints | None) -> list[Row]:
        """What was found; without `endpoints` nothing about commands."""
        rows = [self._camera_row(name) for name in self._pictures]
        rows += [checked(f"live {topic}", partial(self._state, topic)) for topic in self._numbers]
        rows += [checked("live joints", self._commanded_joints), *self._commands(endpoints), self._estop()]
        return rows

    def _on_picture(self, name: str, stamp_ns: int, pixels) -> None:
        height, width = pixels.shape[:2]
        self._pictures[name].take(stamp_ns, self._now_ns(), f"{width}x{height}")

    def _on_state(self, topic: str, message: Any) -> None:
        now_ns = self._now_ns()
        try:
            read = self._readers[topic].read(message, now_ns)
        except BeingHError as error:
            self._messages[topic].refuse(error)
            return
        if self._readers[topic].shared and not read.positions:
            return
        self._messages[topic].take(read.stamp_ns, now_ns)
        for name in read.positions:
            self._numbers[topic].setdefault(name, Received()).take(read.stamp_ns, now_ns)

    def _match(self) -> None:
        for camera in self._cameras.values():
            camera.match_publishers()

    def _now_ns(self) -> int:
        return self.get_clock().now().nanoseconds

    def _published(self, topic: str, kind: str) -> str:
        """Who publishes on a topic, in words.

        Raises:
            BeingHError: Nobody, or somebody another type.
        """
        name = resolved(self, topic)
        if others := of_other_type(self, name, kind):
            told = ", ".join(f"{node} ({other})" for node, other in others.items())
            raise BeingHError(f"{name} is published as another type by {told}", allowed=kind)
        found = publishers(self, name)
        if not found:
            same = [other for other, kinds in self.get_topic_names_and_types() if kind in kinds and other != name]
            shown = [other for other in same if self.count_publishers(other)]
            raise BeingHError(
                f"nobody publishes {name}",
                allowed=shown or None,
                remedy=did_you_mean(name, shown)
                or "start its driver, correct the topic in the contract, or give --namespace",
            )
        return f"{name} from {listed(found)}"

    def _camera_row(self, name: str) -> Row:
        """What is found of a camera; a warning where it works, but hardly as it is meant."""
        camera = next(camera for camera in self._contract.cameras if camera.name == name)
        row = checked(f"live cameras.{name}", partial(self._camera, name, camera))
        doubts = []
        if self._pictures[name].rate_hz < 0.9 * self._contract.rate_hz:
            doubts.append(f"slower than rate_hz, {self._contract.rate_hz:g}")
        if (count := self.count_publishers(camera.topic)) > 1:
            doubts.append(f"{count} publishers, whose pictures would alternate")
        if row.level != OK or not doubts:
            return row
        return Row(level=WARN, subject=row.subject, found=f"{row.found}; {'; '.join(doubts)}")

    def _camera(self, name: str, camera: CameraStream) -> str:
        who, received = self._published(camera.topic, camera.type), self._pictures[name]
        received.check(who, camera.max_age_s)
        reliable = name in self._cameras and self._cameras[name].reliability == RELIABLE
        return f"{who}: {camera.encoding}, {received.summary()}, {'reliable' if reliable else 'best effort'}"

    def _state(self, topic: str) -> str:
        signals = [signal for signal in self._contract.state if signal.topic == topic]
        if topic not in self._readers:
            self._messages[topic].check(topic, signals[0].max_age_s)
        who, received = self._published(topic, signals[0].type), self._numbers[topic]
        wanted = list(dict.fromkeys(name for signal in signals for name in signal.values))
        if not received:  # what was refused says more than what is missing
            self._messages[topic].check(who, min(signal.max_age_s for signal in signals))
        _refuse_missing(who, received, wanted)
        self._messages[topic].check(who, min(signal.max_age_s for signal in signals))
        for signal in signals:
            for name in signal.values:
                received[name].check(f"{name} of {who}", signal.max_age_s)
        return f"{who}: {len(wanted)} numbers, {self._messages[topic].summary()}"

    def _commanded_joints(self) -> str:
        """Every commanded joint is measured somewhere, often enough for the watchdog."""
        received: dict[str, Received] = {}
        for joints in self._numbers.values():
            received = joints | received
        limits = self._contract.limits
        joints = [name for name, moves in zip(self._contract.joint_names, limits.is_velocity) if not moves]
        _refuse_missing("joint states", received, joints)
        for joint in joints:
            received[joint].check(joint, self._contract.watchdog.joint_states_s)
        return f"all {len(joints)} commanded joints are measured"

    def _commands(self, endpoints: Endpoints | None) -> list[Row]:
        if endpoints is None:
            return [Row(level=ERROR, subject="live commands", found="not compared, since the drivers cannot be made")]
        rows = [
            checked(f"live {topic}", partial(self._subscribers, topic, kind))
            for topic, kind in endpoints.commands.items()
        ]
        rows += [checked(f"live {name}", partial(self._served, name, kind)) for name, kind in endpoints.actions.items()]
        rows += [
            checked(f"live {topic}", partial(self._published, topic, kind)) for topic, kind in endpoints.states.items()
        ]
        return rows

    def _subscribers(self, topic: str, kind: str) -> str:
        """Subscribers of a command topic."""
        found = self.get_subscriptions_info_by_topic(topic)
        if not found:
            raise BeingHError(
                f"nobody subscribes to {topic}",
                remedy="load and start the robot's controller, correct the topic in the contract, or give --namespace",
            )
        for end in found:
            who = f"{end.node_namespace.rstrip('/')}/{end.node_name}"
            if end.topic_type != kind:
                raise BeingHError(
                    f"{who} takes {end.topic_type} on {topic}", allowed=kind, remedy="choose another driver kind"
                )
            fits, why = qos_check_compatible(COMMANDS, end.qos_profile)
            if fits == QoSCompatibility.ERROR:
                raise BeingHError(f"the QoS of {who} on {topic} refuses the commands: {why}")
        commander = f"{self.get_namespace().rstrip('/')}/controller"
        rivals = [name for name in publishers(self, topic) if name != commander]
        if rivals:
            raise BeingHError(
                f"{listed(rivals)} publishes on {topic}, too", remedy="end it: two commanders stop the robot"
            )
        names = listed(f"{end.node_namespace.rstrip('/')}/{end.node_name}" for end in found)
        return f"{kind}, subscribed by {names}"

    def _served(self, action: str, kind: str) -> str:
        """Servers of an action."""
        for name, space in self.get_node_names_and_namespaces():
            types = dict(get_action_server_names_and_types_by_node(self, name, space)).get(action)
            if types and kind not in types:
                raise BeingHError(f"{space.rstrip('/')}/{name} serves {action} as {types[0]}", allowed=kind)
            if types:
                return f"{kind}, served by {space.rstrip('/')}/{name}"
        raise BeingHError(f"nobody serves the action {action}", remedy="start its controller; see `ros2 action list`")

    def _estop(self) -> Row:
        topic = self._contract.estop_topic
        try:
            return Row(level=OK, subject="live estop_topic", found=self._published(topic, BOOL))
        except BeingHError as error:
            level = ERROR if of_other_type(self, resolved(self, topic), BOOL) else WARN
            return Row(level=level, subject="live estop_topic", found=str(error))


def _refuse_missing(who: str, received: dict[str, Received], wanted: Iterable[str]) -> None:
    missing = [joint for joint in wanted if joint not in received]
    if missing:
        foreign = ForeignNames(wanted)
        foreign.add(received)
        raise BeingHError(
            f"{who}: no {', '.join(missing[:4])}{' and more' if missing[4:] else ''}{foreign.told(missing)}"
        )
