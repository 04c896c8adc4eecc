"""Encoders of state and noisy action tokens, and the velocity decoder."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn


def time_features(tau: Tensor, dim: int) -> Tensor:
    """Sinusoids of the integer flow time tau (...): (..., dim) float32, sines first.

    ln(10000) is divided by half the width before it is multiplied, all in float32, as in the released encoder: where half
    the width is no power of two, the other order differs by up to 6e-5 in sine and cosine.
    """
    half = dim // 2
    steps = torch.arange(half, device=tau.device, dtype=torch.float32)
    slope = float(torch.log(torch.tensor(10000.0)) / half)
    angles = tau.float().unsqueeze(-1) * torch.exp(-steps * slope)
    return torch.cat((angles.sin(), angles.cos()), dim=-1)


class TwoLayerMLP(nn.Module):
    """Linear, ReLU, Linear."""

    def __init__(self, in_dim: int, hidden: int, out_dim: int) -> None:
        super().__init__()
        self.layer1 = nn.Linear(in_dim, hidden)
        self.layer2 = nn.Linear(hidden, out_dim)

    def forward(self, x: Tensor) -> Tensor:
        """Maps (..., in_dim) to (..., out_dim)."""
        return self.layer2(F.relu(self.layer1(x)))


class ActionEncoder(nn.Module):
    """Action token = W3 swish(W2 [W1 a ; time features of tau])."""

    def __init__(self, action_dim: int, hidden: int) -> None:
        super().__init__()
        self.W1 = nn.Linear(action_dim, hidden)
        self.W2 = nn.Linear(2 * hidden, hidden)
        self.W3 = nn.Linear(hidden, hidden)

    def forward(self, actions: Tensor, tau: Tensor) -> Tensor:
        """Encodes actions (..., action_dim) at flow times tau (...), long, as tokens (..., hidden)."""
        return self.mix(actions, time_features(tau, self.W1.out_features))

    def mix(self, actions: Tensor, time: Tensor) -> Tensor:
        """The same from `time_features` (..., hidden)."""
        content = self.W1(actions)
        return self.W3(F.silu(self.W2(torch.cat((content, time.to(content.dtype)), dim=-1))))
