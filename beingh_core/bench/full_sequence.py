"""Inference the plain way: every token of the sample through every layer, in every Euler step of every pass.

Kept to check the cached path against, and to measure what the cache saves. It shares the model's weights, its
vision tower and its small encoders, but neither its attention, rotary embedding, norms nor token layout. Images
are encoded once a chunk, so what it costs more than the cached path is the decoder's work alone.

Dimension letters: N tokens of the sample, U und tokens, A act tokens, C channels, H heads, K key-value heads, D head
width, W unified slots (200).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from beingh_core.errors import BeingHError
from beingh_core.model import BeingH
from beingh_core.model.batch import read_batch

SIDES = ("", "_mot_gen")
"""Suffixes of the und and of the act weights."""


class Sample(NamedTuple):
    """What stays the same within a chunk; the places are sequence positions."""

    und_UC: Tensor
    state_SC: Tensor
    und_places: Tensor
    act_places: Tensor
    cos_N1D: Tensor
    sin_N1D: Tensor


@torch.inference_mode()
def full_sequence_actions(
    model: BeingH,
    batch: Mapping[str, Any],
    noise: Tensor,
    projections: Tensor | None = None,
    prev_chunk: Tensor | None = None,
    inference_delay: int = 0,
    num_steps: int | None = None,
) -> Tensor:
    """One action chunk from one robot sample (DESIGN section 5).

    Args:
        model: The model.
        batch: One packed sample.
        noise: (passes, 1, H, W), start of each pass; passes after the first use MPG.
        projections: ((passes - 1) * num_steps, P, C_und) MPG directions in call order.
        prev_chunk: (1, H, W) chunk whose first `inference_delay` steps are locked.
        inference_delay: Number of locked steps [action steps].
        num_steps: Euler steps N of a pass; None takes the checkpoint's.

    Returns:
        Normalised unified actions (H, W), float32.

    Raises:
        BeingHError: Several passes without MPG directions, or a locked prefix without its chunk.
    """
    steps = model.config.num_inference_steps if num_steps is None else num_steps
    if len(noise) > 1 and projections is None:
        raise BeingHError("refinement passes need projections", remedy="give (passes - 1) * num_steps blocks")
    if inference_delay and prev_chunk is None:
        raise BeingHError(f"inference_delay {inference_delay} without a prev_chunk", remedy="give the locked prefix")
    noise = noise.to(model.device, torch.float32)
    locked = noise[0, 0, :0] if prev_chunk is None else prev_chunk[0, :inference_delay].to(noise)
    sample = _read(model, batch)
    actions = clean = None
    for index, start in enumerate(noise[:, 0]):
        if actions is not None:
            still = torch.zeros(len(actions), dtype=torch.long, device=model.device)
            clean = model.action_encoder(actions.to(model.dtype), still)
        actions = start.clone()
        for step in range(steps):
            actions[: len(locked)] = locked
            tau = torch.full((len(actions),), int(step / steps * model.config.num_timestep_buckets))
            tau[: len(locked)] = model.config.num_timestep_buckets
            tokens = model.action_encoder(actions.to(model.dtype), tau.to(model.device))
            if clean is not None:
                directions = projections[(index - 1) * steps + step].to(model.device)
                tokens = model.enhance(tokens, len(sample.state_SC), clean, directions, model.config.mpg_lambda)
            actions = actions + model.action_decoder(_decode(model, sample, tokens)).float() / steps
            actions[: len(locked)] = locked
    return actions


def _read(model: BeingH, batch: Mapping[str, Any]) -> Sample:
    """Embeds everything but the actions."""
    data, decoder = read_batch(batch, model.device, model.dtype), model.config.decoder
    und = model.language_model.model.embed_tokens(data["packed_text_ids"])
    if data["packed_vit_token_indexes"].numel():
        und = torch.cat((und, model.connector(model.vit_model(data["packed_vit_tokens"])).flatten(0, 1)))
    half = torch.arange(decoder.head_dim // 2, device=model.device) / (decoder.head_dim // 2)
    angles = data["packed_position_ids"].float()[:, None] / decoder.rope_theta**half
    angles = torch.cat((angles, angles), dim=-1)[:, None]
    return Sample(
        und,
        model.proprio_encoder_robot(data["padded_state"]),
        torch.cat((data["packed_text_indexes"], data["packed_vit_token_indexes"])),
        torch.cat((data["packed_state_indexes"], data["packed_action_indexes"])),
        angles.cos().to(model.dtype),
        angles.sin().to(model.dtype),
    )


def _decode(model: BeingH, sample: Sample, tokens_HC: Tensor) -> Tensor:
    """Final normed states of the action tokens, from the whole sequence."""
    decoder = model.language_model.model
    sides = [sample.und_UC, torch.cat((sample.state_SC, tokens_HC))]
    for layer in decoder.layers:
        attended = _attend(layer, sample, sides)
        for index, (suffix, places) in enumerate(zip(SIDES, (sample.und_places, sample.act_places), strict=True)):
            x = sides[index] + getattr(layer.self_attn, "o_proj" + suffix)(attended[places])
            sides[index] = x + getattr(layer, "mlp" + suffix)(
                _rms(getattr(layer, "post_attention_layernorm" + suffix), x)
            )
    return _rms(decoder.norm_mot_gen, sides[1])[len(sample.state_SC) :]


def _attend(layer: nn.Module, sample: Sample, sides: list[Tensor]) -> Tensor:
    """Joint causal attention over the sequence, (N, H * D)."""
    attention, config = layer.self_attn, layer.self_attn.config
    total = len(sample.und_places) + len(sample.act_places)
    heads = {"q": config.num_heads, "k": config.num_kv_heads, "v": config.num_kv_heads}
    mixed = {name: sides[0].new_empty(total, count, config.head_dim) for name, count in heads.items()}
    for x, suffix, places in zip(sides, SIDES, (sample.und_places, sample.act_places), strict=True):
        x = _rms(getattr(layer, "input_layernorm" + suffix), x)
        for name, out in mixed.items():
            y = getattr(attention, f"{name}_proj{suffix}")(x).unflatten(-1, (-1, config.head_dim))
            out[places] = _rms(getattr(attention, f"{name}_norm{suffix}"), y) if name != "v" and config.qk_norm else y
    q, k = (_rotate(mixed[name], sample) for name in "qk")
    q, k, v = (x.transpose(0, 1)[None] for x in (q, k, mixed["v"]))
    return F.scaled_dot_product_attention(q, k, v, is_causal=True, enable_gqa=True)[0].transpose(0, 1).flatten(1)


def _rms(norm: nn.Module, x: Tensor) -> Tensor:
    """x / rms(x) * weight, in float32."""
    wide = x.float()
    return (wide * torch.rsqrt(wide.square().mean(-1, keepdim=True) + norm.eps)).to(x.dtype) * norm.weight


def _rotate(x_NHD: Tensor, sample: Sample) -> Tensor:
    """Rotary embedding: the first half of each head is paired with the second."""
    first, second = x_NHD.chunk(2, dim=-1)
    return x_NHD * sample.cos_N1D + torch.cat((-second, first), dim=-1) * sample.sin_N1D
