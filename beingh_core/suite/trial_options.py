"""The options that experiments with small models have in common."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

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
    add("--episodes", type=int, default=20, help="of each model")
    add("--seed", type=int, default=100_000, help="scene of the first episode; the following ones count up")
    add("--seconds", type=float, default=20.0, help="longest time of an episode")
    add("--workers", type=int, default=1, help="processes that record and play; 0 for one on each processor")
    add("--out", type=Path, default=Path(out), metavar="DIR", help="folder of datasets, trainings, rows and the report")
    add("changes", nargs="*", metavar="key=value", help="changes of what the training file says, as of `beingh train`")


def trial_of(given: argparse.Namespace) -> dict[str, Any]:
    """Arguments of a `Trial`."""
    names = ("demonstrations", "steps", "config", "episodes", "seed", "seconds", "workers", "out")
    return {name: getattr(given, name) for name in names} | {"changes": tuple(given.changes)}
