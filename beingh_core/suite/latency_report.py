"""The report of `beingh suite latency`: a table in Markdown, the figures as JSON, a page with its curves."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Mapping, Sequence
from html import escape
from typing import Any

from beingh_core.contract import RobotContract
from beingh_core.data.lerobot.storage import told_when_full
from beingh_core.evaluate.html import document, picture, table, tiles
from beingh_core.suite.curves import curves
from beingh_core.suite.joining import WAYS
from beingh_core.suite.latency_plan import Latency
from beingh_core.suite.points import Point, points, verdicts

HEAD = (
    "checkpoint", "method", "delay", "picked", "share, 95 % interval", "time to pick [s]", "jerk [rad/s³]",
    "seam jump p95", "inside p95", "ticks without a chunk", "late", "broken promises",
)  # fmt: skip
_MEANINGS = (
    "A chunk comes *delay* ticks after its picture. Intervals are Wilson's, 95 %. Time to pick is the mean of the successes. "
    "Jerk is the root mean square over an episode's ticks of the largest joint's third difference of what was sent, and the mean "
    "of that over episodes. A jump is the change of the sent velocity from one tick to the next [rad/s], of the joint where it is "
    "largest: where another chunk took over, and inside chunks. Late chunks came behind the prefix that they had repeated."
)
_WAYS = {
    "uac": "the product: a chunk continues the commands that are locked at its head",
    "naive": "the newest chunk replaces the running one when it comes",
    "waiting": "the robot halts while the next chunk is computed",
    "ensembling": "every tick is the mean of all chunks that have a row for it, weighted as in ACT (arXiv 2304.13705)",
    "guided_rtc": "naive, with guidance of the flow towards the chunk before (arXiv 2506.07339), in every pass",
    "training_rtc": "the model continues the chunk before (arXiv 2512.05964), without this package's limits and buffer",
}


def write(given: Latency, contract: RobotContract, rows: Sequence[Mapping[str, Any]]) -> None:
    """Writes report.md, report.html, figures.json and the pictures beside the rows."""
    found = points(rows)
    cells = [_cells(point) for point in found]
    pictures = {
        "success": ("Share of picks", curves(found, "picked", lambda p: p.share, lambda p: (p.low, p.high), top=1.03)),
        "time": ("Time to a pick", curves(found, "mean time to pick [s]", lambda p: p.time_s)),
        "jerk": ("Jerk of what was sent", curves(found, "RMS jerk [rad/s³]", lambda p: p.jerk, log=True)),
        "seam": (
            "Jump of the velocity at seams (dotted: inside chunks)",
            curves(found, "p95 [rad/s]", lambda p: p.seam, beside=lambda p: p.inside or None, log=True),
        ),
    }
    told = [*_told(given, contract, rows), *verdicts(found, contract.policy.chunk_length // 2)]
    with told_when_full(given.out):
        (given.out / "report.md").write_text(_markdown(told, cells), encoding="utf-8")
        figures = [dataclasses.asdict(point) for point in found]
        (given.out / "figures.json").write_text(json.dumps(figures, indent=1) + "\n", encoding="utf-8")
        for name, (_, png) in pictures.items():
            (given.out / f"{name}.png").write_bytes(png)
        (given.out / "report.html").write_text(_page(told, cells, found, pictures), encoding="utf-8")


def _told(given: Latency, contract: RobotContract, rows: Sequence[Mapping[str, Any]]) -> list[str]:
    """What was run, in sentences."""
    trained = {row["checkpoint"]: row["trained_delay"] for row in rows}
    checkpoints = "; ".join(
        f"{name} was taught to continue up to {steps} steps" if steps else f"{name} was taught to continue none"
        for name, steps in trained.items()
    )
    jitter = f", {given.jitter} more at random" if given.jitter else ""
    return [
        f"Robot {contract.robot}, {contract.rate_hz:g} ticks a second, chunks of {contract.policy.chunk_length} steps; told picks in "
        f"the scenes {given.seed} to {given.seed + given.episodes - 1}, the same for every point, at most {given.seconds:g} s each"
        f"{jitter}. {checkpoints}.",
        *(f"{method.replace('_', ' ')}: {_WAYS[method]}." for method in WAYS if method in given.methods),
        _MEANINGS.replace("*", ""),
    ]


def _cells(point: Point) -> list[str]:
    number = lambda value, digits: "" if value is None else f"{value:.{digits}f}"
    return [
        point.checkpoint,
        point.method.replace("_", " "),
        str(point.delay),
        f"{point.successes} of {point.episodes}",
        f"{point.share:.2f} ({point.low:.2f} to {point.high:.2f})",
        number(point.time_s, 1),
        number(point.jerk, 0),
        number(point.seam, 3),
        number(point.inside, 3),
        f"{100 * point.held:.0f} %",
        str(point.late),
        str(point.broken),
    ]


def _markdown(told: Sequence[str], cells: Sequence[Sequence[str]]) -> str:
    lines = ["# Latency", "", *(line for text in told for line in (text, "")), "| " + " | ".join(HEAD) + " |"]
    lines += ["|" + "---|" * len(HEAD), *("| " + " | ".join(row) + " |" for row in cells)]
    return "\n".join(lines) + "\n"


def _page(
    told: Sequence[str],
    cells: Sequence[Sequence[str]],
    found: Sequence[Point],
    pictures: Mapping[str, tuple[str, bytes]],
) -> str:
    broken = sum(point.broken for point in found)
    shown = [
        (sum(point.episodes for point in found), "episodes", ""),
        (min((point.episodes for point in found), default=0), "episodes of the smallest point", ""),
        (broken, "broken promises", "bad" if broken else "good"),
    ]
    parts = ["<h1>Picks under latency</h1>", *(f"<p class=soft>{escape(text)}</p>" for text in told), tiles(shown)]
    parts += [picture(title, png) for title, png in pictures.values()]
    return document("Being-H: picks under latency", [*parts, "<h2>Every point</h2>", table(HEAD, cells)])
