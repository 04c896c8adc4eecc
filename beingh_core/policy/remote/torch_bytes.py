"""Plain data in the bytes that `torch.save` writes, read without executing what they say.

`torch.load(weights_only=True)` alone is not enough for bytes from a stranger: the names that it allows by default can
allocate any amount of memory, and sizes of tensors are not compared with the file. So, before it sees them,

1. the archive is unpacked by its directory, which may list only a few stored, never compressed, records;
2. the pickle's instructions are listed, not run: their kinds and number are limited, tensors are refused, and every
   name must be one that numpy's arrays need. Each of these is replaced by a function of this module, so that neither
   numpy nor torch builds anything from the sender's numbers;
3. what remains is packed anew and read with `weights_only=True`; the result may hold texts, numbers, lists, dicts
   and arrays.
"""

from __future__ import annotations

import io
import math
import pickletools
import re
import zipfile
from collections.abc import Mapping

import numpy as np
import torch

from beingh_core.errors import shown
from beingh_core.policy.remote.headers import MAX_MESSAGE_BYTES, ProtocolError

MAX_RECORDS, MAX_INSTRUCTIONS, MAX_DEPTH, MAX_DIMS = 32, 5000, 4, 5
INSTRUCTIONS = frozenset(
    "PROTO STOP MARK EMPTY_DICT EMPTY_LIST EMPTY_TUPLE TUPLE TUPLE1 TUPLE2 TUPLE3 APPEND APPENDS SETITEM SETITEMS NONE "
    "NEWTRUE NEWFALSE BININT BININT1 BININT2 LONG1 BINFLOAT BINUNICODE BINPUT LONG_BINPUT BINGET LONG_BINGET GLOBAL "
    "REDUCE BUILD".split()
)
DTYPES = ("b1", "u1", "u2", "u4", "u8", "i1", "i2", "i4", "i8", "f2", "f4", "f8")


def write(value: Mapping) -> bytes:
    """What `torch.save` makes of a value."""
    stream = io.BytesIO()
    torch.save(value, stream)
    return stream.getvalue()


def read(data) -> dict:
    """The dictionary in the bytes of `torch.save`; its arrays own their memory.

    Args:
        data: bytes-like.

    Raises:
        ProtocolError: anything else, or more than the limits allow.
    """
    if len(data) > MAX_MESSAGE_BYTES:
        raise ProtocolError(f"{len(data)} bytes are no message; allowed: {MAX_MESSAGE_BYTES}")
    builder = _Builder()
    try:
        archive = _packed(_renamed(_pickle_of(bytes(data))))
        with torch.serialization.safe_globals(builder.globals):
            value = torch.load(archive, map_location="cpu", weights_only=True)
        value = builder.plain(value, MAX_DEPTH)
    except ProtocolError:
        raise
    except Exception as error:  # readers of foreign bytes fail in many ways
        raise ProtocolError(f"no dictionary written by torch.save: {type(error).__name__}") from None
    if not isinstance(value, dict):
        raise ProtocolError("no dictionary")
    return value


def _pickle_of(data: bytes) -> bytes:
    """The pickle in an archive; nothing is decompressed."""
    if data[:4] != b"PK\x03\x04" or data.count(b"PK\x01\x02") > MAX_RECORDS:
        raise ProtocolError(f"no archive of torch.save with at most {MAX_RECORDS} records")
    with zipfile.ZipFile(io.BytesIO(data)) as archive:
        records = archive.infolist()
        if any(r.compress_type != zipfile.ZIP_STORED or r.file_size > len(data) for r in records):
            raise ProtocolError("an archive with compressed records")
        pickles = [record for record in records if record.filename.split("/", 1)[-1] == "data.pkl"]
        if len(pickles) != 1:
            raise ProtocolError("no archive of torch.save")
        return archive.read(pickles[0])


def _renamed(pickle: bytes) -> bytes:
    """The pickle with our names in place of numpy's, once each of its instructions was found harmless."""
    pieces, start, global_at = [], 0, None
    for number, (instruction, argument, at) in enumerate(pickletools.genops(pickle)):
        if global_at is not None:
            start, global_at = at, None
        if number >= MAX_INSTRUCTIONS:
            raise ProtocolError(f"more than {MAX_INSTRUCTIONS} instructions")
        if instruction.name not in INSTRUCTIONS:
            raise ProtocolError(f"the instruction {instruction.name} is not allowed: only plain data and arrays are")
        if instruction.name == "PROTO" and argument != 2:
            raise ProtocolError(f"pickle protocol {argument}; allowed: 2, torch.save's default")
        if instruction.name == "GLOBAL":
            ours = _NAMES.get(argument)
            if ours is None:
                raise ProtocolError(f"the name {shown(argument)} is not allowed: only numpy's arrays are")
            pieces += [pickle[start:at], f"cbeingh\n{ours}\n".encode()]
            global_at = at
        if instruction.name == "STOP":
            pieces.append(pickle[start : at + 1])
    return b"".join(pieces)


def _packed(pickle: bytes) -> io.BytesIO:
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w") as archive:
        for name, content in (("data.pkl", pickle), ("byteorder", b"little"), ("version", b"3\n")):
            archive.writestr(f"archive/{name}", content)
    stream.seek(0)
    return stream


class _Dtype:
    """Stands in for `numpy.dtype`."""

    def __init__(self, name: str) -> None:
        self.value = np.dtype("?" if name == "b1" else name).newbyteorder("<")

    def __setstate__(self, state: tuple) -> None:
        if state[1] not in ("|", "<", "="):
            raise ProtocolError("an array of big-endian numbers")


class _Array:
    """Stands in for `numpy.ndarray`."""

    value: np.ndarray | None = None

    def __init__(self, builder: _Builder) -> None:
        self._builder = builder

    def __setstate__(self, state: tuple) -> None:
        _, shape, dtype, is_fortran, data = state
        if type(dtype) is not _Dtype or type(data) is not bytes or type(shape) is not tuple:
            raise ProtocolError("an array without shape, type or numbers")
        if len(shape) > MAX_DIMS or not all(type(n) is int and 0 <= n <= MAX_MESSAGE_BYTES for n in shape):
            raise ProtocolError(f"an array of shape {shown(shape)}")
        if math.prod(shape) * dtype.value.itemsize != len(data):
            raise ProtocolError(f"an array of shape {shape} in {len(data)} bytes")
        self._builder.spend(len(data))
        if dtype.value.kind == "U":
            _check_texts(shape, np.frombuffer(data, "<u4"))
        array = np.frombuffer(data, dtype.value).reshape(shape, order="F" if is_fortran else "C")
        self.value = array.astype(dtype.value.newbyteorder("="))


def _check_texts(shape: tuple[int, ...], characters: np.ndarray) -> None:
    if math.prod(shape) > MAX_INSTRUCTIONS:
        raise ProtocolError(f"an array of more than {MAX_INSTRUCTIONS} texts")
    if np.any((characters > 0x10FFFF) | ((characters >= 0xD800) & (characters < 0xE000))):
        raise ProtocolError("an array of texts with numbers that are no characters")


class _Builder:
    """What the names in a message stand for; one for each message.

    Attributes:
        globals: For `torch.serialization.safe_globals`.
    """

    def __init__(self) -> None:
        self._bytes_left = 2 * MAX_MESSAGE_BYTES  # once as bytes, once as an array
        self._items_left = MAX_INSTRUCTIONS
        functions = {
            "array": self._array,
            "Array": _Array,
            "dtype": self._dtype,
            "Dtype": _Dtype,
            "scalar": self._scalar,
            "encode": self._encode,
        }
        self.globals = [(function, f"beingh.{name}") for name, function in functions.items()]

    def spend(self, size: int) -> None:
        """Counts bytes that a message takes up when it is read; one text or bytes can be named many times.

        Raises:
            ProtocolError: more than a message can hold.
        """
        self._bytes_left -= size
        if self._bytes_left < 0:
            raise ProtocolError(f"arrays of more than {MAX_MESSAGE_BYTES} bytes")

    def plain(self, value, depth: int):
        """The value with arrays in place of their stand-ins; one list can stand in many places, so all are counted."""
        self._items_left -= 1
        if self._items_left < 0:
            raise ProtocolError(f"more than {MAX_INSTRUCTIONS} items")
        if type(value) is int and value.bit_length() > 64:
            raise ProtocolError("an integer of more than 64 bits")
        if isinstance(value, str):
            self.spend(len(value))
            value.encode()  # fails for half a character
        if value is None or isinstance(value, (bool, int, float, str)):
            return value
        if isinstance(value, _Array) and value.value is not None:
            return value.value
        if depth and isinstance(value, (list, tuple)):
            return [self.plain(item, depth - 1) for item in value]
        if depth and isinstance(value, dict) and all(isinstance(key, str) for key in value):
            return {self.plain(key, 0): self.plain(item, depth - 1) for key, item in value.items()}
        raise ProtocolError("something else than texts, numbers, arrays, and lists and dictionaries of a few levels")

    def _array(self, kind, shape, code) -> _Array:
        """numpy makes an empty array, whose state follows."""
        if kind is not _Array:
            raise ProtocolError("an array of another kind")
        return _Array(self)

    @staticmethod
    def _dtype(name, align=False, copy=True) -> _Dtype:
        if not isinstance(name, str) or not (name in DTYPES or re.fullmatch(r"U[1-9]\d{0,3}", name)):
            raise ProtocolError(f"an array of type {name!r:.40}; allowed: {', '.join(DTYPES)} and texts")
        return _Dtype(name)

    @staticmethod
    def _scalar(dtype, data):
        if type(dtype) is not _Dtype or type(data) is not bytes or len(data) != dtype.value.itemsize:
            raise ProtocolError("a number without a type")
        return np.frombuffer(data, dtype.value)[0].item()

    def _encode(self, text, encoding) -> bytes:
        """Protocol 2 writes bytes as text."""
        if type(text) is not str or encoding != "latin1":
            raise ProtocolError("bytes in another encoding than latin1")
        self.spend(len(text))
        return text.encode("latin1")


_NAMES = {
    "numpy._core.multiarray _reconstruct": "array",
    "numpy.core.multiarray _reconstruct": "array",
    "numpy._core.multiarray scalar": "scalar",
    "numpy.core.multiarray scalar": "scalar",
    "numpy ndarray": "Array",
    "numpy dtype": "dtype",
    "_codecs encode": "encode",
}
