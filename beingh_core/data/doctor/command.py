"""The sub-command `beingh doctor`: a page and a table of what is in recorded data, and whether it can be used."""

from __future__ import annotations

import argparse
import json
import shutil
import sys
import time
from pathlib import Path

from beingh_core.data.doctor.texts import printable
from beingh_core.errors import BeingHError

PAGE = "doctor.html"
_DESCRIPTION = (
    "Looks at bags and LeRobot datasets, ours and others', episode by episode, and writes one HTML page about them. Exit "
    "code: 0 every episode is good, 1 something is wrong with the data, 2 something cannot be read, or a mistake in the command."
)


def add_doctor(commands) -> None:
    """Adds `doctor` to the command line."""
    parser = commands.add_parser(
        "doctor", help="look at bags and datasets: what is wrong with them", description=_DESCRIPTION,
        formatter_class=argparse.ArgumentDefaultsHelpFormatter,
    )  # fmt: skip
    parser.add_argument("paths", type=Path, nargs="+", metavar="PATH", help="bags, datasets, or folders of them")
    parser.add_argument("--out", type=Path, default=Path(PAGE), metavar="FILE", help="the page; its folder must exist")
    parser.add_argument("--json", type=Path, metavar="FILE", help="also write what was found for programs")
    parser.add_argument("--contract", metavar="ROBOT", help="robot contract: name or path; empty: what the data bring")
    parser.add_argument("--namespace", default="", help="in which the robot's nodes were recorded; empty: look for it")
    parser.add_argument("--details", type=int, default=50, metavar="N", help="most episodes with pictures on the page")
    parser.set_defaults(run=run)


def run(chosen: argparse.Namespace) -> int:
    """Runs it; the exit status."""
    from beingh_core.contract import load_contract
    from beingh_core.data.doctor.examine import examine
    from beingh_core.data.doctor.facts import GOOD
    from beingh_core.data.doctor.page import page, section
    from beingh_core.data.doctor.sources import find_sources
    from beingh_core.data.doctor.summary import as_json, described, table

    _check(chosen)
    contract = load_contract(chosen.contract) if chosen.contract else None
    sources = find_sources(chosen.paths)
    episodes, told, sections = [], [], _Sections(chosen.details)
    with _Line() as line:
        for facts in examine(sources, contract, chosen.namespace, line.show):
            told.append(described(facts))
            if sections.wants(facts.verdict == GOOD):
                sections.add(len(episodes), facts.verdict == GOOD, section(len(episodes), facts))
            facts.release()
            episodes.append(facts)
    _write(chosen.out, page(episodes, sections.chosen()))
    if chosen.json:
        _write(chosen.json, json.dumps(as_json(episodes, told), indent=2, ensure_ascii=False) + "\n")
    print(table(episodes))
    print(f"page: {chosen.out}")
    if any(not facts.readable for facts in episodes):
        return 2
    return 0 if all(facts.verdict == GOOD for facts in episodes) else 1


def _check(chosen: argparse.Namespace) -> None:
    if chosen.details < 0:
        raise BeingHError(f"--details {chosen.details}", allowed="0 or more")
    for path in (chosen.out, chosen.json):
        if path is not None and (path.is_dir() or not path.parent.is_dir()):
            what = "is a folder" if path.is_dir() else "its folder does not exist"
            raise BeingHError(f"cannot be written: {what}", where=path, remedy="name a file in a folder that exists")


def _write(path: Path, text: str) -> None:
    try:
        path.write_text(text, "utf-8", "replace")
    except OSError as error:
        raise BeingHError(f"cannot be written: {error.strerror}", where=path) from None


class _Sections:
    """The episodes that the page shows in full: those that are not good first, and as many good ones as there is room for."""

    def __init__(self, most: int) -> None:
        self._most = most
        self._good: dict[int, str] = {}
        self._others: dict[int, str] = {}

    def wants(self, good: bool) -> bool:
        """Whether there is room for one more of this kind."""
        return len(self._good if good else self._others) < self._most

    def add(self, number: int, good: bool, text: str) -> None:
        (self._good if good else self._others)[number] = text

    def chosen(self) -> dict[int, str]:
        room = self._most - len(self._others)
        return self._others | dict(list(self._good.items())[:room])


class _Line:
    """One line of progress in a terminal, rewritten at most ten times a second; nothing where there is no terminal."""

    def __init__(self) -> None:
        self._shown, self._next_s = sys.stderr.isatty(), 0.0

    def __enter__(self) -> _Line:
        return self

    def __exit__(self, *_exc) -> None:
        if self._shown:
            print("\r\x1b[K", end="", file=sys.stderr, flush=True)

    def show(self, name: str, share: float) -> None:
        """What is being read, and how much of all has been, 0 to 1."""
        if not self._shown or time.monotonic() < self._next_s:
            return
        self._next_s = time.monotonic() + 0.1
        filled = round(30 * min(max(share, 0.0), 1.0))
        text = f"[{'#' * filled}{'.' * (30 - filled)}] {share:4.0%} {printable(name)}"
        columns = shutil.get_terminal_size().columns
        print(f"\r{text[: columns - 1]}\x1b[K", end="", file=sys.stderr, flush=True)
