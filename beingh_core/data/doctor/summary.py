"""What is said of episodes in few words: JSON for programs, a table for the terminal."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

from beingh_core.data.doctor.clocks import pace
from beingh_core.data.doctor.facts import BAD, FAULT, FLAW, GOOD, USABLE, EpisodeFacts
from beingh_core.data.doctor.texts import printable

VERSION = 1


def charge_shares(facts: EpisodeFacts) -> dict[str, float]:
    """Who was in charge -> share of the time for which somebody says so."""
    spans: dict[str, float] = {}
    for charge in facts.in_charge:
        spans[charge.who] = spans.get(charge.who, 0.0) + charge.end_s - charge.start_s
    whole = sum(spans.values())
    return {who: span / whole for who, span in spans.items()} if whole else {}


def reasons(facts: EpisodeFacts) -> list[str]:
    """Why an episode is not good."""
    return [str(finding) for finding in facts.findings if finding.weight in (FAULT, FLAW)]


def counts(episodes: Sequence[EpisodeFacts]) -> dict[str, int]:
    """Verdict -> episodes."""
    return {verdict: sum(e.verdict == verdict for e in episodes) for verdict in (GOOD, USABLE, BAD)}


def as_json(episodes: Sequence[EpisodeFacts], told: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """All that was found: the numbers of episodes, and what `described` gave of each."""
    return {"version": VERSION, **counts(episodes), "episodes": list(told)}


def described(facts: EpisodeFacts) -> dict[str, Any]:
    """An episode without its pictures and curves, as JSON has it."""
    return {
        "name": facts.name, "source": facts.source, "kind": facts.kind, "verdict": facts.verdict,
        "readable": facts.readable, "duration_s": _number(facts.duration_s), "begin_s": _number(facts.begin_s), "task": facts.task,
        "operator": facts.operator, "success": facts.success, "robot": facts.robot, "contract": facts.judged_by,
        "in_charge": {who: _number(share) for who, share in charge_shares(facts).items()},
        "marks": [{"time_s": _number(m.time_s), "name": m.name} for m in facts.marks],
        "streams": [_stream(stream, facts.begin_s) for stream in facts.streams],
        "lost": {name: dict(zip(("received", "lost", "dropped"), n)) for name, n in facts.lost.items()},
        "findings": [
            {
                "kind": f.kind, "weight": f.weight, "topic": f.topic, "text": f.text,
                "start_s": _number(f.start_s), "end_s": _number(f.end_s),
            }
            for f in facts.findings
        ],
    }  # fmt: skip


def _stream(stream, begin_s: float) -> dict[str, Any]:
    found = pace(stream, begin_s)
    return {
        "name": stream.name, "type": stream.type, "role": stream.role, "count": stream.count,
        "rate_hz": _number(found.rate_hz), "longest_s": _number(found.longest_s),
    }  # fmt: skip


def _number(value: float | None) -> float | None:
    """Rounded; JSON knows no infinity."""
    return None if value is None or not math.isfinite(value) else round(value, 4)


def table(episodes: Sequence[EpisodeFacts]) -> str:
    """One line an episode, the reasons under those that are not good, and the sum."""
    names = max([len(facts.name) for facts in episodes] + [7])
    lines = [f"{'episode':<{names}}  verdict  length [s]  views"]
    for facts in episodes:
        length = f"{facts.duration_s:.1f}" if facts.readable else ""
        lines.append(f"{printable(facts.name):<{names}}  {facts.verdict:<7}  {length:>10}  {len(facts.views):>5}")
        lines += [f"    {printable(reason)}" for reason in reasons(facts)]
    lines.append(", ".join(f"{count} {verdict}" for verdict, count in counts(episodes).items()))
    return "\n".join(lines)
