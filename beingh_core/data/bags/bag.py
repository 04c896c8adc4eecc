"""One reader for our bags and those of others: rosbag2 directories and single files, MCAP and SQLite, whole or damaged."""

from __future__ import annotations

import contextlib
import heapq
import math
import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

from beingh_core.data.bags.compressed import unpacked
from beingh_core.data.bags.mcap_store import McapStore
from beingh_core.data.bags.message import RawMessage, header_of
from beingh_core.data.bags.metadata import FILE, KEY, read_metadata
from beingh_core.data.bags.sqlite_store import SqliteStore
from beingh_core.data.bags.topic import BagTopic
from beingh_core.data.bags.types import Types
from beingh_core.data.bags.writer import COMPLETE, REASON, UNFINISHED
from beingh_core.errors import BeingHError

_STORES = {".mcap": McapStore, ".db3": SqliteStore}
_PACKED = ".zstd"


@dataclass(frozen=True, kw_only=True)
class TopicInfo(BagTopic):
    """A topic and how many of its messages can be read."""

    count: int = 0


@dataclass(kw_only=True)
class _Description:
    """metadata.yaml, as far as it can be used."""

    files: list[Path] = field(default_factory=list)
    counts: dict[str, int] = field(default_factory=dict)
    custom: Mapping[str, str] = field(default_factory=dict)
    distribution: str = ""
    packs_messages: bool = False


class Bag:
    """An open bag; use it as a context manager. One thread.

    Attributes:
        path: Directory or file.
        topics: By name.
        start_ns, end_ns: Log times of the first and last message [ns]; 0 without messages.
        custom: `custom_data` of metadata.yaml.
        distribution: ROS distribution that wrote it, "" when it does not say.
        complete: Whether nothing is known to be missing at its end.
    """

    def __init__(self, path: str | Path) -> None:
        self.path = Path(path)
        self._told: list[str] = []
        self._stores: list[tuple[str, McapStore | SqliteStore]] = []
        self._stack = contextlib.ExitStack()
        self._types: Types | None = None
        if not self.path.exists():
            raise BeingHError("there is no such bag", where=self.path)
        if not (self.path.is_dir() or self.path.is_file()):
            raise BeingHError("is neither a file nor a folder", where=self.path, remedy="name a bag")
        try:
            description = self._describe()
            self._open_files(description)
        except BaseException:
            self._stack.close()
            raise
        self.custom, self.distribution = dict(description.custom), description.distribution
        self._packs_messages = description.packs_messages
        self._join(description)

    def __enter__(self) -> Bag:
        return self

    def __exit__(self, *_exc) -> None:
        self.close()

    def close(self) -> None:
        """Close the files."""
        self._stack.close()

    @property
    def message_count(self) -> int:
        """Messages that can be read."""
        return sum(topic.count for topic in self.topics.values())

    @property
    def findings(self) -> list[str]:
        """What is damaged or missing and what was salvaged, for people; reading may add to it."""
        of_files = [f"{name}: {text}" for name, store in self._stores for text in store.findings]
        return [*self._told, *of_files]

    def messages(
        self, topics: Iterable[str] | None = None, start_ns: float = -math.inf, stop_ns: float = math.inf
    ) -> Iterator[RawMessage]:
        """Messages by log time; those of one time in the order in which they were recorded.

        Args:
            topics: Names; None for all. A name that the bag does not have gives nothing.
            start_ns, stop_ns: Log times, the stop excluded [ns].
        """
        names = set(self.topics if topics is None else topics)
        found = [store.messages(names, start_ns, stop_ns) for _, store in self._stores]
        merged = found[0] if len(found) == 1 else heapq.merge(*found, key=lambda message: message.log_ns)
        if not self._packs_messages:
            yield from merged
            return
        for message in merged:
            yield message._replace(data=unpacked(message.data))

    @property
    def types(self) -> Types:
        """The types of its messages.

        Raises:
            BeingHError: The library `rosbags` is not installed.
        """
        if self._types is None:
            self._types = Types(self.topics.values(), self.distribution)
        return self._types

    def deserialise(self, message: RawMessage) -> Any:
        """A message with the fields of its type, arrays as numpy arrays.

        Raises:
            BeingHError: Its type is not known, or it is damaged.
        """
        return self.types.deserialise(message.data, self.topics[message.topic])

    def stamp_ns(self, message: RawMessage) -> int | None:
        """Time in the header of a message [ns]; None where its type begins with no header."""
        return header_of(message.data)[0] if self.types.has_header(self.topics[message.topic]) else None

    def _describe(self) -> _Description:
        """Which files, and what is said of them."""
        if self.path.is_file():
            return _Description(files=[self.path])
        present = sorted(
            (p for p in self.path.iterdir() if _store_of(p) is not None and p.is_file() and not p.name.startswith(".")),
            key=lambda p: [int(part) if part.isdigit() else part for part in re.split(r"(\d+)", p.name)],
        )
        if not present:
            raise BeingHError("holds no .mcap and no .db3 file", where=self.path, remedy="name the bag's own directory")
        try:
            told = read_metadata(self.path)
        except BeingHError as error:
            self._told.append(f"{FILE} is of no use ({error.what}); the files were read without it")
            return _Description(files=present)
        description = _Description(files=present)
        try:
            _read(description, told)
            names = [Path(name).name for name in told["relative_file_paths"]]
        except (KeyError, TypeError, ValueError, AttributeError):
            self._told.append(f"{FILE} has not all that it should have; the files were read without it")
            return description
        for name in names:
            if not (self.path / name).exists():
                self._told.append(f"the file {name} is missing")
        for path in present:
            if path.name not in names:
                self._told.append(f"{path.name} is not named in {FILE}, and was read too")
        return description

    def _open_files(self, description: _Description) -> None:
        refused = []
        for path in description.files:
            try:
                if path.suffix == _PACKED:
                    path = self._unpack(path)
                kind = _store_of(path)
                if kind is None:
                    raise BeingHError("is no bag", where=path, allowed=(*_STORES, f"a directory with {FILE}"))
                store = kind(path)
            except BeingHError as error:
                refused.append(error)
                continue
            self._stack.callback(store.close)
            self._stores.append((path.name, store))
        if not self._stores:
            raise refused[0]
        self._told += [f"not read: {error}" for error in refused]

    def _unpack(self, path: Path) -> Path:
        """A compressed file, unpacked into a temporary folder."""
        import tempfile

        from beingh_core.data.bags.compressed import unpack_file

        folder = self._stack.enter_context(tempfile.TemporaryDirectory(prefix="beingh_bag_"))
        return unpack_file(path, Path(folder) / path.stem)

    def _join(self, description: _Description) -> None:
        """Topics, counts, spans and completeness of all files."""
        self.topics: dict[str, TopicInfo] = {}
        for _, store in self._stores:
            for name, topic in store.topics.items():
                known = self.topics.get(name)
                if known is not None and topic.type != known.type:
                    self._told.append(f"{name} has two types, {known.type} and {topic.type}")
                count = store.counts[name] + (known.count if known else 0)
                self.topics[name] = TopicInfo(**{**vars(known or topic), "count": count})
            if store.metadata_text and not self.custom:
                self.custom = _custom_in(store.metadata_text)
        for name, count in description.counts.items():
            have = self.topics[name].count if name in self.topics else 0
            if have != count:
                self._told.append(f"{name}: {FILE} says {count} messages, {have} can be read")
        spans = [store.span for _, store in self._stores if store.span]
        self.start_ns = min((span[0] for span in spans), default=0)
        self.end_ns = max((span[1] for span in spans), default=0)
        self.complete = all(store.whole for _, store in self._stores)
        if self.custom.get(COMPLETE) == "false":
            self.complete = False
            self._told.append(f"its recorder says that it is not complete: {self.custom.get(REASON)}")
        if self.path.name.endswith(UNFINISHED):
            self.complete = False
            self._told.append("its recorder has not finished it")


def open_bag(path: str | Path) -> Bag:
    """Open a bag directory or a single file.

    Raises:
        BeingHError: There is none, or nothing in it can be read.
    """
    return Bag(path)


def _store_of(path: Path) -> type[McapStore] | type[SqliteStore] | None:
    return _STORES.get(path.with_suffix("").suffix if path.suffix == _PACKED else path.suffix)


def _read(description: _Description, told: Mapping[str, Any]) -> None:
    description.distribution = str(told.get("ros_distro") or "")
    custom = told.get("custom_data") or {}
    description.custom = {str(key): str(value) for key, value in custom.items()}
    description.packs_messages = str(told.get("compression_mode") or "").lower() == "message"
    for entry in told["topics_with_message_count"]:
        description.counts[entry["topic_metadata"]["name"]] = int(entry["message_count"])


def _custom_in(text: str) -> Mapping[str, str]:
    """`custom_data` of the metadata that a file itself has."""
    try:
        told = yaml.safe_load(text)
        told = told.get(KEY, told)
        return {str(key): str(value) for key, value in (told.get("custom_data") or {}).items()}
    except (yaml.YAMLError, AttributeError):
        return {}
