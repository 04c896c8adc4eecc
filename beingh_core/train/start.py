"""The model and the words that a run starts from: a checkpoint, parts of others, or nothing."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any

import torch
from tokenizers import Tokenizer

from beingh_core.checkpoint_directory import CONFIG, checkpoint_directory
from beingh_core.files import read_json
from beingh_core.model import BeingH, BeingHConfig, mof
from beingh_core.policy.prompt import PromptBuilder, PromptConfig
from beingh_core.policy.tokenizer import load_tokenizer
from beingh_core.train.assemble import assembled, extended_tokenizer, sizes_of
from beingh_core.train.config import model_config, model_keys
from beingh_core.train.settings import ModelSection, RunConfig
from beingh_core.train.sources import AnySource
from beingh_core.train.tokenizer import build_tokenizer, prompt_phrases

MOST_WORDS = 4000  # of a vocabulary from nothing; rarer ones are written in bytes
# Key of the section -> key of config.json, where they differ.
_CONFIG_KEYS = {"image_size": "force_image_size"}
_FROM_NOTHING = {
    "action_chunk_length": 16, "num_inference_timesteps": 4, "use_mpg": True, "mpg_lambda": 0.1, "mpg_refinement_iters": 1,
}  # fmt: skip


def chunk_length(config: RunConfig) -> int:
    """H of the model that a run trains.

    Raises:
        BeingHError: The checkpoint's configuration cannot be read.
    """
    if config.model.action_chunk_length is not None or not config.checkpoint:
        return config.model.action_chunk_length or int(_FROM_NOTHING["action_chunk_length"])
    path = checkpoint_directory(config.checkpoint) / CONFIG
    return BeingHConfig.from_dict(read_json(path), path).chunk_length


def tokenizer_for(config: RunConfig, sources: Iterable[AnySource]) -> Tokenizer:
    """The tokenizer of the checkpoint or of the language model.

    Without either one of bytes that knows the words of the tasks, and the phrases of branches.

    Raises:
        BeingHError: The tokenizer cannot be read.
    """
    if config.checkpoint:
        return load_tokenizer(checkpoint_directory(config.checkpoint))
    if config.start:
        return extended_tokenizer(config.start)
    sources = list(sources)
    texts = dict.fromkeys(text for source in sources for text in source.texts())
    words = Counter(word for text in texts for word in re.findall(r"\s?[^\W\d_]+", text))
    phrases = [phrase for source in sources for phrase in source.phrases()]
    fixed = prompt_phrases(chunk_length(config))
    return build_tokenizer([*fixed, *phrases, *(word for word, _ in words.most_common(MOST_WORDS))])


def config_keys(section: ModelSection, longest_delay: int) -> dict[str, Any]:
    """Keys of config.json that a run sets in place of the checkpoint's own; prefixes of up to `longest_delay` are trained."""
    given = {
        _CONFIG_KEYS.get(name, name): value
        for name, value in section.model_dump(exclude={"vision", "decoder"}).items() if value is not None
    }  # fmt: skip
    if "action_chunk_length" in given:
        given["action_token_num"] = given["action_chunk_length"]
    delay = {
        "use_training_time_rtc": longest_delay > 0, "trained_delay": longest_delay,
        "simulated_delay": longest_delay + 1 if longest_delay else 0,  # the released key counts the prefix of 0 steps too
    }  # fmt: skip
    return given | delay


def raw_config(config: RunConfig, tokenizer: Tokenizer, longest_delay: int) -> dict[str, Any]:
    """config.json of a new model.

    Args:
        config: With sizes, or the parts that have them.
        tokenizer: Whose words it has.
        longest_delay: steps.

    Raises:
        BeingHError: A part cannot be read, or they do not fit each other.
    """
    told = _FROM_NOTHING | {"use_training_time_rtc": longest_delay > 0, "trained_delay": longest_delay}
    if config.start:
        found = model_keys(told) | sizes_of(config.start, tokenizer)
    else:
        sizes = {"vision": config.model.vision.model_dump(), "decoder": config.model.decoder.model_dump()}
        found = model_config(told | sizes, tokenizer.get_vocab_size())
    return found | config_keys(config.model, longest_delay)


def load_model(
    config: RunConfig,
    tokenizer: Tokenizer,
    longest_delay: int,
    used_slots: Sequence[bool],
    say: Callable[[str], None] = lambda _: None,
) -> BeingH:
    """The model to train, float32 on the CPU.

    Args:
        config: Where it starts from.
        tokenizer: Whose words a new model has.
        longest_delay: that is trained [steps].
        used_slots: (200,) which action slots any dataset has: a new model does not listen to the noise in others.
        say: is told which weights came from where.

    Raises:
        BeingHError: The checkpoint is broken, or its configuration with the run's keys is impossible.
    """
    if config.checkpoint:
        keys = config_keys(config.model, longest_delay)
        seed = config.training.seed
        return BeingH.from_pretrained(config.checkpoint, dtype=torch.float32, overrides=keys, seed=seed).train()
    raw = config_of(config, tokenizer, longest_delay)
    if config.start:
        model = assembled(config.start, raw, config.training.seed, say).train()
    else:
        model = BeingH.from_config(raw, seed=config.training.seed).train()
    with torch.no_grad():
        model.action_encoder.W1.weight[:, ~torch.tensor(used_slots)] = 0.0
    return model


def config_of(config: RunConfig, tokenizer: Tokenizer, longest_delay: int) -> dict[str, Any]:
    """config.json of the model that `load_model` gives, without its weights.

    Raises:
        BeingHError: It is impossible.
    """
    if config.checkpoint:
        path = checkpoint_directory(config.checkpoint) / CONFIG
        own = read_json(path)
        raw = own | config_keys(config.model, longest_delay)
    else:
        raw, path = raw_config(config, tokenizer, longest_delay), Path(config.start.mllm if config.start else "model")
        own = raw
    wanted = BeingHConfig.from_dict(raw, path, remedy="correct the section `model` of the configuration")
    mof.refuse_other(BeingHConfig.from_dict(own, path).mof, wanted.mof, path)
    return raw


def prompts_for(config: RunConfig, tokenizer: Tokenizer, longest_delay: int) -> PromptBuilder:
    """Words and layout of that model."""
    found = BeingHConfig.from_dict(config_of(config, tokenizer, longest_delay))
    return PromptBuilder(tokenizer, PromptConfig.from_model_config(found))
