"""Limits of a contract's columns: from the URDF, narrowed by the file, with the file's accelerations and jerks."""

from __future__ import annotations

import math

import numpy as np

from beingh_core.contract.reader import Section
from beingh_core.contract.urdf import UrdfFacts
from beingh_core.realtime.limits import JointLimits


def read_limits(
    section: Section, urdf: UrdfFacts, joint_names: tuple[str, ...], velocity_names: tuple[str, ...] = ()
) -> JointLimits:
    """Limits of the commanded columns: joints, then the velocity components of a base.

    Keys: `acceleration` {name: value} for every column (a URDF has none); optional `jerk` {name: value}, which then
    names every column (without it there is no jerk limit); optional `velocity` {joint: value} and `position`
    {joint: [lower, upper]}, which may only narrow the URDF's; optional `velocity_scale` in (0, 1], applied to the
    URDF's velocities and not to `velocity`. A velocity component needs its largest speed under `velocity`.

    Args:
        section: the `limits` mapping.
        urdf: joints of the robot.
        joint_names: commanded joints; fixes the order.
        velocity_names: columns after them that command a velocity.

    Raises:
        BeingHError: a limit is missing, unknown, not positive or wider than the URDF's.
    """
    scale = section.number("velocity_scale", 1.0, above=0.0)
    if scale > 1.0:
        raise section.error("velocity_scale", f"{scale:g} is out of range", allowed="more than 0, at most 1")
    names = (*joint_names, *velocity_names)
    accelerations = section.section("acceleration")
    jerks = section.section("jerk", optional=True)
    velocities = section.section("velocity", optional=True)
    positions = section.section("position", optional=True)
    for table in (accelerations, jerks, velocities):
        table.refuse_unknown(names, "joint")
    positions.refuse_unknown(joint_names, "joint")
    rows = []
    for name in names:
        if name in velocity_names:
            speed = _required(velocities, name, "velocity")
            bounds = (-speed, speed)
        else:
            bounds, speed = _position(positions, name, urdf), _velocity(velocities, name, urdf, scale)
        jerk = _required(jerks, name, "jerk") if "jerk" in section else math.inf
        rows.append((*bounds, speed, _required(accelerations, name, "acceleration"), jerk))
    section.finish()
    lower, upper, velocity, acceleration, jerk = np.array(rows, dtype=np.float64).T
    is_velocity = np.isin(np.array(names), np.array(velocity_names, dtype=str))
    return JointLimits(
        lower=lower, upper=upper, velocity=velocity, acceleration=acceleration, jerk=jerk, is_velocity=is_velocity
    )


def _required(table: Section, name: str, kind: str) -> float:
    if name not in table:
        raise table.error(None, f"joint `{name}` has no {kind} limit", remedy=f"add `{name}: <value>`")
    return table.number(name, above=0.0)


def _velocity(table: Section, joint: str, urdf: UrdfFacts, scale: float) -> float:
    limit = urdf.joints[joint].velocity
    value = table.number(joint, limit * scale, above=0.0)
    if joint in table and limit > 0.0 and value > limit:
        raise table.error(joint, f"{value:g} is more than the URDF allows", allowed=f"at most {limit:g}")
    if not value > 0.0:
        raise table.error(None, f"the URDF has no velocity limit for `{joint}`", remedy=f"add `{joint}: <value>` here")
    return value


def _position(table: Section, joint: str, urdf: UrdfFacts) -> tuple[float, float]:
    low, high = urdf.joints[joint].lower, urdf.joints[joint].upper
    values = table.get(joint, list, [low, high])
    numbers = all(isinstance(v, (int, float)) and not isinstance(v, bool) and math.isfinite(v) for v in values)
    if joint in table and not (numbers and len(values) == 2 and low <= values[0] < values[1] <= high):
        raise table.error(
            joint, f"{values} is no range inside the URDF's", allowed=f"[lower, upper] within [{low:g}, {high:g}]"
        )
    if not low < high:
        raise table.error(None, f"the URDF has no position limits for `{joint}`", remedy="write them in the URDF")
    return float(values[0]), float(values[1])
