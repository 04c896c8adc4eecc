"""A file of conversations as a dataset of a run: text loss on the answers, no actions."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np

from beingh_core.errors import BeingHError
from beingh_core.policy.prompt import PromptBuilder
from beingh_core.train.conversations import Conversation
from beingh_core.train.image_files import read_square
from beingh_core.train.lines import LineTable, scan_lines
from beingh_core.train.rows import held_out
from beingh_core.train.settings import DatasetSection

_READ_FOR_WORDS = 10_000  # conversations
_IDENTITY_ROWS = 1000


@dataclass(frozen=True, kw_only=True)
class TextSource:
    """One file of conversations, ready to be taught; see `sources.Source`, in whose place it stands.

    Attributes:
        title: its name.
        section: what the configuration says of it.
        table: its lines.
        tokens: (N,) length of each line's sample; () until `measured`.
        notes: what people should know of it.
    """

    title: str
    section: DatasetSection
    table: LineTable
    tokens: np.ndarray = field(default_factory=lambda: np.zeros(0, np.int64))
    notes: tuple[str, ...] = ()

    has_actions = False

    @property
    def counts(self) -> tuple[int, int]:
        """How many lines are usable and how many are not."""
        return self.table.count, sum(count for count, _ in self.table.bad.values())

    @property
    def first_bad(self) -> str:
        """A line that is left out, and why."""
        why, (_, first) = next(iter(self.table.bad.items()))
        return f"line {first}: {why}"

    def measured(self, prompts: PromptBuilder) -> TextSource:
        """The same with the lengths of its samples; a line that no prompt takes has length 0."""
        lengths, bad = self.table.lengths(prompts)
        return replace(self, tokens=lengths, notes=(*self.notes, *_notes(self.title, bad)))

    def is_held_out(self, share: float) -> np.ndarray:
        """(N,) which lines are never taught."""
        return held_out(self.table.count, share)

    def runs(self, chosen: np.ndarray, run_length: int) -> tuple[np.ndarray, np.ndarray]:
        """First row and number of rows of the runs of chosen lines: a line each, since neighbours have nothing in common."""
        firsts = np.flatnonzero(chosen)[:: self.section.every]
        return firsts, np.ones(len(firsts), np.int64)

    def lengths(self, rows: np.ndarray) -> np.ndarray:
        """(n,) tokens of rows."""
        return np.asarray(self.tokens[rows], np.int64)

    def wanted(self, rows: np.ndarray) -> np.ndarray:
        """(n,) of which rows (n,) something is to be taught: all."""
        return np.ones(len(rows), dtype=bool)

    def hours(self, _samples: int) -> float:
        """None: words have no duration."""
        return 0.0

    def identity(self) -> list[Any]:
        """What the order of its samples depends on, to know it again."""
        some = np.unique(np.linspace(0, self.table.count - 1, _IDENTITY_ROWS).astype(int))
        offsets = np.asarray(self.table.offsets)[some]
        return [self.title, self.table.count, offsets.tolist(), int(np.asarray(self.tokens, np.int64).sum())]

    def texts(self) -> Iterator[str]:
        """What is said, for a vocabulary."""
        for said in self.table.conversations(range(min(self.table.count, _READ_FOR_WORDS))):
            yield from (text for turn in said.turns for text in turn)

    def phrases(self) -> tuple[str, ...]:
        """What a vocabulary is to have whole: nothing."""
        return ()

    def sample(self, row: int, size: int) -> tuple[Conversation, list[np.ndarray]]:
        """What is said, and its pictures, (S, S, 3) uint8 each.

        Raises:
            BeingHError: A picture cannot be read, or the file has changed.
        """
        try:
            with open(self.table.path, "rb") as file:
                said = self.table.read(file, row)
        except OSError as error:
            raise BeingHError(f"its line cannot be read: {error.strerror}", where=self.table.path) from None
        return said, [read_square(self.table.images / name, size) for name in said.pictures]


def open_text(section: DatasetSection, cache: Path) -> TextSource:
    """Finds the conversations of a file.

    Raises:
        BeingHError: No such file or folder, or nothing in it that can be taught.
    """
    path = Path(section.path)
    table = scan_lines(path, Path(section.images) if section.images else path.parent, cache)
    return TextSource(title=section.title, section=section, table=table, notes=tuple(_notes(section.title, table.bad)))


def _notes(title: str, bad: dict[str, tuple[int, int]]) -> list[str]:
    several = lambda count, first: f"line {first} is" if count == 1 else f"{count} lines are"
    return [
        f"{title}: {several(count, first)} left out: {why}" + (f", first in line {first}" if count > 1 else "")
        for why, (count, first) in bad.items()
    ]
