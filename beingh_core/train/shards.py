"""Weights spread over ranks (FSDP2), and the whole tensors that files hold."""

from __future__ import annotations

import re

import torch
from torch import Tensor, nn

from beingh_core.model import BeingH
from beingh_core.model.decoder import MoTLayer
from beingh_core.train.ranks import Ranks

_VISION_LAYER = re.compile(r"layers\.\d+$")


def shard(model: BeingH, ranks: Ranks) -> None:
    """Spreads every layer's weights over all ranks; what is in no layer is a group of its own.

    A layer's weights are gathered while it computes, so that activations of one layer's weights are in memory at a time.
    """
    from torch.distributed.device_mesh import init_device_mesh
    from torch.distributed.fsdp import fully_shard, register_fsdp_forward_method

    mesh = init_device_mesh(ranks.device.type, (ranks.count,))
    vision = [module for name, module in model.vit_model.named_modules() if _VISION_LAYER.search(name)]
    for layer in (*vision, *(module for module in model.modules() if isinstance(module, MoTLayer))):
        fully_shard(layer, mesh=mesh)
    fully_shard(model, mesh=mesh)
    register_fsdp_forward_method(model, "loss")


def is_sharded(tensor: Tensor) -> bool:
    """Whether ranks hold parts of it."""
    return hasattr(tensor, "to_local")


def local(tensor: Tensor) -> Tensor:
    """This rank's part of a sharded tensor, or the tensor."""
    return tensor.to_local() if is_sharded(tensor) else tensor


def whole(tensor: Tensor, keep: bool = True) -> Tensor:
    """The whole tensor in host memory; all ranks ask together, and those that do not keep it get an empty one."""
    tensor = tensor.detach()
    tensor = tensor.full_tensor() if is_sharded(tensor) else tensor
    return tensor.cpu().clone() if keep else tensor.new_empty(0)


def whole_of_local(part: Tensor, parameter: nn.Parameter, keep: bool = True) -> Tensor:
    """The same of parts that lie as a parameter's do."""
    if not is_sharded(parameter):
        return whole(part, keep)
    from torch.distributed.tensor import DTensor

    spread = DTensor.from_local(
        part, parameter.device_mesh, parameter.placements, run_check=False, shape=parameter.shape,
        stride=parameter.stride(),
    )  # fmt: skip
    return whole(spread, keep)


def spread_like(tensor: Tensor, parameter: nn.Parameter) -> Tensor:
    """A whole tensor on a parameter's device, sharded as the parameter is; no rank asks another."""
    if not is_sharded(parameter):
        return tensor.to(parameter.device, copy=True)
    from torch.distributed.tensor import distribute_tensor

    tensor = tensor.to(parameter.device)
    return distribute_tensor(tensor, parameter.device_mesh, parameter.placements, src_data_rank=None)


@torch.no_grad()
def put(parameter: nn.Parameter, tensor: Tensor) -> None:
    """Gives a parameter the values of a whole tensor."""
    local(parameter).copy_(local(spread_like(tensor, parameter)))
