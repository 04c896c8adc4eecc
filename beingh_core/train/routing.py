"""Which experts the action tokens of each embodiment go to, counted between two lines of a run."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from torch import Tensor

from beingh_core.model.config import MofConfig
from beingh_core.train.ranks import Ranks


class Routing:
    """Counts of choices. All ranks count, and take together.

    Args:
        mof: The model's experts; None for a dense model, of which nothing is told.
        layers: Of the decoder.
        embodiments: Name of each dataset's embodiment.
        ranks: Who counts.
    """

    def __init__(self, mof: MofConfig | None, layers: int, embodiments: Sequence[str], ranks: Ranks) -> None:
        self._mof, self._ranks, self._of = mof, ranks, list(embodiments)
        self._names = sorted(set(embodiments))
        self._first = 0 if mof is None else mof.shared_layers
        self._counts = np.zeros(
            (len(self._names), 0 if mof is None else layers - self._first, mof.experts if mof else 0)
        )

    def add(self, chosen: Tensor | None, sources: Sequence[int]) -> None:
        """A pack: (layers, B, E) as `mof.routing` says, and the dataset of each of its chunks."""
        if chosen is None:
            return
        counts = chosen.cpu().numpy()
        for place, source in enumerate(sources):
            self._counts[self._names.index(self._of[source])] += counts[:, place]

    def take(self) -> tuple[dict[str, float], dict[str, float]]:
        """What was counted since the last time.

        Returns:
            `least_used`: an expert's share of the tokens of its layer, all embodiments together, where it is least, times E: 1 at
            even load; {} where nothing was counted. Then the share of each expert for each embodiment, by
            `<embodiment>/layer<l>/expert<e>`.
        """
        if self._mof is None:
            return {}, {}
        summed = np.reshape(self._ranks.sums(self._counts.ravel().tolist()), self._counts.shape)
        self._counts[:] = 0.0
        if not summed.any():
            return {}, {}
        every = summed.sum(0)
        least = float((every / every.sum(-1, keepdims=True)).min()) * self._mof.experts
        shares = {
            f"{name}/layer{self._first + layer}/expert{expert}": round(float(count / counts.sum()), 4)
            for name, of_layers in zip(self._names, summed)
            for layer, counts in enumerate(of_layers) if counts.any()
            for expert, count in enumerate(counts)
        }  # fmt: skip
        return {"least_used": least}, shares
