"""The figures of a run: the keys of report.json, and how each is computed."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from beingh_core.evaluate.commitment import Audit, Violation, audit
from beingh_core.evaluate.episodes import EpisodeResult, instruction_counts
from beingh_core.evaluate.motion import check_limits_of
from beingh_core.evaluate.seams import jumps_of, late_seams, seams, sent_positions
from beingh_core.evaluate.stops import StopReport, cut_ticks
from beingh_core.evaluate.tracking import Followed, tracking_figures
from beingh_core.evaluate.wire import EpochLog, WireLog


@dataclass(frozen=True, kw_only=True, eq=False)
class RunData:
    """Everything a run has measured.

    Attributes:
        results: the episodes.
        wire: what an onlooker saw.
        commit_margin, delay_steps: the contract's.
        revolute: (J,) which joints turn and are an arm's; seams and tracking are measured on these [rad/s, rad].
        inference_ms: duration of every inference [ms].
        latency_ms: time from every picture to its chunk [ms].
        controller: the controller's own counters: late, useless, clips, consumed_delay_p50, consumed_delay_max.
        image_frames_lost: camera images that did not reach the policy.
        checkpoint: what ran.
        robot: name of its contract.
        limits: arrays (J,) as `motion.check_limits` takes them, None where nobody asks.
        followed: commands and measurements of the episodes.
        stops: what the controller has reported of its stops, each of which cuts its epoch once.
        planned: joints of which the plan stands for what was sent; at a stop it does not say what was.
    """

    results: Sequence[EpisodeResult]
    wire: WireLog
    commit_margin: int
    delay_steps: int
    revolute: np.ndarray
    inference_ms: Sequence[float]
    latency_ms: Sequence[float]
    controller: Mapping[str, str]
    image_frames_lost: int
    checkpoint: str
    robot: str = ""
    limits: Any = None
    followed: Sequence[Followed] = ()
    stops: Sequence[StopReport] = ()
    planned: Sequence[str] = ()


def percentiles(values: Sequence[float] | np.ndarray, *which: int) -> dict[str, float | None]:
    """{"p50": ..., "max": ...} with 100 named max; None where there are no values."""
    values = np.asarray(values, dtype=float).ravel()
    return {
        "max" if p == 100 else f"p{p}": round(float(np.percentile(values, p)), 4) if values.size else None
        for p in which
    }


def figures(run: RunData) -> tuple[dict[str, object], Audit]:
    """The figures for report.json, and the audit of the wire behind `prefix_violations`."""
    wire, logs = run.wire, run.wire.epochs()
    at_seams, at_late, inside = _jumps(run, logs)
    broken = [] if run.limits is None else check_limits_of(logs, wire.joints, wire.groups, wire.rate_hz, run.limits)
    cuts = cut_ticks(logs, run.stops)
    broken = [violation for violation in broken if not _hidden(run, cuts, violation)]
    found = audit(
        logs,
        wire.joints,
        wire.groups,
        commit_margin=run.commit_margin,
        delay_steps=run.delay_steps,
        cuts=cuts,
    )
    return {
        "robot": run.robot,
        "episodes": len(run.results),
        "successes": sum(result.success for result in run.results),
        "prefix_violations": len(found.violations),
        "chunks": wire.chunk_count,
        "late_chunks": _count(run.controller, "late"),
        "useless_chunks": _count(run.controller, "useless"),
        "cut_chunks": (_count(run.controller, "cuts") or 0) + (_count(run.controller, "blocked") or 0),
        "inference_ms": percentiles(run.inference_ms, 50, 95),
        "consumed_delay_steps": {key: _number(run.controller, f"consumed_delay_{key}") for key in ("p50", "max")},
        "control_period_ms": {"target": 1e3 / wire.rate_hz} | percentiles(wire.periods_ms(), 50, 99),
        "seam_velocity_jump_rad_s": percentiles(at_seams, 95, 100),
        "late_seam_velocity_jump_rad_s": percentiles(at_late, 95, 100),
        "inside_velocity_jump_rad_s": percentiles(inside, 95, 100),
        "limit_violations": None if run.limits is None else len(broken),
        "tracking_error": tracking_figures(run.followed, run.revolute),
        "limit_clips": _count(run.controller, "clips"),
        "image_frames_lost": run.image_frames_lost,
        "checkpoint": run.checkpoint,
        "instruction_counts": instruction_counts(run.results),
    }, found


def _hidden(run: RunData, cuts: Mapping[str, Sequence[int]], violation: Violation) -> bool:
    """Whether a limit seems broken only because a stop has changed a row of the plan that was taken for sent."""
    at = cuts.get(violation.epoch, ())
    of_plan = violation.what.split()[0] in run.planned
    return of_plan and bool(at) and min(at) <= violation.tick <= max(at) + 3


def _jumps(run: RunData, logs: Sequence[EpochLog]) -> tuple[np.ndarray, ...]:
    """Steps of the sent velocity of the joint that jumps most (N,) [rad/s]: at seams of chunks in time, at those of chunks
    whose first steps were committed otherwise when they came, which are caught up with as fast as the limits allow, and inside
    chunks.

    Braking behind the last chunk is none of these.
    """
    wire, found = run.wire, ([np.empty(0)], [np.empty(0)], [np.empty(0)])
    for log in logs:
        first, sent = sent_positions(log, wire.joints, wire.groups)
        if not len(sent) or not run.revolute.any():
            continue
        decided = np.zeros(len(sent), dtype=bool)
        for rows in log.chunks:
            if rows.first in log.accepted:
                decided[max(0, rows.first - first) : max(0, rows.first - first + len(rows.positions))] = True
        path, held = sent[:, run.revolute], np.flatnonzero(~decided).tolist()
        late = late_seams(log, run.delay_steps, run.commit_margin)
        at = [tick for tick in seams(log) if 0 <= tick - first < len(sent) and decided[tick - first]]
        for part, ticks in zip(found, ([t for t in at if t not in late], [t for t in at if t in late])):
            part.append(jumps_of(path, [tick - first for tick in ticks], held, wire.rate_hz)[0])
        found[2].append(jumps_of(path, [tick - first for tick in at], held, wire.rate_hz)[1])
    return tuple(values[np.isfinite(values)] for values in map(np.concatenate, found))


def _number(values: Mapping[str, str], key: str) -> float | None:
    return float(values[key]) if key in values else None


def _count(values: Mapping[str, str], key: str) -> int | None:
    return int(values[key]) if key in values else None
