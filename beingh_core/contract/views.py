"""What is done with a camera's pictures before the policy sees them: the optional keys of a camera."""

from __future__ import annotations

from typing import Any

import numpy as np

from beingh_core.contract import schema
from beingh_core.contract.encodings import RAW_TYPE
from beingh_core.contract.reader import Section

TURNS = (0, 90, 180, 270)
# As `policy.pictures`: no picture is smaller or larger.
MIN_SIDE, MAX_SIDE = 8, 8192
DEPTH_ENCODING = "16UC1"
USUAL_SIZE = (320, 240)


def read_view(entry: Section) -> dict[str, Any]:
    """`undistort`, `rotate`, `crop`, `depth` and `optional` of a camera, as `schema.CameraStream` has them.

    Raises:
        BeingHError: an angle that is no quarter turn, a crop that is no picture, or depth of another encoding.
    """
    found: dict[str, Any] = {"optional": entry.flag("optional", False)}
    if "undistort" in entry:
        beside = entry.topic("topic").strip("/").rpartition("/")[0]
        found["undistort"] = entry.topic("undistort", f"{beside}/camera_info".strip("/"))
    found["rotate"] = entry.number("rotate", 0, kind=int, at_least=0, at_most=270)
    if found["rotate"] not in TURNS:
        raise entry.error("rotate", f"{found['rotate']} is no quarter turn", allowed=", ".join(map(str, TURNS)))
    if "crop" in entry:
        found["crop"] = _crop(entry)
    if "depth" in entry:
        found["depth"] = _depth(entry)
    return found


def black(camera: schema.CameraStream) -> np.ndarray:
    """What stands for an optional camera's picture that is not there: uint8 (H, W, 3)."""
    width, height = camera.crop[2:] if camera.crop else USUAL_SIZE
    return np.zeros((height, width, 3), np.uint8)


def _crop(entry: Section) -> tuple[int, ...]:
    left, top, width, height = numbers = entry.numbers("crop", 4)
    whole = all(number == int(number) for number in numbers)
    inside = min(left, top) >= 0 and min(width, height) >= MIN_SIDE
    if not (whole and inside and max(left + width, top + height) <= MAX_SIDE):
        raise entry.error(
            "crop",
            f"{[f'{number:g}' for number in numbers]} is no part of a picture",
            allowed=f"[left, top, width, height] in pixels, at least {MIN_SIDE} wide and high",
        )
    return tuple(map(int, numbers))


def _depth(entry: Section) -> tuple[float, float, float]:
    section = entry.section("depth", hint="{near: 0.2, far: 1.5}")
    scale = section.number("scale", 0.001, above=1e-7, at_most=1.0)
    near = section.number("near", at_least=0.0, at_most=1000.0)
    far = section.number("far", above=0.0, at_most=1000.0)
    section.finish()
    if far - near < schema.MIN_RANGE:
        raise section.error("far", f"{far:g} is not farther than near ({near:g})")
    kind, encoding = entry.get("type", str), entry.get("encoding", str)
    if kind != RAW_TYPE or encoding != DEPTH_ENCODING:
        raise entry.error("depth", f"`{encoding}` of {kind} is no depth", allowed=f"{DEPTH_ENCODING} of {RAW_TYPE}")
    return scale, near, far
