"""The numbers of a dataset, read once, checked, and kept where every worker can map them; pictures stay in their files.

A folder of plain arrays stands in for the parquet files: state, action and task of every usable row, episode after
episode. What cannot be taught on is left out by name.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from functools import cached_property
from pathlib import Path

import numpy as np

from beingh_core.data.branches import BranchForm
from beingh_core.data.dataset_columns import Columns
from beingh_core.data.lerobot import Dataset
from beingh_core.data.lerobot.reader import Episode
from beingh_core.errors import BeingHError
from beingh_core.policy.transforms import MAX_VALUE
from beingh_core.state_history import StateHistory
from beingh_core.train import branch_rows
from beingh_core.train.branch_rows import BranchRows
from beingh_core.train.mapped import Mapped
from beingh_core.train.weighing import Weighing

VERSION = 2
_ARRAYS = ("state", "action", "task", "charge", "weight")  # the last two only where rows say so


@dataclass(frozen=True, kw_only=True)
class RowTable(Mapped):
    """The usable rows of one dataset.

    Attributes:
        folder: of the arrays.
        episodes: numbers of the usable episodes, in order.
        starts: (E + 1,) first row of each of them in the arrays, and the number of all rows.
        tasks: instructions.
        bad: episode -> why it is left out.
        branches: of its rows, if these have any.
    """

    folder: Path
    episodes: tuple[int, ...]
    starts: np.ndarray
    tasks: tuple[str, ...]
    bad: dict[int, str]
    branches: BranchRows | None = None

    @cached_property
    def state(self) -> np.ndarray:
        """(N, D) measured states, mapped."""
        return self._mapped("state")

    @cached_property
    def action(self) -> np.ndarray:
        """(N, D) actions, mapped."""
        return self._mapped("action")

    @cached_property
    def task(self) -> np.ndarray:
        """(N,) place of each row's instruction in `tasks`, mapped."""
        return self._mapped("task")

    def episode_of(self, row: int) -> tuple[int, int]:
        """First row of a row's episode, and the one behind its last."""
        place = int(np.searchsorted(self.starts, row, side="right"))
        return int(self.starts[place - 1]), int(self.starts[place])

    def history_of(self, row: int, history: StateHistory) -> np.ndarray:
        """(R,) rows whose states a sample of a row is shown, the oldest first; none from before its episode or instruction."""
        first = max(self.episode_of(row)[0], row - history.span)
        others = np.flatnonzero(self.task[first:row] != self.task[row])
        return np.maximum(row - history.before, first + int(others[-1]) + 1 if len(others) else first)

    @cached_property
    def charge(self) -> np.ndarray | None:
        """(N,) who was in charge, places in `weighing.GROUPS`, mapped; None where no row says it."""
        return self._optional("charge")

    @cached_property
    def weight(self) -> np.ndarray | None:
        """(N,) weights, mapped; None where rows are not weighed."""
        return self._optional("weight")

    def _optional(self, name: str) -> np.ndarray | None:
        return self._mapped(name) if (self.folder / f"{name}.npy").exists() else None

    @classmethod
    def load(cls, folder: Path, form: BranchForm | None = None) -> RowTable:
        """A table that `scan` wrote, of a dataset whose branches have this form."""
        told = json.loads((folder / "table.json").read_text())
        return cls(
            folder=folder, episodes=tuple(told["episodes"]), starts=np.array(told["starts"], np.int64),
            tasks=tuple(told["tasks"]), bad={int(number): why for number, why in told["bad"].items()},
            branches=form and BranchRows(folder=folder, form=form),
        )  # fmt: skip


def scan(
    dataset: Dataset,
    columns: Columns,
    cache: Path,
    task: str = "",
    episodes: Sequence[int] = (),
    weighing: Weighing | None = None,
    form: BranchForm | None = None,
) -> RowTable:
    """Reads the numbers of a dataset, or finds what an earlier run has read.

    Args:
        dataset: Opened with `tolerant`.
        columns: Which of its numbers are wanted.
        cache: Folder for tables; the one of another dataset, or of this one before it changed, has another name.
        task: Instruction of all episodes; "" for each row's own.
        episodes: Numbers of the wanted ones; () for all.
        weighing: Which columns weigh rows, or say who was in charge.
        form: Of its branches, where these are wanted.

    Raises:
        BeingHError: A wanted episode is not there, no episode is usable, or the cache cannot be written.
    """
    have = {episode.index: episode for episode in dataset.episodes}
    if missing := [number for number in episodes if number not in have]:
        raise BeingHError(f"has no episode {missing[0]}", where=dataset.root, allowed=f"0 to {len(have) - 1}")
    wanted = [have[number] for number in episodes] if episodes else list(have.values())
    weighing = weighing or Weighing()
    folder = cache / f"{dataset.root.name}-{_digest(dataset, columns, wanted, task, weighing, form)}"
    if not (folder / "table.json").exists():
        try:
            _write(dataset, columns, wanted, task, weighing, form, folder)
        except OSError as error:
            raise BeingHError(
                f"its numbers cannot be kept: {error.strerror or error}", where=folder,
                remedy="make room on the disk, or give another folder: data.cache",
            ) from None  # fmt: skip
    table = RowTable.load(folder, form)
    if not table.episodes:
        why = "; ".join(f"episode {number}: {reason}" for number, reason in list(table.bad.items())[:3])
        raise BeingHError(f"has no episode that can be taught ({why or 'it is empty'})", where=dataset.root)
    return table


def held_out(count: int, share: float) -> np.ndarray:
    """(count,) which of so many episodes or lines are never taught: every so many, at least one where there are two and more."""
    held = np.zeros(count, dtype=bool)
    if share > 0 and count > 1:
        wanted = min(count - 1, max(1, round(share * count)))
        held[np.unique(np.linspace(0, count - 1, wanted + 2)[1:-1].round().astype(int))] = True
    return held


def _write(
    dataset: Dataset,
    columns: Columns,
    wanted: Sequence[Episode],
    task: str,
    weighing: Weighing,
    form: BranchForm | None,
    folder: Path,
) -> None:
    """The folder, complete or not at all."""
    partial = folder.with_name(f"{folder.name}.{os.getpid()}.partial")
    partial.mkdir(parents=True)
    tasks: dict[str, int] = {}
    numbers, starts, bad = [], [0], {}
    try:
        with _Arrays(partial, (*_ARRAYS, *(branch_rows.ARRAYS if form else ()))) as arrays:
            for episode in wanted:
                try:
                    rows = _checked(dataset, columns, episode, task) | weighing.rows(dataset, episode)
                    rows |= branch_rows.read(dataset, episode, form, columns.action) if form else {}
                except BeingHError as error:
                    bad[episode.index] = error.what
                    continue
                texts = rows.pop("texts")
                rows["task"] = np.array([tasks.setdefault(text, len(tasks)) for text in texts], np.int32)
                arrays.add(rows)
                numbers.append(episode.index)
                starts.append(starts[-1] + len(texts))
        told = {"version": VERSION, "episodes": numbers, "starts": starts, "tasks": list(tasks), "bad": bad}
        (partial / "table.json").write_text(json.dumps(told))
        try:
            partial.rename(folder)
        except OSError:  # another process was faster
            if not (folder / "table.json").exists():
                raise
    finally:
        shutil.rmtree(partial, ignore_errors=True)


class _Arrays:
    """Arrays that grow on disk and become .npy files at the end."""

    def __init__(self, folder: Path, names: Sequence[str]) -> None:
        self._folder = folder
        self._files = {name: open(folder / f"{name}.raw", "wb") for name in names}
        self._kinds: dict[str, tuple[np.dtype, tuple[int, ...]]] = {}
        self._count = 0

    def add(self, rows: dict[str, np.ndarray]) -> None:
        for name, values in rows.items():
            self._kinds[name] = values.dtype, values.shape[1:]
            self._files[name].write(np.ascontiguousarray(values).tobytes())
        self._count += len(rows["task"])

    def __enter__(self) -> _Arrays:
        return self

    def __exit__(self, kind, *_) -> None:
        for name, file in self._files.items():
            file.close()
            raw = self._folder / f"{name}.raw"
            if kind is None and name in self._kinds:
                dtype, shape = self._kinds[name]
                target = np.lib.format.open_memmap(
                    self._folder / f"{name}.npy", mode="w+", dtype=dtype, shape=(self._count, *shape)
                )
                with open(raw, "rb") as source:
                    shutil.copyfileobj(source, _AsFile(target), 1 << 22)
                target.flush()
            raw.unlink()


class _AsFile:
    """Bytes written one after another into an array."""

    def __init__(self, target: np.ndarray) -> None:
        self._bytes, self._at = target.reshape(-1).view(np.uint8), 0

    def write(self, data: bytes) -> None:
        self._bytes[self._at : self._at + len(data)] = np.frombuffer(data, np.uint8)
        self._at += len(data)


def _checked(dataset: Dataset, columns: Columns, episode: Episode, task: str) -> dict:
    """State, action (float32) and instructions of an episode.

    Raises:
        BeingHError: It cannot be taught on.
    """
    if episode.frames < 1:
        raise BeingHError("it has no rows")
    found: dict = {}
    for name, picked in (("state", columns.state_columns), ("action", columns.action_columns)):
        parts = [_numbers(dataset, key, episode, order, columns.gaps) for key, order in picked]
        found[name] = np.concatenate([np.zeros((episode.frames, 0), np.float32), *parts], axis=1)
    columns.check(found["state"])
    return found | {"texts": [task] * episode.frames if task else dataset.texts_of(episode)}


def _numbers(dataset: Dataset, key: str, episode: Episode, order: np.ndarray, gaps: bool) -> np.ndarray:
    """(N, D) float32 of some places of a column.

    Raises:
        BeingHError: They cannot be taught on.
    """
    try:
        rows = np.asarray(dataset.values(episode, key), dtype=np.float64)
    except OSError as error:
        raise BeingHError(f"its parquet file cannot be read ({str(error).splitlines()[0][:100]})") from None
    except (ValueError, TypeError):
        raise BeingHError(f"rows of `{key}` are no numbers") from None
    rows = rows[:, order]
    wrong = ~((np.abs(rows) <= MAX_VALUE) | (gaps & np.isnan(rows))).all(axis=1)
    if wrong.any():
        row, kind = (
            int(wrong.argmax()),
            "NaN or infinity" if not np.isfinite(rows[wrong]).all() else "values beyond 1e6",
        )
        raise BeingHError(f"`{key}` holds {kind} in {int(wrong.sum())} rows, first in row {row}")
    return rows.astype(np.float32)


def _digest(
    dataset: Dataset,
    columns: Columns,
    wanted: Sequence[Episode],
    task: str,
    weighing: Weighing,
    form: BranchForm | None,
) -> str:
    """What the table depends on, in 16 letters."""
    files = []
    for path in dict.fromkeys(episode.data for episode in wanted):
        try:
            found = os.stat(path)
            files.append([str(path.relative_to(dataset.root)), found.st_size, found.st_mtime_ns])
        except OSError:
            files.append([str(path), 0, 0])
    picked = [[key, order.tolist()] for key, order in (*columns.state_columns, *columns.action_columns)]
    told = [VERSION, picked, columns.gaps, task, files, dataset.tasks, *weighing.told]
    told.append([[episode.index, episode.frames] for episode in wanted])
    told.append(form and asdict(form))
    return hashlib.sha256(json.dumps(told).encode()).hexdigest()[:16]
