"""Command line: train a checkpoint. `python -m beingh_core.train --help`."""

from __future__ import annotations

import argparse
from pathlib import Path

import torch

from beingh_core.errors import BeingHError
from beingh_core.train.config import TrainConfig
from beingh_core.train.loop import Trainer


def main() -> None:
    """Entry point."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--config", type=Path, default=Path("config/train/fr3_cubes.yaml"))
    parser.add_argument("--data", type=Path, required=True, help="demonstrations of beingh_core.data.record")
    parser.add_argument(
        "--out", type=Path, required=True, help="directory of the checkpoint; a run found there goes on"
    )
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--threads", type=int, default=0, help="CPU threads, 0: all")
    args = parser.parse_args()
    if args.threads:
        torch.set_num_threads(args.threads)
    try:
        Trainer(TrainConfig.from_file(args.config), args.data, args.out, args.device).run()
    except BeingHError as error:
        parser.exit(2, f"{parser.prog}: {error}\n")


if __name__ == "__main__":
    main()
