"""Whether the velocities that were sent to a mobile base keep their limits and end in rest, and whether the base followed them.

Judged from the messages alone, with no code of the controller's.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from beingh_core.evaluate.stream_figures import StreamFigures, not_numbers, stretches

# A base rests so long after the last moving command at the latest [s], then it is slower than this [m/s, rad/s].
_SETTLES_S, _STILL = 1.0, 0.02
# Rounding of what is sent. Limits hold at the ticks: of a cubic through them, what is between two ticks may change faster, by
# an eighth where the acceleration turns round.
_ROUNDING, _SHARE = 1e-6, 1.15
_MOVES = 1e-3


@dataclass(frozen=True, kw_only=True, eq=False)
class BaseRecord:
    """What was sent to a base and what it told.

    Attributes:
        joints: names of the velocities.
        sent_ns: (N,) when each was sent [ns].
        velocities: (N, B) [m/s, rad/s].
        odometry_ns: (M,) when each odometry was measured [ns].
        measured: (M, B) velocities in it.
        rate_hz: commands a second.
        lower, upper, acceleration: (B,) the contract's.
    """

    joints: tuple[str, ...]
    sent_ns: np.ndarray
    velocities: np.ndarray
    odometry_ns: np.ndarray
    measured: np.ndarray
    rate_hz: float
    lower: np.ndarray
    upper: np.ndarray
    acceleration: np.ndarray


def judge_base(record: BaseRecord, stopped_ns: Sequence[int] = ()) -> StreamFigures:
    """Everything that can be said of a base; `stopped_ns` are times from which on it must come to rest and stay so for a second."""
    if problems := not_numbers("the base", record.velocities):
        return StreamFigures(figures={"base_commands": len(record.sent_ns)}, problems=tuple(problems))
    problems = [*_limits(record), *_ends(record)]
    if not len(record.sent_ns):
        problems.append("no velocity was sent to the base")
    if not len(record.odometry_ns):
        problems.append("no odometry was received")
    rests, moving, restless = _rests(record, stopped_ns)
    figures = {
        "base_commands": len(record.sent_ns),
        "base_odometry": len(record.odometry_ns),
        "base_speed_max": [round(float(speed), 3) for speed in np.abs(record.velocities).max(axis=0, initial=0.0)],
        "base_measured_max": [round(float(speed), 3) for speed in np.abs(record.measured).max(axis=0, initial=0.0)],
        "base_stops_in_motion": moving,
        "base_stop_s_max": round(max(rests, default=0.0), 3),
    }
    return StreamFigures(figures=figures, problems=tuple(problems + restless + _late(record, stopped_ns)))


def _limits(record: BaseRecord) -> list[str]:
    problems = []
    for column, joint in enumerate(record.joints):
        speeds = record.velocities[:, column]
        low, high = record.lower[column] - _ROUNDING, record.upper[column] + _ROUNDING
        if len(speeds) and (speeds.min() < low or speeds.max() > high):
            problems.append(
                f"{joint} was sent {speeds.min():.3f} to {speeds.max():.3f}, {low:.3f} to {high:.3f} are allowed"
            )
        for rows in stretches(record.sent_ns):
            apart_s = np.maximum(np.diff(record.sent_ns[rows]) / 1e9, 1.0 / record.rate_hz)
            change = np.abs(np.diff(speeds[rows]))
            most = _SHARE * record.acceleration[column] * apart_s + _ROUNDING
            if (change > most).any():
                worst = int(np.argmax(change - most))
                problems.append(
                    f"{joint} was sent a change of {change[worst]:.3f} in {1e3 * apart_s[worst]:.0f} ms, "
                    f"{record.acceleration[column]:.3f} a second are allowed"
                )
    return problems


def _ends(record: BaseRecord) -> list[str]:
    """Every stretch of commands ends with zero: nobody leaves a base that moves."""
    return [
        f"the commands of the base end at {np.abs(record.velocities[rows][-1]).max():.3f}"
        for rows in stretches(record.sent_ns)[:-1]
        if np.abs(record.velocities[rows][-1]).max() > _MOVES
    ]


def _longest_s(record: BaseRecord) -> float:
    """The time in which the base comes to rest from any speed [s]."""
    return float((np.maximum(record.upper, -record.lower) / record.acceleration).max())


def _rests(record: BaseRecord, stopped_ns: Sequence[int]) -> tuple[list[float], int, list[str]]:
    """Of the stops that found the base in motion: how long each took until zero was sent [s], how many these are, and those
    that never did."""
    found, restless = [], []
    for since_ns in stopped_ns:
        until_ns = since_ns + round(1e9 * (_longest_s(record) + _SETTLES_S))
        rows = np.flatnonzero((record.sent_ns >= since_ns) & (record.sent_ns < until_ns))
        moving = rows[np.abs(record.velocities[rows]).max(axis=1, initial=0.0) > _MOVES]
        if len(moving) and moving[0] == rows[0]:
            still = np.flatnonzero(np.abs(record.velocities[rows]).max(axis=1) <= _MOVES)
            if len(still):
                found.append((record.sent_ns[rows[still[0]]] - since_ns) / 1e9)
            else:
                restless.append("a stop did not bring the commands of the base to zero")
    return found, len(found) + len(restless), restless


def _late(record: BaseRecord, stopped_ns: Sequence[int]) -> list[str]:
    """The base itself rests soon after a stop."""
    problems = []
    longest_s = _longest_s(record)
    for since_ns in stopped_ns:
        from_ns = since_ns + round(1e9 * (longest_s + _SETTLES_S))
        rows = (record.odometry_ns >= from_ns) & (record.odometry_ns <= from_ns + 200_000_000)
        sent = (record.sent_ns >= since_ns) & (record.sent_ns <= from_ns + 200_000_000)
        moving = np.abs(record.velocities[sent]).max(axis=1, initial=0.0) > _MOVES
        if moving[-1:].any() and not moving.all():
            continue  # it has been reset meanwhile, and goes again
        speed = np.abs(record.measured[rows]).max(initial=0.0)
        if speed > _STILL:
            problems.append(
                f"the base still moved at {speed:.3f} m/s or rad/s {longest_s + _SETTLES_S:.1f} s after a stop"
            )
    return problems
