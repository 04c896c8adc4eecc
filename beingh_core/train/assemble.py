"""A new model put together: vision, connector and und side of InternVL, an act side of Qwen3 or random, the rest random."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from tokenizers import AddedToken, Tokenizer
from torch import Tensor

from beingh_core.checkpoint_directory import checkpoint_directory
from beingh_core.model import BeingH
from beingh_core.policy.tokenizer import load_tokenizer
from beingh_core.train.internvl import HEAD, RANDOM, WORDS, Expert, InternVL
from beingh_core.train.model_settings import StartSection
from beingh_core.train.tokenizer import SPECIAL

_SPREAD = 0.1  # of new words around the mean, in standard deviations of the known ones


def extended_tokenizer(section: StartSection) -> Tokenizer:
    """The language model's tokenizer with the special tokens that the released format needs behind its own.

    Raises:
        BeingHError: It cannot be read.
    """
    tokenizer = load_tokenizer(checkpoint_directory(section.mllm))
    tokenizer.add_special_tokens([AddedToken(token, special=True, normalized=False) for token in SPECIAL])
    return tokenizer


def sizes_of(section: StartSection, tokenizer: Tokenizer) -> dict[str, Any]:
    """Keys of config.json that the parts decide.

    Raises:
        BeingHError: A part cannot be read, or they do not fit each other.
    """
    mllm = InternVL(section.mllm)
    if section.expert == RANDOM:
        expert = {"hidden_size": section.act_hidden or 1024, "intermediate_size": section.act_mlp or 3072}
    else:
        expert = Expert(section.expert, mllm).sizes
    return mllm.sizes(expert, max(mllm.vocabulary, *(number + 1 for number in tokenizer.get_vocab().values())))


@torch.no_grad()
def assembled(section: StartSection, raw: dict[str, Any], seed: int, say: Callable[[str], None]) -> BeingH:
    """The model with its weights, float32 on the CPU.

    Args:
        section: Where the parts are.
        raw: config.json, with `sizes_of` in it.
        seed: of what is random.
        say: is told what came from where.

    Raises:
        BeingHError: A tensor is missing, unexpected, of another size, or not finite.
    """
    mllm = InternVL(section.mllm)
    model = BeingH.from_config(raw, seed=seed)
    weights = dict(model.named_parameters())
    known = _known_words(section, mllm)
    generator = torch.Generator().manual_seed(seed)
    count = 0
    for name, weight in mllm.weights(model):
        count += 1
        if name in (WORDS, HEAD):
            weight = _with_new_words(weight, known, len(weights[name]), generator)
        weights[name].copy_(weight)
    say(f"start: {count} weights of vision, connector and language model are those of {mllm.directory}")
    _tell_words(section, known, say)
    if section.expert == RANDOM:
        say("start: the act side is random")
        return model
    expert = Expert(section.expert, mllm)
    count = 0
    for name, weight in expert.weights(model):
        count += 1
        weights[name].copy_(weight)
    say(
        f"start: {count} weights of the act side are those of {expert.directory}; not used, since actions are no words: "
        f"{', '.join(expert.left_out) or 'none'}"
    )
    return model


def _known_words(section: StartSection, mllm: InternVL) -> Tensor:
    """Rows of the embedding that the language model's own tokenizer uses."""
    ids = load_tokenizer(mllm.directory).get_vocab().values()
    return torch.tensor(sorted(number for number in set(ids) if number < mllm.vocabulary))


def _with_new_words(weight: Tensor, known: Tensor, rows: int, generator: torch.Generator) -> Tensor:
    """All rows: the known ones as they are, every other one near their mean, where its first logit is that of a usual word."""
    mean, spread = weight[known].mean(dim=0), weight[known].std(dim=0)
    found = mean + _SPREAD * spread * torch.randn(rows, weight.shape[1], generator=generator)
    found[known] = weight[known]
    return found


def _tell_words(section: StartSection, known: Tensor, say: Callable[[str], None]) -> None:
    numbers = extended_tokenizer(section).get_vocab()
    new = sorted(set(numbers.values()) - set(known.tolist()))
    names = [word for word, number in numbers.items() if number in new]
    if names:
        say(f"start: new words {' '.join(sorted(names))}: embeddings near the mean of the {len(known)} known ones")
