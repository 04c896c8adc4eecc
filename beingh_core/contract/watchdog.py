"""The optional `watchdog` section of a contract: when the controller stops by itself."""

from __future__ import annotations

import math

from beingh_core.contract import schema
from beingh_core.contract.reader import Section
from beingh_core.contract.urdf import UrdfFacts

# Allowed tracking error of joints that turn [rad] and that slide [m].
TURNING_ERROR, SLIDING_ERROR = 0.2, 0.05
# What these command may be blocked by what it holds.
GRASPING_SLOTS = ("gripper_position", "left_gripper_position", "dexhand_position", "left_dexhand_position")


def read_watchdog(
    section: Section, urdf: UrdfFacts, joint_names: tuple[str, ...], action: tuple[schema.ActionSignal, ...]
) -> schema.Watchdog:
    """The watchdogs' thresholds.

    Keys, all optional: `joint_states_s`; `tracking_error`, a number for every joint of an arm or {joint: number},
    where `.inf` switches a joint off; `tracking_delay_s`; `tracking_time_s`. Grippers, hands and a base are not
    watched unless named: what they hold may block them.

    Args:
        section: the `watchdog` mapping.
        urdf: joints of the robot.
        joint_names: commanded joints; fixes the order.
        action: the action signals.

    Raises:
        BeingHError: an unknown key or joint, or a number that is not positive.
    """
    grasping = {joint for signal in action if signal.slot in GRASPING_SLOTS for joint in signal.joints}
    errors = [
        math.inf if joint in grasping or joint not in urdf.joints else _default(urdf, joint) for joint in joint_names
    ]
    if section.is_mapping("tracking_error"):
        table = section.section("tracking_error")
        table.refuse_unknown(joint_names, "joint")
        errors = [_threshold(table, name, error) for name, error in zip(joint_names, errors)]
    elif "tracking_error" in section:
        errors = [error if error == math.inf else _threshold(section, "tracking_error", 0.0) for error in errors]
    settings = schema.Watchdog(
        joint_states_s=section.number("joint_states_s"),
        tracking_error=tuple(errors),
        tracking_delay_s=section.number("tracking_delay_s"),
        tracking_time_s=section.number("tracking_time_s"),
    )
    section.finish()
    return settings


def _default(urdf: UrdfFacts, joint: str) -> float:
    return SLIDING_ERROR if urdf.joints[joint].type == "prismatic" else TURNING_ERROR


def _threshold(table: Section, key: str, default: float) -> float:
    """A positive number; infinity is one."""
    value = table.get(key, float, default)
    if value == math.inf:
        return value
    return table.number(key, default, remedy="write a number, or .inf for no limit")
