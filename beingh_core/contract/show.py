"""What a contract says, resolved: defaults filled in, limits after the URDF and `velocity_scale`."""

from __future__ import annotations

import math
import textwrap
from collections.abc import Mapping
from typing import Any

from beingh_core.contract.described import (
    action_table,
    action_words,
    camera_words,
    group_table,
    group_words,
    state_table,
    state_words,
)
from beingh_core.contract.schema import RobotContract
from beingh_core.contract.urdf import read_urdf


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
    joints = read_urdf(contract.urdf_path).joints
    lines += [f"  {c.name:<26} {camera_words(c)}" for c in contract.cameras]
    lines += ["state"]
    for signal in contract.state:
        lines += _entry(signal.slot, state_words(signal, joints, counted=False), state_table(signal, joints))
    lines += ["action"]
    for action in contract.action:
        lines += _entry(action.slot, action_words(action, counted=False), action_table(action, joints))
    lines += ["drivers"]
    for driver in contract.drivers:
        for group in driver.groups:
            words = group_words(driver, group, joints, counted=False)
            lines += _entry(driver.kind, words, group_table(driver, group, joints))
        lines += [_options(driver.options)] * bool(driver.options)
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


def _entry(name: str, words: str, rows: list[str]) -> list[str]:
    """One line about a signal or group and, below it, its joints; a long list of them in several lines."""
    wrapped = textwrap.wrap(rows[0], 110) if len(rows) == 1 else rows
    return [f"  {name:<26} {words}", *(f"    {row}" for row in wrapped)]


def _options(options: Mapping[str, Any]) -> str:
    return "    options: " + ", ".join(
        f"{name}: {_value(value)}" for name, value in options.items() if value is not None
    )


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
