"""Where a run's curves go beside log.jsonl: TensorBoard, trackio, Weights & Biases. None of them ever ends a run that has begun."""

from __future__ import annotations

import importlib
import importlib.util
import uuid
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Protocol

from beingh_core.errors import BeingHError
from beingh_core.train.settings import LogSection

TENSORBOARD = "tensorboard"
RUN_ID = "tracked_run"  # file of `out`: under which name trackers know the run, so that it goes on as the same
_OFFLINE = {
    "wandb": "run `wandb login`, or set WANDB_MODE=offline and send the run later with `wandb sync`",
    "trackio": "unset TRACKIO_SPACE_ID and TRACKIO_SERVER_URL, so that it writes on this machine",
}


class _Writer(Protocol):
    def write(self, values: Mapping[str, float], step: int) -> None:
        """Points of curves."""

    def close(self) -> None:
        """What is left is written."""


class _TensorBoard:
    def __init__(self, folder: Path) -> None:
        from torch.utils.tensorboard import SummaryWriter

        self._writer = SummaryWriter(str(folder))

    def write(self, values: Mapping[str, float], step: int) -> None:
        for name, value in values.items():
            self._writer.add_scalar(name, value, step)

    def close(self) -> None:
        self._writer.close()


class _Module:
    """trackio or wandb, whose `init`, `log` and `finish` are the same but for some options of `init`."""

    def __init__(self, name: str, out: Path, project: str, config: Mapping[str, Any]) -> None:
        self._module = importlib.import_module(name)
        run = _run_id(out)
        own = {"id": run, "dir": str(out)} if name == "wandb" else {}
        title = f"{out.resolve().name}-{run}"
        self._module.init(project=project, name=title, config=dict(config), resume="allow", **own)

    def write(self, values: Mapping[str, float], step: int) -> None:
        self._module.log(dict(values), step=step)

    def close(self) -> None:
        self._module.finish()


class Trackers:
    """The open ones, on the rank that prints; one that fails is told once and left out from then on.

    Args:
        log: which.
        out: folder of the run.
        config: of the run, which trackers show.
        say: is told of failures.

    Raises:
        BeingHError: One that is asked for by name is not installed, or does not start.
    """

    def __init__(
        self, log: LogSection, out: Path, config: Mapping[str, Any], say: Callable[[str], None] = print
    ) -> None:
        check_installed(log)
        self._say, self._open = say, {}
        if log.tensorboard and importlib.util.find_spec(TENSORBOARD):
            self._open[TENSORBOARD] = _TensorBoard(out / TENSORBOARD)
        for name in log.to:
            try:
                self._open[name] = _Module(name, out, log.project, config)
            except Exception as error:  # whatever it raises; the run has not begun
                self.close()
                raise BeingHError(
                    f"{name} does not start: {type(error).__name__}: {_first_line(error)}",
                    where="log.to", remedy=f"{_OFFLINE[name]}; or leave it out",
                ) from None  # fmt: skip

    def write(self, kind: str, values: Mapping[str, Any], step: int) -> None:
        """Points of curves; what is no number is left out."""
        numbers = {
            f"{kind}/{name}": value for name, value in values.items()
            if isinstance(value, (int, float)) and not isinstance(value, bool)
        }  # fmt: skip
        for name in list(self._open):
            self._try(name, lambda tracker: tracker.write(numbers, step), f"at step {step}")

    def close(self) -> None:
        """Writes what is left."""
        for name in list(self._open):
            self._try(name, lambda tracker: tracker.close(), "while it was closed")
            self._open.pop(name, None)

    def _try(self, name: str, do: Callable[[_Writer], None], when: str) -> None:
        try:
            do(self._open[name])
        except Exception as error:  # a disk that is full, a server that is gone: training goes on
            self._open.pop(name)
            told = f"{type(error).__name__}: {_first_line(error)}"
            self._say(f"note: {name} failed {when} ({told}); the run goes on without it, log.jsonl has everything")


def check_installed(log: LogSection) -> None:
    """Refuses trackers that are not there, without loading them.

    Raises:
        BeingHError: One that is asked for is not installed.
    """
    for name in log.to:
        if importlib.util.find_spec(name) is None:
            raise BeingHError(
                f"asks for {name}, which is not installed", where="log.to",
                remedy=f"pip install {name}, or leave it out",
            )  # fmt: skip


def _run_id(out: Path) -> str:
    path = out / RUN_ID
    if not path.exists():
        out.mkdir(parents=True, exist_ok=True)
        path.write_text(uuid.uuid4().hex[:8] + "\n")
    return path.read_text().strip()


def _first_line(error: Exception) -> str:
    return (str(error).splitlines() or [""])[0][:200]
