"""Checkpoints of a run on disk: complete or not there, the last few and the best kept, found again by a run that goes on.

out/step-00001000/    a checkpoint in the released format, and `resume.pt`, from which the run can go on
out/last, out/best    links to the newest, and to the one with the lowest held-out loss
out/log.jsonl         everything that was told, a line each
"""

from __future__ import annotations

import json
import os
import re
import shutil
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import torch

from beingh_core.checkpoint_directory import CONFIG
from beingh_core.errors import BeingHError
from beingh_core.files import read_json

STATE, TRAINING = "resume.pt", "training.json"
_STEP = re.compile(r"step-(\d{8,})")
_PARTIAL = ".partial"


class Checkpoints:
    """The folder of a run; used by the rank that writes.

    Args:
        out: the folder.
        keep: how many of the newest stay, beside the best.
    """

    def __init__(self, out: Path, keep: int) -> None:
        self.out, self._keep = Path(out), keep

    def steps(self) -> list[int]:
        """Steps of the complete checkpoints, ascending."""
        if not self.out.is_dir():
            return []
        found = [_STEP.fullmatch(path.name) for path in self.out.iterdir() if (path / TRAINING).exists()]
        return sorted(int(match[1]) for match in found if match)

    def path(self, step: int) -> Path:
        """The folder of a step's checkpoint."""
        return self.out / f"step-{step:08d}"

    def resumable(self) -> Path | None:
        """The newest checkpoint from which the run can go on; None where there is none.

        Raises:
            BeingHError: There are checkpoints, and none can be gone on from.
        """
        steps = self.steps()
        for step in reversed(steps):
            if (self.path(step) / STATE).exists():
                return self.path(step)
        if steps:
            raise BeingHError(
                f"the run in this folder has saved models only ({self.path(steps[-1]).name}), so that it cannot go on",
                where=self.out,
                remedy="start from such a model in another folder: checkpoint=" + str(self.path(steps[-1])),
            )
        return None

    def save(self, step: int, write: Callable[[Path], None], told: Mapping[str, Any], best: bool = False) -> Path:
        """Writes a checkpoint, then links to it and removes those that are too many.

        Args:
            step: its number.
            write: fills a folder.
            told: what training.json says.
            best: whether it becomes the best one.

        Raises:
            BeingHError: The disk is full, or the folder cannot be written; older checkpoints stay as they are.
        """
        target = self.path(step)
        partial = target.with_name(target.name + _PARTIAL)
        try:
            self.out.mkdir(parents=True, exist_ok=True)
            for leftover in self.out.glob(f"step-*{_PARTIAL}"):
                shutil.rmtree(leftover)
            partial.mkdir()
            write(partial)
            (partial / TRAINING).write_text(json.dumps(told, indent=1) + "\n")
            _to_disk(partial)
            if target.exists():  # of a run that was taken back to an earlier step
                shutil.rmtree(target)
            partial.rename(target)
            self._link("last", target)
            if best:
                self._link("best", target)
            self._remove_old()
        except OSError as error:
            shutil.rmtree(partial, ignore_errors=True)
            raise BeingHError(
                f"the checkpoint of step {step} cannot be written: {error.strerror or error}", where=self.out,
                remedy="make room on the disk, or give another `out`; then start again: the run goes on from the one before",
            ) from None  # fmt: skip
        return target

    def _link(self, name: str, target: Path) -> None:
        """Points a link to a checkpoint, at once."""
        fresh = self.out / f".{name}.{os.getpid()}"
        fresh.unlink(missing_ok=True)
        fresh.symlink_to(target.name)
        fresh.replace(self.out / name)

    def _remove_old(self) -> None:
        best = (self.out / "best").resolve()
        for step in self.steps()[: -self._keep]:
            if self.path(step).resolve() != best:
                shutil.rmtree(self.path(step))


def read_state(directory: Path) -> dict[str, Any]:
    """What a run needs to go on; tensors are mapped, not read.

    Raises:
        BeingHError: The file cannot be read.
    """
    path = directory / STATE
    try:
        return torch.load(path, map_location="cpu", weights_only=True, mmap=True)
    except Exception as error:  # torch raises what it finds, from KeyError to RuntimeError
        raise BeingHError(
            f"cannot be read: {type(error).__name__}", where=path,
            remedy="remove this checkpoint's folder, to go on from the one before",
        ) from None  # fmt: skip


def told_of(directory: Path) -> dict[str, Any]:
    """training.json of a checkpoint."""
    return read_json(directory / TRAINING)


def is_checkpoint(directory: Path) -> bool:
    """Whether there is a model in a folder."""
    return (directory / CONFIG).exists()


def _to_disk(folder: Path) -> None:
    """Waits until the files of a folder are on the disk, so that a name never stands for half of them."""
    for path in folder.iterdir():
        with open(path, "rb") as file:
            os.fsync(file.fileno())
