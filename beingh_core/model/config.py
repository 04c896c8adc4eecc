"""Typed view of a checkpoint's config.json; only the keys that change the computation."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from beingh_core.errors import BeingHError

UNIFIED_WIDTH = 200
"""Width of a unified state or action vector (DESIGN 4.1)."""


def _require(section: Mapping[str, Any], key: str, where: str) -> Any:
    if section.get(key) is None:
        raise BeingHError(
            f"the model configuration lacks '{key}'",
            where=where,
            remedy=f"add '{key}' to that section of config.json",
        )
    return section[key]


def _only(section: Mapping[str, Any], key: str, allowed: tuple, where: str) -> None:
    value = section.get(key, allowed[0])
    if value not in allowed:
        raise BeingHError(
            f"'{key}' is {value!r}, which this implementation does not compute",
            where=where,
            allowed=list(allowed),
            remedy="use a checkpoint with one of the allowed values",
        )


@dataclass(frozen=True, kw_only=True)
class VisionConfig:
    """InternViT encoder: sizes in pixels and channels."""

    hidden_size: int
    intermediate_size: int
    num_layers: int
    num_heads: int
    image_size: int
    patch_size: int
    num_channels: int
    eps: float
    qkv_bias: bool
    qk_normalization: bool
    norm_type: str
    hidden_act: str
    layer_scale_init: float

    @classmethod
    def from_dict(cls, raw: Mapping[str, Any]) -> VisionConfig:
        """Reads the `vit_config` section; BeingHError when a size is missing or impossible."""
        where = "config.json: vit_config"
        _only(raw, "norm_type", ("layer_norm", "rms_norm"), where)
        config = cls(
            hidden_size=_require(raw, "hidden_size", where),
            intermediate_size=_require(raw, "intermediate_size", where),
            num_layers=_require(raw, "num_hidden_layers", where),
            num_heads=_require(raw, "num_attention_heads", where),
            image_size=_require(raw, "image_size", where),
            patch_size=_require(raw, "patch_size", where),
            num_channels=raw.get("num_channels", 3),
            eps=raw.get("layer_norm_eps", 1e-6),
            qkv_bias=raw.get("qkv_bias", True),
            qk_normalization=raw.get("qk_normalization", False),
            norm_type=raw.get("norm_type", "layer_norm"),
            hidden_act=raw.get("hidden_act", "gelu"),
            layer_scale_init=raw.get("initializer_factor", 1.0),
        )
        if config.hidden_size % config.num_heads:
            raise BeingHError(
                f"hidden_size {config.hidden_size} is not a multiple of num_attention_heads {config.num_heads}",
                where=where,
                remedy="change one of the two",
            )
        return config


@dataclass(frozen=True, kw_only=True)
class ExpertConfig:
    """Sizes of one side (und or act) of the mixture-of-transformers decoder."""

    hidden_size: int
    intermediate_size: int

    @classmethod
    def from_dict(cls, raw: Mapping[str, Any], where: str) -> ExpertConfig:
        """Reads the two sizes that may differ between the sides."""
        return cls(
            hidden_size=_require(raw, "hidden_size", where),
            intermediate_size=_require(raw, "intermediate_size", where),
        )


@dataclass(frozen=True, kw_only=True)
class DecoderConfig:
    """Mixture-of-transformers decoder; the head space is shared by both sides."""

    und: ExpertConfig
    act: ExpertConfig
    num_layers: int
    num_heads: int
    num_kv_heads: int
    head_dim: int
    vocab_size: int
    eps: float
    rope_theta: float
    attention_bias: bool
    qk_norm: bool
    hidden_act: str
    tie_word_embeddings: bool
    initializer_range: float

    @classmethod
    def from_dict(cls, raw: Mapping[str, Any]) -> DecoderConfig:
        """Reads the `llm_config` section with its `expert_config`; BeingHError when the sides do not fit."""
        where = "config.json: llm_config"
        expert = _require(raw, "expert_config", where)
        _only(raw, "use_mot", (True,), where)
        heads = _require(raw, "num_attention_heads", where)
        shared = {
            "num_hidden_layers": _require(raw, "num_hidden_layers", where),
            "num_attention_heads": heads,
            "num_key_value_heads": raw.get("num_key_value_heads") or heads,
            "head_dim": raw.get("head_dim") or _require(raw, "hidden_size", where) // heads,
        }
        for key, value in shared.items():
            if expert.get(key, value) not in (None, value):
                raise BeingHError(
                    f"'{key}' is {value} but {expert[key]} in its expert_config; both sides share one attention",
                    where=where,
                    remedy="give both the same value",
                )
        if heads % shared["num_key_value_heads"]:
            raise BeingHError(
                f"num_attention_heads {heads} is not a multiple of num_key_value_heads {shared['num_key_value_heads']}",
                where=where,
                remedy="change one of the two",
            )
        return cls(
            und=ExpertConfig.from_dict(raw, where),
            act=ExpertConfig.from_dict(expert, where + ".expert_config"),
            num_layers=shared["num_hidden_layers"],
            num_heads=heads,
            num_kv_heads=shared["num_key_value_heads"],
            head_dim=shared["head_dim"],
            vocab_size=_require(raw, "vocab_size", where),
            eps=raw.get("rms_norm_eps", 1e-6),
            rope_theta=_rope_theta(raw, where),
            attention_bias=raw.get("attention_bias", False),
            qk_norm=raw.get("qk_norm", True),
            hidden_act=raw.get("hidden_act", "silu"),
            tie_word_embeddings=raw.get("tie_word_embeddings", False),
            initializer_range=raw.get("initializer_range", 0.02),
        )


def _rope_theta(raw: Mapping[str, Any], where: str) -> float:
    """Rotary base from either dialect of the key (`rope_theta`, or `rope_parameters` of transformers 5)."""
    parameters = raw.get("rope_parameters") or raw.get("rope_scaling") or {}
    kind = parameters.get("rope_type", parameters.get("type", "default"))
    _only({"rope_type": kind}, "rope_type", ("default",), where)
    return float(parameters.get("rope_theta") or raw.get("rope_theta") or 10000.0)


@dataclass(frozen=True, kw_only=True)
class BeingHConfig:
    """The whole model. `noise_*` are the flow-time distribution, t = (s - Beta(alpha, beta)) / s."""

    decoder: DecoderConfig
    vision: VisionConfig
    select_layer: int
    downsample_ratio: float
    chunk_length: int
    num_inference_steps: int
    num_timestep_buckets: int
    noise_alpha: float
    noise_beta: float
    noise_s: float
    use_mpg: bool
    mpg_lambda: float
    mpg_temperature: float
    mpg_num_projections: int
    mpg_refinement_iters: int
    mpg_stop_gradient: bool
    train_with_delay: bool
    simulated_delay: int
    delay_exponential: bool

    @classmethod
    def from_dict(cls, raw: Mapping[str, Any]) -> BeingHConfig:
        """Reads config.json's mapping; BeingHError names the key that is missing or not supported."""
        where = "config.json"
        _only(raw, "model_type", ("beingh",), where)
        _only(raw, "attn_mode", ("causal",), where)
        _only(raw, "use_expert", (True,), where)
        _only(raw, "use_flow_matching", (True,), where)
        return cls(
            decoder=DecoderConfig.from_dict(_require(raw, "llm_config", where)),
            vision=VisionConfig.from_dict(_require(raw, "vit_config", where)),
            select_layer=raw.get("select_layer", -1),
            downsample_ratio=raw.get("downsample_ratio", 0.5),
            chunk_length=_require(raw, "action_chunk_length", where),
            num_inference_steps=raw.get("num_inference_timesteps", 4),
            num_timestep_buckets=raw.get("num_timestep_buckets", 1000),
            noise_alpha=raw.get("noise_beta_alpha", 1.5),
            noise_beta=raw.get("noise_beta_beta", 1.0),
            noise_s=raw.get("noise_s", 0.999),
            use_mpg=raw.get("use_mpg", False),
            mpg_lambda=raw.get("mpg_lambda", 0.1),
            mpg_temperature=raw.get("mpg_gate_temperature", 1.0),
            mpg_num_projections=raw.get("mpg_num_projections", 32),
            mpg_refinement_iters=raw.get("mpg_refinement_iters", 1),
            mpg_stop_gradient=raw.get("mpg_use_stop_gradient", True),
            train_with_delay=raw.get("use_training_time_rtc", False),
            simulated_delay=raw.get("simulated_delay", 0),
            delay_exponential=raw.get("rtc_delay_exp_weight", False),
        )

    @property
    def tokens_per_view(self) -> int:
        """Number of decoder tokens that one image becomes."""
        return self.tokens_of((self.vision.image_size, self.vision.image_size))

    def tokens_of(self, size: Sequence[int]) -> int:
        """Number of decoder tokens that an image of (height, width) pixels becomes."""
        height, width = (int(side // self.vision.patch_size * self.downsample_ratio) for side in size)
        return height * width

    @property
    def trained_delay(self) -> int:
        """Longest locked prefix, in action steps, that training simulated (0: none)."""
        return self.simulated_delay if self.train_with_delay else 0
