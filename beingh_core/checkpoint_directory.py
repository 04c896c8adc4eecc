"""Finding a checkpoint's directory; no torch, so that a wrong path is told before anything is loaded."""

from __future__ import annotations

import itertools
import os
import re
from pathlib import Path

from beingh_core.errors import BeingHError, did_you_mean

CONFIG = "config.json"
_HUB = re.compile(
    r"(?:(?:https?:/+)?(?:www\.)?(?:huggingface\.co|hf\.co)/|hf:/+)?([A-Za-z0-9][\w.-]*/[\w.-]+)(?:[/@].*)?"
)
_HOLDS = "config.json, *.safetensors and the tokenizer"
_LOOKED_AT = 200
"""Most neighbours that a remedy looks at."""


def checkpoint_directory(path: str | Path) -> Path:
    """The directory of a checkpoint, `~` expanded.

    Raises:
        BeingHError: A name of a model hub, a file, a directory without config.json, or one that may not be read.
    """
    directory = Path(os.path.expanduser(path))
    try:
        is_directory = os.path.isdir(directory)
        exists = os.path.lexists(directory)
    except ValueError:  # a null byte
        is_directory = exists = False
    if not exists:
        raise _missing(path, directory)
    if not is_directory:
        raise BeingHError(
            "a checkpoint is a directory, this is a file",
            where=directory,
            remedy=f"give the directory with {_HOLDS}: {directory.parent}",
        )
    if not os.access(directory, os.R_OK | os.X_OK):
        raise BeingHError("this user may not read the directory", where=directory, remedy="change its permissions")
    if not os.path.lexists(directory / CONFIG):
        raise _without_config(directory)
    return directory


def _missing(path: str | Path, directory: Path) -> BeingHError:
    remedy = f"give the directory with {_HOLDS}"
    neighbours = [entry.name for entry in _entries(directory.parent)]
    guess = did_you_mean(directory.name, neighbours)
    hub = _HUB.fullmatch(str(path))
    if guess:
        remedy += f" ({guess})"
    if hub:
        remedy += (
            f"; if this is a name on Hugging Face, download it first: `hf download {hub[1]} --local-dir DIRECTORY`, "
            "and give that directory"
        )
    return BeingHError(f"there is no such directory, so no {CONFIG} either", where=path, remedy=remedy)


def _without_config(directory: Path) -> BeingHError:
    entries = [entry.name for entry in _entries(directory)]
    state = [name for name in entries if re.search(r"optim|scheduler|train_state|random_states|distcp", name)]
    what = f"is no checkpoint: it holds no {CONFIG}"
    if state:
        what += f", but a training state (`{state[0]}`)"
    near = [directory.parent, *(directory / name for name in entries), *(directory / "snapshots").glob("*")]
    holders = [str(other) for other in near[:_LOOKED_AT] if os.path.isfile(other / CONFIG)]
    remedy = f"give the directory with {_HOLDS}" + (f"; one is {holders[0]}" if holders else "")
    return BeingHError(what, where=directory, remedy=remedy)


def _entries(directory: Path) -> list[os.DirEntry]:
    try:
        with os.scandir(directory) as entries:
            return list(itertools.islice(entries, _LOOKED_AT))
    except (OSError, ValueError):
        return []
