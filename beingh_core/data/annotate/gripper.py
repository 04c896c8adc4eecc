"""When grippers close and open."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from beingh_core.data.annotate.signals import STEP_S, on_grid, smoothed, spans

MOVING_PER_S = 0.15  # an opening that changes faster moves [1/s]
LEAST = 0.12  # smaller changes are no closing or opening
PAUSE_S = 0.3  # one motion may rest for so long
CLOSED = 0.05  # a gripper closed further than this holds nothing


@dataclass(frozen=True, kw_only=True)
class GripperMove:
    """A closing or an opening.

    Attributes:
        hand: whose.
        start_s, end_s: when it moved [s].
        before, after: opening, 0 closed, 1 open.
    """

    hand: str
    start_s: float
    end_s: float
    before: float
    after: float

    @property
    def closes(self) -> bool:
        """Whether it closes."""
        return self.after < self.before

    @property
    def holds(self) -> bool:
        """Whether something keeps the closed gripper from closing wholly."""
        return self.closes and self.after > CLOSED


def gripper_moves(times_s: np.ndarray, opening: np.ndarray, hand: str = "") -> list[GripperMove]:
    """The closings and openings of one gripper, in order.

    Args:
        times_s: (N,) increasing from 0 [s].
        opening: (N,) 0 closed, 1 open.
        hand: Its name.
    """
    grid_s, values = on_grid(times_s, opening)
    if len(grid_s) < 2:
        return []
    values = smoothed(values, 0.06)
    rate = np.gradient(values, STEP_S)
    found: list[list[int]] = []
    for sign in (-1, 1):
        joined: list[list[int]] = []
        for first, last in spans(sign * rate > MOVING_PER_S):
            if joined and (first - joined[-1][1]) * STEP_S < PAUSE_S and not _turns(rate, sign, joined[-1][1], first):
                joined[-1][1] = last
            else:
                joined.append([first, last])
        found += joined
    moves = []
    for first, last in sorted(found):
        before, after = float(values[max(0, first - 1)]), float(values[min(last, len(values) - 1)])
        if abs(after - before) >= LEAST:
            end_s = float(grid_s[min(last, len(grid_s) - 1)])
            moves.append(GripperMove(hand=hand, start_s=float(grid_s[first]), end_s=end_s, before=before, after=after))
    return moves


def _turns(rate: np.ndarray, sign: int, first: int, last: int) -> bool:
    """Whether it moves the other way in between."""
    return bool((-sign * rate[first:last] > MOVING_PER_S).any())
