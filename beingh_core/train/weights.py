"""How much each step of a chunk counts in the action loss.

A weight belongs to the action of a row, so that it multiplies this action's error in every chunk that holds it: a chunk that
begins under the policy and ends in a correction is taught the correction alone where the policy's weight is 0. A step
behind the episode's end has the weight of the last row. Weights are divided by their mean over everything of the dataset that
is taught: they share out what a dataset has, and the mixture decides between datasets. The mean is not that of a pack, which
would take back most of a weight where few runs of rows fill one.

Shape letters: N rows, H steps of a chunk.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from beingh_core.data.in_charge import UNKNOWN
from beingh_core.errors import BeingHError
from beingh_core.train.rows import RowTable
from beingh_core.train.weighing import GROUPS


@dataclass(frozen=True, kw_only=True)
class RowWeights:
    """How the weights of a table are used.

    Attributes:
        scale: what they are multiplied with, so that their mean over the steps of all taught chunks is 1.
        steps: H.
    """

    scale: float
    steps: int

    @classmethod
    def of(cls, table: RowTable, steps: int, where: object) -> RowWeights | None:
        """Of a table whose rows have weights; None where they have none.

        Raises:
            BeingHError: All are 0.
        """
        if table.weight is None:
            return None
        begins, ends = _bounds(table)
        sums = np.concatenate([[0.0], np.cumsum(table.weight, dtype=np.float64)])
        last = np.minimum(begins + steps, ends)
        beyond = (begins + steps - last) * np.asarray(table.weight, np.float64)[ends - 1]
        taught = _taught(table, begins, last)
        if not taught.any():
            raise BeingHError(
                "no row has a weight above 0", where=where, remedy="correct the weights, or leave the dataset out"
            )
        mean = float((sums[last] - sums[begins] + beyond)[taught].sum()) / (steps * int(taught.sum()))
        return cls(scale=1.0 / mean, steps=steps)

    def taught(self, table: RowTable) -> np.ndarray:
        """(N,) bool, rows whose chunk holds a step with a weight above 0; the others are never drawn."""
        begins, ends = _bounds(table)
        return _taught(table, begins, np.minimum(begins + self.steps, ends))

    def chunk(self, table: RowTable, row: int, end: int) -> np.ndarray:
        """(H,) float32 weights of the chunk that begins with a row of an episode that ends before row `end`."""
        rows = np.minimum(np.arange(row, row + self.steps), end - 1)
        return np.asarray(table.weight[rows[0] : rows[-1] + 1])[rows - row] * np.float32(self.scale)


def chunk_charge(table: RowTable, row: int, end: int, steps: int) -> np.ndarray:
    """(H,) who was in charge of the steps of a chunk; unknown where nobody says it."""
    if table.charge is None:
        return np.full(steps, GROUPS.index(UNKNOWN), np.uint8)
    return np.asarray(table.charge[np.minimum(np.arange(row, row + steps), end - 1)])


def describe(table: RowTable, weights: RowWeights | None) -> str:
    """Rows and weight by who was in charge, and what is never drawn, in a line; "" where there is nothing to tell."""
    parts = []
    if table.charge is not None:
        rows = np.bincount(table.charge, minlength=len(GROUPS))
        held = rows if weights is None else np.bincount(table.charge, weights=table.weight, minlength=len(GROUPS))
        told = [
            f"{who} {count / rows.sum():.0%} of the rows" + (f" and {of / held.sum():.0%} of the weight" if weights else "")
            for who, count, of in zip(GROUPS, rows, held) if count
        ]  # fmt: skip
        parts.append("in charge: " + ", ".join(told))
    if weights is not None and (never := int((~weights.taught(table)).sum())):
        parts.append(f"{never} rows are never drawn, since their chunks have weight 0")
    return "; ".join(parts)


def _bounds(table: RowTable) -> tuple[np.ndarray, np.ndarray]:
    """(N,) numbers of the rows, and of the end of each row's episode."""
    counts = np.diff(table.starts)
    return np.arange(table.starts[-1]), np.repeat(table.starts[1:], counts)


def _taught(table: RowTable, begins: np.ndarray, ends: np.ndarray) -> np.ndarray:
    """Whether any row from a begin to before its end has a weight."""
    weighed = np.concatenate([[0], np.cumsum(np.asarray(table.weight) > 0)])
    return weighed[ends] > weighed[begins]
