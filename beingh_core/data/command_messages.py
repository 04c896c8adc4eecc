"""The commands in a recording: on which topics they are, and what their messages say in the contract's names and units."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from beingh_core.contract import RobotContract
from beingh_core.contract.state_messages import joint_positions, stamp_to_ns
from beingh_core.errors import BeingHError
from beingh_core.realtime.clock import parse_epoch

BUFFER, BASE_BUFFER, FROM_STATES = "controller/buffer", "controller/base_buffer", "states"
BASE = "base"  # what the controller calls the one joint of `BASE_BUFFER`
READ = ("JointTrajectory", "JointState", "Float64MultiArray of a driver", "Twist of a driver")


def command_topics(contract: RobotContract, topics: Iterable[str], wanted: str | None) -> tuple[str, ...]:
    """Where the commands are; () for the measured positions.

    Raises:
        BeingHError: The recording has none of these topics, or measured positions cannot stand for them.
    """
    known = list(topics)
    has_base = any(driver.is_velocity for driver in contract.drivers)
    if wanted == FROM_STATES:
        if has_base:
            raise BeingHError(
                "the velocities of a base are not among its measured positions",
                remedy=f"record {BUFFER} and {BASE_BUFFER}",
            )
        return ()
    if wanted:
        if wanted not in known:
            raise BeingHError(f"the recording has no {wanted}", allowed=known)
        return (wanted,)
    buffers = [topic for topic in known if topic == BUFFER or topic.endswith(f"/{BUFFER}")]
    buffers = [BUFFER] if BUFFER in buffers else buffers
    base = [topic.removesuffix(BUFFER) + BASE_BUFFER for topic in buffers] if has_base else []
    groups = tuple(group.topic for group in contract.command_groups)
    if len(buffers) == 1 and set(base) <= set(known):
        return (*buffers, *base)
    if not buffers and set(groups) <= set(known):
        return groups
    found = "several buffers" if len(buffers) > 1 else f"no {base[0]}" if buffers else "no commands"
    raise BeingHError(
        f"the recording has {found}: not one {BUFFER}, nor all of {', '.join(groups)}",
        allowed=known,
        remedy="name the topic of the commands, or `states` to take the measured positions of the next step as actions",
    )


class CommandMessages:
    """Reads the messages of command topics.

    Args:
        contract: Robot.
    """

    def __init__(self, contract: RobotContract) -> None:
        self._groups = {group.topic: group for group in contract.command_groups}
        base = [driver for driver in contract.drivers if driver.is_velocity]
        self._axes = {j: axis.split(".") for d in base for j, axis in zip(d.joints, d.options["axes"])}

    def read(self, topic: str, message: Any) -> tuple[int, dict[str, float]]:
        """(how long after its stamp it is due [ns], joint -> position [rad or m] or velocity of the base).

        Raises:
            BeingHError: Names and numbers differ in count, or a message of a type that says no commands.
        """
        wire = self._groups[topic].wire if topic in self._groups else None
        if hasattr(message, "points") and list(message.joint_names) == [BASE]:
            first = message.points[0] if len(message.points) else None
            return (stamp_to_ns(first.time_from_start), self._velocities(first.velocities[0])) if first else (0, {})
        if is_named(message):
            delay_ns, positions = named_positions(message)
            return delay_ns, wire.positions(positions) if wire else positions
        if hasattr(message, "twist") or hasattr(message, "linear"):
            return 0, self._velocities(getattr(message, "twist", message))
        if hasattr(message, "data") and topic in self._groups:
            names = wire.names if wire else self._groups[topic].joints
            positions = _by_name(names, message.data)
            return 0, wire.positions(positions) if wire else positions
        raise BeingHError(f"a message of type {type(message).__name__} on {topic} names no joints", allowed=READ)

    def _velocities(self, twist: Any) -> dict[str, float]:
        return {joint: float(getattr(getattr(twist, part), axis)) for joint, (part, axis) in self._axes.items()}


def epoch_of(message: Any) -> tuple[int, int] | None:
    """(start [ns], number) of the controller's epoch that a message names, in their order; None when it names none."""
    try:
        index, start_ns = parse_epoch(str(getattr(getattr(message, "header", None), "frame_id", "")))
    except BeingHError:
        return None
    return start_ns, index


def is_named(message: Any) -> bool:
    """Whether a message names joints: a JointState or JointTrajectory."""
    return hasattr(message, "joint_names") or (hasattr(message, "name") and hasattr(message, "position"))


def named_positions(message: Any) -> tuple[int, dict[str, float]]:
    """(how long after its stamp it is due [ns], name -> number) of a JointState or the first point of a JointTrajectory.

    Raises:
        BeingHError: Names and numbers differ in count, a joint comes twice, or a message of another type.
    """
    if not is_named(message):
        raise BeingHError(f"a message of type {type(message).__name__} names no joints", allowed=READ[:2])
    if not hasattr(message, "points"):
        return 0, joint_positions(message)
    if not len(message.points):
        return 0, {}
    first = message.points[0]
    return stamp_to_ns(first.time_from_start), _by_name(message.joint_names, first.positions)


def _by_name(names: Any, numbers: Any) -> dict[str, float]:
    if len(numbers) not in (0, len(names)):
        raise BeingHError(f"{len(names)} joint names and {len(numbers)} positions")
    return dict(zip(names, map(float, numbers)))
