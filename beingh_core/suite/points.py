"""The figures of a point: what its episodes have in common."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from beingh_core.evaluate.intervals import wilson
from beingh_core.evaluate.seams import summarize_jumps


@dataclass(frozen=True, kw_only=True)
class Figures:
    """Of the episodes of a point.

    Attributes:
        episodes, successes: How many.
        low, high: Wilson's 95 % interval of the share of successes.
        time_s: Mean time to a pick, of the successes [s]; None without one.
        jerk: Mean over the episodes of their root mean square [rad/s^3].
        seam, inside: 95th percentile of the steps of the sent velocity at seams and inside chunks [rad/s]; None without one.
        wanted_seam, wanted_inside: The same of what the chunks wanted, before the limits.
        held: Share of the ticks that no chunk decided.
        late, refused, broken: Chunks that came behind their prefix, chunks that could not be used, broken promises.
    """

    episodes: int
    successes: int
    low: float
    high: float
    time_s: float | None
    jerk: float
    seam: float | None
    inside: float | None
    wanted_seam: float | None
    wanted_inside: float | None
    held: float
    late: int
    refused: int
    broken: int

    @property
    def share(self) -> float:
        """Of successes."""
        return self.successes / self.episodes


@dataclass(frozen=True, kw_only=True)
class Point(Figures):
    """One checkpoint, method and delay.

    Attributes:
        delay, lock: [ticks]; the lock is 0 where the way has none.
    """

    checkpoint: str
    method: str
    delay: int
    lock: int


def points(rows: Iterable[Mapping[str, Any]]) -> list[Point]:
    """Every point of these rows, in the order in which checkpoints and methods come first, by delay."""
    groups: dict[tuple[str, str, int], list[Mapping[str, Any]]] = {}
    for row in rows:
        groups.setdefault((row["checkpoint"], row["method"], row["delay"]), []).append(row)
    names = [list(dict.fromkeys(key[i] for key in groups)) for i in (0, 1)]
    order = sorted(groups, key=lambda key: (names[0].index(key[0]), names[1].index(key[1]), key[2]))
    return [_point(*key, groups[key]) for key in order]


def verdicts(found: Sequence[Point], longest: int) -> list[str]:
    """What the product's way keeps of its successes without a delay, and where its seams are as smooth as its chunks.

    Args:
        found: Points; a checkpoint without `uac` at delay 0 has no verdict.
        longest: Delay up to which that is promised, half a chunk.
    """
    told = []
    for name in dict.fromkeys(point.checkpoint for point in found):
        own = [point for point in found if (point.checkpoint, point.method) == (name, "uac") and point.delay <= longest]
        delayed = [point for point in own if point.delay]
        if not delayed or own[0].delay or not own[0].successes:
            continue
        worst = min(delayed, key=lambda point: point.share)
        rough = [p.delay for p in delayed if p.seam is not None and p.inside is not None and p.seam > p.inside]
        seams = f"larger at delay {', '.join(map(str, rough))}" if rough else "no larger at any of them"
        told.append(
            f"{name} by uac, delays up to {longest}: {worst.share / own[0].share:.2f} of the successes without a delay at the worst, "
            f"delay {worst.delay}; jumps at seams against those inside chunks (95th percentiles): {seams}."
        )
    return told


def figures_of(rows: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """The fields of `Figures` of some episodes."""
    successes = [row for row in rows if row["success"]]
    low, high = wilson(len(successes), len(rows))
    total = lambda name: sum(row[name] for row in rows)
    return {
        "episodes": len(rows),
        "successes": len(successes),
        "low": low,
        "high": high,
        "time_s": float(np.mean([row["time_s"] for row in successes])) if successes else None,
        "jerk": float(np.mean([row["jerk"] for row in rows])),
        **_jumps(rows, ""),
        **_jumps(rows, "wanted_"),
        "held": total("held") / max(1, total("ticks")),
        "late": total("late"),
        "refused": total("refused"),
        "broken": total("broken"),
    }


def _point(checkpoint: str, method: str, delay: int, rows: Sequence[Mapping[str, Any]]) -> Point:
    lock = max(row["lock"] for row in rows)
    return Point(checkpoint=checkpoint, method=method, delay=delay, lock=lock, **figures_of(rows))


def _jumps(rows: Sequence[Mapping[str, Any]], kind: str) -> dict[str, float | None]:
    found = summarize_jumps([(np.array(row[f"{kind}seam"]), np.array(row[f"{kind}inside"])) for row in rows])
    return {f"{kind}seam": found["p95_rad_s"], f"{kind}inside": found["inside_p95_rad_s"]}
