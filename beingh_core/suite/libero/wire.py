"""Messages between this package and a process of another Python: JSON and raw arrays behind their lengths, never pickle.

    4 bytes     length of the header, little-endian
    header      JSON: {"body": any, "arrays": [[name, dtype, shape], ...]}
    arrays      their bytes one after another, C order, little-endian

The other Python runs this file too, so it imports numpy and the standard library only and keeps to Python 3.8.
"""

from __future__ import annotations

import json
import math
import struct

import numpy as np

MAX_HEADER = 1 << 24  # bytes
MAX_ARRAYS = 1 << 31  # bytes of all arrays of a message
DTYPES = ("|u1", "<f4", "<f8", "<i4", "<i8", "|b1")


class Malformed(ValueError):
    """Bytes that are no message."""


def pack(body, arrays=None):
    """A message: `body` is what JSON can hold, `arrays` name -> numpy array of one of `DTYPES`."""
    listed, parts = [], []
    for name, array in (arrays or {}).items():
        array = np.ascontiguousarray(array)
        if array.dtype.str not in DTYPES:
            raise Malformed(f"array {name!r} has type {array.dtype.str}")
        listed.append([name, array.dtype.str, list(array.shape)])
        parts.append(array.tobytes())
    header = json.dumps({"body": body, "arrays": listed}).encode()
    if len(header) > MAX_HEADER:
        raise Malformed(f"a header of {len(header)} bytes")
    return b"".join([struct.pack("<I", len(header)), header] + parts)


def unpack(read):
    """(body, arrays) of the next message.

    Args:
        read: gives exactly so many bytes, or raises.

    Raises:
        Malformed: no such message, or a larger one than allowed.
    """
    (length,) = struct.unpack("<I", read(4))
    if length > MAX_HEADER:
        raise Malformed(f"a header of {length} bytes")
    try:
        header = json.loads(read(length).decode())
        body, listed = header["body"], header["arrays"]
        shapes = [(str(name), dtype, _shape(shape)) for name, dtype, shape in listed]
    except (ValueError, KeyError, TypeError, RecursionError) as error:
        raise Malformed(f"no header ({type(error).__name__})") from None
    arrays, total = {}, 0
    for name, dtype, shape in shapes:
        if dtype not in DTYPES:
            raise Malformed(f"array {name!r} has type {dtype!r}")
        size = math.prod(shape) * np.dtype(dtype).itemsize
        total += size
        if total > MAX_ARRAYS:
            raise Malformed(f"arrays of more than {MAX_ARRAYS} bytes")
        arrays[name] = np.frombuffer(bytearray(read(size)), dtype).reshape(shape)
    return body, arrays


def _shape(shape):
    if not isinstance(shape, list) or len(shape) > 5:
        raise ValueError(shape)
    for side in shape:
        if type(side) is not int or side < 0:
            raise ValueError(side)
    return tuple(shape)
