"""Reading a checkpoint's tokenizer, whichever of the two usual file sets it came with."""

from __future__ import annotations

import os
from pathlib import Path

from tokenizers import Tokenizer

from beingh_core.errors import BeingHError, shown
from beingh_core.files import COPY_AGAIN, check_file
from beingh_core.policy.tokenizer_files import check_tokenizer_files

_LARGEST_BYTES = 64 << 20
"""Vocabularies of a quarter of a million words take half of it."""
_OLDER = ("vocab.json", "merges.txt")
_REMEDY = "copy the tokenizer files of the checkpoint into its directory"


def tokenizer_file(path: str | Path) -> Path:
    """The file that decides: tokenizer.json, or vocab.json in a directory that has only the older files."""
    path = Path(path)
    if not path.is_dir():
        return path
    names = [name for name in ("tokenizer.json", _OLDER[0]) if os.path.lexists(path / name)]
    return path / (names or ["tokenizer.json"])[0]


def load_tokenizer(path: str | Path) -> Tokenizer:
    """The tokenizer of a `tokenizer.json`, or of the directory that holds one.

    A directory with only the older files (vocab.json, merges.txt, added_tokens.json) is converted by
    transformers, which takes seconds to import.

    Raises:
        BeingHError: no such file, it cannot be read, or the files beside it contradict it.
    """
    file = tokenizer_file(path)
    older = file.name == _OLDER[0]
    for name in _OLDER if older else (file.name,):
        check_file(file.parent / name, largest=_LARGEST_BYTES, remedy=_REMEDY)
    try:
        if not older:
            tokenizer = Tokenizer.from_file(str(file))
            check_tokenizer_files(tokenizer, file.parent)
            return tokenizer
        from transformers import AutoTokenizer

        # Code that comes with a checkpoint is never run, nor is the user asked whether it may.
        found = AutoTokenizer.from_pretrained(file.parent, local_files_only=True, trust_remote_code=False)
        return found.backend_tokenizer
    except BeingHError:
        raise
    except Exception as error:  # tokenizers raises bare Exception
        raise BeingHError(
            f"cannot be read as a tokenizer: {shown(str(error), 200)}", where=file, remedy=COPY_AGAIN
        ) from None
