"""Messages made wrong: serialised message in, serialised message out."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Sequence

from rclpy.serialization import deserialize_message, serialize_message
from sensor_msgs.msg import JointState
from trajectory_msgs.msg import JointTrajectory

from beingh_ros.messages.conversions import ns_to_duration, stamp_to_ns


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


def _endless_epoch(message: JointTrajectory) -> None:
    message.header.frame_id = "0@" + "9" * 400


def _times_in_reverse(message: JointTrajectory) -> None:
    times = [point.time_from_start for point in message.points[1:-1]]
    for point, after in zip(message.points[1:-1], reversed(times)):
        point.time_from_start = after


CHUNK_CHANGES: dict[str, Callable[[bytes], bytes]] = {
    "nan": _on(JointTrajectory, lambda m: _set_position(m, math.nan)),
    "infinity": _on(JointTrajectory, lambda m: _set_position(m, math.inf)),
    "foreign_joint": _on(JointTrajectory, _foreign_joint),
    "missing_joint": _on(JointTrajectory, _missing_joint),
    "wrong_length": _on(JointTrajectory, _wrong_length),
    "wrong_dt": _on(JointTrajectory, _wrong_dt),
    "foreign_epoch": _on(JointTrajectory, _foreign_epoch),
    "no_epoch": _on(JointTrajectory, _no_epoch),
    "endless_epoch": _on(JointTrajectory, _endless_epoch),
    "times_in_reverse": _on(JointTrajectory, _times_in_reverse),
    "future": _on(JointTrajectory, _future),
    "far_away": _on(JointTrajectory, _far_away),
}


def gripper_steps(joints: Sequence[str], ends: Sequence[tuple[float, float]], row: int, period_s: float):
    """The given joints step to one end of their range at a row of the chunk, and to the other in later chunks.

    Args:
        joints: Names of the gripper's joints.
        ends: (lower, upper) of each.
        row: From which row on.
        period_s: Time between two changes of the end [s].
    """

    def apply(message: JointTrajectory) -> None:
        upper = int(time.monotonic() / period_s) % 2
        for name, range_ in zip(joints, ends):
            column = list(message.joint_names).index(name)
            for point in message.points[row:]:
                point.positions[column] = range_[upper]

    return _on(JointTrajectory, apply)


def stamped_ahead(message_type: type, seconds: int) -> Callable[[bytes], bytes]:
    """The stamp lies in the future."""

    def apply(message) -> None:
        message.header.stamp.sec += seconds

    return _on(message_type, apply)


def one_by_one(data: bytes) -> list[tuple[float, bytes]]:
    """One message for each joint in the place of one for all."""
    message = deserialize_message(data, JointState)
    parts = []
    for index, name in enumerate(message.name):
        part = JointState(header=message.header, name=[name], position=[message.position[index]])
        part.velocity = list(message.velocity[index : index + 1])
        parts.append((0.0, serialize_message(part)))
    return parts


def beside_efforts(data: bytes) -> list[tuple[float, bytes]]:
    """Another message beside each, with what the joints exert and nothing else."""
    message = deserialize_message(data, JointState)
    efforts = JointState(header=message.header, name=message.name, effort=[1.0] * len(message.name))
    return [(0.0, data), (0.0, serialize_message(efforts))]


def joint_state_with(joint: str, change: Callable[[float], float]) -> Callable[[bytes], bytes]:
    """Changes the measured position of one joint."""

    def apply(message: JointState) -> None:
        if joint in message.name:
            index = list(message.name).index(joint)
            message.position[index] = change(message.position[index])

    return _on(JointState, apply)
