"""What cameras send: the encodings that a contract may name and that pictures are read from, one list for both.

Raw names and their meaning are those of `sensor_msgs/image_encodings`; a name without a meaning of its own (8UC3) is read
as OpenCV orders it. Depth and floating point are no pictures.
"""

from __future__ import annotations

from dataclasses import dataclass

RAW_TYPE = "sensor_msgs/msg/Image"
COMPRESSED_TYPE = "sensor_msgs/msg/CompressedImage"

_CHANNELS = {"grey": 1, "rgb": 3, "bgr": 3, "rgba": 4, "bgra": 4, "uyvy": 2, "yuyv": 2, "nv12": 1, "nv21": 1, "nv24": 1}
_BAYER = ("bayer_rggb", "bayer_bggr", "bayer_gbrg", "bayer_grbg")


@dataclass(frozen=True)
class Encoding:
    """How one encoding holds its pixels.

    Attributes:
        layout: order of the channels; for `bayer_*` colours of the mosaic; for `nv*` a plane of brightness before one of
            colour; `jpeg` and `png` name the compression.
        bits: of one value, 8 or 16.
        colour: whether it can show colours.
    """

    layout: str
    bits: int = 8
    colour: bool = True

    @property
    def channels(self) -> int:
        """Values of one pixel in a row (of the first plane)."""
        return _CHANNELS.get(self.layout, 1)

    @property
    def needs_opencv(self) -> bool:
        """Whether reading it takes more than choosing channels."""
        return self.layout in ("uyvy", "yuyv", "nv12", "nv21", "nv24", *_BAYER)


RAW = {
    "rgb8": Encoding("rgb"),
    "bgr8": Encoding("bgr"),
    "rgba8": Encoding("rgba"),
    "bgra8": Encoding("bgra"),
    "8UC3": Encoding("bgr"),
    "8UC4": Encoding("bgra"),
    "rgb16": Encoding("rgb", 16),
    "bgr16": Encoding("bgr", 16),
    "rgba16": Encoding("rgba", 16),
    "bgra16": Encoding("bgra", 16),
    "uyvy": Encoding("uyvy"),
    "yuv422": Encoding("uyvy"),
    "yuyv": Encoding("yuyv"),
    "yuv422_yuy2": Encoding("yuyv"),
    "nv12": Encoding("nv12"),
    "nv21": Encoding("nv21"),
    "nv24": Encoding("nv24"),
    **{f"{pattern}{bits}": Encoding(pattern, bits) for bits in (8, 16) for pattern in _BAYER},
    "mono8": Encoding("grey", colour=False),
    "8UC1": Encoding("grey", colour=False),
    "mono16": Encoding("grey", 16, colour=False),
    "16UC1": Encoding("grey", 16, colour=False),
}
COMPRESSED = {
    "jpeg": Encoding("jpeg"),
    "png": Encoding("png"),
    "jpeg_mono8": Encoding("jpeg", colour=False),
    "png_mono8": Encoding("png", colour=False),
}
IMAGE_ENCODINGS = {RAW_TYPE: RAW, COMPRESSED_TYPE: COMPRESSED}
_NEWER_NAMES = {"yuv422": "uyvy", "yuv422_yuy2": "yuyv"}


def is_same(one: str, other: str) -> bool:
    """Whether two names mean one encoding: sensor_msgs has an old and a new name for some."""
    return _NEWER_NAMES.get(one, one) == _NEWER_NAMES.get(other, other)
