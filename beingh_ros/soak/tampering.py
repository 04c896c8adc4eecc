"""Messages made wrong: serialised message in, serialised message out."""

from __future__ import annotations

import math
from collections.abc import Callable

from rclpy.serialization import deserialize_message, serialize_message
from sensor_msgs.msg import JointState
from trajectory_msgs.msg import JointTrajectory

from beingh_ros.conversions import ns_to_duration, stamp_to_ns


def _on(message_type: type, change: Callable[[object], None]) -> Callable[[bytes], bytes]:
    def tamper(data: bytes) -> bytes:
        message = deserialize_message(data, message_type)
        change(message)
        return serialize_message(message)

    return tamper


def _set_position(message: JointTrajectory, value: float) -> None:
    point = message.points[len(message.points) // 2]
    point.positions[0] = value


def _foreign_joint(message: JointTrajectory) -> None:
    message.joint_names = ["somebody_elses_joint", *message.joint_names[1:]]


def _missing_joint(message: JointTrajectory) -> None:
    message.joint_names = list(message.joint_names[:-1])
    for point in message.points:
        point.positions = point.positions[:-1]


def _wrong_length(message: JointTrajectory) -> None:
    message.points = message.points[: len(message.points) // 2]


def _wrong_dt(message: JointTrajectory) -> None:
    for point in message.points:
        point.time_from_start = ns_to_duration(2 * stamp_to_ns(point.time_from_start))


def _foreign_epoch(message: JointTrajectory) -> None:
    message.header.frame_id = "99@1000000000"


def _no_epoch(message: JointTrajectory) -> None:
    message.header.frame_id = "base_link"


def _future(message: JointTrajectory) -> None:
    message.header.stamp.sec += 60


def _far_away(message: JointTrajectory) -> None:
    for point in message.points[len(message.points) // 2 :]:
        point.positions = [1e3] * len(point.positions)


CHUNK_CHANGES: dict[str, Callable[[bytes], bytes]] = {
    "nan": _on(JointTrajectory, lambda m: _set_position(m, math.nan)),
    "infinity": _on(JointTrajectory, lambda m: _set_position(m, math.inf)),
    "foreign_joint": _on(JointTrajectory, _foreign_joint),
    "missing_joint": _on(JointTrajectory, _missing_joint),
    "wrong_length": _on(JointTrajectory, _wrong_length),
    "wrong_dt": _on(JointTrajectory, _wrong_dt),
    "foreign_epoch": _on(JointTrajectory, _foreign_epoch),
    "no_epoch": _on(JointTrajectory, _no_epoch),
    "future": _on(JointTrajectory, _future),
    "far_away": _on(JointTrajectory, _far_away),
}


def joint_state_with(joint: str, change: Callable[[float], float]) -> Callable[[bytes], bytes]:
    """Changes the measured position of one joint."""

    def apply(message: JointState) -> None:
        if joint in message.name:
            index = list(message.name).index(joint)
            message.position[index] = change(message.position[index])

    return _on(JointState, apply)
