"""The policy's copy of the controller's command log, from which it takes the locked prefix of a chunk."""

from __future__ import annotations

import numpy as np


class PrefixLog:
    """What was and will be sent, as far as the published buffers tell.

    One thread at a time (the caller holds its lock). One epoch: `clear` it when the epoch changes.

    Args:
        commit_margin: ticks of a publication, from its first on, that cannot change any more.
        depth: sent ticks to remember.
    """

    def __init__(self, *, commit_margin: int, depth: int = 200) -> None:
        self._margin, self._depth = commit_margin, depth
        self.clear()

    def clear(self) -> None:
        """Forgets everything: a new epoch begins."""
        self._rows: dict[int, np.ndarray] = {}
        self._first: int | None = None  # first tick of the newest publication
        self._accepted: int | None = None
        self._contained_from = 0

    @property
    def first_tick(self) -> int | None:
        """First tick of the newest publication: the next one to be sent when it was made."""
        return self._first

    def update(self, first_tick: int, positions: np.ndarray) -> None:
        """Takes one publication of `controller/buffer`.

        Ticks before `first_tick` have been sent and keep the value they were last published with. Where
        that was too early to be certain (publications were lost), they are kept only if what follows shows
        that the plan was not changed meanwhile, and are forgotten otherwise. Publications that come out of
        order are ignored.

        Args:
            first_tick: the next tick to be sent.
            positions: (M, J) commands from that tick on.
        """
        if self._first is not None and first_tick < self._first:
            return
        fresh = {first_tick + i: np.array(row, dtype=np.float64) for i, row in enumerate(positions)}
        if self._first is not None and first_tick > self._first + self._margin:
            unchanged = all(np.array_equal(fresh[t], row) for t, row in self._rows.items() if t in fresh)
            if not unchanged:
                uncertain = range(self._first + self._margin, first_tick)
                self._rows = {tick: row for tick, row in self._rows.items() if tick not in uncertain}
        oldest = first_tick - self._depth
        sent = {tick: row for tick, row in self._rows.items() if oldest <= tick < first_tick}
        self._rows = {**sent, **fresh}
        self._first = first_tick

    def positions(self, from_tick: int, to_tick: int) -> np.ndarray | None:
        """Commands (to_tick - from_tick, J) of ticks from_tick..to_tick-1; None if one is not known."""
        ticks = range(from_tick, to_tick)
        if not ticks or any(tick not in self._rows for tick in ticks):
            return None
        return np.array([self._rows[tick] for tick in ticks])

    def accept(self, base_tick: int, next_tick: int = 0) -> None:
        """Notes `controller/accepted`: the chunk with base tick n0, the newest merged one, is merged.

        The second publication after the newest received holds it: one may have been under way during the merge. A process
        that is held up finds more of them in its queue, since messages of two topics come in any order; those are
        told by the time.

        Args:
            base_tick: n0.
            next_tick: the first tick whose time has not come; publications from a later one on are made after this call.
        """
        if self._accepted is not None and base_tick <= self._accepted:
            return
        self._accepted = base_tick
        newest = -1 if self._first is None else self._first
        self._contained_from = max(newest + 2, next_tick + 1)

    def contains(self, base_tick: int) -> bool:
        """Whether the log shows the chunk with this base tick (or a newer one) merged."""
        if self._accepted is None or self._first is None or base_tick > self._accepted:
            return False
        return base_tick < self._accepted or self._first >= self._contained_from
