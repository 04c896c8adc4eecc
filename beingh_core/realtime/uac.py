"""Arithmetic of universal asynchronous chunking (DESIGN 4.4): how many steps a chunk arrives late."""

from __future__ import annotations

import math
from collections import deque

from beingh_core.errors import BeingHError


def delay_steps(latency_s: float, dt_s: float, margin: int) -> int:
    """d = ceil(L / dt) + margin, the steps at a chunk's head that will have run when it arrives.

    Args:
        latency_s: L, from the picture to the merged chunk [s].
        dt_s: one action step [s].
        margin: steps added for safety.

    Raises:
        BeingHError: a negative latency or margin, or a step that is not positive.
    """
    if not (latency_s >= 0 and dt_s > 0 and margin >= 0 and math.isfinite(latency_s)):
        raise BeingHError(
            f"no delay follows from latency {latency_s} s, step {dt_s} s, margin {margin}",
            allowed="latency >= 0, step > 0, margin >= 0",
        )
    # 0.14 / 0.02 is 7.000000000000001 in floating point: that is 7 steps, not 8.
    return math.ceil(latency_s / dt_s - 1e-9) + margin


def check_plan(
    delay: int,
    execution_steps: int,
    chunk_length: int,
    trained_delay: int | None = None,
    *,
    where: object | None = None,
) -> None:
    """Refuses timings under which chunks cannot take over from each other.

    Required: d <= s <= H - d (hence H >= 2 d) and d <= the largest delay the model was trained for.

    Args:
        delay: d, locked steps.
        execution_steps: s, steps between starts of inference.
        chunk_length: H.
        trained_delay: largest d of training, None when there is no model yet.
        where: what to name in an error.

    Raises:
        BeingHError: with the numbers, and which of rate, steps, chunk or budget to change.
    """
    d, s, h = delay, execution_steps, chunk_length
    numbers = f"delay d = {d}, execution steps s = {s}, chunk length H = {h}"
    if d < 0 or s < 1 or h < 1:
        raise BeingHError(f"{numbers} make no plan", where=where, allowed="d >= 0, s >= 1, H >= 1")
    if 2 * d > h:
        raise BeingHError(
            f"{numbers}: d is more than H / 2 = {h / 2:g}, so a chunk is used up before the next one takes over",
            where=where,
            allowed=f"d <= {h // 2}",
            remedy="lower latency_budget_s, margin_steps or rate_hz, or use a model with a longer chunk "
            f"(H >= {2 * d})",
        )
    if not d <= s <= h - d:
        knob = "raise" if s < d else "lower"
        raise BeingHError(
            f"{numbers} break d <= s <= H - d",
            where=where,
            allowed=f"execution_steps {d} to {h - d}",
            remedy=f"{knob} execution_steps",
        )
    if trained_delay is not None and d > trained_delay:
        raise BeingHError(
            f"{numbers}: the model was trained for delays up to {trained_delay}",
            where=where,
            allowed=f"d <= {trained_delay}",
            remedy="lower latency_budget_s, margin_steps or rate_hz, or train with a larger delay",
        )


class DelayEstimator:
    """Running estimate of d from measured delays, in consumed ticks.

    The estimate is the largest of the last `window` measurements, plus the margin, and never below
    what the latency budget gives. The first `warm_up` measurements are ignored (they hold compilation
    and cache misses). One thread at a time.

    Args:
        budget_steps: ceil(L / dt), without margin.
        margin: steps added.
        window: b, measurements kept.
        warm_up: measurements ignored at the start.
    """

    def __init__(self, *, budget_steps: int, margin: int, window: int = 20, warm_up: int = 2) -> None:
        self._budget, self._margin = budget_steps, margin
        self._recent: deque[int] = deque(maxlen=window)
        self._skip = warm_up

    def add(self, consumed: int) -> None:
        """One measured delay: ticks that ran from a chunk's base tick until it was merged."""
        if self._skip > 0:
            self._skip -= 1
            return
        self._recent.append(consumed)

    @property
    def delay(self) -> int:
        """The present estimate of d [steps]."""
        return max([self._budget, *self._recent]) + self._margin
