"""Attention over a packed sequence in one call: flex attention with a block mask, for GPUs.

PyTorch compiles it to a kernel that leaves out blocks which no query sees (arXiv:2412.05496). Its kernel needs heads of 16 and
more numbers, and there is no backward pass on a CPU.

Dimension letters: S sequence positions, N distinct tokens, W channels, H heads, K key-value heads, D head width.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from beingh_core.errors import BeingHError

if TYPE_CHECKING:
    from torch.nn.attention.flex_attention import BlockMask

KINDS = ("auto", "dense", "flex")
LEAST_HEAD = 16


@dataclass(frozen=True, kw_only=True)
class FlexPack:
    """A packed sequence for flex attention.

    Attributes:
        mask: which blocks of queries see which blocks of keys.
        token_of: (S,) token at each position.
        position_of: (N,) the position whose result is a token's.
    """

    mask: BlockMask
    token_of: Tensor
    position_of: Tensor

    @classmethod
    def build(cls, sample_lens: Sequence[int], token_of: Tensor, position_of: Tensor) -> FlexPack:
        """Every position sees those of its own sample up to itself.

        Args:
            sample_lens: Length of each sample, in order; they sum to S.
            token_of, position_of: See above.
        """
        from torch.nn.attention.flex_attention import create_block_mask  # imports PyTorch's compiler

        device = token_of.device
        lens = torch.tensor(list(sample_lens), device=device)
        sample = torch.repeat_interleave(torch.arange(len(lens), device=device), lens)

        def visible(_batch: Tensor, _head: Tensor, query: Tensor, key: Tensor) -> Tensor:
            return (sample[query] == sample[key]) & (query >= key)

        mask = create_block_mask(visible, None, None, len(sample), len(sample), device=device)
        return cls(mask=mask, token_of=token_of, position_of=position_of)

    def attend(self, q_NHD: Tensor, k_NKD: Tensor, v_NKD: Tensor) -> Tensor:
        """Scaled dot-product attention of the tokens, (N, H * D)."""
        # Norms under autocast leave queries and keys in float32; one call takes one type.
        q, k, v = (t.to(v_NKD.dtype)[self.token_of].transpose(0, 1)[None] for t in (q_NHD, k_NKD, v_NKD))
        out = _flex_attention(q.device.type == "cuda")(
            q, k, v, block_mask=self.mask, enable_gqa=q.shape[1] != k.shape[1]
        )
        return out[0].transpose(0, 1)[self.position_of].flatten(1)


def uses_flex(kind: str, device: torch.device, head_dim: int) -> bool:
    """Whether training attends with flex attention.

    Args:
        kind: One of `KINDS`; auto takes it on a GPU.
        device: Where the model is.
        head_dim: D.

    Raises:
        BeingHError: It is asked for where it cannot train.
    """
    able = device.type == "cuda" and head_dim >= LEAST_HEAD
    if kind == "flex" and not able:
        why = f"heads of {head_dim} numbers, its kernel needs {LEAST_HEAD}" if device.type == "cuda" else "a CPU"
        raise BeingHError(
            f"flex attention cannot train with {why}", where="training.attention", allowed=KINDS,
            remedy="use auto, which takes the equal dense attention there",
        )  # fmt: skip
    return able and kind != "dense"


@functools.cache
def _flex_attention(compiled: bool) -> Callable[..., Tensor]:
    from torch.nn.attention.flex_attention import flex_attention

    return torch.compile(flex_attention) if compiled else flex_attention
