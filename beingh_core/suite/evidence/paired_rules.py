"""The rules about what changes when one thing is changed: by the paired differences that a suite reports."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from beingh_core.evaluate.intervals import wilson
from beingh_core.suite.evidence.claim import NOT_SEEN, SEEN, UNTESTED, Finding
from beingh_core.suite.evidence.rules import shown
from beingh_core.suite.fewshot import NOTHING, name_of
from beingh_core.suite.shift_plan import OFF
from beingh_core.suite.shifts import NONE

Judge = Callable[[Mapping[str, Any]], Finding]
ALIKE = 0.1  # of the share of picks: less makes no difference that matters
USEFUL = 0.5  # share of picks of a model that was taught by a few demonstrations

_FEW = "too few episodes to tell"


def interval(effect: Mapping[str, Any]) -> tuple[float, float]:
    """95 % of a difference of shares. Where it is the same in every scene, drawing scenes again tells nothing: it may be another in
    as large a share of them as Wilson's interval of none has."""
    if effect["more"] is None:
        return -1.0, 1.0
    if effect["low"] is None or effect["low"] == effect["high"]:
        other = wilson(0, effect["scenes"])[1]
        return max(-1.0, effect["more"] - other), min(1.0, effect["more"] + other)
    return effect["low"], effect["high"]


def gated(figures: Mapping[str, Any]) -> Finding:
    """Of passes of MPG under shifts, against the fewest: seen where more pick more, its interval above 0; not seen where all of
    the intervals end below `ALIKE`. Without the gate is told, and not judged."""
    points = figures["points"]
    effects = [one for one in figures["effects"] if one["shifted"] and OFF not in (one["mpg"], one["against_mpg"])]
    if not effects:
        return Finding(verdict=UNTESTED, result="only one number of passes was played")
    fewest = effects[0]["against_mpg"]
    plain = [point for point in points if point["mpg"] == fewest]
    told = [_difference(f"{one['mpg']} passes against {fewest}, under shifts", one) for one in effects]
    told += [f"picks with {fewest}: " + ", ".join(shown(_named(point), point) for point in plain)]
    told += [_gate(plain)]
    told += [
        f"{shown('without the gate and without a shift', point)}: no fair comparison, since the checkpoint was trained with the gate"
        for point in points if (point["mpg"], point["shift"]) == (OFF, NONE)
    ]  # fmt: skip
    if all(point["successes"] == point["episodes"] for point in plain if point["shift"] != NONE):
        return _finding(UNTESTED, "these shifts cost no pick, so there was nothing to protect", *told)
    if any(interval(one)[0] > 0.0 for one in effects):
        return _finding(SEEN, *told)
    if all(interval(one)[1] < ALIKE for one in effects):
        return _finding(NOT_SEEN, f"more passes do not pick {ALIKE:.2f} more", *told)
    return _finding(UNTESTED, _FEW, *told)


def few_steps(few: int) -> Judge:
    """Judge of Euler steps without a shift: seen where `few` pick as many as the most, within `ALIKE`; not seen where fewer,
    the interval below 0."""

    def judge(figures: Mapping[str, Any]) -> Finding:
        effects = [one for one in figures["effects"] if not one["shifted"] and one["steps"] != one["against_steps"]]
        own = next((one for one in effects if one["steps"] == few), None)
        if own is None:
            return Finding(verdict=UNTESTED, result=f"{few} steps and more were not both played")
        most = own["against_steps"]
        told = [
            shown(f"{point['steps']} steps", point) + (f" in {point['time_s']:.1f} s" if point["time_s"] else "")
            for point in figures["points"]
        ]
        told += [_difference(f"{one['steps']} against {most}", one) for one in effects]
        if not any(point["successes"] for point in figures["points"] if point["steps"] == most):
            return _finding(UNTESTED, f"{most} steps pick nothing, so fewer could lose nothing", *told)
        return _finding(*_as_many([own]), *told)

    return judge


def undisturbed(figures: Mapping[str, Any]) -> Finding:
    """Of unused slots: seen where the way in which they flow changes less than `ALIKE`, for every robot; not seen where one picks
    more or fewer for it, the interval on one side of 0."""
    models, effects = {row["checkpoint"]: row for row in figures["models"]}, figures["effects"]
    told = [shown(name, row) for name, row in models.items()]
    told += [
        _difference(f"{one['first']} against {one['second']}", one)
        + f", their chunks {models[one['first']]['apart']:.3f} apart in normalised units"
        for one in effects
    ]
    found = [interval(one) for one in effects]
    if not effects or not any(row["successes"] for row in models.values()):
        return _finding(UNTESTED, "nothing was picked, so nothing could be lost", *told)
    if all(-ALIKE < low and high < ALIKE for low, high in found):
        return _finding(SEEN, *told)
    if any(low > 0.0 or high < 0.0 for low, high in found):
        return _finding(NOT_SEEN, *told)
    return _finding(UNTESTED, _FEW, *told)


def pretrained(starts: Sequence[str]) -> Judge:
    """Judge of starts, nothing frozen: seen where one picks `USEFUL` of the cubes at least, and more than `NOTHING`, its interval
    above 0; not seen where each falls short of one of the two by its interval."""

    def judge(figures: Mapping[str, Any]) -> Finding:
        models = {row["checkpoint"]: row for row in figures["models"]}
        effects = {start: _effect(figures, name_of(start, 0), name_of(NOTHING, 0)) for start in starts}
        told = [shown(start, models[name_of(start, 0)]) for start in (*starts, NOTHING)]
        told += [_difference(f"{start} against {NOTHING}", one) for start, one in effects.items()]
        rows = {start: models[name_of(start, 0)] for start in starts}
        enough = lambda row: row["successes"] >= USEFUL * row["episodes"]
        if any(enough(rows[start]) and interval(effects[start])[0] > 0.0 for start in starts):
            return _finding(SEEN, *told)
        if all(rows[start]["high"] < USEFUL or interval(effects[start])[1] <= ALIKE for start in starts):
            return _finding(NOT_SEEN, *told)
        return _finding(UNTESTED, _FEW, *told)

    return judge


def frozen(starts: Sequence[str], depths: Sequence[int], depth: int) -> Judge:
    """Judge of `depth` frozen act layers: seen where a start that picks `USEFUL` of the cubes with none frozen picks as many, within
    `ALIKE`; not seen where all such starts pick fewer, the interval below 0.

    Args:
        starts: That were pretrained.
        depths: All that were played, which are told.
        depth: Which is judged.
    """

    def judge(figures: Mapping[str, Any]) -> Finding:
        models = {row["checkpoint"]: row for row in figures["models"]}
        told = [
            f"{start}: " + ", ".join(shown(f"{number} frozen", models[name_of(start, number)]) for number in depths)
            for start in (*starts, NOTHING)
        ]
        effects = {start: _effect(figures, name_of(start, depth), name_of(start, 0)) for start in starts}
        told += [_difference(f"{start}, {depth} against none", one) for start, one in effects.items()]
        whole = {start: models[name_of(start, 0)] for start in starts}
        useful = [
            one for start, one in effects.items() if whole[start]["successes"] >= USEFUL * whole[start]["episodes"]
        ]
        if not useful:
            return _finding(UNTESTED, f"no start picks {USEFUL:.2f} of the cubes with none frozen", *told)
        return _finding(*_as_many(useful), *told)

    return judge


def _as_many(effects: Sequence[Mapping[str, Any]]) -> tuple[str, str]:
    """Verdict, and why: seen where one loses less than `ALIKE`, not seen where all lose."""
    if any(interval(one)[0] > -ALIKE for one in effects):
        return SEEN, ""
    if all(interval(one)[1] < 0.0 for one in effects):
        return NOT_SEEN, ""
    return UNTESTED, _FEW


def _effect(figures: Mapping[str, Any], first: str, second: str) -> Mapping[str, Any]:
    return next(one for one in figures["effects"] if (one["first"], one["second"]) == (first, second))


def _finding(verdict: str, *told: str) -> Finding:
    return Finding(verdict=verdict, result="; ".join(text for text in told if text))


def _difference(name: str, effect: Mapping[str, Any]) -> str:
    low, high = interval(effect)
    more = "unknown" if effect["more"] is None else f"{effect['more']:+.2f}"
    return f"{name} {more} ({low:+.2f} to {high:+.2f}; {effect['scenes']} scenes)"


def _gate(points: Sequence[Mapping[str, Any]]) -> str:
    """The mean of the gate in each point of one number of passes; more passes lower it by themselves."""
    return "the gate's mean with them: " + ", ".join(f"{_named(point)} {point['gate_mean']:.3f}" for point in points)


def _named(point: Mapping[str, Any]) -> str:
    return "no shift" if point["shift"] == NONE else point["shift"]
