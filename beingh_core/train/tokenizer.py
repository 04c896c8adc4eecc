"""A byte-level tokenizer with the phrases of a task as single tokens: any text can be written, prompts stay short."""

from __future__ import annotations

import json
from collections.abc import Iterable
from pathlib import Path

from tokenizers import AddedToken, Tokenizer, decoders, models, pre_tokenizers

from beingh_core.policy.prompt import INSTRUCTION_TEMPLATE, SYSTEM_MESSAGES

SPECIAL = (
    "<|endoftext|>",
    "<|im_start|>",
    "<|im_end|>",
    "<img>",
    "</img>",
    "<IMG_CONTEXT>",
    "<|state_start|>",
    "<|state_end|>",
    "<|action_pad|>",
)


def prompt_phrases(chunk_length: int) -> list[str]:
    """The fixed parts of every prompt, for chunks of so many steps."""
    head, tail = INSTRUCTION_TEMPLATE.replace("{k}", str(chunk_length)).split("{task_description}")
    return [*(f"system\n{message}" for message in SYSTEM_MESSAGES.values()), "user\n", "assistant\n", head, tail]


def build_tokenizer(phrases: Iterable[str]) -> Tokenizer:
    """Tokenizer of the 256 bytes, the special tokens and `phrases`, each of which becomes one token."""
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    tokenizer = Tokenizer(models.BPE(vocab={c: i for i, c in enumerate(alphabet)}, merges=[]))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)
    tokenizer.decoder = decoders.ByteLevel()
    tokenizer.add_special_tokens([AddedToken(t, special=True, normalized=False) for t in SPECIAL])
    tokenizer.add_tokens([AddedToken(p, normalized=False) for p in dict.fromkeys(phrases)])
    return tokenizer


def save_tokenizer(tokenizer: Tokenizer, directory: str | Path) -> None:
    """Write tokenizer.json, tokenizer_config.json and special_tokens_map.json."""
    directory = Path(directory)
    tokenizer.save(str(directory / "tokenizer.json"))
    names = {"eos_token": "<|im_end|>", "pad_token": "<|endoftext|>", "additional_special_tokens": list(SPECIAL[1:])}
    (directory / "special_tokens_map.json").write_text(json.dumps(names, indent=2))
    (directory / "tokenizer_config.json").write_text(
        json.dumps(
            {**names, "tokenizer_class": "PreTrainedTokenizerFast", "clean_up_tokenization_spaces": False}, indent=2
        )
    )
