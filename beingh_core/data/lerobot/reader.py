"""Reads LeRobot datasets v3.0 and v2.1, ours and others'."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from beingh_core.data.lerobot import columns, video
from beingh_core.data.lerobot.episode import Record
from beingh_core.data.lerobot.images import files_of, image_columns
from beingh_core.data.lerobot.publish import is_whole
from beingh_core.data.lerobot.schema import CHUNK, PATHS, SUBTASK_INDEX, VERSIONS, Camera, DatasetSpec, spec_of
from beingh_core.data.pixels import compressed_pixels
from beingh_core.errors import BeingHError, shown
from beingh_core.files import read_json

KEPT_BYTES = 128 << 20  # of rows, so that the episodes of one file are read one after another without reading it anew


@dataclass(frozen=True, kw_only=True)
class Episode:
    """Where an episode lies.

    Attributes:
        index: its number.
        frames: its rows.
        tasks: its instructions.
        data: parquet file.
        first_row: number of its first row in the dataset.
        videos: camera -> its pictures.
    """

    index: int
    frames: int
    tasks: tuple[str, ...]
    data: Path
    first_row: int
    videos: dict[str, video.Segment]


class Dataset:
    """A dataset on disk, as its metadata describe it.

    Args:
        root: Folder that has meta/info.json.
        tolerant: Leave out files of episodes that cannot be read; `damaged` tells them.
        skip_unknown: Only read: leave out features of kinds that are not handled; `skipped` tells them.

    Attributes:
        damaged, skipped: What was left out, in words.
        info: info.json.
        images: Key -> (height, width) of the cameras whose pictures stand in the rows; without `skip_unknown` none.
        spec: Features, rate and version.
        episodes: All of them, in order.

    Raises:
        BeingHError: No dataset, another version, or metadata that are damaged or contradict each other.
    """

    def __init__(self, root: Path | str, *, tolerant: bool = False, skip_unknown: bool = False) -> None:
        self.root = Path(root)
        self.damaged: list[str] = []
        self.skipped: list[str] = []
        self._tolerant = tolerant
        self._kept: tuple[tuple, pa.Table | None] | None = None  # rows of the file that was read last
        self._chosen: tuple[tuple, int, pa.Table] | None = None  # of it, those of the episode that was asked for last
        where = self.root / "meta" / "info.json"
        self.info: dict[str, Any] = read_json(
            where, remedy="give the folder of a LeRobot dataset, which has meta/info.json"
        )
        if self.info.get("codebase_version") not in VERSIONS:
            raise BeingHError(
                f"is a dataset of version {shown(self.info.get('codebase_version'))}",
                where=where, allowed=VERSIONS, remedy="convert it with LeRobot's own scripts",
            )  # fmt: skip
        self.spec: DatasetSpec = spec_of(self.info, where, self.skipped if skip_unknown else None)
        self.images = image_columns(self.info) if skip_unknown else {}
        self.episodes = self._episodes_v3() if self.spec.version == "v3.0" else self._episodes_v21()
        if not tolerant and [episode.index for episode in self.episodes] != list(range(len(self.episodes))):
            raise BeingHError("episodes are not numbered 0, 1, 2, ...", where=self.root / "meta")

    @property
    def frames(self) -> int:
        """Rows of all episodes."""
        return sum(episode.frames for episode in self.episodes)

    @cached_property
    def tasks(self) -> list[str]:
        """Instructions, in the order of their numbers."""
        if self.spec.version == "v3.0":
            path = self.root / "meta/tasks.parquet"
            return columns.read_names(path, "task_index") if path.exists() or self.episodes else []
        lines = sorted(self._lines("meta/tasks.jsonl"), key=lambda line: line["task_index"])
        return [line["task"] for line in lines]

    @cached_property
    def subtasks(self) -> list[str]:
        """Texts of meta/subtasks.parquet; empty when there is none."""
        path = self.root / "meta/subtasks.parquet"
        return columns.read_names(path, SUBTASK_INDEX) if path.exists() else []

    @cached_property
    def records(self) -> dict[int, Record]:
        """What our writer knows beside: episode -> record; empty for datasets of others."""
        found: dict[int, Record] = {}
        for path in sorted((self.root / "meta/beingh/episodes").glob("*/*.parquet")):
            table = columns.read_table(path)
            pairs = zip(table.column("episode_index").to_pylist(), table.column("record").to_pylist())
            found |= {index: Record.from_json(text) for index, text in pairs}
        for line in self._lines("meta/beingh/episodes.jsonl"):
            found[line["episode_index"]] = Record.from_json(line["record"])
        return {index: record for index, record in found.items() if index < len(self.episodes)}

    def camera(self, key: str) -> Camera:
        """A camera by its key."""
        found = next((camera for camera in self.spec.cameras if camera.key == key), None)
        if found is None:
            raise BeingHError(f"no camera {shown(key)}", where=self.root, allowed=[c.key for c in self.spec.cameras])
        return found

    def rows(self, episode: Episode) -> pa.Table:
        """All columns of an episode but pictures.

        Raises:
            BeingHError: The file cannot be read, or has other rows than promised.
        """
        table = self._selected(episode)
        if len(table) != episode.frames:
            raise BeingHError(
                f"episode {episode.index} has {len(table)} rows where {episode.frames} should be", where=episode.data
            )
        return table

    def values(self, episode: Episode, key: str) -> np.ndarray:
        """(N, D) numbers of a column.

        Raises:
            BeingHError: See `rows`; no such column, or rows of another width than info.json says.
        """
        found, width = columns.rows_of(self.rows(episode), key), self.spec.width(key)
        if len(found) and found.shape[1] != width:
            raise BeingHError(f"`{key}` has rows of {found.shape[1]} numbers, not {width}", where=episode.data)
        return found

    def texts_of(self, episode: Episode) -> list[str]:
        """The instruction of every row.

        Raises:
            BeingHError: See `rows`; a row has none.
        """
        numbers, tasks = self.values(episode, "task_index")[:, 0], self.tasks
        if not all(number == number and 0 <= number < len(tasks) for number in numbers):
            raise BeingHError("its task_index names no task", where=episode.data)
        found = [tasks[int(number)] for number in numbers]
        if not all(isinstance(text, str) and text.strip() for text in found):
            raise BeingHError("it has no task", where=episode.data)
        return found

    def pictures(self, episode: Episode, key: str) -> Iterator[np.ndarray]:
        """An episode's pictures of a camera, in order: uint8 (H, W, 3), or depth (H, W) float32."""
        if key in self.images:
            return self._from_rows(episode, key)
        return video.decode(episode.videos[key], self.camera(key), self.spec.fps)

    def _from_rows(self, episode: Episode, key: str) -> Iterator[np.ndarray]:
        for row, data in enumerate(files_of(episode.data, episode.index, key)):
            try:
                if data is None:
                    raise BeingHError("no picture")
                yield compressed_pixels(data, text="")
            except BeingHError as error:
                raise BeingHError(
                    f"episode {episode.index}, row {row} of `{key}`: {error.what}", where=episode.data
                ) from None

    def subtasks_of(self, episode: Episode) -> list[tuple[float, str]]:
        """(start [s], text) of an episode's subtasks, from either form."""
        table = self.rows(episode)
        if "language_persistent" in table.column_names:
            [texts] = table.column("language_persistent").slice(0, 1).to_pylist() or [[]]
            return [(t["timestamp"], t["content"]) for t in texts or [] if t["style"] == "subtask"]
        if SUBTASK_INDEX not in table.column_names:
            return []
        numbers, found = table.column(SUBTASK_INDEX).to_pylist(), []
        for row, number in enumerate(numbers):
            if row == 0 or number != numbers[row - 1]:
                found.append((row / self.spec.fps, self.subtasks[number]))
        return found if len(found) > 1 or (found and found[0][1]) else []

    def blocks(self, keys: list[str]) -> Iterator[pa.RecordBatch]:
        """Columns of all rows, piece by piece, in order of the files."""
        last = len(self.episodes)
        for path in dict.fromkeys(episode.data for episode in self.episodes):
            columns.check(path)
            with pq.ParquetFile(path) as file:
                for batch in file.iter_batches(columns=list({*keys, "episode_index"})):
                    known = np.asarray(batch.column("episode_index")) < last
                    yield batch if known.all() else batch.filter(pa.array(known))

    def _selected(self, episode: Episode) -> pa.Table:
        if not episode.data.exists():
            columns.check(episode.data)
        found = os.stat(episode.data)
        key = (episode.data, found.st_mtime_ns, found.st_size)
        if self._kept is None or self._kept[0] != key:
            columns.check(episode.data)
            self._kept = (key, self._small(episode.data))
        if self._chosen is None or self._chosen[:2] != (key, episode.index):
            self._chosen = (key, episode.index, self._rows_of(episode, self._kept[1]))
        return self._chosen[2]

    def _rows_of(self, episode: Episode, table: pa.Table | None) -> pa.Table:
        if table is not None:
            places = np.flatnonzero(columns.rows_of(table, "episode_index")[:, 0] == episode.index)
            if len(places) and places[-1] - places[0] + 1 == len(places):  # one after another: nothing is copied
                return table.slice(int(places[0]), len(places))
            return table.filter(pc.field("episode_index") == episode.index)
        wanted = [("episode_index", "==", episode.index)]
        return pq.read_table(episode.data, columns=self._names(episode.data), filters=wanted, partitioning=None)

    def _small(self, path: Path) -> pa.Table | None:
        """The rows of a file that holds many episodes, unless they would take much memory."""
        held = pq.read_metadata(path)
        size = sum(held.row_group(number).total_byte_size for number in range(held.num_row_groups))
        return pq.read_table(path, columns=self._names(path), partitioning=None) if size <= KEPT_BYTES else None

    def _names(self, path: Path) -> list[str] | None:
        """Columns without pictures; None for all."""
        return [name for name in pq.read_schema(path).names if name not in self.images] if self.images else None

    def _lines(self, name: str) -> list[dict[str, Any]]:
        path = self.root / name
        lines = path.read_bytes().splitlines(keepends=True) if path.exists() else []
        # A line that was cut off by a kill belongs to nothing that was committed; only the last one can be.
        if lines and not is_whole(lines[-1]) and not is_whole(lines[-1] + b"\n"):
            lines.pop()
        try:
            return [json.loads(line) for line in lines]
        except ValueError as error:
            raise BeingHError(f"a line is no JSON ({error})", where=path) from None

    def _episodes_v3(self) -> list[Episode]:
        files = sorted((self.root / "meta/episodes").glob("*/*.parquet"))
        found = []
        for path in files:
            try:
                columns.check(path)
            except BeingHError as error:
                if not self._tolerant:
                    raise
                self.damaged.append(f"{path}: {error.what}")
                continue
            wanted = [name for name in pq.read_schema(path).names if not name.startswith("stats/")]
            for row in columns.read_table(path, wanted).to_pylist():
                found.append(self._episode_v3(row, path))
        return sorted(found, key=lambda episode: episode.index)

    def _episode_v3(self, row: dict[str, Any], where: Path) -> Episode:
        data, videos = self.info.get("data_path") or PATHS["v3.0"][0], self.info.get("video_path") or PATHS["v3.0"][1]
        try:
            place = {"chunk_index": row["data/chunk_index"], "file_index": row["data/file_index"]}
            first, last = row["dataset_from_index"], row["dataset_to_index"]
            segments = {}
            for camera in self.spec.cameras:
                prefix = f"videos/{camera.key}"
                file = {name: row[f"{prefix}/{name}"] for name in ("chunk_index", "file_index")}
                path = self.root / videos.format(video_key=camera.key, **file)
                segments[camera.key] = video.Segment(
                    path=path, start_s=row[f"{prefix}/from_timestamp"], frames=last - first
                )
            return Episode(
                index=row["episode_index"], frames=last - first, tasks=tuple(row.get("tasks") or ()),
                data=self.root / data.format(**place), first_row=first, videos=segments,
            )  # fmt: skip
        except (KeyError, TypeError) as error:
            raise BeingHError(f"an episode lacks or has an odd {error}", where=where) from None

    def _episodes_v21(self) -> list[Episode]:
        data, videos = self.info.get("data_path") or PATHS["v2.1"][0], self.info.get("video_path") or PATHS["v2.1"][1]
        found, row = [], 0
        for line in self._lines("meta/episodes.jsonl"):
            index, frames = line["episode_index"], line["length"]
            names = {"episode_chunk": index // int(self.info.get("chunks_size") or CHUNK), "episode_index": index}
            segments = {
                camera.key: video.Segment(
                    path=self.root / videos.format(video_key=camera.key, **names), start_s=0.0, frames=frames
                )
                for camera in self.spec.cameras
            }
            found.append(Episode(
                index=index, frames=frames, tasks=tuple(line["tasks"]), data=self.root / data.format(**names),
                first_row=row, videos=segments,
            ))  # fmt: skip
            row += frames
        return found
