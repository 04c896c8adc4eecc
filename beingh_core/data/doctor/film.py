"""Film strips: which moments of an episode are shown, and the pictures of every view at them."""

from __future__ import annotations

import base64
from bisect import bisect_left
from html import escape

from beingh_core.data.doctor.facts import EpisodeFacts, Look, Mark

MOMENTS, LEAST = 10, 8
_CLOSE_S = 0.25  # two moments nearer than this are one


def moments(facts: EpisodeFacts) -> list[Mark]:
    """Start, end and marks, and between them as many more as make a strip."""
    if not facts.duration_s:
        return [Mark(time_s=0.0, name="start")]
    chosen = [Mark(time_s=0.0, name="start"), Mark(time_s=facts.duration_s, name="end")]
    for mark in facts.marks:
        near = min(chosen, key=lambda other: abs(other.time_s - mark.time_s))
        if abs(near.time_s - mark.time_s) >= _CLOSE_S and len(chosen) < MOMENTS:
            chosen.append(mark)
    chosen.sort(key=lambda mark: mark.time_s)
    while len(chosen) < LEAST:
        gap, after = max((b.time_s - a.time_s, i) for i, (a, b) in enumerate(zip(chosen, chosen[1:])))
        if gap < 2 * _CLOSE_S:
            break
        chosen.insert(after + 1, Mark(time_s=chosen[after].time_s + gap / 2, name=""))
    return chosen


def film(facts: EpisodeFacts) -> str:
    """The strips of all views as HTML: a row each, a column for each moment."""
    views = [view for view in facts.views if view.looks]
    if not views:
        return "<p class=soft>no pictures</p>"
    shown = moments(facts)
    cells = ["<span></span>"]
    cells += [f"<span class=when><b>{mark.time_s:.1f} s</b> {escape(mark.name)}</span>" for mark in shown]
    for view in views:
        cells.append(f"<span class=view>{escape(view.label)}<small>{escape(view.detail)}</small></span>")
        cells += [_picture(_nearest(view.looks, mark.time_s), view.label) for mark in shown]
    return f'<div class=scroll><div class=film style="--moments:{len(shown)}">{"".join(cells)}</div></div>'


def _nearest(looks: list[Look], time_s: float) -> Look:
    place = bisect_left(looks, time_s, key=lambda look: look.time_s)
    return min(looks[max(0, place - 1) : place + 1], key=lambda look: abs(look.time_s - time_s))


def _picture(look: Look, label: str) -> str:
    data = base64.b64encode(look.jpeg).decode()
    title = escape(f"{label} at {look.time_s:.2f} s", quote=True)
    return f'<img alt="{title}" title="{title}" src="data:image/jpeg;base64,{data}">'
