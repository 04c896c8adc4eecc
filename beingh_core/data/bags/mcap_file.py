"""Writes one MCAP file (https://mcap.dev/spec) such that everything before the last chunk survives any end.

A chunk leaves in one system call, and at the latest `CHUNK_S` after its first message. The messages are not copied on the
way, so the images of several cameras cost little more than the disk's time.
"""

from __future__ import annotations

import os
import struct
import zlib
from pathlib import Path

from mcap.data_stream import RecordBuilder
from mcap.opcode import Opcode
from mcap.records import Channel, ChunkIndex, DataEnd, Footer, Header, Metadata, MetadataIndex, Schema, Statistics
from mcap.records import SummaryOffset as Offset

from beingh_core.data.bags.topic import BagTopic

MAGIC = b"\x89MCAP0\r\n"
LIBRARY = "beingh_ros"
CHUNK_BYTES, CHUNK_S = 4 << 20, 0.25
_MESSAGE = struct.Struct("<BQHIQQ")  # opcode, length, channel, sequence, log time, publish time
_CHUNK = struct.Struct("<BQQQQIIQ")  # opcode, length, start, end, size, crc, length of "" (no compression), size
_INDEX = struct.Struct("<BQHI")  # opcode, length, channel, bytes of the entries
_ENTRY = struct.Struct("<QQ")  # log time, offset in the chunk
_MOST_BUFFERS = 1000  # of one writev; Linux takes 1024


class McapFile:
    """One file being written; one thread.

    Args:
        path: New file.
        version: Of rosbag2's metadata, for the text of the quality of service.

    Attributes:
        storage: rosbag2's name of this kind of file.
    """

    storage = "mcap"
    suffix = ".mcap"

    def __init__(self, path: Path, version: int) -> None:
        self._descriptor = os.open(path, os.O_CREAT | os.O_EXCL | os.O_RDWR, 0o644)
        self._version, self._size = version, 0
        self._schemas: dict[str, Schema] = {}
        self._channels: list[Channel] = []
        self._indexes: list[ChunkIndex] = []
        self._metadata: list[MetadataIndex] = []
        self._counts: dict[int, int] = {}
        self._span: tuple[int, int] | None = None
        self._begin_chunk()
        self._put([MAGIC, _record(Header(profile="ros2", library=LIBRARY))])

    @property
    def pending_bytes(self) -> int:
        """Of the chunk that has not been written yet."""
        return self._chunk_size

    def fileno(self) -> int:
        """For locks."""
        return self._descriptor

    def add_topic(self, topic: BagTopic) -> int:
        """Number of a new topic; what the file says of it is written at once."""
        parts = []
        if topic.type not in self._schemas:
            schema = Schema(
                id=len(self._schemas) + 1, name=topic.type, encoding=topic.encoding, data=topic.definition.encode()
            )
            self._schemas[topic.type] = schema
            parts.append(_record(schema))
        told = {"offered_qos_profiles": topic.qos_text(self._version), "topic_type_hash": topic.type_hash}
        channel = Channel(
            id=len(self._channels) + 1,
            topic=topic.name,
            message_encoding=topic.serialization,
            metadata=told,
            schema_id=self._schemas[topic.type].id,
        )
        self.flush()
        self._put([*parts, _record(channel)])
        self._channels.append(channel)
        return channel.id

    def write(self, number: int, log_ns: int, publish_ns: int, sequence: int, data: bytes) -> None:
        """Add a message; `flush` writes it."""
        self._entries.setdefault(number, []).append((log_ns, self._chunk_size))
        self._chunk += (_MESSAGE.pack(5, 22 + len(data), number, sequence & 0xFFFFFFFF, log_ns, publish_ns), data)
        self._chunk_size += _MESSAGE.size + len(data)
        if self._chunk_size >= CHUNK_BYTES:
            self.flush()

    def flush(self) -> None:
        """Write the chunk.

        Raises:
            OSError: The disk is full or broken; the file is as it was before the chunk, which is lost.
        """
        if not self._chunk:
            return
        chunk, entries, size = self._chunk, self._entries, self._chunk_size
        self._begin_chunk()
        crc = 0
        for piece in chunk:
            crc = zlib.crc32(piece, crc)
        times = [log_ns for pairs in entries.values() for log_ns, _ in pairs]
        start, end = min(times), max(times)
        head = _CHUNK.pack(6, _CHUNK.size - 9 + size, start, end, size, crc, 0, size)
        at = self._size + len(head) + size
        offsets, tail = {}, []
        for number, pairs in entries.items():
            offsets[number] = at
            index = _INDEX.pack(7, 6 + 16 * len(pairs), number, 16 * len(pairs))
            tail.append(index + b"".join(_ENTRY.pack(*pair) for pair in pairs))
            at += len(tail[-1])
        index = ChunkIndex(
            chunk_length=len(head) + size,
            chunk_start_offset=self._size,
            compression="",
            compressed_size=size,
            message_end_time=end,
            message_index_length=sum(map(len, tail)),
            message_index_offsets=offsets,
            message_start_time=start,
            uncompressed_size=size,
        )
        self._put([head, *chunk, *tail])
        self._indexes.append(index)
        for number, pairs in entries.items():
            self._counts[number] = self._counts.get(number, 0) + len(pairs)
        self._span = (start, end) if self._span is None else (min(start, self._span[0]), max(end, self._span[1]))

    def finish(self, metadata_text: str) -> None:
        """Write what is pending, the facts of the bag and the index, then close.

        Raises:
            OSError: The disk is full; the file has no index, and everything written before is in it.
        """
        self.flush()
        record = _record(Metadata(name="rosbag2", metadata={"serialized_metadata": metadata_text}))
        self._metadata.append(MetadataIndex(offset=self._size, length=len(record), name="rosbag2"))
        self._put([record, _record(DataEnd(0)), *self._summary(len(record) + 13)])
        os.fsync(self._descriptor)
        self.close()

    def close(self) -> None:
        """Close as it is."""
        if self._descriptor >= 0:
            os.close(self._descriptor)
            self._descriptor = -1

    def _summary(self, ahead: int) -> list[bytes]:
        """The summary section, the footer and the magic, `ahead` bytes after the file's present end."""
        start, end = self._span or (0, 0)
        statistics = Statistics(
            attachment_count=0,
            channel_count=len(self._channels),
            channel_message_counts=self._counts,
            chunk_count=len(self._indexes),
            message_count=sum(self._counts.values()),
            metadata_count=len(self._metadata),
            message_start_time=start,
            message_end_time=end,
            schema_count=len(self._schemas),
        )
        begin = at = self._size + ahead
        groups = (
            (Opcode.SCHEMA, [*self._schemas.values()]),
            (Opcode.CHANNEL, self._channels),
            (Opcode.STATISTICS, [statistics]),
            (Opcode.CHUNK_INDEX, self._indexes),
            (Opcode.METADATA_INDEX, self._metadata),
        )
        parts, offsets = [], []
        for opcode, records in groups:
            if records:
                group = b"".join(map(_record, records))
                offsets.append(_record(Offset(group_opcode=opcode, group_start=at, group_length=len(group))))
                parts.append(group)
                at += len(group)
        body = b"".join(parts + offsets)
        footer = _record(Footer(summary_start=begin, summary_offset_start=at, summary_crc=0))
        crc = zlib.crc32(footer[:-4], zlib.crc32(body))
        return [body, footer[:-4] + struct.pack("<I", crc), MAGIC]

    def _begin_chunk(self) -> None:
        self._chunk: list[bytes] = []
        self._chunk_size = 0
        self._entries: dict[int, list[tuple[int, int]]] = {}

    def _put(self, parts: list[bytes]) -> None:
        """Append all of it or nothing."""
        try:
            done = 0
            for at in range(0, len(parts), _MOST_BUFFERS):
                done += _write_all(self._descriptor, parts[at : at + _MOST_BUFFERS])
        except OSError:
            os.ftruncate(self._descriptor, self._size)
            os.lseek(self._descriptor, self._size, os.SEEK_SET)
            raise
        self._size += done


def _write_all(descriptor: int, parts: list[bytes]) -> int:
    """Bytes written: those of all parts."""
    total = sum(map(len, parts))
    done = os.writev(descriptor, parts)
    if done < total:  # a full disk, or a signal; the second try says which
        rest = memoryview(b"".join(parts))[done:]
        while rest:
            rest = rest[os.write(descriptor, rest) :]
    return total


def _record(record) -> bytes:
    builder = RecordBuilder()
    record.write(builder)
    return builder.end()
