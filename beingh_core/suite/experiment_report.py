"""The report of an experiment that trains small models: tables in Markdown, the figures as JSON, a page with its pictures."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from html import escape
from typing import Any

import numpy as np

from beingh_core.contract import load_contract
from beingh_core.data.lerobot.storage import told_when_full
from beingh_core.evaluate.html import document, picture, table, tiles
from beingh_core.evaluate.paired import paired_interval
from beingh_core.suite.experiment import Experiment, Results
from beingh_core.suite.points import points
from beingh_core.suite.report import markdown_table, number

HEAD = (
    "model", "picked", "share, 95 % interval", "time to pick [s]", "jerk [rad/s³]", "chunks apart", "held-out loss",
    "with another instruction",
)  # fmt: skip
EFFECTS = ("model", "against", "picked more, 95 % interval", "scenes")
_MEANING = (
    "Intervals are Wilson's, 95 %; those of an effect are bootstrapped over the scenes, which both have played. Time to pick is the "
    "mean of the successes. Jerk is the root mean square over an episode's ticks of the largest joint's third difference of what was sent, "
    "and the mean of that over episodes. Held-out losses are those of the last step, over demonstrations of the body "
    "that were not taught; with another instruction over all bodies of the model."
)
_APART = (
    "Chunks apart: root mean square of what project_inactive changes in a chunk, from the same observations and noise, over the robot's slots, "
    "in normalised units (-1 to 1)."
)


@dataclass(frozen=True, kw_only=True)
class Effect:
    """Two cases that have played the same scenes: what the first has more than the second."""

    first: str
    second: str


def write(
    title: str,
    planned: Experiment,
    results: Results,
    told: Sequence[str],
    effects: Sequence[Effect],
    pictures: Mapping[str, tuple[str, bytes]],
) -> None:
    """Writes report.md, report.html, figures.json and the pictures beside the rows.

    Args:
        title: Of the page.
        planned, results: What was done and found.
        told: What was done, in sentences.
        effects: Cases that are compared scene by scene.
        pictures: Name of the file -> heading and PNG.
    """
    figures, compared = _figures(planned, results), [_effect(one, results) for one in effects]
    apart = [_APART] if any(case.compared for case in planned.cases) else []
    told = [*told, *apart, _MEANING]
    cells, rows = [_cells(one) for one in figures], [_effect_cells(one) for one in compared]
    with told_when_full(planned.out):
        kept = {"models": figures, "effects": compared}
        (planned.out / "figures.json").write_text(json.dumps(kept, indent=1) + "\n", encoding="utf-8")
        text = [f"# {title}", "", *(line for one in told for line in (one, "")), *markdown_table(HEAD, cells)]
        text += ["", *markdown_table(EFFECTS, rows)] if rows else []
        (planned.out / "report.md").write_text("\n".join(text) + "\n", encoding="utf-8")
        for name, (_, png) in pictures.items():
            (planned.out / f"{name}.png").write_bytes(png)
        parts = [f"<h1>{escape(title)}</h1>", *(f"<p class=soft>{escape(text)}</p>" for text in told)]
        parts += [tiles([(len(results.rows), "episodes", ""), (len(planned.trainings), "trainings", "")])]
        parts += [picture(heading, png) for heading, png in pictures.values()]
        parts += ["<h2>Every model</h2>", table(HEAD, cells)]
        parts += ["<h2>Scene by scene</h2>", table(EFFECTS, rows)] if rows else []
        (planned.out / "report.html").write_text(document(f"Being-H: {title.lower()}", parts), encoding="utf-8")


def _figures(planned: Experiment, results: Results) -> list[dict[str, Any]]:
    """Of each case: its point, the held-out losses of its training, and how far its chunks are apart."""
    found, figures = {point.checkpoint: point for point in points(results.rows)}, []
    for case in planned.cases:
        losses = results.losses.get(case.training, {})
        own = [row["difference"] for row in results.rows if row["checkpoint"] == case.name and "difference" in row]
        apart = {"apart": float(np.sqrt(np.mean(np.square(own))))} if own else {}
        of_body = losses.get(f"action_loss/{load_contract(case.robot).robot}", losses.get("action_loss"))
        held_out = {"action_loss": of_body, "other_action_loss": losses.get("other_action_loss")}
        figures.append(dataclasses.asdict(found[case.name]) | {"robot": case.robot} | apart | {"held_out": held_out})
    return figures


def _effect(one: Effect, results: Results) -> dict[str, Any]:
    """Difference of the shares of successes with its interval, over the scenes that both have played."""
    picked = {
        name: {row["seed"]: float(row["success"]) for row in results.rows if row["checkpoint"] == name}
        for name in (one.first, one.second)
    }
    seeds = sorted(picked[one.first].keys() & picked[one.second].keys())
    values = [np.array([picked[name][seed] for seed in seeds]) for name in (one.first, one.second)]
    found = paired_interval(*values, np.array(seeds))
    return {
        "first": one.first, "second": one.second, "scenes": len(seeds), "more": found.difference, "low": found.low,
        "high": found.high,
    }  # fmt: skip


def _cells(one: Mapping[str, Any]) -> list[str]:
    share = one["successes"] / one["episodes"]
    return [
        one["checkpoint"],
        f"{one['successes']} of {one['episodes']}",
        f"{share:.2f} ({one['low']:.2f} to {one['high']:.2f})",
        number(one["time_s"], 1),
        number(one["jerk"], 0),
        number(one.get("apart"), 3),
        number(one["held_out"].get("action_loss"), 3),
        number(one["held_out"].get("other_action_loss"), 3),
    ]


def _effect_cells(one: Mapping[str, Any]) -> list[str]:
    interval = f"({one['low']:+.2f} to {one['high']:+.2f})" if one["low"] is not None else ""
    if one["low"] is not None and one["low"] == one["high"]:  # drawing again what is always the same says nothing
        interval = "(the same in every scene)"
    told = f"{one['more']:+.2f} {interval}" if interval else "too few scenes"
    return [one["first"], one["second"], told, str(one["scenes"])]
