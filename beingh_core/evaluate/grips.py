"""When a gripper was closed and opened, and when a policy would have done so."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

OPEN, CLOSED = 0.7, 0.3  # shares of a gripper's range; between them it is neither
# A change that comes more than this apart from the recorded one is another change [s].
SAME_S = 1.5


@dataclass(frozen=True, kw_only=True)
class GripTiming:
    """How a policy's closings and openings compare with the recorded ones.

    Attributes:
        recorded: changes in the recordings.
        offsets_s: of those that the policy makes too: how much later, negative for earlier [s].
        missed: recorded changes that it does not make.
        extra: changes that it makes and that were not recorded.
    """

    recorded: int
    offsets_s: tuple[float, ...]
    missed: int
    extra: int


def changes(ticks_T: np.ndarray, share_T: np.ndarray) -> list[tuple[int, bool]]:
    """(tick, whether it opens) of every change of a gripper (share 0 closed to 1 open), with hysteresis."""
    found: list[tuple[int, bool]] = []
    state: bool | None = None
    for tick, share in zip(ticks_T, share_T):
        new = True if share > OPEN else False if share < CLOSED else state
        if new is not None and state is not None and new != state:
            found.append((int(tick), new))
        state = new
    return found


def timing(recorded: Sequence[tuple[int, bool]], predicted: Sequence[tuple[int, bool]], rate_hz: float) -> GripTiming:
    """Compares the changes of one recording: each with the nearest one of its kind."""
    left, offsets = list(predicted), []
    for tick, opens in recorded:
        near = [one for one in left if one[1] == opens and abs(one[0] - tick) <= SAME_S * rate_hz]
        if near:
            best = min(near, key=lambda one: abs(one[0] - tick))
            left.remove(best)
            offsets.append((best[0] - tick) / rate_hz)
    return GripTiming(
        recorded=len(recorded), offsets_s=tuple(offsets), missed=len(recorded) - len(offsets), extra=len(left)
    )


def together(parts: Sequence[GripTiming]) -> GripTiming:
    """Of several recordings."""
    return GripTiming(
        recorded=sum(part.recorded for part in parts),
        offsets_s=tuple(offset for part in parts for offset in part.offsets_s),
        missed=sum(part.missed for part in parts),
        extra=sum(part.extra for part in parts),
    )
