"""Datasets made from others: merged, split, with episodes left out or tasks renamed, or with the intact ones only.

What they are made from is never changed. Videos are copied, not encoded anew; statistics come out as if the new dataset
had been written from the start.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from beingh_core.data.branches import BranchForm
from beingh_core.data.lerobot import columns, describe, storage, video
from beingh_core.data.lerobot.check import Checker
from beingh_core.data.lerobot.episode import DATA, Record, Staged, finish
from beingh_core.data.lerobot.reader import Dataset, Episode
from beingh_core.data.lerobot.schema import LANGUAGE
from beingh_core.data.lerobot.writer import DatasetWriter
from beingh_core.errors import BeingHError, did_you_mean

_DESCRIPTIONS = ("modality.json", "contract.yaml", "contract.json")
Progress = Callable[[int, int], None]


def merge(sources: Sequence[Path], out: Path, progress: Progress | None = None) -> int:
    """All episodes of several datasets in one; returns how many."""
    datasets = [Dataset(source) for source in sources]
    hashes = {str(d.root): describe.contract_hash(d.root) for d in datasets}
    if len(set(hashes.values())) > 1:
        raise BeingHError(
            "the datasets were made with different robot contracts: "
            + ", ".join(f"{root} {(found or 'none')[:12]}" for root, found in hashes.items()),
            remedy="export the bags of one of them anew with the other's contract",
        )
    return build(out, [(d, e) for d in datasets for e in d.episodes], progress=progress)


def delete(source: Path, out: Path, episodes: Iterable[int], progress: Progress | None = None) -> int:
    """All episodes but these; returns how many are left."""
    dataset, gone = Dataset(source), set(episodes)
    _check_numbers(dataset, gone)
    return build(out, [(dataset, e) for e in dataset.episodes if e.index not in gone], progress=progress)


def split(
    source: Path, out: Path, parts: Mapping[str, Sequence[int]], progress: Progress | None = None
) -> dict[str, int]:
    """One dataset `out/NAME` for each named part; an episode may be in one of them only."""
    dataset, seen = Dataset(source), set()
    for name, numbers in parts.items():
        _check_numbers(dataset, numbers)
        if seen & set(numbers) or not numbers:
            raise BeingHError(
                f"part `{name}` is empty or shares episodes with another part", remedy="give each its own"
            )
        seen |= set(numbers)
    return {
        name: build(out / name, [(dataset, dataset.episodes[n]) for n in numbers], progress=progress)
        for name, numbers in parts.items()
    }


def rename_task(source: Path, out: Path, old: str, new: str, progress: Progress | None = None) -> int:
    """The same episodes with another text for a task, which may be the text of another task."""
    dataset = Dataset(source)
    if old not in dataset.tasks:
        raise BeingHError(
            f"no task `{old}`", where=source, allowed=dataset.tasks, remedy=did_you_mean(old, dataset.tasks)
        )
    return build(out, [(dataset, e) for e in dataset.episodes], tasks={old: new}, progress=progress)


def salvage(source: Path, out: Path, progress: Progress | None = None) -> tuple[int, list[str]]:
    """The intact episodes of a damaged dataset; returns how many, and what is wrong with the others."""
    dataset = Dataset(source, tolerant=True)
    checker, good, bad = Checker(dataset), [], list(dataset.damaged)
    for episode in dataset.episodes:
        problems = checker.problems(episode)
        bad += [f"episode {episode.index}: {problem}" for problem in problems]
        if not problems:
            good.append((dataset, episode))
    return (build(out, good, progress=progress) if good else 0), bad


def build(
    out: Path,
    chosen: Sequence[tuple[Dataset, Episode]],
    *,
    tasks: Mapping[str, str] | None = None,
    progress: Progress | None = None,
) -> int:
    """Writes episodes of other datasets into a new one, or goes on with that when it was interrupted.

    Args:
        out: New folder.
        chosen: Episodes in their new order.
        tasks: Old text -> new text.
        progress: Is given how many are done, and of how many.

    Raises:
        BeingHError: Nothing chosen, `out` is finished already, datasets that do not fit together, damaged files.
    """
    if not chosen:
        raise BeingHError("no episode is left", remedy="choose others")
    if (out / "meta/info.json").exists() and not (out / storage.WORK / "unfinished").exists():
        raise BeingHError("there is a dataset already", where=out, remedy="choose another folder, or remove it")
    roots = list(dict.fromkeys(dataset.root for dataset, _ in chosen))
    spec = chosen[0][0].spec
    opened = list({dataset.root: dataset for dataset, _ in chosen}.values())
    for dataset in opened:
        alike = replace(dataset.spec, robot=spec.robot, video=replace(spec.video, codec=dataset.spec.video.codec))
        if alike != spec or dataset.spec.video.codec != spec.video.codec:
            raise BeingHError(f"has other features, rate, version or video codec than {roots[0]}", where=dataset.root)
    forms = [BranchForm.read(dataset.root, dataset.spec) for dataset in opened]
    if any(form != forms[0] for form in forms):
        raise BeingHError("the branches of the datasets have other texts or sizes", where=opened[-1].root)
    names = [_source(dataset, episode) for dataset, episode in chosen]
    twice = next((name for name in names if names.count(name) > 1), None) if len(set(names)) < len(names) else None
    if twice:
        raise BeingHError(f"two of the episodes have the same source, {twice}", remedy="take each dataset once")
    with DatasetWriter(out, spec) as writer:
        for done, (dataset, episode) in enumerate(chosen, 1):
            if done > writer.episodes:
                writer.commit(_imported(writer, dataset, episode, tasks or {}))
            if progress:
                progress(done, len(chosen))
        if forms[0] is not None:
            forms[0].renamed(tasks or {}).write(out)
        for name in _DESCRIPTIONS:
            if (roots[0] / "meta" / name).exists():
                storage.write(out / "meta" / name, (roots[0] / "meta" / name).read_bytes())
    return len(chosen)


def _imported(writer: DatasetWriter, dataset: Dataset, episode: Episode, tasks: Mapping[str, str]) -> Staged:
    """An episode of another dataset, complete in a folder of the new one."""
    spec, folder = writer.spec, writer.staging()
    folder.mkdir(parents=True)
    try:
        table = dataset.rows(episode)
        texts = [dataset.tasks[number] for number in table.column("task_index").to_pylist()]
        texts = [tasks.get(text, text) for text in texts]
        kept = {vector.key: table.column(vector.key) for vector in spec.vectors}
        kept = {
            key: columns.column(columns.rows_of(table, key), vector.dtype) for key, vector in zip(kept, spec.vectors)
        }
        if spec.subtasks == "language":
            kept |= {name: table.column(name) for name in LANGUAGE if name in table.column_names}
        pq.write_table(pa.table({**kept, "task": pa.array(texts, pa.string())}), folder / DATA)
        for camera in spec.cameras:
            video.join([episode.videos[camera.key]], folder / f"{camera.key}.mp4", spec.fps)
        known = dataset.records.get(episode.index)
        record = Record(
            frames=episode.frames, tasks=tuple(dict.fromkeys(texts)),
            source=_source(dataset, episode),
            subtasks=known.subtasks if known else tuple(dataset.subtasks_of(episode)),
            histograms={c.key: describe.histogram(dataset, episode, c) for c in spec.cameras},
            extra=known.extra if known else {},
        )  # fmt: skip
        return finish(Staged(folder=folder, record=record), spec)
    except BaseException:
        storage.remove(folder)
        raise


def _source(dataset: Dataset, episode: Episode) -> str:
    known = dataset.records.get(episode.index)
    return known.source if known and known.source else f"{dataset.root.resolve()}#{episode.index}"


def _check_numbers(dataset: Dataset, numbers: Iterable[int]) -> None:
    odd = sorted(set(numbers) - set(range(len(dataset.episodes))))
    if odd:
        raise BeingHError(
            f"no episode {', '.join(map(str, odd))}", where=dataset.root, allowed=f"0 to {len(dataset.episodes) - 1}"
        )
