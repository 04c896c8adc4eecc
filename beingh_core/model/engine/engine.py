"""`Engine`: chunks of actions from packed samples, with everything before the action tokens computed once.

Causal order makes all tokens before the actions the same in every Euler step and every pass of MPG (DESIGN section 5).
They run once and leave their keys and values in a static cache; 2N times only the H action tokens run, with the act
weights. Dimension letters as in `rows`; D head width, K key-value heads, P directions.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from beingh_core.errors import BeingHError
from beingh_core.model.action import time_features
from beingh_core.model.engine.linear import PreparedLinear
from beingh_core.model.engine.options import Options, read_options
from beingh_core.model.engine.prepare import Preparer
from beingh_core.model.engine.quantised_linear import multiplies_integers
from beingh_core.model.engine.rows import read_rows
from beingh_core.model.engine.sides import Rotation, Side, attend_rows, visible_mask
from beingh_core.model.engine.workspace import Workspace
from beingh_core.model.layers import rms_norm, rotary_table
from beingh_core.model.mpg import enhance, unit_directions
from beingh_core.model.weights import OwnWeights, Weights

if TYPE_CHECKING:
    from beingh_core.model.network import BeingHNetwork

KEPT_WORKSPACES = 8
"""Shapes whose memory, and on a GPU whose graphs, are kept; the least recently used one goes first."""
CUDA_BUCKET = 128
"""On a GPU prompts are filled up to a multiple of this many tokens, so that a new instruction finds its graph."""


@dataclass(frozen=True)
class Started:
    """Samples whose images and prompts have been computed; valid until the engine begins another one of their shape."""

    workspace: Workspace
    turn: int


class Engine:
    """Inference on frozen weights. One thread at a time.

    Args:
        model: The model; changes to its weights afterwards have no or half an effect.
        pack: Whether to lay the weights out for this machine, in memory of their own.
        bucket: Prompts are filled up to a multiple of this many tokens; None chooses for the device.
        weights: Whence the weights come; None takes the model's own.

    Attributes:
        weight_bytes: What the weights take that chunks are computed from.
        linear_layers: Each linear layer of the model that takes part -> what computes it, alone or with others.
        action_encoder, act_sides, final_norm, action_decoder: What action tokens run through, prepared.
    """

    def __init__(
        self, model: BeingHNetwork, *, pack: bool = True, bucket: int | None = None, weights: Weights | None = None
    ) -> None:
        self.model, self.config = model, model.config
        weights = weights or OwnWeights(model, model.device, model.dtype)
        self.device, self.dtype = weights.device, weights.dtype
        prepare = Preparer(weights, pack)
        decoder = model.language_model.model
        layers = list(decoder.layers)
        last = len(layers) - 1
        with torch.no_grad():  # not inference mode: some differentiate what is computed with these weights
            self._embed = prepare.kept(decoder.embed_tokens)
            self._vision = nn.Sequential(prepare.module(model.vit_model), prepare.module(model.connector))
            self._state_encoder = prepare.module(model.proprio_encoder_robot)
            self.action_encoder = prepare.module(model.action_encoder)
            self.action_decoder = prepare.module(model.action_decoder)
            self._und_sides = [Side(x, "", prepare, keys_only=i == last) for i, x in enumerate(layers)]
            self.act_sides = [Side(x, "_mot_gen", prepare) for x in layers]
            for name in ("mpg", "action_to_vlm_proj", "vlm_to_action_proj"):
                if hasattr(model, name):
                    setattr(self, name, prepare.module(getattr(model, name)))
            self.final_norm = prepare.kept(decoder.norm_mot_gen)
        self.weight_bytes, self.linear_layers = prepare.held_bytes, prepare.linear_layers
        self._groups = self.config.decoder.num_heads // self.config.decoder.num_kv_heads
        self._bucket = bucket or (CUDA_BUCKET if self.device.type == "cuda" else 1)
        self._workspaces: OrderedDict[tuple, Workspace] = OrderedDict()

    @property
    def weights_text(self) -> str:
        """What the weights are and take, in words."""
        quantised = self.config.quantised
        kind = str(self.dtype).removeprefix("torch.")
        kind = kind if quantised is None else f"{quantised.text}, the rest {kind}"
        if quantised is not None and quantised.scheme == "w8a8" and not multiplies_integers(self.device):
            kind += "; computed as int8, slower: no AVX-512 VNNI or AMX here"
        return f"{self.weight_bytes / 2**20:.1f} MB ({kind})"

    @property
    def has_gradient(self) -> bool:
        """Whether its layers can be differentiated by what they are given: neither packed nor in fewer bits."""
        return all(isinstance(x, PreparedLinear) and x.packed is None for x in self.linear_layers.values())

    def get_action(self, batch: Mapping[str, Any], **options: Any) -> Tensor:
        """The chunk (H, 200) float32 of one sample; options as for `finish`."""
        return self.finish(self.begin([batch]), **options)[0]

    def begin(self, samples: Sequence[Mapping[str, Any]]) -> Started:
        """Computes images and prompts of one packed sample per robot, in one batch.

        Nothing here depends on the noise or on the locked prefix, so it may run before that is known.

        Raises:
            BeingHError: A sample is malformed, or the samples do not go together.
        """
        started = self.load(samples)
        self.see(started.workspace)
        self.read(started.workspace)
        return started

    @torch.inference_mode()
    def load(self, samples: Sequence[Mapping[str, Any]]) -> Started:
        """Brings the samples into a workspace of their shape; the first part of `begin`."""
        rows = read_rows(samples, self.config, self._bucket)
        key = tuple(tuple(values.shape) for values in rows)
        if key not in self._workspaces:
            self._workspaces[key] = Workspace(rows, self.config, self.device, self.dtype)
            while len(self._workspaces) > KEPT_WORKSPACES:
                self._workspaces.popitem(last=False)
        self._workspaces.move_to_end(key)
        workspace = self._workspaces[key]
        return Started(workspace, workspace.load(rows))

    @torch.inference_mode()
    def see(self, w: Workspace) -> None:
        """Image tokens of all views of all robots; the second part of `begin`."""
        if w.pixels.shape[0]:
            w.graph("see", lambda: self._see(w))

    @torch.inference_mode()
    def read(self, w: Workspace) -> None:
        """Keys and values of everything before the actions; the last part of `begin`."""
        w.graph("read", lambda: self._read(w))

    @torch.inference_mode()
    def finish(
        self,
        started: Started,
        *,
        noise: Any = None,
        projections: Any = None,
        prev_chunk: Any = None,
        inference_delay: int | Sequence[int] = 0,
        refinement_iters: int | None = None,
        num_steps: int | None = None,
        mpg_lambda: float | None = None,
        active_slots: Any = None,
        observe_gates: bool = False,
        generator: torch.Generator | None = None,
    ) -> Tensor:
        """Euler integration of the flow: one chunk for each robot.

        Args:
            started: What `begin` returned.
            noise: (passes, B, H, 200), start of each pass; None samples it.
            projections: (refinement_iters * num_steps, P, C_und) MPG directions in call order; None samples.
            prev_chunk: (B, H, 200) normalised chunks whose first steps are locked.
            inference_delay: Number of locked steps d [action steps], of all robots or of each.
            refinement_iters: MPG passes after the plain one; None takes the checkpoint's.
            num_steps: Euler steps N; None takes the checkpoint's.
            mpg_lambda: Strength of MPG; None takes the checkpoint's.
            active_slots: (200,) bool or one such row for each robot; the other slots then follow their exact path
                (1 - t) noise. None integrates all of them, as released.
            observe_gates: Whether `gates` can be read afterwards.
            generator: CPU generator for what is sampled.

        Returns:
            Normalised unified actions (B, H, 200), float32, on the model's device.

        Raises:
            BeingHError: Impossible arguments, or MPG asked of a model without it.
        """
        w = started.workspace
        if started.turn != w.turn:
            raise BeingHError(
                "these samples were overwritten by others of their shape",
                remedy="finish a chunk before the next begins",
            )
        options = read_options(
            self.model, refinement_iters, num_steps, mpg_lambda, active_slots is not None, projections, observe_gates
        )
        w.load_flow(options, noise, projections, prev_chunk, inference_delay, active_slots, generator)
        w.graph(options, lambda: self._integrate(w, options))
        return w.actions.clone()

    def gates(self, started: Started) -> Tensor:
        """Values of MPG's gate in the newest chunks of these samples, which were finished with `observe_gates`.

        Returns:
            (refinement passes * Euler steps, B) float32 in call order; another chunk of their shape overwrites them.
        """
        return started.workspace.gates

    def _see(self, w: Workspace) -> None:
        w.images.copy_(self._vision(w.pixels).view_as(w.images))

    def _read(self, w: Workspace) -> None:
        decoder = self.config.decoder
        und = torch.cat((F.embedding(w.text_ids, self._embed), w.images.to(self.dtype)), dim=1)
        states = self._state_encoder(w.states) if w.num_state else None
        rotate = Rotation(rotary_table(w.positions, decoder.head_dim, decoder.rope_theta), self.dtype)
        visible = w.positions.unsqueeze(1) <= w.positions.unsqueeze(2)
        mask = visible_mask(visible, self._groups, self.dtype)
        length, kv_heads = w.length, decoder.num_kv_heads
        for index, (und_side, act_side) in enumerate(zip(self._und_sides, self.act_sides, strict=True)):
            last = index == len(self._und_sides) - 1
            qk, v = und_side.project(und)
            if states is not None:
                state_qk, state_v = act_side.project(states)
                state_qk = state_qk[:, :, -kv_heads:] if last else state_qk
                qk, v = torch.cat((qk, state_qk), dim=1), torch.cat((v, state_v), dim=1)
            qk = rotate(qk)
            keys, values = w.keys[index][:, :, :length], w.values[index][:, :, :length]
            keys.copy_(qk[:, :, -kv_heads:].transpose(1, 2))
            values.copy_(v.transpose(1, 2))
            if last:
                break
            attended = attend_rows(qk[:, :, :-kv_heads], keys, values, mask)
            count = und.shape[1]
            und = und_side.finish(und, attended[:, :count])
            if states is not None:
                states = act_side.finish(states, attended[:, count:])

    def _integrate(self, w: Workspace, options: Options) -> None:
        decoder, steps = self.config.decoder, options.steps
        rotate = Rotation(rotary_table(w.action_positions, decoder.head_dim, decoder.rope_theta), self.dtype)
        mask = visible_mask(w.visible_to_actions(), self._groups, self.dtype)
        locked = w.locked_steps()
        times = self._times(locked, steps)
        still = time_features(torch.zeros_like(locked, dtype=torch.long), self.config.decoder.act.hidden_size)
        unit = unit_directions(w.directions) if options.passes > 1 else None
        actions = w.actions
        for index in range(options.passes):
            prior = None
            if index:
                prior = self.mpg.prior(self.action_encoder.mix(actions.to(self.dtype), still))
            actions = torch.where(locked.unsqueeze(-1), w.prev_chunk, w.noise[index])
            for step in range(steps):
                tokens = self.action_encoder.mix(actions.to(self.dtype), times[step])
                if prior is not None:
                    call = (index - 1) * steps + step
                    observe = w.gates[call].copy_ if options.observe_gates else None
                    tokens = enhance(self, tokens, w.num_state, prior, unit[call], options.strength, observe)
                velocity = self.action_decoder(self._extend(w, tokens, rotate, mask)).float()
                actions = actions + velocity / steps
                if options.project_inactive:
                    actions = torch.where(w.active, actions, (1 - (step + 1) / steps) * w.noise[index])
                actions = torch.where(locked.unsqueeze(-1), w.prev_chunk, actions)
        w.actions.copy_(actions)

    def _times(self, locked_BH: Tensor, steps: int) -> Tensor:
        """Time features (steps, B, H, C_act) of every Euler step; locked tokens are at t = 1."""
        buckets = self.config.num_timestep_buckets
        free = [torch.full_like(locked_BH, int(step / steps * buckets), dtype=torch.long) for step in range(steps)]
        tau = torch.stack(free).masked_fill(locked_BH, buckets)
        return time_features(tau, self.config.decoder.act.hidden_size).to(self.dtype)

    def _extend(self, w: Workspace, x_BHC: Tensor, rotate: Rotation, mask: Tensor) -> Tensor:
        """Final normed states (B, H, C_act) of the action tokens behind the cached ones."""
        begin, end, kv_heads = w.length, w.length + x_BHC.shape[1], self.config.decoder.num_kv_heads
        for index, side in enumerate(self.act_sides):
            qk, v = side.project(x_BHC)
            qk = rotate(qk)
            w.keys[index][:, :, begin:end] = qk[:, :, -kv_heads:].transpose(1, 2)
            w.values[index][:, :, begin:end] = v.transpose(1, 2)
            attended = attend_rows(qk[:, :, :-kv_heads], w.keys[index], w.values[index], mask)
            x_BHC = side.finish(x_BHC, attended)
        return rms_norm(x_BHC, self.final_norm, self.config.decoder.eps)
