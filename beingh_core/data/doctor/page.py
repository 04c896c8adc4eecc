"""The page: a summary of all episodes first, then each of them; one HTML file with everything inside."""

from __future__ import annotations

from collections.abc import Sequence
from html import escape

from beingh_core.data.doctor import charts
from beingh_core.data.doctor.charts import Span
from beingh_core.data.doctor.clocks import pace
from beingh_core.data.doctor.facts import BAD, COMMANDS, GOOD, OTHER, ROWS, USABLE, EpisodeFacts
from beingh_core.data.doctor.film import film
from beingh_core.data.doctor.summary import charge_shares, counts, reasons
from beingh_core.evaluate.html import document, table

MOST_CURVES = 24
_OPEN = 6  # so many episodes are unfolded, also good ones
_PAUSE = "the controller was stopped or between epochs"
_CHARGE_KINDS = {"policy": "policy", "person": "person", "nobody": "nobody"}
_STYLE = """
:root { --usable: #a86400; --blue: #1769aa; --orange: #e8890c; }
.badge { display: inline-block; border-radius: 1rem; padding: 0 .65rem; color: #fff; font-size: .82rem; line-height: 1.6; background: var(--good); }
.badge.usable { background: var(--usable); } .badge.bad { background: var(--bad); } .tile b.usable { color: var(--usable); }
a { color: var(--blue); } ul { margin: .4rem 0; padding-left: 1.2rem; } li.note { color: var(--soft); }
li.fault::marker { color: var(--bad); content: "✕ "; } li.flaw::marker { color: var(--usable); content: "! "; } li.note::marker { content: "· "; }
.summary td { vertical-align: top; } .summary td:first-child, .summary th:first-child { white-space: nowrap; } .summary td:nth-child(3) { min-width: 14rem; } .summary td:nth-child(4) { white-space: nowrap; }
details.episode { border-top: 2px solid var(--line); padding: .8rem 0 1.2rem; } details.episode > summary { cursor: pointer; font-size: 1.15rem; overflow-wrap: anywhere; }
details.more > summary { cursor: pointer; color: var(--soft); margin: .6rem 0; } h3 { font-size: .95rem; margin: 1.1rem 0 .3rem; color: var(--soft); font-weight: 600; }
.film { display: grid; grid-template-columns: 7rem repeat(var(--moments), minmax(5rem, 12rem)); gap: 3px; align-items: start; } .film img { width: 100%; min-height: 1rem; } .film .when { font-size: .78rem; line-height: 1.25; color: var(--soft); align-self: end; overflow-wrap: anywhere; }
.film .when b { display: block; color: var(--ink); font-weight: 600; } .film .view { position: sticky; left: 0; background: #fffd; font-size: .85rem; line-height: 1.25; padding-right: .4rem; overflow-wrap: anywhere; z-index: 1; align-self: stretch; }
.film .view small { display: block; color: var(--soft); }
.bars { display: grid; grid-template-columns: minmax(7rem, 16rem) 1fr; gap: 3px .6rem; align-items: center; font-size: .82rem; }
.bars .label { overflow: hidden; text-overflow: ellipsis; white-space: nowrap; direction: rtl; text-align: left; unicode-bidi: plaintext; } .bars svg { width: 100%; height: .85rem; display: block; }
.axis { display: flex; justify-content: space-between; color: var(--soft); font-size: .75rem; }
.bar .there { fill: #cfe0ee; } .bar .gap, .bar .black { fill: var(--bad); } .bar .black { fill: #000; } .bar .frozen { fill: #7a4fa3; } .bar .policy { fill: #4c94cf; } .bar .person { fill: var(--orange); }
.bar .nobody, .bar .pause { fill: #e4e8eb; } .bar .idle { fill: #c2a25a; } .bar .mark { fill: var(--ink); } .bar .moves { fill: #b9d8c3; }
.charts { display: grid; grid-template-columns: repeat(auto-fill, minmax(min(20rem, 100%), 1fr)); gap: .7rem 1.2rem; } .chart { margin: 0; min-width: 0; }
.chart figcaption { font-size: .8rem; overflow-wrap: anywhere; line-height: 1.3; } .chart figcaption span { color: var(--soft); } .chart svg { width: 100%; height: 5.2rem; display: block; border-bottom: 1px solid var(--line); }
.chart path { fill: none; vector-effect: non-scaling-stroke; stroke-width: 1.4; } .chart .measured { stroke: var(--ink); } .chart .commanded { stroke: var(--blue); } .chart .limit { stroke: var(--bad); stroke-dasharray: 4 3; stroke-width: 1; }
.chart .mark { stroke: #b9c2c9; stroke-width: 1; } .chart .outside { stroke: var(--bad); stroke-width: 3; } .chart .person { fill: var(--orange); opacity: .18; }
.key i { display: inline-block; width: .8rem; height: .8rem; border-radius: 2px; margin: 0 .25rem -.1rem 0; } .key { font-size: .82rem; color: var(--soft); } .key span { white-space: nowrap; margin-right: .8rem; }
@media (max-width: 40rem) { body { margin: 1rem auto; padding: 0 .7rem; } .bars { grid-template-columns: 1fr; } .bars .label { direction: ltr; } .tile { min-width: 4.2rem; padding: .3rem .6rem; } .tiles { gap: .4rem; } .summary td:first-child { white-space: normal; overflow-wrap: anywhere; min-width: 6rem; } .summary td:nth-child(3) { min-width: 9rem; overflow-wrap: anywhere; } .summary :is(td, th):nth-child(n+4) { display: none; } .film { grid-template-columns: 5.6rem repeat(var(--moments), 5.5rem); } .film .view { font-size: .78rem; } }
"""
_COLOURS = (
    ("#cfe0ee", "messages"), ("#b3372b", "gap, or outside of limits"), ("#7a4fa3", "frozen"), ("#000", "black"),
    ("#4c94cf", "policy in charge"), ("#e8890c", "person in charge"), ("#e4e8eb", "nobody; no epoch of the controller"), ("#b9d8c3", "motion"),
    ("#c2a25a", "nothing moves"),
)  # fmt: skip


def page(episodes: Sequence[EpisodeFacts], sections: dict[int, str]) -> str:
    """The HTML text.

    Args:
        episodes: All of them, for the summary; their pictures and curves are not needed any more.
        sections: Number of an episode -> what `section` gave.
    """
    found = counts(episodes)
    title = f"{len(episodes)} episode{'s' * (len(episodes) != 1)}: " + ", ".join(
        f"{number} {verdict}" for verdict, number in found.items() if number
    )
    parts = [
        "<h1>What is in the data</h1>",
        _tiles(episodes, found),
        _summary(episodes, sections),
        "<p class=key>" + "".join(f'<span><i style="background:{c}"></i>{text}</span> ' for c, text in _COLOURS)
        + "<br>curves: measured black, commanded blue, limits dashed, events grey</p>",
        *(sections[number] for number in sorted(sections)),
    ]  # fmt: skip
    left = len(episodes) - len(sections)
    if left:
        parts.append(
            f"<p class=soft>{left} more episodes are only in the table above; --details shows more of them.</p>"
        )
    return document(title, parts, _STYLE)


def section(number: int, facts: EpisodeFacts) -> str:
    """One episode: findings, film strips, timeline, curves, streams."""
    opened = " open" if facts.verdict != GOOD or number < _OPEN else ""
    parts = [
        f"<details class=episode id=e{number}{opened}><summary>{_badge(facts.verdict)} <b>{escape(facts.name)}</b>"
        f"{f' <span class=soft>“{escape(facts.task)}”</span>' if facts.task else ''}</summary>",
        f"<p class=soft>{escape(_about(facts))}</p>",
        _findings(facts),
    ]
    if facts.readable:
        parts += ["<h3>What the cameras saw</h3>", film(facts)]
        parts += ["<h3>What happened when</h3>", _timeline(facts)]
        parts += [_curves(facts), _streams(facts)]
    return "\n".join([*parts, "</details>"])


def _badge(verdict: str) -> str:
    return f'<span class="badge {verdict}">{verdict}</span>'


def _tiles(episodes: Sequence[EpisodeFacts], found: dict[str, int]) -> str:
    minutes = sum(facts.duration_s for facts in episodes) / 60
    tiles = [(str(found[verdict]), verdict, verdict if found[verdict] else "soft") for verdict in (GOOD, USABLE, BAD)]
    tiles.append((f"{minutes:.1f} min", "in all", ""))
    tiles.append((str(len({facts.task for facts in episodes if facts.task})), "tasks", ""))
    inner = "".join(
        f'<div class=tile><b class="{kind}">{value}</b><span>{label}</span></div>' for value, label, kind in tiles
    )
    return f"<div class=tiles>{inner}</div>"


def _summary(episodes: Sequence[EpisodeFacts], sections: dict[int, str]) -> str:
    rows = []
    for number, facts in enumerate(episodes):
        name = escape(facts.name)
        told = reasons(facts)
        why = "<br>".join(escape(text) for text in told[:3]) + (
            f"<br>and {len(told) - 3} more" if len(told) > 3 else ""
        )
        rows.append([
            f'<a href="#e{number}">{name}</a>' if number in sections else name,
            _badge(facts.verdict),
            why,
            f"{facts.duration_s:.1f} s" if facts.readable else "",
            escape(facts.task),
            escape(", ".join(f"{who} {share:.0%}" for who, share in charge_shares(facts).items())),
            {True: "success", False: "failure", None: ""}[facts.success],
        ])  # fmt: skip
    head = ("episode", "verdict", "why", "length", "task", "in charge", "recorder says")
    top = "".join(f"<th>{text}</th>" for text in head)
    body = "".join("<tr>" + "".join(f"<td>{cell}</td>" for cell in row) + "</tr>" for row in rows)
    return f'<div class="scroll summary"><table><tr>{top}</tr>{body}</table></div>'


def _about(facts: EpisodeFacts) -> str:
    said = [facts.source]
    if facts.readable:
        said += [f"{facts.duration_s:.2f} s", f"robot {facts.robot}" if facts.robot else ""]
        said.append(f"rates and gaps judged from {facts.begin_s:.2f} s on" if facts.begin_s else "")
        said.append(
            f"judged by the contract of {facts.judged_by}" if facts.judged_by else "no contract: no limits known"
        )
    said.append(f"operator {facts.operator}" if facts.operator else "")
    said.append({True: "its recorder says: success", False: "its recorder says: failure", None: ""}[facts.success])
    return " · ".join(text for text in said if text)


def _findings(facts: EpisodeFacts) -> str:
    if not facts.findings:
        return "<p class=good>Nothing is wrong with it.</p>"
    items = "".join(f"<li class={finding.weight}>{escape(str(finding))}</li>" for finding in facts.findings)
    return f"<ul>{items}</ul>"


def _timeline(facts: EpisodeFacts) -> str:
    bars = []
    if facts.in_charge:
        spans = [
            Span(start_s=c.start_s, end_s=c.end_s, kind=_CHARGE_KINDS.get(c.who, "nobody"), title=c.who)
            for c in facts.in_charge
        ]
        bars.append(charts.time_bar("in charge", spans, facts.duration_s))
    if facts.marks:
        width = facts.duration_s / 200
        spans = [Span(start_s=m.time_s, end_s=m.time_s + width, kind="mark", title=m.name) for m in facts.marks]
        bars.append(charts.time_bar("events", spans, facts.duration_s))
    if facts.curves:
        spans = [Span(start_s=0.0, end_s=facts.duration_s, kind="moves"), *_found_spans(facts, "")]
        bars.append(charts.time_bar("motion", spans, facts.duration_s))
    for stream in facts.streams:
        at = stream.times_s
        if stream.role != OTHER and len(at):
            end_s = facts.duration_s if stream.role == ROWS else float(at[-1])  # the last row lasts, too
            spans = [Span(start_s=float(at[0]), end_s=end_s, kind="there")]
            if stream.role == COMMANDS:
                spans += [Span(start_s=p.start_s, end_s=p.end_s, kind="pause", title=_PAUSE) for p in facts.pauses]
            spans += _found_spans(facts, stream.name)
            bars.append(charts.time_bar(stream.name, spans, facts.duration_s))
    if facts.kind == "dataset":
        for view in facts.views:
            spans = [Span(start_s=0.0, end_s=facts.duration_s, kind="there"), *_found_spans(facts, view.name)]
            bars.append(charts.time_bar(view.label, spans, facts.duration_s, view.name))
    return f"<div class=bars>{''.join(bars)}{charts.axis(facts.duration_s)}</div>"


def _found_spans(facts: EpisodeFacts, topic: str) -> list[Span]:
    return [
        Span(start_s=f.start_s, end_s=f.end_s if f.end_s is not None else f.start_s, kind=f.kind, title=str(f))
        for f in facts.findings
        if f.topic == topic and f.start_s is not None and f.kind in ("gap", "frozen", "black", "idle")
    ]


def _curves(facts: EpisodeFacts) -> str:
    """Measured and commanded curves of one name share a chart."""
    measured = [curve for curve in facts.curves if not curve.commanded]
    wanted = {}
    for curve in facts.curves:
        if curve.commanded:
            wanted.setdefault(curve.name, curve)
    names = {curve.name for curve in measured}
    pairs = [(curve, wanted.get(curve.name)) for curve in measured]
    apart = {
        curve.name for curve, other in pairs if facts.kind == "dataset" and other and not charts.alike(curve, other)
    }
    pairs = [(curve, None if curve.name in apart else other) for curve, other in pairs]
    pairs += [(None, curve) for name, curve in wanted.items() if name not in names or name in apart]
    pairs = [pair for pair in pairs if any(curve is not None and len(curve.values) for curve in pair)]
    if not pairs:
        return ""
    drawn = [
        charts.joint_chart(one, other, facts.duration_s, facts.marks, facts.in_charge)
        for one, other in pairs[:MOST_CURVES]
    ]
    more = f"<p class=soft>and {len(pairs) - MOST_CURVES} more</p>" if len(pairs) > MOST_CURVES else ""
    unit = "; rad, sliding joints in m" if facts.kind == "bag" else ""
    what = "State and action" if facts.kind == "dataset" else "Joints"
    return f"<h3>{what} from 0 to {facts.duration_s:.1f} s{unit}</h3><div class=charts>{''.join(drawn)}</div>{more}"


def _streams(facts: EpisodeFacts) -> str:
    def row(stream) -> list[str]:
        found = pace(stream, facts.begin_s)
        _, lost, dropped = facts.lost.get(stream.name, (0, 0, 0))
        return [
            stream.name, stream.type, str(stream.count),
            f"{found.rate_hz:.1f}" if found.rate_hz and stream.role != OTHER else "",
            f"{found.longest_s:.3f}" if found.longest_s is not None and stream.role != OTHER else "",
            f"{stream.max_age_s:g}" if stream.max_age_s and stream.role != OTHER else "",
            str(lost or ""), str(dropped or ""),
        ]  # fmt: skip

    head = ["topic", "type", "messages", "rate [Hz]", "longest gap [s]", "allowed [s]", "lost", "dropped"]
    judged = [stream for stream in facts.streams if stream.role != OTHER]
    others = [stream for stream in facts.streams if stream.role == OTHER]
    text = "<h3>Streams</h3>" + table(head, [row(stream) for stream in judged]) if judged else ""
    if others:
        inner = table(head, [row(stream) for stream in others])
        text += f"<details class=more><summary>{len(others)} other topics</summary>{inner}</details>"
    return text
