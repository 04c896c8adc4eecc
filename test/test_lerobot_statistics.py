"""Statistics are exact: against numpy's on all values at once."""

import numpy as np
import pytest

from beingh_core.data.lerobot import statistics
from beingh_core.data.lerobot.video import colour_histogram

QUANTILES = list(statistics.QUANTILES.values())


def blocks(rows, size=37):
    return lambda: (rows[first : first + size] for first in range(0, len(rows), size))


def expected(rows):
    rows = rows.astype(np.float64)
    found = {"min": rows.min(0), "max": rows.max(0), "mean": rows.mean(0), "std": rows.std(0), "count": [len(rows)]}
    return found | dict(zip(statistics.QUANTILES, np.quantile(rows, QUANTILES, axis=0)))


def check(found, wanted):
    assert list(found) == list(wanted)
    for name in wanted:
        np.testing.assert_allclose(found[name], wanted[name], rtol=1e-12, atol=1e-12, err_msg=name)


@pytest.mark.parametrize("kind", ["float32", "float64", "int64", "bool"])
@pytest.mark.parametrize("count", [1, 2, 1003])
def test_stream_without_memory_equals_numpy(monkeypatch, kind, count):
    monkeypatch.setattr(statistics, "_IN_MEMORY", 0)
    rng = np.random.default_rng(count)
    rows = rng.normal(size=(count, 3)) * [1e-30, 1.0, 1e6]
    rows[::5] = 0.0
    if kind == "bool":
        rows = rows > 0
    check(statistics.of_stream(blocks(rows.astype(kind))), expected(rows.astype(kind)))


def test_more_columns_than_are_counted_at_a_time(monkeypatch):
    monkeypatch.setattr(statistics, "_IN_MEMORY", 0)
    rows = np.random.default_rng(1).normal(size=(301, 2 * statistics._COLUMNS + 1)).astype(np.float32)
    check(statistics.of_stream(blocks(rows)), expected(rows))


def test_order_statistics_are_the_sorted_values_themselves():
    rows = np.array([[-np.inf], [-1.5], [-1e-45], [-0.0], [0.0], [1e-45], [3.0], [3.0], [np.inf]], np.float32)
    found = statistics.order_statistics(blocks(rows[::-1], 2), list(range(len(rows))))
    np.testing.assert_array_equal(found, rows.astype(np.float64))


def test_in_memory_and_streamed_agree():
    rows = np.random.default_rng(2).normal(size=(500, 2)).astype(np.float32)
    check(statistics.of_stream(blocks(rows)), expected(rows))
    check(statistics.of_rows(rows), expected(rows))


def test_pictures_from_their_histogram():
    rng = np.random.default_rng(3)
    pictures = rng.integers(0, 256, (4, 31, 17, 3), dtype=np.uint8)
    pictures[..., 1] //= 16
    counts = sum(colour_histogram(picture) for picture in pictures)
    found = statistics.of_histogram(counts, len(pictures), np.arange(256) / 255.0)
    wanted = expected(pictures.reshape(-1, 3) / 255.0)
    for name in wanted:
        if name != "count":
            np.testing.assert_allclose(found[name][:, 0, 0], wanted[name], rtol=1e-9, atol=1e-12, err_msg=name)
    assert found["count"].tolist() == [4]


def test_opencv_and_numpy_count_the_same(monkeypatch):
    from beingh_core.data.lerobot import video

    picture = np.random.default_rng(4).integers(0, 256, (20, 30, 3), dtype=np.uint8)
    first = colour_histogram(picture)
    monkeypatch.setattr(video, "cv2", None)
    np.testing.assert_array_equal(colour_histogram(picture), first)
    assert first.sum() == picture.size
