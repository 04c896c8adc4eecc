"""The page of a run: one HTML file with its pictures inside."""

from __future__ import annotations

import base64
from collections.abc import Mapping, Sequence
from html import escape

from beingh_core.evaluate.commitment import Audit
from beingh_core.evaluate.episodes import EpisodeResult

LISTED_VIOLATIONS = 20

_STYLE = """
:root { color-scheme: light; --ink: #22303c; --soft: #667784; --line: #dde3e8; --good: #1a7f4b; --bad: #b3372b; }
body { font: 16px/1.5 system-ui, sans-serif; color: var(--ink); background: #fff; margin: 2rem auto; padding: 0 1.2rem; max-width: 75rem; }
h1 { font-size: 1.7rem; margin: 0; } h2 { font-size: 1.15rem; margin: 2.2rem 0 .6rem; } p { margin: .3rem 0; }
.soft { color: var(--soft); } .good { color: var(--good); } .bad { color: var(--bad); }
.tiles { display: flex; flex-wrap: wrap; gap: .8rem; margin: 1.2rem 0; }
.tile { border: 1px solid var(--line); border-radius: .5rem; padding: .6rem 1rem; min-width: 9rem; }
.tile b { display: block; font-size: 1.5rem; line-height: 1.2; } .tile span { color: var(--soft); font-size: .85rem; }
img, video { max-width: 100%; display: block; } .scroll { overflow-x: auto; }
table { border-collapse: collapse; font-size: .92rem; } th, td { text-align: left; padding: .3rem .9rem .3rem 0; border-bottom: 1px solid var(--line); }
th { color: var(--soft); font-weight: 500; } td.number { text-align: right; font-variant-numeric: tabular-nums; }
code { font-size: .9em; }
"""

# What the figures of report.json mean.
_MEANINGS = {
    "prefix_violations": "broken commitments, seen on the wire by an onlooker",
    "chunks": "chunks published by the policy",
    "late_chunks": "chunks that came after their locked prefix had run out (merged from the first free tick)",
    "useless_chunks": "chunks that came after all their steps had passed (dropped)",
    "cut_chunks": "chunks cut or dropped because they would have run the robot into itself or into `keep_out`",
    "inference_ms": "one call of the policy [ms]",
    "consumed_delay_steps": "ticks between a chunk's base tick and its arrival",
    "control_period_ms": "time between commands at the robot's end [ms]",
    "seam_velocity_jump_rad_s": "step of the commanded velocity where a chunk in time took over, worst joint [rad/s]",
    "late_seam_velocity_jump_rad_s": "the same where a chunk came so late that it had to be caught up with, within the limits [rad/s]",
    "inside_velocity_jump_rad_s": "the same inside the chunks",
    "limit_violations": "sent values beyond a limit of position, velocity, acceleration or jerk",
    "tracking_error": "distance of the arms from their commands, the worst joint [rad]: with the lag that explains most of it, and without",
    "limit_clips": "values that the limits changed",
    "image_frames_lost": "camera images that did not reach the policy",
}


def page(
    figures: Mapping[str, object],
    audit: Audit,
    results: Sequence[EpisodeResult],
    shown: EpisodeResult | None,
    pictures: Mapping[str, bytes],
    video: str = "",
) -> str:
    """The HTML text.

    Args:
        figures: content of report.json.
        audit: check of the wire.
        results: the episodes.
        shown: the episode in the pictures.
        pictures: title -> PNG.
        video: file beside the report, "" for none.
    """
    parts = [
        f"<h1>Being-H on a simulated {escape(str(figures['robot']))}</h1>",
        f"<p class=soft>checkpoint <code>{escape(str(figures['checkpoint']))}</code></p>",
        _tiles(figures),
    ]
    if video:
        parts.append(f'<h2>All episodes</h2><video controls preload=metadata src="{escape(video)}"></video>')
    if shown is not None:
        parts.append(f"<h2>Episode {shown.index + 1}: “{escape(shown.instruction)}”, {escape(shown.outcome)}</h2>")
    parts += [picture(title, png) for title, png in pictures.items()]
    parts += [
        "<h2>Episodes</h2>",
        _episodes(results),
        "<h2>By instruction</h2>",
        _instructions(figures["instruction_counts"]),
        "<h2>Figures</h2>",
        _figures(figures),
        "<h2>Commitment, checked on the wire</h2>",
        _audit(audit),
    ]
    return document("Being-H demo report", parts)


def document(title: str, parts: Sequence[str], style: str = "") -> str:
    """A whole page of HTML parts; `style` adds to that of all pages."""
    body = "\n".join(parts)
    return (
        f'<!doctype html><html lang="en"><head><meta charset="utf-8"><title>{escape(title)}</title>'
        f'<meta name="viewport" content="width=device-width"><style>{_STYLE}{style}</style></head>'
        f"<body>{body}</body></html>\n"
    )


def _tiles(figures: Mapping[str, object]) -> str:
    violations = figures["prefix_violations"]
    shown = [
        (f"{figures['successes']} of {figures['episodes']}", "episodes succeeded", ""),
        (violations, "broken commitments", "bad" if violations else "good"),
        (_text(figures["inference_ms"]["p50"]) + " ms", "inference, median", ""),
        (
            _text(figures["control_period_ms"]["p99"]) + " ms",
            f"control period, 99 % (target {figures['control_period_ms']['target']:g})",
            "",
        ),
        (_text(figures["late_chunks"]), f"late chunks of {figures['chunks']}", ""),
    ]
    return tiles(shown)


def _episodes(results: Sequence[EpisodeResult]) -> str:
    rows = [
        [
            str(r.index + 1),
            str(r.seed),
            r.instruction,
            f"<span class={'good' if r.success else 'bad'}>{escape(r.outcome)}</span>",
            f"{r.time_s:.1f}",
            r.note,
        ]
        for r in results
    ]
    return table(["episode", "seed", "instruction", "result", "robot time [s]", ""], rows, html_column=3)


def _instructions(counts: Mapping[str, Mapping[str, int]]) -> str:
    rows = [[text, *(str(row[key]) for key in ("episodes", "successes", "wrong_cube"))] for text, row in counts.items()]
    return table(["instruction", "episodes", "successes", "another cube first"], rows)


def _figures(figures: Mapping[str, object]) -> str:
    rows = []
    for key, meaning in _MEANINGS.items():
        value = figures[key]
        text = (
            ", ".join(f"{name} {_text(v)}" for name, v in value.items()) if isinstance(value, Mapping) else _text(value)
        )
        rows.append([key, text, meaning])
    return table(["figure", "value", "meaning"], rows)


def _audit(audit: Audit) -> str:
    text = (
        f"<p>{audit.ticks} ticks were seen on their way to the robot, and {audit.comparisons} promised values were compared "
        f"with them: earlier commands, the controller's buffer, and the locked prefixes of accepted chunks.</p>"
    )
    if not audit.violations:
        return text + "<p class=good>Every tick was sent once and in order, and every promise was kept.</p>"
    items = "".join(f"<li>{escape(str(v))}</li>" for v in audit.violations[:LISTED_VIOLATIONS])
    return text + f"<p class=bad>{len(audit.violations)} promises were broken; the first ones:</p><ul>{items}</ul>"


def table(head: Sequence[str], rows: Sequence[Sequence[str]], html_column: int | None = None) -> str:
    """A table of texts; those of one column may be HTML."""
    top = "".join(f"<th>{escape(text)}</th>" for text in head)
    body = "".join(
        "<tr>"
        + "".join(f"<td>{cell if i == html_column else escape(cell)}</td>" for i, cell in enumerate(row))
        + "</tr>"
        for row in rows
    )
    return f"<div class=scroll><table><tr>{top}</tr>{body}</table></div>"


def _text(value: object) -> str:
    if value is None:
        return "none"
    return f"{value:.3g}" if isinstance(value, float) else str(value)


def picture(title: str, png: bytes) -> str:
    """A PNG with its heading, inside the page."""
    data = base64.b64encode(png).decode()
    return f'<h2>{escape(title)}</h2><div class=scroll><img alt="{escape(title)}" src="data:image/png;base64,{data}"></div>'


def tiles(shown: Sequence[tuple[object, str, str]]) -> str:
    """Headline figures: (value, what it is, class: "good", "bad" or "")."""
    return (
        "<div class=tiles>"
        + "".join(
            f'<div class=tile><b class="{kind}">{escape(str(value))}</b><span>{escape(label)}</span></div>'
            for value, label, kind in shown
        )
        + "</div>"
    )
