"""Kinds of drivers and the keys of each, as a table; `docs/your_robot.md` explains them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any

from beingh_core.contract.reader import REQUIRED, Section

Reader = Callable[[Section, str, tuple[str, ...]], Any]


@dataclass(frozen=True, kw_only=True)
class DriverKind:
    """What a kind of driver takes.

    Attributes:
        endpoint: key of a group's name on the wire: `topic`, or `action` for an action server.
        options: key -> how to read it (section, key, joints of the driver).
        joints_per_group: number of joints that a group must have, None for any.
        is_velocity: whether its columns are velocities of a base, which are no joints of the URDF.
    """

    endpoint: str
    options: dict[str, Reader]
    joints_per_group: int | None = None
    is_velocity: bool = False


def _number(default: Any = REQUIRED, **bounds: float) -> Reader:
    """A number within the bounds of `Section.number`."""
    return lambda section, key, _joints: section.number(key, default, **bounds)


def _flag(section: Section, key: str, _joints: tuple[str, ...]) -> bool:
    return section.flag(key, False)


def _text(default: str) -> Reader:
    return lambda section, key, _joints: section.get(key, str, default)


def _topic(default: str) -> Reader:
    return lambda section, key, _joints: section.topic(key) if key in section else default


def _per_joint(default: float, most: float) -> Reader:
    """One number for all joints and those under `hold`, or joint -> number with the default for the others; from 0 on."""

    def read(section: Section, key: str, joints: tuple[str, ...]) -> MappingProxyType:
        joints = (*joints, *_names(section, "hold", joints))
        if section.is_mapping(key):
            values = {joint: default for joint in joints} | section.named_numbers(key, joints)
        else:
            values = dict.fromkeys(joints, section.number(key, default))
        for joint, value in values.items():
            if not 0.0 <= value <= most:
                raise section.error(
                    key, f"{value:g} of `{joint}` is out of range", allowed=f"at least 0, at most {most:g}"
                )
        return MappingProxyType(values)

    return read


def _axes(section: Section, key: str, joints: tuple[str, ...]) -> tuple[str, ...]:
    axes = section.strings(key)
    for axis in axes:
        if axis not in TWIST_AXES:
            raise section.error(key, f"there is no axis `{axis}`", allowed=TWIST_AXES)
    if len(axes) != len(joints):
        raise section.error(
            key, f"{len(axes)} axes for {len(joints)} joints", remedy="name one axis per joint, in order"
        )
    return axes


def _names(section: Section, key: str, _joints: tuple[str, ...]) -> tuple[str, ...]:
    return section.strings(key) if key in section else ()


TWIST_AXES = ("linear.x", "linear.y", "linear.z", "angular.x", "angular.y", "angular.z")
# Some grippers count in their own units, up to the steps of an encoder.
_COMMAND = {"at_least": -1e5, "at_most": 1e5}
_RATE_HZ = {"above": 0.5, "at_most": 1000.0}
_GOAL_RATE_HZ = {"above": 0.01, "at_most": 100.0}
_SECONDS = {"above": 0.001, "at_most": 60.0}
_EFFORT = 1e4  # [N or N m]
_GRIPPER: dict[str, Reader] = {
    "min_change": _number(above=1e-6, at_most=10.0),
    "max_rate_hz": _number(5.0, **_GOAL_RATE_HZ),
    "closed_command": _number(None, **_COMMAND),
    "open_command": _number(None, **_COMMAND),
}

DRIVER_KINDS: dict[str, DriverKind] = {
    "joint_trajectory": DriverKind(endpoint="topic", options={"velocities": _flag}),
    "follow_joint_trajectory": DriverKind(endpoint="action", options={"velocities": _flag}),
    "forward_command": DriverKind(endpoint="topic", options={"rate_hz": _number(**_RATE_HZ)}),
    "joint_state_command": DriverKind(endpoint="topic", options={"rate_hz": _number(**_RATE_HZ), "velocities": _flag}),
    "twist_base": DriverKind(
        endpoint="topic",
        options={
            "rate_hz": _number(**_RATE_HZ),
            "axes": _axes,
            "stamped": _flag,
            "frame_id": _text("base_link"),
            "zero_s": _number(0.5, **_SECONDS),
        },
        is_velocity=True,
    ),
    "gripper_command": DriverKind(
        endpoint="action", options=_GRIPPER | {"max_effort": _number(at_least=0.0, at_most=_EFFORT)}, joints_per_group=1
    ),
    "parallel_gripper": DriverKind(
        endpoint="action",
        options=_GRIPPER
        | {
            "max_effort": _number(None, above=0.0, at_most=_EFFORT),
            "max_velocity": _number(None, above=1e-4, at_most=100.0),
        },
        joints_per_group=1,
    ),
    "franka_gripper": DriverKind(
        endpoint="action",
        options=_GRIPPER
        | {
            "closed_command": _number(at_least=0.0, at_most=1.0),  # widths [m]
            "open_command": _number(at_least=0.0, at_most=1.0),
            "max_rate_hz": _number(2.0, **_GOAL_RATE_HZ),
            "speed": _number(above=1e-4, at_most=10.0),
            "force": _number(above=0.01, at_most=1000.0),
            "epsilon_inner": _number(0.08, at_least=0.0, at_most=1.0),
            "epsilon_outer": _number(0.08, at_least=0.0, at_most=1.0),
            "homing": _flag,
        },
        joints_per_group=1,
    ),
    "unitree_g1_arm_sdk": DriverKind(
        endpoint="topic",
        options={
            "rate_hz": _number(250.0, **_RATE_HZ),
            "kp": _per_joint(80.0, most=1000.0),
            "kd": _per_joint(3.0, most=100.0),
            "hold": _names,
            "ramp_in_s": _number(5.0, **_SECONDS),
            "ramp_out_s": _number(2.0, **_SECONDS),
            "state_topic": _topic("/lf/lowstate"),
        },
    ),
}
