"""The rules by which figures become findings. A rule looks at intervals, so that few episodes decide nothing."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from beingh_core.suite.evidence.claim import NOT_SEEN, SEEN, UNTESTED, Finding

ENOUGH = 0.8  # share of told picks
KEPT = 0.9  # of the share without a delay
FEWEST = 5  # bodies


def picks(figures: Sequence[dict[str, Any]]) -> Finding:
    """Seen with a share of `ENOUGH` on every body, of `FEWEST` at least; not seen where one's interval ends below it."""
    own = [row for row in figures if row["kind"] == "told"]
    told = "; ".join(shown(row["robot"], row) for row in own)
    if len(own) < FEWEST:
        return Finding(verdict=UNTESTED, result=f"only {len(own)} bodies were played. {told}")
    if any(row["high"] < ENOUGH for row in own):
        return Finding(verdict=NOT_SEEN, result=told)
    if all(row["successes"] >= ENOUGH * row["episodes"] for row in own):
        return Finding(verdict=SEEN, result=told)
    return Finding(verdict=UNTESTED, result=f"too few episodes to tell. {told}")


def fails(kind: str):
    """Judge of a control: seen where its interval lies below that of the same body as told, on every body that has it."""

    def judge(figures: Sequence[dict[str, Any]]) -> Finding:
        plain = {row["robot"]: row for row in figures if row["kind"] == "told"}
        own = [row for row in figures if row["kind"] == kind]
        told = "; ".join(
            f"{shown(row['robot'], row)} against {shown('as told', plain[row['robot']])}, and "
            f"{row['told']} of {row['episodes']} lifted the cube that they were told"
            for row in own
        )
        if not own:
            return Finding(verdict=UNTESTED, result="no body of the checkpoint has this control")
        if all(row["high"] < plain[row["robot"]]["low"] for row in own):
            return Finding(verdict=SEEN, result=told)
        if any(row["low"] >= plain[row["robot"]]["successes"] / plain[row["robot"]]["episodes"] for row in own):
            return Finding(verdict=NOT_SEEN, result=told)
        return Finding(verdict=UNTESTED, result=f"the intervals overlap, so nothing can be told. {told}")

    return judge


def kept(longest: int):
    """Judge of `uac` up to a delay [ticks]: seen where the worst point keeps `KEPT` of the share without a delay, and not
    seen where the interval of its share ends below that."""

    def judge(figures: Sequence[dict[str, Any]]) -> Finding:
        own = [row for row in figures if row["method"] == "uac" and row["delay"] <= longest]
        base = next((row for row in own if row["delay"] == 0 and row["successes"]), None)
        delayed = [row for row in own if row["delay"]]
        if base is None or not delayed:
            return Finding(verdict=UNTESTED, result="no picks without a delay to compare with")
        worst = min(delayed, key=lambda row: row["successes"] / row["episodes"])
        share = lambda row: row["successes"] / row["episodes"]
        told = f"{shown('delay 0', base)}; at the worst, {shown('delay ' + str(worst['delay']), worst)}"
        if share(worst) >= KEPT * share(base):
            return Finding(verdict=SEEN, result=told)
        if worst["high"] < KEPT * share(base):
            return Finding(verdict=NOT_SEEN, result=told)
        return Finding(verdict=UNTESTED, result=f"too few episodes to tell. {told}")

    return judge


def smooth(figures: Sequence[dict[str, Any]]) -> Finding:
    """Seen where `uac` jumps less at seams than inside its chunks at every delay that the checkpoint was taught; by figures
    that have no interval, so the number of episodes is told."""
    own = [
        row for row in figures if row["method"] == "uac" and 0 < row["delay"] <= row["lock"] and row["seam"] is not None
    ]
    if not own:
        return Finding(verdict=UNTESTED, result="no delay that the checkpoint was taught")
    told = "; ".join(f"delay {row['delay']}: {row['seam']:.3f} at seams, {row['inside']:.3f} inside" for row in own)
    good = all(row["seam"] <= row["inside"] for row in own)
    return Finding(
        verdict=SEEN if good else NOT_SEEN,
        result=f"95th percentiles of the velocity's jumps [rad/s], {own[0]['episodes']} episodes a point: {told}",
    )


def shown(name: str, row: dict[str, Any]) -> str:
    """A share of picks with its interval."""
    return (
        f"{name} {row['successes']} of {row['episodes']} "
        f"({row['successes'] / row['episodes']:.2f}; {row['low']:.2f} to {row['high']:.2f})"
    )
