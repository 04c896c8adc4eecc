"""The sub-command `beingh export`: bags to a LeRobot dataset, a bar while it works, a table at the end."""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Sequence
from pathlib import Path

from beingh_core.errors import BeingHError

_DESCRIPTION = (
    "Makes a LeRobot dataset of recorded bags, at the contract's rate; an interrupted or older dataset in --out is "
    "continued, bag by bag. Exit code: 0 everything was exported, 1 a bag was cut, damaged or refused (see the table)."
)
_BAG_FILES = (".mcap", ".db3", ".zstd")


def add_export(commands) -> None:
    """Adds `export` to the command line."""
    parser = commands.add_parser(
        "export", help="make a LeRobot dataset of bags", description=_DESCRIPTION,
        formatter_class=argparse.ArgumentDefaultsHelpFormatter,
    )  # fmt: skip
    parser.add_argument("bags", type=Path, nargs="+", metavar="BAG", help="bags, or folders of bags")
    parser.add_argument("--contract", required=True, metavar="ROBOT", help="robot contract: name or path")
    parser.add_argument("--out", type=Path, required=True, metavar="DATASET", help="folder of the dataset")
    parser.add_argument("--task", help="instruction of bags that do not say theirs, or say several")
    parser.add_argument("--version", default="v3.0", help="of the dataset: v3.0 or v2.1")
    parser.add_argument("--codec", default="h264", help="of the videos: h264 or av1")
    parser.add_argument(
        "--encoder", default="auto", help="auto (hardware when it works), software, or FFmpeg's name of one"
    )
    parser.add_argument("--crf", type=int, default=30, help="quality of the videos, smaller is better")
    parser.add_argument("--method", default="hold", help="sample at each tick: hold, nearest or drop")
    parser.add_argument("--on-gap", default="cut", help="cut the episode at a gap, or refuse the bag")
    parser.add_argument("--max-age", type=float, metavar="S", help="what counts as a gap; empty: as the contract says")
    parser.add_argument("--commands", metavar="TOPIC", help="topic of the commands, or `states`; empty: look for it")
    parser.add_argument("--min-frames", type=int, default=10, help="shorter pieces are left out")
    parser.add_argument(
        "--subtasks", help="write accepted subtasks: language (LeRobot 0.6's columns) or index; empty: leave them out"
    )
    parser.add_argument(
        "--success", action="store_true", help="write next.success; bags of which nobody said it are refused"
    )
    parser.add_argument("--labels", type=Path, metavar="DIR", help="folder of label files; empty: beside each bag")
    parser.add_argument(
        "--only-successes",
        action="store_true",
        help="refuse bags that an accepted label or the recorder calls failures",
    )
    parser.add_argument("--only", help="rows of these alone: policy, person or intervention (a person who took over)")
    parser.add_argument("--without-depth", action="store_true", help="depth cameras as grey pictures alone")
    parser.add_argument("--workers", type=_count, default=0, help="processes; 0 for as many as processors")
    parser.add_argument(
        "--ray", default="", metavar="ADDRESS", help="convert on this Ray cluster, whose nodes share bags and --out"
    )
    parser.add_argument("--namespace", default="", help="in which the robot's nodes were recorded")
    parser.set_defaults(run=_export)


def _export(chosen: argparse.Namespace) -> int:
    from beingh_core.data.bag_files import open_bag
    from beingh_core.data.export import GOOD, Export, export
    from beingh_core.data.lerobot.schema import VideoSettings
    from beingh_core.data.resample import Resampling

    settings = Export(
        contract=chosen.contract, out=chosen.out, task=chosen.task, version=chosen.version,
        workers=chosen.workers, ray=chosen.ray, namespace=chosen.namespace,
        depth=not chosen.without_depth, only_successes=chosen.only_successes,
        subtasks=chosen.subtasks, labels=chosen.labels, success=chosen.success,
        video=VideoSettings(codec=chosen.codec, encoder=chosen.encoder, crf=chosen.crf),
        resampling=Resampling(
            method=chosen.method, on_gap=chosen.on_gap, max_age_s=chosen.max_age, commands=chosen.commands,
            min_frames=chosen.min_frames, only=chosen.only,
        ),
    )  # fmt: skip
    bags = find_bags(chosen.bags)
    outcomes = export(bags, settings, open_bag, Bar(bags))
    print(table(outcomes))
    if chosen.subtasks:
        print(_labelled(bags, chosen.labels))
    return 0 if all(outcome.state in GOOD for outcome in outcomes) else 1


def _count(text: str) -> int:
    """A number from 0 on."""
    if not text.isdecimal():
        raise argparse.ArgumentTypeError(f"`{text}` is not a number from 0 on")
    return int(text)


def find_bags(paths: Sequence[Path]) -> list[Path]:
    """The bags that are named, and those in folders that are named, in order of their names.

    Raises:
        BeingHError: A path without a bag, or two bags of one name (a dataset knows bags by name).
    """
    from beingh_core.data.annotate.labels import SUFFIX

    found: list[Path] = []
    for path in paths:
        if path.is_dir() and not _is_bag(path):
            inside = sorted(inner for inner in path.iterdir() if inner.is_dir() and _is_bag(inner))
            if not inside:
                raise BeingHError("there is no bag in this folder", where=path, remedy="name bags or a folder of bags")
            found += inside
        elif path.name.endswith(SUFFIX):
            continue  # of `beingh annotate`: `recordings/*` names bags and the labels beside them
        elif path.exists():
            found.append(path)
        else:
            raise BeingHError("there is no such bag", where=path)
    found = list({path.resolve(): path for path in reversed(found)}.values())[::-1]  # one named twice is one bag
    if not found:
        raise BeingHError("these are labels, no bags", where=paths[0], remedy="name bags or a folder of bags")
    names = [path.name for path in found]
    twice = next((name for name in names if names.count(name) > 1), None)
    if twice:
        raise BeingHError(f"two bags are called {twice}", remedy="give each bag a name of its own")
    return found


def table(outcomes: Sequence) -> str:
    """One line a bag, its reasons under it, and the sum."""
    width = max([len(outcome.bag.name) for outcome in outcomes] + [3])
    lines = [f"{'bag':<{width}}  {'result':<13}  episodes  frames"]
    for outcome in outcomes:
        lines.append(f"{outcome.bag.name:<{width}}  {outcome.state:<13}  {outcome.episodes:>8}  {outcome.frames:>6}")
        lines += [f"{'':<{width}}    {text}" for text in (*outcome.findings, *outcome.notes)]
    episodes, frames = (sum(getattr(outcome, name) for outcome in outcomes) for name in ("episodes", "frames"))
    return "\n".join([*lines, f"{'sum':<{width}}  {'':<13}  {episodes:>8}  {frames:>6}"])


def _labelled(bags: Sequence[Path], folder: Path | None) -> str:
    """How many bags have accepted subtasks."""
    from beingh_core.data.annotate import labels as files

    count = 0
    for bag in bags:
        try:
            count += files.load(files.path_for(bag, folder)).count(files.ACCEPTED) > 0
        except BeingHError:  # none, or refused in the table
            continue
    return f"{count} of {len(bags)} bags have accepted subtasks"


def _is_bag(folder: Path) -> bool:
    return (folder / "metadata.yaml").exists() or any(path.suffix in _BAG_FILES for path in folder.iterdir())


class Bar:
    """How far an export is, where it runs in a terminal: bags, a guess of the time that is left, the newest bag.

    Args:
        bags: All of them; their sizes say how much is left.
    """

    def __init__(self, bags: Sequence[Path]) -> None:
        self._sizes = {bag: _size(bag) for bag in bags}
        self._begun_s, self._done = time.monotonic(), 0

    def __call__(self, outcome, done: int, of: int) -> None:
        """A bag is done; see `export`."""
        self._done += self._sizes[outcome.bag]
        if sys.stderr.isatty():
            text = self.text(outcome, done, of, time.monotonic() - self._begun_s)
            print(f"\r{text}\x1b[K", end="\n" if done == of else "", file=sys.stderr, flush=True)

    def text(self, outcome, done: int, of: int, passed_s: float) -> str:
        """The line; what was there already counts as no work."""
        filled, left = 30 * done // of, sum(self._sizes.values()) - self._done
        minutes, seconds = divmod(round(passed_s * left / max(1, self._done)), 60)
        bar = "#" * filled + "." * (30 - filled)
        return f"[{bar}] {done}/{of}, {minutes}:{seconds:02d} left, {outcome.bag.name}: {outcome.state}"


def _size(bag: Path) -> int:
    files = bag.iterdir() if bag.is_dir() else [bag]
    return sum(file.stat().st_size for file in files if file.is_file())
