"""Where a new chunk took over, and how much the commanded velocity stepped there."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from beingh_core.evaluate.wire import EpochLog, Rows

# Plans that differ by less are the same [rad or m].
SAME = 1e-9


def sent_positions(
    log: EpochLog, joints: tuple[str, ...], groups: tuple[tuple[str, ...], ...]
) -> tuple[int, np.ndarray]:
    """What was sent in an epoch.

    Returns:
        first tick, and (T, J) [rad or m] of it and the ticks after it; NaN where nothing was seen.
    """
    ticks = [rows.first for commands in log.commands for rows in commands]
    if not ticks:
        return 0, np.empty((0, len(joints)))
    first = min(ticks)
    sent = np.full((max(ticks) - first + 1, len(joints)), np.nan)
    for group, commands in zip(groups, log.commands):
        columns = [joints.index(name) for name in group]
        for rows in commands:
            sent[rows.first - first, columns] = rows.positions[0]
    return first, sent


def seams(log: EpochLog) -> list[int]:
    """Ticks at which a new chunk took over: from there on a publication differs from the one before it."""
    found = []
    for old, new in zip(log.buffers, log.buffers[1:]):
        tick = _first_difference(old, new)
        if tick is not None:
            found.append(tick)
    return found


def late_seams(log: EpochLog, delay_steps: int, commit_margin: int) -> list[int]:
    """Those of `seams` at which a chunk took over further back than behind its locked prefix of `delay_steps`.

    When it was merged the next ticks were committed already. A publication follows the tick that was next then.
    """
    found = []
    for old, new in zip(log.buffers, log.buffers[1:]):
        tick = _first_difference(old, new)
        bases = [base for base in log.accepted if tick is not None and base + delay_steps <= tick]
        if tick is not None and bases and new.first - 1 + commit_margin > max(bases) + delay_steps:
            found.append(tick)
    return found


def velocity_jumps(
    log: EpochLog, joints: tuple[str, ...], groups: tuple[tuple[str, ...], ...], rate_hz: float
) -> np.ndarray:
    """Step of the sent velocity at every seam: (S, J) [rad/s or m/s], seams at the very edge of the log left out.

    With q the sent position of a tick, v[t] = (q[t] - q[t-1]) rate; the step at seam t is |v[t] - v[t-1]|.
    """
    first, sent = sent_positions(log, joints, groups)
    steps = []
    for tick in seams(log):
        at = tick - first
        if 2 <= at < len(sent):
            steps.append(np.abs(sent[at] - 2 * sent[at - 1] + sent[at - 2]) * rate_hz)
    found = np.array(steps).reshape(len(steps), len(joints))
    return found[np.isfinite(found).all(axis=1)]


def _first_difference(old: Rows, new: Rows) -> int | None:
    """First tick of `new` that `old` planned otherwise; a plan holds its last row for ever."""
    if new.first < old.first or len(old.positions) == 0:
        return None
    for index, row in enumerate(new.positions):
        before = old.positions[min(new.first + index - old.first, len(old.positions) - 1)]
        if np.abs(row - before).max() > SAME:
            return new.first + index
    return None


@dataclass(frozen=True, kw_only=True)
class SeamFigures:
    """Velocity jumps of one way of joining chunks.

    Attributes:
        p95_rad_s, inside_p95_rad_s: at the seams, and inside the chunks, of what was wanted before the limits.
        sent_p95_rad_s, sent_inside_p95_rad_s: the same of what was sent.
        episodes, successes: how many, and in how many of them the task was done.
        success_s: mean time to that [s], None without one.
    """

    p95_rad_s: float | None
    inside_p95_rad_s: float | None
    sent_p95_rad_s: float | None
    sent_inside_p95_rad_s: float | None
    episodes: int
    successes: int
    success_s: float | None


def jumps_of(
    path_TJ: np.ndarray, seams_at: Sequence[int], held: Sequence[int], rate_hz: float
) -> tuple[np.ndarray, np.ndarray]:
    """Steps of the velocity at the seams and inside the chunks, of the joint that jumps most.

    A step of the position shows in two steps of the velocity, so the tick after a seam is no inside; nor is one that no
    chunk decided.

    Args:
        path_TJ: positions of ticks 0, 1, ... [rad].
        seams_at: ticks at which something else took over.
        held: ticks that no chunk decided.
        rate_hz: ticks per second.

    Returns:
        (seams,), (ticks inside,) [rad/s].
    """
    jumps = np.zeros(len(path_TJ))
    jumps[2:] = np.abs(np.diff(path_TJ, n=2, axis=0)).max(axis=1) * rate_hz
    ticks = [tick for tick in seams_at if 2 <= tick < len(jumps)]
    inside = np.ones(len(jumps), dtype=bool)
    inside[:2] = False
    for tick in ticks:
        inside[tick : tick + 2] = False
    inside[[tick for tick in held if tick < len(jumps)]] = False
    return jumps[ticks], jumps[inside]


def summarize_jumps(found: Sequence[tuple[np.ndarray, np.ndarray]]) -> dict[str, float | None]:
    """The 95th percentiles of several results of `jumps_of`."""
    seams_S = np.concatenate([at for at, _ in found] or [np.empty(0)])
    inside_N = np.concatenate([inside for _, inside in found] or [np.empty(0)])
    return {
        name: round(float(np.percentile(values, 95)), 4) if values.size else None
        for name, values in (("p95_rad_s", seams_S), ("inside_p95_rad_s", inside_N))
    }
