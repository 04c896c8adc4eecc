"""Writes a bag as a directory that gets its name only when it is whole; what a crash leaves is named `NAME.recording`."""

from __future__ import annotations

import contextlib
import fcntl
import os
import shutil
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

from beingh_core.data.bags.mcap_file import CHUNK_S, McapFile
from beingh_core.data.bags.metadata import FILE, Facts, metadata_text, version_of, write_whole
from beingh_core.data.bags.sqlite_file import SqliteFile
from beingh_core.data.bags.topic import BagTopic
from beingh_core.errors import BeingHError

STORAGES = ("mcap", "sqlite3")
UNFINISHED = ".recording"
# Kept free for the index and metadata.yaml of a bag that fills the disk.
RESERVE_BYTES = 2 << 20
COMPLETE, REASON = "beingh_complete", "beingh_reason"


class BagWriter:
    """A bag being written; one thread.

    Args:
        directory: The bag's name when it is whole; must not exist.
        storage: `mcap` or `sqlite3`.
        distribution: ROS distribution whose layout is written.
        reserve_bytes: Kept free for the end of a bag that fills the disk.
        name: Of the file in it, "" for the directory's.

    Attributes:
        directory: Where it will be.
        facts: What has been written so far; `facts.custom` goes into metadata.yaml.
        lost: Messages by topic that were given to `write` and that the disk has refused.

    Raises:
        BeingHError: The bag exists, or the folder cannot be written.
    """

    def __init__(
        self,
        directory: Path,
        *,
        storage: str = "mcap",
        distribution: str = "jazzy",
        reserve_bytes: int = RESERVE_BYTES,
        name: str = "",
    ) -> None:
        if storage not in STORAGES:
            raise BeingHError(f"there is no storage `{storage}`", allowed=STORAGES)
        self.directory = Path(directory)
        self._part = self.directory.with_name(self.directory.name + UNFINISHED)
        self._distribution = distribution
        self.facts = Facts()
        self._topics: dict[int, BagTopic] = {}
        self.lost: Counter[str] = Counter()
        self._pending: list[tuple[str, int]] = []
        self._last_flush_s = time.monotonic()
        if self.directory.exists() or self._part.exists():
            raise BeingHError("there is a bag of this name", where=self.directory, remedy="choose another name")
        try:
            self._part.mkdir(parents=True)
            self._reserve(reserve_bytes)
            self._open(storage, name or self.directory.name)
        except OSError as error:
            raise BeingHError(
                f"no bag can be written here: {error.strerror or error}", where=self._part, remedy="see `df -h`"
            ) from None
        with contextlib.suppress(OSError):  # some network file systems have no locks
            fcntl.flock(self._file.fileno(), fcntl.LOCK_EX | fcntl.LOCK_NB)

    def add_topic(self, topic: BagTopic) -> int:
        """Number of a new topic.

        Raises:
            OSError: The disk is full or broken.
        """
        with self._counted():
            number = self._file.add_topic(topic)
        self._topics[number] = topic
        self.facts.counts.setdefault(topic.name, 0)
        return number

    def write(self, number: int, log_ns: int, data: bytes, *, publish_ns: int = 0, sequence: int = 0) -> None:
        """Write a message, at the latest `CHUNK_S` later.

        Args:
            number: From `add_topic`.
            log_ns: When it was received [ns].
            data: The message, serialised.
            publish_ns: When it was published [ns], 0 when unknown.
            sequence: Its number among those of its publisher, 0 when unknown.

        Raises:
            OSError: The disk is full or broken.
        """
        self._pending.append((self._topics[number].name, log_ns))
        with self._counted():
            self._file.write(number, log_ns, publish_ns or log_ns, sequence, data)
        self.flush_when_due()

    def flush_when_due(self) -> None:
        """Write what has waited for `CHUNK_S`; call it when no messages come."""
        now_s = time.monotonic()
        if not self._file.pending_bytes:
            self._last_flush_s = now_s
        elif now_s - self._last_flush_s >= CHUNK_S:
            self.flush()

    def flush(self) -> None:
        """Write what waits.

        Raises:
            OSError: The disk is full or broken.
        """
        self._last_flush_s = time.monotonic()
        with self._counted():
            self._file.flush()

    def free_reserve(self) -> None:
        """Give the end of the bag the space that was kept for it."""
        with contextlib.suppress(FileNotFoundError):
            (self._part / ".reserve").unlink()

    def close(self, reason: str = "") -> str:
        """Finish the bag, as well as the disk allows.

        Args:
            reason: Why it is not complete; "" when it is.

        Returns:
            The reason that the bag gives, "" when it is complete.

        Raises:
            BeingHError: Nothing more can be written; what there is stays in `NAME.recording`.
        """
        self.free_reserve()
        try:
            self.flush()
        except OSError as error:
            reason = reason or f"the disk failed at the end: {error.strerror or error}"
        self.facts.custom |= {COMPLETE: str(not reason).lower(), REASON: reason}
        try:
            self._file.finish(self._metadata())
        except OSError as error:
            reason = f"{reason or 'the disk failed at the end'}; there is no index ({error.strerror or error})"
            self.facts.custom |= {COMPLETE: "false", REASON: reason}
            self._file.close()
        try:
            write_whole(self._part / FILE, self._metadata())
            os.rename(self._part, self.directory)
        except OSError as error:
            raise BeingHError(
                f"the bag could not be finished: {error.strerror}", where=self._part, remedy="free some space"
            ) from None
        return reason

    def discard(self) -> None:
        """Remove it."""
        self._file.close()
        shutil.rmtree(self._part)

    @contextlib.contextmanager
    def _counted(self) -> Iterator[None]:
        """Around what may write: count what has been written, or lost."""
        try:
            yield
        except OSError:
            self.lost.update(name for name, _ in self._pending)
            self._pending.clear()
            raise
        if not self._file.pending_bytes:
            for name, log_ns in self._pending:
                self.facts.add(name, log_ns)
            self._pending.clear()

    def _open(self, storage: str, name: str) -> None:
        version, name = version_of(self._distribution), f"{name}_0"
        if storage == "mcap":
            self._file = McapFile(self._part / f"{name}{McapFile.suffix}", version)
        else:
            self._file = SqliteFile(self._part / f"{name}{SqliteFile.suffix}", version, self._distribution)
        self._name = f"{name}{self._file.suffix}"

    def _reserve(self, size: int) -> None:
        if size:
            with open(self._part / ".reserve", "wb") as file:
                os.posix_fallocate(file.fileno(), 0, size)

    def _metadata(self) -> str:
        return metadata_text(
            self._topics.values(),
            self.facts,
            storage=self._file.storage,
            file=self._name,
            distribution=self._distribution,
        )
