"""Writes what an evaluation on recordings has shown: report.html, report.json."""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path

import numpy as np

from beingh_core.evaluate import grips
from beingh_core.evaluate.evaluated import Evaluated, NodeFigures
from beingh_core.evaluate.figures import percentiles
from beingh_core.evaluate.openloop import (
    SLOT,
    Comparison,
    chunk_seams,
    executed_errors,
    roughness,
    skill,
    stitched,
    summary,
)
from beingh_core.evaluate.openloop_page import page
from beingh_core.evaluate.paired import Paired, paired_interval


def figures(found: Evaluated) -> dict[str, object]:
    """The content of report.json."""
    comparison = found.comparison
    policies = comparison.policies
    skills = {}
    for policy in policies:
        value, best = skill(comparison, policy)
        skills[policy] = {"against_best_trivial": None if value is None else round(value, 4), "best_trivial": best}
    result: dict[str, object] = {
        "robot": found.robot,
        "recordings": list(found.recordings),
        "checkpoints": dict(found.checkpoints),
        "settings": dict(found.settings),
        "chunks": len(comparison.episodes),
        "rate_hz": comparison.rate_hz,
        "steps": {"locked": found.delay, "executed": comparison.executed, "decided": comparison.in_charge.shape[1]},
        "main": {"quantity": comparison.main.name, "unit": comparison.main.unit},
        "errors": summary(comparison),
        "skill": skills,
        "noise_spread": {policy: _spread(comparison, policy, other) for policy, other in found.again.items()},
        "gripper": {slot: _gripper(comparison, slot) for slot in found.grippers},
        "chunk_gaps": {policy: percentiles(chunk_seams(comparison, policy), 50, 95, 100) for policy in policies},
        "jerk": _jerks(comparison),
        "gate": {policy: percentiles(values, 5, 50, 95) for policy, values in found.gates.items() if len(values)},
        "inference_ms": {policy: percentiles(values, 50, 95) for policy, values in found.inference_ms.items()},
        "nodes": {policy: _node_figures(nodes) for policy, nodes in found.nodes.items()},
        "notes": list(found.notes),
    }
    if len(policies) > 1:
        result["compared"] = asdict(compared(comparison)) | {
            "A": policies[0], "B": policies[1], "verdict": compared(comparison).verdict,
        }  # fmt: skip
    return result


def compared(comparison: Comparison) -> Paired:
    """The first two policies, by the errors of executed steps in the main quantity."""
    first, second = comparison.policies[:2]
    return paired_interval(executed_errors(comparison, first), executed_errors(comparison, second), comparison.episodes)


def write_openloop_report(out: Path, found: Evaluated) -> dict[str, object]:
    """Writes report.json and report.html into a folder, which is created; returns the figures."""
    out.mkdir(parents=True, exist_ok=True)
    values = figures(found)
    (out / "report.json").write_text(json.dumps(values, indent=1) + "\n", encoding="utf-8")
    (out / "report.html").write_text(page(found, values), encoding="utf-8")
    return values


def _spread(comparison: Comparison, policy: str, other: str) -> dict[str, float | None]:
    """Mean distance between two predictions of one policy from different noise, in the main quantity."""
    distances = comparison.main.spread(policy, other)
    steps = {label: distances[:, index] for label, index in comparison.steps.items()}
    steps["1..s"] = distances[:, : comparison.executed]
    return {label: round(float(np.nanmean(values)), 5) for label, values in steps.items()}


def _by_recording(comparison: Comparison, values_NKW: np.ndarray) -> list[tuple[np.ndarray, np.ndarray]]:
    """(ticks, values) of each recording, stitched."""
    return [
        stitched(comparison.ticks[own], values_NKW[own])
        for own in (comparison.episodes == name for name in dict.fromkeys(comparison.episodes.tolist()))
    ]


def _gripper(comparison: Comparison, slot: str) -> dict[str, object]:
    quantity = next(q for q in comparison.quantities if q.kind == SLOT and q.name == slot)
    recorded = [grips.changes(t, v[:, 0]) for t, v in _by_recording(comparison, quantity.recorded)]
    result: dict[str, object] = {}
    for source in (*comparison.policies, *comparison.trivial):
        made = [grips.changes(t, v[:, 0]) for t, v in _by_recording(comparison, quantity.predicted[source])]
        told = grips.together([grips.timing(r, m, comparison.rate_hz) for r, m in zip(recorded, made)])
        late = np.abs(np.array(told.offsets_s))
        result[source] = {
            "recorded": told.recorded, "missed": told.missed, "extra": told.extra,
            "offset_s": [round(value, 3) for value in told.offsets_s],
            "mean_offset_s": round(float(late.mean()), 4) if late.size else None,
        }  # fmt: skip
    return result


def _jerks(comparison: Comparison) -> dict[str, dict[str, float | None]]:
    """Of the main quantity, stitched without anything that joins chunks: what the controller has to smooth."""
    main, found = comparison.main, {}
    for source in ("recorded", *comparison.policies):
        values = main.recorded if source == "recorded" else main.predicted[source]
        parts = [roughness(v, comparison.rate_hz) for _, v in _by_recording(comparison, values)]
        every = np.concatenate(parts or [np.empty(0)])
        found[source] = percentiles(every[np.isfinite(every)], 50, 95)
    return found


def _node_figures(nodes: NodeFigures) -> dict[str, object]:
    return {
        "chunks": nodes.chunks,
        "late_chunks": nodes.late,
        "useless_chunks": nodes.useless,
        "refused_chunks": nodes.refused,
        "observation_age_ms": percentiles(nodes.observation_age_ms, 50, 95, 100),
        "seam_velocity_jump_rad_s": percentiles(nodes.seam_jumps, 50, 95, 100),
        "inside_velocity_jump_rad_s": percentiles(nodes.inside_jumps, 50, 95, 100),
        "sent_jerk_rad_s3": percentiles(nodes.jerk, 50, 95, 100),
        "recorded_jerk_rad_s3": percentiles(nodes.recorded_jerk, 50, 95, 100),
        "gate_closed_ticks": dict(nodes.closed),
        "stops": list(nodes.stops),
    }
