"""The commands in a recording: on which topics they are, and what their messages say in the contract's names and units."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from beingh_core.contract import RobotContract
from beingh_core.contract.state_messages import joint_positions, stamp_to_ns
from beingh_core.contract.wire import Wire
from beingh_core.errors import BeingHError

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
        if hasattr(message, "points"):
            if not len(message.points):
                return 0, {}
            first = message.points[0]
            delay_ns = stamp_to_ns(first.time_from_start)
            if list(message.joint_names) == [BASE]:
                return delay_ns, self._velocities(first.velocities[0])
            return delay_ns, _positions(message.joint_names, first.positions, wire)
        if hasattr(message, "name") and hasattr(message, "position"):
            positions = joint_positions(message)
            return 0, wire.positions(positions) if wire else positions
        if hasattr(message, "twist") or hasattr(message, "linear"):
            return 0, self._velocities(getattr(message, "twist", message))
        if hasattr(message, "data") and topic in self._groups:
            names = wire.names if wire else self._groups[topic].joints
            return 0, _positions(names, message.data, wire)
        raise BeingHError(f"a message of type {type(message).__name__} on {topic} names no joints", allowed=READ)

    def _velocities(self, twist: Any) -> dict[str, float]:
        return {joint: float(getattr(getattr(twist, part), axis)) for joint, (part, axis) in self._axes.items()}


def _positions(names: Any, numbers: Any, wire: Wire | None) -> Mapping[str, float]:
    if len(numbers) not in (0, len(names)):
        raise BeingHError(f"{len(names)} joint names and {len(numbers)} positions")
    values = dict(zip(names, map(float, numbers)))
    return wire.positions(values) if wire else values
