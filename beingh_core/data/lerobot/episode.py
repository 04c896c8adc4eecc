"""One episode: its frames, and the folder in which it is complete before it becomes part of a dataset.

The folder holds `data.parquet` (vectors, task), one MP4 per camera and `episode.json`, the record:
number of frames, tasks, where it came from, subtasks, histograms of its pictures.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from beingh_core.data.lerobot import columns, storage, video
from beingh_core.data.lerobot.encoders import threads_for
from beingh_core.data.lerobot.schema import DatasetSpec
from beingh_core.errors import BeingHError

RECORD, DATA = "episode.json", "data.parquet"


@dataclass(frozen=True, kw_only=True)
class Frame:
    """One row of a dataset.

    Attributes:
        vectors: key -> (D,) numbers.
        images: key -> uint8 (H, W, 3), or depth (H, W); not changed by the caller afterwards.
        task: the instruction.
        stamp_ns: when it was, None where that is not known; not kept.
    """

    vectors: Mapping[str, np.ndarray]
    images: Mapping[str, np.ndarray]
    task: str
    stamp_ns: int | None = None


@dataclass(frozen=True, kw_only=True)
class Subtask:
    """A text that holds from `start_s` after the episode's first frame until the next one begins [s]."""

    start_s: float
    text: str


@dataclass(frozen=True, kw_only=True)
class Record:
    """What is known of a complete episode beside its rows.

    Attributes:
        frames: rows, and pictures of each camera.
        tasks: instructions, in the order in which they occur.
        source: where it came from; a dataset holds each source once.
        subtasks: (start [s], text).
        histograms: camera -> counts (channels, values).
        extra: anything else, kept as it is.
    """

    frames: int
    tasks: tuple[str, ...]
    source: str = ""
    subtasks: tuple[tuple[float, str], ...] = ()
    histograms: Mapping[str, np.ndarray] = field(default_factory=dict)
    extra: Mapping[str, Any] = field(default_factory=dict)

    def to_json(self) -> str:
        """One line of JSON."""
        return json.dumps(
            {
                "frames": self.frames, "tasks": self.tasks, "source": self.source, "subtasks": self.subtasks,
                "histograms": {key: counts.tolist() for key, counts in self.histograms.items()}, "extra": self.extra,
            },
            ensure_ascii=False,
        )  # fmt: skip

    @staticmethod
    def from_json(text: str) -> Record:
        """The inverse of `to_json`."""
        found = json.loads(text)
        return Record(
            frames=found["frames"], tasks=tuple(found["tasks"]), source=found["source"], extra=found["extra"],
            subtasks=tuple((start, name) for start, name in found["subtasks"]),
            histograms={key: np.array(counts, np.int64) for key, counts in found["histograms"].items()},
        )  # fmt: skip


@dataclass(frozen=True, kw_only=True)
class Staged:
    """A complete episode in its folder."""

    folder: Path
    record: Record

    @property
    def data(self) -> Path:
        """Its rows."""
        return self.folder / DATA

    def video(self, key: str) -> Path:
        """A camera's pictures."""
        return self.folder / f"{key}.mp4"


def stage(
    spec: DatasetSpec,
    folder: Path,
    frames: Iterable[Frame],
    *,
    source: str = "",
    subtasks: Sequence[Subtask] | Callable[[Sequence[int | None]], Sequence[Subtask]] = (),
    threads: int | None = None,
    extra: Mapping[str, Any] | Callable[[], Mapping[str, Any]] | None = None,
) -> Staged:
    """Writes an episode into a folder of its own; memory holds its vectors and a few pictures.

    Args:
        spec: The dataset's.
        folder: Is made; removed again when anything goes wrong.
        frames: Rows, read once.
        source, extra: See `Record`; an `extra` that can be called is asked when all rows have been read.
        subtasks: Those of the episode, or what gives them for the stamps of its rows.
        threads: Of each camera's encoder; None divides the processors.

    Raises:
        BeingHError: No frames, a frame that does not fit the spec, a full disk, pictures that are not all in the file.
    """
    rows = _Rows(spec)
    encoders: dict[str, video.CameraEncoder] = {}
    try:
        with storage.told_when_full(folder):
            folder.mkdir(parents=True)
            for camera in spec.cameras:
                target = folder / f"{camera.key}.mp4"
                encoders[camera.key] = video.CameraEncoder(
                    target, camera, spec.fps, spec.video, threads or threads_for(spec.cameras)
                )
            for frame in frames:
                rows.add(frame)
                for key, encoder in encoders.items():
                    encoder.add(frame.images[key])
            for encoder in encoders.values():
                encoder.finish()
            texts = subtasks(rows.stamps_ns) if callable(subtasks) else subtasks
            more = dict((extra() if callable(extra) else extra) or {})
            record = Record(
                frames=rows.count, tasks=tuple(dict.fromkeys(rows.tasks)), source=source, extra=more,
                subtasks=_ordered(texts, spec), histograms={key: e.histogram for key, e in encoders.items()},
            )  # fmt: skip
            pq.write_table(rows.table(record), folder / DATA)
            return finish(Staged(folder=folder, record=record), spec)
    except BaseException:
        for encoder in encoders.values():
            encoder.abandon()
        storage.remove(folder)
        raise


def finish(staged: Staged, spec: DatasetSpec) -> Staged:
    """Checks that a folder holds as many rows as pictures of each camera, writes the record, makes all of it durable.

    Raises:
        BeingHError: It does not; names the camera.
    """
    frames = staged.record.frames
    if not frames:
        raise BeingHError("an episode without frames", where=staged.record.source or None)
    rows = pq.read_metadata(staged.data).num_rows
    counts = {"rows": rows} | {camera.key: video.count(staged.video(camera.key)) for camera in spec.cameras}
    for name, found in counts.items():
        if found != frames:
            raise BeingHError(
                f"{found} frames of {name}, {frames} expected", where=staged.record.source or staged.folder
            )
    (staged.folder / RECORD).write_text(staged.record.to_json(), encoding="utf-8")
    storage.sync_folder(staged.folder)
    return staged


def open_staged(folder: Path) -> Staged:
    """A folder that `finish` has completed."""
    return Staged(folder=folder, record=Record.from_json((folder / RECORD).read_text(encoding="utf-8")))


def _ordered(subtasks: Sequence[Subtask], spec: DatasetSpec) -> tuple[tuple[float, str], ...]:
    if subtasks and spec.subtasks is None:
        raise BeingHError(
            "the episode has subtasks, the dataset keeps none",
            remedy="make the dataset with subtasks `language` or `index`",
        )
    # As LeRobot expects: on the time of a frame, in the type of `timestamp`.
    on_frames = {float(np.float32(round(s.start_s * spec.fps) / spec.fps)): s.text for s in subtasks}
    if any(start < 0 for start in on_frames):
        raise BeingHError("a subtask begins before its episode")
    return tuple(sorted(on_frames.items()))


class _Rows:
    """The rows of an episode, checked one by one."""

    def __init__(self, spec: DatasetSpec) -> None:
        self._spec = spec
        self._values: dict[str, list[np.ndarray]] = {vector.key: [] for vector in spec.vectors}
        self.tasks: list[str] = []
        self.stamps_ns: list[int | None] = []

    @property
    def count(self) -> int:
        return len(self.tasks)

    def add(self, frame: Frame) -> None:
        where = f"frame {self.count}"
        wanted = {vector.key: len(vector.names) for vector in self._spec.vectors}
        for given, known in ((frame.vectors, wanted), (frame.images, {c.key: 0 for c in self._spec.cameras})):
            if given.keys() != known.keys():
                odd = sorted(given.keys() ^ known.keys())
                raise BeingHError(f"lacks or has too much: {', '.join(odd)}", where=where, allowed=known)
        for key, width in wanted.items():
            values = np.asarray(frame.vectors[key])
            if values.shape != (width,):
                raise BeingHError(f"`{key}` has shape {values.shape}", where=where, allowed=f"({width},)")
            if not np.isfinite(values).all():
                raise BeingHError(f"`{key}` holds values that are not finite", where=where)
            self._values[key].append(values)
        if not isinstance(frame.task, str) or not frame.task.strip():
            raise BeingHError("has no task", where=where, remedy="give the episode its instruction")
        self.tasks.append(frame.task)
        self.stamps_ns.append(frame.stamp_ns)

    def table(self, record: Record) -> pa.Table:
        if not self.count:
            raise BeingHError("an episode without frames", where=record.source or None)
        found: dict[str, pa.Array] = {
            vector.key: columns.column(np.stack(self._values[vector.key]), vector.dtype)
            for vector in self._spec.vectors
        }
        return pa.table({**found, "task": pa.array(self.tasks, pa.string())})
