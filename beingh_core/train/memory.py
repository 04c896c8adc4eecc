"""What a run needs of a GPU's memory, by part, from sizes alone: no weight is made and no GPU is needed."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from beingh_core.model import BeingH, BeingHConfig
from beingh_core.model.initialise import without_weights
from beingh_core.train.lora import add_lora
from beingh_core.train.parts import PARTS, freeze, part_of
from beingh_core.train.settings import TrainingSection

FULL, HALF = 4, 2  # bytes of a number
# Numbers kept for the backward pass of one token and layer, in widths of hidden state, queries, keys and values, MLP:
# inputs and normed inputs of both norms, residuals; projections before and behind norm and rotation, attention's result; gate,
# up, their product.
_HIDDEN, _QUERY, _KEY, _MLP = 7.0, 4.0, 4.0, 4.0
_WORKSPACE = 0.08  # of everything else: fragments, buffers of communication, the framework's own


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
    with without_weights():
        model = BeingH(raw_config)
        freeze(model, training.freeze, training.freeze_act_layers)
        add_lora(model, training.lora)
    config, every = model.config, sum(_counted(model, trained_only=False).values())
    trained = sum(_counted(model, trained_only=True).values())
    share = gpus if training.shard else 1
    found = {
        "weights": FULL * every / share,
        "gradients": FULL * trained / share,
        "AdamW": 2 * FULL * trained / share,
        "average": FULL * trained / share if training.ema_decay else 0.0,
        "bf16 copies": _copies(model, training, every),
        "gathered layers": 0.0 if share == 1 else 2.0 * FULL * _largest_group(model),
        "activations": activations(config, training, load),
        "pictures": FULL * 3 * load.views * config.picture_size**2,
        "logits": 2.0 * FULL * load.labels * config.decoder.vocab_size,
    }
    found["workspace"] = _WORKSPACE * sum(found.values())
    return {name: size / 1e9 for name, size in found.items()} | {"total": sum(found.values()) / 1e9}


def activations(config: BeingHConfig, training: TrainingSection, load: Load) -> float:
    """Bytes that are kept for the backward pass of one pack."""
    decoder, vision, size = config.decoder, config.vision, HALF if training.precision == "bf16" else FULL
    heads, keys = decoder.num_heads * decoder.head_dim, decoder.num_kv_heads * decoder.head_dim
    layers = 0.0
    deepest = 0.0  # the layer that is computed anew
    for tokens, side in ((load.und, decoder.und), (load.act, decoder.act)):
        kept = _HIDDEN * side.hidden_size + _QUERY * heads + _KEY * keys + _MLP * side.intermediate_size
        deepest += tokens * kept
        layers += decoder.num_layers * tokens * (side.hidden_size if training.activation_checkpointing else kept)
    if (
        config.mof is not None
    ):  # each expert's inputs are copies, and a token beyond its first expert computes another MLP
        mof, act = config.mof, decoder.act
        more = 2 * act.hidden_size * mof.top_k + _MLP * act.intermediate_size * (mof.top_k - 1)
        deepest += load.act * more
        if not training.activation_checkpointing:
            layers += (decoder.num_layers - mof.shared_layers) * load.act * more
    patches = load.views * ((config.picture_size // vision.patch_size) ** 2 + 1)
    kept = _HIDDEN * vision.hidden_size + 4 * vision.hidden_size + 2 * vision.intermediate_size
    frozen = "vision" in training.freeze
    tower = vision.num_layers * patches * (vision.hidden_size if training.activation_checkpointing else kept)
    again = max(deepest, patches * kept) if training.activation_checkpointing else 0.0
    return size * (layers + (0.0 if frozen else tower) + again)


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
