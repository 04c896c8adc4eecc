"""The parts of the model that are frozen, that decay, and whose gradients are watched, by the names of their weights."""

from __future__ import annotations

import functools
import re
from collections.abc import Iterable

from torch import nn
from torch.utils.checkpoint import checkpoint

from beingh_core.errors import BeingHError
from beingh_core.model import BeingH
from beingh_core.model.decoder import MoTLayer

_STARTS = {
    "vision": ("vit_model.",),
    "connector": ("connector.",),
    "embeddings": ("language_model.model.embed_tokens.", "language_model.lm_head."),
    "state": ("proprio_encoder_robot.",),
    "action_encoder": ("action_encoder.",),
    "action_decoder": ("action_decoder.",),
    "mpg": ("mpg.", "action_to_vlm_proj.", "vlm_to_action_proj."),
}
PARTS = (*_STARTS, "act", "und")
_LAYER = re.compile(r"language_model\.model\.layers\.(\d+)\.")


def part_of(name: str) -> str:
    """The part, one of `PARTS`, that a weight belongs to: `act` (experts and routers too) and `und` are the decoder's sides."""
    for part, starts in _STARTS.items():
        if name.startswith(starts):
            return part
    return "act" if "_mot_gen" in name else "und"


def freeze(model: BeingH, parts: Iterable[str], act_layers: int = 0) -> None:
    """Lets the weights of some parts, and of the lowest act layers, stay as they are.

    Raises:
        BeingHError: More act layers than there are, or nothing is left to train.
    """
    have, parts = model.config.decoder.num_layers, set(parts)
    if act_layers > have:
        raise BeingHError(
            f"{act_layers} act layers to freeze", where="training.freeze_act_layers", allowed=f"0 to {have}"
        )
    for name, parameter in model.named_parameters():
        layer = _LAYER.match(name)
        low = layer is not None and int(layer[1]) < act_layers and part_of(name) == "act"
        if low or part_of(name) in parts:
            parameter.requires_grad_(False)
    if not any(parameter.requires_grad for parameter in model.parameters()):
        raise BeingHError("every weight is frozen", where="training.freeze")


def decay_groups(model: nn.Module, weight_decay: float) -> list[dict]:
    """Matrices decay; biases, norms and scales do not. Frozen weights are in no group."""
    trained = [p for p in model.parameters() if p.requires_grad]
    groups = [([p for p in trained if p.ndim >= 2], weight_decay), ([p for p in trained if p.ndim < 2], 0.0)]
    return [{"params": params, "weight_decay": decay} for params, decay in groups if params]


def recompute(model: BeingH) -> None:
    """Keeps only the inputs of the decoder's and the vision encoder's layers for the backward pass, which computes the rest anew."""
    vision = [module for name, module in model.vit_model.named_modules() if re.search(r"layers\.\d+$", name)]
    for layer in (*(m for m in model.modules() if isinstance(m, MoTLayer)), *vision):
        layer.forward = functools.partial(checkpoint, layer.forward, use_reentrant=False)
