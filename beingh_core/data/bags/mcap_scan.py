"""Finds the chunks of an MCAP file: from its index, or, where that is missing or wrong, record by record up to the cut."""

from __future__ import annotations

import os
import struct
from dataclasses import dataclass, field
from io import BytesIO
from typing import BinaryIO

from mcap.data_stream import ReadDataStream
from mcap.exceptions import McapError
from mcap.records import Channel, ChunkIndex, Metadata, Schema, Statistics

from beingh_core.errors import BeingHError

MAGIC = b"\x89MCAP0\r\n"
_HEAD = struct.Struct("<BQ")
_CHUNK_HEAD = struct.Struct("<QQQII")  # start, end, uncompressed size, crc, length of the compression's name
_FOOTER = struct.Struct("<QQI")
_LARGEST_RECORD = 4 << 30
_LOOSE_BYTES = 4 << 20
FOOTER, SCHEMA, CHANNEL, MESSAGE, CHUNK, CHUNK_INDEX = 2, 3, 4, 5, 6, 8
STATISTICS, METADATA, DATA_END = 0x0B, 0x0C, 0x0F


@dataclass(kw_only=True)
class ChunkPlace:
    """Where messages stand.

    Attributes:
        offset, size: Of the records, in the file [bytes].
        start_ns, end_ns: Log times of its messages; None when not known before it is read.
        compression: "" or its name.
        crc: Of the uncompressed records, 0 when not given.
        cut: Whether it ends in the middle.
    """

    offset: int
    size: int
    start_ns: int | None = None
    end_ns: int | None = None
    compression: str = ""
    crc: int = 0
    cut: bool = False


@dataclass(kw_only=True)
class Scan:
    """What an MCAP file holds.

    Attributes:
        chunks: In the order of the file.
        schemas, channels: By number.
        counts: Messages by channel; None when not known without reading the chunks.
        metadata: Texts of its metadata records.
        findings: What is wrong, for people.
        whole: Whether it has been finished.
    """

    chunks: list[ChunkPlace] = field(default_factory=list)
    schemas: dict[int, Schema] = field(default_factory=dict)
    channels: dict[int, Channel] = field(default_factory=dict)
    counts: dict[int, int] | None = None
    metadata: dict[str, dict[str, str]] = field(default_factory=dict)
    findings: list[str] = field(default_factory=list)
    whole: bool = True


def scan(file: BinaryIO) -> Scan:
    """Find what a file holds.

    Raises:
        BeingHError: It is no MCAP file.
    """
    size = os.fstat(file.fileno()).st_size
    start = os.pread(file.fileno(), 8, 0)
    if start != MAGIC:
        what = "is empty" if not size else "is no MCAP file, or its start is missing"
        raise BeingHError(what, where=file.name, remedy="copy or record it again")
    try:
        found = _from_index(file, size)
    except (McapError, struct.error, ValueError, KeyError, UnicodeDecodeError, EOFError):
        found = None
    return found or _record_by_record(file, size)


def _from_index(file: BinaryIO, size: int) -> Scan | None:
    """From the summary; None where there is none, or where it does not say everything."""
    end = os.pread(file.fileno(), 37, max(0, size - 37))
    if len(end) < 37 or end[-8:] != MAGIC or end[0] != FOOTER:
        return None
    begin, _, _ = _FOOTER.unpack(end[9:29])
    if not 8 < begin <= size - 37:
        return None
    result, indexes, statistics = Scan(), [], None
    for opcode, body in _records(os.pread(file.fileno(), size - 37 - begin, begin)):
        if opcode == CHUNK_INDEX:
            indexes.append(ChunkIndex.read(_stream(body)))
        elif opcode == STATISTICS:
            statistics = Statistics.read(_stream(body))
        else:
            take_description(result, opcode, body)
    if statistics is None or len(indexes) != statistics.chunk_count or not (indexes or not statistics.message_count):
        return None
    if set(statistics.channel_message_counts) - set(result.channels):
        return None
    if any(channel.schema_id and channel.schema_id not in result.schemas for channel in result.channels.values()):
        return None
    for index in indexes:
        head = 9 + _CHUNK_HEAD.size + len(index.compression.encode()) + 8
        crc = os.pread(file.fileno(), 4, index.chunk_start_offset + 9 + 24)
        if index.chunk_start_offset + index.chunk_length > size or len(crc) < 4:
            return None
        result.chunks.append(
            ChunkPlace(
                offset=index.chunk_start_offset + head,
                size=index.compressed_size,
                start_ns=index.message_start_time,
                end_ns=index.message_end_time,
                compression=index.compression,
                crc=struct.unpack("<I", crc)[0],
            )
        )
    result.chunks.sort(key=lambda chunk: chunk.offset)
    result.counts = dict(statistics.channel_message_counts)
    return result


def _record_by_record(file: BinaryIO, size: int) -> Scan:
    result, at, loose = Scan(whole=False), 8, None
    descriptor, ended = file.fileno(), False
    while at + 9 <= size:
        opcode, length = _HEAD.unpack(os.pread(descriptor, 9, at))
        if opcode == 0 or length > _LARGEST_RECORD or (opcode in (DATA_END, FOOTER) and length > 64):
            result.findings.append(f"from byte {at} on there is nothing that can be read")
            break
        body, after = at + 9, at + 9 + length
        if opcode == MESSAGE:
            # Messages outside of chunks are read in runs, as if each run were a chunk.
            if loose is None or at - loose.offset > _LOOSE_BYTES:
                loose = ChunkPlace(offset=at, size=0)
                result.chunks.append(loose)
            loose.size, loose.cut = min(after, size) - loose.offset, after > size
        else:
            loose = None
        if opcode == CHUNK:
            place = _chunk_at(descriptor, body, min(after, size))
            if place is not None:
                place.cut = after > size
                result.chunks.append(place)
        elif opcode == DATA_END and after <= size:
            ended = True
            break
        elif opcode in (SCHEMA, CHANNEL, METADATA) and after <= size:
            take_description(result, opcode, os.pread(descriptor, length, body))
        if after > size:
            break
        at = after
    if ended:
        result.findings.append("it has no index that can be used; it was read record by record")
    else:
        result.findings.append(f"it is cut off: its end is missing, after {size} bytes")
    result.whole = ended
    return result


def _chunk_at(descriptor: int, body: int, end: int) -> ChunkPlace | None:
    """A chunk whose record begins at `body`; None when not even its head is there."""
    head = os.pread(descriptor, _CHUNK_HEAD.size, body)
    if len(head) < _CHUNK_HEAD.size:
        return None
    start_ns, end_ns, _, crc, name_length = _CHUNK_HEAD.unpack(head)
    offset = body + _CHUNK_HEAD.size + name_length + 8
    if name_length > 32 or offset >= end:
        return None
    compression = os.pread(descriptor, name_length, body + _CHUNK_HEAD.size).decode("ascii", "replace")
    return ChunkPlace(
        offset=offset, size=end - offset, start_ns=start_ns, end_ns=end_ns, compression=compression, crc=crc
    )


def take_description(result: Scan, opcode: int, body: bytes) -> None:
    """Keep what a schema, channel or metadata record says."""
    try:
        if opcode == SCHEMA:
            schema = Schema.read(_stream(body))
            result.schemas.setdefault(schema.id, schema)
        elif opcode == CHANNEL:
            channel = Channel.read(_stream(body))
            result.channels.setdefault(channel.id, channel)
        elif opcode == METADATA:
            metadata = Metadata.read(_stream(body))
            result.metadata[metadata.name] = metadata.metadata
    except (McapError, struct.error, ValueError, UnicodeDecodeError):
        result.findings.append("a description of a topic cannot be read")


def _records(data: bytes):
    """(opcode, body) of records in memory, up to the first that is cut."""
    at = 0
    while at + 9 <= len(data):
        opcode, length = _HEAD.unpack_from(data, at)
        if at + 9 + length > len(data):
            return
        yield opcode, data[at + 9 : at + 9 + length]
        at += 9 + length


def _stream(body: bytes) -> ReadDataStream:
    return ReadDataStream(BytesIO(body))
