"""What a run tells: a line on the terminal, a line of JSON, points of curves for trackers."""

from __future__ import annotations

import contextlib
import json
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from beingh_core.errors import BeingHError
from beingh_core.train.trackers import Trackers


class Progress:
    """Counts and tells; on the rank that prints.

    Args:
        out: folder of the run.
        steps: of the run.
        trackers: where curves go.
        quiet: counts only, as on the other ranks.
    """

    def __init__(self, out: Path, steps: int, trackers: Trackers | None = None, quiet: bool = False) -> None:
        self._out, self._steps, self._quiet, self._trackers = out, steps, quiet, trackers
        self._begin, self._step = time.monotonic(), 0

    def start(self, step: int) -> None:
        """From this step on, time is counted anew."""
        self._begin, self._step = time.monotonic(), step

    def tell(
        self, step: int, values: Mapping[str, float], samples: float, tokens: float, more: Mapping[str, float]
    ) -> None:
        """A line about the steps since the last one.

        Args:
            step: steps done.
            values: name -> mean since the last line.
            samples, tokens: taught since then, on all ranks.
            more: further figures of this step, for the curves alone.
        """
        seconds = max(1e-9, time.monotonic() - self._begin)
        left_s = seconds / max(1, step - self._step) * (self._steps - step)
        rates = {"samples_per_s": samples / seconds, "tokens_per_s": tokens / seconds}
        self.start(step)
        shown = "  ".join(f"{name.replace('_', ' ')} {value:.4g}" for name, value in values.items())
        self.say(
            f"step {step}/{self._steps}  {shown}  {rates['samples_per_s']:.1f} samples/s  "
            f"{rates['tokens_per_s']:.0f} tokens/s  {duration(left_s)} left"
        )
        self.record("train", step, {**values, **more, **rates, "seconds_left": left_s})

    def record(self, kind: str, step: int, values: Mapping[str, Any]) -> None:
        """A line of log.jsonl, and points of curves.

        Raises:
            BeingHError: The folder of the run cannot be written.
        """
        if self._quiet:
            return
        with self._writing("log.jsonl"):
            self._out.mkdir(parents=True, exist_ok=True)
            with open(self._out / "log.jsonl", "a", encoding="utf-8") as file:
                file.write(json.dumps({"kind": kind, "step": step, **values}) + "\n")
        if self._trackers is not None:
            self._trackers.write(kind, values, step)

    @contextlib.contextmanager
    def _writing(self, name: str) -> Iterator[None]:
        """Tells what the disk refuses in one error."""
        try:
            yield
        except OSError as error:
            raise BeingHError(
                f"{name} cannot be written: {error.strerror or error}", where=self._out,
                remedy="make room on the disk, or give another `out`; a run goes on from its last checkpoint",
            ) from None  # fmt: skip

    def say(self, text: str) -> None:
        """A line on the terminal; an empty one is none."""
        if text and not self._quiet:
            print(text, flush=True)

    def close(self) -> None:
        """Writes what is left of the curves."""
        if self._trackers is not None:
            self._trackers.close()


def duration(seconds: float) -> str:
    """As people say it: 45 s, 12 min, 3 h 20 min, 2 d 5 h."""
    minutes = round(seconds / 60)
    if seconds < 90:
        return f"{seconds:.0f} s"
    if minutes < 90:
        return f"{minutes} min"
    hours, minutes = divmod(minutes, 60)
    return f"{hours} h {minutes} min" if hours < 48 else f"{hours // 24} d {hours % 24} h"
