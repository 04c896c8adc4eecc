"""Trainings of an experiment: finished ones stay, one that was interrupted goes on."""

from __future__ import annotations

import contextlib
import json
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from beingh_core.train.settings import RunConfig


def checkpoint_of(out: Path) -> Path:
    """Where a training has its newest checkpoint."""
    return out / "last"


def train(config: RunConfig, threads: int = 1) -> None:
    """Trains to the last step, in this process.

    Args:
        config: The run.
        threads: Of torch; two wait for each other at every layer of a small model.

    Raises:
        BeingHError: See `Run`.
        SystemExit: A SIGTERM has ended it before; it has saved, and the same command goes on.
    """
    if is_finished(config):
        return
    import torch

    from beingh_core.train.command import TERMINATED
    from beingh_core.train.ranks import Ranks
    from beingh_core.train.run import Run

    torch.set_num_threads(threads)
    print(f"training {config.out}", flush=True)
    ranks = Ranks.join("auto")
    try:
        finished = Run(config, ranks).train()
    finally:
        ranks.leave()
    if not finished:
        raise SystemExit(TERMINATED)


def is_finished(config: RunConfig) -> bool:
    """Whether the last step has been saved."""
    from beingh_core.train.saving import TRAINING, told_of

    newest = checkpoint_of(Path(config.out))
    return (newest / TRAINING).exists() and told_of(newest).get("step", 0) >= config.training.steps


def held_out_losses(config: RunConfig) -> dict[str, float]:
    """Losses on held-out episodes at the last step, see `Run.evaluate`; {} of a training that has not come there."""
    path = Path(config.out) / "log.jsonl"
    if not path.exists():
        return {}
    told = []
    for line in path.read_text(encoding="utf-8").splitlines():
        with contextlib.suppress(ValueError):  # what a killed process left of a line
            told.append(json.loads(line))
    last = [one for one in told if one["kind"] == "held_out" and one["step"] == config.training.steps]
    return {name: value for name, value in last[-1].items() if "loss" in name} if last else {}
