"""Manifold-preserving gating: a context residual that fades when it leaves the action manifold."""

from __future__ import annotations

import contextlib

import torch
import torch.nn.functional as F
from torch import Tensor, nn


def sliced_distance(a_ND: Tensor, b_ND: Tensor, directions_PD: Tensor) -> Tensor:
    """Sliced Wasserstein distance: mean squared difference of sorted projections, a scalar.

    Args:
        a_ND: First set of features.
        b_ND: Second set, as many rows.
        directions_PD: Projection directions; they need not have unit length.
    """
    unit_DP = F.normalize(directions_PD.float(), dim=-1).T
    a, b = (x.float() @ unit_DP for x in (a_ND, b_ND))
    return (a.sort(dim=0).values - b.sort(dim=0).values).pow(2).mean()


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

    def gate(self, observed_ND: Tensor, clean_HA: Tensor, directions_PD: Tensor) -> Tensor:
        """The scalar g in (0, 1] from projected features and clean action embeddings."""
        prior = self.action_proj(clean_HA).float()
        observed = F.layer_norm(observed_ND.float(), observed_ND.shape[-1:])
        prior = F.layer_norm(prior, prior.shape[-1:]).mean(dim=0, keepdim=True).expand_as(observed)
        return torch.exp(-sliced_distance(observed, prior, directions_PD) / self.temperature)

    def forward(self, features_ND: Tensor, clean_HA: Tensor, directions_PD: Tensor, strength: float) -> Tensor:
        """Enhances suffix features.

        Args:
            features_ND: Suffix features (N, dim).
            clean_HA: Clean action embeddings (tokens, action_dim).
            directions_PD: Projection directions (P, dim).
            strength: lambda.

        Returns:
            Features of the same shape.
        """
        observed = self.obs_proj(features_ND)
        with torch.no_grad() if self.stop_gradient else contextlib.nullcontext():
            gate = self.gate(observed, clean_HA, directions_PD)
        return features_ND + strength * self.enhancement_proj(gate.to(observed.dtype) * observed)
