"""Files from outside: regular, there in full and of bounded size before anything is made of them."""

from __future__ import annotations

import json
import os
import re
import stat
from collections import Counter
from pathlib import Path
from typing import Any

from beingh_core.errors import BeingHError, shown

JSON_BYTES, JSON_DEPTH, JSON_DIGITS = 4 << 20, 50, 100
"""Bounds of a JSON file: the largest that people have are 20 times smaller, 8 levels deep."""

COPY_AGAIN = "download or copy this file again"
_LONG_NUMBER = re.compile(rf"\d{{{JSON_DIGITS + 1}}}", re.ASCII)
_POINTER = b"version https://git-lfs.github.com/spec/"


def check_file(path: Path, *, largest: int | None = None, remedy: str = COPY_AGAIN) -> None:
    """Refuses what cannot be read as a file, from its first bytes at most.

    Args:
        path: File.
        largest: Most bytes it may have; None for no bound.
        remedy: What to do about a file that is not there.

    Raises:
        BeingHError: Missing, unreadable, a directory or device, a pointer of large file storage, empty or too large.
    """
    try:
        found = os.stat(path)
        regular = stat.S_ISREG(found.st_mode)
        start = b""
        if regular:
            with open(path, "rb") as file:
                start = file.read(len(_POINTER))
    except PermissionError:
        raise BeingHError("this user may not read the file", where=path, remedy="change its permissions") from None
    except (OSError, ValueError) as error:
        raise BeingHError(f"cannot be read: {_cause(error)}", where=path, remedy=remedy) from None
    if not regular:
        kind = "a directory" if stat.S_ISDIR(found.st_mode) else "a device, pipe or socket"
        raise BeingHError(f"is {kind}, not a file", where=path, remedy=remedy)
    if start == _POINTER:
        raise BeingHError(
            "is only a pointer of Git LFS; the content was not fetched",
            where=path,
            remedy=f"run `git lfs pull` in {path.parent}, or download the file itself",
        )
    if not start:
        raise BeingHError("the file is empty", where=path, remedy=COPY_AGAIN)
    if largest is not None and found.st_size > largest:
        raise BeingHError(
            f"the file has {found.st_size} bytes", where=path, allowed=f"at most {largest} bytes", remedy=COPY_AGAIN
        )


def read_json(path: Path, *, remedy: str = COPY_AGAIN) -> dict[str, Any]:
    """Reads a JSON object of bounded size and depth, UTF-8 with or without a byte order mark.

    Whole numbers of more than `JSON_DIGITS` digits come back as floats, so that whoever needs the value refuses it by
    its key; the same holds for NaN and Infinity, which Python's JSON knows.

    Args:
        path: File.
        remedy: What to do about a file that is not there or not such an object.

    Raises:
        BeingHError: See `check_file`; not UTF-8, not JSON, a key written twice, nested too deeply, not an object.
    """

    def unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        found = dict(pairs)
        if len(found) < len(pairs):
            [(twice, _)] = Counter(name for name, _ in pairs).most_common(1)
            raise BeingHError(f"the key {shown(twice)} is written twice", where=path, remedy="keep one of the two")
        return found

    check_file(path, largest=JSON_BYTES, remedy=remedy)
    too_deep = BeingHError(f"is nested more than {JSON_DEPTH} levels deep", where=path, remedy=remedy)
    try:
        text = path.read_bytes().decode("utf-8-sig")
        # Python takes seconds for numbers of a million digits; asking it for each number is as slow for many short ones.
        numbers = {"parse_int": _whole} if _LONG_NUMBER.search(text) else {}
        content = json.loads(text, object_pairs_hook=unique, **numbers)
    except UnicodeDecodeError:
        raise BeingHError("is not UTF-8 text", where=path, remedy="save it as UTF-8") from None
    except RecursionError:
        raise too_deep from None
    except ValueError as error:
        raise BeingHError(f"not valid JSON: {error}", where=path, remedy=remedy) from None
    if _deeper_than(content, JSON_DEPTH):
        raise too_deep
    if not isinstance(content, dict):
        raise BeingHError(f"is not a JSON object: {shown(content)}", where=path, allowed="{...}", remedy=remedy)
    return content


def _whole(text: str) -> int | float:
    return int(text) if len(text) <= JSON_DIGITS else float(text)


def _deeper_than(value: object, depth: int) -> bool:
    """Whether lists and mappings are nested more deeply; goes level by level, without recursion."""
    level = [value]
    for _ in range(depth + 1):
        level = [entry for entry in level if isinstance(entry, (dict, list))]
        if not level:
            return False
        level = [inner for entry in level for inner in (entry.values() if isinstance(entry, dict) else entry)]
    return True


def _cause(error: Exception) -> str:
    return getattr(error, "strerror", None) or str(error)
