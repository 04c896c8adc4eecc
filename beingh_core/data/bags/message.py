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
    if len(data) < 16 or data[1] & 1 not in _TIME:
        return 0, ""
    order = data[1] & 1
    seconds, nanoseconds = _TIME[order].unpack_from(data, 4)
    (length,) = _LENGTH[order].unpack_from(data, 12)
    text = bytes(data[16 : 16 + max(0, length - 1)]) if length <= len(data) - 16 else b""
    return seconds * 1_000_000_000 + nanoseconds, text.decode("utf-8", "replace")
