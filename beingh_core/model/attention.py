"""Grouped-query attention for all shapes the model meets.

Dimension letters: B rows, L queries, S keys, H heads, K key-value heads, G = H / K, D head width.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

DENSE_LIMIT = 512
"""Longest row [tokens] for which the scores are kept in memory during CPU training."""


def attend(q_BLHD: Tensor, k_BSKD: Tensor, v_BSKD: Tensor, mask_LS: Tensor | None = None) -> Tensor:
    """Scaled dot-product attention.

    Args:
        q_BLHD: Queries.
        k_BSKD: Keys.
        v_BSKD: Values.
        mask_LS: True where a query sees a key; None means everything.

    Returns:
        (B, L, H * D).
    """
    if q_BLHD.device.type == "cpu" and q_BLHD.dtype == torch.bfloat16 and k_BSKD.shape[1] <= DENSE_LIMIT:
        return _dense(q_BLHD, k_BSKD, v_BSKD, mask_LS)
    q, k, v = (t.transpose(1, 2) for t in (q_BLHD, k_BSKD, v_BSKD))
    out = F.scaled_dot_product_attention(q, k, v, attn_mask=mask_LS, enable_gqa=q.shape[1] != k.shape[1])
    return out.transpose(1, 2).flatten(2)


def _dense(q_BLHD: Tensor, k_BSKD: Tensor, v_BSKD: Tensor, mask_LS: Tensor | None) -> Tensor:
    """The same by explicit scores: several times faster than PyTorch's fused bfloat16 backward on a CPU."""
    B, L, H, D = q_BLHD.shape
    S, K = k_BSKD.shape[1:3]
    G = H // K
    q = q_BLHD.reshape(B, L, K, G, D).permute(0, 2, 3, 1, 4).reshape(B * K, G * L, D)
    k, v = (x.transpose(1, 2).reshape(B * K, S, D) for x in (k_BSKD, v_BSKD))
    if mask_LS is None:
        hidden, share = q.new_empty(()), 0.0
    else:
        hidden, share = torch.zeros_like(mask_LS, dtype=q.dtype).masked_fill_(~mask_LS, float("-inf")), 1.0
        hidden = hidden.repeat(G, 1)
    scores = torch.baddbmm(hidden, q, k.transpose(1, 2), beta=share, alpha=D**-0.5)
    out = torch.bmm(scores.softmax(-1), v)
    return out.view(B, K, G, L, D).permute(0, 3, 1, 2, 4).reshape(B, L, H * D)
