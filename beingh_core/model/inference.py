"""Euler integration of the flow with the prompt computed once.

Causal order makes everything before the action tokens the same in every step and pass: it runs once and
leaves its keys and values; only the action tokens run again. Dimension letters: B robots (1), H action
steps, W unified slots (200).
"""

from __future__ import annotations

import functools
import logging
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, NamedTuple

import torch
from torch import Tensor

from beingh_core.errors import BeingHError
from beingh_core.model import flow
from beingh_core.model.batch import read_batch
from beingh_core.model.config import UNIFIED_WIDTH
from beingh_core.model.decoder import KeyValues
from beingh_core.model.packing import PackLayout

if TYPE_CHECKING:
    from beingh_core.model.beingh import BeingH

logger = logging.getLogger(__name__)


class Prompt(NamedTuple):
    """What the action tokens see: cached layers, their own positions (B, H), number of state tokens."""

    cache: list[KeyValues]
    positions: Tensor
    num_state: int


class Locked(NamedTuple):
    """The prefix that must stand: clean actions (B, d, W)."""

    actions: Tensor
    steps: int


def read_prompt(model: BeingH, batch: Mapping[str, Any]) -> Prompt:
    """Runs everything before the action tokens of one robot's sample.

    Raises:
        BeingHError: The action tokens are not one run of the checkpoint's chunk length.
    """
    data = read_batch(batch, model.device, model.dtype)
    actions = data["packed_action_indexes"]
    length = model.config.chunk_length
    start = int(actions[0]) if actions.numel() else 0
    run = torch.arange(start, start + length, device=actions.device)
    if not torch.equal(actions, run):
        raise BeingHError(
            f"{actions.numel()} action tokens where inference needs one run of {length}",
            where="packed_action_indexes",
            remedy="build the batch for one sample with the checkpoint's action_chunk_length",
        )
    und_places = torch.cat((data["packed_text_indexes"], data["packed_vit_token_indexes"]))
    und_chosen = torch.nonzero(und_places < start).flatten()
    state_chosen = torch.nonzero(data["packed_state_indexes"] < start).flatten()
    layout = PackLayout.build(
        [start],
        data["packed_position_ids"][:start],
        torch.arange(start, device=model.device),
        und_places[und_chosen],
        data["packed_state_indexes"][state_chosen],
    )
    und, state = model.embed_und(data, und_chosen), model.embed_state(data, state_chosen)
    cache = model.language_model.model.prefill(und, state, layout)
    positions = data["packed_position_ids"][start : start + length].unsqueeze(0)
    return Prompt(cache, positions, data["packed_state_indexes"].numel())


def read_locked(model: BeingH, prev_chunk: Any, inference_delay: int) -> Locked | None:
    """The locked prefix, or None when nothing is locked; BeingHError when it is impossible."""
    steps = int(inference_delay)
    if steps == 0:
        return None
    length = model.config.chunk_length
    if prev_chunk is None or not 0 < steps < length:
        raise BeingHError(
            f"inference_delay {steps} with {'no' if prev_chunk is None else 'a'} prev_chunk",
            allowed=f"0, or 1 to {length - 1} with a prev_chunk (1, {length}, {UNIFIED_WIDTH})",
            remedy="give the locked prefix, or inference_delay 0",
        )
    actions = torch.as_tensor(prev_chunk).to(model.device, torch.float32).reshape(1, -1, UNIFIED_WIDTH)
    if actions.shape[1] < steps:
        raise BeingHError(
            f"prev_chunk holds {actions.shape[1]} steps, {steps} are to be locked", remedy="give at least that many"
        )
    if steps > model.config.trained_delay:
        _say_once(f"locking {steps} action steps; the checkpoint was trained for {model.config.trained_delay}")
    return Locked(actions[:, :steps], steps)


def _read_directions(model: BeingH, projections: Any, calls: int, generator: torch.Generator | None) -> Tensor:
    """(calls, P, C_und) MPG directions, given or sampled; BeingHError when their number or width does not fit."""
    if projections is None:
        return model.directions(calls, generator)
    directions = torch.as_tensor(projections).to(model.device)
    width = model.config.decoder.und.hidden_size
    if directions.ndim != 3 or directions.shape[0] != calls or directions.shape[2] != width:
        raise BeingHError(
            f"projections have shape {tuple(directions.shape)}",
            allowed=f"({calls}, number of directions, {width})",
            remedy="give one block for each Euler step of each refinement pass",
        )
    return directions


@functools.cache
def _say_once(line: str) -> None:
    logger.warning(line)


def denoise(
    model: BeingH,
    batch: Mapping[str, Any],
    noise: Any = None,
    projections: Any = None,
    prev_chunk: Any = None,
    inference_delay: int = 0,
    refinement_iters: int | None = None,
    num_steps: int | None = None,
    mpg_lambda: float | None = None,
    active_slots: Any = None,
    generator: torch.Generator | None = None,
) -> Tensor:
    """One action chunk from one robot's packed sample.

    Args:
        model: The model.
        batch: One packed sample (numpy or torch).
        noise: (passes, 1, H, 200), start of each pass; None samples it.
        projections: (refinement_iters * num_steps, P, C_und) MPG directions in call order; None samples.
        prev_chunk: (1, H, 200) normalised chunk whose first steps are locked.
        inference_delay: Number of locked steps d [action steps].
        refinement_iters: MPG passes after the plain one; None takes the checkpoint's.
        num_steps: Euler steps N; None takes the checkpoint's.
        mpg_lambda: Strength of MPG; None takes the checkpoint's.
        active_slots: (200,) bool; the other slots then follow their exact path (1 - t) noise. None
            integrates all of them, as released.
        generator: CPU generator for what is sampled.

    Returns:
        Normalised unified actions (H, 200), float32.

    Raises:
        BeingHError: Impossible arguments, or MPG asked of a model without it.
    """
    config = model.config
    steps = config.num_inference_steps if num_steps is None else num_steps
    if refinement_iters is None:
        refinement_iters = config.mpg_refinement_iters if config.use_mpg else 0
    strength = config.mpg_lambda if mpg_lambda is None else mpg_lambda
    shape = (refinement_iters + 1, 1, config.chunk_length, UNIFIED_WIDTH)
    noise = torch.randn(shape, generator=generator) if noise is None else torch.as_tensor(noise)
    if tuple(noise.shape) != shape:
        raise BeingHError(f"noise has shape {tuple(noise.shape)}", allowed=str(shape), remedy="one block for each pass")
    noise = noise.to(model.device, torch.float32)
    if refinement_iters:
        model._need_mpg()
        directions = _read_directions(model, projections, refinement_iters * steps, generator)
        directions = directions.unflatten(0, (refinement_iters, steps))
    prompt = read_prompt(model, batch)
    locked = read_locked(model, prev_chunk, inference_delay)
    active = None if active_slots is None else torch.as_tensor(active_slots).to(model.device, torch.bool)
    actions = _integrate(model, prompt, noise[0], steps, locked, active)
    for index in range(refinement_iters):
        clean = model.action_encoder(actions.to(model.dtype), torch.zeros_like(prompt.positions))
        gating = (clean[0], directions[index], strength)
        actions = _integrate(model, prompt, noise[index + 1], steps, locked, active, gating)
    return actions[0]


def _integrate(
    model: BeingH,
    prompt: Prompt,
    noise_BHW: Tensor,
    steps: int,
    locked: Locked | None,
    active_W: Tensor | None,
    gating: tuple[Tensor, Tensor, float] | None = None,
) -> Tensor:
    """Euler steps from noise at t = 0 to actions (B, H, W) at t = 1."""
    buckets = model.config.num_timestep_buckets
    actions = _lock(noise_BHW.clone(), locked)
    for step in range(steps):
        tau = torch.full_like(prompt.positions, int(step / steps * buckets))
        if locked is not None:
            tau[:, : locked.steps] = flow.discretise(torch.ones(()), buckets)
        tokens = model.action_encoder(actions.to(model.dtype), tau)
        if gating is not None:
            clean, directions, strength = gating
            tokens = model.enhance(tokens[0], prompt.num_state, clean, directions[step], strength).unsqueeze(0)
        states = model.language_model.model.extend(tokens, prompt.cache, prompt.positions)
        actions = actions + model.action_decoder(states).float() / steps
        if active_W is not None:
            actions = torch.where(active_W, actions, (1 - (step + 1) / steps) * noise_BHW)
        actions = _lock(actions, locked)
    return actions


def _lock(actions_BHW: Tensor, locked: Locked | None) -> Tensor:
    """Overwrites the locked prefix."""
    if locked is None:
        return actions_BHW
    return torch.cat((locked.actions.expand(actions_BHW.shape[0], -1, -1), actions_BHW[:, locked.steps :]), dim=1)
