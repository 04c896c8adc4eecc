"""Video files: encoded from pictures in a thread of their own, counted, joined without encoding anew, decoded."""

from __future__ import annotations

import queue
import threading
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path

import av
import numpy as np

from beingh_core.data.lerobot import encoders
from beingh_core.data.lerobot.schema import Camera, VideoSettings
from beingh_core.errors import BeingHError

try:
    import cv2  # three times as fast at counting as numpy, which gives the same
except ImportError:
    cv2 = None

# What a damaged file raises: the library names its faults after those of the system, and has some of its own.
UNREADABLE = (av.error.FFmpegError, OSError, EOFError, IndexError, ValueError)
QUEUE = 8  # pictures that wait for an encoder; whoever adds more waits too, and nothing is dropped


class CameraEncoder:
    """Encodes one camera's pictures of one episode and counts their values.

    Args:
        target: MP4 file.
        camera: Size and kind.
        fps: Rate.
        settings: How colour is encoded.
        threads: Of the encoder.
    """

    def __init__(self, target: Path, camera: Camera, fps: int, settings: VideoSettings, threads: int) -> None:
        self._camera, self._fps, self._target = camera, fps, target
        self._encoder = encoders.DEPTH_ENCODER if camera.depth else encoders.choose(settings)
        self._options = (
            encoders.depth_options(threads) if camera.depth else encoders.options(self._encoder, settings, threads)
        )
        self.histogram = np.zeros(camera.bins, np.int64)
        self.frames = 0
        self._failure: BaseException | None = None
        self._waiting: queue.Queue[np.ndarray | None] = queue.Queue(QUEUE)
        self._thread = threading.Thread(target=self._run, name=f"encode {camera.key}", daemon=True)
        self._thread.start()

    def add(self, picture: np.ndarray) -> None:
        """Adds uint8 (H, W, 3) or depth (H, W); blocks while the encoder is behind. It must not change afterwards."""
        wanted = (self._camera.height, self._camera.width) + (() if self._camera.depth else (3,))
        if picture.shape != wanted or (self._camera.depth is None and picture.dtype != np.uint8):
            raise BeingHError(
                f"a picture is {picture.dtype} of shape {picture.shape}",
                where=self._camera.key,
                allowed=f"uint8 {wanted}" if self._camera.depth is None else f"depth {wanted}",
            )
        self._put(picture)

    def finish(self) -> None:
        """Waits until everything is in the file."""
        self._put(None)
        self._thread.join()
        self._raise()

    def abandon(self) -> None:
        """Ends the thread; the file is worth nothing."""
        self._failure = self._failure or RuntimeError("abandoned")
        self._thread.join()

    def _put(self, item: np.ndarray | None) -> None:
        while True:
            self._raise()
            try:
                return self._waiting.put(item, timeout=0.2)
            except queue.Full:
                continue

    def _raise(self) -> None:
        if self._failure is not None:
            raise self._failure

    def _run(self) -> None:
        try:
            with av.open(str(self._target), "w", format="mp4") as container:
                stream = container.add_stream(self._encoder, rate=self._fps, options=self._options)
                stream.width, stream.height = self._camera.width, self._camera.height
                stream.pix_fmt = "gray12le" if self._camera.depth else "yuv420p"
                stream.codec_context.time_base = Fraction(1, self._fps)
                with encoders.scheduling_kept():
                    stream.codec_context.open()
                while (picture := self._next()) is not None:
                    frame = self._converted(picture)
                    frame.pts, frame.time_base = self.frames, Fraction(1, self._fps)
                    container.mux(stream.encode(frame))
                    self.frames += 1
                container.mux(stream.encode(None))
        except BaseException as error:  # told by whoever adds or finishes
            self._failure = self._failure or error

    def _next(self) -> np.ndarray | None:
        while True:
            try:
                return self._waiting.get(timeout=0.2)
            except queue.Empty:
                self._raise()

    def _converted(self, picture: np.ndarray) -> av.VideoFrame:
        if self._camera.depth:
            codes = self._camera.depth.codes(picture)
            self.histogram[0] += np.bincount(codes.ravel(), minlength=4096)
            return av.VideoFrame.from_ndarray(codes, format="gray12le")
        picture = np.ascontiguousarray(picture)
        self.histogram += colour_histogram(picture)
        frame = av.VideoFrame.from_ndarray(picture, format="rgb24")
        return frame.reformat(format="yuv420p", interpolation="FAST_BILINEAR")


def colour_histogram(picture_HW3: np.ndarray) -> np.ndarray:
    """(3, 256) how often each value occurs in each channel."""
    flat = picture_HW3.reshape(-1, 3)
    if cv2 is None or len(flat) >= 1 << 24:  # OpenCV counts in float32
        return np.stack([np.bincount(flat[:, channel], minlength=256) for channel in range(3)])
    counts = [cv2.calcHist([picture_HW3], [channel], None, [256], [0, 256]) for channel in range(3)]
    return np.stack([one.ravel() for one in counts]).astype(np.int64)


@dataclass(frozen=True, kw_only=True)
class Segment:
    """`frames` consecutive pictures in a video file, from `start_s` on."""

    path: Path
    start_s: float
    frames: int


def join(segments: Sequence[Segment], target: Path, fps: int) -> list[float]:
    """Puts segments one after another into one file, without encoding anew.

    Returns:
        Where each begins in the new file [s].

    Raises:
        BeingHError: A segment has other pictures than it should, or does not begin with a key frame.
    """
    starts, placed = [], 0
    with av.open(str(target), "w", format="mp4") as output:
        stream = None
        for segment in segments:
            with av.open(str(segment.path)) as source:
                video = source.streams.video[0]
                if stream is None:
                    stream = output.add_stream_from_template(video, opaque=True)
                    stream.time_base = video.time_base
                starts.append(placed / fps)
                _copy(source, video, segment, output, stream, placed, fps)
            placed += segment.frames
    return starts


def _copy(source, video, segment: Segment, output, stream, placed: int, fps: int) -> None:
    """Copies the packets of a segment so that its first picture becomes picture number `placed`."""
    base, half = video.time_base, Fraction(1, 2 * fps)
    start = Fraction(segment.start_s).limit_denominator(1_000_000)
    end = start + Fraction(segment.frames, fps)
    source.seek(int(start / base), stream=video, backward=True)
    copied = 0
    for packet in source.demux(video):
        if packet.pts is None or not start - half <= packet.pts * base < end - half:
            if copied and packet.dts is not None and packet.dts * base > end + 1:
                break
            continue
        if copied == 0 and not packet.is_keyframe:
            raise BeingHError("the episode does not begin with a key frame", where=segment.path)
        shift = Fraction(placed, fps) - start
        pts, dts = packet.pts * base + shift, packet.dts * base + shift
        packet.time_base = base
        packet.pts, packet.dts = round(pts / base), round(dts / base)
        packet.stream = stream
        output.mux(packet)
        copied += 1
    if copied != segment.frames:
        raise BeingHError(f"holds {copied} pictures where {segment.frames} should be", where=segment.path)


def count(path: Path) -> int:
    """Pictures in a file, without decoding them.

    Raises:
        BeingHError: No video that can be read.
    """
    try:
        with av.open(str(path)) as source:
            return sum(packet.pts is not None for packet in source.demux(source.streams.video[0]))
    except UNREADABLE as error:
        raise BeingHError(f"no video that can be read ({error})", where=path) from None


def parameters(path: Path) -> bytes:
    """What decoders must know before the first picture; files that differ in it cannot be joined."""
    with av.open(str(path)) as source:
        video = source.streams.video[0]
        context = video.codec_context
        return f"{context.name} {context.width} {context.height} {video.time_base} ".encode() + (
            context.extradata or b""
        )


def decode(segment: Segment, camera: Camera, fps: int) -> Iterator[np.ndarray]:
    """Pictures of a segment, in order: uint8 (H, W, 3), or depth (H, W) float32 in the camera's unit.

    Raises:
        BeingHError: Fewer pictures than promised, or no video that can be read.
    """
    found = 0
    try:
        with av.open(str(segment.path)) as source:
            video = source.streams.video[0]
            video.thread_type = "AUTO"
            source.seek(max(0, int(segment.start_s / video.time_base)), stream=video, backward=True)
            for frame in source.decode(video):
                # A picture belongs to the segment if it lies nearer to one of its rows than to a neighbour's.
                number = round(
                    (frame.pts * video.time_base - Fraction(segment.start_s).limit_denominator(1_000_000)) * fps
                )
                if number < 0:
                    continue
                if number >= segment.frames:
                    break
                found += 1
                yield _pixels(frame, camera)
    except UNREADABLE as error:
        raise BeingHError(f"no video that can be read ({error})", where=segment.path) from None
    if found != segment.frames:
        raise BeingHError(f"holds {found} pictures where {segment.frames} should be", where=segment.path)


def _pixels(frame: av.VideoFrame, camera: Camera) -> np.ndarray:
    if camera.depth:
        return camera.depth.depth(frame.to_ndarray(format="gray12le"))
    return frame.to_ndarray(format="rgb24")
