"""What a run needs of a GPU's memory, by part, from sizes alone: no weight is made and no GPU is needed."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from beingh_core.model import BeingH, BeingHConfig
from beingh_core.model.initialise import without_weights
from beingh_core.train.lora import add_lora
from beingh_core.train.parts import PARTS, freeze, part_of
from beingh_core.train.settings import TrainingSection

FULL, HALF = 4, 2  # bytes of a number
# Bytes kept for the backward pass of one token and decoder layer, for each number of hidden state, queries, keys and MLP. Trained:
# inputs of both norms, normed, weighted; projections, normed, as they attend, result, result of each token; gate, its
# activation, up, product. Under bf16 norms and residuals stay float32. Frozen weights need no input of their own product.
_TRAINED = {"fp32": (24, 20, 20, 16), "bf16": (20, 12, 12, 8)}
_FROZEN = {"fp32": (8, 12, 16, 12), "bf16": (8, 8, 8, 6)}
# More for each expert that a token has: a copy of its input and the expert's result; their products by the token's weight.
_EXPERT = {"fp32": 8, "bf16": 6}
# The same of the vision encoder: hidden state with queries, keys and values; MLP.
_VISION = {"fp32": (44, 8), "bf16": (28, 4)}
WORKSPACE = 0.08  # of everything else: fragments, buffers of communication, the framework's own


@dataclass(frozen=True, kw_only=True)
class Load:
    """What one rank computes at a time.

    Attributes:
        und, act: tokens of a pack.
        views: pictures of a pack.
        labels: text tokens that predict.
    """

    und: int
    act: int
    views: int
    labels: int = 0


def parameters(raw_config: Mapping[str, Any]) -> dict[str, int]:
    """Number of weights of each part (see `parts.PARTS`)."""
    with without_weights():
        model = BeingH(raw_config)
    return _counted(model, trained_only=False)


def light_model(raw_config: Mapping[str, Any], training: TrainingSection) -> BeingH:
    """The model of a run with its frozen and low-rank weights, but without values.

    Raises:
        BeingHError: The sections `freeze`, `freeze_act_layers` and `lora` do not fit the model.
    """
    with without_weights():
        model = BeingH(raw_config)
        freeze(model, training.freeze, training.freeze_act_layers)
        add_lora(model, training.lora)
    return model


def case(gpus: int, again: bool) -> str:
    """For how many GPUs, and whether layers are computed anew, in words."""
    return f"{gpus} GPU{'s, sharded' if gpus > 1 else ''}{', activation checkpointing' if again else ''}"


def estimate(raw_config: Mapping[str, Any], training: TrainingSection, load: Load, gpus: int) -> dict[str, float]:
    """GB of one GPU, by part; `total` is their sum.

    Weights, gradients and both moments of AdamW are float32, as is an average; activations are in the run's precision. With
    `shard` all but the activations and the layer at work are divided by the number of GPUs.

    Args:
        raw_config: config.json.
        training: precision, average, freezing, sharding, activation checkpointing.
        load: what is computed at a time.
        gpus: ranks.
    """
    model = light_model(raw_config, training)
    config, every = model.config, sum(_counted(model, trained_only=False).values())
    trained = sum(_counted(model, trained_only=True).values())
    share = gpus if training.shard else 1
    at_work = {
        "bf16 copies": _copies(model, training, every),
        "gathered layers": 0.0 if share == 1 else 2.0 * FULL * _largest_group(model),
        "activations": activations(config, training, load),
        "pictures": FULL * 3 * load.views * config.picture_size**2,
        "logits": 2.0 * FULL * load.labels * config.decoder.vocab_size,
    }
    # AdamW computes all roots at once, when what the backward pass needed is gone.
    found = {
        "weights": FULL * every / share,
        "gradients": FULL * trained / share,
        "AdamW": 2 * FULL * trained / share,
        "average": FULL * trained / share if training.ema_decay else 0.0,
        **at_work,
        "AdamW's step": max(0.0, FULL * trained / share - sum(at_work.values())),
    }
    found["workspace"] = WORKSPACE * sum(found.values())
    return {name: size / 1e9 for name, size in found.items()} | {"total": sum(found.values()) / 1e9}


def activations(config: BeingHConfig, training: TrainingSection, load: Load) -> float:
    """Bytes that are kept for the backward pass of one pack."""
    decoder, vision, again = config.decoder, config.vision, training.activation_checkpointing
    heads, keys = decoder.num_heads * decoder.head_dim, decoder.num_kv_heads * decoder.head_dim
    kept, deepest = 0.0, 0.0  # of all layers; of the one that is computed anew
    for part, tokens, side in (("und", load.und, decoder.und), ("act", load.act, decoder.act)):
        lora = training.lora.rank and part in training.lora.parts
        bytes_of = (_FROZEN if part in training.freeze and not lora else _TRAINED)[training.precision]
        hidden, query, key, mlp = np.multiply(bytes_of, (side.hidden_size, heads, keys, side.intermediate_size))
        layer = hidden + query + key + mlp
        # Words leave the last layer only where they predict.
        last = hidden / 2 + query + key if part == "und" else layer
        kept += tokens * (
            FULL * side.hidden_size * decoder.num_layers if again else (decoder.num_layers - 1) * layer + last
        )
        deepest += tokens * layer
        if part == "act" and config.mof is not None:
            top_k, routed = config.mof.top_k, decoder.num_layers - config.mof.shared_layers
            more = tokens * (_EXPERT[training.precision] * side.hidden_size * top_k + mlp * (top_k - 1))
            kept += 0.0 if again else routed * more
            deepest += more
    patches = load.views * ((config.picture_size // vision.patch_size) ** 2 + 1)
    layer = float(np.dot(_VISION[training.precision], (vision.hidden_size, vision.intermediate_size)))
    if "vision" not in training.freeze or (training.lora.rank and "vision" in training.lora.parts):
        kept += vision.num_layers * patches * (FULL * vision.hidden_size if again else layer)
    return float(kept + (max(deepest, patches * layer) if again else 0.0))


def _copies(model: BeingH, training: TrainingSection, every: int) -> float:
    """Bytes of the weights in bf16 that autocast keeps for the backward pass: of all layers, or of those at work."""
    if training.precision != "bf16":
        return 0.0
    return HALF * float(_largest_group(model) if training.activation_checkpointing else every)


def _counted(model: BeingH, trained_only: bool) -> dict[str, int]:
    counts = dict.fromkeys(PARTS, 0)
    for name, parameter in model.named_parameters():
        if parameter.requires_grad or not trained_only:
            counts[part_of(name)] += parameter.numel()
    return counts


def _largest_group(model: BeingH) -> int:
    """Weights that are gathered together: what is in no layer, or the largest layer."""
    layers: dict[str, int] = {}
    for name, parameter in model.named_parameters():
        at = name.split(".layers.")
        key = f"{at[0]}.{at[1].split('.')[0]}" if len(at) > 1 else ""
        layers[key] = layers.get(key, 0) + parameter.numel()
    return layers.get("", 0) + max(layers.values())
