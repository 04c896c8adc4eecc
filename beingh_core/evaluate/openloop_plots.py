"""Pictures of predicted against recorded actions, as PNG bytes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from matplotlib import pyplot as plt

from beingh_core.evaluate.openloop import PERSON, POLICY, Comparison, Quantity, stitched
from beingh_core.evaluate.plots import message, png

INK, RECORDED = "#22303c", "#22303c"
POLICIES = ("#1769aa", "#b5442e", "#7a4fa3")
TRIVIAL = ("#8d9aa5", "#c9a227", "#3f8f63")
SHADES = {POLICY: "#e4eef6", PERSON: "#f7e9d6"}
SHOWN_CHUNKS, SHOWN_ROWS = 400, 4


def colours(found: Comparison) -> dict[str, str]:
    """Source -> colour, the same in every picture."""
    pairs = [*zip(found.policies, POLICIES), *zip(found.trivial, TRIVIAL)]
    return {source: colour for source, colour in pairs}


def errors_by_step(found: Comparison) -> bytes:
    """Mean error of every source at each decided step, of the main quantity."""
    quantity, shades = found.main, colours(found)
    figure, axis = plt.subplots(figsize=(12.0, 3.6))
    steps = np.arange(1, found.in_charge.shape[1] + 1)
    means = {}
    for source in shades:
        errors = quantity.errors(source)
        known = np.isfinite(errors)
        means[source] = np.where(known, errors, 0.0).sum(axis=0) / np.maximum(known.sum(axis=0), 1)
        style = {"lw": 2.2, "ls": "-", "marker": "o", "ms": 4}
        if source not in found.policies:
            style = {"lw": 1.4, "ls": ":" if source == found.trivial[-1] else "--"}
        axis.plot(steps, means[source], color=shades[source], label=source, **style)
    axis.axvspan(0.5, found.executed + 0.5, color="#f0f3f5", zorder=0)
    where = axis.get_xaxis_transform()
    axis.text(
        found.executed + 0.4,
        1.01,
        "these run before the next chunk takes over",
        transform=where,
        fontsize=9,
        color=INK,
        ha="right",
    )
    # A source that is far off must not squeeze the others into a line.
    usual = sorted(float(values.max()) for values in means.values())
    if usual[-1] > 2.5 * usual[-2]:
        axis.set_ylim(0.0, 1.25 * usual[-2])
    else:
        axis.set_ylim(bottom=0.0)
    axis.set_xlim(0.5, steps[-1] + 0.5)
    axis.set_xlabel("decided step of a chunk")
    axis.set_ylabel(f"mean error of {quantity.name} [{quantity.unit}]", fontsize=9)
    axis.legend(frameon=False, fontsize=9, loc="upper left")
    axis.spines[["top", "right"]].set_visible(False)
    figure.subplots_adjust(0.06, 0.14, 0.99, 0.93)
    return png(figure)


def predictions(found: Comparison, quantity: Quantity, episode: str) -> bytes:
    """What was commanded in one recording, and every chunk of every policy over it."""
    rows = np.flatnonzero(found.episodes == episode)[:SHOWN_CHUNKS]
    if not len(rows):
        return message("no chunk was predicted about this recording")
    width, shades = min(quantity.recorded.shape[2], SHOWN_ROWS), colours(found)
    ticks, known = stitched(found.ticks[rows], quantity.recorded[rows])
    figure, axes = plt.subplots(width, 1, figsize=(12.0, 1.9 * width + 0.7), sharex=True, squeeze=False)
    for index, axis in enumerate(axes[:, 0]):
        _shade(axis, found, rows)
        for policy in reversed(found.policies):
            for row in rows:
                chunk = found.ticks[row] + np.arange(quantity.recorded.shape[1])
                values = quantity.predicted[policy][row, :, index]
                axis.plot(chunk / found.rate_hz, values, color=shades[policy], lw=0.9, alpha=0.65)
        axis.plot(ticks / found.rate_hz, known[:, index], color=RECORDED, lw=1.6, label="recorded")
        _limit(axis, known[:, index])
        name = quantity.name + (f" {'xyz'[index]}" if quantity.kind == "hand" else "")
        axis.set_ylabel(f"{name} [{quantity.unit}]", fontsize=9)
        axis.grid(alpha=0.25, lw=0.5)
    axes[-1, 0].set_xlabel("time in the recording [s]")
    return _with_legend(figure, found, shades)


def histogram(values: Mapping[str, Sequence[float]], found: Comparison, label: str, mark: float | None = None) -> bytes:
    """How often which values came, by policy; `mark` is a line to compare with."""
    shades = colours(found)
    known = {policy: np.asarray(numbers, dtype=float) for policy, numbers in values.items() if len(numbers)}
    if not known:
        return message(f"no values: {label}")
    figure, axis = plt.subplots(figsize=(12.0, 2.4))
    top = max([float(np.percentile(v, 99.5)) for v in known.values()] + ([mark] if mark else []))
    bins = np.linspace(0.0, 1.05 * top or 1.0, 60)
    for policy, numbers in known.items():
        axis.hist(np.clip(numbers, 0.0, bins[-1]), bins, color=shades.get(policy, INK), alpha=0.65, label=policy)
    if mark:
        axis.axvline(mark, color=INK, ls="--", lw=1.2, label="covered by the locked prefix")
    axis.set_xlabel(label)
    axis.set_ylabel("chunks" if mark else "count")
    axis.legend(frameon=False, fontsize=9)
    axis.spines[["top", "right"]].set_visible(False)
    figure.subplots_adjust(0.06, 0.22, 0.99, 0.96)
    return png(figure)


def _shade(axis, found: Comparison, rows: np.ndarray) -> None:
    """Who was in charge, as the background."""
    ticks, who = stitched(found.ticks[rows], found.in_charge[rows][:, :, None])
    for name, shade in SHADES.items():
        own = who[:, 0] == name
        edges = np.flatnonzero(np.diff(np.concatenate([[0], own.astype(int), [0]])))
        for begin, end in zip(edges[::2], edges[1::2]):
            axis.axvspan(
                ticks[begin] / found.rate_hz, (ticks[end - 1] + 1) / found.rate_hz, color=shade, zorder=0, lw=0
            )


def _limit(axis, known: np.ndarray) -> None:
    """Room around what was recorded: a policy that is far off leaves the picture."""
    values = known[np.isfinite(known)]
    if values.size:
        room = max(0.35 * float(np.ptp(values)), 1e-3)
        axis.set_ylim(values.min() - room, values.max() + room)


def _with_legend(figure, found: Comparison, shades: Mapping[str, str]) -> bytes:
    handles = [plt.Line2D([], [], color=RECORDED, lw=1.8, label="recorded")]
    handles += [plt.Line2D([], [], color=shades[p], lw=1.2, label=f"chunks of {p}") for p in found.policies]
    words = {POLICY: "the policy was in charge", PERSON: "a person was in charge"}
    handles += [
        plt.Line2D([], [], color=SHADES[who], lw=8, label=text) for who, text in words.items()
        if (found.in_charge == who).any()
    ]  # fmt: skip
    figure.legend(handles=handles, loc="upper center", ncol=len(handles), fontsize=9, frameon=False)
    height = figure.get_figheight()
    figure.subplots_adjust(0.075, 0.5 / height, 0.98, 1 - 0.4 / height, hspace=0.12)
    return png(figure)
