"""Mixture of flow experts (MoF): above shared lower layers, a few of E act MLPs compute each state and action token.

The paper (arXiv:2601.12993) names shared lower layers and routed experts above them; no code was released. What it leaves open is
taken from the literature on mixtures of experts: a linear router over the normed state of a token, softmax in float32, and the
balance loss of Switch Transformers (arXiv:2101.03961). Dimension letters: N tokens, C channels, E experts, k chosen ones, B chunks, H steps.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping, Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from beingh_core.errors import BeingHError
from beingh_core.model.config import MofConfig
from beingh_core.model.layers import GatedMLP

_EXPERT = re.compile(r"(\.mlp_mot_gen)\.experts\.\d+\.")
_ROUTER = ".mlp_mot_gen.router."


class RoutedMLP(nn.Module):
    """A router and E gated MLPs; one expert alone would be the dense model's `GatedMLP`."""

    def __init__(self, dim: int, hidden: int, act: str, mof: MofConfig) -> None:
        super().__init__()
        self.top_k = mof.top_k
        self.router = nn.Linear(dim, mof.experts, bias=False)
        self.experts = nn.ModuleList(GatedMLP(dim, hidden, act) for _ in range(mof.experts))

    def route(self, x_NC: Tensor) -> Tensor:
        """Probabilities (N, E) of the experts, float32."""
        return probabilities(x_NC, self.router.weight)

    def forward(self, x_NC: Tensor) -> Tensor:
        """Maps tokens (N, C) to the same shape."""
        return mix(x_NC, self.route(x_NC), self.experts, self.top_k)


def probabilities(x: Tensor, router_EC: Tensor) -> Tensor:
    """Softmax of the router's logits, (..., E) float32, whatever type the tokens (..., C) have."""
    with torch.autocast(x.device.type, enabled=False):
        return F.linear(x.float(), router_EC.float()).softmax(-1)


def choose(probabilities_NE: Tensor, top_k: int) -> tuple[Tensor, Tensor]:
    """Weights (..., k) of the k most probable experts, which add up to 1, and their indices (..., k).

    The sum that they are divided by counts as a constant in the backward pass: with k = 1 the weight is always 1, and the
    router would else learn nothing from the loss.
    """
    top, chosen = probabilities_NE.topk(top_k, dim=-1)
    return top / top.sum(-1, keepdim=True).detach(), chosen


def mix(x_NC: Tensor, probabilities_NE: Tensor, experts: Iterable[Callable[[Tensor], Tensor]], top_k: int) -> Tensor:
    """Each token's k experts' results, weighted, (N, C).

    In training an expert that no token has chosen computes an empty batch: its gradient is then zero and not missing, as
    ranks that share gradients need it.
    """
    weights, chosen = choose(probabilities_NE, top_k)
    out = None
    for index, expert in enumerate(experts):
        token, place = (chosen == index).nonzero(as_tuple=True)
        if not token.numel() and not torch.is_grad_enabled():
            continue
        part = expert(x_NC[token])
        out = part.new_zeros(x_NC.shape) if out is None else out
        out = out.index_add(0, token, part * weights[token, place].unsqueeze(-1).to(part.dtype))
    return torch.zeros_like(x_NC) if out is None else out


def mix_all(
    x_NC: Tensor, probabilities_NE: Tensor, experts: Iterable[Callable[[Tensor], Tensor]], top_k: int
) -> Tensor:
    """The same with every expert computed for every token: more products, but no shape depends on values (CUDA graphs)."""
    weights, chosen = choose(probabilities_NE, top_k)
    every = torch.zeros_like(probabilities_NE).scatter(-1, chosen, weights).to(x_NC.dtype)
    return sum(every[..., index, None] * expert(x_NC) for index, expert in enumerate(experts))


def balance_loss(probabilities_NE: Tensor, top_k: int) -> Tensor:
    """E * sum over experts of f * P (arXiv:2101.03961, equations 4 to 6): 1 at even load, more the less even it is.

    f is an expert's share of all choices, which has no gradient; P its mean probability. 0 without tokens.
    """
    tokens, experts = probabilities_NE.shape
    if not tokens:
        return probabilities_NE.new_zeros(())
    share = torch.bincount(choose(probabilities_NE, top_k)[1].flatten(), minlength=experts) / (tokens * top_k)
    return experts * (share * probabilities_NE.mean(0)).sum()


def load(probabilities_NE: Tensor, top_k: int, chunks: int, horizon: int) -> Tensor:
    """How often the action tokens of each chunk chose each expert, (B, E); they are the last B H of the tokens."""
    tokens, experts = probabilities_NE.shape
    chosen = choose(probabilities_NE[tokens - chunks * horizon :], top_k)[1]
    return F.one_hot(chosen, experts).view(chunks, horizon * top_k, experts).sum(1)


def refuse_other(own: MofConfig | None, wanted: MofConfig | None, where: object) -> None:
    """Refuses experts that a checkpoint cannot be given.

    Args:
        own: What the checkpoint has; None is the dense model.
        wanted: What is asked of it.
        where: Who asks.

    Raises:
        BeingHError: It has experts already, and others are wanted.
    """
    if own is None or (wanted is not None and own.shape == wanted.shape):
        return
    asked = "none" if wanted is None else f"{wanted.experts} above {wanted.shared_layers} shared layers"
    raise BeingHError(
        f"the checkpoint has {own.experts} experts above {own.shared_layers} shared layers, {asked} cannot be made of them",
        where=where,
        remedy="leave model.mof out, give the checkpoint's own numbers, or start from a dense checkpoint",
    )


def is_router(name: str) -> bool:
    """Whether a weight of this name belongs to a router."""
    return _ROUTER in name


def dense_name(name: str) -> str:
    """Name of the dense model's weight that an expert's weight is made of; any other name is its own."""
    return _EXPERT.sub(r"\1.", name)


def dense_shapes(shapes: Mapping[str, torch.Size]) -> dict[str, torch.Size]:
    """Names and shapes of the dense model's weights, from those of a model with experts."""
    return {dense_name(name): shape for name, shape in shapes.items() if not is_router(name)}


def upcycled(tensors: Mapping[str, Tensor], shapes: Mapping[str, torch.Size], seed: int) -> dict[str, Tensor]:
    """A dense model's weights as those of a model with experts, which then computes the same.

    Every expert is a copy of the dense MLP and the weights of the chosen ones add up to 1, so that it does not matter yet
    what the routers say. They get random weights, so that experts see different tokens (sparse up-cycling, arXiv:2212.05055).

    Args:
        tensors: The dense model's, by name.
        shapes: Of the model with experts, by name.
        seed: Of the routers.
    """
    generator, found = torch.Generator().manual_seed(seed), {}
    for name, shape in shapes.items():
        if is_router(name):
            like = next(iter(tensors.values()))
            found[name] = (torch.randn(shape, generator=generator) * shape[-1] ** -0.5).to(like)
        else:
            dense = dense_name(name)
            found[name] = tensors[dense].clone() if dense != name else tensors[name]
    return found


def routing(probabilities: Sequence[Tensor], top_k: int, chunks: int, horizon: int) -> dict[str, Tensor]:
    """What a training pass tells of its routers.

    Args:
        probabilities: Of each routed layer, (N, E).
        top_k: k.
        chunks, horizon: B and H.

    Returns:
        `balance_loss`: mean over the layers. `routing`: (layers, B, E) choices of each chunk's action tokens.
    """
    return {
        "balance_loss": torch.stack([balance_loss(p, top_k) for p in probabilities]).mean(),
        "routing": torch.stack([load(p, top_k, chunks, horizon) for p in probabilities]),
    }
