"""rosbag2's own compression: zstd, of each message or of the whole file."""

from __future__ import annotations

import shutil
from pathlib import Path

from beingh_core.errors import BeingHError


def unpacked(data: bytes) -> bytes:
    """A compressed message.

    Raises:
        BeingHError: It is damaged.
    """
    zstd = _zstd()
    try:
        return zstd.decompress(data)
    except zstd.ZstdError as error:
        raise BeingHError(f"a message cannot be decompressed: {error}") from None


def unpack_file(path: Path, target: Path) -> Path:
    """Decompress a file; of one that is cut, what it still gives."""
    zstd = _zstd()
    with open(target, "wb") as out:
        try:
            with zstd.open(path, "rb") as file:
                shutil.copyfileobj(file, out)
        except (zstd.ZstdError, EOFError):
            if not out.tell():
                raise BeingHError("cannot be decompressed", where=path, remedy="copy it again") from None
    return target


def _zstd():
    try:
        from compression import zstd  # Python 3.14
    except ImportError:
        try:
            from backports import zstd
        except ImportError:
            raise BeingHError("this bag is compressed with zstd", remedy="pip install backports.zstd") from None
    return zstd
