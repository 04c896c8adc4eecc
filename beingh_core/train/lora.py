"""Low-rank changes of frozen weights (LoRA, arXiv:2106.09685): W + alpha / r * B A, put into W when a checkpoint is saved."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor, nn
from torch.nn.utils import parametrize

from beingh_core.errors import BeingHError
from beingh_core.model import BeingH
from beingh_core.model.mof import is_router
from beingh_core.train.parts import part_of
from beingh_core.train.settings import LoraSection

_INSIDE = ".parametrizations."


class LowRank(nn.Module):
    """The change of one matrix; none at first, since B starts at zero.

    Args:
        weight: (out, in), whose type and place it shares.
        rank: r.
        scale: alpha / r.
        generator: draws A.
    """

    def __init__(self, weight: Tensor, rank: int, scale: float, generator: torch.Generator) -> None:
        super().__init__()
        out_features, in_features = weight.shape
        if weight.device.type == "meta":
            first = weight.new_empty(rank, in_features)
        else:
            first = torch.randn(rank, in_features, generator=generator).to(weight) * in_features**-0.5
        self.first, self.second = nn.Parameter(first), nn.Parameter(weight.new_zeros(out_features, rank))
        self.scale = scale

    def forward(self, weight: Tensor) -> Tensor:
        """W + alpha / r * B A."""
        return weight + self.scale * (self.second @ self.first)


def add_lora(model: BeingH, section: LoraSection, seed: int = 0) -> int:
    """Freezes the chosen parts and gives their chosen matrices low-rank changes; how many there are.

    Routers stay trained unless a caller froze them: those of an up-cycled model know nothing yet.

    Raises:
        BeingHError: No matrix has one of the names in one of the parts.
    """
    if not section.rank:
        return 0
    generator, chosen = torch.Generator().manual_seed(seed), []
    for name, module in model.named_modules():
        last = name.rpartition(".")[2].removesuffix("_mot_gen")
        if isinstance(module, nn.Linear) and last in section.modules and part_of(name + ".weight") in section.parts:
            chosen.append(module)
    if not chosen:
        raise BeingHError(
            f"no matrix is called {' or '.join(section.modules)} in {' or '.join(section.parts)}", where="training.lora",
            allowed="q_proj, k_proj, v_proj, o_proj, gate_proj, up_proj, down_proj in und and act; qkv, proj, fc1, fc2 in vision",
        )  # fmt: skip
    for name, parameter in model.named_parameters():
        if part_of(name) in section.parts and not is_router(name):
            parameter.requires_grad_(False)
    for module in chosen:
        change = LowRank(module.weight, section.rank, section.alpha / section.rank, generator)
        parametrize.register_parametrization(module, "weight", change, unsafe=True)
    return len(chosen)


def merged(model: BeingH, take: Callable[[Tensor], Tensor]) -> dict[str, Tensor]:
    """The weights under their released names, low-rank changes put into them.

    Args:
        model: With changes or without.
        take: makes of a weight what is to be saved, whole and in host memory.
    """
    found = {name: take(tensor) for name, tensor in model.state_dict().items() if _INSIDE not in name}
    for name, module in model.named_modules():
        if parametrize.is_parametrized(module, "weight"):
            inner = module.parametrizations.weight
            weight, change = take(inner.original), inner[0]
            first, second = take(change.first), take(change.second)
            found[f"{name}.weight"] = weight if not weight.numel() else weight + change.scale * (second @ first)
    return found
