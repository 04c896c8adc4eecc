"""What the commands of `beingh suite` that play in our own simulator share."""

from __future__ import annotations

import argparse
from pathlib import Path

from beingh_core.errors import BeingHError


def add_experiment(parser: argparse.ArgumentParser, out: str) -> None:
    """The options of `plan.Experiment`; `out` is the folder by default."""
    add = parser.add_argument
    add("--robot", required=True, metavar="ROBOT", help="robot contract: name or path")
    add(
        "--checkpoint", action="append", required=True, metavar="[NAME=]DIR", help="may be given several times, by name"
    )
    add_scenes(parser, "of each point", out)


def add_scenes(
    parser: argparse.ArgumentParser,
    episodes: str,
    out: str,
    *,
    seed: int = 0,
    workers: str = "processes",
    kept: str = "the rows and the report",
) -> None:
    """The options of what is played.

    Args:
        parser: Of the command.
        episodes: Of what so many are played.
        out: The folder by default.
        seed: The first scene by default.
        workers: What they are.
        kept: What is in the folder.
    """
    add = parser.add_argument
    add("--episodes", type=int, default=20, help=episodes)
    add("--seed", type=int, default=seed, help="scene of the first episode; the following ones count up")
    add("--seconds", type=float, default=20.0, help="longest time of an episode")
    add("--workers", type=int, default=1, help=f"{workers}; 0 for one on each processor")
    add("--out", type=Path, default=Path(out), metavar="DIR", help=f"folder of {kept}")


def named(texts: list[str], where: str = "--checkpoint") -> dict[str, str]:
    """Name -> directory of `NAME=DIR`; a directory alone has its own name.

    Raises:
        BeingHError: A name or a directory is empty, or a name stands for two.
    """
    found: dict[str, str] = {}
    for text in texts:
        name, separator, place = text.partition("=")
        if not separator:
            name, place = Path(text).resolve().name, text
        if not name or not place:
            raise BeingHError(f"`{text}` is no checkpoint", where=where, allowed="DIR or NAME=DIR")
        if name in found:
            raise BeingHError(f"two checkpoints are called `{name}`", where=where, remedy="give them names: NAME=DIR")
        found[name] = place
    return found
