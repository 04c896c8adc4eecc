"""How far the steps of a chunk can be followed where a check says which rows are blocked, so that the brake is free too.

Letters: K steps, J columns.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from beingh_core.realtime.limits import JointLimits, brake


@dataclass(frozen=True, kw_only=True)
class Blocked:
    """A row that must not be commanded: its number, and why in words."""

    row: int
    reason: str


# Of (J,) the row that stands before, (K, J) the rows that may follow it, and how many of these are known to be free.
PathCheck = Callable[[np.ndarray, np.ndarray, int], Blocked | None]


def free_steps(
    rows_KJ: np.ndarray, past_3J: np.ndarray, limits: JointLimits, dt_s: float, check: PathCheck
) -> tuple[int | None, Blocked | None]:
    """How many of the rows can be followed, so that they and the brake behind them are free.

    Where a brake from the row before the blocked one is not free, earlier ones are tried, at growing distances, then those
    between the last two of them: one more row would be blocked.

    Args:
        rows_KJ: (K, J) commands within the limits.
        past_3J: (3, J) commands before them, oldest first.
        limits: the limits.
        dt_s: one tick [s].
        check: says what is blocked.

    Returns:
        K and None; else fewer rows, None if not even a brake at once is free, and what is in the way.
    """

    def blocked_after(count: int) -> Blocked | None:
        kept = rows_KJ[:count]
        tail = brake(np.vstack([past_3J, kept])[-3:], limits, dt_s)
        return check(past_3J[-1], np.vstack([kept, tail]), known)

    known, total = 0, len(rows_KJ)
    found = blocked_after(total)
    if found is None:
        return total, None
    count, step = min(found.row, total - 1), 1
    too_many = count + 1
    known = count
    while blocked_after(count) is not None:
        if count == 0:
            return None, found
        too_many, count, step = count, max(count - step, 0), 2 * step
        known = count
    while too_many - count > 1:
        known = middle = (count + too_many) // 2
        if blocked_after(middle) is None:
            count = middle
        else:
            too_many = middle
    return count, found
