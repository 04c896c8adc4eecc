"""Random weights for training from scratch, sized so that every branch starts near unit variance; or none yet."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

from beingh_core.model.layers import RMSNorm
from beingh_core.model.vision import VisionEmbeddings

RESIDUAL_OUTPUTS = ("o_proj", "o_proj_mot_gen", "down_proj", "attn.proj", "mlp.fc2")


class _Uninitialised(TorchFunctionMode):
    """Skips what modules do to fill their weights; on tensors without values that would load PyTorch's compiler."""

    def __torch_function__(self, func: Callable, types: Any, args: tuple = (), kwargs: dict | None = None) -> Any:
        kwargs = kwargs or {}
        if getattr(func, "__module__", None) == "torch.nn.init":
            return kwargs["tensor"] if "tensor" in kwargs else args[0]
        return func(*args, **kwargs)


@contextmanager
def without_weights() -> Iterator[None]:
    """Modules built inside have parameters of the right shapes, without values or memory."""
    with torch.device("meta"), _Uninitialised():
        yield


def initialise(model: nn.Module, seed: int) -> None:
    """Fills every parameter in place, reproducibly.

    Linear weights get standard deviation 1/sqrt(fan-in), divided by sqrt(2 layers) where a branch joins
    the residual stream; norms start at 1, biases at 0; vision positions start as a 2-D sinusoid grid. Layer
    scales keep the constructor's value (`vit_config.initializer_factor`).

    Args:
        model: The model, on any device.
        seed: Seed of its own generator; the global one is left alone.
    """
    generator = torch.Generator().manual_seed(seed)

    def normal_(parameter: Tensor, std: float) -> None:
        parameter.data.copy_(torch.randn(parameter.shape, generator=generator) * std)

    for name, module in model.named_modules():
        if isinstance(module, (nn.Linear, nn.Conv2d)):
            std = module.weight[0].numel() ** -0.5
            if name.endswith(RESIDUAL_OUTPUTS):
                std /= math.sqrt(2 * _depth(model, name))
            normal_(module.weight, std)
            if module.bias is not None:
                module.bias.data.zero_()
        elif isinstance(module, nn.Embedding):
            normal_(module.weight, module.embedding_dim**-0.5)
            if module.padding_idx is not None:
                module.weight.data[module.padding_idx] = 0.0
        elif isinstance(module, (nn.LayerNorm, RMSNorm)):
            module.weight.data.fill_(1.0)
            if getattr(module, "bias", None) is not None:
                module.bias.data.zero_()
        elif isinstance(module, VisionEmbeddings):
            normal_(module.class_embedding, 0.02)
            normal_(module.position_embedding, 0.02)
            grid = _sinusoid_grid(module.grid, module.position_embedding.shape[-1])
            module.position_embedding.data[0, 1:] += grid.to(module.position_embedding)


def _depth(model: nn.Module, name: str) -> int:
    """Number of layers in the stack that the named module belongs to."""
    stack = name.split(".layers.")[0] + ".layers"
    return len(model.get_submodule(stack))


def _sinusoid_grid(grid: int, dim: int) -> Tensor:
    """(grid * grid, dim) sinusoids of row and column; columns beyond a multiple of 4 stay zero."""
    quarter = dim // 4
    table = torch.zeros(grid * grid, dim)
    if quarter == 0:
        return table
    frequency = torch.exp(-math.log(10000.0) * torch.arange(quarter) / quarter)
    row, col = torch.meshgrid(torch.arange(grid), torch.arange(grid), indexing="ij")
    angles = [axis.reshape(-1, 1) * frequency for axis in (row, col)]
    parts = [f(a) for a in angles for f in (torch.sin, torch.cos)]
    table[:, : 4 * quarter] = torch.cat(parts, dim=1)
    return table
