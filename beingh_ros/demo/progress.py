"""What `make demo` prints: a live table on a terminal, plain lines anywhere else."""

from __future__ import annotations

import sys

from rich.console import Console
from rich.live import Live
from rich.table import Table

from beingh_core.evaluate.episodes import EpisodeResult

REFRESH_PER_S = 4


class PlainProgress:
    """One line for each thing that happens."""

    def __enter__(self) -> PlainProgress:
        return self

    def __exit__(self, *_exc) -> None:
        pass

    def state(self, text: str) -> None:
        """What is being done now."""
        print(text, flush=True)

    def running(self, index: int, instruction: str, time_s: float, detail: str) -> None:
        """A running episode; called often."""

    def finished(self, result: EpisodeResult) -> None:
        """An episode is over."""
        note = f" ({result.note})" if result.note else ""
        print(
            f"episode {result.index + 1}: {result.instruction}: {result.outcome}, {result.time_s:.1f} s{note}",
            flush=True,
        )


class LiveProgress(PlainProgress):
    """A table that is redrawn in place.

    Args:
        episodes: Number of episodes of the run.
    """

    def __init__(self, episodes: int) -> None:
        self._episodes = episodes
        self._results: list[EpisodeResult] = []
        self._state, self._now = "", None
        self._live = Live(console=Console(), refresh_per_second=REFRESH_PER_S, get_renderable=self._table)

    def __enter__(self) -> LiveProgress:
        self._live.start()
        return self

    def __exit__(self, *_exc) -> None:
        self._state, self._now = "", None
        self._live.stop()

    def state(self, text: str) -> None:
        """What is being done now."""
        self._state, self._now = text, None

    def running(self, index: int, instruction: str, time_s: float, detail: str) -> None:
        """A running episode; called often."""
        self._now = (f"{index + 1}/{self._episodes}", instruction, f"{time_s:5.1f} s", detail)

    def finished(self, result: EpisodeResult) -> None:
        """An episode is over."""
        self._now = None
        self._results.append(result)

    def _table(self) -> Table:
        table = Table(title=self._state or None, title_justify="left", box=None, pad_edge=False)
        for name, justify in (
            ("episode", "left"),
            ("instruction", "left"),
            ("robot time", "right"),
            ("result", "left"),
        ):
            table.add_column(name, justify=justify, style="dim" if name == "episode" else None)
        for result in self._results:
            colour = "green" if result.success else "red"
            note = f" [dim]{result.note}[/dim]" if result.note else ""
            table.add_row(
                f"{result.index + 1}/{self._episodes}",
                result.instruction,
                f"{result.time_s:5.1f} s",
                f"[{colour}]{result.outcome}[/{colour}]{note}",
            )
        if self._now is not None:
            table.add_row(*self._now)
        return table


def make_progress(episodes: int) -> PlainProgress:
    """The kind that fits standard output."""
    return LiveProgress(episodes) if sys.stdout.isatty() else PlainProgress()
