"""The rows of an experiment, one JSON line each, so that a run that was killed goes on where it was."""

from __future__ import annotations

import fcntl
import json
import os
from collections.abc import Hashable, Mapping
from pathlib import Path
from typing import Any

from beingh_core.data.lerobot.storage import told_when_full
from beingh_core.errors import BeingHError, shown
from beingh_core.files import read_json

ROWS, SETTINGS = "episodes.jsonl", "settings.json"


class Journal:
    """Rows in a folder, and the settings under which they hold. One process at a time; use as a context.

    A row is added whole: what a killed process left of one is dropped. `settings` may have mappings by name, such as
    checkpoints: a later run may bring further names, and must mean the same by those that are there.

    Args:
        folder: Made where it is missing.
        settings: Of which the rows are a result.
        keys: Names of the values of a row that tell which one it is.

    Attributes:
        rows: Those that are there, in the order in which they were added.

    Raises:
        BeingHError: The folder holds rows of other settings, or damaged ones; another process writes to it; it cannot be
            written.
    """

    def __init__(self, folder: Path, settings: Mapping[str, Any], keys: tuple[str, ...]) -> None:
        self.folder, self._keys = folder, keys
        with told_when_full(folder):
            folder.mkdir(parents=True, exist_ok=True)
            self._file = open(folder / ROWS, "a+b")
        try:
            self._lock()
            self._agree(json.loads(json.dumps(settings)))
            self.rows = self._read()
        except BaseException:
            self._file.close()
            raise
        self._known = {self.key(row) for row in self.rows}

    def __enter__(self) -> Journal:
        return self

    def __exit__(self, *_: object) -> None:
        self._file.close()

    def key(self, row: Mapping[str, Any]) -> tuple[Hashable, ...]:
        """Which row it is."""
        return tuple(row[name] for name in self._keys)

    def has(self, *key: Hashable) -> bool:
        """Whether that row is there."""
        return key in self._known

    def add(self, row: Mapping[str, Any]) -> None:
        """Take a row; it survives the end of the process from then on."""
        self.rows.append(dict(row))
        self._known.add(self.key(row))
        with told_when_full(self.folder):
            self._file.write(json.dumps(row).encode() + b"\n")
            self._file.flush()
            os.fsync(self._file.fileno())

    def _lock(self) -> None:
        try:
            fcntl.flock(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            raise BeingHError(
                "another process writes to this folder", where=self.folder, remedy="wait for it, or give another --out"
            ) from None

    def _agree(self, settings: dict[str, Any]) -> None:
        """Writes the settings of a new folder; compares with those of another."""
        path = self.folder / SETTINGS
        if not path.exists():
            if self._file.tell():
                raise BeingHError("there are rows without their settings", where=path, remedy="give another --out")
            self._write(path, settings)
            return
        there = read_json(path, remedy="give another --out")
        wrong = []
        for name in sorted({*settings, *there}):
            new, old = settings.get(name), there.get(name)
            if isinstance(new, dict) and isinstance(old, dict):
                wrong += [
                    f"{name}.{k} {shown(old[k])}, not {shown(new[k])}" for k in new if old.get(k, new[k]) != new[k]
                ]
                settings[name] = old | new
            elif new != old:
                wrong.append(f"{name} {shown(old)}, not {shown(new)}")
        if wrong:
            raise BeingHError(
                f"this folder holds a run of other settings: {'; '.join(wrong)}",
                where=self.folder,
                remedy="give the same settings to go on with it, or another --out",
            )
        if settings != there:
            self._write(path, settings)

    def _write(self, path: Path, settings: Mapping[str, Any]) -> None:
        part = path.with_suffix(".part")
        with told_when_full(self.folder):
            part.write_text(json.dumps(settings, indent=1) + "\n", encoding="utf-8")
            os.replace(part, path)

    def _read(self) -> list[dict[str, Any]]:
        self._file.seek(0)
        text = self._file.read()
        whole = text.rfind(b"\n") + 1
        if whole < len(text):
            self._file.truncate(whole)
        rows = []
        for number, line in enumerate(text[:whole].splitlines(), start=1):
            try:
                row = json.loads(line)
                self.key(row)
            except (ValueError, KeyError, TypeError):
                raise BeingHError(
                    f"line {number} is no row of this experiment",
                    where=self.folder / ROWS,
                    remedy="delete that line, and its episode is played again; or give another --out",
                ) from None
            rows.append(row)
        return rows
