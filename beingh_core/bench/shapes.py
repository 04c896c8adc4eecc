"""Model sizes with random weights, and one sample to run them on."""

from __future__ import annotations

import zlib
from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from beingh_core.errors import BeingHError
from beingh_core.model import BeingH
from beingh_core.model.config import UNIFIED_WIDTH
from beingh_core.model.engine import Engine
from beingh_core.model.initialise import without_weights
from beingh_core.model.quantised import KEY, QuantisedConfig, QuantisedWeight, quantised

TEXT_TOKENS = (28, 2, 35, 1)
"""Text before the images, between images and state, between state and actions, after the actions (DESIGN section 5)."""


def _config(vision: dict[str, int], und: tuple[int, int], act: tuple[int, int], **decoder: int) -> dict[str, Any]:
    """config.json of a shape; `und` and `act` are (hidden_size, intermediate_size)."""
    und_sizes, act_sizes = ({"hidden_size": hidden, "intermediate_size": inner} for hidden, inner in (und, act))
    return {
        "model_type": "beingh",
        "action_chunk_length": 16,
        "num_inference_timesteps": 4,
        "use_flow_matching": True,
        "use_mpg": True,
        "mpg_lambda": 0.1,
        "mpg_gate_temperature": 1.0,
        "mpg_refinement_iters": 1,
        "use_training_time_rtc": True,
        "trained_delay": 8,
        "vit_config": {
            "num_channels": 3,
            "qkv_bias": True,
            "qk_normalization": False,
            "norm_type": "layer_norm",
            "initializer_factor": 0.1,
            **vision,
        },
        "llm_config": {
            **und_sizes,
            **decoder,
            "use_mot": True,
            "rope_theta": 1000000.0,
            "tie_word_embeddings": True,
            "expert_config": act_sizes,
        },
    }


SHAPES: dict[str, dict[str, Any]] = {
    "tiny": _config(
        {
            "hidden_size": 48,
            "intermediate_size": 96,
            "num_hidden_layers": 2,
            "num_attention_heads": 4,
            "patch_size": 14,
            "image_size": 56,
        },
        (64, 128),
        (32, 64),
        num_hidden_layers=3,
        num_attention_heads=4,
        num_key_value_heads=2,
        head_dim=16,
        vocab_size=512,
    ),
    "2b": _config(
        {
            "hidden_size": 1024,
            "intermediate_size": 4096,
            "num_hidden_layers": 24,
            "num_attention_heads": 16,
            "patch_size": 14,
            "image_size": 224,
        },
        (2048, 6144),
        (1024, 3072),
        num_hidden_layers=28,
        num_attention_heads=16,
        num_key_value_heads=8,
        head_dim=128,
        vocab_size=151936,
    ),
}
"""2b: InternVL3.5-2B (InternViT-300M at 224 px, Qwen3-1.7B) with a Qwen3-0.6B expert; *_mof: upper act MLPs four times."""
SHAPES["tiny_mof"] = SHAPES["tiny"] | {"mof": {"experts": 4, "top_k": 1, "shared_layers": 1}}
SHAPES["2b_mof"] = SHAPES["2b"] | {"mof": {"experts": 4, "top_k": 1, "shared_layers": 14}}


def build_model(
    shape: str, device: torch.device | str = "cpu", dtype: torch.dtype = torch.float32, seed: int = 0
) -> BeingH:
    """A model of a named shape with random weights, made where and in the type it will run.

    Args:
        shape: A name in `SHAPES`.
        device: Where the weights go.
        dtype: Their type.
        seed: Seed of the weights; the same seed gives other weights on another device or in another type.

    Raises:
        BeingHError: No such shape.
    """
    if shape not in SHAPES:
        raise BeingHError(f"unknown shape '{shape}'", allowed=sorted(SHAPES), remedy="use one of the allowed names")
    return random_model(SHAPES[shape], device, dtype, seed)


def random_model(
    raw_config: Mapping[str, Any], device: torch.device | str, dtype: torch.dtype, seed: int = 0
) -> BeingH:
    """The model of a config.json with random weights; the rest as for `build_model`."""
    with without_weights():
        model = BeingH(raw_config)
    model = model.to(dtype).to_empty(device=device).requires_grad_(False).eval()
    for name, parameter in model.named_parameters():
        _fill(name, parameter, model.config.vision.layer_scale_init, seed)
    return model


def random_engine(
    raw_config: Mapping[str, Any],
    device: torch.device | str,
    dtype: torch.dtype,
    seed: int = 0,
    bits: QuantisedConfig | None = None,
) -> Engine:
    """The engine of `random_model`, each weight in memory once.

    Args:
        raw_config, device, dtype, seed: As for `random_model`.
        bits: Which matrices it has in fewer bits; None: none.
    """
    raw = dict(raw_config) | ({} if bits is None else {KEY: bits.model_dump(exclude_none=True)})
    with without_weights():
        model = BeingH(raw).to(dtype).eval()
    return Engine(model, weights=RandomWeights(model, torch.device(device), dtype, seed))


class RandomWeights:
    """The weights of `random_model`, each made when it is asked for."""

    def __init__(self, model: BeingH, device: torch.device, dtype: torch.dtype, seed: int) -> None:
        self.device, self.dtype = device, dtype
        self._config, self._seed = model.config, seed
        self._names = {module: name for name, module in model.named_modules()}

    def of(self, module: nn.Module) -> dict[str, Tensor | QuantisedWeight]:
        """A module's own parameters by name."""
        place = self._names[module]
        return {name: self._one(place, name, p.shape) for name, p in module.named_parameters(recurse=False)}

    def _one(self, place: str, name: str, shape: torch.Size) -> Tensor | QuantisedWeight:
        tensor = torch.empty(shape, dtype=self.dtype, device=self.device)
        _fill(f"{place}.{name}", tensor, self._config.vision.layer_scale_init, self._seed)
        config = self._config.quantised
        if config is None or name != "weight" or not config.covers(place):
            return tensor
        return quantised(tensor, config.scheme, config.groups(place, shape[-1]))


def _fill(name: str, parameter: Tensor, layer_scale: float, seed: int) -> None:
    """Matrices get variance 1 / fan-in, biases 0, layer scales their value, norms 1."""
    generator = torch.Generator(device=parameter.device).manual_seed(seed ^ zlib.crc32(name.encode()))
    last = name.rsplit(".", 1)[-1]
    if last in ("class_embedding", "position_embedding"):
        parameter.normal_(0.0, 0.02, generator=generator)
    elif parameter.ndim > 1:
        parameter.normal_(0.0, parameter[0].numel() ** -0.5, generator=generator)
    else:
        parameter.fill_({"bias": 0.0, "ls1": layer_scale, "ls2": layer_scale}.get(last, 1.0))


def random_sample(model: BeingH, views: int, seed: int = 0, text: tuple[int, ...] = TEXT_TOKENS) -> dict[str, Any]:
    """The packed batch of one robot sample with random words, images and state, in host memory.

    Args:
        model: Whose sizes it fits.
        views: Number of images.
        seed: Seed of the content.
        text: Numbers of text tokens, in the four places that `TEXT_TOKENS` names.
    """
    config, rng = model.config, np.random.default_rng(seed)
    counts = (text[0], views * config.tokens_per_view, text[1], 1, text[2], config.chunk_length, text[3])
    kinds = np.repeat(list("tvtstat"), counts)
    size, channels = config.vision.image_size, config.vision.num_channels
    arrays = {
        "packed_text_ids": rng.integers(0, config.decoder.vocab_size, sum(text)),
        "packed_text_indexes": np.flatnonzero(kinds == "t"),
        "packed_vit_token_indexes": np.flatnonzero(kinds == "v"),
        "packed_state_indexes": np.flatnonzero(kinds == "s"),
        "packed_action_indexes": np.flatnonzero(kinds == "a"),
        "packed_position_ids": np.arange(kinds.size),
        "sample_lens": np.array([kinds.size]),
        "packed_vit_tokens": rng.standard_normal((views, channels, size, size), dtype=np.float32),
        "padded_state": 0.3 * rng.standard_normal((1, UNIFIED_WIDTH), dtype=np.float32),
    }
    batch: dict[str, Any] = {name: torch.from_numpy(value) for name, value in arrays.items()}
    return {**batch, "sequence_length": int(kinds.size)}
