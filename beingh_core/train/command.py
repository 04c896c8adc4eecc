"""`beingh train` and `python -m beingh_core.train`: the command line of a training run."""

from __future__ import annotations

import argparse
from pathlib import Path

from beingh_core.errors import BeingHError

_DESCRIPTION = (
    "Trains a checkpoint on LeRobot datasets, as a YAML file says (config/train, docs/training.md); key.of.section=value "
    "changes what the file says. On several GPUs or hosts: torchrun --nproc-per-node N -m beingh_core.train. A run that is "
    "found in `out` goes on. "
)


def add_train(commands) -> None:
    """Adds `train` to the command line."""
    parser = commands.add_parser(
        "train", help="train a checkpoint on datasets", description=_DESCRIPTION,
        formatter_class=argparse.ArgumentDefaultsHelpFormatter,
    )  # fmt: skip
    add_arguments(parser)
    parser.set_defaults(run=run)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Options of a run."""
    parser.add_argument("--config", type=Path, required=True, metavar="FILE", help="what to train")
    parser.add_argument(
        "--device", default="auto", choices=("auto", "cpu", "cuda"), help="auto: a GPU where there is one"
    )
    parser.add_argument("--threads", type=int, default=0, help="CPU threads of torch on each rank; 0 for its default")
    parser.add_argument("changes", nargs="*", metavar="key=value", help="in place of what the file says")


def run(chosen: argparse.Namespace) -> int:
    """Trains; the exit status.

    Raises:
        BeingHError: See `RunConfig.from_file` and `Run`.
    """
    from beingh_core.train.settings import RunConfig

    config = RunConfig.from_file(chosen.config, chosen.changes)
    import torch

    from beingh_core.train.ranks import Ranks
    from beingh_core.train.run import Run

    if chosen.threads < 0:
        raise BeingHError(f"--threads {chosen.threads}", allowed="0 or more")
    if chosen.threads:
        torch.set_num_threads(chosen.threads)
    ranks = Ranks.join(chosen.device)
    try:
        Run(config, ranks).train()
    finally:
        ranks.leave()
    return 0
