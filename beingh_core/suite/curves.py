"""Curves with intervals, one a line, in panels side by side, as PNG bytes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from matplotlib.ticker import FuncFormatter, LogLocator, NullFormatter

from beingh_core.evaluate.plots import plt, png

_COLOURS = {
    "uac": "#1769aa",
    "naive": "#b5442e",
    "waiting": "#667784",
    "ensembling": "#e8890c",
    "guided rtc": "#1a7f4b",
    "training rtc": "#8e44ad",
}
_INK = "#22303c"


@dataclass(frozen=True, kw_only=True)
class Spot:
    """A value of a line.

    Attributes:
        panel, line: Where it belongs.
        at: Across.
        value: Upward; None leaves it out.
        spread: Its interval (low, high).
        beside: Another quantity to compare it with, drawn dotted.
    """

    panel: str
    line: str
    at: float
    value: float | None
    spread: tuple[float, float] | None = None
    beside: float | None = None


def curves(
    spots: Sequence[Spot], label: str, across: Mapping[str, str], top: float | None = None, log: bool = False
) -> bytes:
    """One quantity.

    Args:
        spots: All of it.
        label: Of the quantity.
        across: Panel -> what its axis across is.
        top: Of the axis.
        log: Whether the axis is logarithmic; else it begins at 0.
    """
    lines = list(dict.fromkeys(spot.line for spot in spots))
    others = iter([colour for name, colour in _COLOURS.items() if name not in lines] * len(lines))
    colours = {line: _COLOURS.get(line) or next(others, _INK) for line in lines}
    wide = 5.6 if len(across) < 3 else 3.4
    figure, axes = plt.subplots(1, len(across), figsize=(wide * len(across) + 1.8, 3.8), sharey=True, squeeze=False)
    for axis, (panel, name) in zip(axes[0], across.items()):
        own = [spot for spot in spots if spot.panel == panel]
        places = sorted({spot.at for spot in own})
        apart = 0.05 * min((b - a for a, b in zip(places, places[1:])), default=0.0)
        here = list(dict.fromkeys(spot.line for spot in own))
        for index, line in enumerate(here):
            aside = apart * (index - (len(here) - 1) / 2)
            _curve(axis, [spot for spot in own if spot.line == line], aside, colours[line])
        axis.set_title(panel, fontsize=10, color=_INK)
        axis.set_xlabel(name)
        axis.set_xticks(places)
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


def _curve(axis, own: Sequence[Spot], aside: float, colour: str) -> None:
    """One line; those with intervals stand a little sideways, so that these are seen."""
    own = sorted((spot for spot in own if spot.value is not None), key=lambda spot: spot.at)
    if not own:
        return
    places = [spot.at + (aside if spot.spread else 0.0) for spot in own]
    axis.plot(places, [spot.value for spot in own], color=colour, marker="o", ms=4, lw=1.6, label=own[0].line)
    for place, spot in zip(places, own):
        if spot.spread:
            axis.vlines(place, *spot.spread, color=colour, lw=1.1, alpha=0.7)
    pairs = [(place, spot.beside) for place, spot in zip(places, own) if spot.beside is not None]
    if pairs:
        axis.plot(*zip(*pairs), color=colour, ls=":", lw=1.2, label="_inside")
