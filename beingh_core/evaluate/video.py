"""A captioned MP4 of a run, written while it runs."""

from __future__ import annotations

from pathlib import Path

import av
import numpy as np
from PIL import Image, ImageDraw, ImageFont

# The first encoder that the installed PyAV has.
ENCODERS = (("libx264", {"preset": "veryfast", "crf": "24"}), ("mpeg4", {"b": "1500k"}))


class VideoWriter:
    """Encodes frames one by one. Use from one thread, as a context manager or with `close`.

    Args:
        path: file to write; created with the first frame.
        fps: frames per second of playback.
    """

    def __init__(self, path: Path, fps: float) -> None:
        self.path, self._fps = Path(path), fps
        self._container = None
        self._stream = None
        self.frames = 0

    def __enter__(self) -> VideoWriter:
        return self

    def __exit__(self, *_exc) -> None:
        self.close()

    def add(self, pixels: np.ndarray, caption: str = "") -> None:
        """Append uint8 (H, W, 3) pixels; all frames have the size of the first one, with H and W even."""
        if self._container is None:
            self._open(pixels.shape[1], pixels.shape[0])
        frame = av.VideoFrame.from_ndarray(captioned(pixels, caption), format="rgb24")
        frame.pts = self.frames
        for packet in self._stream.encode(frame):
            self._container.mux(packet)
        self.frames += 1

    def close(self) -> None:
        """Finish the file; does nothing without frames."""
        if self._container is not None:
            for packet in self._stream.encode():
                self._container.mux(packet)
            self._container.close()
            self._container = None

    def _open(self, width: int, height: int) -> None:
        name, options = next((name, options) for name, options in ENCODERS if name in av.codecs_available)
        self._container = av.open(str(self.path), "w")
        self._stream = self._container.add_stream(name, rate=round(self._fps), options=options)
        self._stream.width, self._stream.height, self._stream.pix_fmt = width, height, "yuv420p"
        self._stream.codec_context.thread_count = 1


def captioned(pixels: np.ndarray, caption: str) -> np.ndarray:
    """A copy of uint8 (H, W, 3) pixels with a line of text on a dark band at the bottom."""
    if not caption:
        return np.ascontiguousarray(pixels)
    image = Image.fromarray(pixels)
    size = max(10, pixels.shape[0] // 24)
    font = ImageFont.load_default(size)
    draw = ImageDraw.Draw(image)
    top = image.height - 2 * size
    draw.rectangle([0, top, image.width, image.height], fill=(24, 32, 40))
    draw.text((size // 2, top + size // 3), caption, fill=(255, 255, 255), font=font)
    return np.asarray(image)
