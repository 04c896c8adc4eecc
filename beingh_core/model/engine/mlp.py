"""The MLP of one side of a layer, prepared: one gated MLP, or routed experts.

Dimension letters: B rows, N tokens, C channels, E experts.
"""

from __future__ import annotations

from collections.abc import Callable

from torch import Tensor

from beingh_core.model.engine.prepare import Preparer
from beingh_core.model.layers import GatedMLP
from beingh_core.model.mof import RoutedMLP, mix, mix_all, probabilities


def prepared_mlp(mlp: GatedMLP | RoutedMLP, prepare: Preparer) -> Callable[[Tensor], Tensor]:
    """What maps tokens (B, N, C) as the layer's MLP does."""
    return PreparedExperts(mlp, prepare) if isinstance(mlp, RoutedMLP) else PreparedMLP(mlp, prepare)


class PreparedMLP:
    """A gated MLP, its two projections into the inner width fused."""

    def __init__(self, mlp: GatedMLP, prepare: Preparer) -> None:
        self._gate_up = prepare.linear(mlp.gate_proj, mlp.up_proj)
        self._down = prepare.linear(mlp.down_proj)
        self._act = mlp.act

    def __call__(self, x: Tensor) -> Tensor:
        """Maps x (..., C) to the same shape."""
        gate, up = self._gate_up(x).chunk(2, dim=-1)
        return self._down(self._act(gate) * up)


class PreparedExperts:
    """Routed experts.

    On a GPU every expert computes every token: a graph has fixed shapes, and the few tokens of a chunk cost less than reading
    the weights, which most experts would be read for anyway.
    """

    def __init__(self, mlp: RoutedMLP, prepare: Preparer) -> None:
        self._router, self._top_k = prepare.kept(mlp.router), mlp.top_k
        self._experts = [PreparedMLP(expert, prepare) for expert in mlp.experts]
        self._mix = mix_all if self._router.device.type == "cuda" else mix

    def __call__(self, x_BNC: Tensor) -> Tensor:
        """Maps x (B, N, C) to the same shape."""
        x = x_BNC.flatten(0, 1)
        return self._mix(x, probabilities(x, self._router), self._experts, self._top_k).view_as(x_BNC)
