"""Plans and chunks on the wire: joints in a JointTrajectory and, for a mobile base, velocities beside it.

The two messages of one plan have the same stamp and frame_id. Letters: T points, J commanded columns.
"""

from __future__ import annotations

import array
import math
from dataclasses import replace

import numpy as np
from builtin_interfaces.msg import Duration
from geometry_msgs.msg import Twist
from std_msgs.msg import Header
from trajectory_msgs.msg import (
    JointTrajectory,
    JointTrajectoryPoint,
    MultiDOFJointTrajectory,
    MultiDOFJointTrajectoryPoint,
)

from beingh_core.contract import RobotContract
from beingh_core.errors import BeingHError, shown
from beingh_core.realtime.clock import TickClock
from beingh_ros.messages.conversions import (
    Trajectory,
    ns_to_duration,
    ns_to_stamp,
    read_trajectory,
    stamp_to_ns,
)

BASE = "base"
# Bytes of a point beside its numbers, and of a message beside its points and names.
POINT_BYTES, MESSAGE_BYTES = 96, 1024
FEW = 16


class PlanWriter:
    """Makes the messages of rows (T, J). From one thread.

    Args:
        contract: Order of the columns, rate, and axes of the base.
    """

    def __init__(self, contract: RobotContract) -> None:
        self._from_stamp = TickClock(contract.rate_hz, 0)
        is_velocity = contract.limits.is_velocity
        self._columns, self._base = np.flatnonzero(~is_velocity), np.flatnonzero(is_velocity)
        self._names = [contract.joint_names[column] for column in self._columns]
        self._axes = base_axes(contract)
        self._after: list[Duration] = []

    def joints(self, rows_TJ: np.ndarray, stamp_ns: int, frame_id: str) -> JointTrajectory:
        """Positions of the joints; point i is i periods after the stamp."""
        message = JointTrajectory(joint_names=self._names, header=_header(stamp_ns, frame_id))
        # Arrays pass the message's setters without a check of every element.
        message.points = [
            JointTrajectoryPoint(positions=array.array("d", row.tobytes()), time_from_start=after)
            for row, after in zip(np.ascontiguousarray(rows_TJ[:, self._columns], dtype=float), self._times(rows_TJ))
        ]
        return message

    def base(self, rows_TJ: np.ndarray, stamp_ns: int, frame_id: str) -> MultiDOFJointTrajectory | None:
        """Velocities of the base, None when the robot has none."""
        if not len(self._base):
            return None
        message = MultiDOFJointTrajectory(joint_names=[BASE], header=_header(stamp_ns, frame_id))
        for row, after in zip(rows_TJ[:, self._base].tolist(), self._times(rows_TJ)):
            twist = Twist()
            for (part, axis), value in zip(self._axes, row):
                setattr(getattr(twist, part), axis, value)
            message.points.append(MultiDOFJointTrajectoryPoint(velocities=[twist], time_from_start=after))
        return message

    def _times(self, rows_TJ: np.ndarray) -> list[Duration]:
        for step in range(len(self._after), len(rows_TJ)):
            self._after.append(ns_to_duration(self._from_stamp.stamp_ns(step)))
        return self._after


class PlanReader:
    """Puts the parts of a plan together again. From one thread.

    A robot without a base has one part, which is complete as it comes.

    Args:
        contract: Robot; a part waits half a tick for the other.
    """

    def __init__(self, contract: RobotContract) -> None:
        self._names = tuple(np.array(contract.joint_names)[contract.limits.is_velocity].tolist())
        self._axes = base_axes(contract)
        self._patience_ns = TickClock(contract.rate_hz, 0).period_ns // 2
        self._waiting: dict[tuple[str, int], dict[str, tuple[int, Trajectory]]] = {}

    @property
    def has_base(self) -> bool:
        """Whether there are two parts."""
        return bool(self._names)

    def joints(self, message: JointTrajectory, now_ns: int) -> Trajectory | None:
        """Take the joints' part; the plan when it is complete.

        Raises:
            BeingHError: The message cannot be read, or the parts do not fit together.
        """
        read = read_trajectory(message)
        return self._pair("joints", read, now_ns) if self._names else read

    def base(self, message: MultiDOFJointTrajectory, now_ns: int) -> Trajectory | None:
        """Take the base's part; see `joints`."""
        return self._pair("base", self._read_base(message), now_ns)

    def expired(self, now_ns: int) -> list[str]:
        """What lacks of every plan that has waited for too long; it is dropped."""
        late = [
            (key, next(iter(parts)))
            for key, parts in self._waiting.items()
            if now_ns - next(iter(parts.values()))[0] > self._patience_ns
        ]
        for key, _ in late:
            del self._waiting[key]
        return ["base" if part == "joints" else "joints" for _, part in late]

    def _pair(self, part: str, read: Trajectory, now_ns: int) -> Trajectory | None:
        key = (read.frame_id, read.stamp_ns)
        parts = self._waiting.setdefault(key, {})
        parts[part] = (now_ns, read)
        if len(parts) < 2:
            return None
        del self._waiting[key]
        joints, base = parts["joints"][1], parts["base"][1]
        if not np.array_equal(joints.times_ns, base.times_ns):
            raise BeingHError("the points of the joints and of the base are not at the same times")
        return replace(
            joints, joints=joints.joints + base.joints, positions=np.hstack([joints.positions, base.positions])
        )

    def _read_base(self, message: MultiDOFJointTrajectory) -> Trajectory:
        if list(message.joint_names) != [BASE] or any(len(point.velocities) != 1 for point in message.points):
            raise BeingHError(
                f"base trajectory has joints {shown(list(message.joint_names))}",
                allowed=[BASE],
                remedy="one velocity a point",
            )
        rows = [
            [getattr(getattr(point.velocities[0], part), axis) for part, axis in self._axes] for point in message.points
        ]
        return Trajectory(
            stamp_ns=stamp_to_ns(message.header.stamp),
            frame_id=message.header.frame_id,
            joints=self._names,
            positions=np.array(rows, dtype=float).reshape(len(rows), len(self._names)),
            times_ns=np.array([stamp_to_ns(point.time_from_start) for point in message.points], dtype=np.int64),
        )


def most_bytes(contract: RobotContract) -> int:
    """More than the size of a plan or a chunk of this robot, with velocities and all else beside the positions [bytes].

    A plan is a chunk and the way to rest.
    """
    limits, joints = contract.limits, len(contract.joint_names)
    speed = np.where(limits.is_velocity, np.maximum(limits.upper, -limits.lower), limits.velocity)
    rest_s = float((speed / limits.acceleration + 2 * limits.acceleration / limits.jerk).max())
    points = 2 * (contract.policy.chunk_length + math.ceil(rest_s * contract.rate_hz)) + FEW
    names = sum(len(name) + 8 for name in contract.joint_names)
    return MESSAGE_BYTES + 2 * names + points * (POINT_BYTES + 4 * 8 * joints)


def base_axes(contract: RobotContract) -> list[tuple[str, str]]:
    """(part, axis) of a Twist for each velocity column, in order."""
    drivers = [driver for driver in contract.drivers if driver.is_velocity]
    return [tuple(axis.split(".")) for driver in drivers for axis in driver.options["axes"]]


def _header(stamp_ns: int, frame_id: str) -> Header:
    return Header(stamp=ns_to_stamp(stamp_ns), frame_id=frame_id)
