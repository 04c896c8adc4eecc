"""Writes one SQLite file in rosbag2's layout: schema 3 of Humble, or 4 with the message definitions from Iron on."""

from __future__ import annotations

import os
import sqlite3
from pathlib import Path

from beingh_core.data.bags.topic import BagTopic

SCHEMA = """
CREATE TABLE schema(schema_version INTEGER PRIMARY KEY, ros_distro TEXT NOT NULL);
CREATE TABLE metadata(id INTEGER PRIMARY KEY, metadata_version INTEGER NOT NULL, metadata TEXT NOT NULL);
CREATE TABLE topics(id INTEGER PRIMARY KEY, name TEXT NOT NULL, type TEXT NOT NULL, serialization_format TEXT NOT NULL,
  offered_qos_profiles TEXT NOT NULL{hash});
{definitions}
CREATE TABLE messages(id INTEGER PRIMARY KEY, topic_id INTEGER NOT NULL, timestamp INTEGER NOT NULL, data BLOB NOT NULL);
CREATE INDEX timestamp_idx ON messages (timestamp ASC);
"""
DEFINITIONS = """CREATE TABLE message_definitions(id INTEGER PRIMARY KEY, topic_type TEXT NOT NULL, encoding TEXT NOT NULL,
  encoded_message_definition TEXT NOT NULL, type_description_hash TEXT NOT NULL);"""
WITH_DEFINITIONS_FROM = 6  # version of the metadata
CHUNK_BYTES = 4 << 20


class SqliteFile:
    """One file being written; one thread. The interface is that of `McapFile`.

    Each chunk is one transaction: what a killed process has begun is rolled back by whoever opens the file next.

    Args:
        path: New file.
        version: Of rosbag2's metadata.
        distribution: Of ROS.
    """

    storage = "sqlite3"
    suffix = ".db3"

    def __init__(self, path: Path, version: int, distribution: str = "") -> None:
        self._version, self._full = version, version >= WITH_DEFINITIONS_FROM
        self._lock = os.open(path, os.O_CREAT | os.O_EXCL | os.O_RDWR, 0o644)
        self._rows: list[tuple[int, int, bytes]] = []
        self.pending_bytes = 0
        self._count = 0
        self._types: set[str] = set()
        self._database = sqlite3.connect(path, isolation_level=None)
        self._database.execute("PRAGMA synchronous=NORMAL")
        definitions = DEFINITIONS if self._full else ""
        column = ", type_description_hash TEXT NOT NULL" if self._full else ""
        self._database.executescript(SCHEMA.format(definitions=definitions, hash=column))
        self._database.execute("INSERT INTO schema VALUES (?, ?)", (4 if self._full else 3, distribution))

    def fileno(self) -> int:
        """For locks."""
        return self._lock

    def add_topic(self, topic: BagTopic) -> int:
        """Number of a new topic."""
        self.flush()
        self._count += 1
        row = (self._count, topic.name, topic.type, topic.serialization, topic.qos_text(self._version))
        if not self._full:
            self._run("INSERT INTO topics VALUES (?, ?, ?, ?, ?)", row)
            return self._count
        if topic.type not in self._types:
            self._types.add(topic.type)
            self._run(
                "INSERT INTO message_definitions(topic_type, encoding, encoded_message_definition, type_description_hash)"
                " VALUES (?, ?, ?, ?)",
                (topic.type, topic.encoding, topic.definition, topic.type_hash),
            )
        self._run("INSERT INTO topics VALUES (?, ?, ?, ?, ?, ?)", (*row, topic.type_hash))
        return self._count

    def write(self, number: int, log_ns: int, _publish_ns: int, _sequence: int, data: bytes) -> None:
        """Add a message; `flush` writes it."""
        self._rows.append((number, log_ns, data))
        self.pending_bytes += len(data)
        if self.pending_bytes >= CHUNK_BYTES:
            self.flush()

    def flush(self) -> None:
        """Write what is pending in one transaction.

        Raises:
            OSError: The disk is full or broken; what was pending is lost.
        """
        rows, self._rows, self.pending_bytes = self._rows, [], 0
        if not rows:
            return
        self._run("BEGIN")
        try:
            self._database.executemany("INSERT INTO messages(topic_id, timestamp, data) VALUES (?, ?, ?)", rows)
            self._database.execute("COMMIT")
        except sqlite3.Error as error:
            if self._database.in_transaction:
                self._database.execute("ROLLBACK")
            raise OSError(f"SQLite: {error}") from error

    def finish(self, metadata_text: str) -> None:
        """Write what is pending and the facts of the bag, then close.

        Raises:
            OSError: The disk is full; everything written before is in the file.
        """
        self.flush()
        values = (self._version, metadata_text)
        self._run("INSERT INTO metadata(metadata_version, metadata) VALUES (?, ?)", values)
        self.close()

    def close(self) -> None:
        """Close as it is."""
        self._database.close()
        if self._lock >= 0:
            os.close(self._lock)
            self._lock = -1

    def _run(self, statement: str, values: tuple = ()) -> None:
        try:
            self._database.execute(statement, values)
        except sqlite3.Error as error:
            raise OSError(f"SQLite: {error}") from error
