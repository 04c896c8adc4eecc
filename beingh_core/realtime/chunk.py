"""What passes in and out of the commit buffer: chunks, verdicts on them, and sent commands."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

ACCEPTED = ("merged", "late")
REFUSED = (
    "useless",
    "stale",
    "reordered",
    "duplicate",
    "future",
    "stopped",
    "foreign_epoch",
    "bad_joints",
    "bad_dt",
    "bad_length",
    "nonfinite",
    "blocked",
)
STATUSES = ACCEPTED + REFUSED


@dataclass(frozen=True, kw_only=True, eq=False)
class Chunk:
    """H commands from a policy.

    Attributes:
        base_tick: n0; row i is for tick n0 + i.
        epoch: the epoch in which n0 counts.
        joints: names of the columns, in any order.
        positions: (H, J) [rad or m].
        dt_s: time between rows [s].
    """

    base_tick: int
    epoch: str
    joints: Sequence[str]
    positions: np.ndarray
    dt_s: float

    def array(self) -> np.ndarray:
        """`positions` as float64; empty when they are no rectangle of numbers."""
        try:
            return np.asarray(self.positions, dtype=np.float64)
        except (TypeError, ValueError):
            return np.empty(0)


@dataclass(frozen=True, kw_only=True)
class MergeResult:
    """What became of a chunk.

    Attributes:
        status: one of `STATUSES`; `merged` and `late` changed the plan, the others did not.
        first_tick: first tick the chunk decided, None when refused.
        reason: a sentence for the log.
        clips: values that the limits changed.
        consumed: c = n + 1 - n0, ticks sent since the base tick.
        cut_at: number of its first step that was cut away; None where all are in the plan, or none is.
        blocked: what is in the way of the steps that are not, "" where nothing is.
    """

    status: str
    first_tick: int | None
    reason: str
    clips: int
    consumed: int
    cut_at: int | None = None
    blocked: str = ""

    @property
    def accepted(self) -> bool:
        """Whether the chunk is in the plan."""
        return self.status in ACCEPTED


@dataclass(frozen=True, kw_only=True, eq=False)
class Draft:
    """What would become of a chunk if nothing blocked it; see `MergeResult`.

    Attributes:
        epoch: the epoch in which that holds.
        first: first tick that it may decide.
        past_3J: (3, J) commands before that.
        rows_KJ: (K, J) commands from there on, within the limits.
    """

    status: str
    reason: str
    epoch: str
    first: int
    consumed: int
    past_3J: np.ndarray
    rows_KJ: np.ndarray
    clips: int

    @property
    def accepted(self) -> bool:
        """Whether it may come into the plan."""
        return self.status in ACCEPTED


@dataclass(frozen=True, kw_only=True, eq=False)
class Command:
    """What was sent at one tick.

    Attributes:
        tick: its number in the epoch.
        epoch: the epoch.
        positions: (J,) read-only [rad or m]; [m/s or rad/s] in columns that command a velocity.
        held: no chunk decided this tick (braking or holding: the buffer was dry or stopped).
        stopped: sent after `stop`.
    """

    tick: int
    epoch: str
    positions: np.ndarray
    held: bool
    stopped: bool
