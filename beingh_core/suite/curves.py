"""Curves against the delay, one a method, one panel a checkpoint, as PNG bytes."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from matplotlib.ticker import FuncFormatter, LogLocator, NullFormatter

from beingh_core.evaluate.plots import plt, png
from beingh_core.suite.points import Point

_COLOURS = {
    "uac": "#1769aa",
    "naive": "#b5442e",
    "waiting": "#667784",
    "ensembling": "#e8890c",
    "guided_rtc": "#1a7f4b",
    "training_rtc": "#8e44ad",
}
_INK = "#22303c"


def curves(
    found: Sequence[Point],
    label: str,
    value: Callable[[Point], float | None],
    spread: Callable[[Point], tuple[float, float]] | None = None,
    beside: Callable[[Point], float | None] | None = None,
    top: float | None = None,
    log: bool = False,
) -> bytes:
    """One quantity.

    Args:
        found: Points.
        label: Of the quantity.
        value: It; None leaves a point out.
        spread: Its interval (low, high).
        beside: Another quantity to compare it with, drawn dotted.
        top: Of the axis.
        log: Whether the axis is logarithmic; else it begins at 0.
    """
    names = list(dict.fromkeys(point.checkpoint for point in found))
    figure, axes = plt.subplots(1, len(names), figsize=(5.6 * len(names) + 1.8, 3.8), sharey=True, squeeze=False)
    for axis, name in zip(axes[0], names):
        own = [point for point in found if point.checkpoint == name]
        methods = list(dict.fromkeys(point.method for point in own))
        for index, method in enumerate(methods):
            _curve(axis, [p for p in own if p.method == method], index - (len(methods) - 1) / 2, value, spread, beside)
        axis.set_title(name, fontsize=10, color=_INK)
        axis.set_xlabel("delay of a chunk [ticks]")
        axis.set_xticks(sorted({point.delay for point in own}))
        axis.grid(alpha=0.25, lw=0.5)
        axis.spines[["top", "right"]].set_visible(False)
        if log:
            axis.set_yscale("log")
            axis.yaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
            axis.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
            axis.yaxis.set_minor_formatter(NullFormatter())
        else:
            axis.set_ylim(0.0, top)
    axes[0, 0].set_ylabel(label)
    handles = {line.get_label(): line for axis in axes[0] for line in axis.get_lines() if line.get_label()[0] != "_"}
    figure.legend(handles.values(), handles, loc="center right", frameon=False, fontsize=9)
    width = figure.get_figwidth()
    figure.subplots_adjust(0.75 / width, 0.15, 1 - 1.6 / width, 0.91, wspace=0.06)
    return png(figure)


def _curve(axis, own: Sequence[Point], place: float, value, spread, beside) -> None:
    """One method; `place` moves it a little sideways, so that intervals stand side by side."""
    own = [point for point in own if value(point) is not None]
    if not own:
        return
    method = own[0].method
    delays = [point.delay + (0.1 * place if spread else 0.0) for point in own]
    colour, values = _COLOURS.get(method, _INK), [value(point) for point in own]
    axis.plot(delays, values, color=colour, marker="o", ms=4, lw=1.6, label=method.replace("_", " "))
    if spread:
        low, high = zip(*(spread(point) for point in own))
        axis.vlines(delays, low, high, color=colour, lw=1.1, alpha=0.7)
    if beside:
        pairs = [(at, beside(point)) for at, point in zip(delays, own) if beside(point) is not None]
        if pairs:
            axis.plot(*zip(*pairs), color=colour, ls=":", lw=1.2, label="_inside")
