"""Cameras of a dataset whose pictures stand in its rows, as PNG or JPEG files."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.dataset as ds

from beingh_core.errors import BeingHError

IMAGE = "image"  # their dtype in info.json
_AT_ONCE = 32  # rows in memory


def image_columns(info: Mapping[str, Any]) -> dict[str, tuple[int, int]]:
    """Key -> (height, width) of the columns of pictures that info.json tells; (0, 0) where it does not say."""
    found = {}
    for key, feature in info["features"].items():
        if isinstance(feature, Mapping) and feature.get("dtype") == IMAGE:
            shape, names = list(feature.get("shape") or ()), list(feature.get("names") or ())
            if names[:1] in (["channels"], ["channel"]):
                shape = shape[1:]
            sides = [side if isinstance(side, int) else 0 for side in shape[:2]]
            found[key] = (sides[0], sides[1]) if len(sides) == 2 else (0, 0)
    return found


def files_of(path: Path, episode: int, key: str) -> Iterator[bytes | None]:
    """The file of each row of an episode, in order; None where a row has none.

    Raises:
        BeingHError: The rows cannot be read.
    """
    try:
        rows = ds.dataset(path, format="parquet", partitioning=None)
        wanted = ds.field("episode_index") == episode
        scan = rows.scanner(columns=[key], filter=wanted, batch_size=_AT_ONCE, batch_readahead=1, fragment_readahead=1)
        for batch in scan.to_batches():
            for one in batch.column(0).to_pylist():
                yield (one.get("bytes") if isinstance(one, dict) else None) or None
    except (OSError, KeyError, ValueError, pa.ArrowException) as error:
        raise BeingHError(f"`{key}` cannot be read ({str(error).splitlines()[0]})", where=path) from None
