"""Finds what there is to look at: bags, files of bags, datasets, and folders of them."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from beingh_core.errors import BeingHError

BAG, DATASET = "bag", "dataset"
_BAG_SUFFIXES, _DEPTH = (".mcap", ".db3", ".zstd"), 4
_PART = re.compile(r"_\d+$")


@dataclass(frozen=True, kw_only=True)
class Source:
    """A bag or a dataset."""

    path: Path
    kind: str


def find_sources(paths: Sequence[Path]) -> list[Source]:
    """Everything that is named, and what lies in folders that are named, each once, by name.

    Raises:
        BeingHError: A path that does not exist, or a folder without any of it.
    """
    found: dict[Path, Source] = {}
    for path in paths:
        if not path.exists():
            raise BeingHError("there is no such file or folder", where=path)
        here = list(_sources_in(path, 0))
        if not here:
            raise BeingHError(
                "holds no bag and no dataset",
                where=path,
                allowed=f"{', '.join(_BAG_SUFFIXES)} files, or meta/info.json",
            )
        for source in here:
            found.setdefault(source.path.resolve(), source)
    return list(found.values())


def _sources_in(path: Path, depth: int) -> Iterator[Source]:
    if path.is_file():
        yield Source(path=path, kind=BAG)
        return
    try:
        inside = sorted(inner for inner in path.iterdir() if not inner.name.startswith("."))
    except OSError as error:
        raise BeingHError(f"cannot be looked into: {error.strerror}", where=path) from None
    files = [inner for inner in inside if inner.suffix in _BAG_SUFFIXES and inner.is_file()]
    if (path / "meta/info.json").exists():
        yield Source(path=path, kind=DATASET)
    elif (path / "metadata.yaml").exists() or (files and _is_one_bag(files)):
        yield Source(path=path, kind=BAG)
    else:
        yield from (Source(path=file, kind=BAG) for file in files)
        if depth < _DEPTH:
            for inner in inside:
                if inner.is_dir():
                    yield from _sources_in(inner, depth + 1)


def _is_one_bag(files: Sequence[Path]) -> bool:
    """Whether they are parts of one bag: rosbag2 calls them NAME_0, NAME_1, ..."""
    stems = {_PART.sub("", file.name.removesuffix(".zstd").rpartition(".")[0]) for file in files}
    numbered = all(_PART.search(file.name.removesuffix(".zstd").rpartition(".")[0]) for file in files)
    return len(stems) == 1 and numbered
