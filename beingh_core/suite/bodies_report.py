"""The report of `beingh suite bodies`: a row a robot and kind, in Markdown, JSON and on a page with a picture."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from html import escape
from pathlib import Path
from typing import Any

from beingh_core.data.lerobot.storage import told_when_full
from beingh_core.evaluate.html import document, picture, table
from beingh_core.evaluate.intervals import wilson
from beingh_core.evaluate.plots import plt, png
from beingh_core.suite.report import markdown_table, number

HEAD = (
    "robot", "kind", "picked", "share, 95 % interval", "picked what it was told", "time to pick [s]", "late chunks",
    "broken promises",
)  # fmt: skip
_KINDS = {
    "told": "the cube that was told is judged",
    "wrong_instruction": "control: another cube is told than the one that is judged",
    "wrong_statistics": "control: the numbers are scaled with another robot's statistics",
}
_COLOURS = {"told": "#1769aa", "wrong_instruction": "#e8890c", "wrong_statistics": "#b5442e"}


@dataclass(frozen=True, kw_only=True)
class Body:
    """One robot in one kind of episode.

    Attributes:
        episodes, successes: How many, and in how many the judged cube was lifted and held.
        low, high: Wilson's 95 % interval of the share of successes.
        told: In how many the first cube that was lifted is the one that was told.
        time_s: Mean time to a pick, of the successes [s]; None without one.
        late, broken: Chunks that came behind their prefix, broken promises.
    """

    robot: str
    kind: str
    episodes: int
    successes: int
    low: float
    high: float
    told: int
    time_s: float | None
    late: int
    broken: int

    @property
    def share(self) -> float:
        """Of successes."""
        return self.successes / self.episodes


def bodies(rows: Iterable[Mapping[str, Any]]) -> list[Body]:
    """Every robot and kind of these rows, in the order in which they come first."""
    groups: dict[tuple[str, str], list[Mapping[str, Any]]] = {}
    for row in rows:
        groups.setdefault((row["robot"], row["kind"]), []).append(row)
    return [_body(*key, group) for key, group in groups.items()]


def _body(robot: str, kind: str, rows: Sequence[Mapping[str, Any]]) -> Body:
    times = [row["time_s"] for row in rows if row["success"]]
    low, high = wilson(len(times), len(rows))
    return Body(
        robot=robot, kind=kind, episodes=len(rows), successes=len(times), low=low, high=high,
        told=sum(row["first_lifted"] == row["told"] for row in rows),
        time_s=sum(times) / len(times) if times else None,
        late=sum(row["late"] for row in rows), broken=sum(row["broken"] for row in rows),
    )  # fmt: skip


def write(out: Path, checkpoint: str, rows: Sequence[Mapping[str, Any]], without: Sequence[str]) -> None:
    """Writes report.md, report.html, figures.json and bodies.png beside the rows.

    Args:
        out: Folder.
        checkpoint: Directory.
        rows: Of the journal.
        without: Robots whose signals no other robot of the checkpoint has statistics of.
    """
    found = bodies(rows)
    cells = [_cells(body) for body in found]
    told = [
        f"Told picks of {Path(checkpoint).name} in simulation, without ROS, on a virtual clock; each chunk comes after its contract's "
        "delay. Intervals are Wilson's, 95 %.",
        *(f"{kind}: {_KINDS[kind]}." for kind in _KINDS if any(body.kind == kind for body in found)),
        *(f"{robot}: no other robot of this checkpoint has statistics of its signals." for robot in without),
    ]
    drawn = _picture(found)
    lines = ["# Bodies", "", *(line for text in told for line in (text, "")), *markdown_table(HEAD, cells)]
    parts = ["<h1>One checkpoint, several bodies</h1>", *(f"<p class=soft>{escape(text)}</p>" for text in told)]
    page = document("Being-H: bodies", [*parts, picture("Share of picks", drawn), table(HEAD, cells)])
    with told_when_full(out):
        (out / "report.md").write_text("\n".join(lines) + "\n", encoding="utf-8")
        (out / "report.html").write_text(page, encoding="utf-8")
        (out / "bodies.png").write_bytes(drawn)
        figures = [dataclasses.asdict(body) for body in found]
        (out / "figures.json").write_text(json.dumps(figures, indent=1) + "\n", encoding="utf-8")


def _cells(body: Body) -> list[str]:
    return [
        body.robot,
        body.kind.replace("_", " "),
        f"{body.successes} of {body.episodes}",
        f"{body.share:.2f} ({body.low:.2f} to {body.high:.2f})",
        str(body.told),
        number(body.time_s, 1),
        str(body.late),
        str(body.broken),
    ]


def _picture(found: Sequence[Body]) -> bytes:
    """Shares with their intervals, robot by robot, as PNG bytes."""
    robots = list(dict.fromkeys(body.robot for body in found))
    figure, axis = plt.subplots(figsize=(1.8 * len(robots) + 3.2, 3.6))
    for index, (kind, colour) in enumerate(_COLOURS.items()):
        own = [body for body in found if body.kind == kind]
        if own:
            places = [robots.index(body.robot) + 0.22 * (index - 1) for body in own]
            axis.bar(places, [body.share for body in own], 0.2, color=colour, label=kind.replace("_", " "))
            axis.vlines(places, [body.low for body in own], [body.high for body in own], color="#22303c", lw=1.2)
    axis.set_xticks(range(len(robots)), robots)
    axis.set_ylim(0.0, 1.03)
    axis.set_ylabel("picked")
    axis.spines[["top", "right"]].set_visible(False)
    axis.legend(frameon=False, fontsize=9, loc="upper left", bbox_to_anchor=(1.0, 1.0))
    figure.tight_layout()
    return png(figure)
