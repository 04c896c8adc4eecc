"""The report of `beingh suite shift`."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from beingh_core.contract import RobotContract
from beingh_core.suite.curves import Spot, curves
from beingh_core.suite.report import HEAD as FIGURES
from beingh_core.suite.report import MEANINGS, Report, cells, number
from beingh_core.suite.shift_effects import shift_effects
from beingh_core.suite.shift_plan import Shifted
from beingh_core.suite.shift_points import ShiftPoint, shift_points
from beingh_core.suite.shifts import KINDS, LABELS, NONE, Shift

HEAD = ("checkpoint", "variant", "shift", *FIGURES, "gate, mean", "gate, least", "broken promises")
_STEPS = "no shift, by Euler steps"


def write(given: Shifted, contract: RobotContract, rows: Sequence[Mapping[str, Any]]) -> None:
    """Writes report.md, report.html, figures.json and the pictures beside the rows."""
    found, effects = shift_points(rows, given.points()), shift_effects(rows)
    pictures = {}
    if across := _across(given):
        drawn = lambda label, *values: curves(_spots(given, found, *values), label, across, top=1.03)
        share = drawn("picked", lambda p: p.share, lambda p: (p.low, p.high))
        pictures["success"] = "Share of picks", share
        if any(point.gate_mean is not None for point in found):
            pictures["gate"] = "Mean value of MPG's gate", drawn("gate g", lambda p: p.gate_mean)
    Report(
        title="Picks under shifted pictures", name="Shift", told=[*_told(given, contract), *(effect.told for effect in effects)],
        head=HEAD, cells=[_cells(point) for point in found], found=found, pictures=pictures, effects=effects,
    ).write(given.out)  # fmt: skip


def _across(given: Shifted) -> dict[str, str]:
    """Panel -> its axis: a kind of shift each, and the Euler steps where there are several."""
    kinds = dict.fromkeys(shift.kind for shift in given.shifts if shift.kind != NONE)
    steps = {_STEPS: "Euler steps"} if len(given.steps) > 1 and Shift() in given.shifts else {}
    return {kind: LABELS[kind] for kind in kinds} | steps


def _spots(
    given: Shifted,
    found: Sequence[ShiftPoint],
    value: Callable[[ShiftPoint], float | None],
    spread: Callable[[ShiftPoint], tuple[float, float]] | None = None,
) -> list[Spot]:
    """Every point in its panel; one without a shift in all, where its strength would be that of none."""
    spots = []
    for point in found:
        shift, several = Shift.read(point.shift), len(given.checkpoints) > 1
        named = f"{point.checkpoint}, " if several else ""
        places = {shift.kind: (point.variant, shift.strength)}
        if shift.kind == NONE:
            places = {kind: (point.variant, 1.0 if kind == "brightness" else 0.0) for kind in LABELS}
            places[_STEPS] = f"MPG {point.mpg}", point.steps
        for panel, (line, at) in places.items():
            spots.append(
                Spot(panel=panel, line=named + line, at=at, value=value(point), spread=spread and spread(point))
            )
    panels = _across(given)
    return [spot for spot in spots if spot.panel in panels]


def _told(given: Shifted, contract: RobotContract) -> list[str]:
    """What was run, in sentences."""
    kinds = dict.fromkeys(shift.kind for shift in given.shifts if shift.kind != NONE)
    return [
        f"Robot {contract.robot}, {contract.rate_hz:g} ticks a second, chunks of {contract.policy.chunk_length} steps that come "
        f"{given.ticks(contract)} ticks after their picture, joined as the product does; told picks in the scenes {given.seed} to "
        f"{given.seed + given.episodes - 1}, the same for every point, at most {given.seconds:g} s each.",
        f"Shifted: {', '.join(given.cameras) or 'all cameras'}. What moves is not shifted, only what the policy sees.",
        *(f"{kind}: {KINDS[kind]}." for kind in kinds),
        f"{MEANINGS} The gate's values are those of all passes, steps and chunks: 1 lets MPG's correction through, 0 nothing.",
    ]


def _cells(point: ShiftPoint) -> list[str]:
    gate = [number(point.gate_mean, 3), number(point.gate_min, 3)]
    return [point.checkpoint, point.variant, point.shift, *cells(point), *gate, str(point.broken)]
