"""Kinds of drivers and the keys of each, as a table; `docs/your_robot.md` explains them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any

from beingh_core.contract import key as keys
from beingh_core.contract.key import Bounds, Key, flag, names, number, per_joint, text, topic
from beingh_core.contract.reader import Section
from beingh_core.errors import did_you_mean


@dataclass(frozen=True, kw_only=True)
class DriverKind:
    """What a kind of driver takes.

    Attributes:
        endpoint: key of a group's name on the wire: `topic`, or `action` for an action server.
        options: its further keys.
        joints_per_group: number of joints that a group must have, None for any.
        is_velocity: whether its columns are velocities of a base, which are no joints of the URDF.
        has_wire: whether its groups may have names and units of their own.
    """

    endpoint: str
    options: Mapping[str, Key]
    joints_per_group: int | None = None
    is_velocity: bool = False
    has_wire: bool = False


def read_option(section: Section, name: str, key: Key, joints: tuple[str, ...]) -> Any:
    """The value of one option; of a number per joint a read-only joint -> number, with the joints under `hold`.

    Args:
        section: the driver.
        name: name of the option.
        key: its declaration.
        joints: joints of the driver.

    Raises:
        BeingHError: missing, of another type, or out of bounds.
    """
    default = None if key.absent else key.default
    if key.type == keys.NUMBER:
        return section.number(name, default, above=key.above, at_least=key.at_least, at_most=key.at_most)
    if key.type == keys.FLAG:
        return section.flag(name, default)
    if key.type == keys.PER_JOINT:
        return _per_joint(section, name, key, joints)
    if key.type == keys.NAMES:
        return _names(section, name, key, joints)
    if key.type == keys.TOPIC and name in section:
        return section.topic(name)
    return section.get(name, str, default)


def _per_joint(section: Section, name: str, key: Key, joints: tuple[str, ...]) -> Mapping[str, float]:
    held = section.strings("hold") if "hold" in section else ()
    values = dict.fromkeys((*joints, *held), key.default)
    if section.is_mapping(name):
        values |= section.named_numbers(name, values)
    else:
        values = dict.fromkeys(values, section.number(name))
    return MappingProxyType(values)


def _names(section: Section, name: str, key: Key, joints: tuple[str, ...]) -> tuple[str, ...]:
    """Names; those with choices are one for each joint."""
    if name not in section and not key.required:
        return key.default
    values = section.strings(name)
    for value in values:
        if key.choices and value not in key.choices:
            named = [choice for choice in key.choices if choice.endswith(_AXES_CALLED.get(value, f".{value}"))]
            remedy = (
                f"write {' or '.join(f'`{choice}`' for choice in named)}" if named else did_you_mean(value, key.choices)
            )
            raise section.error(name, f"there is no axis `{value}`", allowed=key.choices, remedy=remedy)
    if key.choices and len(values) != len(joints):
        what = f"{len(values)} axes for {len(joints)} joints"
        raise section.error(name, what, remedy="name one axis per joint, in order")
    return values


_AXES_CALLED = {
    "roll": "angular.x",
    "pitch": "angular.y",
    "yaw": "angular.z",
    "theta": "angular.z",
    "rotation": "angular.z",
}
TWIST_AXES = ("linear.x", "linear.y", "linear.z", "angular.x", "angular.y", "angular.z")
RATE: Bounds = {"above": 0.5, "at_most": 1000.0}
SECONDS: Bounds = {"above": 0.001, "at_most": 60.0}
_GOAL_RATE: Bounds = {"above": 0.01, "at_most": 100.0}
# Some grippers count in their own units, up to the steps of an encoder.
_COMMAND: Bounds = {"at_least": -1e5, "at_most": 1e5}
_WIDTH: Bounds = {"at_least": 0.0, "at_most": 1.0}
_EFFORT = 1e4
_VELOCITIES = {"velocities": flag("sends velocities beside the positions")}
_WRAP = {"wrap": flag("sends angles of continuous joints within half a turn of 0")}
_RATE_HZ = {"rate_hz": number("commands per second", "Hz", **RATE)}
_GRIPPER = {
    "min_change": number("smallest change of the command that is a new goal", "rad, m", above=1e-6, at_most=10.0),
    "max_rate_hz": number("goals per second, at most", "Hz", default=5.0, **_GOAL_RATE),
    "closed_command": number("what the server calls `closed`", absent="the joint's position", **_COMMAND),
    "open_command": number("what the server calls `open`", absent="the joint's position", **_COMMAND),
}

DRIVER_KINDS: dict[str, DriverKind] = {
    "joint_trajectory": DriverKind(endpoint="topic", options=_VELOCITIES, has_wire=True),
    "follow_joint_trajectory": DriverKind(endpoint="action", options=_VELOCITIES, has_wire=True),
    "forward_command": DriverKind(endpoint="topic", options=_RATE_HZ | _WRAP, has_wire=True),
    "joint_state_command": DriverKind(endpoint="topic", options=_RATE_HZ | _VELOCITIES | _WRAP, has_wire=True),
    "pose_command": DriverKind(
        endpoint="topic",
        options=_RATE_HZ
        | {
            "eef_frame": text("link whose pose is commanded", absent="the contract's"),
            "base_frame": text("link in whose axes it is", absent="the contract's"),
            "frame_id": text("frame of the messages", absent="base_frame"),
        },
    ),
    "twist_base": DriverKind(
        endpoint="topic",
        options=_RATE_HZ
        | {
            "axes": names("axis of each joint, in order", choices=TWIST_AXES),
            "stamped": flag("TwistStamped in place of Twist"),
            "frame_id": text("frame of a TwistStamped", default="base_link"),
            "zero_s": number("zeros are sent for so long after a stop", "s", default=0.5, **SECONDS),
        },
        is_velocity=True,
    ),
    "gripper_command": DriverKind(
        endpoint="action",
        options=_GRIPPER | {"max_effort": number("effort of a goal", "N, N m", at_least=0.0, at_most=_EFFORT)},
        joints_per_group=1,
    ),
    "parallel_gripper": DriverKind(
        endpoint="action",
        options=_GRIPPER
        | {
            "max_effort": number("effort of a goal", "N, N m", absent="the server's own", above=0.0, at_most=_EFFORT),
            "max_velocity": number(
                "velocity of a goal", "m/s, rad/s", absent="the server's own", above=1e-4, at_most=100.0
            ),
        },
        joints_per_group=1,
    ),
    "franka_gripper": DriverKind(
        endpoint="action",
        options=_GRIPPER
        | {
            "closed_command": number("width between the fingers when closed", "m", **_WIDTH),
            "open_command": number("width between the fingers when open", "m", **_WIDTH),
            "max_rate_hz": number("goals per second, at most", "Hz", default=2.0, **_GOAL_RATE),
            "speed": number("speed of the fingers", "m/s", above=1e-4, at_most=10.0),
            "force": number("force of a grasp", "N", above=0.01, at_most=1000.0),
            "epsilon_inner": number("a grasp may end narrower by", "m", default=0.08, **_WIDTH),
            "epsilon_outer": number("a grasp may end wider by", "m", default=0.08, **_WIDTH),
            "homing": flag("homes the hand once when the robot begins to run"),
        },
        joints_per_group=1,
    ),
    "unitree_g1_arm_sdk": DriverKind(
        endpoint="topic",
        options={
            "rate_hz": number("commands per second", "Hz", default=250.0, **RATE),
            "kp": per_joint(
                "stiffness, also of joints under `hold`", "N m/rad", default=80.0, at_least=0.0, at_most=1000.0
            ),
            "kd": per_joint(
                "damping, also of joints under `hold`", "N m s/rad", default=3.0, at_least=0.0, at_most=100.0
            ),
            "hold": names("further joints that are kept where they are", default=()),
            "ramp_in_s": number("the weight of arm_sdk rises in", "s", default=5.0, **SECONDS),
            "ramp_out_s": number("the weight of arm_sdk falls in", "s", default=2.0, **SECONDS),
            "state_topic": topic("topic of the robot's LowState", default="lf/lowstate"),
        },
    ),
}
