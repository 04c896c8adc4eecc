"""`beingh train` and `python -m beingh_core.train`: the command line of a training run."""

from __future__ import annotations

import argparse
import signal
from pathlib import Path

from beingh_core.errors import BeingHError

_DESCRIPTION = (
    "Trains a checkpoint on LeRobot datasets, as a YAML file says (config/train, docs/training.md); key.of.section=value "
    "changes what the file says. On several GPUs or hosts: torchrun --nproc-per-node N -m beingh_core.train. A run that is "
    "found in `out` goes on. "
)


DOCTOR = "doctor"
TERMINATED = 128 + signal.SIGTERM
"""Exit status of a run that saved and ended before its last step, so that nobody takes it for a finished one."""


def add_train(commands) -> None:
    """Adds `train` to the command line."""
    parser = commands.add_parser(
        "train", help="train a checkpoint; `doctor` looks at the data", description=_DESCRIPTION,
        formatter_class=argparse.ArgumentDefaultsHelpFormatter,
    )  # fmt: skip
    add_arguments(parser)
    parser.set_defaults(run=run)
    between_options(parser)


def between_options(parser: argparse.ArgumentParser) -> None:
    """Lets words stand before, between and behind options, which argparse does for whole command lines only."""
    plain = parser.parse_known_args

    def parse(args=None, namespace=None):
        parser.parse_known_args = plain  # which the other one calls
        try:
            found, unknown = parser.parse_known_intermixed_args(args, namespace)
            for word in unknown:
                if word.startswith("-") and "." in word.partition("=")[0]:
                    parser.error(f"{word}: keys have no dashes, as in training.steps=20")
            return found, unknown
        finally:
            parser.parse_known_args = parse

    parser.parse_known_args = parse


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Options of a run."""
    parser.add_argument("--config", type=Path, required=True, metavar="FILE", help="what to train")
    parser.add_argument(
        "--device", default="auto", choices=("auto", "cpu", "cuda"), help="auto: a GPU where there is one"
    )
    parser.add_argument("--threads", type=int, default=0, help="CPU threads of torch on each rank; 0 for its default")
    parser.add_argument(
        "--page",
        type=Path,
        default=Path("out/train_doctor.html"),
        metavar="FILE",
        help="of the doctor: where its page goes",
    )
    parser.add_argument(
        "--gpus", default="1,4,8", metavar="N,N", help="of the doctor: how many GPUs memory is told for"
    )
    parser.add_argument("--gpu-gb", type=float, default=80.0, metavar="GB", help="of the doctor: memory of one GPU")
    parser.add_argument(
        "--dry-run", action="store_true", help="of the doctor: up to the first batch, without loading weights"
    )
    parser.add_argument(
        "changes", nargs="*", metavar="[doctor] key=value",
        help="`doctor` shows one batch, loss, speed and memory on a page, and trains nothing; changes of what the file says",
    )  # fmt: skip


def run(chosen: argparse.Namespace) -> int:
    """Trains, or looks at what would be trained on; the exit status.

    Raises:
        BeingHError: See `RunConfig.from_file`, `Run` and `doctor.examine`.
    """
    from beingh_core.train.settings import RunConfig

    if chosen.threads < 0:
        raise BeingHError(f"--threads {chosen.threads}", allowed="0 or more")
    examine = chosen.changes[:1] == [DOCTOR]
    if chosen.dry_run and not examine:
        raise BeingHError(
            "--dry-run is an option of the doctor", remedy="`beingh train doctor --dry-run` trains nothing"
        )
    config = RunConfig.from_file(chosen.config, chosen.changes[1:] if examine else chosen.changes)
    import torch

    if chosen.threads:
        torch.set_num_threads(chosen.threads)
    return _examine(chosen, config) if examine else _train(chosen, config)


def _train(chosen: argparse.Namespace, config) -> int:
    from beingh_core.train.ranks import Ranks
    from beingh_core.train.run import Run

    ranks = Ranks.join(chosen.device)
    try:
        finished = Run(config, ranks).train()
        ranks.wait()  # a rank that ends with a status makes torchrun end the others
    finally:
        ranks.leave()
    return 0 if finished else TERMINATED


def _examine(chosen: argparse.Namespace, config) -> int:
    """0, or 1 where the run would not begin."""
    from beingh_core.train import doctor_page, memory
    from beingh_core.train.doctor import examine, making

    gpus, gpu_gb = _numbers(chosen.gpus), _positive(chosen.gpu_gb)
    report = examine(config, gpus, gpu_gb, without_weights=chosen.dry_run)
    try:
        doctor_page.write(report, chosen.page)
    except OSError as error:
        raise BeingHError(f"the page cannot be written: {error.strerror}", where=chosen.page) from None
    for line in report.refused:
        print(line)
    if report.loss.get("of nothing"):
        print(f"action loss at the start {report.loss['action']:.4g}, of no prediction {report.loss['of nothing']:.4g}")
    if report.loss.get("text"):
        print(f"text loss at the start {report.loss['text']:.4g}")
    print(f"{report.speed['made_per_s']:.1f} samples/s are made by one process; {making(config.data.workers)}")
    for note in report.notes:
        print(f"note: {note}")
    counts = {part: count for part, count in report.parameters.items() if count}
    parts = ", ".join(f"{part.replace('_', ' ')} {count / 1e6:.4g}" for part, count in counts.items())
    print(f"{sum(counts.values()) / 1e6:.5g} million weights: {parts}")
    for (count, again), sizes in report.memory.items():
        parts = ", ".join(f"{part} {size:.1f}" for part, size in sizes.items() if part != "total" and size >= 0.05)
        told = f" ({parts})" if parts else ""
        print(f"{memory.case(count, again)}: {sizes['total']:.1f} GB of {chosen.gpu_gb:g} each{told}")
    print(f"wrote {chosen.page}")
    return 1 if report.refused else 0


def _numbers(text: str) -> list[int]:
    parts = text.split(",")
    if not all(part.isdecimal() and 1 <= int(part) <= 100_000 for part in parts):
        raise BeingHError(f"--gpus {text}", allowed="numbers from 1 with commas between them, such as 1,4,8")
    return [int(part) for part in parts]


def _positive(value: float) -> float:
    if not 0 < value < 1e6:
        raise BeingHError(f"--gpu-gb {value:g}", allowed="a number above 0 [GB]")
    return value
