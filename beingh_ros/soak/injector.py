"""The node between the others: every message that policy, controller and robot exchange passes through it."""

from __future__ import annotations

import threading
import time
from collections.abc import Sequence
from dataclasses import dataclass

from rclpy.node import Node
from rclpy.qos import QoSProfile
from sensor_msgs.msg import CompressedImage, Image, JointState
from std_msgs.msg import Header
from trajectory_msgs.msg import JointTrajectory, MultiDOFJointTrajectory

from beingh_core.contract import RobotContract
from beingh_ros.nodes.runtime import raise_priority
from beingh_ros.soak.disturbance import DelayLine, Effect, apply_all
from beingh_ros.soak.sway import Sway

PREFIX = "soak"
CHUNK, BUFFER, ACCEPTED = "policy/chunk", "controller/buffer", "controller/accepted"
# The other part of a chunk and of a plan, of a robot with a base.
BASE_CHUNK, BASE_BUFFER = "policy/base_chunk", "controller/base_buffer"
DEEP = QoSProfile(depth=100)
# Behind another message, which leaves at the same time.
AFTER_S = 1e-4


@dataclass(frozen=True, kw_only=True)
class Route:
    """One topic through the injector.

    Attributes:
        topic: Its name; what the node that is nearer to the robot uses, except for `policy/chunk`.
        message_type: Class of its messages.
        from_policy: Whether the policy publishes it; else the policy (and for joint states the controller) receives it.
    """

    topic: str
    message_type: type
    from_policy: bool = False

    @property
    def other_name(self) -> str:
        """What the remapped nodes use instead of `topic`."""
        return f"{PREFIX}/{self.topic.lstrip('/')}"


def routes(contract: RobotContract) -> list[Route]:
    """Every topic that can be disturbed."""
    cameras = [
        Route(topic=camera.topic, message_type=Image if camera.type.endswith("/Image") else CompressedImage)
        for camera in contract.cameras
    ]
    states = [Route(topic=topic, message_type=JointState) for topic in joint_state_topics(contract)]
    base = [
        Route(topic=BASE_CHUNK, message_type=MultiDOFJointTrajectory, from_policy=True),
        Route(topic=BASE_BUFFER, message_type=MultiDOFJointTrajectory),
    ]
    return [
        Route(topic=CHUNK, message_type=JointTrajectory, from_policy=True),
        Route(topic=BUFFER, message_type=JointTrajectory),
        *(base if has_base(contract) else []),
        Route(topic=ACCEPTED, message_type=Header),
        *states,
        *cameras,
    ]


def has_base(contract: RobotContract) -> bool:
    """Whether chunks and plans have a second part."""
    return any(driver.is_velocity for driver in contract.drivers)


def joint_state_topics(contract: RobotContract) -> list[str]:
    """Topics of the joint states."""
    return list(contract.joint_state_topics)


class Injector:
    """Passes serialised messages on, through the effects that are switched on.

    The executor's thread and the delay line's publish; the effects may be set from any thread.

    Args:
        node: Owner of subscriptions and publishers.
        contract: Robot.

    Attributes:
        passed: Topic -> messages that have left.
        last_ns: Topic -> when the last one left, on the system clock [ns].
    """

    def __init__(self, node: Node, contract: RobotContract) -> None:
        self._line = DelayLine(raise_priority)
        self._lock = threading.Lock()
        self._effects: dict[str, tuple[Effect, ...]] = {}
        # The policies that a run has keep the base where it is.
        self._always = {BASE_CHUNK: Sway(node, contract)} if has_base(contract) else {}
        self.passed: dict[str, int] = {}
        self.last_ns: dict[str, int] = {}
        self.publishers, self.subscriptions = [], []
        for route in routes(contract):
            here, there = route.topic, route.other_name
            source, target = (there, here) if route.from_policy else (here, there)
            publisher = node.create_publisher(route.message_type, target, DEEP)
            self.publishers.append(publisher)
            self.subscriptions.append(
                node.create_subscription(route.message_type, source, self._receiver(here, publisher), DEEP, raw=True)
            )

    def disturb(self, topic: str, effects: Sequence[Effect]) -> None:
        """From now on these effects act on a topic; none for an undisturbed one."""
        with self._lock:
            self._effects[topic] = tuple(effects)

    def clear(self) -> None:
        """No effect on any topic; what is under way still arrives."""
        with self._lock:
            self._effects.clear()

    def close(self) -> None:
        """Let nothing out any more."""
        self._line.close()

    def _receiver(self, topic: str, publisher):
        under_way, last_s = 0, 0.0  # messages in the delay line, and when the last of them leaves [s]

        def leave(message: bytes) -> None:
            publisher.publish(message)
            self.passed[topic] = self.passed.get(topic, 0) + 1
            self.last_ns[topic] = time.time_ns()

        def arrive(message: bytes) -> None:
            nonlocal under_way
            leave(message)
            with self._lock:
                under_way -= 1

        def later(delay_s: float, message: bytes) -> None:
            nonlocal under_way, last_s
            with self._lock:
                under_way, last_s = under_way + 1, max(last_s, time.monotonic() + delay_s)
            self._line.put(delay_s, lambda: arrive(message))

        def receive(message: bytes) -> None:
            with self._lock:
                effects = self._effects.get(topic, ())
                behind_s = max(0.0, last_s - time.monotonic()) + AFTER_S if under_way else 0.0
            if topic in self._always:
                message = self._always[topic](message)
            if not effects and behind_s:  # what comes undisturbed overtakes nothing that is still under way
                later(behind_s, message)
                return
            for delay_s, changed in apply_all(effects, message):
                if delay_s > 0:
                    later(delay_s, changed)
                else:
                    leave(changed)

        return receive
