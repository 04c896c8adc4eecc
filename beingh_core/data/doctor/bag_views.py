"""Cameras of a bag: which topics they are, and how their messages become pictures."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np

from beingh_core.contract import RobotContract
from beingh_core.contract.encodings import COMPRESSED_TYPE, RAW_TYPE
from beingh_core.data.camera_reader import plain_pixels
from beingh_core.data.doctor.facts import FAULT, Finding, Run, View
from beingh_core.data.doctor.looks import Looker
from beingh_core.data.pixels import compressed_pixels, fields_of, raw_pixels
from beingh_core.errors import BeingHError

_STAMP_END = 12  # bytes of a message up to the end of its stamp
# Of these, bytes near zero are black.
_PLAIN = ("rgb8", "bgr8", "mono8", "8UC1", "8UC3", "bayer_rggb8", "bayer_bggr8", "bayer_gbrg8", "bayer_grbg8")
_DEPTH = {"32FC1": np.float32, "16UC1": np.uint16}


def is_camera(kind: str) -> bool:
    """Whether messages of a type are pictures."""
    return kind in (RAW_TYPE, COMPRESSED_TYPE)


class CameraTopic:
    """One camera of a bag.

    Args:
        bag: Open.
        name: Topic.
        contract: Robot, or None.
        full: Gives the full name of a contract's topic.
    """

    def __init__(self, bag: Any, name: str, contract: RobotContract | None, full: Callable[[str], str]) -> None:
        self._bag, self._name = bag, name
        cameras = contract.cameras if contract else ()
        self._camera = next((camera for camera in cameras if full(camera.topic) == name), None)
        self.looker = Looker(name, self._camera.name if self._camera else name, exact=True)
        self._plain, self._other_encoding = False, ""

    def take(self, time_s: float, message: Any) -> None:
        """A message."""
        tail = memoryview(message.data)[_STAMP_END:]
        self.looker.message(time_s, tail, lambda: self._pixels(message), plain=self._plain)

    def finish(self, begin_s: float, duration_s: float, findings: list[Finding]) -> View:
        """What was seen, from the beginning of the episode on; pictures that lie days away are left out."""
        view = self.looker.finish()
        inside = lambda time_s: -1e-3 <= time_s - begin_s <= duration_s + 1e-3
        view.looks = [replace(k, time_s=max(0.0, k.time_s - begin_s)) for k in view.looks if inside(k.time_s)]
        for kind in ("still", "black"):
            runs = [r for r in getattr(view, kind) if inside(r.start_s) and inside(r.end_s)]
            moved = [Run(start_s=r.start_s - begin_s, end_s=r.end_s - begin_s, count=r.count) for r in runs]
            setattr(view, kind, moved)
        view.tell_unreadable(findings)
        if self._other_encoding:
            findings.append(Finding(kind="encoding", weight=FAULT, text=self._other_encoding, topic=self._name))
        return view

    def _pixels(self, message: Any) -> np.ndarray:
        content = self._bag.deserialise(message)
        encoding = getattr(content, "encoding", None)
        if encoding is None:
            pixels = self._promised(content) if self._camera else None
            pixels = compressed_pixels(content.data, text=content.format) if pixels is None else pixels
            kind = content.format.partition(";")[0] or "compressed"
        else:
            self._plain, kind = encoding in _PLAIN, encoding
            pixels = self._promised(content) if self._camera else None
            if pixels is None:
                pixels = depth_picture(content) if encoding in _DEPTH else raw_pixels(**fields_of(content))
        self.looker.view.detail = f"{pixels.shape[1]}x{pixels.shape[0]} {kind}"
        return pixels

    def _promised(self, content: Any) -> np.ndarray | None:
        """As the live nodes read it; None where they would not."""
        if (self._bag.topics[self._name].type != self._camera.type) or self._camera.depth:
            return None
        try:
            return plain_pixels(content, self._camera)
        except BeingHError as error:
            self._other_encoding = self._other_encoding or error.what
            return None


def depth_picture(message: Any) -> np.ndarray:
    """uint8 (H, W, 3) of depths: near is bright, nothing is black.

    Raises:
        BeingHError: Sizes that do not fit the data.
    """
    kind = np.dtype(_DEPTH[message.encoding]).newbyteorder(">" if message.is_bigendian else "<")
    height, width, step = message.height, message.width, message.step
    data = np.frombuffer(message.data, np.uint8)
    if width < 1 or height < 1 or step < width * kind.itemsize or step % kind.itemsize or len(data) < height * step:
        raise BeingHError(
            f"image of {width}x{height} {message.encoding} has a row step of {step} and {len(data)} bytes"
        )
    rows = data[: height * step].reshape(height, step)[:, : width * kind.itemsize]
    depths = np.nan_to_num(np.ascontiguousarray(rows).view(kind).astype(np.float32), posinf=0.0, neginf=0.0)
    seen = depths[depths > 0]
    if not seen.size:
        return np.zeros((height, width, 3), np.uint8)
    near, far = np.percentile(seen, (2, 98))
    grey = np.clip(230 - 180 * (depths - near) / max(far - near, 1e-9), 50, 230)
    return np.repeat(np.where(depths > 0, grey, 0).astype(np.uint8)[..., None], 3, axis=2)
