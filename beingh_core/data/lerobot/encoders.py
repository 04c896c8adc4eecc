"""Which video encoder is used and with which options."""

from __future__ import annotations

import contextlib
import functools
import os
from collections.abc import Iterator

import av
import numpy as np

from beingh_core.data.lerobot.schema import Camera, VideoSettings
from beingh_core.errors import BeingHError, shown

SOFTWARE = {"h264": "libx264", "av1": "libsvtav1"}
HARDWARE = {
    "h264": ("h264_nvenc", "h264_qsv", "h264_videotoolbox"),
    "av1": ("av1_nvenc", "av1_qsv"),
}
DEPTH_ENCODER = "libx265"
os.environ.setdefault("SVT_LOG", "1")  # errors only; SVT-AV1 reads it when an encoder is made


def choose(settings: VideoSettings) -> str:
    """FFmpeg's name of the encoder to use.

    Raises:
        BeingHError: The wanted one does not work here, or makes another codec.
    """
    software, hardware = SOFTWARE[settings.codec], HARDWARE[settings.codec]
    if settings.encoder == "software":
        return _working(software, settings)
    if settings.encoder == "auto":
        return next((name for name in hardware if works(name)), None) or _working(software, settings)
    if settings.encoder not in (software, *hardware):
        raise BeingHError(
            f"encoder {shown(settings.encoder)} is not one for {settings.codec}",
            allowed=["auto", "software", software, *hardware],
        )
    return _working(settings.encoder, settings)


@functools.cache
def works(encoder: str) -> bool:
    """Whether an encoder encodes three pictures on this machine."""
    try:
        context = av.CodecContext.create(encoder, "w")
        context.width, context.height, context.pix_fmt, context.framerate = 320, 240, "yuv420p", 30
        picture = av.VideoFrame.from_ndarray(np.zeros((240, 320, 3), np.uint8), format="rgb24").reformat(
            format="yuv420p"
        )
        with scheduling_kept():
            context.open()
        packets = []
        for pts in range(3):
            picture.pts = pts
            packets += context.encode(picture)
        return bool(packets + context.encode(None))
    except Exception:  # not in this build, no device, no driver: each fails in its own way
        return False


@contextlib.contextmanager
def scheduling_kept() -> Iterator[None]:
    """The calling thread, and those that begin meanwhile in this process, are scheduled as the calling thread was before.

    SVT-AV1 gives its threads, and the one that opens it, the highest real-time priority where it may (root has the right,
    and containers mostly run as root): an export would come before a controller on the same computer.
    """
    if not hasattr(os, "sched_getscheduler"):
        yield
        return
    policy, parameters = os.sched_getscheduler(0), os.sched_getparam(0)
    others = _threads()
    try:
        yield
    finally:
        for thread in {0} | _threads() - others:
            with contextlib.suppress(OSError):  # it has ended
                os.sched_setscheduler(thread, policy, parameters)


def _threads() -> set[int]:
    """Numbers of this process's threads; empty where the system does not tell them."""
    try:
        return {int(name) for name in os.listdir("/proc/self/task")}
    except OSError:
        return set()


def options(encoder: str, settings: VideoSettings, threads: int) -> dict[str, str]:
    """Options of an encoder, for key frames every `gop` frames and no reordering of frames.

    `superfast` gives the PSNR of x264's default at the same crf in a third of the time, in files a fifth larger.
    """
    found: dict[str, object] = {"g": settings.gop, "bf": 0}
    if encoder == "libx264":
        found |= {"crf": settings.crf, "preset": "superfast", "threads": threads, "sc_threshold": 0}
    elif encoder == "libsvtav1":
        found = {"g": settings.gop, "crf": settings.crf, "preset": 12}
        found["svtav1-params"] = f"lp={threads}:fast-decode=0"
    elif encoder.endswith("_nvenc"):
        found |= {"preset": "p4", "rc": "constqp", "qp": settings.crf}
    elif encoder.endswith("_qsv"):
        found |= {"global_quality": settings.crf}
    elif encoder.endswith("_videotoolbox"):
        found |= {"q:v": max(1, 100 - 2 * settings.crf)}
    return {name: str(value) for name, value in found.items()}


def depth_options(threads: int) -> dict[str, str]:
    """Lossless HEVC of 12 bits, a key frame every second frame."""
    params = f"lossless=1:keyint=2:min-keyint=1:bframes=0:scenecut=0:log-level=none:pools={threads}:frame-threads=1"
    return {"g": "2", "bf": "0", "preset": "ultrafast", "x265-params": params}


def threads_for(cameras: tuple[Camera, ...], cpus: int | None = None) -> int:
    """Threads of each camera's encoder so that together they use the processors once."""
    return max(1, (cpus or len(os.sched_getaffinity(0))) // max(1, len(cameras)))


def _working(encoder: str, settings: VideoSettings) -> str:
    if not works(encoder):
        raise BeingHError(
            f"the encoder {encoder} does not work on this machine",
            where=f"video codec {settings.codec}",
            allowed=[name for names in HARDWARE.values() for name in names if works(name)]
            + [n for n in SOFTWARE.values() if works(n)],
            remedy="choose another encoder or codec, or a build of PyAV that has it",
        )
    return encoder
