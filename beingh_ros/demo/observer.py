"""An onlooker on the wire: receives what policy, controller and driver say, and keeps it for the audit.

It runs outside the controller and takes nothing from it but messages.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from functools import partial

import numpy as np
from diagnostic_msgs.msg import DiagnosticStatus
from rclpy.node import Node
from rclpy.qos import DurabilityPolicy, QoSProfile
from std_msgs.msg import Header
from trajectory_msgs.msg import JointTrajectory

from beingh_core.contract import RobotContract
from beingh_core.contract.schema import DriverGroup
from beingh_core.errors import BeingHError
from beingh_core.evaluate.stops import StopReport
from beingh_core.evaluate.wire import WireLog
from beingh_ros.messages.controller_state import STOPPED, STOPPING, read_state
from beingh_ros.messages.conversions import Trajectory, read_trajectory, stamp_to_ns
from beingh_ros.nodes.graph import sent_ns

# Deep enough that nothing is lost while this process is held up for seconds.
DEEP = QoSProfile(depth=1000)
LATCHED = QoSProfile(depth=50, durability=DurabilityPolicy.TRANSIENT_LOCAL)
# Plans in a row that must hold one posture: the commands of the two ticks before a stop decide how it brakes.
REST_TICKS = 4


class Observer:
    """Subscribes the drivers' topics, controller/buffer, controller/accepted and policy/chunk. Executor thread writes.

    Of joints that no trajectory goes out for (actions, streams between the ticks), the plan of a tick counts as what was sent:
    the first row of the publication before it, which nothing may change any more. Velocities of a base are left out.

    Args:
        node: Owner of the subscriptions.
        contract: Robot.
        received: Called after every message, without arguments.

    Attributes:
        log: Everything received.
        planned: Joints of which the plan stands for what was sent.
        epoch: Newest epoch.
        stops: What the controller has reported of its stops.
        plan_received_s: When controller/buffer was received last, monotonic [s].
    """

    def __init__(self, node: Node, contract: RobotContract, received: Callable[[], None]) -> None:
        joints = positioned(contract)
        groups = [g for driver in contract.drivers if driver.kind == "joint_trajectory" for g in driver.groups]
        seen = [joint for group in groups for joint in group.joints]
        self.planned = tuple(joint for joint in joints if joint not in seen)
        named = [group.joints for group in groups]
        self.log = WireLog(
            joints=joints, groups=[*named, self.planned] if self.planned else named, rate_hz=contract.rate_hz
        )
        self.epoch = ""
        self.plan_received_s = float("-inf")
        self.stops: list[StopReport] = []
        self._posture: np.ndarray | None = None  # what the newest plans hold
        self._held = 0  # how many plans in a row hold nothing but that
        self._received = received
        make = partial(node.create_subscription, qos_profile=DEEP)
        self.subscriptions = [
            *(make(JointTrajectory, group.topic, self._on_command(index, group)) for index, group in enumerate(groups)),
            make(JointTrajectory, "controller/buffer", self._on_buffer),
            make(Header, "controller/accepted", self._on_accepted),
            make(JointTrajectory, "policy/chunk", self._on_chunk),
            node.create_subscription(DiagnosticStatus, "controller/state", self._on_state, LATCHED),
        ]

    @property
    def at_rest(self) -> bool:
        """Whether the robot was and will be sent one and the same posture, so that a stop changes nothing."""
        return self._held >= REST_TICKS

    def silent_s(self) -> float:
        """Time since the controller's last publication [s]."""
        return time.monotonic() - self.plan_received_s

    def _on_command(self, index: int, group: DriverGroup) -> Callable[[JointTrajectory, dict], None]:
        def receive(message: JointTrajectory, info: dict) -> None:
            read = self._read(message)
            if read is not None:
                joints, positions = in_contract(group, read)
                self.log.command(
                    index, read.stamp_ns, joints, positions, _received_ns(info), sent_ns=sent_ns(info) or None
                )
            self._received()

        return receive

    def _on_buffer(self, message: JointTrajectory, info: dict) -> None:
        read = self._read(message)
        if read is not None and len(read.positions):
            if self.planned and set(self.planned) <= set(read.joints):
                columns = [read.joints.index(joint) for joint in self.planned]
                row, group = np.asarray(read.positions)[:1, columns], len(self.log.groups) - 1
                told = {"received_ns": _received_ns(info), "sent_ns": sent_ns(info) or None}
                self.log.command(group, read.stamp_ns, self.planned, row, **told)
            self.log.buffer(read.frame_id, read.stamp_ns, read.joints, read.positions, sent_ns=sent_ns(info) or None)
            self.epoch, self.plan_received_s = read.frame_id, time.monotonic()
            self._note_plan(read.positions)
        self._received()

    def _note_plan(self, plan_MJ: np.ndarray) -> None:
        holds = bool((plan_MJ == plan_MJ[0]).all())
        same = holds and self._posture is not None and np.array_equal(self._posture, plan_MJ[0])
        self._held = (self._held + 1 if same else 1) if holds else 0
        self._posture = plan_MJ[0]

    def _on_accepted(self, message: Header) -> None:
        self.log.accepted(message.frame_id, stamp_to_ns(message.stamp))

    def _on_state(self, message: DiagnosticStatus, info: dict) -> None:
        status = read_state(message)
        if status.state in (STOPPING, STOPPED) and sent_ns(info):
            self.stops.append(StopReport(epoch=status.epoch, stamp_ns=status.stamp_ns, sent_ns=sent_ns(info)))

    def _on_chunk(self, message: JointTrajectory) -> None:
        read = self._read(message)
        if read is not None:
            self.log.chunk(read.frame_id, read.stamp_ns, read.joints, read.positions)
        self._received()

    def _read(self, message: JointTrajectory) -> Trajectory | None:
        try:
            return read_trajectory(message)
        except BeingHError:
            self.log.unreadable += 1
            return None


def positioned(contract: RobotContract) -> tuple[str, ...]:
    """What a contract commands the position of: all but the velocities of a base."""
    return tuple(n for n, moves in zip(contract.joint_names, contract.limits.is_velocity) if not moves)


def in_contract(group: DriverGroup, read: Trajectory) -> tuple[tuple[str, ...], np.ndarray]:
    """Joints and (T, G) positions [rad or m] of a command, which has the names and units of its group."""
    wire = group.wire
    if wire is None or wire.is_plain:
        return read.joints, np.asarray(read.positions)
    rows = [wire.positions(dict(zip(read.joints, row))) for row in np.asarray(read.positions).tolist()]
    joints = tuple(rows[0]) if rows else ()
    return joints, np.array([[row[joint] for joint in joints] for row in rows])


def _received_ns(info: dict) -> int:
    """The middleware's time of reception, which does not contain the wait for this process's executor [ns]."""
    return info.get("received_timestamp") or time.monotonic_ns()
