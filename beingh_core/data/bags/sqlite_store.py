"""Reads one SQLite file of rosbag2, also one that was being written when its process ended, or that is cut off."""

from __future__ import annotations

import contextlib
import os
import shutil
import sqlite3
import tempfile
from collections.abc import Collection, Iterator
from pathlib import Path

import yaml

from beingh_core.data.bags.message import RawMessage
from beingh_core.data.bags.topic import BagTopic
from beingh_core.errors import BeingHError

_JOURNALS = ("-journal", "-wal", "-shm")


class SqliteStore:
    """One file; see `McapStore` for the attributes."""

    def __init__(self, path: Path) -> None:
        self._path, self._copy = path, None
        self._left: list[tuple[int, int, int]] | None = None
        self.findings: list[str] = []
        # A transaction that has not ended has to be rolled back, for which the file must be written: never the original.
        self.whole = not any(Path(f"{path}{end}").exists() for end in _JOURNALS)
        if not self.whole:
            self.findings.append("it was being written when its process ended; the last transaction was rolled back")
            self._copy = tempfile.TemporaryDirectory(prefix="beingh_bag_")
            for end in ("", *_JOURNALS):
                if os.path.exists(f"{path}{end}"):
                    shutil.copy(f"{path}{end}", self._copy.name)
            path = Path(self._copy.name) / path.name
        try:
            mode = "mode=ro&immutable=1" if self.whole else "mode=rw"
            self._database = sqlite3.connect(f"{path.resolve().as_uri()}?{mode}", uri=True, check_same_thread=False)
            if _is_cut(path):
                self.whole = False
                self.findings.append(f"it is cut off: its end is missing, after {path.stat().st_size} bytes")
                # Without this SQLite refuses a file that is shorter than its head says (`lockBtree` in its source).
                self._database.execute("PRAGMA writable_schema=ON")
                self._left = self._read_left()
            self._read_topics()
        except (sqlite3.Error, ValueError) as error:
            self.close()
            raise BeingHError(
                f"is no rosbag2 database, or it is damaged: {error}", where=path, remedy="copy or record it again"
            ) from None

    def close(self) -> None:
        """Close the file."""
        if hasattr(self, "_database"):
            self._database.close()
        if self._copy is not None:
            self._copy.cleanup()

    def messages(self, names: Collection[str], start_ns: float, stop_ns: float) -> Iterator[RawMessage]:
        """Messages of these topics with start <= log time < stop, by log time."""
        wanted = [number for number, name in self._names.items() if name in names]
        first, last = max(start_ns, -(2**63)), min(stop_ns, 2**63 - 1)
        if self._left is not None:
            yield from self._messages_left(wanted, first, last)
            return
        query = (
            f"SELECT topic_id, timestamp, data FROM messages WHERE topic_id IN ({','.join('?' * len(wanted))})"
            " AND timestamp >= ? AND timestamp < ? ORDER BY timestamp, id"
        )
        try:
            for number, log_ns, data in self._database.execute(query, (*wanted, int(first), int(last))):
                yield RawMessage(self._names[number], log_ns, log_ns, 0, data)
        except sqlite3.Error as error:
            self.findings.append(f"the rest cannot be read: {error}")

    def _messages_left(self, wanted: list[int], first: float, last: float) -> Iterator[RawMessage]:
        """Of a file that is cut; long messages have parts elsewhere in it, which may be missing."""
        lost = 0
        for log_ns, row, number in self._left:
            if number not in wanted or not first <= log_ns < last:
                continue
            try:
                [(data,)] = self._database.execute("SELECT data FROM messages WHERE id = ?", (row,))
            except (sqlite3.Error, ValueError):
                lost += 1
                continue
            yield RawMessage(self._names[number], log_ns, log_ns, 0, data)
        text = f"{lost} messages lack a part"
        if lost and text not in self.findings:
            self.findings.append(text)

    def _read_left(self) -> list[tuple[int, int, int]]:
        """(log time, row, topic) of what stands before the cut, by log time."""
        found = []
        try:
            for row, number, log_ns in self._database.execute(
                "SELECT id, topic_id, timestamp FROM messages NOT INDEXED"
            ):
                found.append((log_ns, row, number))
        except sqlite3.Error:
            pass  # here is the cut
        return sorted(found)

    def _read_topics(self) -> None:
        columns = {row[1] for row in self._database.execute("PRAGMA table_info(topics)")}
        qos = "offered_qos_profiles" if "offered_qos_profiles" in columns else "''"
        digest = "type_description_hash" if "type_description_hash" in columns else "''"
        rows = list(self._database.execute(f"SELECT id, name, type, serialization_format, {qos}, {digest} FROM topics"))
        tables = {row[0] for row in self._database.execute("SELECT name FROM sqlite_master WHERE type='table'")}
        definitions, self.metadata_text = {}, ""
        if "message_definitions" in tables:
            query = "SELECT topic_type, encoding, encoded_message_definition FROM message_definitions"
            definitions = {kind: (encoding, text) for kind, encoding, text in self._database.execute(query)}
        if "metadata" in tables:
            with contextlib.suppress(sqlite3.Error) if self._left is not None else contextlib.nullcontext():
                found = self._database.execute("SELECT metadata FROM metadata ORDER BY id DESC LIMIT 1").fetchone()
                self.metadata_text = found[0] if found else ""
        self._names = {row[0]: row[1] for row in rows}
        self.topics = {}
        for _, name, kind, serialization, profiles, type_hash in rows:
            encoding, text = definitions.get(kind, ("", ""))
            self.topics[name] = BagTopic(
                name=name, type=kind, definition=text, encoding=encoding, type_hash=type_hash,
                qos=_profiles(profiles), serialization=serialization,
            )  # fmt: skip
        self.counts = dict.fromkeys(self.topics, 0)
        if self._left is not None:
            self._left = [entry for entry in self._left if entry[2] in self._names]
            for _, _, number in self._left:
                self.counts[self._names[number]] += 1
            self.span = (self._left[0][0], self._left[-1][0]) if self._left else None
            return
        for number, count in self._database.execute("SELECT topic_id, count(*) FROM messages GROUP BY topic_id"):
            if number in self._names:
                self.counts[self._names[number]] += count
        first, last = self._database.execute("SELECT min(timestamp), max(timestamp) FROM messages").fetchone()
        self.span = None if first is None else (first, last)


def _is_cut(path: Path) -> bool:
    """Whether a file is shorter than its head says (SQLite's file format, 1.3: size of a page, and how many)."""
    with open(path, "rb") as file:
        head = file.read(100)
    if len(head) < 100:
        return False
    size, pages = int.from_bytes(head[16:18], "big"), int.from_bytes(head[28:32], "big")
    return path.stat().st_size < (65536 if size == 1 else size) * pages


def _profiles(text: str) -> tuple:
    try:
        found = yaml.safe_load(text) or ()
    except yaml.YAMLError:
        return ()
    return tuple(entry for entry in found if isinstance(entry, dict)) if isinstance(found, list) else ()
