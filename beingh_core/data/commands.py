"""The sub-commands `beingh dataset ...`: their options, and what they print."""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path

from beingh_core.errors import BeingHError, shown

_OUT = "folder of the new dataset; what it is made from is not changed"


def add_dataset(commands) -> None:
    """Adds `dataset` with its verbs to the command line."""
    parser = commands.add_parser("dataset", help="look at, repair, merge, split and edit LeRobot datasets")
    verbs = parser.add_subparsers(metavar="VERB", required=True)
    verb = _verb(verbs, "info", _info, "what a dataset holds, and whether rows and pictures agree")
    verb.add_argument("--json", action="store_true", help="as JSON")
    verb = _verb(verbs, "stats", _stats, "compute meta/stats.json anew, with exact quantiles")
    verb.add_argument("--json", action="store_true", help="print all of it as JSON")
    verb = _verb(verbs, "repair", _repair, "finish what an interrupted export left, or copy intact episodes")
    verb.add_argument("--out", type=Path, metavar="NEW", help=_OUT)
    verb = _verb(verbs, "merge", _merge, "one dataset of several", many=True)
    verb.add_argument("--out", type=Path, required=True, metavar="NEW", help=_OUT)
    verb = _verb(verbs, "split", _split, "several datasets of one")
    verb.add_argument(
        "--out", type=Path, required=True, metavar="DIR", help="folder in which there is one of each part"
    )
    verb.add_argument(
        "--parts", required=True, metavar="NAME=WHICH,...", help="WHICH: a share (0.8) or episodes (0-9+12)"
    )
    verb = _verb(verbs, "delete", _delete, "the dataset without some episodes")
    verb.add_argument("--episodes", required=True, metavar="WHICH", help="for example 3 or 0-9+12")
    verb.add_argument("--out", type=Path, required=True, metavar="NEW", help=_OUT)
    verb = _verb(verbs, "rename-task", _rename, "the dataset with another text for a task")
    verb.add_argument("--old", required=True, help="the text as it is")
    verb.add_argument("--new", required=True, help="the text as it shall be")
    verb.add_argument("--out", type=Path, required=True, metavar="NEW", help=_OUT)


def _verb(verbs, name: str, run, text: str, many: bool = False) -> argparse.ArgumentParser:
    parser = verbs.add_parser(name, help=text, description=text[0].upper() + text[1:] + ".")
    parser.add_argument(
        "dataset", type=Path, metavar="DATASET", nargs="+" if many else None, help="folder with meta/info.json"
    )
    parser.set_defaults(run=run)
    return parser


def _info(chosen: argparse.Namespace) -> int:
    from beingh_core.data.lerobot.check import Checker
    from beingh_core.data.lerobot.describe import contract_hash
    from beingh_core.data.lerobot.reader import Dataset

    dataset = Dataset(chosen.dataset, skip_unknown=True)
    checker = Checker(dataset)
    found_in = lambda episode: (*checker.problems(episode), *checker.problems_in_rows(episode))
    problems = [f"episode {e.index}: {text}" for e in dataset.episodes for text in found_in(e)]
    spec = dataset.spec
    found = {
        "version": spec.version, "robot": spec.robot, "fps": spec.fps, "episodes": len(dataset.episodes),
        "frames": dataset.frames, "seconds": round(dataset.frames / spec.fps, 3), "tasks": dataset.tasks,
        "vectors": {vector.key: list(vector.names) for vector in spec.vectors},
        "cameras": {c.key: f"{c.width}x{c.height}" + (" depth" if c.depth else "") for c in spec.cameras}
        | {key: f"{width}x{height} in rows" for key, (height, width) in dataset.images.items()},
        "contract_hash": contract_hash(dataset.root), "not_published": _waiting(dataset.root),
        "not_looked_at": dataset.skipped, "problems": problems,
    }  # fmt: skip
    if chosen.json:
        print(json.dumps(found, indent=2, ensure_ascii=False))
    else:
        for key, value in found.items():
            print(
                f"{key:>14}: {value if isinstance(value, (str, int, float)) else json.dumps(value, ensure_ascii=False)}"
            )
    return 1 if problems or found["not_published"] else 0


def _waiting(root: Path) -> int:
    """Committed episodes that an interrupted export has not published."""
    from beingh_core.data.lerobot.storage import WORK

    return sum(1 for _ in (root / WORK / "episodes").glob("[0-9]*"))


def _stats(chosen: argparse.Namespace) -> None:
    from beingh_core.data.lerobot.describe import update_statistics
    from beingh_core.data.lerobot.statistics import as_json

    found = as_json(update_statistics(chosen.dataset))
    if chosen.json:
        print(json.dumps(found, indent=2))
        return
    for key, one in found.items():
        print(key)
        for name in ("min", "q01", "q50", "q99", "max", "mean", "std"):
            values = _flat(one[name])
            print(f"  {name:>5} " + " ".join(f"{value:10.4g}" for value in values))


def _flat(values) -> list[float]:
    return [x for value in values for x in _flat(value)] if isinstance(values, list) else [values]


def _repair(chosen: argparse.Namespace) -> int:
    from beingh_core.data.lerobot.check import Checker
    from beingh_core.data.lerobot.edit import salvage
    from beingh_core.data.lerobot.reader import Dataset
    from beingh_core.data.lerobot.writer import DatasetWriter

    if chosen.out:
        kept, bad = salvage(chosen.dataset, chosen.out, _progress)
        print("\n".join([*bad, f"{kept} intact episodes in {chosen.out}" if kept else "no episode is intact"]))
        return 1 if bad else 0
    with DatasetWriter(chosen.dataset) as writer:
        waiting = _waiting(chosen.dataset)
    dataset = Dataset(chosen.dataset)
    checker = Checker(dataset)
    bad = [f"episode {e.index}: {text}" for e in dataset.episodes for text in checker.problems(e)]
    print(f"{writer.episodes} episodes, {waiting} of them published by this repair")
    if bad:
        print("\n".join([*bad, f"`beingh dataset repair {chosen.dataset} --out NEW` copies the others"]))
    return 1 if bad else 0


def _merge(chosen: argparse.Namespace) -> None:
    from beingh_core.data.lerobot.edit import merge

    print(f"{merge(chosen.dataset, chosen.out, _progress)} episodes in {chosen.out}")


def _split(chosen: argparse.Namespace) -> None:
    from beingh_core.data.lerobot.edit import split
    from beingh_core.data.lerobot.reader import Dataset

    parts = parse_parts(chosen.parts, len(Dataset(chosen.dataset).episodes))
    for name, count in split(chosen.dataset, chosen.out, parts, _progress).items():
        print(f"{count} episodes in {chosen.out / name}")


def _delete(chosen: argparse.Namespace) -> None:
    from beingh_core.data.lerobot.edit import delete

    print(f"{delete(chosen.dataset, chosen.out, parse_numbers(chosen.episodes), _progress)} episodes in {chosen.out}")


def _rename(chosen: argparse.Namespace) -> None:
    from beingh_core.data.lerobot.edit import rename_task

    print(f"{rename_task(chosen.dataset, chosen.out, chosen.old, chosen.new, _progress)} episodes in {chosen.out}")


def parse_numbers(text: str) -> list[int]:
    """Episodes of `0-9+12`, each once, ascending."""
    found: set[int] = set()
    try:
        for part in text.replace(",", "+").split("+"):
            first, _, last = part.partition("-")
            found |= set(range(int(first), int(last or first) + 1)) or {int("empty range")}
    except ValueError:
        raise BeingHError(f"episodes {shown(text)}", allowed="numbers and ranges, for example 3 or 0-9+12") from None
    return sorted(found)


def parse_parts(text: str, episodes: int) -> dict[str, list[int]]:
    """Parts of `train=0.8,val=0.2` or `train=0-9,val=10+12`: name -> episodes; shares are taken in order."""
    parts: dict[str, list[int]] = {}
    taken = 0.0
    for part in text.split(","):
        name, _, which = part.partition("=")
        if not name or not which or "/" in name or name in parts:
            raise BeingHError(
                f"part {shown(part)}", allowed="NAME=WHICH with different names, for example train=0.8,val=0.2"
            )
        if "." not in which:
            parts[name] = parse_numbers(which)
            continue
        try:
            share = float(which)
        except ValueError:
            share = 0.0
        if not 0.0 < share <= 1.0 or taken + share > 1.0 + 1e-9:
            raise BeingHError(f"part {shown(part)}", allowed="shares above 0 that are 1 together at most")
        parts[name] = list(range(round(taken * episodes), round((taken + share) * episodes)))
        taken += share
    return parts


def _progress(done: int, of: int) -> None:
    if sys.stderr.isatty():
        print(f"\r{done} of {of} episodes", end="\n" if done == of else "", file=sys.stderr, flush=True)
