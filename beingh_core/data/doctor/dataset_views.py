"""A camera of a dataset: a picture of its video every half second, decoded from key frames where there are enough."""

from __future__ import annotations

from collections.abc import Iterator

import av
import numpy as np

from beingh_core.data.doctor.facts import FAULT, Finding, View
from beingh_core.data.doctor.looks import LOOK_S, Looker
from beingh_core.data.lerobot.schema import Camera
from beingh_core.data.lerobot.video import UNREADABLE, Segment

_FAR, _NEAR = 50, 230  # grey of the depths that are shown


def read_view(segment: Segment, camera: Camera, label: str, fps: int, findings: list[Finding]) -> View:
    """What the camera saw in an episode; a video that cannot be read is found."""
    looker = Looker(camera.key, label, exact=False)
    looker.view.detail = f"{camera.width}x{camera.height}" + (" depth" if camera.depth else "")
    try:
        for time_s, picture in _pictures(segment, camera, fps):
            looker.picture(time_s, picture)
    except UNREADABLE as error:
        text = f"its video cannot be decoded ({error})"
        findings.append(Finding(kind="video", weight=FAULT, text=text, topic=camera.key))
    return looker.finish()


def _pictures(segment: Segment, camera: Camera, fps: int) -> Iterator[tuple[float, np.ndarray]]:
    """(time after the episode's begin [s], uint8 (H, W, 3)), one about every `LOOK_S`, and the last one."""
    last_s, next_s = (segment.frames - 1) / fps, 0.0
    with av.open(str(segment.path)) as source:
        video = source.streams.video[0]
        only_keys = _key_gap(source, video, segment, last_s) <= LOOK_S
        source.seek(max(0, int(segment.start_s / video.time_base)), stream=video, backward=True)
        context = video.codec_context
        context.thread_type = "SLICE" if only_keys else "AUTO"
        due_s = 0.0
        for packet in _until(source, video, segment.start_s + last_s + 1.0):
            if only_keys and packet is not None:
                time_s = float(packet.pts * video.time_base) - segment.start_s
                if not packet.is_keyframe or time_s < due_s - 0.5 / fps:
                    continue
                due_s = time_s + LOOK_S
            for frame in context.decode(packet):
                time_s = float(frame.pts * video.time_base) - segment.start_s
                if -0.5 / fps <= time_s <= last_s + 0.5 / fps and (time_s >= next_s - 0.5 / fps):
                    next_s = max(0.0, time_s) + LOOK_S
                    yield max(0.0, time_s), _shown(frame, camera)


def _key_gap(source, video, segment: Segment, last_s: float) -> float:
    """Longest time without a key frame in a segment [s]."""
    source.seek(max(0, int(segment.start_s / video.time_base)), stream=video, backward=True)
    keys = [0.0, last_s]
    for packet in _until(source, video, segment.start_s + last_s + 1.0):
        if packet is not None and packet.is_keyframe:
            keys.append(float(packet.pts * video.time_base) - segment.start_s)
    inside = sorted(key for key in keys if 0.0 <= key <= last_s)
    return max((after - before for before, after in zip(inside, inside[1:])), default=0.0)


def _until(source, video, end_s: float) -> Iterator[av.Packet | None]:
    """Packets up to a time, then None, on which a decoder gives what it holds back."""
    for packet in source.demux(video):
        if packet.pts is None or packet.dts is None:
            continue
        if float(packet.dts * video.time_base) > end_s:
            break
        yield packet
    yield None


def _shown(frame: av.VideoFrame, camera: Camera) -> np.ndarray:
    if not camera.depth:
        return frame.to_ndarray(format="rgb24")
    codes = frame.to_ndarray(format="gray12le").astype(np.float32) / 4095.0
    grey = (_NEAR - (_NEAR - _FAR) * codes).astype(np.uint8)
    return np.repeat(grey[..., None], 3, axis=2)
