"""config.json of a model from nothing, from its sizes."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any


def model_config(settings: Mapping[str, Any], vocab_size: int) -> dict[str, Any]:
    """The checkpoint's config.json for the compact `model` section of a training file."""
    vision = settings["vision"]
    return {
        **model_keys(settings),
        "force_image_size": vision["image"],
        "vit_config": _vision_config(vision),
        "llm_config": _llm_config(settings["decoder"], vocab_size),
    }


def model_keys(settings: Mapping[str, Any]) -> dict[str, Any]:
    """Keys of config.json without the sizes of the parts; `settings` as for `model_config`."""
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
        "downsample_ratio": 0.5,
        "select_layer": -1,
        "connector_arch": "internvl_connector",
        **({"mof": settings["mof"]} if settings.get("mof") else {}),
    }


def _llm_config(decoder: Mapping[str, Any], vocab_size: int) -> dict[str, Any]:
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
        **shared,
        "use_mot": True,
        "hidden_size": decoder["und_hidden"],
        "intermediate_size": decoder["und_mlp"],
        "tie_word_embeddings": False,
        "layer_module": "Qwen3MoTDecoderLayer",
        "expert_config": {**shared, "hidden_size": decoder["act_hidden"], "intermediate_size": decoder["act_mlp"]},
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
