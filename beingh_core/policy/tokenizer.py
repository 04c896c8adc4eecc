"""Reading a checkpoint's tokenizer, whichever of the two usual file sets it came with."""

from __future__ import annotations

from pathlib import Path

from tokenizers import Tokenizer

from beingh_core.errors import BeingHError


def load_tokenizer(path: str | Path) -> Tokenizer:
    """The tokenizer of a `tokenizer.json`, or of the directory that holds one.

    A directory with only the older files (vocab.json, merges.txt, added_tokens.json) is converted by
    transformers, which takes seconds to import.

    Raises:
        BeingHError: no such file, or it cannot be read.
    """
    path = Path(path)
    file = path / "tokenizer.json" if path.is_dir() else path
    older = path / "vocab.json"
    if not file.is_file() and not older.is_file():
        raise BeingHError(f"there is no {file}", remedy="point at a checkpoint directory with its tokenizer")
    try:
        if file.is_file():
            return Tokenizer.from_file(str(file))
        from transformers import AutoTokenizer

        return AutoTokenizer.from_pretrained(path, local_files_only=True).backend_tokenizer
    except Exception as error:  # tokenizers raises bare Exception
        raise BeingHError(f"cannot be read as a tokenizer: {error}", where=path) from None
