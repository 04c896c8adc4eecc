"""A training run, as written in config/train/*.yaml."""

from __future__ import annotations

from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any, Mapping

import yaml

from beingh_core.errors import BeingHError


@dataclass(frozen=True, kw_only=True)
class DataConfig:
    """What a batch holds: robot frames, each with every instruction `draws_per_instruction` times."""

    frames: int
    frames_per_batch: int
    draws_per_instruction: int
    ask_for_words: bool


@dataclass(frozen=True, kw_only=True)
class OptimiserConfig:
    """AdamW with linear warm-up and a cosine to zero; `ema_decay` averages the weights that are saved.

    `text_depths`: see `BeingH.loss`."""

    steps: int
    learning_rate: float
    warmup_steps: int
    weight_decay: float
    betas: tuple[float, float]
    gradient_clip: float
    text_loss_weight: float
    text_depths: tuple[int, ...]
    ema_decay: float
    precision: str
    seed: int


@dataclass(frozen=True, kw_only=True)
class TrainConfig:
    """One training run."""

    robot: str
    embodiment_tag: str
    tasks: tuple[str, ...]
    data: DataConfig
    optimiser: OptimiserConfig
    model: Mapping[str, Any]

    @classmethod
    def from_file(cls, path: str | Path) -> "TrainConfig":
        """Read a YAML file.

        Raises:
            BeingHError: a missing file, or keys that are unknown or missing, named.
        """
        path = Path(path)
        if not path.exists():
            raise BeingHError(
                "the training configuration does not exist", where=str(path), remedy="name a file of config/train/"
            )
        raw = yaml.safe_load(path.read_text())
        values = _checked(cls, raw, str(path))
        values["data"] = DataConfig(**_checked(DataConfig, values["data"], f"{path}: data"))
        values["optimiser"] = OptimiserConfig(**_checked(OptimiserConfig, values["optimiser"], f"{path}: optimiser"))
        values["tasks"] = tuple(values["tasks"])
        if values["optimiser"].precision not in ("bf16", "fp32"):
            raise BeingHError(
                f"precision is {values['optimiser'].precision!r}", where=f"{path}: optimiser", allowed=["bf16", "fp32"]
            )
        return cls(**values)


def _checked(kind: type, raw: Any, where: str) -> dict[str, Any]:
    names = {f.name for f in fields(kind)}
    given = set(raw) if isinstance(raw, dict) else set()
    if given != names:
        raise BeingHError(
            f"unknown keys {sorted(given - names)}, missing keys {sorted(names - given)}",
            where=where,
            allowed=sorted(names),
        )
    return dict(raw)


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
        "simulated_delay": settings["simulated_delay"],
        "rtc_delay_exp_weight": True,
        "use_inference_prefix_overwrite": True,
        "force_image_size": vision["image"],
        "downsample_ratio": 0.5,
        "select_layer": -1,
        "connector_arch": "internvl_connector",
        "vit_config": {
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
        },
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
