"""Film strips: which moments of an episode are shown, and the pictures of every view at them."""

from __future__ import annotations

import base64
import math
from bisect import bisect_left
from html import escape

from beingh_core.data.doctor.events import STARTS
from beingh_core.data.doctor.facts import EpisodeFacts, Look, Mark
from beingh_core.data.doctor.motion import GRIP_NAMES

MARKS, LEAST = 6, 8
_WIDEST = 0.25  # of the episode: no two neighbours in a strip are further apart
_CLOSE_S = 0.25  # two moments nearer than this are one


def moments(facts: EpisodeFacts) -> list[Mark]:
    """Start, end and marks that lie far apart, those of people first; between them as many more as cover the episode."""
    if not facts.duration_s:
        return [Mark(time_s=0.0, name="start")]
    early = any(mark.name == STARTS and mark.time_s >= _CLOSE_S for mark in facts.marks)
    chosen = [Mark(time_s=0.0, name="pre-roll" if early else "start"), Mark(time_s=facts.duration_s, name="end")]
    found = [mark for mark in facts.marks if mark.name not in GRIP_NAMES]
    for marks in (found, [mark for mark in facts.marks if mark.name in GRIP_NAMES]):
        while marks and len(chosen) < 2 + MARKS:
            far_s, place = max((_away_s(mark, chosen), -i) for i, mark in enumerate(marks))
            if far_s < _CLOSE_S:
                break
            chosen.append(marks.pop(-place))
    chosen.sort(key=lambda mark: mark.time_s)
    shown = chosen[:1]
    for mark in chosen[1:]:
        start_s, gap_s = shown[-1].time_s, mark.time_s - shown[-1].time_s
        parts = math.ceil(gap_s / (_WIDEST * facts.duration_s) - 1e-9)
        shown += [Mark(time_s=start_s + gap_s * part / parts, name="") for part in range(1, parts)]
        shown.append(mark)
    while len(shown) < LEAST:
        gap_s, after = max((b.time_s - a.time_s, i) for i, (a, b) in enumerate(zip(shown, shown[1:])))
        if gap_s < 2 * _CLOSE_S:
            break
        shown.insert(after + 1, Mark(time_s=shown[after].time_s + gap_s / 2, name=""))
    return shown


def _away_s(mark: Mark, others: list[Mark]) -> float:
    return min(abs(other.time_s - mark.time_s) for other in others)


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
