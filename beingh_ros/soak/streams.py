"""What the onlooker receives of commands that are no trajectories: LowCmd of a G1, velocities and odometry of a base."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from geometry_msgs.msg import Twist, TwistStamped
from rclpy.node import Node
from rclpy.qos import QoSProfile

from beingh_core.contract import Driver, RobotContract
from beingh_core.contract.simulation import ODOMETRY
from beingh_core.evaluate.arm_sdk import LowCommands, joined, judge_arm_sdk, read_low_commands, used_motors
from beingh_core.evaluate.base import BaseRecord, judge_base
from beingh_core.evaluate.stream_figures import StreamFigures
from beingh_ros.messages.conversions import stamp_to_ns
from beingh_ros.messages.state_messages import message_type

DEEP = QoSProfile(depth=5000)
MOST_UNREAD = 2500  # messages
_UPPER_BODY = 12  # motor of the first joint of the waist
_WAIST = ("waist_yaw_joint", "waist_roll_joint", "waist_pitch_joint")
_ARM = ("shoulder_pitch", "shoulder_roll", "shoulder_yaw", "elbow", "wrist_roll", "wrist_pitch", "wrist_yaw")
# Of a G1 with 29 motors, by Unitree's page.
MOTORS = {
    joint: _UPPER_BODY + index
    for index, joint in enumerate((*_WAIST, *(f"{side}_{part}_joint" for side in ("left", "right") for part in _ARM)))
}


class ArmSdkStream:
    """Keeps of every LowCmd what is judged. Executor thread.

    A message has a kilobyte, and 250 come a second: they are read, many at a time, as they come.
    """

    def __init__(self, node: Node, contract: RobotContract, driver: Driver) -> None:
        self._driver = driver
        velocity, names = contract.limits.velocity, list(contract.joint_names)
        self._arms = {joint: (MOTORS[joint], float(velocity[names.index(joint)])) for joint in driver.joints}
        self._held = {joint: MOTORS[joint] for joint in driver.options["hold"]}
        self._used = used_motors(self._arms, self._held)
        self._messages: list[tuple[int, bytes]] = []
        self._read: list[LowCommands] = []
        kind = message_type("unitree_hg/msg/LowCmd")
        self._subscription = node.create_subscription(kind, driver.groups[0].topic, self._take, DEEP, raw=True)

    def _take(self, message: bytes, info: dict) -> None:
        self._messages.append((info["source_timestamp"], bytes(message)))
        if len(self._messages) >= MOST_UNREAD:
            self._keep()

    def _keep(self) -> None:
        self._read.append(read_low_commands(self._messages).of(self._used))
        self._messages.clear()

    def judged(self, _stopped_ns: Sequence[int], halts: Sequence[tuple[int, int]]) -> StreamFigures:
        """What is to be said of it, with the times in which the controller did not run [ns]."""
        self._keep()
        options = self._driver.options
        return judge_arm_sdk(
            joined(self._read),
            arms=self._arms,
            held=self._held,
            ramp_in_s=options["ramp_in_s"],
            ramp_out_s=options["ramp_out_s"],
            halts=halts,
        )


class BaseStream:
    """Keeps every velocity and every odometry. Executor thread."""

    def __init__(self, node: Node, contract: RobotContract, driver: Driver) -> None:
        self._contract, self._driver = contract, driver
        self._axes = [axis.split(".") for axis in driver.options["axes"]]
        self._sent: list[tuple[int, list[float]]] = []
        self._measured: list[tuple[int, list[float]]] = []
        kind = TwistStamped if driver.options["stamped"] else Twist
        self._subscriptions = [node.create_subscription(kind, driver.groups[0].topic, self._on_twist, DEEP)]
        topics = dict.fromkeys(signal.topic for signal in contract.state if signal.type == ODOMETRY)
        self._subscriptions += [
            node.create_subscription(message_type(ODOMETRY), topic, self._on_odometry, DEEP) for topic in topics
        ]

    def _numbers(self, twist: Any) -> list[float]:
        return [getattr(getattr(twist, part), axis) for part, axis in self._axes]

    def _on_twist(self, message: Any, info: dict) -> None:
        self._sent.append((info["source_timestamp"], self._numbers(getattr(message, "twist", message))))

    def _on_odometry(self, message: Any) -> None:
        self._measured.append((stamp_to_ns(message.header.stamp), self._numbers(message.twist.twist)))

    def judged(self, stopped_ns: Sequence[int], _halts: Sequence[tuple[int, int]]) -> StreamFigures:
        """What is to be said of it, with the times of the stops [ns]."""
        contract, joints = self._contract, self._driver.joints
        columns = [contract.joint_names.index(joint) for joint in joints]
        sent_ns, velocities = _columns(self._sent, len(joints))
        odometry_ns, measured = _columns(self._measured, len(joints))
        record = BaseRecord(
            joints=joints,
            sent_ns=sent_ns,
            velocities=velocities,
            odometry_ns=odometry_ns,
            measured=measured,
            rate_hz=self._driver.options["rate_hz"],
            lower=contract.limits.lower[columns],
            upper=contract.limits.upper[columns],
            acceleration=contract.limits.acceleration[columns],
        )
        return judge_base(record, stopped_ns)


def _columns(notes: list[tuple[int, list[float]]], width: int) -> tuple[np.ndarray, np.ndarray]:
    times_ns = np.array([time_ns for time_ns, _ in notes], np.int64)
    return times_ns, np.array([row for _, row in notes], float).reshape(len(notes), width)


_STREAMS: dict[str, Callable[..., ArmSdkStream | BaseStream]] = {
    "unitree_g1_arm_sdk": ArmSdkStream,
    "twist_base": BaseStream,
}


def streams_of(node: Node, contract: RobotContract) -> list[ArmSdkStream | BaseStream]:
    """One for each driver that streams what has rules of its own.

    Raises:
        BeingHError: its messages are not installed.
    """
    return [_STREAMS[driver.kind](node, contract, driver) for driver in contract.drivers if driver.kind in _STREAMS]
