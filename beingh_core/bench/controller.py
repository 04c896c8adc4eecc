"""`beingh bench controller`: how long the controller takes to merge a chunk and to limit it.

Cases: no joint violates a limit (the chunk is taken as it is), every joint does in most of its steps, and every joint
is led beyond its position limit. Times are of `CommitBuffer.merge` as a whole, with its lock, checks, limits and the
stop behind the last step. With a robot, also what its check for self-collision costs. For comparison, ruckig following
the same targets from tick to tick, where it is installed.

Letters: H steps, J joints.
"""

from __future__ import annotations

import importlib.util
import os
import platform
from dataclasses import dataclass
from typing import Any

import numpy as np

from beingh_core.bench import self_collision
from beingh_core.bench.clocks import CLOCKS
from beingh_core.errors import BeingHError
from beingh_core.realtime.commit_buffer import Chunk, CommitBuffer
from beingh_core.realtime.limits import JointLimits

CASES = ("none", "all", "beyond_position_limits")
SPEED, ACCELERATION, JERK, RANGE = 2.0, 10.0, 150.0, 3.0  # [rad/s] and so on, [rad]
TICKS_BETWEEN_CHUNKS = 6
UNTIMED = 200  # chunks, while caches fill and the processor comes up to speed


@dataclass(frozen=True, kw_only=True)
class ControllerBench:
    """What to measure; checked on construction.

    Attributes:
        steps: H, all of which a chunk may change.
        joints: J.
        rate_hz: ticks per second.
        repeats: timed chunks of each case.
        seed: of the chunks.
        robot: contract whose check for self-collision is timed, too; "" for none.
        clock: a name in `CLOCKS`, for everything but that check.
    """

    steps: int = 32
    joints: int = 31
    rate_hz: float = 20.0
    repeats: int = 1000
    seed: int = 0
    robot: str = ""
    clock: str = "wall"

    def __post_init__(self) -> None:
        for name in ("steps", "joints", "repeats"):
            if getattr(self, name) < 1:
                raise BeingHError(f"--{name} {getattr(self, name)} is out of range", allowed="at least 1")
        if not 1.0 <= self.rate_hz <= 1000.0:
            raise BeingHError(f"--rate-hz {self.rate_hz:g} is out of range", allowed="1 to 1000")
        if self.clock not in CLOCKS:
            raise BeingHError(f"unknown clock '{self.clock}'", where="--clock", allowed=CLOCKS)


def run(bench: ControllerBench) -> dict[str, Any]:
    """The report: times in milliseconds, and what the limits changed."""
    cases = {case: _case(bench, case) for case in CASES}
    return {
        "steps": bench.steps,
        "joints": bench.joints,
        "rate_hz": bench.rate_hz,
        "repeats": bench.repeats,
        "machine": {"cpus": os.cpu_count(), "python": platform.python_version(), "numpy": np.__version__},
        "merge": cases,
        "ruckig_follow_ms": _ruckig(bench) if importlib.util.find_spec("ruckig") else None,
        "self_collision": self_collision.measure(bench.robot, bench.repeats, _summary) if bench.robot else None,
    }


def _limits(bench: ControllerBench) -> JointLimits:
    full = lambda value: np.full(bench.joints, value)
    return JointLimits(
        lower=full(-RANGE), upper=full(RANGE), velocity=full(SPEED), acceleration=full(ACCELERATION), jerk=full(JERK)
    )


def _targets(bench: ControllerBench, case: str, start_J: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Chunk (H, J) that continues from the last command."""
    if case == "none":
        return np.repeat(start_J[None], bench.steps, axis=0)
    # Steps of the size of the speed limit, whose changes are far over every limit of acceleration and jerk.
    walk = np.cumsum(rng.normal(0.0, SPEED / bench.rate_hz, (bench.steps, bench.joints)), axis=0)
    walk += 0.8 * start_J  # stays between the position limits
    return walk if case == "all" else walk + np.where(start_J > 0, 2.0, -2.0) * RANGE


def _case(bench: ControllerBench, case: str) -> dict[str, Any]:
    rng = np.random.default_rng(bench.seed)
    names = [f"joint_{i}" for i in range(bench.joints)]
    start = np.full(bench.joints, 0.1)
    if case == "beyond_position_limits":
        start = np.where(rng.random(bench.joints) < 0.5, 1.0, -1.0) * (RANGE - 0.3)
    buffer = CommitBuffer(
        joints=names, start_positions=start, limits=_limits(bench), dt_s=1.0 / bench.rate_hz, epoch="bench",
        chunk_length=bench.steps, delay_steps=0, commit_margin=0, log_length=10,
    )  # fmt: skip
    merges, advances, clips, violating, clock = [], [], 0, np.inf, CLOCKS[bench.clock]
    for repeat in range(UNTIMED + bench.repeats):
        before = buffer.planned(1)[1][0] if case != "none" else start
        targets = _targets(bench, case, before, rng)
        if case == "none":
            swing = np.cos(0.5 * (buffer.next_tick + np.arange(bench.steps)) / bench.rate_hz)
            targets = targets + 0.2 * (1.0 - swing)[:, None]
        chunk = Chunk(
            base_tick=buffer.next_tick, epoch="bench", joints=names, positions=targets, dt_s=1.0 / bench.rate_hz
        )
        began = clock()
        result = buffer.merge(chunk)
        merges.append(clock() - began)
        if result.status != "merged":
            raise BeingHError(f"the bench's own chunk was refused: {result.reason}")
        clips += result.clips
        violating = min(violating, (buffer.planned(bench.steps)[1][: bench.steps] != targets).any(axis=0).sum())
        for _ in range(TICKS_BETWEEN_CHUNKS):
            began = clock()
            buffer.advance()
            advances.append(clock() - began)
    return {
        "merge_ms": _summary(merges[UNTIMED:]),
        "advance_ms": _summary(advances[UNTIMED * TICKS_BETWEEN_CHUNKS :]),
        "values_changed_of_all": clips / ((UNTIMED + bench.repeats) * bench.steps * bench.joints),
        "violating_joints_at_least": int(violating),
    }


def _ruckig(bench: ControllerBench) -> dict[str, float]:
    """ruckig on the targets of the case `all`, one update a tick, every joint on its own."""
    import ruckig

    limits, rng = _limits(bench), np.random.default_rng(bench.seed)
    follower, order, output = (
        ruckig.Ruckig(bench.joints, 1.0 / bench.rate_hz),
        ruckig.InputParameter(bench.joints),
        ruckig.OutputParameter(bench.joints),
    )
    order.synchronization = ruckig.Synchronization.No
    order.current_position = [0.0] * bench.joints
    order.max_velocity, order.max_acceleration = limits.velocity.tolist(), limits.acceleration.tolist()
    order.max_jerk = limits.jerk.tolist()
    times, clock = [], CLOCKS[bench.clock]
    for _ in range(UNTIMED + bench.repeats):
        targets = _targets(bench, "all", np.array(order.current_position), rng)
        began = clock()
        speeds = np.diff(targets, axis=0, prepend=targets[:1]) * bench.rate_hz
        rows = zip(targets.tolist(), np.clip(speeds, -0.99 * SPEED, 0.99 * SPEED).tolist())
        made = []
        for order.target_position, order.target_velocity in rows:
            follower.update(order, output)
            made.append(output.new_position)
            output.pass_to_input(order)
        np.array(made)
        times.append(clock() - began)
    return _summary(times[UNTIMED:])


def _summary(seconds: list[float]) -> dict[str, float]:
    p50, p99, most = np.percentile(seconds, [50, 99, 100]) * 1e3
    return {"p50": round(p50, 4), "p99": round(p99, 4), "max": round(most, 4)}
