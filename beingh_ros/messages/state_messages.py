"""State messages of any type that a contract names, as positions by joint and as numbers of a pose or of fields."""

from __future__ import annotations

import importlib
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import numpy as np
from sensor_msgs.msg import JointState

from beingh_core.contract import RobotContract, StateSignal
from beingh_core.contract.schema import ROTATION_SLOTS
from beingh_core.contract.sources import JOINT_STATE, POSES, TF, number_at, numbers_at
from beingh_core.errors import BeingHError, shown
from beingh_core.rotations import to_axis_angle
from beingh_ros.messages.conversions import joint_positions, joint_velocities, stamp_to_ns

_XYZ, _XYZW = ("x", "y", "z"), ("x", "y", "z", "w")
# A quaternion whose length differs from 1 by more than this is none.
_UNIT = 0.01


@dataclass(frozen=True)
class StateMessage:
    """What a message says.

    Attributes:
        stamp_ns: its header stamp [ns]; of a type without a header when it was received, if that is known, else 0.
        positions: name of `StateSignal.values` -> number, of joints in rad or m.
        velocities: joint -> velocity [rad/s or m/s], where there are any.
    """

    stamp_ns: int
    positions: dict[str, float]
    velocities: dict[str, float]


class StateReader:
    """Reads the messages of one topic.

    Args:
        contract: Robot.
        topic: As the contract names it.
        wanted: Joints that may come once only in a message; default: all that the contract reads from the topic.

    Attributes:
        type: Class of the messages.
        wanted: Names in messages of those joints.
        shared: Whether others publish there about other things, so that a message may rightly hold nothing of ours.
        nothing: Says that a message holds nothing of ours.

    Raises:
        BeingHError: The message type is not installed.
    """

    def __init__(self, contract: RobotContract, topic: str, wanted: Iterable[str] | None = None) -> None:
        self._signals = [signal for signal in contract.state if signal.topic == topic]
        kind = self._signals[0].type if self._signals else JOINT_STATE
        self.type = message_type(kind)
        self._topic, self._wire = topic, contract.wire_of(topic)
        names = dict(zip(self._wire.joints, self._wire.names))
        self.wanted = frozenset(names.get(joint, joint) for joint in (self._wire.joints if wanted is None else wanted))
        self._is_joint_state = kind == JOINT_STATE
        self.shared = kind == TF
        pairs = sorted({f"from `{signal.frame_id}` to `{signal.child_frame_id}`" for signal in self._signals})
        what = f"transform {' or '.join(pairs)}" if self.shared else "positions"
        self.nothing = f"the newest message holds no {what}"
        self._has_header = "header" in self.type.get_fields_and_field_types()

    def read(self, message: Any, received_ns: int = 0) -> StateMessage:
        """The numbers of a message; without positions where it holds none.

        Args:
            message: Of `type`.
            received_ns: When it came [ns], 0 where nobody knows.

        Raises:
            BeingHError: A joint comes twice, a field is missing, a pose is between other frames or no pose.
        """
        if self.shared:
            return self._read_transforms(message)
        stamp_ns = stamp_to_ns(message.header.stamp) if self._has_header else received_ns
        if self._is_joint_state:
            return self._read_joint_state(message, stamp_ns)
        positions: dict[str, float] = {}
        for signal in self._signals:
            if signal.source == "pose":
                numbers = _pose(signal, message)
            else:
                numbers = self._numbers(signal, message)
            positions.update(numbers)
        return StateMessage(stamp_ns, positions, {})

    def _read_joint_state(self, message: JointState, stamp_ns: int) -> StateMessage:
        positions = joint_positions(message, self.wanted)
        velocities = joint_velocities(message)
        return StateMessage(stamp_ns, self._wire.positions(positions), self._wire.velocities(velocities))

    def _read_transforms(self, message: Any) -> StateMessage:
        """The transforms between the signals' frames; the oldest stamp where they differ."""
        positions: dict[str, float] = {}
        stamps = []
        for signal in self._signals:
            wanted = (signal.frame_id, signal.child_frame_id)
            found = [t for t in message.transforms if (t.header.frame_id, t.child_frame_id) == wanted]
            if found:
                positions.update(_pose(signal, found[-1]))
                stamps.append(stamp_to_ns(found[-1].header.stamp))
        return StateMessage(min(stamps, default=0), positions, {})

    def _numbers(self, signal: StateSignal, message: Any) -> dict[str, float]:
        try:
            numbers = numbers_at(message, signal.fields)
        except (AttributeError, IndexError, TypeError, ValueError) as error:
            raise BeingHError(
                f"`{signal.type}` has no number in one of {', '.join(signal.fields)} ({error})",
                remedy="correct `field` and `indices` in the contract: `ros2 topic echo` shows what comes",
            ) from None
        if signal.wire is None:
            return dict(zip(signal.values, numbers))
        return signal.wire.positions(dict(zip(signal.wire.names, numbers)))


def message_type(name: str) -> type:
    """The class of a message type such as `nav_msgs/msg/Odometry`.

    Raises:
        BeingHError: It is not installed.
    """
    package, _, kind = name.split("/")
    try:
        return getattr(importlib.import_module(f"{package}.msg"), kind)
    except (ImportError, AttributeError) as error:
        raise BeingHError(
            f"the state needs the message type {name}, which is not installed ({error})",
            remedy=f"`sudo apt install ros-$ROS_DISTRO-{package.replace('_', '-')}`, or build {package} in your workspace",
        ) from error


def _pose(signal: StateSignal, message: Any) -> dict[str, float]:
    """Position [m] or rotation vector [rad] of a measured pose."""
    for key, wanted, found in (
        ("frame_id", signal.frame_id, message.header.frame_id),
        ("child_frame_id", signal.child_frame_id, getattr(message, "child_frame_id", "")),
    ):
        if wanted and found != wanted:
            raise BeingHError(
                f"the {key} of a pose is {shown(found)}",
                allowed=wanted,
                remedy="publish it there, or correct the contract",
            )
    position, orientation = POSES[signal.type]
    if signal.slot not in (*ROTATION_SLOTS, "base_rotation"):
        numbers = [number_at(message, f"{position}.{axis}") for axis in _XYZ]
        return dict(zip(signal.values, numbers))
    quaternion = np.array([number_at(message, f"{orientation}.{axis}") for axis in _XYZW])
    if not abs(float(np.linalg.norm(quaternion)) - 1.0) <= _UNIT:
        raise BeingHError(f"the orientation {shown(quaternion.tolist())} is no unit quaternion", allowed="length 1")
    return dict(zip(signal.values, to_axis_angle(quaternion, "quaternion_xyzw").tolist()))
