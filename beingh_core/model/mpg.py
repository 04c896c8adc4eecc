"""Manifold-preserving gating: a context residual that fades when it leaves the action manifold.

Dimension letters: B gates, N suffix tokens, D feature width (und hidden), A act hidden, H action tokens, P directions.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable
from typing import Protocol

import torch
import torch.nn.functional as F
from torch import Tensor, nn


def unit_directions(directions_PD: Tensor) -> Tensor:
    """Projection directions as unit columns, (..., D, P) float32; they need not come with unit length."""
    return F.normalize(directions_PD.float(), dim=-1).transpose(-1, -2)


def sliced_distance(features_BND: Tensor, point_BD: Tensor, unit_DP: Tensor) -> Tensor:
    """Sliced Wasserstein distance between N features and N copies of one point, (B,).

    It is the mean squared difference of sorted projections. All projections of the copies are equal, so that sorting
    cannot change with which one a feature is compared: none is done.

    Args:
        features_BND: Features.
        point_BD: What the other set consists of.
        unit_DP: `unit_directions`.
    """
    return ((features_BND - point_BD.unsqueeze(-2)) @ unit_DP).square().mean(dim=(-1, -2))


class ManifoldGate(nn.Module):
    """X' = X + lambda * enhancement_proj(g E), g = exp(-D / temperature) (paper, section 3.4).

    Args:
        dim: Feature width (the und hidden size).
        action_dim: Width of the clean action embeddings (the act hidden size).
        temperature: Softness of the gate.
        stop_gradient: Whether g is a constant to the gradient.
    """

    def __init__(self, dim: int, action_dim: int, temperature: float, stop_gradient: bool) -> None:
        super().__init__()
        self.obs_proj = nn.Linear(dim, dim)
        self.action_proj = nn.Linear(action_dim, dim)
        self.enhancement_proj = nn.Linear(dim, dim)
        self.temperature = temperature
        self.stop_gradient = stop_gradient

    def _constant(self) -> contextlib.AbstractContextManager:
        return torch.no_grad() if self.stop_gradient else contextlib.nullcontext()

    def prior(self, clean_BHA: Tensor) -> Tensor:
        """The point (B, D) float32 that clean action embeddings stand for."""
        with self._constant():
            prior = self.action_proj(clean_BHA).float()
            return F.layer_norm(prior, prior.shape[-1:]).mean(dim=-2)

    def gate(self, observed_BND: Tensor, prior_BD: Tensor, unit_DP: Tensor) -> Tensor:
        """g in (0, 1], (B,), from projected features."""
        observed = F.layer_norm(observed_BND.float(), observed_BND.shape[-1:])
        return torch.exp(-sliced_distance(observed, prior_BD, unit_DP) / self.temperature)

    def forward(
        self,
        features_BND: Tensor,
        prior_BD: Tensor,
        unit_DP: Tensor,
        strength: float,
        observe: Callable[[Tensor], object] | None = None,
    ) -> Tensor:
        """Enhances suffix features.

        Args:
            features_BND: Suffix features; each of the B has a gate of its own.
            prior_BD: `prior` of the clean actions.
            unit_DP: `unit_directions`.
            strength: lambda.
            observe: Is given g (B,).

        Returns:
            Features of the same shape.
        """
        observed = self.obs_proj(features_BND)
        with self._constant():
            gate = self.gate(observed, prior_BD, unit_DP)
        if observe is not None:
            observe(gate)
        return features_BND + strength * self.enhancement_proj(gate[..., None, None].to(observed.dtype) * observed)


class MPGModules(Protocol):
    """Who holds the released modules: the model, or their prepared copies."""

    action_to_vlm_proj: Callable[[Tensor], Tensor]
    mpg: ManifoldGate
    vlm_to_action_proj: Callable[[Tensor], Tensor]


def enhance(
    modules: MPGModules,
    actions_BNC: Tensor,
    num_state: int,
    prior_BD: Tensor,
    unit_DP: Tensor,
    strength: float,
    observe: Callable[[Tensor], object] | None = None,
) -> Tensor:
    """Action embeddings after MPG, (B, N, C) like before.

    Args:
        modules: The projections and the gate.
        actions_BNC: Embeddings of the noisy actions, as they would enter the decoder.
        num_state: Number of state tokens; each adds a zero row to the suffix that the gate looks at.
        prior_BD, unit_DP, strength, observe: As for `ManifoldGate`.
    """
    projected = modules.action_to_vlm_proj(actions_BNC)
    suffix = F.pad(projected, (0, 0, num_state, 0))
    return modules.vlm_to_action_proj(modules.mpg(suffix, prior_BD, unit_DP, strength, observe)[:, num_state:])
