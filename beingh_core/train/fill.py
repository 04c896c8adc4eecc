"""What the losses of a pack count, and what a pack lacks that others of a step have.

Ranks that share weights (FSDP2) gather them and scatter gradients together, layer after layer. A rank whose pack has no picture,
no action or no answer would leave some of that out, and the others would wait for it; so it computes one of them for nothing.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from beingh_core.model import BeingHConfig
from beingh_core.model.batch import true_sample_lens
from beingh_core.model.config import UNIFIED_WIDTH
from beingh_core.model.flow import prefix_mask


@dataclass(frozen=True)
class Counted:
    """What a pack has.

    Attributes:
        values: numbers of unlocked actions that are valid.
        labels: tokens that answers predict.
        views: pictures.
        chunks: samples with actions.
    """

    values: float = 0.0
    labels: int = 0
    views: int = 0
    chunks: int = 0


def counted(batch: Mapping[str, Any] | None, delays: Any, chunk_length: int) -> Counted:
    """What a batch has.

    Args:
        batch: As `BeingH.loss` takes it; None for nothing.
        delays: (B,) locked prefixes [steps]; None for none.
        chunk_length: H.
    """
    if batch is None:
        return Counted()
    size = lambda name: 0 if batch.get(name) is None else len(batch[name])
    chunks = size("packed_action_indexes") // chunk_length
    shown = "packed_vit_view_index" if size("packed_vit_view_index") else "packed_vit_tokens"
    values = float(chunks * chunk_length * UNIFIED_WIDTH)
    mask = batch.get("padded_action_mask")
    if mask is not None and chunks:
        valid = torch.as_tensor(mask).reshape(chunks, chunk_length, UNIFIED_WIDTH).sum(-1)
        if delays is not None:
            valid = valid * ~prefix_mask(torch.as_tensor(delays).to(valid.device).reshape(chunks), chunk_length)
        values = float(valid.sum())
    elif delays is not None:
        values -= UNIFIED_WIDTH * float(torch.as_tensor(delays).sum())
    return Counted(values, size("ce_loss_indexes"), size(shown), chunks)


def filled(
    batch: Mapping[str, Any] | None, config: BeingHConfig, *, views: bool, chunks: bool, labels: bool
) -> dict[str, Any]:
    """A batch with one more sample: a word and, as asked for, a black picture, a state with a chunk of zeros, a label.

    What it has more is for the loss to be multiplied with 0; nothing else of the batch changes.

    Args:
        batch: As `BeingH.loss` takes it, with float pictures; None for nothing.
        config: Of the model.
        views, chunks, labels: what is asked for, each only of a batch that has none.
    """
    batch = dict(batch or {"packed_text_ids": torch.zeros(0, dtype=torch.long)})
    device = torch.as_tensor(batch["packed_text_ids"]).device
    start = int(batch.get("sequence_length", 0))
    if start:
        batch["sample_lens"] = torch.tensor(true_sample_lens(torch.as_tensor(batch["sample_lens"]), start))
    side, length = config.picture_size, config.chunk_length
    places = views * config.tokens_of((side, side))
    acting = chunks * (1 + length)
    total = 1 + places + acting
    at = torch.arange(start, start + total, device=device)
    more: dict[str, Tensor] = {
        "packed_text_ids": torch.zeros(1, dtype=torch.long), "packed_text_indexes": at[:1],
        "packed_position_ids": torch.arange(total), "sample_lens": torch.tensor([total]),
    }  # fmt: skip
    if views:
        more |= {"packed_vit_token_indexes": at[1 : 1 + places], "packed_vit_tokens": torch.zeros(1, 3, side, side)}
    if chunks:
        more |= {
            "packed_state_indexes": at[1 + places : 2 + places], "packed_action_indexes": at[2 + places :],
            "padded_state": torch.zeros(1, UNIFIED_WIDTH), "padded_action": torch.zeros(length, UNIFIED_WIDTH),
            "padded_action_mask": torch.ones(length, UNIFIED_WIDTH, dtype=torch.bool),
        }  # fmt: skip
    if labels:
        more |= {"ce_loss_indexes": at[:1], "packed_label_ids": torch.zeros(1, dtype=torch.long)}
    for name, value in more.items():
        known = batch.get(name)
        value = value.to(device if known is None else torch.as_tensor(known).device)
        batch[name] = value if known is None or not len(known) else torch.cat([torch.as_tensor(known), value])
    return {**batch, "sequence_length": start + total}
