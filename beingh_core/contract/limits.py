"""Limits of a contract's columns: from the URDF, narrowed by the file, with the file's accelerations and jerks."""

from __future__ import annotations

import math

import numpy as np

from beingh_core.contract.keys import VELOCITY
from beingh_core.contract.meant import meant
from beingh_core.contract.reader import Section
from beingh_core.contract.schema import MIN_RANGE, POSITION
from beingh_core.contract.urdf import UrdfFacts
from beingh_core.errors import shown
from beingh_core.realtime.limits import JointLimits

MAX_STOP_S = 20.0


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
    scale = section.number("velocity_scale")
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
        acceleration = _required(accelerations, name, "acceleration")
        jerk = _required(jerks, name, "jerk") if "jerk" in section else math.inf
        _check_stop(accelerations, name, speed, acceleration, jerk)
        rows.append((*bounds, speed, acceleration, jerk))
    section.finish()
    lower, upper, velocity, acceleration, jerk = np.array(rows, dtype=np.float64).T
    is_velocity = np.isin(np.array(names), np.array(velocity_names, dtype=str))
    return JointLimits(
        lower=lower, upper=upper, velocity=velocity, acceleration=acceleration, jerk=jerk, is_velocity=is_velocity
    )


def _required(table: Section, name: str, kind: str) -> float:
    if name not in table:
        raise table.error(None, f"joint `{name}` has no {kind} limit", remedy=f"add `{name}: <value>`")
    return table.number(name)


def _velocity(table: Section, joint: str, urdf: UrdfFacts, scale: float) -> float:
    limit = urdf.joints[joint].velocity
    value = table.number(joint, limit * scale, **VELOCITY)
    if joint in table and limit > 0.0 and value > limit:
        remedy = meant([value], urdf.joints[joint], 0.0, limit)
        raise table.error(joint, f"{value:g} is more than the URDF allows", allowed=f"at most {limit:g}", remedy=remedy)
    if not limit > 0.0 and joint not in table:
        raise table.error(None, f"the URDF has no velocity limit for `{joint}`", remedy=f"add `{joint}: <value>` here")
    if not VELOCITY["above"] < value <= VELOCITY["at_most"]:
        raise table.error(
            None,
            f"{limit:g} of the URDF times velocity_scale is out of range for `{joint}`",
            allowed=f"more than {VELOCITY['above']:g}, at most {VELOCITY['at_most']:g}",
            remedy=f"change velocity_scale, or add `{joint}: <value>` here",
        )
    return value


def _position(table: Section, joint: str, urdf: UrdfFacts) -> tuple[float, float]:
    low, high = urdf.joints[joint].lower, urdf.joints[joint].upper
    values = table.get(joint, list, [low, high])
    numbers = all(isinstance(v, (int, float)) and not isinstance(v, bool) and math.isfinite(v) for v in values)
    if joint in table and not (numbers and len(values) == 2 and low <= values[0] < values[1] <= high):
        raise table.error(
            joint,
            f"{shown(values)} is no range inside the URDF's",
            allowed=f"[lower, upper] within [{low:g}, {high:g}]",
            remedy=meant(values, urdf.joints[joint], low, high) if numbers and values else None,
        )
    if not low < high:
        raise table.error(None, f"the URDF has no position limits for `{joint}`", remedy="write them in the URDF")
    if joint not in table and urdf.joints[joint].type == "continuous":
        return low, high
    lower, upper = float(values[0]), float(values[1])
    if not (POSITION["at_least"] <= lower <= upper - MIN_RANGE and upper <= POSITION["at_most"]):
        raise table.error(
            joint if joint in table else None,
            f"{lower:g} to {upper:g} is no range for `{joint}`",
            allowed=f"{POSITION['at_least']:g} to {POSITION['at_most']:g}, at least {MIN_RANGE:g} wide",
            remedy=f"add `{joint}: [lower, upper]` here, or correct the URDF",
        )
    return lower, upper


def _check_stop(table: Section, name: str, speed: float, acceleration: float, jerk: float) -> None:
    """Refuses limits under which the robot would run on for long after it was told to stop."""
    if speed * jerk >= acceleration**2:
        stop_s = speed / acceleration + acceleration / jerk
    else:
        stop_s = 2.0 * math.sqrt(speed / jerk)
    if stop_s > MAX_STOP_S:
        raise table.error(
            name,
            f"with {acceleration:g} (and jerk {jerk:g}) a stop from {speed:g} takes {stop_s:.3g} s",
            allowed=f"at most {MAX_STOP_S:g} s",
            remedy="raise the acceleration or the jerk, or lower the velocity",
        )
