"""Opens bags for the export; imports the reader only then."""

from __future__ import annotations

import importlib
from contextlib import AbstractContextManager
from pathlib import Path

from beingh_core.errors import BeingHError


def open_bag(path: Path) -> AbstractContextManager:
    """A bag directory or file as a `resample.BagReader`.

    Raises:
        BeingHError: No bag that can be read, or a library is missing.
    """
    try:
        bags = importlib.import_module("beingh_core.data.bags")
    except ImportError as error:
        raise BeingHError(
            f"bags cannot be read here ({error})", where=path, remedy="`pip install mcap rosbags`"
        ) from None
    return bags.open_bag(path)
