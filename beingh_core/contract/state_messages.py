"""State messages of any type that a contract names, as positions by joint and as numbers of a pose or of fields.

A message is anything with the fields of its type: rclpy's own, or what a bag's reader makes of it. Live nodes and export
read with this code.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Container, Iterable
from dataclasses import dataclass
from typing import Any

import numpy as np

from beingh_core.contract.schema import ROTATION_SLOTS, RobotContract, StateSignal
from beingh_core.contract.sources import JOINT_STATE, POSES, TF, number_at, numbers_at
from beingh_core.errors import BeingHError, shown
from beingh_core.rotations import to_axis_angle

NS_PER_S = 1_000_000_000
_XYZ, _XYZW = ("x", "y", "z"), ("x", "y", "z", "w")
# A quaternion whose length differs from 1 by more than this is none.
_UNIT = 0.01
_TOLD = 4  # names


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


class StateMessages:
    """Reads the messages of one topic.

    Args:
        contract: Robot.
        topic: As the contract names it.
        wanted: Joints that may come once only in a message; default: all that the contract reads from the topic.

    Attributes:
        kind: Type of the messages.
        wanted: Names in messages of those joints.
        shared: Whether others publish there about other things, so that a message may rightly hold nothing of ours.
        nothing: Says that a message holds nothing of ours.
    """

    def __init__(self, contract: RobotContract, topic: str, wanted: Iterable[str] | None = None) -> None:
        self._signals = [signal for signal in contract.state if signal.topic == topic]
        self.kind = self._signals[0].type if self._signals else JOINT_STATE
        self._wire = contract.wire_of(topic)
        names = dict(zip(self._wire.joints, self._wire.names))
        self.wanted = frozenset(names.get(joint, joint) for joint in (self._wire.joints if wanted is None else wanted))

        self.shared = self.kind == TF
        pairs = sorted({f"from `{signal.frame_id}` to `{signal.child_frame_id}`" for signal in self._signals})
        what = f"transform {' or '.join(pairs)}" if self.shared else "positions"
        self.nothing = f"the newest message holds no {what}"

    def read(self, message: Any, received_ns: int = 0) -> StateMessage:
        """The numbers of a message; without positions where it holds none.

        Args:
            message: Of `kind`.
            received_ns: When it came [ns], 0 where nobody knows.

        Raises:
            BeingHError: A joint comes twice, a field is missing, a pose is between other frames or no pose.
        """
        if self.shared:
            return self._read_transforms(message)
        stamp_ns = stamp_to_ns(message.header.stamp) if hasattr(message, "header") else received_ns
        if self.kind == JOINT_STATE:
            positions, velocities = joint_positions(message, self.wanted), joint_velocities(message)
            return StateMessage(stamp_ns, self._wire.positions(positions), self._wire.velocities(velocities))
        positions = {}
        for signal in self._signals:
            positions.update(_pose(signal, message) if signal.source == "pose" else _numbers(signal, message))
        return StateMessage(stamp_ns, positions, {})

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


def stamp_to_ns(stamp: Any) -> int:
    """Nanoseconds of a message stamp or duration, exactly."""
    return stamp.sec * NS_PER_S + stamp.nanosec


def joint_positions(message: Any, wanted: Container[str] | None = None) -> dict[str, float]:
    """Joint name -> position [rad or m]; NaN is passed on, and velocities or efforts alone give none.

    Args:
        message: Joint state, with any joints.
        wanted: Joints that may come once only, since nobody knows which of two positions is right; None for all.

    Raises:
        BeingHError: When names and positions differ in number, or a wanted joint comes twice.
    """
    count = len(message.position)
    if count not in (0, len(message.name)):
        raise BeingHError(
            f"joint state has {len(message.name)} names and {count} positions",
            remedy="fix the publisher: one position for each joint name",
        )
    positions = dict(zip(message.name, map(float, message.position)))
    if count and len(positions) < len(message.name):
        counts = Counter(message.name)
        twice = [shown(n)[1:-1] for n, many in counts.items() if many > 1 and (wanted is None or n in wanted)]
        if twice:
            more = f" and {len(twice) - _TOLD} more joints" if len(twice) > _TOLD else ""
            raise BeingHError(
                f"joint state holds {', '.join(twice[:_TOLD])}{more} more than once",
                remedy="let its publisher, or the node that merges several into it, name each joint once in a message",
            )
    return positions


def joint_velocities(message: Any) -> dict[str, float]:
    """Joint name -> velocity [rad/s or m/s] where it is finite; empty when the publisher gives none."""
    if len(message.velocity) != len(message.name):
        return {}
    return {name: value for name, value in zip(message.name, message.velocity) if math.isfinite(value)}


def _numbers(signal: StateSignal, message: Any) -> dict[str, float]:
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
