"""A policy as a way of joining chunks asks it: with the prefix, without it, or steered towards the chunk before."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from beingh_core.suite.joining import Joining


class Answers:
    """What a `ChunkMaker` takes for a policy. One thread.

    Args:
        policy: A `BeingHPolicy`.
        joining: The way.
    """

    def __init__(self, policy, joining: Joining) -> None:
        self._policy, self._joining = policy, joining
        self.transform, self.data_config = policy.transform, policy.data_config

    @property
    def last_timing_ms(self) -> dict[str, float]:
        """Of the newest chunk."""
        return self._policy.last_timing_ms

    def begin(self, observations: Sequence):
        """See `BeingHPolicy.begin`."""
        return self._policy.begin(observations)

    def encode_prefix(self, actions) -> np.ndarray:
        """See `BeingHPolicy.encode_prefix`."""
        return self._policy.encode_prefix(actions)

    def finish(self, begun, prefixes: Sequence[tuple[np.ndarray, int]]) -> list[dict[str, np.ndarray]]:
        """See `BeingHPolicy.finish`."""
        # A checkpoint that was taught no prefix would warn in every episode that it leaves it out.
        shown = self._joining.shown and self._policy.trained_delay
        return self._policy.finish(begun, prefixes if shown else [(None, 0)] * len(prefixes))
