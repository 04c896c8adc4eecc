"""Samples of several robots as rows of one width.

Attention goes by position, not by place, so a row may hold its tokens in any order: first the text, filled up to a
common width, then the images, then the states. Dimension letters: B robots, T text places, V views, S states, L = T +
image tokens + S places, H action steps, W unified slots (200).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor

from beingh_core.errors import BeingHError
from beingh_core.model.batch import read_batch
from beingh_core.model.config import BeingHConfig

NOWHERE = 1 << 20
"""Position of a filler: behind everything, so that no token of the sample sees it."""


class Rows(NamedTuple):
    """Host tensors of B samples up to their action tokens.

    Attributes:
        text_ids: (B, T).
        pixels: (B * V, channels, height, width), each robot's views one after the other.
        states: (B, S, W).
        positions: (B, L), `NOWHERE` at fillers.
        action_positions: (B, H).
    """

    text_ids: Tensor
    pixels: Tensor
    states: Tensor
    positions: Tensor
    action_positions: Tensor


class _Sample(NamedTuple):
    ids: Tensor
    pixels: Tensor
    states: Tensor
    positions: tuple[Tensor, Tensor, Tensor]
    action_positions: Tensor


def read_rows(samples: Sequence[Mapping[str, Any]], config: BeingHConfig, bucket: int = 1) -> Rows:
    """Rows of packed samples, one robot each.

    Args:
        samples: The packed batches.
        config: The model's.
        bucket: The text is filled up to a multiple of this many tokens.

    Raises:
        BeingHError: A sample is malformed, its action tokens are not one run of the chunk length, or the samples
            differ in their number or size of images or in their number of states.
    """
    if not samples:
        raise BeingHError("there is no sample to infer on", remedy="give one packed batch for each robot")
    read = [_read(sample, config) for sample in samples]
    for what in ("pixels", "states"):
        shapes = {tuple(getattr(one, what).shape) for one in read}
        if len(shapes) > 1:
            raise BeingHError(
                f"the robots of one call have {what} of shapes {sorted(shapes)}",
                remedy="call once for each kind of robot",
            )
    width = max(one.ids.numel() for one in read)
    width = -(-width // bucket) * bucket
    rows = [_filled(one, width) for one in read]
    return Rows(
        torch.stack([ids for ids, _ in rows]),
        torch.cat([one.pixels for one in read]),
        torch.stack([one.states for one in read]),
        torch.stack([positions for _, positions in rows]),
        torch.stack([one.action_positions for one in read]),
    )


def _filled(sample: _Sample, width: int) -> tuple[Tensor, Tensor]:
    """Text ids (width,) and positions (L,) of one row."""
    ids = torch.zeros(width, dtype=torch.long)
    ids[: sample.ids.numel()] = sample.ids
    filler = torch.full((width - sample.ids.numel(),), NOWHERE)
    text, images, states = sample.positions
    return ids, torch.cat((text, filler, images, states))


def _read(batch: Mapping[str, Any], config: BeingHConfig) -> _Sample:
    data = read_batch(batch, torch.device("cpu"), torch.float32)
    actions, length = data["packed_action_indexes"], config.chunk_length
    start = int(actions[0]) if actions.numel() else 0
    if not torch.equal(actions, torch.arange(start, start + length)):
        raise BeingHError(
            f"{actions.numel()} action tokens where inference needs one run of {length}",
            where="packed_action_indexes",
            remedy="build the batch for one sample with the checkpoint's action_chunk_length",
        )
    if bool((data["packed_state_indexes"] >= start).any()) or bool((data["packed_vit_token_indexes"] >= start).any()):
        raise BeingHError(
            "a state or an image stands behind the action tokens",
            where="packed_state_indexes, packed_vit_token_indexes",
            remedy="put them before the actions, as PromptBuilder does",
        )
    before = data["packed_text_indexes"] < start
    places = data["packed_text_indexes"][before], data["packed_vit_token_indexes"], data["packed_state_indexes"]
    position = data["packed_position_ids"]
    states = data["padded_state"]
    return _Sample(
        data["packed_text_ids"][before],
        _pixels(data, config),
        torch.zeros(0, 1) if states is None else states,
        tuple(position[place] for place in places),
        position[start : start + length],
    )


def _pixels(data: Mapping[str, Any], config: BeingHConfig) -> Tensor:
    """(V, channels, height, width), one for each view slot; BeingHError when their tokens do not fill the places."""
    places = data["packed_vit_token_indexes"].numel()
    if not places:
        size = config.vision.image_size
        return torch.zeros(0, config.vision.num_channels, size, size)
    pixels, views = data["packed_vit_tokens"], data["packed_vit_view_index"]
    pixels = pixels if views is None else pixels[views]
    tokens = config.tokens_of(pixels.shape[-2:])
    if pixels.shape[0] * tokens != places:
        raise BeingHError(
            f"{pixels.shape[0]} views of {tokens} tokens for {places} places",
            where="packed_vit_token_indexes",
            remedy=f"reserve {tokens} tokens for each view",
        )
    return pixels
