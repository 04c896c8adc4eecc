"""A training run, as written in config/train/*.yaml."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Literal

import pydantic
from pydantic import Field, Strict
from pydantic.dataclasses import dataclass

from beingh_core.contract.reader import read_yaml
from beingh_core.model.config import BeingHConfig
from beingh_core.validation import Schema, check, positive, real, text, whole

_STRICT = pydantic.ConfigDict(extra="forbid", allow_inf_nan=False)
_REMEDY = "see config/train/fr3_cubes.yaml for a file with every key"
_Flag = Annotated[bool, Strict()]
_Count = whole(1, 1_000_000_000)


@dataclass(frozen=True, kw_only=True, config=_STRICT)
class DataConfig:
    """What a batch holds: robot frames, each with every instruction `draws_per_instruction` times."""

    frames: _Count
    frames_per_batch: whole(1, 1_000_000)
    draws_per_instruction: whole(1, 1000)
    ask_for_words: _Flag


@dataclass(frozen=True, kw_only=True, config=_STRICT)
class OptimiserConfig:
    """AdamW with linear warm-up and a cosine to zero; `ema_decay` averages the weights that are saved.

    `text_depths`: see `BeingH.loss`."""

    steps: _Count
    learning_rate: positive(1000)
    warmup_steps: whole(0, 1_000_000_000)
    weight_decay: real(0, 1000)
    betas: tuple[real(0, 0.999999), real(0, 0.999999)]
    gradient_clip: positive(1e9)
    text_loss_weight: real(0, 1e6)
    text_depths: Annotated[tuple[whole(1, 256), ...], Field(max_length=256)]
    ema_decay: real(0, 1)
    precision: Literal["bf16", "fp32"]
    seed: whole(0, 2**32 - 1)


class _Vision(Schema, extra="forbid"):
    """Sizes of the vision encoder, in pixels and channels."""

    image: int
    patch: int
    hidden: int
    layers: int
    heads: int
    mlp: int


class _Decoder(Schema, extra="forbid"):
    """Sizes of the decoder."""

    layers: int
    heads: int
    kv_heads: int
    head_dim: int
    und_hidden: int
    und_mlp: int
    act_hidden: int
    act_mlp: int


class _Model(Schema, extra="forbid"):
    """The compact `model` section; what its numbers may be is for the config.json that they make."""

    action_chunk_length: int
    num_inference_timesteps: int
    use_mpg: bool
    mpg_lambda: float
    mpg_refinement_iters: int
    use_training_time_rtc: bool
    trained_delay: int
    vision: _Vision
    decoder: _Decoder


@dataclass(frozen=True, kw_only=True, config=_STRICT)
class TrainConfig:
    """One training run."""

    robot: text(500)
    embodiment_tag: text(200)
    tasks: Annotated[tuple[text(1000), ...], Field(min_length=1, max_length=1000)]
    data: DataConfig
    optimiser: OptimiserConfig
    model: Mapping[str, Any]

    @classmethod
    def from_file(cls, path: str | Path) -> TrainConfig:
        """Read a YAML file.

        Raises:
            BeingHError: no such file, not YAML, or keys that are unknown, missing, of another type or out of bounds.
        """
        path = Path(path)
        found = check(cls, read_yaml(path).data, where=path, remedy=_REMEDY)
        where = f"{path}: model"
        check(_Model, dict(found.model), where=where, remedy=_REMEDY)
        # The vocabulary is made of the tasks, later.
        BeingHConfig.from_dict(model_config(found.model, vocab_size=1), where, remedy=_REMEDY)
        return found


def model_config(settings: Mapping[str, Any], vocab_size: int) -> dict[str, Any]:
    """The checkpoint's config.json for the compact `model` section of a training file."""
    vision, decoder = settings["vision"], settings["decoder"]
    shared = {
        "num_hidden_layers": decoder["layers"],
        "num_attention_heads": decoder["heads"],
        "num_key_value_heads": decoder["kv_heads"],
        "head_dim": decoder["head_dim"],
        "rms_norm_eps": 1e-6,
        "rope_theta": 10000,
        "hidden_act": "silu",
        "attention_bias": False,
        "qk_norm": True,
        "initializer_range": 0.05,
        "vocab_size": vocab_size,
        "model_type": "qwen3",
    }
    return {
        "model_type": "beingh",
        "architectures": ["BeingH"],
        "attn_mode": "causal",
        "template": "being_h0",
        "prompt_template": "long",
        "use_expert": True,
        "use_flow_matching": True,
        "gen_action_type": "action_token",
        "action_chunk_length": settings["action_chunk_length"],
        "action_token_num": settings["action_chunk_length"],
        "num_inference_timesteps": settings["num_inference_timesteps"],
        "num_timestep_buckets": 1000,
        "noise_beta_alpha": 1.5,
        "noise_beta_beta": 1.0,
        "noise_s": 0.999,
        "use_mpg": settings["use_mpg"],
        "mpg_lambda": settings["mpg_lambda"],
        "mpg_gate_temperature": 1.0,
        "mpg_num_projections": 32,
        "mpg_refinement_iters": settings["mpg_refinement_iters"],
        "mpg_use_stop_gradient": True,
        "use_training_time_rtc": settings["use_training_time_rtc"],
        "trained_delay": settings["trained_delay"],
        "simulated_delay": settings["trained_delay"] + 1,  # the released key counts the prefix of 0 steps too
        "rtc_delay_exp_weight": True,
        "use_inference_prefix_overwrite": True,
        "force_image_size": vision["image"],
        "downsample_ratio": 0.5,
        "select_layer": -1,
        "connector_arch": "internvl_connector",
        "vit_config": _vision_config(vision),
        "llm_config": {
            **shared,
            "use_mot": True,
            "hidden_size": decoder["und_hidden"],
            "intermediate_size": decoder["und_mlp"],
            "tie_word_embeddings": False,
            "layer_module": "Qwen3MoTDecoderLayer",
            "expert_config": {**shared, "hidden_size": decoder["act_hidden"], "intermediate_size": decoder["act_mlp"]},
        },
    }


def _vision_config(vision: Mapping[str, Any]) -> dict[str, Any]:
    return {
        "model_type": "intern_vit_6b",
        "hidden_size": vision["hidden"],
        "intermediate_size": vision["mlp"],
        "num_hidden_layers": vision["layers"],
        "num_attention_heads": vision["heads"],
        "image_size": vision["image"],
        "patch_size": vision["patch"],
        "num_channels": 3,
        "layer_norm_eps": 1e-6,
        "qkv_bias": True,
        "qk_normalization": False,
        "norm_type": "layer_norm",
        "hidden_act": "gelu",
        "initializer_factor": 1.0,
    }
