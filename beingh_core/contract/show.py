"""What a contract says, resolved: defaults filled in, limits after the URDF and `velocity_scale`."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

from beingh_core.contract.schema import RobotContract


def overview(contract: RobotContract) -> str:
    """One line about a robot, for a list."""
    cameras = ", ".join(camera.name for camera in contract.cameras)
    drivers = ", ".join(dict.fromkeys(driver.kind for driver in contract.drivers))
    return f"{contract.rate_hz:g} Hz, {len(contract.joint_names)} joints, cameras {cameras}; {drivers}"


def shown_contract(contract: RobotContract) -> str:
    """The whole contract, for people."""
    lines = [
        f"{contract.robot}: {contract.path}",
        f"  urdf    {contract.urdf_path}",
        f"  rate    {contract.rate_hz:g} Hz",
        f"  hash    {contract.hash}",
        "cameras",
    ]
    lines += [
        f"  {c.name:<26} {c.topic} ({c.type}, {c.encoding}), stale after {c.max_age_s:g} s" for c in contract.cameras
    ]
    lines += ["state"]
    lines += [f"  {s.slot:<26} {s.topic}, {s.source} of {', '.join(s.joints)}" for s in contract.state]
    lines += ["action"]
    lines += [
        f"  {a.slot:<26} {a.mode}{' in ' + a.frame if a.frame else ''} for {', '.join(a.joints)}"
        for a in contract.action
    ]
    lines += ["drivers"]
    lines += [
        f"  {driver.kind:<26} {group.topic}: {', '.join(group.joints)}"
        for driver in contract.drivers
        for group in driver.groups
    ]
    lines += [_options(driver.options) for driver in contract.drivers if driver.options]
    lines += [
        "joints" + " " * 22 + "home     lower     upper  velocity  accel.      jerk  tracking",
        *_joint_rows(contract),
    ]
    uac, policy, watchdog = contract.uac, contract.policy, contract.watchdog
    lines += [
        f"uac       budget {uac.latency_budget_s:g} s, locked prefix {uac.delay_steps}, inference every {uac.execution_steps} "
        f"steps, commit margin {uac.commit_margin}, blend {uac.blend_steps}",
        f"policy    chunk of {policy.chunk_length}, statistics of {policy.dataset_name}",
        f"watchdog  joint states {watchdog.joint_states_s:g} s, tracking {watchdog.tracking_delay_s:g} s late, "
        f"for {watchdog.tracking_time_s:g} s",
        f"estop     {contract.estop_topic}",
    ]
    return "\n".join(lines)


def assumptions(contract: RobotContract) -> str:
    """The values that no source gives, a line each; "" where there are none."""
    if not contract.assumed:
        return ""
    head = "assumed (no source gives these values: measure them on your robot)"
    width = max(len(assumption.key) for assumption in contract.assumed)
    return "\n".join([head, *(f"  {a.key:<{width}}  line {a.line:<3}  {a.measure}" for a in contract.assumed)])


def _options(options: Mapping[str, Any]) -> str:
    return "  options  " + ", ".join(f"{name}: {_value(value)}" for name, value in options.items() if value is not None)


def _value(value: Any) -> str:
    """A value as a contract writes it."""
    if isinstance(value, Mapping):
        return "{" + ", ".join(f"{name}: {_value(item)}" for name, item in value.items()) + "}"
    if isinstance(value, (tuple, list)):
        return "[" + ", ".join(map(_value, value)) + "]"
    if isinstance(value, bool):
        return str(value).lower()
    return f"{value:g}" if isinstance(value, float) else str(value)


def _joint_rows(contract: RobotContract) -> list[str]:
    limits = contract.limits
    rows = []
    for index, name in enumerate(contract.joint_names):
        values = (
            contract.home[index],
            limits.lower[index],
            limits.upper[index],
            limits.velocity[index],
            limits.acceleration[index],
            limits.jerk[index],
            contract.watchdog.tracking_error[index],
        )
        rows.append(f"  {name:<24}" + "".join("     none " if math.isinf(v) else f"{v:9.4g} " for v in values).rstrip())
    return rows
