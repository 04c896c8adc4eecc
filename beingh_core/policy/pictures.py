"""Camera pictures before the vision tower: which are taken, and the size they are brought to. No torch here.

A robot's computer without a model shrinks its pictures with the same code as the policy does, to the same pixels.
"""

from __future__ import annotations

import re
from itertools import islice

import numpy as np
from PIL import Image

from beingh_core.errors import BeingHError, shown

# What `resize_crop` does, as client and server of a policy name it to each other.
TRANSFORM = "short side bicubic, centre"
MIN_SIDE, MAX_SIDE, MAX_PIXELS = 8, 8192, 1 << 25
# A decoder takes its time for each; segments stand before the pixels, and as many may stand among them.
MAX_JPEG_SEGMENTS, MAX_JPEG_SCANS = 64, 16
MAX_ASPECT = 8  # a strip of pixels would be enormous once its short side is resized
# A segment begins with FF and its kind, with any number of FF before. Among the numbers of a scan, 00 and D0 to D7 follow FF.
_MARKER = re.compile(rb"\xff+([\x01-\xfe])", re.DOTALL)
_LATER_MARKER = re.compile(rb"\xff[\x01-\xcf\xd8-\xfe]", re.DOTALL)
_SCAN, _WITHOUT_LENGTH = 0xDA, (0x01, *range(0xD0, 0xDA))
_SIZES = frozenset(range(0xC0, 0xD0)) - {0xC4, 0xC8, 0xCC}


def check_size(height: int, width: int, name: str, min_side: int = MIN_SIDE) -> None:
    """Refuses a picture whose resizing would take more time and memory than any camera's, or show nothing.

    Raises:
        BeingHError: a side is too short or too long [pixels], or many times the other.
    """
    short, long = sorted((height, width))
    if not (min_side <= short and long <= min(MAX_SIDE, MAX_ASPECT * short) and short * long <= MAX_PIXELS):
        raise BeingHError(
            f"`{name}` is a picture of {width}x{height} pixels",
            allowed=f"{min_side} to {MAX_SIDE} pixels a side, one side at most {MAX_ASPECT} times the other, "
            f"{MAX_PIXELS // 10**6} million pixels",
            remedy="use the camera's plain picture, not a strip or a mosaic of it",
        )


def check_image(image: np.ndarray, name: str = "image") -> np.ndarray:
    """One RGB picture as a (H, W, 3) uint8 array; a leading batch of one is dropped.

    Raises:
        BeingHError: another type, shape, number of channels or size.
    """
    try:
        image = np.asarray(image)
    except ValueError:
        raise BeingHError(f"`{name}` is no picture: {shown(image)}") from None
    if image.dtype != np.uint8:
        raise BeingHError(
            f"`{name}` is {image.dtype!s:.40}, not uint8",
            remedy="hand over RGB values 0..255 as uint8, neither scaled nor normalised",
        )
    while image.ndim > 3 and image.shape[0] == 1:
        image = image[0]
    if image.ndim != 3 or image.shape[2] != 3 or 0 in image.shape:
        raise BeingHError(
            f"`{name}` has shape {image.shape}",
            allowed="(height, width, 3) or (1, height, width, 3)",
            remedy="hand over one RGB picture, channels last",
        )
    check_size(*image.shape[:2], name)
    return image


def check_jpeg(data: bytes) -> None:
    """Refuses a JPEG of many segments or scans, each of which costs a decoder time, or of more pixels than a picture has.

    Only what stands before the pixels is read; what follows there is counted wherever it stands.

    Raises:
        BeingHError: too many segments, scans or pixels, or segments that cannot be read.
    """
    at, segments, kind = 2, 0, None
    while kind != _SCAN and segments <= MAX_JPEG_SEGMENTS:
        marker = _MARKER.match(data, at)
        kind, at = (marker[1][0], marker.end()) if marker else (None, at)
        length = 0 if kind in _WITHOUT_LENGTH else int.from_bytes(data[at : at + 2], "big")
        if marker is None or (length < 2 and kind not in _WITHOUT_LENGTH):
            raise BeingHError("a JPEG whose segments cannot be read")
        if kind in _SIZES:
            height, width = (int.from_bytes(data[at + n : at + n + 2], "big") for n in (3, 5))
            if height * width > MAX_PIXELS:
                raise BeingHError(f"a JPEG of {height} x {width} pixels")
        at, segments = at + length, segments + 1
    later = sum(1 for _ in islice(_LATER_MARKER.finditer(data, at), MAX_JPEG_SEGMENTS + 1))
    if max(segments, later) > MAX_JPEG_SEGMENTS:
        raise BeingHError(f"a JPEG of more than {MAX_JPEG_SEGMENTS} segments")
    if data.count(b"\xff\xda") > MAX_JPEG_SCANS:
        raise BeingHError(f"a JPEG of more than {MAX_JPEG_SCANS} scans")


def resize_crop(image: np.ndarray, size: int) -> np.ndarray:
    """(S, S, 3) uint8: short side to `size` (bicubic, antialiased), then the centre.

    A picture of (S, S, 3) comes back as it is.

    Args:
        image: (H, W, 3) uint8.
        size: S, pixels.
    """
    height, width = image.shape[:2]
    if height <= width:
        new_height, new_width = size, int(size * width / height)
    else:
        new_height, new_width = int(size * height / width), size
    if (new_height, new_width) != (height, width):
        picture = Image.fromarray(np.ascontiguousarray(image))
        image = np.asarray(picture.resize((new_width, new_height), Image.Resampling.BICUBIC))
    top, left = int(round((new_height - size) / 2)), int(round((new_width - size) / 2))
    return image[top : top + size, left : left + size]
