"""Real-time chunking by guidance at inference: Black, Galliker, Levine, arXiv 2506.07339, section 4 and algorithm 1.

With A the noisy chunk at flow time t, v its velocity and X(A) = A + (1 - t) v(A) the clean chunk that it points to, every Euler step
uses instead of v

    v + min(beta, (1 - t) / (t r^2)) (Y - X)^T diag(W) dX/dA,      r^2 = (1 - t)^2 / (t^2 + (1 - t)^2)

so that the new chunk agrees with Y, what the chunk before still wants, as far as the soft mask W says.

Letters: B robots, H action steps, W unified slots (200).
"""

from __future__ import annotations

import copy
import math
from collections.abc import Callable

import torch
from torch import Tensor

from beingh_core.errors import BeingHError
from beingh_core.model.action import time_features
from beingh_core.model.engine import Engine
from beingh_core.model.engine.engine import Started
from beingh_core.model.engine.sides import Rotation, attend_rows, visible_mask
from beingh_core.model.layers import rms_norm, rotary_table
from beingh_core.model.mpg import enhance, unit_directions

# The published limit of the guidance's weight.
BETA = 5.0
Flow = Callable[[Tensor, float], Tensor]  # of (B, H, W) and t the velocity


def soft_mask(length: int, delay: int, executed: int) -> Tensor:
    """(H,) how much each step of a new chunk must agree with the one before (equation 5 of the paper).

    1 for the steps that will have run when it comes, falling over those that both chunks have, 0 behind them.

    Args:
        length: H.
        delay: d, steps that will have run.
        executed: s, ticks between the two chunks' first rows.
    """
    both = max(0, length - executed)
    steps = torch.arange(length, dtype=torch.float64)
    falling = (both - steps) / (both - delay + 1) if both > delay else torch.zeros_like(steps)
    weights = falling * torch.expm1(falling) / (math.e - 1)
    weights[: min(delay, both)] = 1.0
    weights[both:] = 0.0
    return weights


def gain(time: float, beta: float = BETA) -> float:
    """Weight of the guidance at flow time t in [0, 1)."""
    if time <= 0.0:
        return beta
    return min(beta, (time**2 + (1 - time) ** 2) / (time * (1 - time)))


def guided_velocity(
    flow: Flow, actions: Tensor, time: float, wanted: Tensor, weights: Tensor, beta: float = BETA
) -> Tensor:
    """The velocity at A, pulled towards what is wanted.

    Args:
        flow: The model's velocity, differentiable.
        actions: (B, H, W) A.
        time: t.
        wanted: (B, H, W) Y.
        weights: W, of a shape that goes with (B, H, W).
        beta: Largest weight of the guidance.
    """
    with torch.enable_grad():
        noisy = actions.detach().requires_grad_(True)
        velocity = flow(noisy, time)
        clean = noisy + (1 - time) * velocity
        error = (wanted - clean).detach() * weights
        [pull] = torch.autograd.grad(clean, noisy, error)
    return velocity.detach() + gain(time, beta) * pull


def guided_chunk(flow: Flow, noise: Tensor, steps: int, wanted: Tensor, weights: Tensor, beta: float = BETA) -> Tensor:
    """(B, H, W) Euler integration of the guided flow from noise in so many steps; see `guided_velocity`."""
    actions = noise
    for step in range(steps):
        actions = actions + guided_velocity(flow, actions, step / steps, wanted, weights, beta) / steps
    return actions


class ActionFlow:
    """The velocity of a model's action tokens behind a prompt that its engine has read: the engine's flow step, with a gradient.

    The engine writes keys and values in place and keeps no graph, so the action tokens run here; weights and everything
    before the actions are the engine's. The gate of MPG, a constant to the gradient in training, is part of the Jacobian.

    Args:
        engine: Of the model.

    Raises:
        BeingHError: Its weights have no gradient.
    """

    def __init__(self, engine: Engine) -> None:
        if not engine.has_gradient:
            raise BeingHError(
                f"guidance needs a gradient, which weights of {engine.weights_text} do not give",
                remedy="load the original checkpoint in float32",
            )
        self._engine, self._config = engine, engine.config
        if self.passes > 1:
            self.mpg = copy.copy(engine.mpg)
            self.mpg.stop_gradient = False
            self.action_to_vlm_proj, self.vlm_to_action_proj = engine.action_to_vlm_proj, engine.vlm_to_action_proj

    @property
    def passes(self) -> int:
        """How many the checkpoint has: a plain one, and those with MPG."""
        config = self._config
        return 1 + (config.mpg_refinement_iters if config.use_mpg and config.mpg_lambda else 0)

    def behind(self, started: Started, clean: Tensor | None = None, directions: Tensor | None = None) -> Flow:
        """The flow of a pass behind samples that were begun; what begins later does not change it.

        Args:
            started: The samples.
            clean: (B, H, W) the result of the pass before, for a pass with MPG; None for the plain one.
            directions: (steps, P, C) of MPG in each Euler step; drawn when None.
        """
        w, decoder = started.workspace, self._config.decoder
        dtype, length, horizon = self._engine.dtype, w.length, self._config.chunk_length
        # Copies: what the engine makes in inference mode cannot be kept for a gradient.
        past = [(k[:, :, :length].clone(), v[:, :, :length].clone()) for k, v in zip(w.keys, w.values)]
        positions = w.action_positions.clone()
        rotate = Rotation(rotary_table(positions, decoder.head_dim, decoder.rope_theta), dtype)
        seen = w.visible_to_actions()[..., : length + horizon].clone()
        mask = visible_mask(seen, decoder.num_heads // decoder.num_kv_heads, dtype)
        gate = None if clean is None else self._gate(clean, w.num_state, directions)

        def velocity(actions_BHW: Tensor, time: float) -> Tensor:
            tokens = self._tokens(actions_BHW, int(time * self._config.num_timestep_buckets))
            tokens = tokens if gate is None else gate(tokens, time)
            tokens = self._extended(tokens, past, rotate, mask)
            return self._engine.action_decoder(tokens).to(actions_BHW.dtype)

        return velocity

    def _tokens(self, actions_BHW: Tensor, tau: int) -> Tensor:
        taus = torch.full(actions_BHW.shape[:2], tau, device=actions_BHW.device)
        features = time_features(taus, self._config.decoder.act.hidden_size)
        return self._engine.action_encoder.mix(actions_BHW.to(self._engine.dtype), features.to(self._engine.dtype))

    def _gate(self, clean: Tensor, num_state: int, directions: Tensor | None) -> Callable[[Tensor, float], Tensor]:
        """What MPG does to the action tokens of the Euler step at a time."""
        steps, strength = self._config.num_inference_steps, float(self._config.mpg_lambda)
        if directions is None:
            shape = steps, self._config.mpg_num_projections, self._config.decoder.und.hidden_size
            directions = torch.randn(shape).to(self._engine.device)
        unit = unit_directions(directions)
        with torch.no_grad():
            prior = self.mpg.prior(self._tokens(clean, 0))
        return lambda tokens, time: enhance(self, tokens, num_state, prior, unit[round(time * steps)], strength)

    def _extended(self, x: Tensor, past: list[tuple[Tensor, Tensor]], rotate: Rotation, mask: Tensor) -> Tensor:
        """Final normed states of the action tokens behind the cached ones."""
        kv_heads = self._config.decoder.num_kv_heads
        for side, (keys, values) in zip(self._engine.act_sides, past, strict=True):
            qk, v = side.project(x)
            qk = rotate(qk)
            keys = torch.cat((keys, qk[:, :, -kv_heads:].transpose(1, 2)), dim=2)
            values = torch.cat((values, v.transpose(1, 2)), dim=2)
            x = side.finish(x, attend_rows(qk[:, :, :-kv_heads], keys, values, mask))
        return rms_norm(x, self._engine.final_norm, self._config.decoder.eps)
