"""Writes datasets: every episode is committed in one step, and nothing committed is lost when the process is killed.

An episode is complete in `.beingh/staging`, made durable, and renamed into `.beingh/episodes`: that is the commit. When
a group of them has reached the size of a file, and at the end, `publish` makes it part of the dataset's own files.
Opening a dataset again goes on behind the last committed episode with the same groups, so that its files are the same,
byte by byte, as without the interruption.
"""

from __future__ import annotations

import uuid
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq

from beingh_core.data.lerobot import describe, storage, video
from beingh_core.data.lerobot.episode import Frame, Staged, Subtask, open_staged, stage
from beingh_core.data.lerobot.publish import Place, publish_v3, publish_v21
from beingh_core.data.lerobot.reader import Dataset
from beingh_core.data.lerobot.schema import CHUNK, DATA_MB, VIDEO_MB, DatasetSpec
from beingh_core.errors import BeingHError

_DIRTY = "unfinished"  # there from the first commit until everything is published


class DatasetWriter:
    """The one process that adds to a dataset; use it as a context manager.

    Args:
        root: Folder of the dataset; made when absent, else what is there is continued.
        spec: What it holds; None takes what is there.

    Attributes:
        sources: Sources of all committed episodes.

    Raises:
        BeingHError: Another writer, another dataset than `spec`, or a folder with something else.
    """

    def __init__(self, root: Path | str, spec: DatasetSpec | None = None) -> None:
        self.root = Path(root)
        self._work = self.root / storage.WORK
        info = self.root / "meta" / "info.json"
        if not info.exists():
            _check_new(self.root, spec)
        with storage.told_when_full(self.root):
            self._lock = storage.Lock(self.root)
        try:
            with storage.told_when_full(self.root):
                if not info.exists():
                    storage.write_json(info, spec.info())
                self._open(spec)
        except BaseException:
            self._lock.release()
            raise

    def __enter__(self) -> DatasetWriter:
        return self

    def __exit__(self, kind: type | None, *_: object) -> None:
        try:
            if kind is None:
                self.close()
        finally:
            self._lock.release()

    @property
    def episodes(self) -> int:
        """Committed episodes."""
        return self._place.episode + len(self._pending)

    def staging(self) -> Path:
        """A folder for an episode that `stage` makes, also in another process, for `commit`."""
        return self._work / "staging" / uuid.uuid4().hex

    def add(
        self,
        frames: Iterable[Frame],
        *,
        source: str = "",
        subtasks: Sequence[Subtask] = (),
        extra: Mapping[str, Any] | None = None,
    ) -> int:
        """Writes and commits an episode; returns its number. See `stage`."""
        return self.commit(stage(self.spec, self.staging(), frames, source=source, subtasks=subtasks, extra=extra))

    def commit(self, staged: Staged) -> int:
        """Makes a complete episode the next one of the dataset; returns its number.

        Raises:
            BeingHError: Its source is there already; a full disk.
        """
        if staged.record.source and staged.record.source in self.sources:
            storage.remove(staged.folder)
            raise BeingHError("an episode from this source is in the dataset already", where=staged.record.source)
        number = self.episodes
        with storage.told_when_full(self.root):
            if self._pending and not self._fits(staged):
                self._publish()
            if not (self._work / _DIRTY).exists():
                storage.write(self._work / _DIRTY, "")
            target = self._work / "episodes" / f"{number:06d}"
            storage.put(staged.folder, target)
            self._pending.append(Staged(folder=target, record=staged.record))
            self.sources.add(staged.record.source)
            if self.spec.version == "v2.1":
                self._publish()
        return number

    def describe(self, *, contract=None, modality: Mapping[str, Any] | None = None, branches=None) -> None:
        """Adds meta/modality.json, the robot contract with its hash, and the form of branches; see `describe`."""
        describe.write(self.root, self.spec, contract=contract, modality=modality)
        if branches is not None:
            branches.write(self.root)

    def close(self) -> None:
        """Publishes everything, and brings counts and statistics up to date."""
        with storage.told_when_full(self.root):
            if self._pending:
                self._publish()
            if (self._work / _DIRTY).exists():
                describe.update_counts(self.root)
                describe.update_statistics(self.root)
                storage.remove(self._work / _DIRTY)
                storage.sync(self._work)

    def _open(self, spec: DatasetSpec | None) -> None:
        dataset = Dataset(self.root)
        self.spec = dataset.spec if spec is None else _agreed(dataset, spec)
        storage.remove(self._work / "staging")
        self._place = _place(dataset)
        self._pending: list[Staged] = []
        for folder in sorted((self._work / "episodes").glob("[0-9]*")):
            if int(folder.name) < self._place.episode:
                storage.remove(folder)  # published, and killed before this
            else:
                self._pending.append(open_staged(folder))
        known = [record.source for record in dataset.records.values()] + [s.record.source for s in self._pending]
        self.sources = {source for source in known if source}

    def _fits(self, staged: Staged) -> bool:
        """Whether an episode may share its files with those that wait."""
        sizes = {"data": (DATA_MB, [s.data for s in (*self._pending, staged)])}
        for camera in self.spec.cameras:
            files = [s.video(camera.key) for s in (*self._pending, staged)]
            sizes[camera.key] = (VIDEO_MB, files)
            if video.parameters(files[0]) != video.parameters(files[-1]):
                return False
        return all(sum(file.stat().st_size for file in files) <= most * 2**20 for most, files in sizes.values())

    def _publish(self) -> None:
        scratch = self._work / "scratch"
        storage.remove(scratch)
        scratch.mkdir()
        if self.spec.version == "v3.0":
            publish_v3(self.root, self.spec, self._pending, self._place, scratch)
        else:
            for staged in self._pending:
                publish_v21(self.root, self.spec, staged, self._place, scratch)
        for staged in self._pending:
            storage.remove(staged.folder)
        storage.remove(scratch)
        self._pending = []


def _check_new(root: Path, spec: DatasetSpec | None) -> None:
    if spec is None:
        raise BeingHError("there is no dataset", where=root, remedy="give a folder that has meta/info.json")
    if (root.exists() or root.is_symlink()) and not root.is_dir():
        raise BeingHError("is no folder", where=root, remedy="choose a new or empty folder")
    if root.is_dir() and any(path.name not in (storage.WORK, "meta") for path in root.iterdir()):
        raise BeingHError("there is something else in this folder", where=root, remedy="choose a new or empty folder")


def _agreed(dataset: Dataset, spec: DatasetSpec) -> DatasetSpec:
    """The spec to go on with; the rows, cameras, rate and codec must be those of the dataset."""
    told = _differing(dataset.spec, spec)
    if told:
        raise BeingHError(
            f"the dataset that is there has other settings: {'; '.join(what for what, _ in told)}",
            where=dataset.root,
            remedy=f"{', '.join(remedy for _, remedy in told)}, or take another folder",
        )
    return spec


def _differing(there: DatasetSpec, spec: DatasetSpec) -> list[tuple[str, str]]:
    """(what differs, what to do) of a dataset and of what shall be added to it."""
    told = [
        (f"{name} {getattr(there, name)}, not {getattr(spec, name)}", f"ask for {name} {getattr(there, name)}")
        for name in ("fps", "version")
        if getattr(there, name) != getattr(spec, name)
    ]
    if there.subtasks != spec.subtasks:
        keeps = f"keeps subtasks as `{there.subtasks}`" if there.subtasks else "keeps no subtasks"
        asked = f"`{spec.subtasks}` is asked for" if spec.subtasks else "none are asked for"
        remedy = f"give --subtasks {there.subtasks}" if there.subtasks else "leave --subtasks out"
        told.append((f"it {keeps}, and {asked}", remedy))
    for kind, old, new in (("columns", there.vectors, spec.vectors), ("cameras", there.cameras, spec.cameras)):
        if old != new:
            missing = ", ".join(one.key for one in old if one not in new) or "none"
            more = ", ".join(one.key for one in new if one not in old) or "none"
            told.append((
                f"{kind} that only it has: {missing}; that only the new episodes have: {more}",
                f"make the {kind} those of the dataset",
            ))  # fmt: skip
    if there.cameras and there.video.codec != spec.video.codec:
        told.append((f"video codec {there.video.codec}, not {spec.video.codec}", f"ask for {there.video.codec}"))
    return told


def _place(dataset: Dataset) -> Place:
    """Where the next episodes go, from what is published; files that nothing refers to are overwritten."""
    tasks = dataset.tasks if (dataset.root / "meta/tasks.parquet").exists() or dataset.spec.version == "v2.1" else []
    place = Place(dataset.spec.cameras, tasks, dataset.subtasks)
    place.episode, place.row = len(dataset.episodes), dataset.frames
    if dataset.spec.version == "v3.0" and dataset.episodes:
        number = lambda path: int(path.parent.name.split("-")[1]) * CHUNK + int(path.stem.split("-")[1])
        place.data = 1 + max(number(episode.data) for episode in dataset.episodes)
        for key in place.videos:
            place.videos[key] = 1 + max(number(episode.videos[key].path) for episode in dataset.episodes)
        files = sorted((dataset.root / "meta/episodes").glob("*/*.parquet"))
        place.episodes = 1 + max(map(number, files))
        place.like = pq.read_schema(files[0])
    return place
