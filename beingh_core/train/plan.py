"""Which rows stand in which pack: one plan for all ranks and workers, that can be continued exactly.

The packs of a run are numbered through. Their content depends on the datasets, the settings and the seed alone, not on how
many ranks there are: rank r of R takes the packs r, R + r, 2 R + r, ... So nothing is lost or taught twice when a run
goes on with another number of ranks, and one rank that accumulates R packs does what R ranks do.

Every dataset is cut into runs of neighbouring rows (conversations into single lines), which are shuffled anew each time that all were drawn. The next run
comes from the dataset that is furthest behind its weight.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from beingh_core.errors import BeingHError
from beingh_core.train.settings import DataSection, PackingSection
from beingh_core.train.sources import AnySource

TRAIN, HELD_OUT = "train", "held-out"


@dataclass(frozen=True, kw_only=True)
class Pack:
    """One packed sequence: its number, and (source, row of its table) of each row that is taught."""

    number: int
    samples: tuple[tuple[int, int], ...]


class Stock:
    """The rows of one dataset that may be drawn, in runs.

    Args:
        source: Measured.
        run_length: rows of a run.
        longest: most tokens of a sample.
        held_out: share of its episodes that are held out.
        part: `TRAIN` or `HELD_OUT`.

    Attributes:
        firsts, counts: first row and number of samples of each run.
        samples: of all runs; a row that is taught counts as one, with all its branches.
        left_out: samples that are too long, without a prompt or without anything to teach.
    """

    def __init__(self, source: AnySource, run_length: int, longest: int, held_out: float, part: str) -> None:
        self.source, self.step, self._longest = source, source.section.every, longest
        held = source.is_held_out(held_out)
        self.firsts, self.counts = source.runs(held if part == HELD_OUT else ~held, run_length)
        within = np.arange(self.counts.sum()) - np.repeat(np.cumsum(self.counts) - self.counts, self.counts)
        rows = np.repeat(self.firsts, self.counts) + self.step * within
        lengths = self._lengths(rows)
        self.samples, self.tokens = int((lengths > 0).sum()), int(lengths.sum())
        self.left_out = int(source.wanted(rows).sum()) - self.samples

    def run(self, number: int) -> list[tuple[int, int]]:
        """(row, tokens) of each sample of a run."""
        rows = self.firsts[number] + self.step * np.arange(self.counts[number])
        return [(int(row), int(length)) for row, length in zip(rows, self._lengths(rows)) if length]

    def _lengths(self, rows: np.ndarray) -> np.ndarray:
        """Tokens of rows; 0 of those that are left out."""
        lengths = self.source.lengths(rows)
        return np.where(lengths <= self._longest, lengths, 0)

    def amount(self, measure: str, samples: int, tokens: int) -> float:
        """Samples, hours or tokens, of so many samples and tokens of this dataset."""
        if measure == "tokens":
            return float(tokens)
        return self.source.hours(samples) if measure == "hours" else float(samples)


class Plan:
    """The packs of a run, one after another.

    Args:
        sources: Measured.
        data: mixture, runs, held-out share.
        packing: budget and buffer.
        seed: of all order.
        part: `TRAIN` or `HELD_OUT`.

    Raises:
        BeingHError: No dataset has a row for this part.
    """

    def __init__(
        self, sources: Sequence[AnySource], data: DataSection, packing: PackingSection, seed: int, part: str = TRAIN
    ) -> None:
        longest = min(packing.max_tokens_per_sample, packing.max_tokens)
        self.stocks = [Stock(source, data.run_length, longest, data.held_out, part) for source in sources]
        empty = [stock.source.title for stock in self.stocks if not stock.samples]
        if empty and (part == TRAIN or len(empty) == len(self.stocks)):
            stock = next(stock for stock in self.stocks if not stock.samples)
            if not stock.left_out and part == HELD_OUT:
                raise BeingHError(
                    f"`{empty[0]}` has no episode to hold out",
                    remedy="evaluate on more episodes than one, or leave evaluate.every and data.held_out at 0",
                )
            raise BeingHError(
                f"`{empty[0]}` has no sample for {part} of at most {longest} tokens",
                remedy="raise packing.max_tokens_per_sample, lower data.held_out, or leave the dataset out",
            )
        self._packing, self._seed, self._measure = packing, seed, data.measure
        self.shares = _shares(self.stocks, data)
        self._identity = _identity(self.stocks, data, packing, seed, part)
        self._orders: list[tuple[int, np.ndarray] | None] = [None] * len(self.stocks)
        self._rounds, self._places = [0] * len(self.stocks), [0] * len(self.stocks)
        self._drawn = [[0, 0] for _ in self.stocks]  # samples, tokens
        self._pending: list[tuple[int, int, int]] = []  # source, row, tokens
        self.packs = 0

    def next(self) -> Pack:
        """The next pack: the oldest waiting samples, as long as they fit."""
        while len(self._pending) < self._packing.buffer:
            self._draw()
        chosen, rest, total = [], [], 0
        for sample in self._pending:
            if total < self._packing.expected_tokens and total + sample[2] <= self._packing.max_tokens:
                chosen.append(sample[:2])
                total += sample[2]
            else:
                rest.append(sample)
        self._pending = rest
        self.packs += 1
        return Pack(number=self.packs - 1, samples=tuple(chosen))

    def state(self) -> dict[str, Any]:
        """Where it stands; plain numbers and lists."""
        return {
            "identity": self._identity, "packs": self.packs, "rounds": list(self._rounds), "places": list(self._places),
            "drawn": [list(pair) for pair in self._drawn], "pending": [list(sample) for sample in self._pending],
        }  # fmt: skip

    def go_on(self, state: dict[str, Any]) -> None:
        """Continue where another plan of the same datasets and settings stood.

        Raises:
            BeingHError: It was a plan of others.
        """
        if state["identity"] != self._identity:
            raise BeingHError(
                "the datasets, their mixture, the packing or training.seed are no longer those of the run that is to go on",
                remedy="put them back (with the same settings, the files of a dataset have changed), or start another run: another `out`",
            )
        self.packs, self._rounds, self._places = state["packs"], list(state["rounds"]), list(state["places"])
        self._drawn = [list(pair) for pair in state["drawn"]]
        self._pending = [tuple(sample) for sample in state["pending"]]

    def account(self) -> list[dict[str, Any]]:
        """What went into packs of each dataset so far, against what its weight asks for."""
        packed = [list(pair) for pair in self._drawn]
        for which, _, tokens in self._pending:
            packed[which] = [packed[which][0] - 1, packed[which][1] - tokens]
        amounts = [s.amount(self._measure, *drawn) for s, drawn in zip(self.stocks, packed)]
        total = sum(amounts) or 1.0
        return [
            {
                "dataset": stock.source.title, "samples": drawn[0], "tokens": drawn[1],
                "hours": round(stock.amount("hours", *drawn), 4), "times": round(drawn[0] / max(1, stock.samples), 3),
                "wanted": round(share, 4), "share": round(amount / total, 4), "measure": self._measure,
                "left_out": stock.left_out,
            }
            for stock, drawn, amount, share in zip(self.stocks, packed, amounts, self.shares)
        ]  # fmt: skip

    def _draw(self) -> None:
        """Puts the next run among the waiting samples."""
        amounts = [s.amount(self._measure, *drawn) for s, drawn in zip(self.stocks, self._drawn)]
        total = sum(amounts)
        behind = [(share * total - amount) / share if share else -np.inf for share, amount in zip(self.shares, amounts)]
        which = int(np.argmax(behind))
        stock = self.stocks[which]
        order = self._order(which)
        for row, tokens in stock.run(int(order[self._places[which]])):
            self._pending.append((which, row, tokens))
            self._drawn[which][0] += 1
            self._drawn[which][1] += tokens
        self._places[which] += 1
        if self._places[which] == len(order):
            self._rounds[which], self._places[which] = self._rounds[which] + 1, 0

    def _order(self, which: int) -> np.ndarray:
        """The runs of a dataset in the order of its present round."""
        known = self._orders[which]
        if known is None or known[0] != self._rounds[which]:
            rng = np.random.default_rng([self._seed, which, self._rounds[which]])
            known = self._rounds[which], rng.permutation(len(self.stocks[which].firsts))
            self._orders[which] = known
        return known[1]


def _shares(stocks: Sequence[Stock], data: DataSection) -> list[float]:
    """Share of each dataset in the mixture: of its group by weight, of the groups by weight; else by what it holds."""
    holds = [stock.amount(data.measure, stock.samples, stock.tokens) for stock in stocks]
    # What holds nothing of this part is not drawn from, whatever its weight.
    weights = [(stock.source.section.weight or held) if held else 0.0 for stock, held in zip(stocks, holds)]
    groups: dict[str, list[int]] = {}
    for place, stock in enumerate(stocks):
        groups.setdefault(stock.source.section.group, []).append(place)
    of_group = {
        name: data.group_weights.get(name, held)
        for name, places in groups.items()
        if (held := sum(holds[place] for place in places))
    }
    every, shares = sum(of_group.values()), [0.0] * len(stocks)
    for name in of_group:
        places = groups[name]
        within = sum(weights[place] for place in places)
        for place in places:
            shares[place] = of_group[name] / every * weights[place] / within if within else 0.0
    return shares


def _identity(stocks: Sequence[Stock], data: DataSection, packing: PackingSection, seed: int, part: str) -> str:
    """What the order of packs depends on, in 16 letters."""
    told: list[Any] = [seed, part, data.measure, data.run_length, data.held_out, packing.model_dump()]
    told += [stock.source.identity() for stock in stocks]
    told.append(_shares(stocks, data))
    return hashlib.sha256(json.dumps(told).encode()).hexdigest()[:16]
