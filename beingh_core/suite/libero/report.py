"""The table of a run, as the paper has it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from beingh_core.evaluate.intervals import wilson
from beingh_core.suite.libero.conventions import SUITES

# Being-H0.5, arXiv 2601.12993, its table of LIBERO [%]: not run here.
PUBLISHED = {
    "paper, specialist (2B)": (99.2, 99.6, 99.4, 97.4),
    "paper, generalist (2B)": (97.0, 98.2, 99.0, 96.2),
}


def latest(rows: Sequence[Mapping[str, Any]]) -> list[Mapping[str, Any]]:
    """The last row of each episode: one that ended in an error may have been run again."""
    return list({(row["suite"], row["task"], row["trial"]): row for row in rows}.values())


def table(rows: Sequence[Mapping[str, Any]], policy: str) -> str:
    """Markdown: a line a suite and a line a task, success with Wilson's 95 % interval; errors are no episodes."""
    rows = latest(rows)
    names = sorted({row["suite"] for row in rows}, key=lambda name: (name not in SUITES, name))
    lines = [
        f"Policy: {policy}", "", "| suite | episodes | success | 95 % interval | steps of a success | errors |", "|---|---|---|---|---|---|",
    ]  # fmt: skip
    lines += [f"| {name} | {_cells([row for row in rows if row['suite'] == name])} |" for name in names]
    if len(names) > 1:
        lines.append(f"| all | {_cells(rows)} |")
    paper = [name for name in SUITES if name in names]
    if paper:
        lines += ["", f"| not run here | {' | '.join(paper)} |", f"|---|{'---|' * len(paper)}"]
        lines += [
            f"| {who} | {' | '.join(f'{shares[SUITES.index(name)]} %' for name in paper)} |"
            for who, shares in PUBLISHED.items()
        ]
    lines += [
        "",
        "| task | episodes | success | 95 % interval | steps of a success | errors |",
        "|---|---|---|---|---|---|",
    ]
    for name in names:
        for task in sorted({row["task"] for row in rows if row["suite"] == name}):
            own = [row for row in rows if (row["suite"], row["task"]) == (name, task)]
            lines.append(f"| {name} {task}: {own[-1]['language']} | {_cells(own)} |")
    return "\n".join(lines) + "\n"


def _cells(rows: Sequence[Mapping[str, Any]]) -> str:
    counted = [row for row in rows if not row["error"]]
    solved = [row["steps"] for row in counted if row["success"]]
    low, high = wilson(len(solved), len(counted))
    share = f"{100 * len(solved) / len(counted):.1f} %" if counted else "-"
    steps = f"{sum(solved) / len(solved):.0f}" if solved else "-"
    return f"{len(counted)} | {share} | {100 * low:.1f} to {100 * high:.1f} % | {steps} | {len(rows) - len(counted)}"


def environment(versions: Mapping[str, str], pixels: int) -> str:
    """A line of what it was measured with."""
    return f"Pictures of {pixels} pixels; " + ", ".join(f"{name} {version}" for name, version in versions.items()) + "."


def checked(rows: Sequence[Mapping[str, Any]]) -> str:
    """Markdown: what each task was seen to do in a dry run."""
    lines = [
        "| task | states | opened s | reset s | a step with pictures ms | pictures | instruction |",
        "|---|---|---|---|---|---|---|",
    ]
    for row in sorted(rows, key=lambda row: (row["suite"], row["task"])):
        name = f"{row['suite']} {row['task']}"
        if row["error"]:
            lines.append(f"| {name} | - | - | - | - | FAILED | {row['error']} |")
        else:
            lines.append(
                f"| {name} | {row['states']} | {row['open_s']:.1f} | {row['reset_s']:.1f} | {row['step_ms']:.0f} | "
                f"{row['pictures']} | {row['language']} |"
            )
    good = sum(not row["error"] for row in rows)
    return "\n".join([*lines, "", f"{good} of {len(rows)} tasks reset, rendered and stepped."]) + "\n"
