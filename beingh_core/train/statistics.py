"""Statistics of what is taught, exact and in bounded memory, in the layout of metadata files."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from beingh_core.data.lerobot import statistics as streamed
from beingh_core.errors import BeingHError
from beingh_core.policy.data_configs import KeySpec
from beingh_core.policy.metadata import METADATA_SUFFIX, load_metadata
from beingh_core.policy.transforms import STATISTICS
from beingh_core.rotations import to_axis_angle
from beingh_core.train.modality import Modality
from beingh_core.train.rows import RowTable

_BLOCK = 1 << 16  # rows at a time


def statistics_of(modality: Modality, tables: Sequence[RowTable], chunk_length: int) -> dict[str, Any]:
    """{"state": {key: {min, max, mean, std, q01, q99}}, "action": {...}} over all rows of some datasets, as slots hold them.

    Actions that count from the start of a chunk are taken over all chunks.

    Args:
        modality: What the numbers are.
        tables: Rows.
        chunk_length: H.
    """
    found: dict[str, Any] = {}
    for kind, specs in (("state", modality.config.state), ("action", modality.config.action)):
        found[kind] = {}
        for spec in specs:
            chunks = kind == "action" and spec.key in modality.starts
            read = _chunks if chunks else _rows
            one = streamed.of_stream(lambda s=spec, r=read, k=kind: r(modality, tables, k, s, chunk_length))
            found[kind][spec.key] = {name: one[name].tolist() for name in STATISTICS}
    return found


def read_statistics(path: str) -> dict[str, Any]:
    """The entry over all data of a `<name>_metadata.json`.

    Raises:
        BeingHError: Another name of a file, or see `load_metadata`.
    """
    file = Path(path)
    if not file.name.endswith(METADATA_SUFFIX):
        raise BeingHError(f"`{file.name}` is no file of statistics", where=path, allowed=f"NAME{METADATA_SUFFIX}")
    return dict(load_metadata(file.parent, file.name.removesuffix(METADATA_SUFFIX)).merged["statistics"])


def _rows(
    modality: Modality, tables: Sequence[RowTable], kind: str, spec: KeySpec, _length: int
) -> Iterator[np.ndarray]:
    for table in tables:
        rows = table.state if kind == "state" else table.action
        for first in range(0, len(rows), _BLOCK):
            yield _as_slot(spec, modality.parts(kind, np.asarray(rows[first : first + _BLOCK]))[spec.key])


def _chunks(
    modality: Modality, tables: Sequence[RowTable], _kind: str, spec: KeySpec, length: int
) -> Iterator[np.ndarray]:
    for table in tables:
        for first, last in zip(table.starts, table.starts[1:]):
            state, action = np.asarray(table.state[first:last]), np.asarray(table.action[first:last])
            for row in range(last - first):
                before = action[row - 1] if row else None
                chunk = modality.chunk(state[row], before, action[row : row + length], length)
                yield _as_slot(spec, chunk[spec.key])


def _as_slot(spec: KeySpec, values: np.ndarray) -> np.ndarray:
    return to_axis_angle(values, spec.rotation) if spec.rotation else values
