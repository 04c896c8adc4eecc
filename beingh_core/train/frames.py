"""Pictures of single rows out of videos: files stay open, and neighbouring rows are decoded in one go."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterator, Sequence

import av
import numpy as np
from av.video.reformatter import VideoReformatter

from beingh_core.data.lerobot.video import UNREADABLE, Segment
from beingh_core.errors import BeingHError

# Decoding forward over so many pictures costs about as much as a seek to a key frame does.
REACH = 40


class Decoders:
    """Reads pictures by their row. One thread.

    Args:
        most: how many files stay open.
    """

    def __init__(self, most: int) -> None:
        self._most = most
        self._open: OrderedDict[object, _File] = OrderedDict()

    def pictures(self, segment: Segment, rows: Sequence[int], fps: int) -> list[np.ndarray]:
        """uint8 (H, W, 3) of each row of a segment, in the order asked for.

        Raises:
            BeingHError: The video cannot be read, or has no picture for a row.
        """
        outside = [row for row in rows if not 0 <= row < segment.frames]
        if outside:
            raise BeingHError(f"has no row {outside[0]}", where=segment.path, allowed=f"0 to {segment.frames - 1}")
        file = self._opened(segment)
        try:
            found = file.read(segment, sorted(set(rows)), fps)
        except (*UNREADABLE, BeingHError) as error:
            self._forget(segment)
            what = error.what if isinstance(error, BeingHError) else f"no video that can be read ({error})"
            raise BeingHError(what, where=segment.path) from None
        return [found[row] for row in rows]

    def close(self) -> None:
        """Closes all files."""
        while self._open:
            self._open.popitem()[1].close()

    def _opened(self, segment: Segment) -> _File:
        file = self._open.pop(segment.path, None)
        if file is None:
            while len(self._open) >= self._most:
                self._open.popitem(last=False)[1].close()
            try:
                file = _File(segment)
            except UNREADABLE as error:
                raise BeingHError(f"no video that can be read ({error})", where=segment.path) from None
        self._open[segment.path] = file
        return file

    def _forget(self, segment: Segment) -> None:
        file = self._open.pop(segment.path, None)
        if file is not None:
            file.close()


class _File:
    """One open video and where its decoder stands."""

    def __init__(self, segment: Segment) -> None:
        self._container = av.open(str(segment.path))
        self._video = self._container.streams.video[0]
        self._video.thread_type = "NONE"  # workers are processes: threads would only wait for each other
        self._frames: Iterator[av.VideoFrame] | None = None
        self._colours = VideoReformatter()  # kept, since its tables take longer to make than a small picture to convert
        self._base_s = float(self._video.time_base)
        self._at: float | None = None  # time of the picture that was decoded last [s]

    def read(self, segment: Segment, rows: Sequence[int], fps: int) -> dict[int, np.ndarray]:
        """Row -> picture, of ascending rows."""
        found = {}
        for row in rows:
            due = segment.start_s + row / fps
            ahead = None if self._at is None else (due - self._at) * fps
            if self._frames is None or ahead is None or not 0.5 < ahead <= REACH:
                begin = max(0, int(due / self._base_s + 1e-4))  # of a product that is off by its last digit
                self._container.seek(begin, stream=self._video, backward=True)
                self._frames = self._container.decode(self._video)
            found[row] = self._decode_to(due, fps)
        return found

    def _decode_to(self, due: float, fps: int) -> np.ndarray:
        half = 0.5 / fps
        for frame in self._frames:
            if frame.pts is None:
                continue
            self._at = frame.pts * self._base_s
            if self._at > due + half:
                break
            if self._at >= due - half:
                return self._colours.reformat(frame, format="rgb24").to_ndarray()
        self._frames = self._at = None
        raise BeingHError(f"has no picture at {due:.3f} s")

    def close(self) -> None:
        self._frames = None
        self._container.close()
