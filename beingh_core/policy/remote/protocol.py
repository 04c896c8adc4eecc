"""The messages between `RemotePolicy` and `PolicyServer`: one ZeroMQ frame each, never a pickle.

    bytes       meaning
    4           b"BHRP"
    4           N, length of the header, little endian
    N           header: a msgpack map, at most `MAX_HEADER_BYTES`
    the rest    body: the arrays' bytes, one after the other

Header of a request: `version`, `id`, `type` (hello, act, ping), `token`, `deadline_ms`, `fields`, `arrays`.
Header of a reply: `version`, `id`, `ok`, `fields`, `arrays`; when `ok` is false the fields are `code`, `what`, `where`,
`allowed` and `remedy`. Each entry of `arrays` is a map of `name`, `dtype` (see `DTYPES`), `shape`, `codec` (raw: C
order, little endian; jpeg: one RGB picture) and `bytes`, its length in the body. Sizes are checked before anything of
that size is parsed or allocated. `headers` declares what each may hold.
"""

from __future__ import annotations

import io
import math
import struct
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import get_args

import msgpack
import numpy as np
from PIL import Image

from beingh_core.errors import BeingHError
from beingh_core.policy.observations import IMAGE_PREFIX
from beingh_core.policy.pictures import check_jpeg
from beingh_core.policy.remote.headers import MAX_MESSAGE_BYTES, Array, Arrays, Codec, Dtype, ProtocolError, read

VERSION = 1
MAGIC = b"BHRP"
MAX_HEADER_BYTES = 64 << 10
DTYPES = {name: np.dtype(name).newbyteorder("<") for name in get_args(Dtype)}
CODECS = get_args(Codec)
_PREFIX = struct.Struct("<4sI")


def pack(header: Mapping, arrays: Mapping[str, np.ndarray] | None = None, *, jpeg_quality: int = 0) -> bytes:
    """One message.

    Args:
        header: everything but `version` and `arrays`.
        arrays: by name; of a type in `DTYPES`.
        jpeg_quality: 1 to 100 sends `video.*` pictures as JPEG, which loses some detail; 0 sends pixels.

    Raises:
        ProtocolError: a type that cannot be sent, or more than the limits allow.
    """
    entries, chunks = [], []
    for name, array in (arrays or {}).items():
        array = np.asarray(array)
        if array.dtype.name not in DTYPES:
            raise ProtocolError(f"array `{name}` is {array.dtype}; allowed: {', '.join(DTYPES)}")
        if jpeg_quality and name.startswith(IMAGE_PREFIX) and _is_picture(array.dtype.name, array.shape):
            codec, data = "jpeg", _to_jpeg(array, jpeg_quality)
        else:
            codec, data = "raw", array.astype(DTYPES[array.dtype.name], copy=False).tobytes()
        chunks.append(data)
        entries.append(
            {"name": name, "dtype": array.dtype.name, "shape": list(array.shape), "codec": codec, "bytes": len(data)}
        )
    try:
        head = msgpack.packb({"version": VERSION, **header, "arrays": entries})
    except (TypeError, ValueError, OverflowError) as error:
        raise ProtocolError(f"a value cannot be sent: {error}") from None
    message = b"".join([_PREFIX.pack(MAGIC, len(head)), head, *chunks])
    if len(head) > MAX_HEADER_BYTES or len(message) > MAX_MESSAGE_BYTES:
        raise ProtocolError(
            f"a message of {len(message)} bytes with a header of {len(head)} is too long; "
            f"allowed: {MAX_MESSAGE_BYTES} and {MAX_HEADER_BYTES}"
        )
    return message


def unpack_header(message) -> tuple[dict, memoryview]:
    """(header, body) of a message; the arrays in the body are neither read nor checked yet.

    Args:
        message: bytes-like.

    Raises:
        ProtocolError: not a message, too long, or a header of another shape.
    """
    view = memoryview(message).cast("B")
    if not _PREFIX.size <= len(view) <= MAX_MESSAGE_BYTES:
        raise ProtocolError(f"{len(view)} bytes are no message")
    magic, size = _PREFIX.unpack_from(view)
    if magic != MAGIC:
        raise ProtocolError("the message does not begin with BHRP")
    if size > min(MAX_HEADER_BYTES, len(view) - _PREFIX.size):
        raise ProtocolError(f"a header of {size} bytes is declared; allowed: {MAX_HEADER_BYTES} and what was sent")
    try:
        header = msgpack.unpackb(
            view[_PREFIX.size : _PREFIX.size + size], raw=False, strict_map_key=True, max_ext_len=0
        )
    except Exception as error:  # msgpack raises ValueError, its own kinds, UnicodeDecodeError, RecursionError
        raise ProtocolError(f"the header is no msgpack map: {type(error).__name__}") from None
    if not isinstance(header, dict) or not all(isinstance(key, str) for key in header):
        raise ProtocolError("the header is no map with names as keys")
    return header, view[_PREFIX.size + size :]


def check_arrays(header: Mapping, body: memoryview, codecs: Sequence[str] = CODECS) -> list[Array]:
    """What a header says of the arrays in the body, once it fits.

    Args:
        header, body: of `unpack_header`.
        codecs: which are allowed.

    Raises:
        ProtocolError: a name, type, shape or size that is not allowed or does not fit the body.
    """
    entries = read(Arrays, header).arrays
    unpacked = 0
    for entry in entries:
        size = math.prod(entry.shape) * DTYPES[entry.dtype].itemsize
        if entry.codec not in codecs:
            raise ProtocolError(f"`{entry.name}`: {entry.codec} is refused; allowed codecs: {', '.join(codecs)}")
        if entry.codec == "raw" and size != entry.size:
            raise ProtocolError(f"`{entry.name}`: shape {entry.shape} of {entry.dtype} is not {entry.size} bytes")
        if entry.codec == "jpeg" and not _is_picture(entry.dtype, entry.shape):
            raise ProtocolError(f"`{entry.name}`: a JPEG is uint8 (height, width, 3) or (1, height, width, 3)")
        unpacked += size
    if len({entry.name for entry in entries}) != len(entries):
        raise ProtocolError("two arrays have one name")
    if sum(entry.size for entry in entries) != len(body):
        raise ProtocolError(f"the arrays declare other sizes than the {len(body)} bytes of the body")
    if unpacked > MAX_MESSAGE_BYTES:
        raise ProtocolError(f"the arrays unpack to {unpacked} bytes; allowed: {MAX_MESSAGE_BYTES}")
    return entries


def read_arrays(entries: Sequence[Array], body: memoryview) -> dict[str, np.ndarray]:
    """The arrays that `check_arrays` allowed, by name; they own their memory.

    Raises:
        ProtocolError: a JPEG that cannot be decoded.
    """
    arrays, offset = {}, 0
    for entry in entries:
        data = body[offset : offset + entry.size]
        offset += entry.size
        if entry.codec == "jpeg":
            arrays[entry.name] = _from_jpeg(data, entry.shape)
        else:
            dtype = DTYPES[entry.dtype]
            array = np.frombuffer(data, dtype=dtype).reshape(entry.shape)
            arrays[entry.name] = array.astype(dtype.newbyteorder("="))
    return arrays


def unpack_arrays(header: Mapping, body: memoryview, codecs: Sequence[str] = CODECS) -> dict[str, np.ndarray]:
    """The arrays of a message, by name; see `check_arrays` and `read_arrays`."""
    return read_arrays(check_arrays(header, body, codecs), body)


def read_token(path: str | Path) -> str:
    """The token in a file, without surrounding white space.

    Raises:
        BeingHError: no such file, or nothing in it.
    """
    try:
        token = Path(path).read_text().strip()
    except (OSError, UnicodeDecodeError) as error:
        raise BeingHError(f"the token cannot be read: {error}", where=path) from None
    if not token:
        raise BeingHError("the token file is empty", where=path, remedy="put one line of random text into it")
    return token


def _is_picture(dtype: str, shape) -> bool:
    shape = tuple(shape)
    return dtype == "uint8" and shape[-1:] == (3,) and 0 not in shape and (len(shape) == 3 or shape[:-3] == (1,))


def _to_jpeg(array: np.ndarray, quality: int) -> bytes:
    stream = io.BytesIO()
    Image.fromarray(array.reshape(array.shape[-3:])).save(
        stream, "JPEG", quality=quality, subsampling=0
    )  # colours whole
    return stream.getvalue()


def _from_jpeg(data: memoryview, shape: Sequence[int]) -> np.ndarray:
    """The picture; its size is compared with the declared one before it is decoded."""
    try:
        check_jpeg(bytes(data))
        with Image.open(io.BytesIO(data), formats=["JPEG"]) as picture:
            if (picture.height, picture.width) != tuple(shape[-3:-1]) or picture.mode != "RGB":
                raise ProtocolError(f"a JPEG of {picture.mode} {picture.size} is declared as {shape}")
            return np.array(picture).reshape(shape)
    except ProtocolError:
        raise
    except BeingHError as error:
        raise ProtocolError(str(error)) from None
    except Exception as error:  # a decoder of foreign bytes fails in many ways
        raise ProtocolError(f"a JPEG cannot be decoded: {type(error).__name__}") from None
