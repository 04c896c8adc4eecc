"""The report of `beingh suite latency`."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from beingh_core.contract import RobotContract
from beingh_core.suite.curves import Spot, curves
from beingh_core.suite.joining import WAYS
from beingh_core.suite.latency_plan import Latency
from beingh_core.suite.points import Point, points, verdicts
from beingh_core.suite.report import HEAD as FIGURES
from beingh_core.suite.report import MEANINGS, Report, cells

HEAD = ("checkpoint", "method", "delay", *FIGURES, "ticks without a chunk", "late", "broken promises")
_ACROSS = "delay of a chunk [ticks]"
_MEANINGS = f"A chunk comes delay ticks after its picture. {MEANINGS} Late chunks came behind the prefix that they had repeated."
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
    drawn = lambda label, *values, **look: curves(
        [_spot(point, *values) for point in found], label, dict.fromkeys((p.checkpoint for p in found), _ACROSS), **look
    )
    pictures = {
        "success": ("Share of picks", drawn("picked", lambda p: p.share, lambda p: (p.low, p.high), top=1.03)),
        "time": ("Time to a pick", drawn("mean time to pick [s]", lambda p: p.time_s)),
        "jerk": ("Jerk of what was sent", drawn("RMS jerk [rad/s³]", lambda p: p.jerk, log=True)),
        "seam": (
            "Jump of the velocity at seams (dotted: inside chunks)",
            drawn("p95 [rad/s]", lambda p: p.seam, None, lambda p: p.inside or None, log=True),
        ),
    }
    told = [*_told(given, contract, rows), *verdicts(found, contract.policy.chunk_length // 2)]
    Report(
        title="Picks under latency", name="Latency", told=told, head=HEAD, cells=[_cells(point) for point in found],
        found=found, pictures=pictures,
    ).write(given.out)  # fmt: skip


def _spot(
    point: Point,
    value: Callable[[Point], float | None],
    spread: Callable[[Point], tuple[float, float]] | None = None,
    beside: Callable[[Point], float | None] | None = None,
) -> Spot:
    """Where a point stands in the panel of its checkpoint."""
    return Spot(
        panel=point.checkpoint,
        line=point.method.replace("_", " "),
        at=point.delay,
        value=value(point),
        spread=spread(point) if spread else None,
        beside=beside(point) if beside else None,
    )


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
        _MEANINGS,
    ]


def _cells(point: Point) -> list[str]:
    told = [point.checkpoint, point.method.replace("_", " "), str(point.delay)]
    return [*told, *cells(point), f"{100 * point.held:.0f} %", str(point.late), str(point.broken)]
