"""RGB pixels of what cameras send, raw or compressed (see `contract.encodings` for the list).

Where cv_bridge converts an encoding to rgb8, these are its pixels: OpenCV's BT.601 for YUV and its bilinear interpolation
for Bayer mosaics, and 16-bit values v become round(v * 255 / 65535), of the full range. A camera that puts 10 or 12 bits
into the low end of 16 therefore looks dark. Grey is repeated into all three channels, opacity is dropped.
"""

from __future__ import annotations

import io
from typing import Any

import numpy as np
from PIL import Image

from beingh_core.contract.encodings import COMPRESSED, RAW, Encoding, is_same
from beingh_core.errors import BeingHError, shown
from beingh_core.policy.pictures import check_jpeg, check_size

# Rows of pixels that share one row of colours, and its length and stride in those of a row of brightness.
_COLOUR_PLANE = {"nv12": (2, 1), "nv21": (2, 1), "nv24": (1, 2)}
# OpenCV names a Bayer pattern by the second and third pixel of its second row.
_OPENCV = {
    "uyvy": "COLOR_YUV2RGB_UYVY",
    "yuyv": "COLOR_YUV2RGB_YUY2",
    "nv12": "COLOR_YUV2RGB_NV12",
    "nv21": "COLOR_YUV2RGB_NV21",
    "bayer_rggb": "COLOR_BayerBG2RGB",
    "bayer_bggr": "COLOR_BayerRG2RGB",
    "bayer_gbrg": "COLOR_BayerGR2RGB",
    "bayer_grbg": "COLOR_BayerGB2RGB",
}
_NARROWED = ((np.arange(1 << 16) + 128) // 257).astype(np.uint8)  # round(v * 255 / 65535)
_PNG_BITS = 24  # byte of a PNG file that holds the bits of a value
_JPEG = b"\xff\xd8"  # how such a file begins
_SEEN = {True: "colour", False: "grey"}
_WORDS = {"jpeg": "jpeg", "jpg": "jpeg", "png": "png"}


def opencv():
    """The cv2 module, which only YUV and Bayer images need.

    Raises:
        BeingHError: When it is not installed.
    """
    try:
        import cv2
    except ImportError as error:
        raise BeingHError(
            f"YUV and Bayer images need OpenCV ({error})",
            remedy="`sudo apt install python3-opencv` or `pip install opencv-python-headless`, or use RGB images",
        ) from error
    return cv2


def fields_of(message: Any) -> dict[str, Any]:
    """A raw image message as `raw_pixels` and `depth_values` take it; anything with the fields of sensor_msgs/Image."""
    names = ("data", "height", "width", "step", "encoding")
    return {name: getattr(message, name) for name in names} | {"big_endian": bool(message.is_bigendian)}


def raw_pixels(
    data, *, height: int, width: int, step: int, encoding: str, big_endian: bool = False, promised: str | None = None
) -> np.ndarray:
    """RGB pixels of a raw image.

    Args:
        data: bytes-like; may be longer than the image, and lack the padding of the last row.
        height, width: in pixels.
        step: bytes from one row to the next (of the first plane).
        encoding: one of `RAW`.
        big_endian: byte order of 16-bit values.
        promised: the only encoding to accept; None accepts every one in the list.

    Returns:
        uint8 (H, W, 3), red first, contiguous, independent of `data`.

    Raises:
        BeingHError: another encoding, or sizes that do not fit the data.
    """
    kind = _kind(encoding, promised)
    values = _values(data, kind, encoding, height, width, step, big_endian)
    if kind.needs_opencv:
        return _to_rgb(kind.layout, height, width, *values)
    values_HWC = values[0].reshape(height, width, kind.channels)
    if kind.layout == "grey":
        values_HWC = np.repeat(values_HWC, 3, axis=2)
    return _to_8_bits(values_HWC[..., 2::-1] if kind.layout.startswith("bgr") else values_HWC[..., :3])


def depth_values(
    data, *, height: int, width: int, step: int, encoding: str, big_endian: bool = False, promised: str
) -> np.ndarray:
    """uint16 (H, W) of an image with one number of 16 bits a pixel; see `raw_pixels`."""
    kind = _kind(encoding, promised)
    return _values(data, kind, encoding, height, width, step, big_endian)[0].reshape(height, width)


def compressed_pixels(data, *, text: str, promised: str | None = None) -> np.ndarray:
    """RGB pixels of a JPEG or PNG image.

    Args:
        data: bytes-like, the file.
        text: the message's `format`, as image_transport or a driver writes it; "" says nothing. Channels are ordered as
            the file's own standard has them, whatever encoding it names.
        promised: the only one of `COMPRESSED` to accept; None accepts all.

    Returns:
        uint8 (H, W, 3), red first.

    Raises:
        BeingHError: another compression, grey where colour was promised, or no 8-bit picture that can be read.
    """
    wanted = None if promised is None else COMPRESSED[promised]
    named = next((name for word, name in _WORDS.items() if word in text.lower()), None)
    if "compresseddepth" in text.lower():
        raise _other_format(f"compressed image format is {shown(text)}, a depth image", promised)
    if (text and named is None) or (wanted is not None and named not in (None, wanted.layout)):
        raise _other_format(f"compressed image format is {shown(text)}", promised)
    picture = _open(data, text)
    compression = "png" if picture.format == "PNG" else "jpeg"
    if compression != (named or compression) or (wanted is not None and compression != wanted.layout):
        raise _other_format(f"compressed image of format {shown(text)} is a {compression} in truth", promised)
    check_size(picture.height, picture.width, "compressed image", min_side=1)
    grey = picture.mode in ("1", "L", "LA")
    try:
        mode = "L" if grey else "RGB"
        pixels = np.array(picture if picture.mode == mode else picture.convert(mode))
    except Exception as error:  # a decoder of foreign bytes fails in many ways
        raise _unreadable(data, text, f": {error}") from None
    source, _, target = text.partition(";")
    source = RAW.get(source.strip())
    mosaic = grey and source is not None and source.layout.startswith("bayer") and "mono8" not in target
    if wanted is not None and wanted.colour != (mosaic or not grey):
        raise _other_encoding(f"{compression}{'_mono8' * grey}", promised)
    if mosaic:
        return _to_rgb(source.layout, *pixels.shape, pixels)
    return np.repeat(pixels[..., None], 3, axis=2) if grey else pixels


def _open(data, text: str) -> Image.Image:
    """The picture in a file; only its header has been read."""
    try:
        if bytes(data[:2]) == _JPEG:
            check_jpeg(bytes(data))
        picture = Image.open(io.BytesIO(data), formats=("JPEG", "PNG"))
    except (BeingHError, Image.DecompressionBombError) as error:
        raise _unreadable(data, text, f": {error}") from None
    except Exception:  # as above; PIL's texts name its own objects
        raise _unreadable(data, text) from None
    if picture.format == "PNG" and bytes(data[_PNG_BITS : _PNG_BITS + 1]) == b"\x10":
        raise _unreadable(data, text, ": its values have 16 bits")
    return picture


def _unreadable(data, text: str, why: str = "") -> BeingHError:
    return BeingHError(
        f"compressed image of format {shown(text)} with {memoryview(data).nbytes} bytes is not an 8-bit JPEG or PNG{why}",
        remedy="publish the colour stream of the camera through image_transport's 'compressed' plug-in",
    )


def _other_format(what: str, promised: str | None) -> BeingHError:
    return BeingHError(
        what,
        allowed=[promised] if promised else COMPRESSED,
        remedy="publish the colour stream through image_transport's 'compressed' plug-in, and name its format in the contract",
    )


def _other_encoding(given: str, promised: str | None) -> BeingHError:
    """What to say of an encoding that is not the promised one, or not in the list."""
    known, wanted = ((RAW | COMPRESSED).get(name) for name in (given, promised))
    why = ""
    if wanted is not None and known is not None and known.colour != wanted.colour:
        why = f", {_SEEN[known.colour]} where the robot contract promises {_SEEN[wanted.colour]}"
    if known is None:
        remedy = "let the camera's driver or a republisher (image_proc, image_transport) send one of the allowed ones"
    else:
        remedy = "publish that encoding, or name the published one as the camera's encoding in the robot contract"
    allowed = [promised] if promised is not None else RAW
    return BeingHError(f"image encoding is {shown(given)}{why}", allowed=allowed, remedy=remedy)


def _kind(encoding: str, promised: str | None) -> Encoding:
    if encoding not in RAW or not (promised is None or is_same(encoding, promised)):
        raise _other_encoding(encoding, promised)
    return RAW[encoding]


def _values(
    data, kind: Encoding, encoding: str, height: int, width: int, step: int, big_endian: bool
) -> list[np.ndarray]:
    """The rows of each plane, as numbers of 8 or 16 bits."""
    planes = _planes(kind, height, width, step)
    _check_layout(encoding, height, width, step, planes, memoryview(data).nbytes)
    flat = np.frombuffer(data, dtype=np.uint8)
    values = [
        np.lib.stride_tricks.as_strided(flat[start:], (rows, row_bytes), (stride, 1), writeable=False)
        for start, rows, row_bytes, stride in planes
    ]
    if kind.bits == 16:
        values = [
            np.ascontiguousarray(plane).view(">u2" if big_endian else "<u2").astype(np.uint16) for plane in values
        ]
    return values


def _planes(kind: Encoding, height: int, width: int, step: int) -> list[tuple[int, int, int, int]]:
    """(first byte, rows, bytes of a row, bytes from row to row) of each plane."""
    row_bytes = width * kind.channels * kind.bits // 8
    planes = [(0, height, row_bytes, step)]
    if kind.layout in _COLOUR_PLANE:
        share, length = _COLOUR_PLANE[kind.layout]
        planes.append((height * step, height // share, length * row_bytes, length * step))
    return planes


def _check_layout(encoding: str, height: int, width: int, step: int, planes: list, given: int) -> None:
    """Refuses sizes that are impossible for the encoding or do not fit the data."""
    layout, row_bytes = RAW[encoding].layout, planes[0][2]
    start, rows, length, stride = planes[-1]
    needed = start + (rows - 1) * stride + length
    if height < 1 or width < 1 or step < row_bytes or given < needed:
        raise BeingHError(
            f"image of {width}x{height} {encoding} has a row step of {step} and {given} bytes",
            allowed=f"at least one pixel, a row step of at least {row_bytes} and, for that step, {max(needed, 1)} bytes",
            remedy="fix the publisher: step >= bytes of a row, and data >= all rows (of all planes)",
        )
    across = 2 if layout in ("uyvy", "yuyv", "nv12", "nv21") else 1
    down = 2 if layout in ("nv12", "nv21") else 1
    if width % across or height % down or (layout.startswith("bayer") and min(width, height) < 2):
        raise BeingHError(
            f"image of {width}x{height} cannot be {encoding}, in which neighbouring pixels share their colour",
            allowed=f"at least 2x2 pixels, the width in steps of {across}, the height of {down}",
            remedy="fix the publisher, or choose another resolution",
        )


def _to_rgb(layout: str, height: int, width: int, rows: np.ndarray, colours: np.ndarray | None = None) -> np.ndarray:
    """(H, W, 3) uint8 of planes that only OpenCV's conversion makes sense of."""
    cv2 = opencv()
    if layout == "nv24":  # as YUYV, twice as wide: both pixels of a pair are one of these
        rows = np.stack([np.repeat(rows, 2, axis=1), colours], axis=2)
        return np.ascontiguousarray(cv2.cvtColor(rows, cv2.COLOR_YUV2RGB_YUY2)[:, ::2])
    if colours is not None:
        rows = np.vstack([rows, colours])
    elif layout in ("uyvy", "yuyv"):
        rows = rows.reshape(height, width, 2)
    elif min(height, width) < 3:  # OpenCV leaves these black
        rows = np.pad(rows, ((0, 1), (0, 1)), "reflect")
    rgb = cv2.cvtColor(np.ascontiguousarray(rows), getattr(cv2, _OPENCV[layout]))
    return _to_8_bits(rgb[:height, :width])


def _to_8_bits(values: np.ndarray) -> np.ndarray:
    """A contiguous copy as uint8."""
    return _NARROWED[values] if values.dtype == np.uint16 else np.array(values, order="C")
