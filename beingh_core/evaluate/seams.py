"""Where a new chunk took over, and how much the commanded velocity stepped there."""

from __future__ import annotations

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
