"""What tells one checkpoint, contract or description from another."""

from __future__ import annotations

import hashlib
from pathlib import Path

from beingh_core.checkpoint_directory import checkpoint_directory


def fingerprint(directory: Path) -> str:
    """A hash of the files that make a checkpoint's answers."""
    digest = hashlib.sha256()
    for path in sorted(checkpoint_directory(directory).iterdir()):
        if path.suffix in (".json", ".safetensors") and path.is_file():
            digest.update(path.name.encode())
            with open(path, "rb") as file:
                while block := file.read(1 << 20):
                    digest.update(block)
    return digest.hexdigest()


def digest(path: Path) -> str:
    """SHA-256 of a file."""
    return hashlib.sha256(path.read_bytes()).hexdigest()
