"""Schema of a checkpoint's config.json: the keys that change the computation, and their bounds."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import cached_property
from typing import Annotated, Any, Literal

from pydantic import AliasChoices, BeforeValidator, Field, model_validator

from beingh_core.errors import shown
from beingh_core.model.quantised import KEY, QuantisedConfig
from beingh_core.state_history import ONE_STATE, StateHistory
from beingh_core.validation import Schema, check, only, positive, real, text, unsupported, whole

UNIFIED_WIDTH = 200
"""Width of a unified state or action vector (DESIGN 4.1)."""

MAX_PARAMETERS = 20_000_000_000
MAX_GRID = 64
"""Most image patches along one side; the time of a picture grows with its fourth power."""
MAX_EVALUATIONS = 100
"""Most evaluations of the model for one chunk, Euler steps times passes."""

_REMEDY = "put the checkpoint's own config.json back (download or copy it again), or correct this key"

Activation = Literal["gelu", "gelu_new", "gelu_pytorch_tanh", "relu", "silu", "swish"]
Width = whole(1, 32768)
InnerWidth = whole(1, 131072)
Layers = whole(1, 256)
Heads = whole(1, 256)
HeadDim = whole(2, 1024)


def _computes(value: Any, otherwise: str) -> Any:
    """The type of the one value that this model computes; others are refused with what they would need."""

    def validate(found: Any) -> Any:
        if type(found) is not type(value) or found != value:
            raise unsupported(f"{shown(found)} is not supported: {otherwise}", _ANOTHER)
        return found

    return Annotated[type(value), BeforeValidator(validate)]


_ANOTHER = "use a checkpoint of the released kind: Qwen3 with an action expert, flow matching and causal attention"
_ONE_SET = (
    "state and action tokens then run through the language model's own weights; it would need a decoder with one set "
    "of weights, state and action encoders of its width, and MPG over the real state rows"
)


class _Section(Schema):
    """One mapping of config.json; a key that is null counts as absent."""

    @model_validator(mode="before")
    @classmethod
    def _drop_null(cls, data: Any) -> Any:
        return {key: value for key, value in data.items() if value is not None} if isinstance(data, dict) else data


class VisionConfig(_Section):
    """InternViT encoder: sizes in pixels and channels."""

    hidden_size: Width
    intermediate_size: InnerWidth
    num_layers: Layers = Field(alias="num_hidden_layers")
    num_heads: Heads = Field(alias="num_attention_heads")
    image_size: whole(1, 4096)
    patch_size: whole(1, 256)
    num_channels: only(3) = 3
    eps: positive(1) = Field(1e-6, alias="layer_norm_eps")
    qkv_bias: bool = False
    qk_normalization: bool = True
    norm_type: Literal["layer_norm", "rms_norm"] = "rms_norm"
    hidden_act: Activation = "gelu"
    layer_scale_init: real(-1000, 1000) = Field(0.1, alias="initializer_factor")

    @model_validator(mode="after")
    def _heads_fit(self) -> VisionConfig:
        _need(
            self.hidden_size % self.num_heads == 0,
            f"hidden_size {self.hidden_size} is not a multiple of num_attention_heads {self.num_heads}",
        )
        return self


class ExpertConfig(_Section):
    """Sizes of one side (und or act) of the mixture-of-transformers decoder; the rest is that of both sides."""

    hidden_size: Width
    intermediate_size: InnerWidth
    num_layers: Layers | None = Field(None, alias="num_hidden_layers")
    num_heads: Heads | None = Field(None, alias="num_attention_heads")
    num_kv_heads: Heads | None = Field(None, alias="num_key_value_heads")
    head_dim: HeadDim | None = None
    eps: positive(1) | None = Field(None, alias="rms_norm_eps")
    attention_bias: bool | None = None
    qk_norm: bool | None = None
    hidden_act: Activation | None = None


class RopeConfig(_Section):
    """Rotary positions, as transformers 5 (`rope_parameters`) or 4 (`rope_scaling`) writes them."""

    rope_type: Literal["default"] = Field("default", validation_alias=AliasChoices("rope_type", "type"))
    rope_theta: positive(1e12) | None = None


class DecoderConfig(_Section):
    """Mixture-of-transformers decoder; the head space is shared by both sides."""

    num_heads: Heads = Field(alias="num_attention_heads")
    hidden_size: Width
    intermediate_size: InnerWidth
    num_layers: Layers = Field(alias="num_hidden_layers")
    num_kv_heads: Heads = Field(alias="num_key_value_heads")
    head_dim: HeadDim
    act: ExpertConfig = Field(alias="expert_config")
    use_mot: _computes(True, _ONE_SET) = True
    vocab_size: whole(1, 1 << 20)
    pad_token_id: int | None = None
    eps: positive(1) = Field(1e-6, alias="rms_norm_eps")
    max_position_embeddings: whole(1, 1 << 24) | None = None
    rope_parameters: RopeConfig | None = None
    rope_scaling: RopeConfig | None = None
    rope_base: positive(1e12) = Field(10000.0, alias="rope_theta")
    attention_bias: bool = False
    qk_norm: bool = True
    hidden_act: Activation = "silu"
    tie_word_embeddings: bool = False
    initializer_range: real(0, 1000) = 0.02

    @model_validator(mode="before")
    @classmethod
    def _derive(cls, data: Any) -> Any:
        """One key-value head for each head, and heads that fill the hidden size, unless the file says otherwise."""
        if not isinstance(data, dict):
            return data
        heads, width = data.get("num_attention_heads"), data.get("hidden_size")
        _need_qwen3(data.get("layer_module") or data.get("model_type") or "qwen3")
        derived = {"num_key_value_heads": heads}
        if isinstance(heads, int) and isinstance(width, int) and heads > 0:
            derived["head_dim"] = width // heads
        return derived | data

    @model_validator(mode="after")
    def _sides_fit(self) -> DecoderConfig:
        heads, kv_heads = self.num_heads, self.num_kv_heads
        _need(
            heads % kv_heads == 0,
            f"num_attention_heads {heads} is not a multiple of num_key_value_heads {kv_heads}",
        )
        pad, words = self.pad_token_id, self.vocab_size
        _need(pad is None or -words <= pad < words, f"pad_token_id {pad} is no row of an embedding of {words} words")
        _need(self.head_dim % 2 == 0, f"head_dim {self.head_dim} is odd; rotary positions turn pairs")
        _need(self.act.hidden_size % 2 == 0, f"hidden_size {self.act.hidden_size} of expert_config is odd")
        for name in ("num_layers", "num_heads", "num_kv_heads", "head_dim"):
            value, other = getattr(self, name), getattr(self.act, name)
            _need(
                other in (None, value),
                f"{ExpertConfig.model_fields[name].alias or name} is {value} but {other} in its expert_config; "
                "both sides share one attention",
            )
        return self

    @cached_property
    def und(self) -> ExpertConfig:
        """The side of text and image tokens."""
        return ExpertConfig(hidden_size=self.hidden_size, intermediate_size=self.intermediate_size)

    @property
    def rope_theta(self) -> float:
        """Base of the rotary positions."""
        rope = self.rope_parameters or self.rope_scaling
        return float(rope and rope.rope_theta or self.rope_base)


class MofConfig(_Section):
    """Mixture of flow experts: above the lowest `shared_layers` layers the act side has `experts` MLPs, `top_k` for a token.

    The key and its entries are ours: no release has experts.
    """

    experts: whole(1, 64)
    top_k: whole(1, 64) = 1
    shared_layers: whole(0, 256)

    @property
    def shape(self) -> tuple[int, int]:
        """What the weights depend on."""
        return self.experts, self.shared_layers


class BeingHConfig(_Section):
    """The whole model. `noise_*` are the flow-time distribution, t = (s - Beta(alpha, beta)) / s.

    A missing key has the value that the released `BeingHConfig` gives it. `simulated_delay` is the released key: training
    drew prefixes of 0 .. simulated_delay - 1 steps. `trained_delay` is ours, says the longest prefix itself, and rules.
    `state_history` is ours, too: without it a sample has one state token, as released.
    """

    model_type: Literal["beingh"] = "beingh"
    attn_mode: _computes(
        "causal",
        "in training the tokens of one turn then saw each other in both directions; it would need that mask in the pack "
        "layout and in the engine (the released policy infers causally whatever was trained)",
    ) = "causal"
    use_expert: _computes(True, _ONE_SET) = True
    use_flow_matching: _computes(
        True,
        "without flow matching (the released meaning of a missing key, too) the action tokens are decoded in one pass; it "
        "would need that head, without noise and time, and its L1 loss",
    ) = Field(False, validate_default=True)
    template: text(100) = "being_h0"
    decoder: DecoderConfig = Field(alias="llm_config")
    vision: VisionConfig = Field(alias="vit_config")
    stated_mof: MofConfig | None = Field(None, alias="mof")
    state_history: StateHistory = ONE_STATE
    quantised: QuantisedConfig | None = Field(None, alias=KEY)
    select_layer: whole(-257, 256) = -1
    downsample_ratio: real(1 / 16, 1) = 0.5
    force_image_size: whole(1, 4096) | None = None
    chunk_length: whole(1, 1024) = Field(16, alias="action_chunk_length")
    num_inference_steps: whole(1, MAX_EVALUATIONS) = Field(4, alias="num_inference_timesteps")
    num_timestep_buckets: whole(1, 1_000_000) = 1000
    noise_alpha: positive(1000) = Field(1.5, alias="noise_beta_alpha")
    noise_beta: positive(1000) = Field(1.0, alias="noise_beta_beta")
    noise_s: positive(1) = 0.999
    use_mpg: bool = False
    mpg_lambda: real(0, 1000) = 0.0
    mpg_temperature: positive(1e6) = Field(2.0, alias="mpg_gate_temperature")
    mpg_num_projections: whole(1, 1024) = 32
    mpg_refinement_iters: whole(0, 16) = 1
    mpg_stop_gradient: bool = Field(True, alias="mpg_use_stop_gradient")
    train_with_delay: bool = Field(False, alias="use_training_time_rtc")
    simulated_delay: whole(0, 1024) = 0
    stated_delay: whole(0, 1024) | None = Field(None, alias="trained_delay")
    delay_exponential: bool = Field(True, alias="rtc_delay_exp_weight")

    @classmethod
    def from_dict(cls, raw: Mapping[str, Any], where: object = "config.json", remedy: str = _REMEDY) -> BeingHConfig:
        """Reads config.json's mapping.

        Args:
            raw: The mapping.
            where: Its file, for errors.
            remedy: What to do, for errors.

        Raises:
            BeingHError: A key is missing, of another type, out of bounds or not supported.
        """
        return check(cls, dict(raw), where=where, remedy=remedy)

    @model_validator(mode="after")
    def _pictures_fit(self) -> BeingHConfig:
        states = self.vision.num_layers + 1
        _need(
            -states <= self.select_layer < states,
            f"select_layer {self.select_layer} does not exist in a vision encoder of {states - 1} layers "
            f"({-states} to {states - 1} do)",
        )
        _need(
            abs(self.downsample_ratio * self.block - 1) < 1e-6,
            f"downsample_ratio {self.downsample_ratio} is not one part of a whole (1, 0.5, 0.25, ...)",
        )
        wrong = self.wrong_picture(self.vision.image_size)
        _need(wrong is None, f"vit_config.image_size {wrong}")
        return self

    @model_validator(mode="after")
    def _experts_fit(self) -> BeingHConfig:
        mof, layers = self.stated_mof, self.decoder.num_layers
        if mof is not None:
            _need(mof.top_k <= mof.experts, f"mof.top_k {mof.top_k} is more than mof.experts {mof.experts}")
            _need(
                mof.shared_layers < layers,
                f"mof.shared_layers {mof.shared_layers} leaves none of {layers} layers to the experts",
            )
        return self

    @model_validator(mode="after")
    def _work_is_bounded(self) -> BeingHConfig:
        passes = 1 + (self.mpg_refinement_iters if self.use_mpg else 0)
        _need(
            self.num_inference_steps * passes <= MAX_EVALUATIONS,
            f"num_inference_timesteps {self.num_inference_steps} in each of {passes} passes (mpg_refinement_iters with "
            f"use_mpg, and one) are more than {MAX_EVALUATIONS} evaluations for one chunk",
        )
        _need(
            self.parameters <= MAX_PARAMETERS,
            f"the sizes make a model of {self.parameters} parameters, more than {MAX_PARAMETERS}",
        )
        return self

    @property
    def parameters(self) -> int:
        """Number of weights in the large matrices (the rest is below one in a hundred)."""
        decoder, vision = self.decoder, self.vision
        heads = 2 * (decoder.num_heads + decoder.num_kv_heads) * decoder.head_dim
        sides = (decoder.und, decoder.act)
        layer = sum(side.hidden_size * (heads + 3 * side.intermediate_size) for side in sides)
        words = decoder.vocab_size * decoder.hidden_size * (1 if decoder.tie_word_embeddings else 2)
        block = 4 * vision.hidden_size**2 + 2 * vision.hidden_size * vision.intermediate_size
        connector = decoder.hidden_size * vision.hidden_size * self.block**2
        every = decoder.num_layers * layer + words + vision.num_layers * block + connector
        if self.mof is not None:
            more = (self.mof.experts - 1) * 3 * decoder.act.hidden_size * decoder.act.intermediate_size
            every += (decoder.num_layers - self.mof.shared_layers) * more
        return every

    @property
    def mof(self) -> MofConfig | None:
        """The experts; None for the dense model, which one expert is."""
        return self.stated_mof if self.stated_mof is not None and self.stated_mof.experts > 1 else None

    @property
    def block(self) -> int:
        """Patches along one side that become one token."""
        return round(1 / self.downsample_ratio)

    def wrong_picture(self, size: int) -> str | None:
        """Why a square picture of `size` pixels cannot be encoded; None when it can."""
        grid = size // self.vision.patch_size
        if 0 < grid <= MAX_GRID and grid % self.block == 0:
            return None
        return (
            f"{size} makes {grid} patches of {self.vision.patch_size} pixels along a side; it must be a multiple of "
            f"{self.block} (downsample_ratio), at most {MAX_GRID}"
        )

    @property
    def picture_size(self) -> int:
        """Side of the pictures that the vision encoder is given [pixels]."""
        return self.force_image_size or self.vision.image_size

    @property
    def tokens_per_view(self) -> int:
        """Number of decoder tokens that one image of the trained size becomes."""
        return self.tokens_of((self.vision.image_size, self.vision.image_size))

    def tokens_of(self, size: Sequence[int]) -> int:
        """Number of decoder tokens that an image of (height, width) pixels becomes."""
        height, width = (int(side // self.vision.patch_size * self.downsample_ratio) for side in size)
        return height * width

    @property
    def trained_delay(self) -> int:
        """Longest locked prefix, in action steps, that training simulated (0: none)."""
        drawn = max(self.simulated_delay - 1, 0) if self.stated_delay is None else self.stated_delay
        return min(drawn, self.chunk_length) if self.train_with_delay else 0


def _need_qwen3(kind: object) -> None:
    """Refuses decoder layers of another family than the released Qwen3-MoT, by `layer_module` or `model_type`."""
    name = str(kind)
    if name.lower().startswith("qwen2"):
        what = (
            "it would need biases on queries, keys and values but not on outputs, and tensors named `_moe_gen` in place of "
            "`_mot_gen`"
        )
        raise unsupported(f"the decoder {shown(kind)} is not supported: {what}", _ANOTHER)
    if name == "Qwen3DecoderLayer":
        raise unsupported(f"layer_module {shown(kind)} is not supported: {_ONE_SET}", _ANOTHER)


def _need(condition: bool, otherwise: str) -> None:
    if not condition:
        raise ValueError(otherwise)
