"""The sub-command `beingh quantize`."""

from __future__ import annotations

import argparse
from pathlib import Path


def add_quantize(commands) -> None:
    """Adds `quantize` to the command line."""
    parser = commands.add_parser(
        "quantize", help="a checkpoint in fewer bits, and what that costs",
        description="Writes a checkpoint whose large matrices are in fewer bits, then asks it and the original at rows of a "
        "dataset or bag what they would do: difference of their actions, time and memory. Runs on the CPU, the original in "
        "bfloat16.",
        formatter_class=argparse.ArgumentDefaultsHelpFormatter,
    )  # fmt: skip
    parser.add_argument("checkpoint", metavar="CHECKPOINT", help="checkpoint that is not quantised")
    parser.add_argument(
        "--data", type=Path, required=True, metavar="DIR", help="LeRobot dataset, bag, or folder of bags"
    )
    parser.add_argument("--scheme", required=True, help="int8, int4 (weights alone), or w8a8 (activations too)")
    parser.add_argument("--towers", default="und,act,vision", help="which parts, with commas between")
    parser.add_argument("--group-size", type=int, default=64, help="numbers that share a scale in int4")
    parser.add_argument("--out", type=Path, required=True, metavar="DIR", help="folder to make")
    parser.add_argument(
        "--observations", type=int, default=1000, help="at most so many rows of the data are asked about"
    )
    parser.add_argument(
        "--contract", default="", metavar="ROBOT", help="robot contract; empty: the data's, else the checkpoint's"
    )
    parser.add_argument("--task", default="", help="instruction; empty: the recording's own")
    parser.add_argument("--dataset-name", default="", help="whose statistics to normalise with; empty: the contract's")
    parser.add_argument(
        "--dtype",
        choices=("float32", "bfloat16"),
        default="bfloat16",
        help="of everything else while both are asked; serve and the policy node choose theirs themselves",
    )
    parser.add_argument("--threads", type=int, default=0, help="CPU threads of torch; 0 for its default")
    parser.add_argument("--seed", type=int, default=0, help="of the policy's noise")
    parser.set_defaults(run=_quantize)


def _quantize(chosen: argparse.Namespace) -> int:
    from beingh_core.openloop.quantize import quantize

    return quantize(chosen)
