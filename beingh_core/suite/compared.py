"""How far two ways of computing a chunk are apart, from the same observations and noise."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch


class Compared:
    """A policy that computes every chunk with `project_inactive` turned round as well. For one episode; one thread.

    Args:
        policy: A `BeingHPolicy`, whose chunks are what it answers.
    """

    def __init__(self, policy) -> None:
        self._policy = policy
        self._squares: list[float] = []

    def __getattr__(self, name: str):
        return getattr(self._policy, name)

    @property
    def difference(self) -> float:
        """Root mean square over the chunks so far of the robot's slots, in normalised units (-1 to 1)."""
        return float(np.sqrt(np.mean(self._squares))) if self._squares else 0.0

    def finish(self, begun, prefixes: Sequence) -> list[dict[str, np.ndarray]]:
        """See `BeingHPolicy.finish`."""
        policy, before = self._policy, torch.get_rng_state()
        own = policy.finish(begun, prefixes)
        after = torch.get_rng_state()
        torch.set_rng_state(before)
        policy.project_inactive = not policy.project_inactive
        try:
            other = policy.finish(begun, prefixes)
        finally:
            policy.project_inactive = not policy.project_inactive
            torch.set_rng_state(after)
        used = np.asarray(policy.transform.action_mask, dtype=bool)
        for one, two in zip(own, other):
            apart = (one["action_unified"] - two["action_unified"])[..., used]
            self._squares.append(float(np.mean(apart**2)))
        return own
