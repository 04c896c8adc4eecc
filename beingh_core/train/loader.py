"""Packs for one rank, made in worker processes, in the order of the plan."""

from __future__ import annotations

import signal
from collections.abc import Callable, Iterator
from typing import Any

import torch
from torch.utils.data import DataLoader, IterableDataset, get_worker_info

from beingh_core.train.plan import Plan
from beingh_core.train.samples import Made, SampleMaker


class _Packs(IterableDataset):
    """Every worker follows the plan and makes its share of the rank's packs: w of W takes every W-th, from the w-th on."""

    def __init__(
        self,
        plan: Callable[[], Plan],
        maker: Callable[[], SampleMaker],
        state: dict[str, Any] | None,
        rank: int,
        ranks: int,
        most: int | None,
    ) -> None:
        self._plan, self._maker, self._state = plan, maker, state
        self._rank, self._ranks, self._most = rank, ranks, most

    def __iter__(self) -> Iterator[Made]:
        worker = get_worker_info()
        mine, workers = (worker.id, worker.num_workers) if worker else (0, 1)
        plan, maker = self._plan(), self._maker()
        if self._state is not None:
            plan.go_on(self._state)
        first, turn = plan.packs, 0
        while self._most is None or plan.packs - first < self._most:
            pack = plan.next()
            if (pack.number - first) % self._ranks == self._rank:
                if turn % workers == mine:
                    yield maker.make(pack)
                turn += 1


def load_packs(
    plan: Callable[[], Plan],
    maker: Callable[[], SampleMaker],
    *,
    state: dict[str, Any] | None = None,
    rank: int = 0,
    ranks: int = 1,
    workers: int = 0,
    prefetch: int = 2,
    most: int | None = None,
) -> Iterator[Made]:
    """The packs of one rank.

    Args:
        plan, maker: make a plan and a maker, in each worker.
        state: of a plan, to go on from; its number of packs must have been done by all ranks.
        rank, ranks: which packs.
        workers: processes; 0 makes packs here.
        prefetch: packs that each worker makes ahead.
        most: packs of all ranks together; None for no end.
    """
    packs = _Packs(plan, maker, state, rank, ranks, most)
    if not workers:
        return iter(packs)
    return iter(DataLoader(
        packs, batch_size=None, num_workers=workers, prefetch_factor=prefetch, pin_memory=False,
        worker_init_fn=_start_worker,
    ))  # fmt: skip


def _start_worker(_worker: int) -> None:
    """One thread each; who is told to stop is the rank, which ends its workers when it has saved."""
    torch.set_num_threads(1)
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    signal.signal(signal.SIGINT, signal.SIG_IGN)
