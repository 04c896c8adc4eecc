"""CUDA graphs: a fixed series of kernels that the host starts with one call."""

from __future__ import annotations

from collections.abc import Callable

import torch

WARM_UPS = 2


class Captured:
    """A call without arguments, recorded once and replayed.

    The call must work on tensors that live as long as this object, read their contents on the device only, and draw
    no random numbers.

    Args:
        call: What to record; it runs a few times before.
    """

    def __init__(self, call: Callable[[], None]) -> None:
        side = torch.cuda.Stream()
        side.wait_stream(torch.cuda.current_stream())
        with torch.cuda.stream(side):
            for _ in range(WARM_UPS):
                call()
        torch.cuda.current_stream().wait_stream(side)
        self._graph = torch.cuda.CUDAGraph()
        with torch.cuda.graph(self._graph):
            call()

    def replay(self) -> None:
        """Runs the recorded kernels; returns before they are done."""
        self._graph.replay()
