"""Arrow columns of a dataset: vectors, tasks with pandas' index, LeRobot's language columns."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from beingh_core.data.lerobot.schema import DatasetSpec
from beingh_core.errors import BeingHError

INDEX = "__index_level_0__"
_ARROW = {
    "float32": pa.float32(),
    "float64": pa.float64(),
    "int64": pa.int64(),
    "int32": pa.int32(),
    "bool": pa.bool_(),
}
# LeRobot 0.6.1 `datasets/language.py`: what a row of `language_persistent` and `language_events` holds.
_TEXTS = [("role", pa.string()), ("content", pa.string()), ("style", pa.string())]
_MORE = [("camera", pa.string()), ("tool_calls", pa.list_(pa.json_() if hasattr(pa, "json_") else pa.string()))]
PERSISTENT = pa.list_(pa.struct([*_TEXTS, ("timestamp", pa.float32()), *_MORE]))
EVENTS = pa.list_(pa.struct([*_TEXTS, *_MORE]))


def column(values_ND: np.ndarray, dtype: str) -> pa.Array:
    """Rows (N, D) as a list column of fixed size, rows of one number as a plain column."""
    rows = np.ascontiguousarray(values_ND)
    flat = pa.array(rows.reshape(-1), type=_ARROW[dtype])
    return flat if rows.shape[1] == 1 else pa.FixedSizeListArray.from_arrays(flat, rows.shape[1])


def rows_of(table: pa.Table | pa.RecordBatch, key: str) -> np.ndarray:
    """Rows (N, D) of a column of numbers.

    Raises:
        BeingHError: No such column, or its rows are of different widths.
    """
    if key not in table.schema.names:
        raise BeingHError(f"it has no column `{key}`")
    values = table.column(key)
    if isinstance(values, pa.ChunkedArray):
        values = values.combine_chunks()
        values = values.chunk(0) if isinstance(values, pa.ChunkedArray) else values
    if pa.types.is_list(values.type) or pa.types.is_fixed_size_list(values.type) or pa.types.is_large_list(values.type):
        widths = pc.unique(pc.list_value_length(values)).to_pylist()
        if len(widths) > 1 or None in widths:
            raise BeingHError(f"rows of `{key}` are of different widths")
        return values.flatten().to_numpy(zero_copy_only=False).reshape(len(values), *widths or [0])
    return values.to_numpy(zero_copy_only=False).reshape(-1, 1)


def persistent(subtasks: Sequence[tuple[float, str]], rows: int) -> pa.Array:
    """LeRobot's column: every row of the episode holds all of its subtasks."""
    texts = [
        {
            "role": "assistant",
            "content": text,
            "style": "subtask",
            "timestamp": start_s,
            "camera": None,
            "tool_calls": None,
        }
        for start_s, text in subtasks
    ]
    return pa.array([texts] * rows, type=_storage(PERSISTENT)).cast(PERSISTENT)


def events(rows: int) -> pa.Array:
    """LeRobot's column of single events, empty."""
    return pa.array([[]] * rows, type=_storage(EVENTS)).cast(EVENTS)


def _storage(kind: pa.ListType) -> pa.ListType:
    """The type with plain strings for JSON, which pyarrow can build from Python values."""
    fields = [pa.field(f.name, pa.list_(pa.string())) if f.name == "tool_calls" else f for f in kind.value_type]
    return pa.list_(pa.struct(fields))


def write_names(path: Path, names: Sequence[str], index_column: str) -> None:
    """Writes tasks.parquet or subtasks.parquet: a table whose pandas index is the text."""
    numbers = {
        "name": index_column,
        "field_name": index_column,
        "pandas_type": "int64",
        "numpy_type": "int64",
        "metadata": None,
    }
    texts = {"name": None, "field_name": INDEX, "pandas_type": "unicode", "numpy_type": "object", "metadata": None}
    whole = {
        "name": None,
        "field_name": None,
        "pandas_type": "unicode",
        "numpy_type": "object",
        "metadata": {"encoding": "UTF-8"},
    }
    pandas = {"index_columns": [INDEX], "column_indexes": [whole], "columns": [numbers, texts], "attributes": {}}
    pandas |= {"creator": {"library": "pyarrow", "version": pa.__version__}, "pandas_version": "2.3.3"}
    table = pa.table({index_column: pa.array(range(len(names)), pa.int64()), INDEX: pa.array(list(names), pa.string())})
    pq.write_table(table.replace_schema_metadata({"pandas": json.dumps(pandas)}), path)


def read_names(path: Path, index_column: str) -> list[str]:
    """Texts of such a table, in the order of their numbers."""
    table = read_table(path)
    texts = next((name for name in (INDEX, "task", "subtask") if name in table.column_names), None)
    if texts is None or index_column not in table.column_names:
        raise BeingHError(
            f"has columns {table.column_names}", where=path, allowed=f"{index_column} and the texts as index"
        )
    pairs = sorted(zip(table.column(index_column).to_pylist(), table.column(texts).to_pylist()))
    if [number for number, _ in pairs] != list(range(len(pairs))):
        raise BeingHError("its numbers are not 0, 1, 2, ...", where=path)
    return [text for _, text in pairs]


def read_table(path: Path, columns: Iterable[str] | None = None) -> pa.Table:
    """A whole parquet file.

    Raises:
        BeingHError: Missing, cut off (no footer) or damaged.
    """
    try:
        # partitioning=None: a folder `name=value` above is no column.
        return pq.read_table(path, columns=None if columns is None else list(columns), partitioning=None)
    except (OSError, pa.ArrowException, KeyError) as error:
        raise BeingHError(
            f"no parquet file that can be read ({str(error).splitlines()[0]})",
            where=path,
            remedy="a recorder that was killed leaves files without footer; "
            "`beingh dataset repair DATASET --out NEW` keeps the intact episodes",
        ) from None


def check(path: Path) -> None:
    """Raises the same as `read_table`, from the file's footer alone."""
    read_table(path, [])


def schema_of(spec: DatasetSpec) -> pa.Schema:
    """Columns of data files, in order."""
    fields = []
    for key, dtype in spec.columns.items():
        width = spec.width(key)
        fields.append(pa.field(key, _ARROW[dtype] if width == 1 else pa.list_(_ARROW[dtype], width)))
    if spec.subtasks == "language":
        fields += [pa.field("language_persistent", PERSISTENT), pa.field("language_events", EVENTS)]
    return pa.schema(fields)


def like(table: pa.Table, schema: pa.Schema) -> pa.Table:
    """The table with exactly the columns and types of another; what it lacks is null."""
    found: dict[str, Any] = {}
    for field in schema:
        if field.name in table.column_names:
            found[field.name] = table.column(field.name).cast(field.type)
        else:
            found[field.name] = pa.nulls(len(table), field.type)
    return pa.table(found, schema=schema)
