"""The options that experiments with small models have in common."""

from __future__ import annotations

import argparse
from typing import Any

from beingh_core.suite.options import add_scenes
from beingh_core.train.command import between_options

CONFIG = "config/train/fr3_cubes.yaml"


def add_trial(parser: argparse.ArgumentParser, out: str) -> None:
    """Adds them; `out` is the default folder."""
    add = parser.add_argument
    add(
        "--demonstrations",
        type=int,
        default=5,
        help="of each body; a fifth as many, one at least, are held out beside them",
    )
    add("--steps", type=int, default=500, help="of each training")
    add("--config", default=CONFIG, metavar="FILE", help="training file: manner, and sizes of a model from nothing")
    add_scenes(
        parser, "of each model", out, seed=100_000, workers="processes that record and play",
        kept="datasets, trainings, rows and the report",
    )  # fmt: skip
    between_options(parser)
    add("changes", nargs="*", metavar="key=value", help="changes of what the training file says, as of `beingh train`")


def trial_of(given: argparse.Namespace) -> dict[str, Any]:
    """Arguments of a `Trial`."""
    names = ("demonstrations", "steps", "config", "episodes", "seed", "seconds", "workers", "out")
    return {name: getattr(given, name) for name in names} | {"changes": tuple(given.changes)}
