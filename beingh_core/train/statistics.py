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


Part = tuple[Modality, RowTable]


def statistics_of(parts: Sequence[Part], chunk_length: int) -> dict[str, Any]:
    """{"state": {key: {min, max, mean, std, q01, q99}}, "action": {...}} over all rows of some datasets, as slots hold them.

    A key that only some datasets have is taken over these; one that has another width in some (arms of six and of seven
    joints) is left out. Actions that count from the start of a chunk are taken over all chunks. Of hands, what is known is
    taken; in the frame of a camera, the first step of every chunk.

    Args:
        parts: What the numbers are, and the rows.
        chunk_length: H.
    """
    found: dict[str, Any] = {"state": {}, "action": {}}
    for kind in found:
        specs = [(spec, part) for part in parts for spec in _specs(part[0], kind)]
        for key in dict.fromkeys(spec.key for spec, _ in specs):
            mine = [(spec, part) for spec, part in specs if spec.key == key]
            if len({_width(spec, kind) for spec, _ in mine}) > 1:
                continue
            if not any(len(block) for block in _blocks(kind, mine, chunk_length)):
                continue  # a hand that is never seen
            one = streamed.of_stream(lambda k=kind, m=mine: _blocks(k, m, chunk_length))
            found[kind][key] = {name: one[name].tolist() for name in STATISTICS}
    return found


def _blocks(kind: str, mine: Sequence[tuple[KeySpec, Part]], length: int) -> Iterator[np.ndarray]:
    for spec, (modality, table) in mine:
        if modality.layout is not None:
            yield from _of_hands(modality, table, kind, spec.key)
        elif kind == "action" and spec.key in modality.starts:
            yield from _chunks(modality, table, spec, length)
        else:
            yield from _rows(modality, table, kind, spec)


def _specs(modality: Modality, kind: str) -> Sequence[KeySpec]:
    return modality.config.state if kind == "state" else modality.config.action


def _width(spec: KeySpec, kind: str) -> int:
    bounds = spec.bounds(kind)
    return bounds.stop - bounds.start


def read_statistics(path: str) -> dict[str, Any]:
    """The entry over all data of a `<name>_metadata.json`.

    Raises:
        BeingHError: Another name of a file, or see `load_metadata`.
    """
    file = Path(path)
    if not file.name.endswith(METADATA_SUFFIX):
        raise BeingHError(f"`{file.name}` is no file of statistics", where=path, allowed=f"NAME{METADATA_SUFFIX}")
    return dict(load_metadata(file.parent, file.name.removesuffix(METADATA_SUFFIX)).merged["statistics"])


def _of_hands(modality: Modality, table: RowTable, kind: str, key: str) -> Iterator[np.ndarray]:
    for first, last in zip(table.starts, table.starts[1:]):
        values, known = modality.layout.each(np.asarray(table.state[first:last]), kind)
        if known[key].any():
            yield values[key][known[key]]


def _rows(modality: Modality, table: RowTable, kind: str, spec: KeySpec) -> Iterator[np.ndarray]:
    if kind == "action" and table.branches is not None:
        yield from (_as_slot(spec, modality.parts(kind, rows)[spec.key]) for rows in _of_branches(table))
        return
    rows = table.state if kind == "state" else table.action
    for first in range(0, len(rows), _BLOCK):
        yield _as_slot(spec, modality.parts(kind, np.asarray(rows[first : first + _BLOCK]))[spec.key])


def _of_branches(table: RowTable) -> Iterator[np.ndarray]:
    """(n, D) actions of all branches, which are what is taught."""
    branches, block = table.branches, max(1, _BLOCK // (table.branches.form.branches * table.branches.form.steps))
    for first in range(0, len(branches.task), block):
        there = np.asarray(branches.task[first : first + block]) >= 0
        actions = np.asarray(branches.action[first : first + block])[there]
        if actions.size:
            yield actions.reshape(-1, actions.shape[-1])


def _chunks(modality: Modality, table: RowTable, spec: KeySpec, length: int) -> Iterator[np.ndarray]:
    for first, last in zip(table.starts, table.starts[1:]):
        state, action = np.asarray(table.state[first:last]), np.asarray(table.action[first:last])
        for row in range(last - first):
            before, rows = action[row - 1] if row else None, [action[row : row + length]]
            if table.branches is not None:
                rows = table.branches.action[first + row][table.branches.task[first + row] >= 0]
            for taught in rows:
                yield _as_slot(spec, modality.chunk(state[row], before, taught, length)[spec.key])


def _as_slot(spec: KeySpec, values: np.ndarray) -> np.ndarray:
    """(N, W) float64, whatever the dataset has: the quantiles count one kind of number."""
    return np.asarray(to_axis_angle(values, spec.rotation) if spec.rotation else values, dtype=np.float64)
