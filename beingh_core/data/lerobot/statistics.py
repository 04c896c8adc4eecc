"""Statistics of a dataset: exact, also the quantiles, in bounded memory, from parts that can be merged.

Columns of numbers: order statistics are found by their bits. Each number becomes an unsigned integer of the same order;
a pass counts 16 bits of it, and only the bins that hold a wanted rank are looked at more closely in the next pass.
Pictures: from histograms of all their values. Quantiles interpolate linearly between neighbours, as numpy does.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any

import numpy as np

QUANTILES = {"q01": 0.01, "q10": 0.10, "q50": 0.50, "q90": 0.90, "q99": 0.99}
Statistics = dict[str, np.ndarray]
_DIGIT = 16
_IN_MEMORY = 1 << 24  # numbers that are sorted as they are
_COLUMNS = 8  # of which the bins are kept at a time: 8 columns, 10 ranks, 2^16 bins take 42 MB


def of_rows(rows_ND: np.ndarray) -> Statistics:
    """Statistics (D,) of rows (N, D) in memory."""
    rows = np.asarray(rows_ND)
    quantiles = np.quantile(rows.astype(np.float64), list(QUANTILES.values()), axis=0)
    return {
        "min": rows.min(axis=0).astype(np.float64), "max": rows.max(axis=0).astype(np.float64),
        "mean": rows.mean(axis=0, dtype=np.float64), "std": rows.std(axis=0, dtype=np.float64),
        "count": np.array([len(rows)]), **dict(zip(QUANTILES, quantiles)),
    }  # fmt: skip


def of_histogram(counts_CV: np.ndarray, frames: int, values_V: np.ndarray) -> Statistics:
    """Statistics (C, 1, 1) of pictures.

    Args:
        counts_CV: how often each of V values occurs in each of C channels.
        frames: pictures.
        values_V: what each bin stands for, ascending.
    """
    counts = np.asarray(counts_CV, np.int64)
    total = counts.sum(axis=1)
    mean = (counts * values_V).sum(axis=1) / total
    variance = (counts * (values_V[None] - mean[:, None]) ** 2).sum(axis=1) / total
    found = {
        "min": values_V[(counts > 0).argmax(axis=1)],
        "max": values_V[counts.shape[1] - 1 - (counts[:, ::-1] > 0).argmax(axis=1)],
        "mean": mean,
        "std": np.sqrt(variance),
    }
    cumulative = counts.cumsum(axis=1)
    for name, share in QUANTILES.items():
        rank = share * (total - 1)
        low, high = np.floor(rank).astype(np.int64), np.ceil(rank).astype(np.int64)
        pick = lambda ranks: np.array([values_V[np.searchsorted(row, r, "right")] for row, r in zip(cumulative, ranks)])
        found[name] = pick(low) + (rank - low) * (pick(high) - pick(low))
    return {name: value.reshape(-1, 1, 1) for name, value in found.items()} | {"count": np.array([frames])}


def of_stream(read: Callable[[], Iterable[np.ndarray]]) -> Statistics:
    """Statistics (D,) of rows that do not fit into memory.

    Args:
        read: starts reading anew and gives blocks (n, D), always the same, all of one type.
    """
    count, low, high, mean, squares = 0, None, None, 0.0, 0.0
    for block in read():
        rows = block.astype(np.float64)
        n, block_mean = len(rows), rows.mean(axis=0)
        difference = block_mean - mean
        total = count + n
        # Chan, Golub, LeVeque (1983): merging of means and sums of squares.
        squares = squares + ((rows - block_mean) ** 2).sum(axis=0) + difference**2 * (count * n / total)
        mean, count = mean + difference * (n / total), total
        low = block.min(axis=0) if low is None else np.minimum(low, block.min(axis=0))
        high = block.max(axis=0) if high is None else np.maximum(high, block.max(axis=0))
    if not count:
        raise ValueError("no rows")
    ranks = {name: share * (count - 1) for name, share in QUANTILES.items()}
    wanted = sorted({int(f(rank)) for rank in ranks.values() for f in (np.floor, np.ceil)})
    if count * low.size <= _IN_MEMORY:
        return of_rows(np.concatenate(list(read())))
    groups = [slice(first, first + _COLUMNS) for first in range(0, low.size, _COLUMNS)]
    parts = [order_statistics(lambda group=group: (block[:, group] for block in read()), wanted) for group in groups]
    ordered = dict(zip(wanted, np.concatenate(parts, axis=1)))
    quantiles = {}
    for name, rank in ranks.items():
        below, above = ordered[int(np.floor(rank))], ordered[int(np.ceil(rank))]
        quantiles[name] = below + (rank - np.floor(rank)) * (above - below)
    found = {"min": low.astype(np.float64), "max": high.astype(np.float64), "mean": mean}
    return found | {"std": np.sqrt(squares / count), "count": np.array([count]), **quantiles}


def order_statistics(read: Callable[[], Iterable[np.ndarray]], ranks: list[int]) -> np.ndarray:
    """(len(ranks), D) float64: the values that would stand at these places if each column were sorted."""
    left, prefix, dtype, bits, shift = None, None, None, 0, 0
    while left is None or shift > 0:
        counts = None
        for block in read():
            keys = _ordered_bits(block)
            if left is None:
                dtype, bits = block.dtype, 8 * keys.dtype.itemsize
                shift = bits
                left = np.repeat(np.array(ranks, np.int64)[:, None], block.shape[1], axis=1)
                prefix = np.zeros(left.shape, np.uint64)
            if counts is None:
                shift -= _DIGIT
                counts = np.zeros((*left.shape, 1 << _DIGIT), np.int64)
            _count(keys, prefix, shift, bits, counts)
        cumulative = counts.cumsum(axis=2)
        digit = (cumulative <= left[..., None]).sum(axis=2)
        below = np.where(digit > 0, np.take_along_axis(cumulative, np.maximum(digit - 1, 0)[..., None], 2)[..., 0], 0)
        left = left - below
        prefix = (prefix << np.uint64(_DIGIT)) | digit.astype(np.uint64)
    return _from_ordered_bits(prefix, bits, dtype)


def _count(keys_ND: np.ndarray, prefix_RD: np.ndarray, shift: int, bits: int, counts: np.ndarray) -> None:
    """Adds to `counts` (R, D, 2^16) the next digits of the keys that begin with each rank's prefix."""
    wide = keys_ND.astype(np.uint64)
    digits = ((wide >> np.uint64(shift)) & np.uint64((1 << _DIGIT) - 1)).astype(np.int64)
    for column in range(wide.shape[1]):
        known: dict[int, np.ndarray] = {}
        for rank, begin in enumerate(prefix_RD[:, column].tolist()):
            if begin not in known:
                chosen = digits[:, column]
                if shift + _DIGIT < bits:
                    chosen = chosen[(wide[:, column] >> np.uint64(shift + _DIGIT)) == np.uint64(begin)]
                known[begin] = np.bincount(chosen, minlength=1 << _DIGIT)
            counts[rank, column] += known[begin]


def _ordered_bits(values: np.ndarray) -> np.ndarray:
    """Unsigned integers in the order of the values."""
    if values.dtype.kind == "f":
        kind = np.dtype(f"u{values.dtype.itemsize}")
        raw, top = (
            np.ascontiguousarray(values + values.dtype.type(0)).view(kind),
            kind.type(1 << (8 * kind.itemsize - 1)),
        )
        return np.where(raw & top, ~raw, raw | top)  # + 0 makes -0 into 0
    return values.astype(np.int64).view(np.uint64) ^ np.uint64(1 << 63)


def _from_ordered_bits(keys: np.ndarray, bits: int, dtype: np.dtype) -> np.ndarray:
    kind = np.dtype(f"u{bits // 8}")
    top = kind.type(1 << (bits - 1))
    keys = keys.astype(kind)
    if dtype.kind == "f":
        return np.where(keys & top, keys & ~top, ~keys).astype(kind).view(dtype).astype(np.float64)
    return (keys ^ top).view(np.int64).astype(np.float64)


def as_json(statistics: Mapping[str, Statistics]) -> dict[str, Any]:
    """Lists of numbers, for stats.json."""
    return {key: {name: value.tolist() for name, value in one.items()} for key, one in statistics.items()}
