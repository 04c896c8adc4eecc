"""Whether a dataset holds what it promises: rows == frames for every camera, rows as wide as promised,
numbers in order, times on the rate, a task for every row."""

from __future__ import annotations

from pathlib import Path

import av
import numpy as np

from beingh_core.data.lerobot import columns
from beingh_core.data.lerobot.images import files_of
from beingh_core.data.lerobot.reader import Dataset, Episode
from beingh_core.data.lerobot.video import UNREADABLE
from beingh_core.errors import BeingHError

TOLERANCE_S = 1e-4  # LeRobot's, between a row's time and its picture's


class Checker:
    """Checks episodes of a dataset; keeps the times of pictures of one file per camera."""

    def __init__(self, dataset: Dataset) -> None:
        self._dataset = dataset
        self._times: dict[str, tuple[Path, np.ndarray, np.ndarray]] = {}

    def problems(self, episode: Episode) -> list[str]:
        """What is wrong with an episode, in words; empty when nothing is."""
        found = []
        try:
            table = self._dataset.rows(episode)
            wanted = np.arange(episode.frames)
            times = columns.rows_of(table, "timestamp")[:, 0].astype(np.float64)
            late = np.abs(times - times[0] - wanted / self._dataset.spec.fps).max(initial=0.0)
            if late > TOLERANCE_S:
                found.append(f"time stamps are up to {late:.4f} s away from the rate")
            numbers = columns.rows_of(table, "index")[:, 0]
            if not np.array_equal(numbers, episode.first_row + wanted):
                found.append(f"`index` does not run from {episode.first_row} on")
        except BeingHError as error:
            return [str(error)]
        reads = [lambda key=vector.key: self._dataset.values(episode, key) for vector in self._dataset.spec.vectors]
        for read in (*reads, lambda: self._dataset.texts_of(episode)):
            try:
                read()
            except BeingHError as error:
                found.append(error.what)
        for key in episode.videos:
            try:
                found += self._video(episode, key)
            except BeingHError as error:
                found.append(f"{key}: {error.what}")
        return found

    def problems_in_rows(self, episode: Episode) -> list[str]:
        """What is wrong with pictures that stand in the rows, which are not decoded."""
        found = []
        for key in self._dataset.images:
            try:
                without = sum(data is None for data in files_of(episode.data, episode.index, key))
                found += [f"{key}: {without} rows have no picture"] if without else []
            except BeingHError as error:
                found.append(error.what)
        return found

    def _video(self, episode: Episode, key: str) -> list[str]:
        segment, fps = episode.videos[key], self._dataset.spec.fps
        if key not in self._times or self._times[key][0] != segment.path:
            self._times[key] = (segment.path, *_times(segment.path))
        _, times, keys = self._times[key]
        inside = (times > segment.start_s - 0.5 / fps) & (times < segment.start_s + (episode.frames - 0.5) / fps)
        if inside.sum() != episode.frames:
            return [f"{key} has {int(inside.sum())} pictures for {episode.frames} rows"]
        away = np.abs(np.sort(times[inside]) - segment.start_s - np.arange(episode.frames) / fps).max()
        found = [f"{key} has pictures {away:.4f} s away from their rows"] if away > TOLERANCE_S else []
        return found + ([] if keys[inside].any() else [f"{key} has no key frame in it"])


def _times(path: Path) -> tuple[np.ndarray, np.ndarray]:
    """When each picture of a file is shown [s], and whether it is a key frame."""
    try:
        with av.open(str(path)) as source:
            video = source.streams.video[0]
            pairs = [(float(p.pts * video.time_base), p.is_keyframe) for p in source.demux(video) if p.pts is not None]
    except UNREADABLE as error:
        raise BeingHError(f"no video that can be read ({error})", where=path) from None
    return np.array([time for time, _ in pairs]), np.array([key for _, key in pairs], bool)
