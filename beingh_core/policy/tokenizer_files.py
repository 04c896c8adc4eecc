"""What lies beside a tokenizer.json must not contradict it: training read all of these files, this software only that one.

Training's library adds to tokenizer.json the tokens that tokenizer_config.json names; if they differ, so do the numbers of
the tokens that the model learned from.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated

from pydantic import Field
from tokenizers import Tokenizer

from beingh_core.errors import BeingHError, shown
from beingh_core.files import read_json
from beingh_core.validation import Schema, at_most, check, whole

CONFIG, SPECIAL, ADDED = "tokenizer_config.json", "special_tokens_map.json", "added_tokens.json"
_REMEDY = "copy all tokenizer files of the checkpoint again, from one place"
_MOST = 100_000
_Content = Annotated[str, Field(min_length=1, max_length=10_000)]


class _Token(Schema):
    """A token with its options."""

    content: _Content


_Named = _Content | _Token | None


class _Special(Schema):
    """Tokens with a meaning, by that meaning."""

    bos_token: _Named = None
    eos_token: _Named = None
    unk_token: _Named = None
    sep_token: _Named = None
    pad_token: _Named = None
    cls_token: _Named = None
    mask_token: _Named = None
    additional_special_tokens: Annotated[list[_Content | _Token], at_most(_MOST)] | None = None

    def contents(self) -> Iterator[tuple[str, str]]:
        """Each with its key."""
        for key in _Special.model_fields:
            value = getattr(self, key)
            for token in value if isinstance(value, list) else [value]:
                if token is not None:
                    yield key, token if isinstance(token, str) else token.content


class _Config(_Special):
    """What of tokenizer_config.json can change the numbers of tokens."""

    added_tokens_decoder: (
        Annotated[dict[Annotated[str, Field(pattern="^[0-9]{1,9}$")], _Token], at_most(_MOST)] | None
    ) = None
    add_prefix_space: bool | None = None


class _Added(Schema):
    """added_tokens.json: content -> number."""

    tokens: Annotated[dict[_Content, whole(0, 10**9)], at_most(_MOST)]


def check_tokenizer_files(tokenizer: Tokenizer, directory: Path) -> None:
    """Refuses files beside tokenizer.json with which texts would become other numbers; those that are not there say nothing.

    Raises:
        BeingHError: a token has another number in tokenizer.json or is missing there, spaces are treated in another way,
            or one of these files cannot be read.
    """
    if os.path.lexists(path := directory / CONFIG):
        config = check(_Config, read_json(path, remedy=_REMEDY), where=path, remedy=_REMEDY)
        for number, token in (config.added_tokens_decoder or {}).items():
            _check_token(tokenizer, token.content, int(number), f"{path}: added_tokens_decoder.{number}")
        _check_special(tokenizer, config, path)
        _check_prefix_space(tokenizer, config, path)
    if os.path.lexists(path := directory / SPECIAL):
        _check_special(tokenizer, check(_Special, read_json(path, remedy=_REMEDY), where=path, remedy=_REMEDY), path)
    if os.path.lexists(path := directory / ADDED):
        added = check(_Added, {"tokens": read_json(path, remedy=_REMEDY)}, where=path, remedy=_REMEDY)
        for content, number in added.tokens.items():
            _check_token(tokenizer, content, number, path)


def _check_special(tokenizer: Tokenizer, special: _Special, path: Path) -> None:
    for key, content in special.contents():
        _check_token(tokenizer, content, None, f"{path}: {key}")


def _check_token(tokenizer: Tokenizer, content: str, number: int | None, where: object) -> None:
    found = tokenizer.token_to_id(content)
    if found is None:
        raise BeingHError(
            f"tokenizer.json has no token {shown(content)}, which is named here", where=where, remedy=_REMEDY
        )
    if number is not None and found != number:
        raise BeingHError(
            f"the token {shown(content)} has the number {number} here and {found} in tokenizer.json",
            where=where,
            remedy=_REMEDY,
        )


def _check_prefix_space(tokenizer: Tokenizer, config: _Config, path: Path) -> None:
    if config.add_prefix_space is None or tokenizer.pre_tokenizer is None:
        return
    # As training's library: only where tokenizer.json says it at the top does the other file override it.
    own = json.loads(tokenizer.pre_tokenizer.__getstate__()).get("add_prefix_space", config.add_prefix_space)
    if own != config.add_prefix_space:
        here, there = json.dumps(config.add_prefix_space), json.dumps(own)
        raise BeingHError(
            f"add_prefix_space is {here} here and {there} in the pre_tokenizer of tokenizer.json",
            where=path,
            remedy=_REMEDY,
        )
