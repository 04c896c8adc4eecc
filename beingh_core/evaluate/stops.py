"""How long the robot took to stop after a cause, measured on what was sent to it.

The promise: from the cause to rest in 100 ms plus the time that the limits need to decelerate from the velocity at the
cause. `latency_ms` is what is left when that deceleration time is taken off.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from beingh_core.evaluate.motion import sent_path
from beingh_core.evaluate.wire import EpochLog

PROMISED_MS = 100.0
# A command that moves a joint by less does not move the robot [rad or m].
STILL = 1e-9
# A report is sent within this after its cause.
SAME_CLOCK_NS = 250_000_000
# The controller's clock is read from the system clock this precisely.
READING_NS = 1_000_000


@dataclass(frozen=True, kw_only=True, eq=False)
class Timeline:
    """What was sent, by time: `sent_ns` (N,) [ns], `positions` (N, J), `epochs` (N,) numbers."""

    sent_ns: np.ndarray
    positions: np.ndarray
    epochs: np.ndarray


@dataclass(frozen=True, kw_only=True)
class StopFigures:
    """One stop.

    Attributes:
        latency_ms: from the cause to rest, less the deceleration time; at least the time until it was reported.
        deceleration_ms: the least time in which the limits allow to stop from the velocity at the cause.
        rest_ms: from the cause to the last command that moved anything.
        speed: largest joint speed at the cause [rad/s or m/s].
    """

    latency_ms: float
    deceleration_ms: float
    rest_ms: float
    speed: float

    @property
    def kept(self) -> bool:
        """Whether the promise was kept."""
        return self.latency_ms <= PROMISED_MS


@dataclass(frozen=True, kw_only=True)
class StopReport:
    """A report of the controller that it stops: in which epoch, when the cause came up and when it was sent [ns]."""

    epoch: str
    stamp_ns: int
    sent_ns: int


def cut_ticks(logs: Sequence[EpochLog], reports: Sequence[StopReport]) -> dict[str, tuple[int, ...]]:
    """Epoch -> the ticks of which one is the first that its first stop has changed.

    The stop took effect between its cause and its report, so that is a tick sent meanwhile or the first one after. The
    cause's stamp is of the controller's clock; where that has been set meanwhile, a new epoch has begun and nothing was
    cut in the old one.
    """
    cuts: dict[str, tuple[int, ...]] = {}
    by_name = {log.name: log for log in logs}
    for report in reports:
        log = by_name.get(report.epoch)
        if log is None or report.epoch in cuts or abs(report.sent_ns - report.stamp_ns) > SAME_CLOCK_NS:
            continue
        sent = [
            (rows.sent_ns, rows.first) for commands in log.commands for rows in commands if rows.sent_ns is not None
        ]
        meanwhile = {tick for sent_ns, tick in sent if report.stamp_ns - READING_NS < sent_ns <= report.sent_ns}
        later = [tick for sent_ns, tick in sent if sent_ns > report.sent_ns]
        if ticks := meanwhile | set(later and [min(later)]):
            cuts[report.epoch] = tuple(sorted(ticks))
    return cuts


def timeline(logs: Sequence[EpochLog], joints: tuple[str, ...], groups: tuple[tuple[str, ...], ...]) -> Timeline:
    """Every tick whose time of sending is known, of all epochs."""
    times, rows, numbers = [], [], []
    for number, log in enumerate(logs):
        first, path = sent_path(log, joints, groups)
        sent = {command.first: command.sent_ns for command in log.commands[0] if command.sent_ns is not None}
        for tick, sent_ns in sorted(sent.items()):
            times.append(sent_ns)
            rows.append(path[tick - first])
            numbers.append(number)
    return Timeline(
        sent_ns=np.array(times, dtype=np.int64),
        positions=np.array(rows).reshape(len(rows), len(joints)),
        epochs=np.array(numbers, dtype=int),
    )


def deceleration_time(velocity: np.ndarray, acceleration: np.ndarray, limits) -> float:
    """The least time in which every joint comes to rest within its acceleration and jerk limits [s].

    Args:
        velocity, acceleration: (J,) at the beginning.
        limits: arrays (J,) acceleration, and jerk if there is one.
    """
    jerk = getattr(limits, "jerk", None)
    jerk = np.full(len(velocity), np.inf) if jerk is None else np.asarray(jerk, dtype=float)
    joints = zip(np.asarray(velocity).tolist(), np.asarray(acceleration).tolist(), limits.acceleration, jerk)
    return max((_joint_time(*joint) for joint in joints), default=0.0)


def _joint_time(velocity: float, acceleration: float, most: float, jerk: float) -> float:
    """Least time from a velocity and an acceleration to rest.

    The acceleration falls to -p and rises to 0 again, both at the jerk limit, with v + (a^2 - 2 p^2) / (2 jerk) = 0;
    where p would exceed the acceleration limit, it stays at that limit in between.
    """
    if not np.isfinite(jerk):
        return abs(velocity) / most
    if velocity + acceleration * abs(acceleration) / (2 * jerk) < 0:
        velocity, acceleration = -velocity, -acceleration
    peak = np.sqrt(max(0.0, acceleration**2 / 2 + jerk * velocity))
    if peak <= most:
        return max(0.0, (acceleration + 2 * peak) / jerk)
    cruise = (velocity + (acceleration**2 - 2 * most**2) / (2 * jerk)) / most
    return (acceleration + 2 * most) / jerk + cruise


def measure_stop(
    line: Timeline,
    *,
    cause_ns: int,
    until_ns: int,
    reported_ns: int | None,
    limits,
    rate_hz: float,
    held_up_ms: float = 0.0,
) -> StopFigures:
    """What was sent after a cause.

    Args:
        line: what was sent.
        cause_ns: when the cause arose, on the system clock [ns].
        until_ns: end of the stop: the reset, or the end of the record [ns].
        reported_ns: when the controller's report of the stop was received [ns].
        limits: of the joints.
        rate_hz: ticks per second.
        held_up_ms: how long the controller got no processor after the cause, which is taken off [ms].
    """
    velocity, acceleration = _motion_at(line, cause_ns, rate_hz)
    deceleration_ms = 1e3 * deceleration_time(velocity, acceleration, limits)
    after = np.flatnonzero((line.sent_ns > cause_ns) & (line.sent_ns < until_ns))
    moved = [i for i in after if i > 0 and np.abs(line.positions[i] - line.positions[i - 1]).max() > STILL]
    rest_ms = (line.sent_ns[moved[-1]] - cause_ns) / 1e6 if moved else 0.0
    reported_ms = 0.0 if reported_ns is None else (reported_ns - cause_ns) / 1e6
    return StopFigures(
        latency_ms=max(0.0, reported_ms - held_up_ms, rest_ms - deceleration_ms - held_up_ms),
        deceleration_ms=deceleration_ms,
        rest_ms=rest_ms,
        speed=float(np.abs(velocity).max(initial=0.0)),
    )


def _motion_at(line: Timeline, time_ns: int, rate_hz: float) -> tuple[np.ndarray, np.ndarray]:
    """Velocity and acceleration (J,) of the last command before a time; 0 at the beginning of an epoch."""
    last = int(np.searchsorted(line.sent_ns, time_ns, side="right")) - 1
    still = np.zeros(line.positions.shape[1])
    if last < 0:
        return still, still
    begin = int(np.searchsorted(line.epochs, line.epochs[last]))
    rows = line.positions[max(begin, last - 2) : last + 1]
    rows = np.vstack([rows[:1]] * (3 - len(rows)) + [rows])
    steps = np.diff(rows, axis=0) * rate_hz
    return steps[1], (steps[1] - steps[0]) * rate_hz
