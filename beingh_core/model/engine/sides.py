"""One side (und or act) of one decoder layer, its projections fused and prepared.

Dimension letters: B rows, N tokens of the side, C channels, H heads, K key-value heads, D head width.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from beingh_core.model.decoder import MoTLayer
from beingh_core.model.engine.mlp import prepared_mlp
from beingh_core.model.engine.prepare import Preparer
from beingh_core.model.layers import rms_norm


class Side:
    """What a decoder layer does to the tokens of one side, without the attention between them.

    Args:
        layer: The layer.
        suffix: "" for und, "_mot_gen" for act.
        prepare: Makes its parts.
        keys_only: For a layer whose outputs nobody reads: keys and values are all that is computed.
    """

    def __init__(self, layer: MoTLayer, suffix: str, prepare: Preparer, *, keys_only: bool = False) -> None:
        attention, mlp = layer.self_attn, getattr(layer, "mlp" + suffix)
        config = attention.config
        self.dim, self.kv_heads, self.eps = config.head_dim, config.num_kv_heads, config.eps
        self.heads = 0 if keys_only else config.num_heads
        parts = [getattr(attention, f"{name}_proj{suffix}") for name in ("kv" if keys_only else "qkv")]
        self.qkv = prepare.linear(*parts)
        self.input_norm = prepare.kept(getattr(layer, "input_layernorm" + suffix))
        self.qk_norm = self._qk_norm(attention, suffix, prepare) if config.qk_norm else None
        if not keys_only:
            self.out = prepare.linear(getattr(attention, "o_proj" + suffix))
            self.mlp = prepared_mlp(mlp, prepare)
            self.post_norm = prepare.kept(getattr(layer, "post_attention_layernorm" + suffix))

    def _qk_norm(self, attention, suffix: str, prepare: Preparer) -> Tensor:
        """(H + K, D) norm weights of the query and key heads."""
        q_norm, k_norm = (prepare.kept(getattr(attention, name + suffix)) for name in ("q_norm", "k_norm"))
        return torch.cat((q_norm.expand(self.heads, self.dim), k_norm.expand(self.kv_heads, self.dim)))

    def project(self, x_BNC: Tensor) -> tuple[Tensor, Tensor]:
        """Normed queries and keys (B, N, H + K, D), not yet rotated, and values (B, N, K, D)."""
        fused = self.qkv(rms_norm(x_BNC, self.input_norm, self.eps)).unflatten(-1, (-1, self.dim))
        qk, v = fused.split((self.heads + self.kv_heads, self.kv_heads), dim=2)
        return (qk if self.qk_norm is None else rms_norm(qk, self.qk_norm, self.eps)), v

    def finish(self, x_BNC: Tensor, attended_BNX: Tensor) -> Tensor:
        """Output projection, residuals and MLP, (B, N, C)."""
        x = x_BNC + self.out(attended_BNX)
        return x + self.mlp(rms_norm(x, self.post_norm, self.eps))


class Rotation:
    """Rotary embedding of a row's positions, prepared once for all layers and steps.

    Args:
        angles: Cosines and sines (B, N, D / 2) as `rotary_table` gives them.
        dtype: Of the tokens.
    """

    def __init__(self, angles: tuple[Tensor, Tensor], dtype: torch.dtype) -> None:
        cos, sin = (table.to(dtype) for table in angles)
        self.cos = torch.cat((cos, cos), dim=-1).unsqueeze(2)
        self.sin = torch.cat((-sin, sin), dim=-1).unsqueeze(2)

    def __call__(self, x_BNHD: Tensor) -> Tensor:
        """Rotates x; halves are paired."""
        first, second = x_BNHD.chunk(2, dim=-1)
        return torch.addcmul(x_BNHD * self.cos, torch.cat((second, first), dim=-1), self.sin)


def attend_rows(q_BNHD: Tensor, k_BKSD: Tensor, v_BKSD: Tensor, mask_B1QS: Tensor) -> Tensor:
    """Grouped-query attention of N tokens over S keys, (B, N, H * D).

    The G = H / K query heads that share a key head are laid one after the other as Q = G N queries of it: plain
    multi-head attention, for which every backend has a fast kernel that takes a mask.

    Args:
        q_BNHD: Queries.
        k_BKSD: Keys.
        v_BKSD: Values.
        mask_B1QS: Added to the scores (`visible_mask`).
    """
    B, N, H, D = q_BNHD.shape
    K = k_BKSD.shape[1]
    q = q_BNHD.view(B, N, K, H // K, D).permute(0, 2, 3, 1, 4).reshape(B, K, H // K * N, D)
    if q.device.type == "cpu":
        # PyTorch's fused kernel takes 2 to 3 times as long on a CPU at these sizes, in bfloat16 and in float32.
        mask = mask_B1QS.expand(-1, K, -1, -1).flatten(0, 1)
        scores = torch.baddbmm(mask, q.flatten(0, 1), k_BKSD.flatten(0, 1).transpose(1, 2), alpha=D**-0.5)
        out = torch.bmm(scores.softmax(-1), v_BKSD.flatten(0, 1))
    else:
        out = F.scaled_dot_product_attention(q, k_BKSD, v_BKSD, mask_B1QS)
    return out.view(B, K, H // K, N, D).permute(0, 3, 1, 2, 4).reshape(B, N, H * D)


def visible_mask(visible_BNS: Tensor, groups: int, dtype: torch.dtype) -> Tensor:
    """The mask of `attend_rows`, (B, 1, groups * N, S): 0 where a query sees a key, -inf elsewhere."""
    hidden = torch.zeros(visible_BNS.shape, dtype=dtype, device=visible_BNS.device)
    hidden.masked_fill_(~visible_BNS, float("-inf"))
    return hidden.repeat(1, groups, 1).unsqueeze(1)
