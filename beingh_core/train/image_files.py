"""Picture files of conversations, of whatever kind and size, as the model takes them."""

from __future__ import annotations

import warnings
from pathlib import Path

import numpy as np
from PIL import Image, ImageOps

from beingh_core.errors import BeingHError

FORMATS = ("JPEG", "PNG", "WEBP", "BMP", "GIF", "TIFF")
MOST_PIXELS = 1 << 27  # 400 MB once it is decoded
_WIDE = ("I;16", "I;16L", "I;16B", "I;16N", "I")
_WHITE = (255, 255, 255, 255)


def read_square(path: Path, size: int) -> np.ndarray:
    """(S, S, 3) uint8: the whole picture, upright, its sides brought to S each, without a cut.

    What is transparent becomes white, 16 bits become 8, and of a moving picture the first one is shown.

    Args:
        path: File.
        size: S [pixels].

    Raises:
        BeingHError: Not there, no picture that can be read, or too large.
    """
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of large pictures and odd metadata
            with Image.open(path, formats=FORMATS) as picture:
                return _square(picture, size)
    except BeingHError:
        raise
    except FileNotFoundError:
        raise BeingHError("its picture is not there", where=path) from None
    except Image.DecompressionBombError:
        raise _too_large(path) from None
    except Exception:  # a decoder of foreign bytes fails in many ways
        raise BeingHError("its picture cannot be read", where=path) from None


def _square(picture: Image.Image, size: int) -> np.ndarray:
    if picture.width * picture.height > MOST_PIXELS:
        raise _too_large(picture.filename)
    picture.draft("RGB", (2 * size, 2 * size))  # a JPEG is decoded at a fraction of its size, if that is enough
    picture = _coloured(ImageOps.exif_transpose(picture))
    return np.asarray(picture.resize((size, size), Image.Resampling.BICUBIC))


def _coloured(picture: Image.Image) -> Image.Image:
    """Red, green and blue of 8 bits."""
    if picture.mode == "F":
        raise BeingHError("its picture has floating-point numbers")
    if picture.mode in _WIDE:
        values = np.asarray(picture).astype(np.int64).clip(0, 65535)
        return Image.fromarray(((values + 128) // 257).astype(np.uint8)).convert("RGB")
    if picture.mode in ("RGBA", "LA", "PA", "La", "RGBa") or "transparency" in picture.info:
        picture = picture.convert("RGBA")
        return Image.alpha_composite(Image.new("RGBA", picture.size, _WHITE), picture).convert("RGB")
    return picture.convert("RGB")


def _too_large(path: object) -> BeingHError:
    return BeingHError(f"its picture has more than {MOST_PIXELS} pixels", where=path)
