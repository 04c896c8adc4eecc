"""Reads one MCAP file, whole or damaged."""

from __future__ import annotations

import heapq
import math
from collections.abc import Collection, Iterator
from pathlib import Path

import yaml

from beingh_core.data.bags.mcap_chunks import Found, chunk_messages
from beingh_core.data.bags.mcap_scan import ChunkPlace, Scan, scan
from beingh_core.data.bags.message import RawMessage
from beingh_core.data.bags.topic import BagTopic
from beingh_core.errors import BeingHError


class McapStore:
    """One file; the attributes are those of every store.

    Args:
        path: The file.

    Attributes:
        topics: By name.
        counts: Messages by topic that can be read.
        span: Log times of the first and last message [ns], None without messages.
        findings: What is wrong with the file, for people; reading may add to it.
        whole: Whether it has been finished.
        metadata_text: metadata.yaml as the file itself has it, "" when it does not.
    """

    def __init__(self, path: Path) -> None:
        self._file = open(path, "rb")  # noqa: SIM115 - closed by `close`
        try:
            self._scan = scan(self._file)
        except BaseException:
            self._file.close()
            raise
        self.findings, self.whole = self._scan.findings, self._scan.whole
        self.metadata_text = self._scan.metadata.get("rosbag2", {}).get("serialized_metadata", "")
        self._bad: set[int] = set()
        if self._scan.counts is None:
            self._measure()
        found = [(chunk.start_ns, chunk.end_ns) for chunk in self._scan.chunks if chunk.start_ns is not None]
        self.span = (min(start for start, _ in found), max(end for _, end in found)) if found else None
        self.topics: dict[str, BagTopic] = {}
        self.counts: dict[str, int] = {}
        self._names = {number: channel.topic for number, channel in self._scan.channels.items()}
        for number, channel in self._scan.channels.items():
            self.topics.setdefault(channel.topic, _topic_of(self._scan, number))
            self.counts[channel.topic] = self.counts.get(channel.topic, 0) + self._scan.counts.get(number, 0)

    def close(self) -> None:
        """Close the file."""
        self._file.close()

    def messages(self, names: Collection[str], start_ns: float, stop_ns: float) -> Iterator[RawMessage]:
        """Messages of these topics with start <= log time < stop, by log time."""
        wanted = {number for number, name in self._names.items() if name in names}
        chunks = sorted(
            (c for c in self._scan.chunks if c.start_ns is not None and c.end_ns >= start_ns and c.start_ns < stop_ns),
            key=lambda chunk: chunk.start_ns,
        )
        waiting: list[tuple[int, int, Found]] = []
        order = 0
        for index, chunk in enumerate(chunks):
            for found in self._of_chunk(chunk):
                if found[0] in wanted and start_ns <= found[2] < stop_ns:
                    order += 1
                    heapq.heappush(waiting, (found[2], order, found))
            next_start = chunks[index + 1].start_ns if index + 1 < len(chunks) else math.inf
            while waiting and waiting[0][0] < next_start:
                yield self._message(heapq.heappop(waiting)[2])

    def _message(self, found: Found) -> RawMessage:
        channel, sequence, log_ns, publish_ns, data = found
        return RawMessage(self._names[channel], log_ns, publish_ns, sequence, data)

    def _of_chunk(self, chunk: ChunkPlace) -> Iterator[Found]:
        """Messages of a chunk; one that cannot be read gives none, which is told once."""
        try:
            yield from chunk_messages(self._file.fileno(), chunk, self._scan)
        except BeingHError as error:
            if chunk.offset not in self._bad:
                self._bad.add(chunk.offset)
                self.findings.append(f"the chunk at byte {chunk.offset} is lost: {error}")

    def _measure(self) -> None:
        """Count by reading everything, which an index would say."""
        counts: dict[int, int] = {}
        for chunk in self._scan.chunks:
            times = []
            for channel, _, log_ns, _, _ in self._of_chunk(chunk):
                if channel in self._scan.channels:
                    counts[channel] = counts.get(channel, 0) + 1
                    times.append(log_ns)
            chunk.start_ns, chunk.end_ns = (min(times), max(times)) if times else (None, None)
        self._scan.counts = counts


def _topic_of(found: Scan, number: int) -> BagTopic:
    channel = found.channels[number]
    schema = found.schemas.get(channel.schema_id)
    try:
        qos = yaml.safe_load(channel.metadata.get("offered_qos_profiles", "")) or ()
    except yaml.YAMLError:
        qos = ()
    return BagTopic(
        name=channel.topic,
        type=schema.name if schema else "",
        definition=schema.data.decode("utf-8", "replace") if schema else "",
        encoding=schema.encoding if schema else "",
        type_hash=channel.metadata.get("topic_type_hash", ""),
        qos=tuple(entry for entry in qos if isinstance(entry, dict)) if isinstance(qos, list) else (),
        serialization=channel.message_encoding,
    )
