"""Rerun, live or as a file: receives the nodes' topics and logs them. Needs `rerun-sdk`, and a screen when live."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

from diagnostic_msgs.msg import DiagnosticArray, DiagnosticStatus
from rclpy.clock import Clock, ClockType
from rclpy.node import Node
from rclpy.qos import DurabilityPolicy, QoSProfile, qos_profile_sensor_data
from std_msgs.msg import Float32MultiArray, Header
from trajectory_msgs.msg import JointTrajectory

from beingh_core.contract import RobotContract
from beingh_core.contract.eef_path import EefPaths, without_hold
from beingh_core.errors import BeingHError
from beingh_core.realtime.clock import TickClock, parse_stamp
from beingh_ros.messages.conversions import Trajectory, read_trajectory, stamp_to_ns
from beingh_ros.messages.diagnostics import read_status
from beingh_ros.messages.plan_messages import most_bytes
from beingh_ros.messages.state_messages import StateReader
from beingh_ros.messages.thresholds import OK
from beingh_ros.monitor.rerun_log import RerunLog
from beingh_ros.nodes.camera_input import CameraInput
from beingh_ros.nodes.guard import bounded

VIEWERS = ("none", "rerun")
LATCHED = QoSProfile(depth=10, durability=DurabilityPolicy.TRANSIENT_LOCAL)
MATCH_PERIOD_S = 0.5


class RerunViewer:
    """Logs what its subscriptions receive, at the time of the message stamps. Executor thread.

    Args:
        node: Owner of the subscriptions; its namespace is the robot's.
        contract: Robot.
        path: File to record to; None opens a viewer window.

    Raises:
        BeingHError: When rerun-sdk is not installed or the file cannot be written.
    """

    def __init__(self, node: Node, contract: RobotContract, *, path: Path | None = None) -> None:
        self._node, self._contract = node, contract
        self._log = RerunLog(contract, path)
        self._paths = EefPaths(contract)
        self._prefix = node.get_namespace().strip("/")
        self._newest: Trajectory | None = None  # of controller/buffer
        self._used: tuple[str, int] | None = None  # epoch and base tick [ns] of the newest merged chunk
        self._gate = ""
        self._levels: dict[str, int] = {}
        self._closed = False
        self._cameras = [
            CameraInput(node, camera, partial(self._log.picture, camera.name), lambda _error: None)
            for camera in contract.cameras
        ]
        self._timer = node.create_timer(MATCH_PERIOD_S, self._match, clock=Clock(clock_type=ClockType.STEADY_TIME))
        make, few = node.create_subscription, QoSProfile(depth=10)
        states = {topic: StateReader(contract, topic, contract.joint_names) for topic in contract.state_topics}
        self._subscriptions = [
            *(make(s.type, topic, partial(self._on_state, s), qos_profile_sensor_data) for topic, s in states.items()),
            make(JointTrajectory, "controller/buffer", self._plans(self._on_buffer), few, raw=True),
            make(Header, "controller/accepted", self._on_accepted, few),
            make(DiagnosticStatus, "controller/state", self._on_control, LATCHED),
            make(JointTrajectory, "policy/chunk", self._plans(self._on_chunk), few, raw=True),
            make(Float32MultiArray, "policy/latency", self._on_latency, few),
            make(DiagnosticArray, "/diagnostics", self._on_diagnostics, few),
        ]

    def close(self) -> None:
        """Receive nothing more and finish the recording."""
        if self._closed:
            return
        self._closed = True
        for camera in self._cameras:
            camera.close()
        for subscription in self._subscriptions:
            self._node.destroy_subscription(subscription)
        self._node.destroy_timer(self._timer)
        self._log.close()

    def _plans(self, take: Callable[[JointTrajectory], None]) -> Callable[[bytes], None]:
        return bounded(JointTrajectory, most_bytes(self._contract), take, lambda _error: None)

    def _match(self) -> None:
        for camera in self._cameras:
            camera.match_publishers()

    def _now_ns(self) -> int:
        return self._node.get_clock().now().nanoseconds

    def _on_state(self, reader: StateReader, message: Any) -> None:
        try:
            read = reader.read(message, self._now_ns())
        except BeingHError:
            return  # the nodes that need it say so
        stamp_ns, positions = read.stamp_ns, read.positions
        self._log.joints("measured", stamp_ns, positions)
        for arm in self._paths.arms:
            place = self._paths.at(arm, positions)
            if place is not None:
                self._log.place(arm.eef_frame, stamp_ns, place)

    def _on_buffer(self, message: JointTrajectory) -> None:
        read = _read(message)
        if read is None:
            return
        self._newest = read
        self._log.joints("commanded", read.stamp_ns, dict(zip(read.joints, read.positions[0].tolist())))
        self._log.number("chunk/steps_left", read.stamp_ns, self._steps_left(read))
        margin, rows = self._contract.uac.commit_margin, without_hold(read.positions)
        for arm in self._paths.arms:
            if set(arm.joints) <= set(read.joints):
                path = self._paths.along(arm, read.joints, rows)
                self._log.path(arm.eef_frame, "committed", read.stamp_ns, path[: margin + 1])
                self._log.path(arm.eef_frame, "predicted", read.stamp_ns, path[margin:])

    def _steps_left(self, plan: Trajectory) -> int:
        if self._used is None or self._used[0] != plan.frame_id:
            return 0
        passed = TickClock(self._contract.rate_hz, self._used[1]).nearest_tick(plan.stamp_ns)
        return max(0, self._contract.policy.chunk_length - passed)

    def _on_accepted(self, message: Header) -> None:
        stamp_ns = stamp_to_ns(message.stamp)
        self._used = message.frame_id, stamp_ns
        if self._newest is not None and self._newest.frame_id == message.frame_id:
            consumed = TickClock(self._contract.rate_hz, stamp_ns).nearest_tick(self._newest.stamp_ns)
            self._log.number("chunk/consumed_ticks", self._newest.stamp_ns, consumed)

    def _on_chunk(self, message: JointTrajectory) -> None:
        read = _read(message)
        if read is not None:
            self._log.chunk(read.stamp_ns + read.times_ns, read.joints, read.positions)

    def _on_latency(self, message: Float32MultiArray) -> None:
        for name, value in zip(("chunk/inference_ms", "chunk/latency_ms"), message.data):
            self._log.number(name, self._now_ns(), value)

    def _on_control(self, message: DiagnosticStatus) -> None:
        values = read_status(message)
        words = [values.get("state", ""), values.get("cause", ""), message.message]
        stamp_ns = parse_stamp(values.get("stamp_ns", "")) or self._now_ns()
        self._log.event("controller", stamp_ns, ord(message.level), ": ".join(word for word in words if word))

    def _on_diagnostics(self, message: DiagnosticArray) -> None:
        stamp_ns = stamp_to_ns(message.header.stamp) or self._now_ns()
        for status in message.status:
            node, _, component = status.name.partition(": ")
            if node.rpartition("/")[0] != self._prefix or not component:
                continue
            if self._levels.get(status.name, OK) != ord(status.level):
                self._log.event("diagnostics", stamp_ns, ord(status.level), f"{status.name}: {status.message}")
            self._levels[status.name] = ord(status.level)
            if component == "inference":
                self._note_gate(stamp_ns, read_status(status).get("gate", ""))

    def _note_gate(self, stamp_ns: int, gate: str) -> None:
        self._log.number("policy/gate", stamp_ns, gate == "open")
        if gate != self._gate:
            self._gate = gate
            self._log.event("policy", stamp_ns, OK, f"gate {gate}" if gate == "open" else f"gate closed: {gate}")


def _read(message: JointTrajectory) -> Trajectory | None:
    """The trajectory, None when there is nothing to log."""
    try:
        read = read_trajectory(message)
    except BeingHError:
        return None
    return read if len(read.positions) else None
