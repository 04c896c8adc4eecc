"""Samples of a run that cannot be made: told by name, counted, and too many end it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable

from beingh_core.errors import BeingHError
from beingh_core.train.ranks import Ranks

_LEAST = 100
"""Samples from which on a share says something in the middle of a run."""


class Lost:
    """Counts samples that were made and those that could not be.

    Args:
        most: Share of all that may be lost (`data.most_bad`).
        say: Is told of the first one of each dataset and reason.
        counted: Of the part of the run that went before.

    Attributes:
        counted: (dataset, why) -> lost samples.
        made: Samples that were made.
    """

    def __init__(self, most: float, say: Callable[[str], None], counted: Iterable[tuple[str, str, int]] = ()) -> None:
        self._most, self._say = most, say
        self.counted = Counter({(title, why): count for title, why, count in counted})
        self.made = 0

    def add(self, lost: Counter, made: int) -> None:
        """What became of the samples of some packs."""
        for title, why in lost.keys() - self.counted.keys():
            self._say(f"note: `{title}` has a sample that cannot be made: {why}")
        self.counted += lost
        self.made += made

    def of(self, title: str) -> int:
        """Lost samples of a dataset."""
        return sum(count for (name, _), count in self.counted.items() if name == title)

    def check(self) -> None:
        """Ends a run in which too many samples are lost, as soon as there are enough to say so.

        Raises:
            BeingHError: Too many are.
        """
        if self.counted.total() + self.made >= _LEAST:
            refuse(self.counted, self.made, self._most)

    def check_all(self, ranks: Ranks, at_end: bool) -> Counter:
        """What all ranks have lost; they ask together.

        Args:
            ranks: Who works together.
            at_end: Whether nothing comes any more, so that few samples say as much as there will be said.

        Raises:
            BeingHError: Too many are lost, or not one was made.
        """
        lost = ranks.together(self.counted)
        [made] = ranks.sums([self.made])
        if at_end or not made:
            refuse(lost, int(made), self._most)
        return lost


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
