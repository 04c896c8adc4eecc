"""One episode on its way to the disk: a thread of its own writes, so that a slow disk delays nobody. No ROS here."""

from __future__ import annotations

import json
import shutil
import tempfile
import threading
from collections import Counter
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from beingh_core.data.bags.message import text_data
from beingh_core.data.bags.topic import BagTopic
from beingh_core.data.bags.writer import BagWriter
from beingh_core.errors import BeingHError
from beingh_ros.record.buffers import Item, WriteQueue


class Episode:
    """A bag being recorded. All methods belong to one thread, that of the node.

    Args:
        bag: Where it goes.
        events: Topic of the events.
        most_bytes: Most bytes that wait for the disk.

    Attributes:
        name: Of the bag.
        failure: Why nothing more can be written, "" while it can.
        ended: Whether the bag is closed or discarded.
        discarded: Whether it is removed.
        outcome: The reason why the bag is not complete, "" when it is; set when it has ended.
    """

    def __init__(self, bag: BagWriter, events: BagTopic, most_bytes: int) -> None:
        self.name, self.directory = bag.directory.name, bag.directory
        self.failure, self.ended, self.outcome, self.discarded = "", False, "", False
        self._bag, self._events = bag, events
        self._queue = WriteQueue(most_bytes)
        self._numbers: dict[tuple[str, str], int] = {}
        self._unwritten: Counter[str] = Counter()
        self._last: dict[str, Any] = {}
        self._thread = threading.Thread(target=self._run, name=f"write {self.name}", daemon=True)
        self._thread.start()

    @property
    def fill(self) -> float:
        """Share of the bytes that may wait for the disk."""
        return self._queue.fill

    @property
    def written(self) -> Mapping[str, int]:
        """Messages in the bag, by topic."""
        return self._bag.facts.counts

    def put(self, item: Item) -> bool:
        """Record a message; False when the disk is too slow for it, or has failed."""
        return not self.failure and self._queue.put(item)

    def put_all(self, items: Iterable[Item]) -> None:
        """Record the messages of the pre-roll."""
        self._queue.put_all(items)

    def close(self, last: dict[str, Any], custom: Mapping[str, str]) -> None:
        """Write what waits, then the last event, and finish the bag; returns at once.

        Args:
            last: The event; gets the counts of what was written, and whether the bag is complete.
            custom: For metadata.yaml.
        """
        self._bag.facts.custom |= custom
        self._last = last
        self._queue.close()

    def discard(self) -> None:
        """Remove the bag; returns at once."""
        self.discarded = True
        self._queue.close()

    def wait(self, timeout_s: float) -> bool:
        """Wait for the end; False when it has not come."""
        self._thread.join(timeout_s)
        return not self._thread.is_alive()

    def _run(self) -> None:
        more = True
        while more:
            items, more = self._queue.take(0.05)
            for item in items:
                if not self.discarded:
                    self._write(item)
            if not items and not self.failure:
                self._try(self._bag.flush_when_due)
        try:
            if self.discarded:
                self._bag.discard()
            else:
                self._finish(self._last)
        except (BeingHError, OSError) as error:
            self.outcome = str(error)
        self.ended = True

    def _finish(self, last: dict[str, Any]) -> None:
        self._bag.free_reserve()
        lost = self._bag.lost + self._unwritten
        for name, count in lost.items():
            last["topics"].setdefault(name, {})["unwritten"] = count
        if self.failure:
            last |= {"reason": self.failure, "complete": False}
        event = Item(
            self._events, last["stamp_ns"], last["stamp_ns"], 0, text_data(json.dumps(last, ensure_ascii=False))
        )
        failure, self.failure = self.failure, ""  # the reserve has room for this one
        self._write(event)
        self.failure = self.failure or failure
        self.outcome = self._bag.close(self.failure or ("" if last.get("complete", True) else last["reason"]))

    def _write(self, item: Item) -> None:
        if self.failure:
            self._unwritten[item.topic.name] += 1
            return

        def write() -> None:
            key = (item.topic.name, item.topic.type)
            if key not in self._numbers:
                self._numbers[key] = self._bag.add_topic(item.topic)
            self._bag.write(
                self._numbers[key], item.log_ns, item.data, publish_ns=item.publish_ns, sequence=item.sequence
            )

        self._try(write)

    def _try(self, act) -> None:
        try:
            act()
        except OSError as error:
            self.failure = f"the disk failed: {error.strerror or error}"


def make_writable(directory: Path, where: str, example: str) -> None:
    """Make a folder, and see that files can be written in it.

    Args:
        directory: The folder.
        where: Who has named it, for the error.
        example: How another one is given, for the error.

    Raises:
        BeingHError: It is a file, or cannot be made or written.
    """
    try:
        directory.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=directory):
            pass
    except OSError as error:
        there = (path for path in (directory, *directory.parents) if path.exists())
        file = next((path for path in there if not path.is_dir()), None)
        what = f"{file} is a file" if file else f"{directory} cannot be written: {error.strerror or error}"
        raise BeingHError(what, where=where, allowed="a folder that can be written, or made",
                          remedy=f"give another one, as in `{example}`") from None  # fmt: skip


def free_mb(directory: Path) -> float:
    """Free space where a directory is, or will be [MB]."""
    while not directory.exists():
        directory = directory.parent
    return shutil.disk_usage(directory).free / 1e6
