"""Flow-matching quantities: times, delays, noisy actions, loss.

a_t = (1 - t) noise + t a, velocity a - noise. Dimension letters: B samples, H action steps, W slots.
"""

from __future__ import annotations

import torch
from torch import Tensor


def sample_times(count: int, alpha: float, beta: float, s: float, generator: torch.Generator | None = None) -> Tensor:
    """Base flow times (count,), t = (s - Beta(alpha, beta)) / s."""
    gammas = [torch._standard_gamma(torch.full((count,), float(value)), generator=generator) for value in (alpha, beta)]
    return (s - gammas[0] / (gammas[0] + gammas[1])) / s


def sample_delays(count: int, longest: int, exponential: bool, generator: torch.Generator | None = None) -> Tensor:
    """Locked prefix lengths (count,) in 0..longest [steps]; weights exp(-d) when exponential, else uniform."""
    steps = torch.arange(longest + 1, dtype=torch.float32)
    weights = torch.exp(-steps) if exponential else torch.ones_like(steps)
    share = weights.cumsum(0) / weights.sum()
    return torch.searchsorted(share[:-1].contiguous(), torch.rand(count, generator=generator), right=True)


def prefix_mask(delays_B: Tensor, chunk_length: int) -> Tensor:
    """(B, H) bool, True on the locked prefix of each sample."""
    return torch.arange(chunk_length, device=delays_B.device) < delays_B.unsqueeze(-1)


def mix(actions_BHW: Tensor, noise_BHW: Tensor, time_B: Tensor, locked_BH: Tensor) -> tuple[Tensor, Tensor]:
    """Noisy actions (B, H, W) and token times (B, H); locked tokens are clean at time 1."""
    time_BH = torch.where(locked_BH, 1.0, time_B.unsqueeze(-1))
    t = time_BH.unsqueeze(-1)
    return (1 - t) * noise_BHW + t * actions_BHW, time_BH


def discretise(time: Tensor, buckets: int) -> Tensor:
    """tau = long(buckets * t), as the encoder wants it."""
    return (time * buckets).long()


def masked_mse(predicted: Tensor, target: Tensor, valid: Tensor, weight: Tensor | None = None) -> tuple[Tensor, Tensor]:
    """Sum of squared errors over valid entries divided by their number (at least 1).

    Args:
        predicted, target, valid: (N, W).
        weight: (N,) with which the errors of a row are multiplied; their number stays that of the valid entries.

    Returns:
        the mean, and what each row adds to it (N,), without gradient.
    """
    squared = (predicted.float() - target.float()).square() * valid
    if weight is not None:
        squared = squared * weight.unsqueeze(-1)
    count = valid.sum().clamp(min=1)
    return squared.sum() / count, squared.detach().sum(-1) / count


def chunk_losses(parts_N: Tensor, valid_BHW: Tensor) -> Tensor:
    """The mean of each chunk alone, (B,), from what its rows add to that of all as `masked_mse` says."""
    count = valid_BHW.sum((1, 2))
    return parts_N.view(valid_BHW.shape[:2]).sum(1) * count.sum().clamp(min=1) / count.clamp(min=1)
