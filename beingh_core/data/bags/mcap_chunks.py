"""The messages of one chunk of an MCAP file, as many as are whole."""

from __future__ import annotations

import os
import struct
import zlib
from collections.abc import Iterator

from beingh_core.data.bags.mcap_scan import CHANNEL, MESSAGE, SCHEMA, ChunkPlace, Scan, take_description
from beingh_core.errors import BeingHError

_HEAD = struct.Struct("<BQ")
_MESSAGE = struct.Struct("<HIQQ")
Found = tuple[int, int, int, int, bytes]


def chunk_messages(descriptor: int, place: ChunkPlace, scan: Scan) -> Iterator[Found]:
    """(channel, sequence, log time [ns], publish time [ns], data) in the order of the file.

    Args:
        descriptor: Of the file.
        place: The chunk.
        scan: Gets the schemas and channels that stand in it.

    Raises:
        BeingHError: Its checksum is wrong, or it cannot be decompressed.
    """
    raw = os.pread(descriptor, place.size, place.offset)
    while len(raw) < place.size:  # one call reads 2 GiB at most
        more = os.pread(descriptor, place.size - len(raw), place.offset + len(raw))
        if not more:
            break
        raw += more
    data = _decompressed(raw, place)
    if place.crc and not place.cut and zlib.crc32(data) != place.crc:
        raise BeingHError("its checksum is wrong")
    at, size = 0, len(data)
    while at + 9 <= size:
        opcode, length = _HEAD.unpack_from(data, at)
        at += 9
        if at + length > size:
            return
        if opcode == MESSAGE and length >= _MESSAGE.size:
            channel, sequence, log_ns, publish_ns = _MESSAGE.unpack_from(data, at)
            yield channel, sequence, log_ns, publish_ns, data[at + _MESSAGE.size : at + length]
        elif opcode in (SCHEMA, CHANNEL):
            take_description(scan, opcode, data[at : at + length])
        at += length


def _decompressed(raw: bytes, place: ChunkPlace) -> bytes:
    """The records; of a cut chunk those that can be had."""
    if not place.compression:
        return raw
    if place.compression not in ("zstd", "lz4"):
        raise BeingHError(f"its compression `{place.compression}` is not known", allowed=("zstd", "lz4"))
    try:
        return unzstd(raw) if place.compression == "zstd" else _unlz4(raw)
    except ImportError as error:
        raise BeingHError(
            f"it is compressed with {place.compression}: {error}", remedy=f"pip install {place.compression}"
        ) from None
    except Exception as error:  # noqa: BLE001 - each library has its own
        raise BeingHError(f"it cannot be decompressed: {error}") from None


def unzstd(raw: bytes) -> bytes:
    """Everything that a cut frame still gives."""
    try:
        from compression import zstd
    except ImportError:
        from backports import zstd
    return zstd.ZstdDecompressor().decompress(raw)


def _unlz4(raw: bytes) -> bytes:
    import lz4.frame

    return lz4.frame.LZ4FrameDecompressor().decompress(raw)
