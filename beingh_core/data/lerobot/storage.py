"""Files that are there as a whole or not at all, whenever the process or the machine stops."""

from __future__ import annotations

import errno
import fcntl
import json
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from beingh_core.errors import BeingHError

WORK = ".beingh"
"""Folder in a dataset for what is not published yet."""


def sync(path: Path) -> None:
    """Makes a file or the entries of a folder durable."""
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def sync_folder(folder: Path) -> None:
    """Makes a folder with all its files durable."""
    for path in folder.iterdir():
        sync(path)
    sync(folder)


def put(source: Path, target: Path) -> None:
    """Moves a durable file or folder to its place, in one step; a file there is replaced."""
    target.parent.mkdir(parents=True, exist_ok=True)
    os.replace(source, target)
    sync(target.parent)


def write(target: Path, content: bytes | str) -> None:
    """Writes a whole file, in one step."""
    target.parent.mkdir(parents=True, exist_ok=True)
    partial = target.with_name(f".{target.name}.partial")
    partial.write_bytes(content.encode() if isinstance(content, str) else content)
    sync(partial)
    put(partial, target)


def write_json(target: Path, content: Any) -> None:
    """Writes a JSON file, in one step."""
    write(target, json.dumps(content, indent=4, ensure_ascii=False) + "\n")


def remove(path: Path) -> None:
    """Removes a file or folder that may be absent."""
    if path.is_dir():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)


@contextmanager
def told_when_full(where: Path) -> Iterator[None]:
    """Turns a full disk or a folder that cannot be written into one clear error."""
    try:
        yield
    except OSError as error:
        if error.errno in (errno.ENOSPC, errno.EDQUOT):
            raise BeingHError(
                "the disk is full; every committed episode is intact",
                where=where,
                remedy="make room, then run the same command again: it goes on behind the last committed episode",
            ) from None
        if error.errno in (errno.EACCES, errno.EPERM, errno.EROFS):
            raise BeingHError("this user may not write here", where=where, remedy="choose another folder") from None
        nowhere = error.errno in (errno.ENOENT, errno.EEXIST) and not where.is_dir()  # below /proc, or a file's name
        if nowhere or error.errno in (errno.ENOTDIR, errno.ELOOP, errno.ENAMETOOLONG):
            raise BeingHError(
                f"no folder can be made here ({error.strerror})", where=where, remedy="choose another folder"
            ) from None
        raise


class Lock:
    """One writer at a time; the system gives it back when the process ends, however it ends."""

    def __init__(self, root: Path) -> None:
        (root / WORK).mkdir(parents=True, exist_ok=True)
        self._handle = os.open(root / WORK / "lock", os.O_RDWR | os.O_CREAT, 0o644)
        try:
            fcntl.flock(self._handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            os.close(self._handle)
            raise BeingHError(
                "another process writes to this dataset", where=root, remedy="wait until it has ended"
            ) from None

    def release(self) -> None:
        """Lets others write."""
        if self._handle >= 0:
            os.close(self._handle)
            self._handle = -1
