"""From a model's modules to those of the engine: each weight is fetched once and kept once, laid out for this machine."""

from __future__ import annotations

import copy

import torch
from torch import Tensor, nn

from beingh_core.model.engine.linear import PreparedLinear
from beingh_core.model.engine.quantised_linear import QuantisedLinear, Scratch
from beingh_core.model.heap import give_back
from beingh_core.model.quantised import QuantisedWeight
from beingh_core.model.weights import Weights

_MADE = 4 << 20
"""Bytes of weights after whose making it is worth giving back the memory that this has left."""


class Preparer:
    """Makes prepared modules.

    Args:
        weights: Where the weights come from.
        pack: As for `PreparedLinear`.

    Attributes:
        held_bytes: Weights of all that was made.
        linear_layers: Each linear layer of the model -> what computes it.
    """

    def __init__(self, weights: Weights, pack: bool) -> None:
        self.weights, self._pack = weights, pack
        self.held_bytes = 0
        self._scratch, self._since = Scratch(), 0
        self.linear_layers: dict[nn.Linear, nn.Module] = {}

    def linear(self, *parts: nn.Linear) -> PreparedLinear | QuantisedLinear:
        """Layers of one input as one, their outputs one after the other."""
        found = [self.weights.of(part) for part in parts]
        bias = torch.cat([one["bias"] for one in found]) if "bias" in found[0] else None
        matrices = [one.pop("weight") for one in found]
        if isinstance(matrices[0], QuantisedWeight):
            weight = QuantisedWeight.joined(matrices)
            matrices.clear()
            made = QuantisedLinear(weight, bias, self.weights.dtype, self._scratch)
        else:
            weight = matrices[0] if len(matrices) == 1 else torch.cat(matrices)
            matrices.clear()
            made = PreparedLinear(weight, bias, self._pack)
        size = weight.nbytes
        self.held_bytes += size + (0 if bias is None else bias.nbytes)
        self.linear_layers |= dict.fromkeys(parts, made)
        del found, matrices, weight
        self._since += size
        if self._since > _MADE and self.weights.device.type == "cpu":
            self._since = 0
            give_back()
        return made

    def kept(self, module: nn.Module, name: str = "weight") -> Tensor:
        """A parameter as it is."""
        tensor = self.weights.of(module)[name]
        self.held_bytes += tensor.nbytes
        return tensor

    def module(self, module: nn.Module) -> nn.Module:
        """A copy of a module for inference, its linear layers prepared; other parameters are those of the model."""
        if isinstance(module, nn.Linear):
            return self.linear(module)
        twin = copy.deepcopy(module, {id(p): p for p in module.parameters()})
        for original, parent in list(zip(module.modules(), twin.modules(), strict=True)):
            for name, child in list(original.named_children()):
                if isinstance(child, nn.Linear):
                    setattr(parent, name, self.linear(child))
            if not isinstance(original, nn.Linear):
                self._keep(original, parent)
        return twin

    def _keep(self, original: nn.Module, twin: nn.Module) -> None:
        if next(original.parameters(recurse=False), None) is None:
            return
        for name, tensor in self.weights.of(original).items():
            self.held_bytes += tensor.nbytes
            own = tensor if isinstance(tensor, nn.Parameter) else nn.Parameter(tensor, requires_grad=False)
            setattr(twin, name, own)
