"""A policy as a way of joining chunks asks it: with the prefix, without it, or steered towards the chunk before."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch

from beingh_core.state_history import StateHistory
from beingh_core.suite.guided import ActionFlow, guided_chunk, soft_mask
from beingh_core.suite.joining import Joining


class Answers:
    """What a `ChunkMaker` takes for a policy, for one episode. One thread.

    Args:
        policy: A `BeingHPolicy`.
        joining: The way.

    Attributes:
        gates: Values of MPG's gate in all chunks, where the policy observes them.
    """

    def __init__(self, policy, joining: Joining) -> None:
        self._policy, self._joining = policy, joining
        self.transform, self.data_config = policy.transform, policy.data_config
        self.gates: list[float] = []
        self._flow = ActionFlow(policy.engine) if joining.guided else None
        self._before: tuple[int, torch.Tensor] | None = None  # base tick and (1, H, 200) of the chunk before

    @property
    def state_history(self) -> StateHistory:
        """See `BeingHPolicy.state_history`."""
        return self._policy.state_history

    @property
    def last_timing_ms(self) -> dict[str, float]:
        """Of the policy's newest chunk."""
        return self._policy.last_timing_ms

    def begin(self, observations: Sequence):
        """See `BeingHPolicy.begin`."""
        return self._policy.begin(observations)

    def encode_prefix(self, actions) -> np.ndarray:
        """See `BeingHPolicy.encode_prefix`."""
        return self._policy.encode_prefix(actions)

    def finish(self, begun, prefixes: Sequence[tuple[np.ndarray, int]]) -> list[dict[str, np.ndarray]]:
        """See `BeingHPolicy.finish`."""
        if self._flow is not None:
            return [self._guided(begun)]
        # A checkpoint that was taught no prefix would warn in every episode that it leaves it out.
        shown = self._joining.shown and self._policy.trained_delay
        chunks = self._policy.finish(begun, prefixes if shown else [(None, 0)] * len(prefixes))
        self.gates += self._policy.last_gates.ravel().tolist()
        return chunks

    def _guided(self, begun) -> dict[str, np.ndarray]:
        """A chunk that is steered towards what the chunk before still wants, in the slots that the robot uses."""
        policy, base, timing = self._policy, self._joining.tick, self._joining.timing
        length, steps = policy.chunk_length, policy.engine.config.num_inference_steps
        noise = torch.randn(self._flow.passes, 1, length, len(policy.transform.action_mask))
        wanted, weights = torch.zeros_like(noise[0]), torch.zeros(length, 1)
        if self._before is not None:
            executed = min(base - self._before[0], length)
            wanted[:, : length - executed] = self._before[1][:, executed:]
            mask = soft_mask(length, timing.delay + timing.jitter, executed).float()
            weights = mask.unsqueeze(-1) * torch.as_tensor(policy.transform.action_mask)
        chunk = None
        for start in noise:
            chunk = guided_chunk(self._flow.behind(begun.started, chunk), start, steps, wanted, weights)
        self._before = base, chunk
        return policy.steps.decode(chunk.numpy())
