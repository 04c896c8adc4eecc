"""One picture of everything: the robot with its plan, its cameras, and the state in words. No ROS here."""

from __future__ import annotations

import textwrap
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from beingh_ros.messages.thresholds import ERROR, OK, WARN

SIZE = (1280, 800)
_SIDE, _HEAD, _GAP = 400, 92, 10
_BACK, _TEXT, _DIM = (24, 26, 30), (235, 235, 235), (160, 165, 172)
LEVELS = {OK: (60, 200, 110), WARN: (242, 153, 26), ERROR: (235, 70, 60)}
# As in RViz: the colours of docs/watching.md.
COMMITTED, PREDICTED, CHUNK = (0.10, 0.75, 0.35), (0.95, 0.60, 0.10), (0.35, 0.55, 0.95)
GHOST = (0.95, 0.60, 0.10, 0.35)
_LEGEND = (("committed", COMMITTED), ("planned, and where it ends", PREDICTED), ("newest chunk", CHUNK))
_LETTERS = 118


@dataclass(frozen=True, kw_only=True)
class View:
    """One camera: its name, uint8 (H, W, 3) or None, and what is said below it."""

    name: str
    pixels: np.ndarray | None
    words: str


def scene_size() -> tuple[int, int]:
    """Height and width of the robot's part of the picture."""
    return SIZE[1] - _HEAD, SIZE[0] - _SIDE


def composed(scene: np.ndarray, views: Sequence[View], title: str, level: int, lines: Sequence[str]) -> Image.Image:
    """The whole picture.

    Args:
        scene: uint8 (height, width, 3) of `scene_size`.
        views: The cameras.
        title: The first line, such as the robot and its state.
        level: Of the title, as in `thresholds`.
        lines: Up to two more lines; long ones are cut.
    """
    picture = Image.new("RGB", SIZE, _BACK)
    picture.paste(Image.fromarray(scene), (0, _HEAD))
    draw = ImageDraw.Draw(picture)
    draw.rectangle((0, 0, 8, _HEAD - 1), fill=LEVELS.get(level, LEVELS[ERROR]))
    draw.text(
        (22, 8), textwrap.shorten(title, 84, placeholder=" ..."), font=_font(26), fill=LEVELS.get(level, LEVELS[ERROR])
    )
    rows = [textwrap.shorten(line, _LETTERS, placeholder=" ...") for line in lines[:2]]
    for number, row in enumerate(rows):
        draw.text((22, 43 + 22 * number), row, font=_font(16), fill=_TEXT)
    _legend(draw)
    _views(picture, draw, views)
    return picture


def _legend(draw: ImageDraw.ImageDraw) -> None:
    x, y = 14, SIZE[1] - 28
    for words, colour in _LEGEND:
        draw.rectangle((x, y + 7, x + 18, y + 13), fill=tuple(round(255 * c) for c in colour))
        draw.text((x + 25, y), words, font=_font(15), fill=_TEXT)
        x += 44 + round(draw.textlength(words, font=_font(15)))


def _views(picture: Image.Image, draw: ImageDraw.ImageDraw, views: Sequence[View]) -> None:
    """The cameras below each other, in two columns when there are more than three; as large as they fit."""
    columns = 1 if len(views) <= 3 else 2
    rows = -(-len(views) // columns) or 1
    width = (_SIDE - _GAP * (columns + 1)) // columns
    height, lines = (SIZE[1] - _HEAD - _GAP) // rows, 2 if columns == 1 else 1
    for index, view in enumerate(views):
        left = SIZE[0] - _SIDE + _GAP + (index % columns) * (width + _GAP)
        top = _HEAD + _GAP + (index // columns) * height
        box = (width, height - 16 - 18 * lines)
        shown = _fitted(view.pixels, box) if view.pixels is not None else Image.new("RGB", box, (12, 13, 15))
        picture.paste(shown, (left, top))
        if view.pixels is None:
            draw.text((left + 12, top + 10), "no picture", font=_font(15), fill=LEVELS[ERROR])
        words = textwrap.wrap(f"{view.name}   {view.words}", max(8, width // 7), max_lines=lines, placeholder=" ...")
        draw.text((left, top + shown.height + 4), "\n".join(words), font=_font(14), fill=_DIM)


def _fitted(pixels: np.ndarray, box: tuple[int, int]) -> Image.Image:
    image = Image.fromarray(pixels)
    scale = min(box[0] / image.width, box[1] / image.height)
    small = max(1, round(image.width * scale)), max(1, round(image.height * scale))
    return image.resize(small, Image.Resampling.BICUBIC if scale < 4 else Image.Resampling.NEAREST)


def _font(size: int) -> ImageFont.ImageFont | ImageFont.FreeTypeFont:
    try:
        return ImageFont.load_default(size)
    except TypeError:  # before Pillow 10.1 there is one size
        return ImageFont.load_default()
