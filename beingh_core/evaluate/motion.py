"""Whether what was sent keeps the limits, by finite differences of the sent commands and nothing else.

With q the command of a tick and r ticks a second: v[t] = (q[t] - q[t-1]) r, a[t] = (v[t] - v[t-1]) r and
j[t] = (a[t] - a[t-1]) r. A path that keeps its limits at every instant keeps them in these differences too, since each
is a mean of the derivative. An epoch begins at rest.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from beingh_core.evaluate.commitment import Violation
from beingh_core.evaluate.wire import EpochLog

# An epoch begins where the robot is: this near to what was measured [rad or m].
START_TOLERANCE = 0.05
# A robot that follows well is never faster than this many times its velocity limit.
ROBOT_SPEED_FACTOR = 1.6
# A robot that presses against something harder than this [N] springs back when that lets go, within this [s]. A grasp
# presses with half of it at most.
PRESSING_N, PRESSED_S = 60.0, 0.2
# Where nothing was measured for longer than this [s], the robot (or a simulator that has lost time) may have to catch up
# with its commands, for this long [s].
GAP_S, CATCHES_UP_S = 0.15, 0.3
# Speeds of the robot are measured over so many of its messages, since one may come late.
SPAN = 3
# Rounding of a position is amplified by the rate once for each difference.
ROUNDING = {"position": 1e-9, "velocity": 1e-7, "acceleration": 1e-5, "jerk": 1e-3}
RELATIVE = 1e-6


def sent_path(log: EpochLog, joints: tuple[str, ...], groups: tuple[tuple[str, ...], ...]) -> tuple[int, np.ndarray]:
    """What was sent in an epoch, also where a command was not received but a neighbour carries its tick.

    Returns:
        first tick, and (T, J) [rad or m] of it and the ticks after it, with the ticks that the last command
        carries beyond its own; NaN where nothing is known.
    """
    received = [rows for commands in log.commands for rows in commands if len(rows.positions)]
    if not received:
        return 0, np.empty((0, len(joints)))
    first = min(rows.first for rows in received)
    path = np.full((max(rows.first + len(rows.positions) for rows in received) - first, len(joints)), np.nan)
    for group, commands in zip(groups, log.commands):
        columns = [joints.index(name) for name in group]
        for rows in commands:  # of two commands for one tick the later one moves the robot
            at = rows.first - first
            path[at : at + len(rows.positions), columns] = rows.positions
    return first, path


def check_limits(
    log: EpochLog,
    joints: tuple[str, ...],
    groups: tuple[tuple[str, ...], ...],
    rate_hz: float,
    limits,
) -> list[Violation]:
    """Every tick of an epoch whose position, velocity, acceleration or jerk exceeds its limit, once for each of them.

    Args:
        log: what was seen of the epoch.
        joints, groups: all joints, and those of each driver topic.
        rate_hz: ticks per second.
        limits: arrays (J,) lower, upper, velocity, acceleration, jerk, is_velocity; a column that `is_velocity` holds
            a velocity, whose own bounds are lower and upper.
    """
    first, path = sent_path(log, joints, groups)
    if not len(path):
        return []
    if log.seen_from_start and first == 0:
        path, first = np.vstack([path[:1]] * 3 + [path]), -3
    found = []
    for quantity, values, low, high in _quantities(path, rate_hz, limits):
        allowed, share = ROUNDING[quantity], 0.0 if quantity == "position" else RELATIVE
        with np.errstate(invalid="ignore"):
            excess = np.maximum(values - high - share * np.abs(high), low - share * np.abs(low) - values)
        excess[~np.isfinite(excess)] = -np.inf
        # The differences of row i are those that end at row i of the path.
        offset = len(path) - len(values)
        for row in np.flatnonzero((excess > allowed).any(axis=1)):
            joint = int(np.argmax(excess[row]))
            bound = high[joint] if values[row, joint] > 0 else low[joint]
            found.append(
                Violation(
                    rule=quantity,
                    epoch=log.name,
                    tick=first + offset + int(row),
                    what=f"{joints[joint]} has {quantity} {values[row, joint]:.6g}, allowed {bound:.6g}",
                )
            )
    return found


def _quantities(path: np.ndarray, rate_hz: float, limits) -> list[tuple[str, np.ndarray, np.ndarray, np.ndarray]]:
    """(name, values (N, J), lowest (J,), highest (J,)) of everything that is limited."""
    differences = [path]
    for _ in range(3):
        differences.append(np.diff(differences[-1], axis=0) * rate_hz)
    width = path.shape[1]
    endless = np.full(width, np.inf)
    jerk = getattr(limits, "jerk", None)
    is_velocity = getattr(limits, "is_velocity", None)
    jerk = endless if jerk is None else np.asarray(jerk, dtype=float)
    is_velocity = np.zeros(width, dtype=bool) if is_velocity is None else np.asarray(is_velocity, dtype=bool)
    highest = [limits.upper] + [
        np.where(is_velocity, later, own)
        for own, later in ((limits.velocity, limits.acceleration), (limits.acceleration, jerk), (jerk, endless))
    ]
    lowest = [limits.lower] + [-high for high in highest[1:]]
    return list(zip(ROUNDING, differences, lowest, highest))


def check_starts(
    logs: Sequence[EpochLog],
    joints: tuple[str, ...],
    groups: tuple[tuple[str, ...], ...],
    measured_ns: np.ndarray,
    measured: np.ndarray,
) -> list[Violation]:
    """Every epoch that begins neither where the robot is nor with the last row that was sent to it.

    Args:
        logs: the epochs, oldest first.
        joints, groups: all joints, and those of each driver topic.
        measured_ns: (N,) when the joints were measured [ns].
        measured: (N, J) their positions [rad or m].
    """
    found, last_row = [], None
    for log in logs:
        first, path = sent_path(log, joints, groups)
        begins = [row.sent_ns for row in log.commands[0][:1] if row.sent_ns is not None]
        at = int(np.searchsorted(measured_ns, begins[0])) - 1 if begins else -1
        if at >= 0 and first == 0 and log.seen_from_start:
            error = np.abs(path[0] - measured[at])
            same = last_row is not None and np.allclose(path[0], last_row, rtol=0.0, atol=ROUNDING["position"])
            if (error > START_TOLERANCE).any() and not same:
                joint = int(np.argmax(error))
                what = f"{joints[joint]} is sent to {path[0, joint]:.4f} and was measured at {measured[at, joint]:.4f}"
                found.append(Violation(rule="start", epoch=log.name, tick=0, what=what))
        last_row = path[-1] if len(path) else last_row
    return found


def moved_after(measured_ns: np.ndarray, measured: np.ndarray, since_ns: int, until_ns: int) -> np.ndarray | None:
    """How far each joint was measured to move in a time (J,) [rad or m]; None when nothing was measured in it."""
    rows = measured[(measured_ns >= since_ns) & (measured_ns <= until_ns)]
    return rows.max(axis=0) - rows.min(axis=0) if len(rows) else None


def check_limits_of(
    logs: Sequence[EpochLog], joints: tuple[str, ...], groups: tuple[tuple[str, ...], ...], rate_hz: float, limits
) -> list[Violation]:
    """`check_limits` of every epoch."""
    return [violation for log in logs for violation in check_limits(log, joints, groups, rate_hz, limits)]


@dataclass(frozen=True, kw_only=True)
class Touch:
    """What the simulator says of a contact: when [ns], which link with what (`LINK|OTHER`), and how hard [N]."""

    stamp_ns: int
    pair: str
    force_n: float


@dataclass(frozen=True, kw_only=True)
class Jump:
    """The robot itself was faster than its limits allow.

    Attributes:
        at_ns: when [ns].
        joint: index of the fastest joint.
        speed: its speed [rad/s or m/s].
        touch: what the robot pressed against just before, which explains it; None when nothing does.
    """

    at_ns: int
    joint: int
    speed: float
    touch: Touch | None = None


def jumps_of_the_robot(
    measured_ns: np.ndarray,
    measured: np.ndarray,
    speeds_J: np.ndarray,
    moved_by_others: Sequence[tuple[int, int]] = (),
    touches: Sequence[Touch] = (),
) -> list[Jump]:
    """Where the robot itself was faster than its limits allow.

    What is sent may be in order and the robot jump all the same, when commands were lost on their way to it.

    Args:
        measured_ns: (N,) when the joints were measured [ns].
        measured: (N, J) their positions [rad or m].
        speeds_J: (J,) velocity limits.
        moved_by_others: (from, to) times in which somebody else has moved the robot [ns].
        touches: what the robot has touched, oldest first.
    """
    kept = np.ones(max(0, len(measured_ns) - 1), dtype=bool)
    gaps = np.flatnonzero(np.diff(measured_ns) > GAP_S * 1e9)
    catching_up = [(measured_ns[gap], measured_ns[gap + 1] + CATCHES_UP_S * 1e9) for gap in gaps]
    for since_ns, until_ns in [*moved_by_others, *catching_up]:
        kept &= ~((measured_ns[1:] >= since_ns) & (measured_ns[:-1] <= until_ns))
    pressed = [touch for touch in touches if touch.force_n > PRESSING_N]
    pressed_ns = np.array([touch.stamp_ns for touch in pressed], dtype=np.int64)
    found, skip_until = [], 0
    for last in range(SPAN, len(measured_ns)):
        begin_ns, end_ns = measured_ns[last - SPAN], measured_ns[last]
        seconds = (end_ns - begin_ns) / 1e9
        if last < skip_until or not kept[last - SPAN : last].all() or seconds < 0.03:
            continue
        speed = np.abs(measured[last] - measured[last - SPAN]) / seconds
        # A joint may overshoot what it is sent to.
        excess = speed - ROBOT_SPEED_FACTOR * speeds_J
        if (excess > 0.0).any():
            joint = int(np.argmax(excess))
            before = (pressed_ns >= begin_ns - PRESSED_S * 1e9) & (pressed_ns <= end_ns)
            why = [pressed[i] for i in np.flatnonzero(before)]
            touch = max(why, key=lambda one: one.force_n, default=None)
            found.append(Jump(at_ns=int(end_ns), joint=joint, speed=float(speed[joint]), touch=touch))
            skip_until = last + 5 * SPAN
    return found
