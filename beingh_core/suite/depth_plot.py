"""Success against the number of frozen layers, one line a start, as PNG bytes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from beingh_core.evaluate.plots import plt, png
from beingh_core.suite.points import points


def depths(rows: Sequence[Mapping[str, Any]], lines: Mapping[str, Mapping[int, str]]) -> bytes:
    """The picture.

    Args:
        rows: Of episodes.
        lines: Start -> frozen layers -> name of the case.
    """
    found = {point.checkpoint: point for point in points(rows)}
    figure, axis = plt.subplots(figsize=(6.4, 3.8))
    for index, (start, names) in enumerate(lines.items()):
        own = [(depth, found[name]) for depth, name in sorted(names.items()) if name in found]
        at = [depth + 0.04 * (index - (len(lines) - 1) / 2) for depth, _ in own]  # so that intervals stand side by side
        [drawn] = axis.plot(at, [point.share for _, point in own], marker="o", ms=4, lw=1.6, label=start)
        axis.vlines(at, [p.low for _, p in own], [p.high for _, p in own], color=drawn.get_color(), lw=1.1, alpha=0.7)
    axis.set_xticks(sorted({depth for names in lines.values() for depth in names}))
    axis.set_xlabel("frozen act layers, from the lowest")
    axis.set_ylabel("picked")
    axis.set_ylim(0.0, 1.03)
    axis.grid(alpha=0.25, lw=0.5)
    axis.spines[["top", "right"]].set_visible(False)
    axis.legend(frameon=False, fontsize=9)
    figure.tight_layout()
    return png(figure)
