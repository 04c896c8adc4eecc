"""The network of Being-H: weights, embeddings and training losses of packed batches (DESIGN section 5).

Dimension letters: B samples with actions, H action steps, W unified slots (200), N tokens, C hidden channels.
"""

from __future__ import annotations

import copy
import dataclasses
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from beingh_core.checkpoint_directory import checkpoint_directory
from beingh_core.errors import BeingHError
from beingh_core.files import read_json
from beingh_core.model import checkpoint, flow, mof, mpg
from beingh_core.model.action import ActionEncoder, TwoLayerMLP
from beingh_core.model.batch import identities, read_batch, true_sample_lens
from beingh_core.model.config import UNIFIED_WIDTH, BeingHConfig
from beingh_core.model.decoder import Kept, LanguageModel
from beingh_core.model.flex import FlexPack
from beingh_core.model.initialise import initialise, without_weights
from beingh_core.model.mpg import ManifoldGate
from beingh_core.model.packing import PackLayout
from beingh_core.model.quantised import KEY
from beingh_core.model.tensor_reader import TensorReader, load_tensors
from beingh_core.model.vision import Connector, VisionModel

if TYPE_CHECKING:
    from typing_extensions import Self

MPG_MODULES = ("mpg", "action_to_vlm_proj", "vlm_to_action_proj")
_EMBEDDING = "language_model.model.embed_tokens.weight"


class BeingHNetwork(nn.Module):
    """Vision, mixture-of-transformers decoder and flow-matching action head; parameter names are the released ones.

    Args:
        raw_config: config.json as a mapping; kept whole, and written back by `save_pretrained`.
        mpg_modules: Which MPG modules to build (default: all when the configuration uses MPG, else none).

    Attributes:
        flex: Whether `loss` attends with flex attention (`flex.uses_flex`).
    """

    def __init__(self, raw_config: Mapping[str, Any], mpg_modules: tuple[str, ...] | None = None) -> None:
        super().__init__()
        self.raw_config = copy.deepcopy(dict(raw_config))
        self.config = config = BeingHConfig.from_dict(raw_config)
        self.flex = False
        und, act = config.decoder.und.hidden_size, config.decoder.act.hidden_size
        self.language_model = LanguageModel(config.decoder, config.mof)
        self.vit_model = VisionModel(config.vision, config.select_layer)
        self.connector = Connector(config.vision, config.downsample_ratio, und)
        self.proprio_encoder_robot = TwoLayerMLP(UNIFIED_WIDTH, act, act)
        self.action_encoder = ActionEncoder(UNIFIED_WIDTH, act)
        self.action_decoder = TwoLayerMLP(act, act, UNIFIED_WIDTH)
        if mpg_modules is None:
            mpg_modules = MPG_MODULES if config.use_mpg else ()
        if "mpg" in mpg_modules:
            self.mpg = ManifoldGate(und, act, config.mpg_temperature, config.mpg_stop_gradient)
        if "action_to_vlm_proj" in mpg_modules:
            self.action_to_vlm_proj = nn.Linear(act, und)
        if "vlm_to_action_proj" in mpg_modules:
            self.vlm_to_action_proj = nn.Linear(und, act)

    @classmethod
    def from_config(cls, config: Mapping[str, Any], seed: int = 0) -> Self:
        """A model with random weights suited to training from scratch, float32 on the CPU."""
        with torch.random.fork_rng(devices=[]):
            model = cls(config)
        if model.config.quantised is not None:
            raise BeingHError("weights in fewer bits cannot be random", where=KEY, remedy="leave this key out")
        initialise(model, seed)
        return model

    @classmethod
    def from_pretrained(
        cls,
        directory: str | Path,
        device: str | torch.device = "cpu",
        dtype: torch.dtype | None = None,
        overrides: Mapping[str, Any] | None = None,
        seed: int = 0,
    ) -> Self:
        """Loads a checkpoint directory, strictly. A dense one to which `mof` gives experts is up-cycled.

        Args:
            directory: Holds config.json and the tensor files.
            device: Where the weights go.
            dtype: Their type; None keeps the file's own, the widest of them where tensors differ.
            overrides: Values in place of those of config.json.
            seed: Of what an up-cycled model has and the file has not.

        Raises:
            BeingHError: No checkpoint directory, the configuration is unusable, a tensor is missing, unexpected or
                misshapen, its values are not finite numbers, its experts are others than those asked for, or its
                weights are in fewer bits.
        """
        model, stored = cls.opened(directory, overrides, grow=True)
        if model.config.quantised is not None:
            raise BeingHError(
                f"the weights are quantised ({model.config.quantised.text}); only an engine computes with them",
                where=Path(directory) / checkpoint.CONFIG,
                remedy="give the checkpoint that it was made from",
            )
        expected = {name: parameter.shape for name, parameter in model.named_parameters()}
        tensors = load_tensors(stored, device, dtype or checkpoint.common_dtype(stored))
        if expected.keys() != tensors.keys():
            tensors = mof.upcycled(tensors, expected, seed)
        model.load_state_dict(tensors, strict=True, assign=True)
        model.requires_grad_(True)
        return model.eval()

    @classmethod
    def opened(
        cls, directory: str | Path, overrides: Mapping[str, Any] | None = None, grow: bool = False
    ) -> tuple[Self, dict[str, checkpoint.Stored]]:
        """A checkpoint's model without values, and its tensors as their files describe them, checked against it.

        Args:
            directory, overrides: As for `from_pretrained`.
            grow: Whether the model may have experts that the checkpoint has not.

        Raises:
            BeingHError: As for `from_pretrained`, but for values.
        """
        directory = checkpoint_directory(directory)
        raw = read_json(directory / checkpoint.CONFIG)
        own = config = BeingHConfig.from_dict(raw, directory / checkpoint.CONFIG)
        if overrides:
            raw = {**raw, **overrides}
            config = BeingHConfig.from_dict(raw, f"in place of {checkpoint.CONFIG}'s", "give another value, or none")
            mof.refuse_other(own.mof, config.mof, directory)
        stored = checkpoint.stored_tensors(directory)
        present = tuple(m for m in MPG_MODULES if any(name.startswith(m + ".") for name in stored))
        with without_weights():
            model = cls(raw, MPG_MODULES if config.use_mpg else present)
        if config.decoder.tie_word_embeddings:
            read = TensorReader(stored, "cpu", None).read
            checkpoint.drop_tied(directory, stored, "language_model.lm_head.weight", _EMBEDDING, read)
        expected, integers = {name: parameter.shape for name, parameter in model.named_parameters()}, {}
        if grow and own.mof is None and config.mof is not None:
            expected = mof.dense_shapes(expected)
        if config.quantised is not None:
            expected, integers = config.quantised.stored(expected)
        checkpoint.check_tensors(directory, stored, expected, integers)
        return model.eval(), stored

    def save_pretrained(self, directory: str | Path) -> None:
        """Writes config.json (every key it came with) and model.safetensors to a directory."""
        checkpoint.save(Path(directory), self.raw_config, self.state_dict())

    @property
    def device(self) -> torch.device:
        """Where the weights are."""
        return self.action_encoder.W1.weight.device

    @property
    def dtype(self) -> torch.dtype:
        """Type of the weights."""
        return self.action_encoder.W1.weight.dtype

    def embed_images(self, pixels_VCHW: Tensor) -> Tensor:
        """Image tokens after the connector: (V, C, H, W) normalised pixels to (V, tokens, und hidden)."""
        return self.connector(self.vit_model(pixels_VCHW.to(self.device, self.dtype)))

    def embed_und(self, data: Mapping[str, Any], chosen: Tensor | None = None) -> Tensor:
        """Text and image tokens of a read batch, (N_und, C), in that order.

        Args:
            data: The batch.
            chosen: Which of them to embed, ascending; None means all.
        """
        ids, places = data["packed_text_ids"], data["packed_vit_token_indexes"]
        chosen = torch.arange(ids.numel() + places.numel(), device=ids.device) if chosen is None else chosen
        is_text = chosen < ids.numel()
        tokens = self.language_model.model.embed_tokens(ids[chosen[is_text]])
        if places.numel() == 0:
            return tokens
        images = self.embed_images(data["packed_vit_tokens"])
        views = data["packed_vit_view_index"]
        views = torch.arange(images.shape[0], device=ids.device) if views is None else views
        if views.numel() * images.shape[1] != places.numel():
            raise BeingHError(
                f"{views.numel()} views of {images.shape[1]} tokens for {places.numel()} places",
                where="packed_vit_token_indexes",
                remedy=f"reserve {images.shape[1]} tokens for each view",
            )
        source = views.unsqueeze(-1) * images.shape[1] + torch.arange(images.shape[1], device=ids.device)
        source = source.flatten()[chosen[~is_text] - ids.numel()]
        images = images.flatten(0, 1).to(tokens.dtype)
        if not torch.equal(source, torch.arange(images.shape[0], device=ids.device)):
            images = images.index_select(0, source)
        return torch.cat((tokens, images))

    def embed_state(self, data: Mapping[str, Any], chosen: Tensor | None = None) -> Tensor:
        """State tokens (N_state, C_act) of a read batch; `chosen` as for `embed_und`."""
        if data["packed_state_indexes"].numel() == 0:
            return self.proprio_encoder_robot.layer2.weight.new_zeros(0, self.config.decoder.act.hidden_size)
        states = data["padded_state"]
        return self.proprio_encoder_robot(states if chosen is None else states[chosen])

    def enhance(
        self, actions_NC: Tensor, num_state: int, clean_HA: Tensor, directions_PD: Tensor, strength: float
    ) -> Tensor:
        """Action embeddings after MPG under one gate, (N, C) like before.

        Args:
            actions_NC: Embeddings of the noisy actions, as they would enter the decoder.
            num_state: Number of state tokens; each adds a zero row to the suffix that the gate looks at.
            clean_HA: Embeddings of clean actions at tau = 0, one chunk.
            directions_PD: Projection directions.
            strength: lambda.
        """
        self.need_mpg()
        prior, unit = self.mpg.prior(clean_HA.unsqueeze(0)), mpg.unit_directions(directions_PD)
        return mpg.enhance(self, actions_NC.unsqueeze(0), num_state, prior, unit, strength)[0]

    def need_mpg(self) -> None:
        """BeingHError unless the checkpoint has every module of MPG."""
        lacking = [name for name in MPG_MODULES if not hasattr(self, name)]
        if lacking:
            raise BeingHError(
                f"MPG asked of a model without {', '.join(lacking)}",
                where="config.json: use_mpg",
                remedy="use lambda 0 and no refinement passes, or train with use_mpg true",
            )

    def directions(self, count: int, generator: torch.Generator | None = None) -> Tensor:
        """`count` blocks of random projection directions, (count, P, C_und) float32, not normalised."""
        shape = (count, self.config.mpg_num_projections, self.config.decoder.und.hidden_size)
        return torch.randn(shape, generator=generator).to(self.device)

    def loss(
        self,
        batch: Mapping[str, Any],
        *,
        noise: Any = None,
        time: Any = None,
        delays: Any = None,
        projections: Any = None,
        mpg_lambda: float | None = None,
        generator: torch.Generator | None = None,
        text_depths: tuple[int, ...] = (),
    ) -> dict[str, Tensor]:
        """Training losses of a packed batch; what is not given is sampled as the configuration says.

        Args:
            batch: The packed names of DESIGN section 5 (numpy or torch). `packed_vit_view_index` (views,)
                may say which row of packed_vit_tokens each view slot shows, so that samples share an image.
            noise: (B * H, 200) or (B, H, 200), start of the flow.
            time: (B,) base flow times in [0, 1].
            delays: (B,) locked prefix lengths [steps]; sampled only when `time` is sampled too, else 0.
            projections: (1, P, C_und) or (P, C_und) MPG directions.
            mpg_lambda: Strength of MPG; None takes the configuration's, 0 switches it off.
            generator: CPU generator for what is sampled.
            text_depths: After how many layers the und states must also predict the labels. Action tokens of a
                layer see what und tokens knew before it, so what only the last layer finds out is lost on them.

        Returns:
            `action_loss`: mean squared velocity error over valid slots of unlocked steps, where the batch has
                `padded_action_weight` (B * H,) each step's multiplied with it.
            `action_parts`: (B * H,) what each step adds to it, without gradient.
            `und_loss`: mean cross-entropy at ce_loss_indexes (0 when there are none), averaged over the depths.
            `chunk_losses`: (B,) each chunk's own action loss, without gradient.
            With experts also `balance_loss` and `routing`, see `mof.routing`.
        """
        data = read_batch(batch, self.device, self.dtype)
        count = self._num_chunks(data)
        target, noisy, tau, valid = self._flow_inputs(data, count, noise, time, delays, generator)
        num_state = data["packed_state_indexes"].numel()
        actions = noisy.new_zeros(0, self.config.decoder.act.hidden_size)
        if count:  # weights that have nothing to do keep the gradient None: an optimiser leaves them alone
            actions = self.action_encoder(noisy, tau).flatten(0, 1)
            actions = self._gated(data, actions, noisy, tau, self._strength(mpg_lambda), projections, generator)
        layout, und_chosen, act_chosen = self._layout(data)
        und = self.embed_und(data, und_chosen)
        state = self.embed_state(data, act_chosen[act_chosen < num_state])
        act = torch.cat((state.to(actions.dtype), actions))
        kept = Kept(und=layout.token_of[data["ce_loss_indexes"]], act=slice(state.shape[0], None))
        und_states, action_states, early, routed = self.language_model.model(und, act, layout, kept, text_depths)
        losses = {name: torch.zeros(0, device=self.device) for name in ("action_parts", "chunk_losses")}
        losses["action_loss"] = torch.zeros((), device=self.device)
        if count:
            velocity = self.action_decoder(action_states)
            flat = target.flatten(0, 1), valid.flatten(0, 1)
            losses["action_loss"], parts = flow.masked_mse(velocity, *flat, data["padded_action_weight"])
            losses |= {"action_parts": parts, "chunk_losses": flow.chunk_losses(parts, valid)}
        if routed:
            losses |= mof.routing(routed, self.config.mof.top_k, count, self.config.chunk_length)
        texts = [self._und_loss(x, data["packed_label_ids"]) for x in (und_states, *early)]
        return {**losses, "und_loss": torch.stack(texts).mean()}

    def _gated(
        self,
        data: Mapping[str, Any],
        actions: Tensor,
        noisy: Tensor,
        tau: Tensor,
        strength: float,
        projections: Any,
        generator: torch.Generator | None,
    ) -> Tensor:
        """The action embeddings of a training batch after MPG; the gate sees every state row of the pack."""
        if not strength:
            return actions
        directions = self.directions(1, generator) if projections is None else torch.as_tensor(projections)
        directions = directions.to(self.device).reshape(-1, directions.shape[-1])
        with torch.set_grad_enabled(torch.is_grad_enabled() and not self.config.mpg_stop_gradient):
            clean = self.action_encoder(data["padded_action"].view_as(noisy), torch.zeros_like(tau))
        num_state = data["packed_state_indexes"].numel()
        return self.enhance(actions, num_state, clean.mean(dim=0), directions, strength)

    def _layout(self, data: Mapping[str, Any]) -> tuple[PackLayout, Tensor, Tensor]:
        """The layout of a read batch, and which of its und (text, image) and act (state, action) tokens to feed."""
        und = torch.cat((data["packed_text_indexes"], data["packed_vit_token_indexes"]))
        act = torch.cat((data["packed_state_indexes"], data["packed_action_indexes"]))
        total = data["sequence_length"]
        lens = true_sample_lens(data["sample_lens"], total)
        layout = PackLayout.build(lens, data["packed_position_ids"][:total], identities(data), und, act)
        if self.flex:
            position_of = torch.cat((und, act))[layout.first]
            layout = dataclasses.replace(layout, flex=FlexPack.build(lens, layout.token_of, position_of))
        return layout, layout.first[: layout.num_und], layout.first[layout.num_und :] - und.numel()

    def _num_chunks(self, data: Mapping[str, Any]) -> int:
        tokens, length = data["packed_action_indexes"].numel(), self.config.chunk_length
        if tokens % length:
            raise BeingHError(
                f"{tokens} action tokens do not make whole chunks of {length}",
                where="packed_action_indexes",
                remedy="pack samples with the checkpoint's action_chunk_length",
            )
        return tokens // length

    def _strength(self, mpg_lambda: float | None) -> float:
        if mpg_lambda is not None:
            return float(mpg_lambda)
        return self.config.mpg_lambda if self.config.use_mpg else 0.0

    def _flow_inputs(
        self, data: Mapping[str, Any], count: int, noise: Any, time: Any, delays: Any, generator: Any
    ) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """Target velocity, noisy actions, tau and validity, each (B, H, ...), of a training batch."""
        config, shape = self.config, (count, self.config.chunk_length, UNIFIED_WIDTH)
        if delays is None and time is None and config.trained_delay:
            delays = flow.sample_delays(count, config.trained_delay, config.delay_exponential, generator)
        delays = torch.zeros(count) if delays is None else torch.as_tensor(delays)
        if time is None:
            time = flow.sample_times(count, config.noise_alpha, config.noise_beta, config.noise_s, generator)
        noise = torch.randn(shape, generator=generator) if noise is None else torch.as_tensor(noise)
        noise = noise.to(self.device, torch.float32).reshape(shape)
        time = torch.as_tensor(time).to(self.device, torch.float32).reshape(count)
        locked = flow.prefix_mask(delays.to(self.device).reshape(count), config.chunk_length)
        actions = noise.new_zeros(shape) if data["padded_action"] is None else data["padded_action"].float().view(shape)
        noisy, token_time = flow.mix(actions, noise, time, locked)
        valid = ~locked.unsqueeze(-1).expand(shape)
        if data["padded_action_mask"] is not None:
            valid = valid & data["padded_action_mask"].view(shape)
        tau = flow.discretise(token_time, config.num_timestep_buckets)
        return actions - noise, noisy.to(self.dtype), tau, valid

    def _und_loss(self, states_NC: Tensor, labels: Tensor | None) -> Tensor:
        if states_NC.shape[0] == 0 or labels is None:
            return states_NC.new_zeros((), dtype=torch.float32)
        return F.cross_entropy(self.language_model.logits(states_NC).float(), labels)
