"""Curves and time bars as SVG that stretches with the page; the words around them are HTML."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from html import escape

import numpy as np

from beingh_core.data.doctor.clocks import GAP_PERIODS, GAP_S
from beingh_core.data.doctor.facts import Charge, Curve, Mark

_WIDTH, _HEIGHT, _BAR = 600, 100, 12
_BINS = 300
_LEAST_SHARE = 0.02  # of the way between its limits is seen of a joint at least
_LARGEST = 1e15  # values beyond are drawn at the edge
_LEAST_RESTS = 6  # times what counts as rest, where nobody gives limits
_LEAST_LIKE = 0.2  # share of the larger one's size
_NEAR = 0.6  # a limit is drawn when it is no further from the curve than this share of the curve's own range


@dataclass(frozen=True, kw_only=True)
class Span:
    """A coloured part of a time bar; `kind` is the CSS class."""

    start_s: float
    end_s: float
    kind: str
    title: str = ""


def joint_chart(
    measured: Curve | None, commanded: Curve | None, duration_s: float, marks: Sequence[Mark], charges: Sequence[Charge]
) -> str:
    """A joint over the whole episode: what was measured, what was commanded, its limits, what people did."""
    curves = [curve for curve in (commanded, measured) if curve is not None]
    finite = np.concatenate([curve.values[np.isfinite(curve.values)] for curve in curves])
    finite = np.clip(finite, -_LARGEST, _LARGEST)
    low, high = (float(finite.min()), float(finite.max())) if finite.size else (0.0, 1.0)
    limits = [limit for limit in (curves[-1].lower, curves[-1].upper) if np.isfinite(limit)]
    # Noise of a joint that rests shall not look like motion.
    least = _LEAST_SHARE * (limits[1] - limits[0]) if len(limits) == 2 else _LEAST_RESTS * curves[-1].still
    room = max(high - low, least, 1e-9)
    text = f"{_number(low, room)} to {_number(high, room)}"
    if limits:
        text += f" (limits {_number(curves[-1].lower, 10 * room)} to {_number(curves[-1].upper, 10 * room)})"
    middle = (low + high) / 2
    low, high = min(low, middle - room / 2), max(high, middle + room / 2)
    drawn = [limit for limit in limits if low - _NEAR * room <= limit <= high + _NEAR * room]
    bottom, top = min([low, *drawn]), max([high, *drawn])
    scale = _Scale(duration_s, bottom - 0.06 * max(top - bottom, 1e-6), top + 0.06 * max(top - bottom, 1e-6))
    parts = [
        f"<rect class=person x={scale.x(c.start_s):.1f} width={scale.x(c.end_s) - scale.x(c.start_s):.1f} y=0 height={_HEIGHT} />"
        for c in charges
        if c.who == "person"
    ]
    parts += [f'<path class=mark d="M{scale.x(m.time_s):.1f} 0V{_HEIGHT}"/>' for m in marks]
    parts += [f'<path class=limit d="M0 {scale.y(limit):.1f}H{_WIDTH}"/>' for limit in drawn]
    for curve in curves:
        kind = "commanded" if curve.commanded else "measured"
        parts.append(f'<path class={kind} d="{_path(curve.times_s, curve.values, scale)}"/>')
        with np.errstate(invalid="ignore"):
            outside = (curve.values < curve.lower - curve.tolerance) | (curve.values > curve.upper + curve.tolerance)
        if outside.any():
            values = np.where(outside, curve.values, np.nan)
            parts.append(f'<path class=outside d="{_path(curve.times_s, values, scale)}"/>')
    return (
        f"<figure class=chart><figcaption><b>{escape(curves[-1].name)}</b>{' action' * (measured is None)} <span>{text}</span></figcaption>"
        f'<svg viewBox="0 0 {_WIDTH} {_HEIGHT}" preserveAspectRatio=none role=img '
        f'aria-label="{escape(curves[-1].name, quote=True)} over time">{"".join(parts)}</svg></figure>'
    )


def alike(measured: Curve, commanded: Curve) -> bool:
    """Whether two curves can share a chart: actions that are differences are much smaller than the positions themselves."""
    sizes = [float(np.max(np.abs(c.values[np.isfinite(c.values)]), initial=0.0)) for c in (measured, commanded)]
    return max(sizes) <= 4 * measured.still or min(sizes) >= _LEAST_LIKE * max(sizes)


def time_bar(label: str, spans: Sequence[Span], duration_s: float, title: str = "") -> str:
    """A row of a timeline: the label, and coloured parts from the episode's begin to its end."""
    scale = _Scale(duration_s, 0.0, 1.0)
    rects = "".join(
        f"<rect class={span.kind} x={scale.x(span.start_s):.1f} y=0 height={_BAR} "
        f"width={max(1.5, scale.x(span.end_s) - scale.x(span.start_s)):.1f}>"
        + (f"<title>{escape(span.title)}</title>" if span.title else "")
        + "</rect>"
        for span in spans
    )
    return (
        f'<span class=label title="{escape(title or label, quote=True)}">{escape(label)}</span>'
        f'<svg class=bar viewBox="0 0 {_WIDTH} {_BAR}" preserveAspectRatio=none>{rects}</svg>'
    )


def axis(duration_s: float) -> str:
    """The row of times under a timeline."""
    digits = 1 if duration_s < 20 else 0
    times = "".join(f"<span>{duration_s * part / 4:.{digits}f} s</span>" for part in range(5))
    return f"<span class=label></span><div class=axis>{times}</div>"


def _number(value: float, room: float) -> str:
    """A value in as many digits as can be told apart where so much is seen."""
    if not 1e-6 < room < 1e6:
        return f"{value:.3g}"
    digits = max(2 - math.floor(math.log10(room)), 0)
    return f"{round(value, digits) + 0.0:.{digits}f}"


class _Scale:
    """Seconds and values to the places of an SVG."""

    def __init__(self, duration_s: float, low: float, high: float) -> None:
        self._duration_s, self._low, self._range = max(duration_s, 1e-9), low, max(high - low, 1e-12)

    def x(self, time_s: float | np.ndarray) -> float | np.ndarray:
        return _WIDTH * np.clip(time_s / self._duration_s, 0.0, 1.0)

    def y(self, value: float | np.ndarray) -> float | np.ndarray:
        return _HEIGHT * (1.0 - (value - self._low) / self._range)


def _path(times_s: np.ndarray, values: np.ndarray, scale: _Scale) -> str:
    """SVG path; of long curves the smallest and largest value of each bin, and no line over what is no number or has no values."""
    steps = np.diff(times_s)
    longest_s = max(GAP_S, GAP_PERIODS * float(np.median(steps))) if len(steps) else GAP_S
    stretch = np.concatenate([[0], np.cumsum(steps > longest_s)])
    if len(values) > 2 * _BINS:
        edges = np.linspace(0, len(values), _BINS + 1).astype(int)
        picked = []
        for first, last in zip(edges, edges[1:]):
            part = values[first:last]
            if np.isfinite(part).any():
                picked += sorted((first + int(np.nanargmin(part)), first + int(np.nanargmax(part))))
            else:
                picked.append(first)
        keep = np.unique(picked)
        times_s, values, stretch = times_s[keep], values[keep], stretch[keep]
    xs, ys = scale.x(times_s), np.clip(scale.y(values), -50.0, 150.0)
    there = np.isfinite(ys)
    begins = there & ~np.concatenate([[False], there[:-1] & (np.diff(stretch) == 0)])
    points = zip(begins[there].tolist(), xs[there].tolist(), ys[there].tolist())
    return "".join(f"{'M' if begin else 'L'}{x:.1f} {y:.1f}" for begin, x, y in points)
