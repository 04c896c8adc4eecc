"""Complete episodes become part of the dataset's own files.

v3.0: episodes are joined into groups. The group's data and videos are moved to their places first, its file in
meta/episodes last: with that one step the group is published. v2.1: each episode has its files, and its line in
meta/episodes.jsonl is the last step. A publication that was cut off is done again with the same names and bytes.
"""

from __future__ import annotations

import json
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from beingh_core.data.lerobot import columns, statistics, storage, video
from beingh_core.data.lerobot.episode import Staged
from beingh_core.data.lerobot.schema import CHUNK, LANGUAGE, PATHS, SUBTASK_INDEX, Camera, DatasetSpec

_BLOCK = 1 << 16
OWN = "meta/beingh/episodes/chunk-{chunk_index:03d}/file-{file_index:03d}.parquet"
EPISODES = "meta/episodes/chunk-{chunk_index:03d}/file-{file_index:03d}.parquet"


class Place:
    """Where the next episodes go.

    Attributes:
        episode, row: numbers of the next ones.
        data, episodes: number of the next data file and file of episodes.
        videos: camera -> number of its next file.
        tasks, subtasks: known texts, in the order of their numbers.
        like: columns of the first file of episodes, which all others must have; None before there is one.
    """

    def __init__(self, cameras: Sequence[Camera], tasks: Sequence[str] = (), subtasks: Sequence[str] = ()) -> None:
        self.episode = self.row = self.data = self.episodes = 0
        self.videos = {camera.key: 0 for camera in cameras}
        self.tasks, self.subtasks = list(tasks), list(subtasks)
        self.like: pa.Schema | None = None

    def advance(self, group: Sequence[Staged]) -> None:
        """The group has been published."""
        self.episode += len(group)
        self.row += sum(staged.record.frames for staged in group)
        self.data, self.episodes = self.data + 1, self.episodes + 1
        self.videos = {key: number + 1 for key, number in self.videos.items()}


def publish_v3(root: Path, spec: DatasetSpec, group: Sequence[Staged], place: Place, scratch: Path) -> None:
    """Publishes a group as one file of data, of episodes, and of each camera.

    Args:
        root: Dataset.
        spec: Its.
        group: Complete episodes, in order.
        place: Where they go; tasks that are new are added to it.
        scratch: Empty folder on the same disk.
    """
    data_path, video_path = PATHS["v3.0"]
    starts: dict[str, list[float]] = {}
    for camera in spec.cameras:
        segments = [video.Segment(path=s.video(camera.key), start_s=0.0, frames=s.record.frames) for s in group]
        joined = scratch / f"{camera.key}.mp4"
        starts[camera.key] = video.join(segments, joined, spec.fps)
        number = place.videos[camera.key]
        storage.sync(joined)
        storage.put(joined, root / video_path.format(video_key=camera.key, **_numbered(number)))
    tables = data_tables(spec, group, place)
    with pq.ParquetWriter(scratch / "data.parquet", columns.schema_of(spec)) as writer:
        for table in tables:
            writer.write_table(table, row_group_size=len(table))
    storage.sync(scratch / "data.parquet")
    storage.put(scratch / "data.parquet", root / data_path.format(**_numbered(place.data)))
    write_names(root, spec, place)
    own = pa.table({
        "episode_index": pa.array(range(place.episode, place.episode + len(group)), pa.int64()),
        "record": [staged.record.to_json() for staged in group],
    })  # fmt: skip
    episodes = pa.Table.from_pylist(_episode_rows(spec, group, tables, starts, place), schema=_episode_schema(spec))
    if place.like is not None:
        episodes = columns.like(episodes, place.like)
    for table, path in ((own, OWN), (episodes, EPISODES)):
        pq.write_table(table, scratch / "table.parquet")
        storage.sync(scratch / "table.parquet")
        storage.put(scratch / "table.parquet", root / path.format(**_numbered(place.episodes)))
    # Read back: the library names parts of lists otherwise in files than in memory.
    place.like = place.like or pq.read_schema(root / EPISODES.format(**_numbered(place.episodes)))
    place.advance(group)


def publish_v21(root: Path, spec: DatasetSpec, staged: Staged, place: Place, scratch: Path) -> None:
    """Publishes one episode as files of its own; arguments as in `publish_v3`."""
    data_path, video_path = PATHS["v2.1"]
    names = {"episode_chunk": place.episode // CHUNK, "episode_index": place.episode}
    for camera in spec.cameras:
        copied = scratch / f"{camera.key}.mp4"
        segment = video.Segment(path=staged.video(camera.key), start_s=0.0, frames=staged.record.frames)
        video.join([segment], copied, spec.fps)
        storage.sync(copied)
        storage.put(copied, root / video_path.format(video_key=camera.key, **names))
    [table] = data_tables(spec, [staged], place)
    pq.write_table(table, scratch / "data.parquet")
    storage.sync(scratch / "data.parquet")
    storage.put(scratch / "data.parquet", root / data_path.format(**names))
    write_names(root, spec, place)
    stats = {}
    for key, one in episode_statistics(spec, staged, table).items():
        stats[key] = {name: one[name] for name in ("min", "max", "mean", "std", "count")}
    for camera in spec.cameras:
        if camera.depth:  # LeRobot 0.3.3 wants three channels of every picture
            own = stats[camera.key]
            stats[camera.key] = {n: v if n == "count" else np.repeat(v, 3, axis=0) for n, v in own.items()}
    record = staged.record
    append_line(root / "meta/beingh/episodes.jsonl", {"episode_index": place.episode, "record": record.to_json()})
    append_line(
        root / "meta/episodes_stats.jsonl", {"episode_index": place.episode, "stats": statistics.as_json(stats)}
    )
    append_line(
        root / "meta/episodes.jsonl",
        {"episode_index": place.episode, "tasks": list(record.tasks), "length": record.frames},
    )
    place.advance([staged])


def append_line(path: Path, content: dict[str, Any]) -> None:
    """Adds a line of JSON, durably; lines at the end that were cut off, or are of this or a later episode, go first."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with open(path, "a+b") as file:
        end = file.seek(0, os.SEEK_END)
        while end:
            start = _start_of_line(file, end)
            file.seek(start)
            line = file.read(end - start)
            if is_whole(line) and json.loads(line)["episode_index"] < content["episode_index"]:
                break
            end = start
        file.truncate(end)
        file.write(json.dumps(content, ensure_ascii=False).encode() + b"\n")
    storage.sync(path)


def _start_of_line(file: BinaryIO, end: int) -> int:
    """Where the line begins whose last byte is the one before `end`."""
    place = end - 1
    while place > 0:
        size = min(_BLOCK, place)
        file.seek(place - size)
        found = file.read(size).rfind(b"\n")
        if found >= 0:
            return place - size + found + 1
        place -= size
    return 0


def is_whole(line: bytes) -> bool:
    """Whether a line of JSON was written to its end."""
    try:
        return line.endswith(b"\n") and isinstance(json.loads(line), dict)
    except ValueError:
        return False


def data_tables(spec: DatasetSpec, group: Sequence[Staged], place: Place) -> list[pa.Table]:
    """The rows of each episode as they stand in the dataset; new tasks are added to `place`."""
    tables, row = [], place.row
    for number, staged in enumerate(group, place.episode):
        table, frames = columns.read_table(staged.data), staged.record.frames
        tasks = table.column("task").to_pylist()
        frame_index = np.arange(frames)
        found: dict[str, pa.Array | pa.ChunkedArray] = {vector.key: table.column(vector.key) for vector in spec.vectors}
        found["timestamp"] = pa.array((frame_index / spec.fps).astype(np.float32))
        found["frame_index"] = pa.array(frame_index, pa.int64())
        found["episode_index"] = pa.array(np.full(frames, number), pa.int64())
        found["index"] = pa.array(frame_index + row, pa.int64())
        found["task_index"] = pa.array(_numbers(tasks, place.tasks), pa.int64())
        if spec.subtasks == "index":
            found[SUBTASK_INDEX] = pa.array(_numbers(_texts_of_rows(staged, spec), place.subtasks), pa.int64())
        elif "language_persistent" in table.column_names:  # another dataset's, with whatever else it says
            found |= {name: table.column(name) for name in LANGUAGE}
        elif spec.subtasks == "language":
            found["language_persistent"] = columns.persistent(staged.record.subtasks, frames)
            found["language_events"] = columns.events(frames)
        tables.append(pa.table(found, schema=columns.schema_of(spec)))
        row += frames
    return tables


def episode_statistics(spec: DatasetSpec, staged: Staged, table: pa.Table) -> dict[str, statistics.Statistics]:
    """Statistics of one episode, by feature."""
    found = {key: statistics.of_rows(columns.rows_of(table, key)) for key in spec.columns}
    return found | {
        c.key: picture_statistics(c, staged.record.histograms[c.key], staged.record.frames) for c in spec.cameras
    }


def picture_statistics(camera: Camera, counts: np.ndarray, frames: int) -> statistics.Statistics:
    """Colour in 0..1, depth in the camera's unit."""
    values = camera.depth.depth(np.arange(4096)) if camera.depth else np.arange(256) / 255.0
    return statistics.of_histogram(counts, frames, np.asarray(values, np.float64))


def write_names(root: Path, spec: DatasetSpec, place: Place) -> None:
    """Writes the tables of tasks and subtasks."""
    if spec.version == "v2.1":
        lines = [
            json.dumps({"task_index": i, "task": task}, ensure_ascii=False) + "\n" for i, task in enumerate(place.tasks)
        ]
        storage.write(root / "meta/tasks.jsonl", "".join(lines))
    files = {"tasks": ("task_index", place.tasks)} if spec.version == "v3.0" else {}
    if spec.subtasks == "index":
        files["subtasks"] = (SUBTASK_INDEX, place.subtasks)
    for name, (index_column, texts) in files.items():
        partial = root / storage.WORK / f"{name}.parquet"
        columns.write_names(partial, texts, index_column)
        storage.sync(partial)
        storage.put(partial, root / f"meta/{name}.parquet")


def _numbers(texts: Sequence[str], known: list[str]) -> list[int]:
    known += [text for text in dict.fromkeys(texts) if text not in known]
    by_text = {text: number for number, text in enumerate(known)}
    return [by_text[text] for text in texts]


def _texts_of_rows(staged: Staged, spec: DatasetSpec) -> list[str]:
    """The subtask of each row; "" before the first."""
    texts = [""] * staged.record.frames
    for start_s, text in staged.record.subtasks:
        first = round(start_s * spec.fps)
        texts[first:] = [text] * max(0, len(texts) - first)
    return texts


def _numbered(number: int) -> dict[str, int]:
    return {"chunk_index": number // CHUNK, "file_index": number % CHUNK}


def _episode_rows(spec: DatasetSpec, group, tables, starts, place: Place) -> list[dict[str, Any]]:
    rows, first = [], place.row
    for number, (staged, table) in enumerate(zip(group, tables)):
        frames = staged.record.frames
        row: dict[str, Any] = {
            "episode_index": place.episode + number, "tasks": list(staged.record.tasks), "length": frames,
            "data/chunk_index": place.data // CHUNK, "data/file_index": place.data % CHUNK,
            "dataset_from_index": first, "dataset_to_index": first + frames,
            "meta/episodes/chunk_index": place.episodes // CHUNK, "meta/episodes/file_index": place.episodes % CHUNK,
        }  # fmt: skip
        for key, number_of_file in place.videos.items():
            start = starts[key][number]
            row |= {f"videos/{key}/{name}": value for name, value in _numbered(number_of_file).items()}
            row |= {f"videos/{key}/from_timestamp": start, f"videos/{key}/to_timestamp": start + frames / spec.fps}
        for key, one in statistics.as_json(episode_statistics(spec, staged, table)).items():
            row |= {f"stats/{key}/{name}": value for name, value in one.items()}
        rows.append(row)
        first += frames
    return rows


def _episode_schema(spec: DatasetSpec) -> pa.Schema:
    whole, real = pa.int64(), pa.float64()
    fields = [
        ("episode_index", whole),
        ("tasks", pa.list_(pa.string())),
        ("length", whole),
        ("data/chunk_index", whole),
    ]
    fields += [("data/file_index", whole), ("dataset_from_index", whole), ("dataset_to_index", whole)]
    for camera in spec.cameras:
        fields += [(f"videos/{camera.key}/{name}", whole) for name in ("chunk_index", "file_index")]
        fields += [(f"videos/{camera.key}/{name}", real) for name in ("from_timestamp", "to_timestamp")]
    nested = pa.list_(pa.list_(pa.list_(real)))
    for key, kind in [(key, pa.list_(real)) for key in spec.columns] + [
        (camera.key, nested) for camera in spec.cameras
    ]:
        fields += [(f"stats/{key}/{name}", kind) for name in ("min", "max", "mean", "std")]
        fields += [(f"stats/{key}/count", pa.list_(whole))] + [
            (f"stats/{key}/{name}", kind) for name in statistics.QUANTILES
        ]
    fields += [("meta/episodes/chunk_index", whole), ("meta/episodes/file_index", whole)]
    return pa.schema(fields)
