"""The files of a report of `beingh suite`: a table in Markdown, the figures as JSON, a page with its curves."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Mapping, Sequence
from html import escape
from pathlib import Path
from typing import Any

from beingh_core.data.lerobot.storage import told_when_full
from beingh_core.evaluate.html import document, picture, table, tiles
from beingh_core.suite.points import Figures

HEAD = ("picked", "share, 95 % interval", "time to pick [s]", "jerk [rad/s³]", "seam jump p95", "inside p95")
MEANINGS = (
    "Intervals are Wilson's, 95 %. Time to pick is the mean of the successes. "
    "Jerk is the root mean square over an episode's ticks of the largest joint's third difference of what was sent, and the mean "
    "of that over episodes. A jump is the change of the sent velocity from one tick to the next [rad/s], of the joint where it is "
    "largest: where another chunk took over, and inside chunks."
)


@dataclasses.dataclass(frozen=True, kw_only=True)
class Report:
    """What stands in it.

    Attributes:
        title, name: Of the page, and in one word.
        told: Paragraphs.
        head, cells: The table of all points.
        found: The points.
        pictures: File name -> heading and PNG.
        effects: Dataclasses of what is compared scene by scene; None where nothing is, and figures.json is the points alone.
    """

    title: str
    name: str
    told: Sequence[str]
    head: Sequence[str]
    cells: Sequence[Sequence[str]]
    found: Sequence[Figures]
    pictures: Mapping[str, tuple[str, bytes]]
    effects: Sequence[Any] | None = None

    def write(self, out: Path) -> None:
        """report.md, report.html, figures.json and the pictures.

        Raises:
            BeingHError: The disk is full.
        """
        with told_when_full(out):
            (out / "report.md").write_text(self._markdown(), encoding="utf-8")
            points = [dataclasses.asdict(point) for point in self.found]
            figures: Any = points
            if self.effects is not None:
                figures = {"points": points, "effects": [dataclasses.asdict(effect) for effect in self.effects]}
            (out / "figures.json").write_text(json.dumps(figures, indent=1) + "\n", encoding="utf-8")
            for name, (_, png) in self.pictures.items():
                (out / f"{name}.png").write_bytes(png)
            (out / "report.html").write_text(self._page(), encoding="utf-8")

    def _markdown(self) -> str:
        lines = [f"# {self.name}", "", *(line for text in self.told for line in (text, ""))]
        return "\n".join([*lines, *markdown_table(self.head, self.cells)]) + "\n"

    def _page(self) -> str:
        broken = sum(point.broken for point in self.found)
        shown = [
            (sum(point.episodes for point in self.found), "episodes", ""),
            (min((point.episodes for point in self.found), default=0), "episodes of the smallest point", ""),
            (broken, "broken promises", "bad" if broken else "good"),
        ]
        parts = [f"<h1>{escape(self.title)}</h1>", *(f"<p class=soft>{escape(text)}</p>" for text in self.told)]
        parts += [tiles(shown), *(picture(title, png) for title, png in self.pictures.values())]
        table_of_all = table(self.head, self.cells)
        return document(f"Being-H: {self.title}", [*parts, "<h2>Every point</h2>", table_of_all])


def markdown_table(head: Sequence[str], cells: Sequence[Sequence[str]]) -> list[str]:
    """Its lines."""
    rows = ["| " + " | ".join(head) + " |", "|" + "---|" * len(head)]
    return rows + ["| " + " | ".join(row) + " |" for row in cells]


def number(value: float | None, digits: int) -> str:
    """As text; "" for none."""
    return "" if value is None else f"{value:.{digits}f}"


def cells(point: Figures) -> list[str]:
    """What stands under `HEAD`."""
    return [
        f"{point.successes} of {point.episodes}",
        f"{point.share:.2f} ({point.low:.2f} to {point.high:.2f})",
        number(point.time_s, 1),
        number(point.jerk, 0),
        number(point.seam, 3),
        number(point.inside, 3),
    ]
