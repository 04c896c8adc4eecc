"""Where the engine gets a model's weights: from the model itself, or one module at a time from a checkpoint's files."""

from __future__ import annotations

from typing import Protocol

import torch
from torch import Tensor, nn

from beingh_core.model.quantised import SCALE, VALUES, QuantisedConfig, QuantisedWeight
from beingh_core.model.tensor_reader import TensorReader


class Weights(Protocol):
    """Weights of a model's modules.

    Attributes:
        device: Where they are.
        dtype: Type of those that are floating-point numbers.
    """

    device: torch.device
    dtype: torch.dtype

    def of(self, module: nn.Module) -> dict[str, Tensor | QuantisedWeight]:
        """A module's own parameters by name, without those of the modules in it."""


class OwnWeights:
    """Those that the model holds."""

    def __init__(self, model: nn.Module, device: torch.device, dtype: torch.dtype) -> None:
        self.device, self.dtype = device, dtype

    def of(self, module: nn.Module) -> dict[str, Tensor | QuantisedWeight]:
        """See `Weights`; a low-rank change of a matrix is in it."""
        if isinstance(module, nn.Linear):
            found = {"weight": module.weight, "bias": module.bias}
        else:
            found = dict(module.named_parameters(recurse=False))
        return {name: value for name, value in found.items() if value is not None}


class ReadWeights:
    """Those of a model without values; each call of `of` reads them anew, and the caller alone holds them.

    Args:
        model: The model.
        reader: Of the checkpoint's tensors.
        device, dtype: Those of the reader.
        config: Which matrices are stored in fewer bits; None: none.
    """

    def __init__(
        self,
        model: nn.Module,
        reader: TensorReader,
        device: torch.device,
        dtype: torch.dtype,
        config: QuantisedConfig | None = None,
    ) -> None:
        self._names = {module: name for name, module in model.named_modules()}
        self._reader, self._config = reader, config
        self.device, self.dtype = device, dtype

    def of(self, module: nn.Module) -> dict[str, Tensor | QuantisedWeight]:
        """See `Weights`."""
        place = self._names[module]
        return {name: self._one(place, name) for name, _ in module.named_parameters(recurse=False)}

    def _one(self, place: str, name: str) -> Tensor | QuantisedWeight:
        if name == "weight" and self._config is not None and self._config.covers(place):
            values, scale = (self._reader.read(f"{place}.{name}", as_stored=True) for name in (VALUES, SCALE))
            return QuantisedWeight(self._config.scheme, values, scale)
        return self._reader.read(f"{place}.{name}")
