"""Samples of a run that cannot be made: told by name, counted, and too many end it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable

from beingh_core.errors import BeingHError
from beingh_core.train.ranks import Ranks

_LEAST = 100
"""Samples from which on a share says something in the middle of a run."""
_TOLD = 3
"""Reasons of one dataset that are told; each names its episode or line, and there may be many."""


class Lost:
    """Counts samples that were made and those that could not be.

    Args:
        most: Share of all that may be lost (`data.most_bad`).
        say: Is told of the first ones of each dataset.
        counted, made: Of the part of the run that went before; of all ranks, so one of them begins with it.

    Attributes:
        counted: (dataset, why) -> lost samples.
        made: Samples that were made.
    """

    def __init__(
        self, most: float, say: Callable[[str], None], counted: Iterable[tuple[str, str, int]] = (), made: int = 0
    ) -> None:
        self._most, self._say, self._told = most, say, set()
        self.counted = Counter({(title, why): count for title, why, count in counted})
        self.made = made

    def add(self, lost: Counter, made: int) -> None:
        """What became of the samples of some packs."""
        self.tell(lost)
        self.counted += lost
        self.made += made

    def tell(self, lost: Iterable[tuple[str, str]]) -> None:
        """Says why samples are lost, once each, and the first few of each dataset."""
        for title, why in sorted(set(lost) - self._told):
            self._told.add((title, why))
            count = sum(name == title for name, _ in self._told)
            if count <= _TOLD:
                more = "; further ones are counted" if count == _TOLD else ""
                self._say(f"note: `{title}` has a sample that cannot be made: {why}{more}")

    def check(self) -> None:
        """Ends a run in which too many samples are lost, as soon as there are enough to say so.

        Raises:
            BeingHError: Too many are.
        """
        if self.counted.total() + self.made >= _LEAST:
            refuse(self.counted, self.made, self._most)

    def check_all(self, ranks: Ranks, at_end: bool) -> tuple[Counter, int]:
        """What all ranks have lost, and how many samples they have made; they ask together.

        Args:
            ranks: Who works together.
            at_end: Whether nothing comes any more, so that few samples say as much as there will be said.

        Raises:
            BeingHError: Too many are lost, or not one was made.
        """
        lost = ranks.together(self.counted)
        made = int(ranks.sums([self.made])[0])
        self.tell(lost)
        if at_end or not made:
            refuse(lost, made, self._most)
        return lost, made


def of_dataset(lost: Counter, title: str) -> int:
    """Lost samples of a dataset."""
    return sum(count for (name, _), count in lost.items() if name == title)


def refuse(lost: Counter, made: int, most: float) -> None:
    """Raises where more than the share `most` is lost.

    Raises:
        BeingHError: With the commonest reason.
    """
    if lost.total() <= most * (lost.total() + made):
        return
    [((title, why), count), *_] = lost.most_common(1)
    raise BeingHError(
        f"{lost.total()} of {lost.total() + made} samples cannot be made, {count} of them of `{title}`: {why}",
        allowed=f"a share of {most:g} (data.most_bad)",
        remedy="mend the dataset (`beingh doctor` finds what is broken, `beingh dataset repair`), or leave out its bad "
        "`episodes` or lines",
    )
