"""An InternVL3.5 checkpoint (Hugging Face format) and a Qwen3 checkpoint as the parts of a new model: sizes, and names of weights.

The names of both layouts that such checkpoints have are those of OpenGVLab/InternVL internvl_chat/tools/internvl_hf2custom.py
(`language_model.model.`, `vision_tower.`, `multi_modal_projector.`) and internvl_custom2hf.py (`model.language_model.`,
`model.vision_tower.`, `model.multi_modal_projector.`, `lm_head.`), which also say how they become the names of InternViT.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any, Literal

import torch
from pydantic import BeforeValidator, Field
from torch import Tensor

from beingh_core.checkpoint_directory import CONFIG, checkpoint_directory
from beingh_core.errors import BeingHError, shown
from beingh_core.files import read_json
from beingh_core.model import BeingH, checkpoint
from beingh_core.model.mof import dense_name, is_router
from beingh_core.model.tensor_reader import load_tensors
from beingh_core.train.parts import part_of
from beingh_core.validation import Schema, check, only, unsupported

HEAD, WORDS = "language_model.lm_head.weight", "language_model.model.embed_tokens.weight"
RANDOM = "random"
_SIDE = "_mot_gen"
_ANOTHER = "use InternVL3.5 in the Hugging Face format (the repositories that end in -HF), with a Qwen3 language model"
_LAYOUTS = (
    (re.compile(r"^model\.language_model\."), "language_model.model."),
    (re.compile(r"^lm_head\."), "language_model.lm_head."),
    (re.compile(r"^model\.(vision_tower|multi_modal_projector)\."), r"\1."),
)
# Of our names, what becomes what; three sources are put together.
_VISION = {
    "embeddings.class_embedding": ("embeddings.cls_token",),
    "embeddings.patch_embedding": ("embeddings.patch_embeddings.projection",),
    "embeddings.position_embedding": ("embeddings.position_embeddings",),
    "attn.qkv": tuple(f"attention.{name}_proj" for name in "qkv"),
    "attn.proj": ("attention.projection_layer",),
    "attn.q_norm": ("attention.q_norm",), "attn.k_norm": ("attention.k_norm",),
    "norm1": ("layernorm_before",), "norm2": ("layernorm_after",), "ls1": ("lambda_1",), "ls2": ("lambda_2",),
}  # fmt: skip
_CONNECTOR = {"0": "layer_norm", "1": "linear_1", "3": "linear_2"}
# Keys of a Qwen3 config.json, and what an absent one means.
_QWEN3 = {
    "hidden_size": None, "intermediate_size": None, "num_hidden_layers": None, "num_attention_heads": None,
    "num_key_value_heads": None, "head_dim": 128, "rms_norm_eps": 1e-6, "hidden_act": "silu", "attention_bias": False,
}  # fmt: skip
_FREE = ("hidden_size", "intermediate_size")  # of the act side alone


def _square(value: Any) -> Any:
    return value[0] if isinstance(value, list) and len(value) == 2 and value[0] == value[1] else value


def _kind(expected: str) -> Any:
    """The type of a `model_type` that is read here."""

    def validate(found: Any) -> Any:
        if found != expected:
            raise unsupported(f"model_type is {shown(found)}, not {expected}", _ANOTHER)
        return found

    return Annotated[str, BeforeValidator(validate)]


class _Vision(Schema):
    """`vision_config`; what the sizes may be is for the config.json that they make."""

    hidden_size: int = 1024
    intermediate_size: int = 4096
    num_hidden_layers: int = 24
    num_attention_heads: int = 16
    image_size: Annotated[int, BeforeValidator(_square)] = 448
    patch_size: Annotated[int, BeforeValidator(_square)] = 14
    num_channels: int = 3
    layer_norm_eps: float = 1e-6
    attention_bias: bool = False
    use_qk_norm: bool = False
    norm_type: str = "layer_norm"
    hidden_act: str = "gelu"
    layer_scale_init_value: float = 0.1
    use_mask_token: only(False) = False
    use_absolute_position_embeddings: only(True) = True
    use_mean_pooling: only(True) = True

    def vit_config(self) -> dict[str, Any]:
        """As config.json has it."""
        renamed = {
            "attention_bias": "qkv_bias", "use_qk_norm": "qk_normalization", "layer_scale_init_value": "initializer_factor",
        }  # fmt: skip
        sizes = {
            renamed.get(key, key): value for key, value in self.model_dump().items() if not key.startswith("use_m")
        }
        sizes.pop("use_absolute_position_embeddings")
        return {"model_type": "intern_vit_6b", **sizes}


class _InternVL(Schema):
    """config.json of InternVLForConditionalGeneration."""

    model_type: _kind("internvl")
    vision_config: _Vision
    text_config: dict[str, Any]
    downsample_ratio: float = 0.5
    projector_hidden_act: Literal["gelu"] = "gelu"
    vision_feature_layer: int = -1
    vision_feature_select_strategy: Literal["default"] = "default"
    tie_word_embeddings: bool | None = None


class _Qwen3(Schema):
    """What of a Qwen3 configuration must be as here; its sizes are read by the config.json that they make."""

    model_type: _kind("qwen3")
    vocab_size: int = Field(ge=1)
    tie_word_embeddings: bool | None = None
    use_sliding_window: only(False) | None = None
    layer_types: list[Literal["full_attention"]] | None = None


class InternVL:
    """An InternVL checkpoint: vision, connector and the und side.

    Args:
        directory: With config.json, tensor files and a tokenizer.

    Attributes:
        text: configuration of its language model.
        vocabulary: rows of its embedding.
        has_head: whether its output head is a tensor of its own.

    Raises:
        BeingHError: It cannot be read, or is of another kind.
    """

    def __init__(self, directory: str | Path) -> None:
        self.directory = checkpoint_directory(directory)
        path = self.directory / CONFIG
        raw = read_json(path)
        self._told = check(_InternVL, raw, where=path, remedy=_ANOTHER)
        text = check(_Qwen3, self._told.text_config, where=f"{path}: text_config", remedy=_ANOTHER)
        self.text, self.vocabulary = self._told.text_config, text.vocab_size
        self._found = _renamed(self.directory, checkpoint.stored_tensors(self.directory))
        outer, inner = self._told.tie_word_embeddings, text.tie_word_embeddings
        tied = outer if outer is not None else inner
        # A tied head is left out of the files; what a file holds is used, whatever the configuration says.
        self.has_head = HEAD in self._found or tied is False

    def sizes(self, expert: Mapping[str, Any], vocabulary: int) -> dict[str, Any]:
        """Keys of config.json.

        Args:
            expert: `hidden_size` and `intermediate_size` of the act side.
            vocabulary: rows of the embedding.
        """
        text = {key: value for key, value in self.text.items() if key in _KEPT and value is not None}
        llm = {
            "model_type": "qwen3", "layer_module": "Qwen3MoTDecoderLayer", "use_mot": True, "qk_norm": True,
            **_sides(self.text), **text, "vocab_size": vocabulary, "tie_word_embeddings": not self.has_head,
        }  # fmt: skip
        act = {
            **{key: llm[key] for key in _QWEN3 if key not in _FREE},
            **expert,
            "model_type": "qwen3",
            "qk_norm": True,
        }
        return {
            "vit_config": self._told.vision_config.vit_config(), "select_layer": self._told.vision_feature_layer,
            "downsample_ratio": self._told.downsample_ratio, "llm_config": {**llm, "expert_config": act},
        }  # fmt: skip

    def weights(self, model: BeingH) -> Iterator[tuple[str, Tensor]]:
        """Our name and weight of vision, connector and und side, float32; rows of new words are not among them.

        Raises:
            BeingHError: A tensor is missing, unexpected, of another size, or not finite.
        """
        sources = {
            name: _sources(name) for name in model.state_dict() if part_of(name) in ("vision", "connector", "und", "embeddings")
        }  # fmt: skip
        yield from _taken(model, self.directory, self._found, sources, {WORDS: self.vocabulary, HEAD: self.vocabulary})


class Expert:
    """A Qwen3 checkpoint for the act side.

    Attributes:
        left_out: its tensors that have no place there.

    Raises:
        BeingHError: It cannot be read, is of another kind, or its sizes are not those that `mllm` asks for.
    """

    def __init__(self, directory: str | Path, mllm: InternVL) -> None:
        self.directory = checkpoint_directory(directory)
        path = self.directory / CONFIG
        raw = read_json(path)
        check(_Qwen3, raw, where=path, remedy="use a Qwen3 checkpoint, or `start.expert: random`")
        mine, its = _sides(raw), _sides(mllm.text)
        wrong = [key for key in mine if key not in _FREE and mine[key] != its[key]]
        if wrong:
            raise BeingHError(
                "the expert does not fit: " + ", ".join(f"{key} {shown(mine[key])} where {shown(its[key])} is needed" for key in wrong),
                where=path, allowed="any hidden_size and intermediate_size; all else as in the language model, whose attention it shares",
                remedy="use the Qwen3 checkpoint of these sizes (Qwen3-0.6B beside InternVL3.5-2B), or `start.expert: random`",
            )  # fmt: skip
        self.sizes = {key: mine[key] for key in _FREE}
        stored = checkpoint.stored_tensors(self.directory)
        whole = any(name.startswith("model.") for name in stored)
        self._found = {
            name if whole or name == "lm_head.weight" else "model." + name: (name, one) for name, one in stored.items()
        }
        self.left_out = sorted(self._found.keys() & {"model.embed_tokens.weight", "lm_head.weight"})

    def weights(self, model: BeingH) -> Iterator[tuple[str, Tensor]]:
        """Our name and weight of the act side, float32; experts are all the same, and routers are not there.

        Raises:
            BeingHError: A tensor is missing, unexpected, of another size, or not finite.
        """
        sources = {
            name: (dense_name(name).removeprefix("language_model.").replace(_SIDE, ""),)
            for name in model.state_dict() if part_of(name) == "act" and not is_router(name)
        }  # fmt: skip
        found = {name: one for name, one in self._found.items() if name not in self.left_out}
        yield from _taken(model, self.directory, found, sources, {})


_Found = Mapping[str, tuple[str, checkpoint.Stored]]
_KEPT = (
    *_QWEN3,
    "rope_theta",
    "rope_parameters",
    "rope_scaling",
    "max_position_embeddings",
    "pad_token_id",
    "initializer_range",
)


def _sides(text: Mapping[str, Any]) -> dict[str, Any]:
    """What both sides of a decoder have of a Qwen3 configuration, with the base of its positions."""
    rope = text.get("rope_parameters") or text.get("rope_scaling") or {}
    base = rope.get("rope_theta") if isinstance(rope, dict) else None
    found = {key: text[key] if text.get(key) is not None else default for key, default in _QWEN3.items()}
    return {**found, "rope_theta": base or text.get("rope_theta") or 10000.0}


def _renamed(directory: Path, stored: Mapping[str, checkpoint.Stored]) -> dict[str, tuple[str, checkpoint.Stored]]:
    """Name in the first layout -> name in its file, and tensor."""
    found: dict[str, tuple[str, checkpoint.Stored]] = {}
    for name, one in stored.items():
        new = name
        for pattern, replacement in _LAYOUTS:
            new = pattern.sub(replacement, new)
        if new in found:
            raise BeingHError(
                f"the tensor {shown(new)} is there under two names", where=directory,
                remedy="remove the files that do not belong to this checkpoint",
            )  # fmt: skip
        found[new] = name, one
    return found


def _sources(name: str) -> tuple[str, ...]:
    """Names of the tensors that make up one of ours."""
    part = part_of(name)
    if part in ("und", "embeddings"):
        return (name,)
    if part == "connector":
        _, _, number, last = name.split(".")
        return (f"multi_modal_projector.{_CONNECTOR[number]}.{last}",)
    inner = name.removeprefix("vit_model.")
    layer = re.match(r"encoder\.layers\.(\d+)\.", inner)
    front = f"vision_tower.encoder.layer.{layer[1]}." if layer else "vision_tower."
    inner = inner[layer.end() :] if layer else inner
    stem, _, last = inner.rpartition(".")
    if inner in _VISION:
        return tuple(front + source for source in _VISION[inner])
    return tuple(f"{front}{source}.{last}" for source in _VISION.get(stem, (stem,)))


def _taken(
    model: BeingH, directory: Path, found: _Found, sources: Mapping[str, Sequence[str]], rows: Mapping[str, int]
) -> Iterator[tuple[str, Tensor]]:
    """Our name and weight, one after another.

    Args:
        model: Whose sizes are expected.
        directory: Of the tensors.
        found: What there is, with its name in its file.
        sources: our name -> names there.
        rows: our name -> rows there, where they are not as many.
    """
    expected = {}
    for name, parts in sources.items():
        shape = list(model.get_parameter(name).shape)
        shape[0] = rows.get(name, shape[0] // len(parts))
        expected |= {part: torch.Size(shape) for part in parts}
    checkpoint.check_tensors(directory, {name: one for name, (_, one) in found.items()}, expected)
    for name, parts in sources.items():
        tensors = load_tensors(dict(found[part] for part in parts), "cpu", torch.float32)
        yield name, torch.cat([tensors[found[part][0]] for part in parts])
