"""Command line: train a checkpoint. `python -m beingh_core.train --help`."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

import torch

from beingh_core.errors import BeingHError
from beingh_core.train.command import add_arguments, between_options, run
from beingh_core.train.config import TrainConfig
from beingh_core.train.loop import Trainer


def main() -> None:
    """Entry point; with `--data` the demonstrations of `beingh_core.data.record` in place of datasets."""
    shards = any(word.partition("=")[0] == "--data" for word in sys.argv[1:])
    parser = argparse.ArgumentParser(description=__doc__)
    if shards:
        _add_shard_arguments(parser)
    else:
        add_arguments(parser)
        between_options(parser)
    args = parser.parse_args()
    try:
        if shards:
            _train_on_shards(args)
        else:
            run(args)
    except BeingHError as error:
        parser.exit(2, f"{parser.prog}: {error}\n")
    except KeyboardInterrupt:
        parser.exit(130, f"{parser.prog}: interrupted\n")


def _add_shard_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--config", type=Path, default=Path("config/train/fr3_cubes.yaml"))
    parser.add_argument("--data", type=Path, required=True, help="demonstrations of beingh_core.data.record")
    parser.add_argument(
        "--out", type=Path, required=True, help="directory of the checkpoint; a run found there goes on"
    )
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--threads", type=int, default=0, help="CPU threads, 0: all")
    parser.add_argument("changes", nargs="*", metavar="key=value", help="in place of what the file says")


def _train_on_shards(args: argparse.Namespace) -> None:
    if args.threads:
        torch.set_num_threads(args.threads)
    Trainer(TrainConfig.from_file(args.config, args.changes), args.data, args.out, args.device).run()


if __name__ == "__main__":
    main()
