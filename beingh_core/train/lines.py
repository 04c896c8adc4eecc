"""Where the lines of a file of conversations begin, found once and kept where every worker can map it."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
from array import array
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import BinaryIO

import numpy as np

from beingh_core.errors import BeingHError
from beingh_core.files import check_file
from beingh_core.policy.prompt import PromptBuilder
from beingh_core.train.conversations import LONGEST_LINE, Conversation, parse
from beingh_core.train.mapped import Mapped

VERSION = 1
NOT_THERE = "its picture is not there"
_LOOKED_FOR_AGAIN = 100  # missing pictures
Bad = dict[str, tuple[int, int]]


@dataclass(frozen=True, kw_only=True)
class LineTable(Mapped):
    """The usable lines of one file.

    Attributes:
        folder: of the arrays.
        path: the file.
        images: folder of its pictures.
        count: usable lines.
        bad: why lines are left out -> how many, and the number of the first one, counted from 1.
    """

    folder: Path
    path: Path
    images: Path
    count: int
    bad: Bad

    @cached_property
    def offsets(self) -> np.ndarray:
        """(N,) first byte of each usable line, mapped."""
        return self._mapped("offsets")

    @cached_property
    def numbers(self) -> np.ndarray:
        """(N,) number of each usable line in the file, counted from 1, mapped."""
        return self._mapped("numbers")

    def read(self, file: BinaryIO, row: int) -> Conversation:
        """A usable line.

        Args:
            file: `path`, opened.
            row: which.

        Raises:
            BeingHError: The file has changed.
        """
        file.seek(int(self.offsets[row]))
        return parse(file.readline(LONGEST_LINE + 1))

    def conversations(self, rows: range | None = None) -> Iterator[Conversation]:
        """Usable lines, one after another."""
        with open(self.path, "rb") as file:
            for row in range(self.count) if rows is None else rows:
                yield self.read(file, row)

    def lengths(self, prompts: PromptBuilder) -> tuple[np.ndarray, Bad]:
        """(N,) tokens of each line's sample, counted once for a tokenizer, and why some, of length 0, have no prompt."""
        told = prompts.tokenizer.to_str() + repr(prompts.config)
        name = f"tokens-{hashlib.sha256(told.encode()).hexdigest()[:16]}"
        path, reasons = self.folder / f"{name}.npy", self.folder / f"{name}.json"
        if not (path.exists() and reasons.exists()):
            lengths, bad = np.zeros(self.count, np.int32), {}
            for row, said in enumerate(self.conversations()):
                texts = (said.system, *(text for turn in said.turns for text in turn))
                if any(prompts.control_in(text) for text in texts):
                    _count(bad, "a text has a control token of the model", int(self.numbers[row]))
                    continue
                try:
                    lengths[row] = prompts.conversation(said.turns, len(said.pictures), said.system).length
                except BeingHError:
                    _count(bad, f"it has more than {prompts.config.max_length} tokens", int(self.numbers[row]))
            _replace(reasons, json.dumps(bad).encode())
            with open(path.with_suffix(f".{os.getpid()}.partial"), "wb") as file:
                np.save(file, lengths)
            os.replace(file.name, path)
        return np.load(path, mmap_mode="r"), _bad_of(json.loads(reasons.read_text()))


def scan_lines(path: Path, images: Path, cache: Path) -> LineTable:
    """Reads a file of conversations once, or finds what an earlier run has read.

    Args:
        path: Has one conversation a line.
        images: Folder below which its pictures are.
        cache: Folder for tables.

    Raises:
        BeingHError: No such file or folder, or no line that can be taught.
    """
    check_file(path, remedy="give the path of a file with one conversation a line")
    if not images.is_dir():
        raise BeingHError(
            "is no folder", where=images, remedy="give the folder of its pictures: `images` of this dataset"
        )
    found = os.stat(path)
    told = [VERSION, str(images), found.st_size, found.st_mtime_ns]
    folder = cache / f"{path.name}-{hashlib.sha256(json.dumps(told).encode()).hexdigest()[:16]}"
    if (folder / "table.json").exists():
        missing = json.loads((folder / "table.json").read_text())["missing"]
        if any((images / name).is_file() for name in missing):  # they have come since
            shutil.rmtree(folder)
    if not (folder / "table.json").exists():
        _write(path, images, folder)
    told = json.loads((folder / "table.json").read_text())
    table = LineTable(folder=folder, path=path, images=images, count=told["count"], bad=_bad_of(told["bad"]))
    if not table.count:
        why = "; ".join(f"{reason}: {count} lines" for reason, (count, _) in list(table.bad.items())[:3])
        raise BeingHError(f"has no conversation that can be taught ({why or 'no line'})", where=path)
    return table


def _write(path: Path, images: Path, folder: Path) -> None:
    """The folder, complete or not at all."""
    offsets, numbers, missing, bad = array("q"), array("q"), [], {}
    for number, offset, line in _lines(path):
        try:
            for name in parse(line).pictures:
                if not (images / name).is_file():
                    missing += [name] if len(missing) < _LOOKED_FOR_AGAIN else []
                    raise BeingHError(NOT_THERE)
        except BeingHError as error:
            _count(bad, error.what, number)
            continue
        offsets.append(offset)
        numbers.append(number)
    partial = folder.with_name(f"{folder.name}.{os.getpid()}.partial")
    partial.mkdir(parents=True)
    try:
        np.save(partial / "offsets.npy", np.array(offsets, np.int64))
        np.save(partial / "numbers.npy", np.array(numbers, np.int64))
        (partial / "table.json").write_text(json.dumps({"count": len(offsets), "bad": bad, "missing": missing}))
        try:
            partial.rename(folder)
        except OSError:  # another process was faster
            if not (folder / "table.json").exists():
                raise
    finally:
        shutil.rmtree(partial, ignore_errors=True)


def _lines(path: Path) -> Iterator[tuple[int, int, bytes]]:
    """(number, first byte, line) of every line that is not blank; of a line that is too long only its beginning."""
    with open(path, "rb") as file:
        number, offset = 0, 0
        while line := file.readline(LONGEST_LINE + 1):
            number, begin = number + 1, offset
            offset += len(line)
            rest = line
            while len(rest) > LONGEST_LINE and not rest.endswith(b"\n"):
                rest = file.readline(LONGEST_LINE + 1)
                offset += len(rest)
            if line.strip():
                yield number, begin, line


def _count(bad: Bad, why: str, number: int) -> None:
    count, first = bad.get(why, (0, number))
    bad[why] = count + 1, first


def _bad_of(told: dict) -> Bad:
    return {why: (count, first) for why, (count, first) in told.items()}


def _replace(path: Path, content: bytes) -> None:
    partial = path.with_suffix(f".{os.getpid()}.partial")
    partial.write_bytes(content)
    os.replace(partial, path)
