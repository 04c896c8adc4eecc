"""Writes what a run has shown: report.html, report.json and episodes.json."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path

from beingh_core.evaluate import plots
from beingh_core.evaluate.commitment import Audit
from beingh_core.evaluate.episodes import EpisodeResult, EpisodeTrace
from beingh_core.evaluate.figures import RunData, figures
from beingh_core.evaluate.html import page


def write_report(
    out: Path, run: RunData, trace: EpisodeTrace | None, video: str = ""
) -> tuple[dict[str, object], Audit]:
    """Write the files of a run.

    Args:
        out: directory; created.
        run: what was measured.
        trace: the episode to show in pictures, None without one.
        video: file in `out` to show, "" for none.

    Returns:
        the figures of report.json, and the audit behind `prefix_violations`.
    """
    out.mkdir(parents=True, exist_ok=True)
    values, audit = figures(run)
    pictures = {}
    if trace is not None:
        pictures["What the cameras saw"] = plots.film_strip(trace.frames)
        pictures["Three seconds of one joint: what was locked, predicted and sent"] = plots.commitment_zoom(trace)
        pictures["Joints: measured, sent and predicted"] = plots.joint_tracking(trace)
    pictures["Latency"] = plots.latency_histogram(
        run.inference_ms, run.latency_ms, 1e3 * run.delay_steps / run.wire.rate_hz
    )
    text = page(values, audit, run.results, None if trace is None else trace.result, pictures, video)
    (out / "report.html").write_text(text, encoding="utf-8")
    (out / "report.json").write_text(json.dumps(values, indent=1) + "\n", encoding="utf-8")
    (out / "episodes.json").write_text(json.dumps(_rows(run.results), indent=1) + "\n", encoding="utf-8")
    return values, audit


def _rows(results: Sequence[EpisodeResult]) -> list[dict[str, object]]:
    return [asdict(result) | {"outcome": result.outcome} for result in results]
