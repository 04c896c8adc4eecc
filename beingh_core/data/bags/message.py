"""A message as a bag holds it, and the time in its header."""

from __future__ import annotations

import struct
from typing import NamedTuple

_TIME = {0: struct.Struct(">iI"), 1: struct.Struct("<iI")}
_LENGTH = {0: struct.Struct(">I"), 1: struct.Struct("<I")}


class RawMessage(NamedTuple):
    """One message.

    Attributes:
        topic: Full name.
        log_ns: When it was recorded [ns].
        publish_ns: When it was published [ns]; the log time where the bag does not say.
        sequence: Its number among those of its publisher, 0 where the bag does not say.
        data: The message, serialised.
    """

    topic: str
    log_ns: int
    publish_ns: int
    sequence: int
    data: bytes


def header_of(data: bytes) -> tuple[int, str]:
    """(stamp [ns], frame_id) of a serialised message that begins with a std_msgs/Header; (0, "") when it is too short.

    Four bytes say how the rest is encoded (the second one: 1 for little-endian), then come seconds, nanoseconds and the
    text with its length, each on a multiple of four bytes (OMG DDS-XTypes 7.4.1, plain CDR).
    """
    if len(data) < 16:
        return 0, ""
    order = data[1] & 1
    seconds, nanoseconds = _TIME[order].unpack_from(data, 4)
    (length,) = _LENGTH[order].unpack_from(data, 12)
    text = bytes(data[16 : 16 + max(0, length - 1)]) if length <= len(data) - 16 else b""
    return seconds * 1_000_000_000 + nanoseconds, text.decode("utf-8", "replace")


def text_of(data: bytes) -> str:
    """The text of a serialised std_msgs/String; "" when it is too short."""
    if len(data) < 8:
        return ""
    (length,) = _LENGTH[data[1] & 1].unpack_from(data, 4)
    return bytes(data[8 : 8 + max(0, length - 1)]).decode("utf-8", "replace") if length <= len(data) - 8 else ""


def text_data(text: str) -> bytes:
    """A std_msgs/String, serialised."""
    return b"\0\1\0\0" + _packed_text(text)


def header_data(stamp_ns: int, frame_id: str) -> bytes:
    """A std_msgs/Header, serialised."""
    return b"\0\1\0\0" + _TIME[1].pack(stamp_ns // 10**9, stamp_ns % 10**9) + _packed_text(frame_id)


def _packed_text(text: str) -> bytes:
    data = text.encode() + b"\0"
    return _LENGTH[1].pack(len(data)) + data


def restamped(data: bytes, stamp_ns: int) -> bytes:
    """A serialised message that begins with a std_msgs/Header, with another time in it."""
    return data[:4] + _TIME[data[1] & 1].pack(stamp_ns // 10**9, stamp_ns % 10**9) + data[12:]
