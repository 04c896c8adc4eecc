"""An onlooker on the wire: receives what policy, controller and driver say, and keeps it for the audit.

It runs outside the controller and takes nothing from it but messages.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from functools import partial

import numpy as np
from rclpy.node import Node
from rclpy.qos import QoSProfile
from std_msgs.msg import Header
from trajectory_msgs.msg import JointTrajectory

from beingh_core.contract import RobotContract
from beingh_core.errors import BeingHError
from beingh_core.evaluate.wire import WireLog
from beingh_ros.messages.conversions import Trajectory, read_trajectory, stamp_to_ns

# Deep enough that nothing is lost while this process is held up for seconds.
DEEP = QoSProfile(depth=1000)
# Plans in a row that must hold one posture: the commands of the two ticks before a stop decide how it brakes.
REST_TICKS = 4


class Observer:
    """Subscribes the driver's topics, controller/buffer, controller/accepted and policy/chunk. Executor thread writes.

    Args:
        node: Owner of the subscriptions.
        contract: Robot.
        received: Called after every message, without arguments.

    Attributes:
        log: Everything received.
        epoch: Newest epoch.
        plan_received_s: When controller/buffer was received last, monotonic [s].
    """

    def __init__(self, node: Node, contract: RobotContract, received: Callable[[], None]) -> None:
        groups = contract.driver.groups
        self.log = WireLog(
            joints=contract.joint_names, groups=[group.joints for group in groups], rate_hz=contract.rate_hz
        )
        self.epoch = ""
        self.plan_received_s = float("-inf")
        self._posture: np.ndarray | None = None  # what the newest plans hold
        self._held = 0  # how many plans in a row hold nothing but that
        self._received = received
        make = partial(node.create_subscription, qos_profile=DEEP)
        self.subscriptions = [
            *(make(JointTrajectory, group.topic, self._on_command(index)) for index, group in enumerate(groups)),
            make(JointTrajectory, "controller/buffer", self._on_buffer),
            make(Header, "controller/accepted", self._on_accepted),
            make(JointTrajectory, "policy/chunk", self._on_chunk),
        ]

    @property
    def at_rest(self) -> bool:
        """Whether the robot was and will be sent one and the same posture, so that a stop changes nothing."""
        return self._held >= REST_TICKS

    def silent_s(self) -> float:
        """Time since the controller's last publication [s]."""
        return time.monotonic() - self.plan_received_s

    def _on_command(self, group: int) -> Callable[[JointTrajectory, dict], None]:
        # The middleware's time of reception does not contain the wait for this process's executor.
        def receive(message: JointTrajectory, info: dict) -> None:
            read = self._read(message)
            if read is not None:
                received_ns = info.get("received_timestamp") or time.monotonic_ns()
                self.log.command(group, read.stamp_ns, read.joints, read.positions, received_ns)
            self._received()

        return receive

    def _on_buffer(self, message: JointTrajectory) -> None:
        read = self._read(message)
        if read is not None and len(read.positions):
            self.log.buffer(read.frame_id, read.stamp_ns, read.joints, read.positions)
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
