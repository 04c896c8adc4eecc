"""A bag of each of the demo's episodes, written by the `record` node, which is told when and what over its own topics."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace

from diagnostic_msgs.msg import DiagnosticStatus
from rclpy.qos import DurabilityPolicy, QoSProfile
from std_msgs.msg import String

from beingh_core.contract import RobotContract
from beingh_ros.bringup import ProcessSpec
from beingh_ros.demo.session import CALL_TIMEOUT_S, START_TIMEOUT_S, DemoSession
from beingh_ros.messages.diagnostics import read_status
from beingh_ros.nodes.graph import QUIET_PUBLISHER
from beingh_ros.record.commands import FAILURE, SUCCESS
from beingh_ros.record.recorder import IDLE, RECORDING
from beingh_ros.record.topics import ACCEPTED, COMMAND, INSTRUCTION, STATE

RECORDER = "record"  # name of the node


def episodes_only(specs: Iterable[ProcessSpec]) -> list[ProcessSpec]:
    """Processes of which the recorder is as needed as any, and keeps nothing of what was before an episode."""
    parameters = lambda spec: {**spec.parameters, **({"preroll_s": 0.0} if spec.name == RECORDER else {})}
    return [replace(spec, essential=True, parameters=parameters(spec)) for spec in specs]


class EpisodeRecording:
    """Begins and ends bags; main thread.

    Args:
        session: The demo's hold on the nodes, of which one is the recorder.
        contract: Robot.
    """

    def __init__(self, session: DemoSession, contract: RobotContract) -> None:
        self._session = session
        cameras = [camera.topic for camera in contract.cameras]
        self._topics = [*cameras, *contract.joint_state_topics, "controller/buffer", ACCEPTED, INSTRUCTION]
        self._state: dict[str, str] = {}
        latched = QoSProfile(depth=1, durability=DurabilityPolicy.TRANSIENT_LOCAL)
        session.node.create_subscription(DiagnosticStatus, STATE, self._on_state, latched)
        self._commands = session.node.create_publisher(String, COMMAND, 10, event_callbacks=QUIET_PUBLISHER)

    def discover(self) -> None:
        """Wait until the recorder takes commands, and hears what an episode consists of."""
        self._session.wait(
            lambda: self._state and self._commands.get_subscription_count(), START_TIMEOUT_S, "the recorder's state"
        )
        for topic in self._topics:
            self._session.wait(
                lambda name=topic: self._hears(name), START_TIMEOUT_S, f"the recorder's subscribing to {topic}"
            )

    def start(self, task: str) -> None:
        """Begin a bag."""
        self._tell(f"start {task}")
        begun = lambda: self._state.get("state") == RECORDING and self._state.get("task") == task
        self._session.wait(begun, CALL_TIMEOUT_S, "the recorder's beginning of an episode")

    def stop(self, success: bool) -> None:
        """End it with the verdict, and wait until it is on the disk."""
        name = self._state.get("episode", "")
        self._tell(f"stop {SUCCESS if success else FAILURE}")
        written = lambda: self._state.get("state") == IDLE and self._state.get("last", "").startswith(f"{name}:")
        self._session.wait(written, CALL_TIMEOUT_S, f"the recorder's writing of {name}")

    def _tell(self, command: str) -> None:
        self._commands.publish(String(data=command))

    def _hears(self, topic: str) -> bool:
        node = self._session.node
        return any(
            one.node_name == RECORDER for one in node.get_subscriptions_info_by_topic(node.resolve_topic_name(topic))
        )

    def _on_state(self, message: DiagnosticStatus) -> None:
        self._state = read_status(message)
