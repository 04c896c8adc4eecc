"""Reading a packed batch: many samples one after the other in one sequence (names as in DESIGN section 5)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from beingh_core.errors import BeingHError

INTEGER_KEYS = (
    "packed_text_ids",
    "packed_text_indexes",
    "packed_vit_token_indexes",
    "packed_vit_view_index",
    "packed_state_indexes",
    "packed_action_indexes",
    "packed_position_ids",
    "ce_loss_indexes",
    "packed_label_ids",
    "sample_lens",
)
FLOAT_KEYS = ("packed_vit_tokens", "padded_state", "padded_action")


def read_batch(batch: Mapping[str, Any], device: torch.device, dtype: torch.dtype) -> dict[str, Any]:
    """Brings the arrays of a packed batch (numpy or torch) to the model's device and dtypes.

    Raises:
        BeingHError: A needed key is missing.
    """
    for key in ("packed_text_ids", "packed_text_indexes", "packed_position_ids"):
        if batch.get(key) is None:
            raise BeingHError(
                f"the packed batch lacks '{key}'", allowed=sorted(map(str, batch)), remedy="build it with PromptBuilder"
            )
    ready: dict[str, Any] = {"sequence_length": int(batch.get("sequence_length", len(batch["packed_position_ids"])))}
    for key in INTEGER_KEYS:
        value = batch.get(key)
        ready[key] = None if value is None else torch.as_tensor(value).to(device, torch.long)
    for key in FLOAT_KEYS:
        value = batch.get(key)
        ready[key] = None if value is None else torch.as_tensor(value).to(device, dtype)
    weight = batch.get("padded_action_weight")
    ready["padded_action_weight"] = None if weight is None else torch.as_tensor(weight).to(device, torch.float32)
    mask = batch.get("padded_action_mask")
    ready["padded_action_mask"] = None if mask is None else torch.as_tensor(mask).to(device, torch.bool)
    for key in ("packed_vit_token_indexes", "packed_state_indexes", "packed_action_indexes", "ce_loss_indexes"):
        if ready[key] is None:
            ready[key] = torch.zeros(0, dtype=torch.long, device=device)
    _check(ready)
    return ready


def _check(ready: Mapping[str, Any]) -> None:
    """BeingHError unless every place that needs values has as many of them."""
    shown = ready["packed_vit_view_index"] if ready["packed_vit_view_index"] is not None else ready["packed_vit_tokens"]
    places, views = ready["packed_vit_token_indexes"].numel(), 0 if shown is None else shown.shape[0]
    if places and (ready["packed_vit_tokens"] is None or views == 0 or places % views):
        raise BeingHError(
            f"{places} image places for {views} views",
            where="packed_vit_token_indexes",
            remedy="give the images, and as many places for each as it has tokens",
        )
    pairs = [
        ("packed_text_ids", "packed_text_indexes"),
        ("padded_state", "packed_state_indexes"),
        ("packed_label_ids", "ce_loss_indexes"),
    ]
    pairs += [
        (key, "packed_action_indexes")
        for key in ("padded_action", "padded_action_weight") if ready[key] is not None
    ]  # fmt: skip
    for values, places in pairs:
        found = 0 if ready[values] is None else ready[values].shape[0]
        if found != ready[places].numel():
            raise BeingHError(
                f"{found} rows for the {ready[places].numel()} places of {places}",
                where=values,
                remedy="give one row for each place, in order",
            )


def true_sample_lens(sample_lens: Tensor | None, total: int) -> list[int]:
    """Sample lengths that cover the sequence; trailing padding entries are dropped.

    Args:
        sample_lens: Lengths, possibly with padding entries after the last sample; None means one sample.
        total: The sequence length S.

    Raises:
        BeingHError: The lengths have no prefix that sums to S.
    """
    if sample_lens is None:
        return [total]
    kept, covered = [], 0
    for length in sample_lens.tolist():
        if covered == total:
            break
        kept.append(length)
        covered += length
    if covered != total:
        raise BeingHError(
            f"sample_lens {sample_lens.tolist()} do not add up to the sequence length {total}",
            remedy="list every sample's length in order; entries for padding come last",
        )
    return [length for length in kept if length > 0]


def identities(data: Mapping[str, Any]) -> Tensor:
    """(S,) numbers that are equal where the embeddings of two tokens of a read batch are equal.

    Text tokens are known by their id, image tokens by picture and place in it, state tokens by their values;
    action tokens are all different, because their noise is.
    """
    identity = torch.zeros(data["sequence_length"], dtype=torch.long, device=data["packed_text_ids"].device)
    identity[data["packed_text_indexes"]] = data["packed_text_ids"]
    base = data["packed_text_ids"].max() + 1
    places = data["packed_vit_token_indexes"]
    if places.numel():
        views = data["packed_vit_view_index"]
        if views is None:
            views = torch.arange(data["packed_vit_tokens"].shape[0], device=places.device)
        tokens = places.numel() // views.numel()
        image = views.unsqueeze(-1) * tokens + torch.arange(tokens, device=places.device)
        identity[places] = base + image.flatten()
        base = base + (views.max() + 1) * tokens
    if data["packed_state_indexes"].numel():
        same = torch.unique(data["padded_state"], dim=0, return_inverse=True)[1]
        identity[data["packed_state_indexes"]] = base + same
        base = base + same.max() + 1
    actions = data["packed_action_indexes"]
    identity[actions] = base + torch.arange(actions.numel(), device=actions.device)
    return identity
