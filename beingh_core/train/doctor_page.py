"""The doctor's page: one HTML file with everything inside."""

from __future__ import annotations

import base64
import io
import re
from collections.abc import Mapping, Sequence
from html import escape
from itertools import count
from pathlib import Path

import numpy as np
from PIL import Image

from beingh_core.evaluate.html import document, table, tiles
from beingh_core.policy.prompt import IMAGE_PLACE
from beingh_core.state_history import StateHistory
from beingh_core.train import memory
from beingh_core.train.doctor import Report, Shown, ShownWords, making
from beingh_core.train.sources import Source, with_actions

_STYLE = """
.sample { border-top: 2px solid var(--line); padding: .8rem 0 1.2rem; } .sample h3 { font-size: 1rem; margin: 0 0 .4rem; }
.views { display: flex; flex-wrap: wrap; gap: .5rem; } .views figure { margin: 0; } .views img { width: 11rem; image-rendering: auto; border-radius: .2rem; }
figcaption { font-size: .8rem; color: var(--soft); overflow-wrap: anywhere; }
.charts { display: grid; grid-template-columns: repeat(auto-fill, minmax(11rem, 1fr)); gap: .7rem 1rem; margin-top: .7rem; } .charts figure { margin: 0; min-width: 0; }
.charts svg { width: 100%; height: 4.5rem; display: block; border-bottom: 1px solid var(--line); }
.charts path { fill: none; vector-effect: non-scaling-stroke; } .recorded { stroke: var(--ink); stroke-width: 4; opacity: .28; } .taught { stroke: #1769aa; stroke-width: 1.6; }
.beyond { fill: #e8890c; opacity: .16; } .mask svg { width: 100%; max-width: 40rem; height: 2.2rem; display: block; background: #f1f4f6; } .mask .on { fill: #4c94cf; }
.key i { display: inline-block; width: 1.4rem; height: .28rem; margin: 0 .3rem .2rem 0; } .key span { margin-right: 1rem; white-space: nowrap; } .key { font-size: .85rem; color: var(--soft); }
ul { margin: .4rem 0; padding-left: 1.2rem; }
"""
_MOST_CHARTS, _MOST_OF_A_KEY, _MOST_NOTES = 18, 3, 40
_WIDTH, _HEIGHT = 100.0, 40.0


def page(report: Report) -> str:
    """The HTML text."""
    refused = report.refused
    verdict = (
        f"{len(refused)} contradiction{'s' * (len(refused) != 1)}: the run would not begin"
        if refused
        else "the run can begin"
    )
    parts = [
        "<h1>Before the training run</h1>",
        f"<p class={'bad' if refused else 'good'}>{escape(verdict)}</p>",
        tiles(_headline(report)),
        _faults(report, refused),
        "<h2>What is drawn</h2>", _account(report),
        "<h2>One batch</h2>", _batch(report),
        *(_sample(sample) for sample in report.samples),
        *(_said(words) for words in report.words),
        f"<h2>Memory of a GPU [GB], of which one has {report.gpu_gb:g}</h2>", _memory(report),
        "<h2>Weights</h2>", _parameters(report),
        _notes(report),
    ]  # fmt: skip
    return document("Training doctor", parts, _STYLE)


def write(report: Report, path: Path) -> None:
    """Writes the page.

    Raises:
        OSError: It cannot be written.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(page(report), encoding="utf-8")


def _headline(report: Report) -> list[tuple[object, str, str]]:
    speed, loss = report.speed, report.loss
    samples = sum(int(s.table.starts[-1]) if isinstance(s, Source) else s.table.count for s in report.sources)
    shown: list[tuple[object, str, str]] = [
        (len(report.sources), "datasets", ""), (f"{samples:,}", "usable rows and lines", ""),
        (f"{report.batch['tokens']:.0f}", f"tokens a pack, of {report.config.packing.max_tokens} at most", ""),
        (f"{speed['made_per_s']:.1f}/s", f"samples that one process makes; {making(report.config.data.workers)}", ""),
    ]  # fmt: skip
    if loss.get("of nothing"):
        odd = "bad" if not loss["action"] < 3.0 * loss["of nothing"] else ""
        text = f"action loss at the start; {loss['of nothing']:.3f} for no prediction at all"
        shown.append((f"{loss['action']:.3f}", text, odd))
    if loss.get("text"):
        shown.append((f"{loss['text']:.3f}", "text loss at the start, a token", ""))
    if loss:
        text = "samples that one step takes on this machine's processor"
        shown.append((f"{speed['taken_per_s']:.1f}/s", text, ""))
    return shown


def _faults(report: Report, refused: Sequence[str]) -> str:
    lines = [f"<li class=bad>{escape(text)}</li>" for text in refused]
    for source in with_actions(report.sources):
        accepted = [f for f in report.findings[source.title] if f.kind in source.section.accept]
        lines += [f"<li>accepted, {escape(source.title)}: {escape(finding.text)}</li>" for finding in accepted]
        if report.still[source.title]:
            lines.append(
                f"<li>{escape(source.title)}: never moved: {escape(', '.join(report.still[source.title]))}</li>"
            )
    if not lines:
        return "<p class=good>Names, order, units, rate and statistics of every dataset agree with its contract.</p>"
    return f"<ul>{''.join(lines)}</ul>"


def _account(report: Report) -> str:
    rows = []
    for source, one in zip(report.sources, report.account):
        good, bad = source.counts
        acting = isinstance(source, Source)
        lengths = source.sample_tokens if acting else source.tokens[source.tokens > 0]
        rows.append([
            one["dataset"], source.modality.name if acting else "words", str(good), str(bad),
            f"{source.table.starts[-1]:,}" if acting else "", f"{source.table.starts[-1] / source.fps / 3600:.2f}" if acting else "",
            str(len(source.table.tasks)) if acting else "", f"{one['wanted']:.1%}",
            f"{lengths.min()} to {lengths.max()}" if len(lengths) else "", str(one["left_out"]),
        ])  # fmt: skip
    head = ["dataset", "embodiment", "episodes or lines", "bad", "rows", "hours", "tasks",
            f"share of {report.config.data.measure}", "tokens", "too long or unseen"]  # fmt: skip
    return table(head, rows)


def _batch(report: Report) -> str:
    batch = report.batch
    return (
        f"<p>{batch['samples']} samples in {batch['packs']} packs, {batch['shortest']} to {batch['longest']} tokens each, "
        f"{batch['left_out']} left out. Pictures are as they are taught, {_changes(report)}. {_states(batch['history'])}"
        f"{_mirrored(report)}Taught actions, back in physical units, differ from the recorded ones by {report.difference:.2g} at "
        "most.</p>"
        '<p class=key><span><i style="background:#22303c;opacity:.3"></i>recorded</span>'
        '<span><i style="background:#1769aa"></i>taught</span><span><i style="background:#e8890c;opacity:.4"></i>behind the '
        "episode's end</span></p>"
    )


def _changes(report: Report) -> str:
    """What is done to pictures."""
    talk = (
        "; those of conversations whole and unchanged"
        if len(with_actions(report.sources)) < len(report.sources)
        else ""
    )
    return f"with crop and jitter{talk}"


def _states(history: StateHistory) -> str:
    """Which states a sample has, where it has several."""
    if history.rows == 1:
        return ""
    steps = ", ".join(map(str, history.before.tolist()))
    return f"A sample has {history.rows} states, of {steps} steps ago. "


def _mirrored(report: Report) -> str:
    """Which datasets are taught in the mirror."""
    shares = [f"{s.title} {s.section.mirror:.0%}" for s in with_actions(report.sources) if s.section.mirror]
    return f"Taught in the mirror, picture and hands: {escape(', '.join(shares))} of the samples. " if shares else ""


def _sample(sample: Shown) -> str:
    views = "".join(
        f'<figure><img alt="{escape(name)}" src="data:image/png;base64,{_png(image)}"><figcaption>{escape(name)}</figcaption></figure>'
        for name, image in sample.pictures.items()
    )
    slots = ", ".join(
        f"{kind}.{key} {first}:{last}" for kind, keys in sample.slots.items() for key, (first, last) in keys.items()
    )
    known = {
        key: [i for i in range(values.shape[1]) if np.isfinite(values[:, i]).any()]
        for key, values in sample.taught.items()
    }
    every = sum(map(len, known.values()))
    if every > _MOST_CHARTS:  # some of every key
        known = {key: places[:_MOST_OF_A_KEY] for key, places in known.items()}
    charts = [
        _chart(f"{key}[{i}]" if sample.taught[key].shape[1] > 1 else key, sample.taught[key][:, i], _column(sample.recorded.get(key), i))
        for key, places in known.items() for i in places
    ][:_MOST_CHARTS]  # fmt: skip
    more = f"<p class=soft>and {every - len(charts)} more</p>" if every > len(charts) else ""
    if not sample.recorded:
        more += "<p class=soft>No column holds these actions: they are made of other rows' states or poses.</p>"
    return (
        f"<div class=sample><h3>“{escape(sample.task)}”</h3><p class=soft>{escape(sample.dataset)}, episode {sample.episode}, "
        f"row {sample.row}</p><div class=views>{views}</div><p class=soft>slots: {escape(slots)}</p>"
        f"<div class=mask>{_mask(sample.mask)}<figcaption>what the loss looks at: slots 0 to 199, steps downwards</figcaption></div>"
        f"<div class=charts>{''.join(charts)}</div>{more}</div>"
    )


def _said(words: ShownWords) -> str:
    """A conversation; what is taught is underlined."""
    pictures = "".join(
        f'<figure><img alt="picture {number}" src="data:image/png;base64,{_png(image)}"><figcaption>picture {number}</figcaption></figure>'
        for number, image in enumerate(words.pictures, 1)
    )
    system = f"<p class=soft>{escape(words.system)}</p>" if words.system else ""
    numbers = count(1)
    placed = lambda text: re.sub(re.escape(IMAGE_PLACE), lambda _: f"[picture {next(numbers)}]", text)
    turns = "".join(
        f"<p>{escape(placed(question))}</p><p><u>{escape(answer)}</u></p>" for question, answer in words.turns
    )
    return (
        f"<div class=sample><h3>Words</h3><p class=soft>{escape(words.dataset)}, line {words.line}; the answers, underlined, are "
        f"taught</p><div class=views>{pictures}</div>{system}{turns}</div>"
    )


def _column(values: np.ndarray | None, index: int) -> np.ndarray | None:
    return None if values is None else values[:, index]


def _chart(title: str, taught: np.ndarray, recorded: np.ndarray | None) -> str:
    """One number over the steps of a chunk."""
    lines = [taught] if recorded is None else [taught, recorded[np.isfinite(recorded)]]
    every = np.concatenate([line[np.isfinite(line)] for line in lines])
    low, high = float(every.min()), float(every.max())
    room = max(high - low, 1e-6)
    x = lambda k: _WIDTH * k / max(1, len(taught) - 1)
    y = lambda value: _HEIGHT * (0.94 - 0.88 * (value - low) / room)
    path = lambda values: "M" + "L".join(f"{x(k):.1f} {y(v):.1f}" for k, v in enumerate(values) if np.isfinite(v))
    drawn = [f'<path class=taught d="{path(taught)}"/>']
    if recorded is not None:
        known = int(np.isfinite(recorded).sum())
        drawn.insert(0, f'<path class=recorded d="{path(recorded)}"/>')
        if known < len(recorded):
            begin = x(max(0, known - 1))
            drawn.insert(0, f"<rect class=beyond x={begin:.1f} y=0 width={_WIDTH - begin:.1f} height={_HEIGHT:g} />")
    svg = f'<svg viewBox="0 0 {_WIDTH:g} {_HEIGHT:g}" preserveAspectRatio="none">{"".join(drawn)}</svg>'
    return f"<figure>{svg}<figcaption>{escape(title)}: {low:.3g} to {high:.3g}</figcaption></figure>"


def _mask(mask_HW: np.ndarray) -> str:
    steps, width = mask_HW.shape
    blocks = []
    for step in range(steps):
        edges = np.flatnonzero(np.diff(np.concatenate([[0], mask_HW[step].astype(int), [0]])))
        blocks += [f"<rect class=on x={a} y={step} width={b - a} height=1 />" for a, b in zip(edges[::2], edges[1::2])]
    return f'<svg viewBox="0 0 {width} {steps}" preserveAspectRatio="none">{"".join(blocks)}</svg>'


def _memory(report: Report) -> str:
    parts = list(next(iter(report.memory.values())))
    rows = []
    for (gpus, again), sizes in report.memory.items():
        fits = sizes["total"] <= report.gpu_gb
        verdict = f"<span class={'good' if fits else 'bad'}>{sizes['total']:.1f}</span>"
        rows.append([memory.case(gpus, again), verdict, *(f"{sizes[part]:.2f}" for part in parts if part != "total")])
    head = ["", "total", *(part for part in parts if part != "total")]
    return table(head, rows, html_column=1) + "<p class=soft>Estimated from the sizes, for the batch above.</p>"


def _parameters(report: Report) -> str:
    counts: Mapping[str, int] = report.parameters
    frozen = set(report.config.training.freeze)
    rows = [[part, f"{count:,}", "frozen" if part in frozen else ""] for part, count in counts.items() if count]
    rows.append(["all", f"{sum(counts.values()):,}", ""])
    return table(["part", "weights", ""], rows)


def _notes(report: Report) -> str:
    if not report.notes:
        return ""
    lines = "".join(f"<li>{escape(note)}</li>" for note in report.notes[:_MOST_NOTES])
    more = len(report.notes) - _MOST_NOTES
    return f"<h2>Notes</h2><ul>{lines}</ul>" + (f"<p class=soft>and {more} more</p>" if more > 0 else "")


def _png(image: np.ndarray) -> str:
    target = io.BytesIO()
    Image.fromarray(np.ascontiguousarray(image)).save(target, format="PNG")
    return base64.b64encode(target.getvalue()).decode()
