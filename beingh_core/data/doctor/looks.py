"""Looks at a camera's pictures while they pass: small copies now and then, equal ones in a row, black ones.

Equal means equal bytes where a message is a whole picture (bags), and equal up to what an encoder adds where they
come out of a video. Only what is shown is decoded, and in bags what may be black.
"""

from __future__ import annotations

import io
import math
from collections.abc import Callable

import numpy as np
from PIL import Image

from beingh_core.data.doctor.facts import Look, Run, View
from beingh_core.errors import BeingHError

LOOK_S = 0.5
MOST_LOOKS = 400  # of a camera; beyond it, every other one goes
SIDE = 200  # of a small picture [pixels]
QUALITY = 72
DARK = 20  # grey values up to this are black, and 16 is what videos call black
DARK_SHARE = 0.995
# A picture of so many blocks a side is the same when none of their means differs by more. Equal pictures differed by up to 3
# after H.264 and AV1 with crf 30 had settled on them, those of an arm that moves by 35 and more.
BLOCKS, SAME = 16, 6
_SAMPLES = 2048
_SMALL = 0.4  # a compressed picture that is so much smaller than usual may be black


class Looker:
    """Watches one camera; times are any increasing numbers of seconds.

    Args:
        name, label: See `View`.
        exact: Whether all pictures come, to be compared by their bytes; otherwise some of a video.
    """

    def __init__(self, name: str, label: str, *, exact: bool) -> None:
        self.view = View(name=name, label=label, sampled=not exact)
        self._exact = exact
        self._every_s, self._next_s = LOOK_S, -np.inf
        self._still, self._black = _Runs(2), _Runs(1)
        self._tail: memoryview | None = None
        self._small: np.ndarray | None = None
        self._usual_bytes = 0.0
        self._last: tuple[float, Callable[[], np.ndarray]] | None = None

    def message(self, time_s: float, tail: memoryview, decode: Callable[[], np.ndarray], *, plain: bool) -> None:
        """A picture in a message.

        Args:
            time_s: When it was recorded.
            tail: The message behind its stamp.
            decode: Gives uint8 (H, W, 3); raises BeingHError.
            plain: Whether the bytes are brightness or colours as they are, so that zeros are black.
        """
        self.view.count += 1
        same = self._tail is not None and _equal(self._tail, tail)
        self._still.add(time_s, same)
        self._tail, self._last = tail, (time_s, decode)
        usual, self._usual_bytes = self._usual_bytes, 0.9 * self._usual_bytes + 0.1 * len(tail)
        if time_s >= self._next_s:
            self._look(judge=True)
        elif plain:
            values = np.frombuffer(tail, np.uint8)[64 :: _step(len(tail))]
            self._black.add(time_s, is_black(values))
        elif len(tail) < _SMALL * usual and not same:
            pixels = self._decoded(decode)
            self._black.add(time_s, pixels is not None and is_black(pixels[::8, ::8]))
        else:
            self._black.add(time_s, same and self._black.running)

    def picture(self, time_s: float, pixels: np.ndarray) -> None:
        """A decoded picture of a video."""
        self.view.count += 1
        self._last = (time_s, lambda: pixels)
        self._look(judge=True)

    def look(self) -> None:
        """Keeps a small copy of the newest picture."""
        self._look(judge=False)

    def _look(self, *, judge: bool) -> None:
        """`judge` tells that the picture has not been judged as black or not."""
        if self._last is None or (self.view.looks and self.view.looks[-1].time_s == self._last[0]):
            return
        time_s, decode = self._last
        self._next_s = time_s + self._every_s
        pixels = self._decoded(decode)
        small = None if pixels is None else _small(pixels)
        if judge:
            self._black.add(time_s, small is not None and is_black(small))
        if small is None:
            return
        if not self._exact:
            before, self._small = self._small, small
            self._still.add(time_s, before is not None and is_same(before, small))
        self.view.looks.append(Look(time_s=time_s, jpeg=_jpeg(small)))
        if len(self.view.looks) > MOST_LOOKS:
            del self.view.looks[1::2]
            self._every_s *= 2

    def finish(self) -> View:
        """What was seen, with the last picture."""
        self.look()
        self.view.still, self.view.black = self._still.finish(), self._black.finish()
        return self.view

    def _decoded(self, decode: Callable[[], np.ndarray]) -> np.ndarray | None:
        self.view.tried += 1
        try:
            return decode()
        except BeingHError as error:
            self.view.unreadable += 1
            self.view.trouble = self.view.trouble or error.what
            return None


class _Runs:
    """Stretches in which something holds for at least `least` pictures."""

    def __init__(self, least: int) -> None:
        self._least, self._found = least, []
        self._start_s = self._end_s = self._before_s = 0.0
        self._count = 0

    @property
    def running(self) -> bool:
        """Whether it held last time."""
        return self._count > 0

    def add(self, time_s: float, holds: bool) -> None:
        """The next picture; `least` 2 means that `holds` compares it with the one before, which belongs to the run."""
        if holds and not self._count:
            self._start_s, self._count = (self._before_s, 1) if self._least == 2 else (time_s, 0)
        if holds:
            self._count, self._end_s = self._count + 1, time_s
        else:
            self._close()
        self._before_s = time_s

    def finish(self) -> list[Run]:
        """All of them."""
        self._close()
        return self._found

    def _close(self) -> None:
        if self._count:
            self._found.append(Run(start_s=self._start_s, end_s=self._end_s, count=self._count))
        self._count = 0


def _step(size: int) -> int:
    """How far samples of a picture's bytes lie apart; has no factor of a row's length, so that all colours are met."""
    step = max(1, size // _SAMPLES)
    return next(wide for wide in range(step, step + 30) if math.gcd(wide, 30) == 1)


def _equal(one: memoryview, other: memoryview) -> bool:
    """Whether two messages are the same; pictures that differ mostly do so in their first rows."""
    if len(one) != len(other) or one[:4096] != other[:4096]:
        return False
    return np.array_equal(np.frombuffer(one, np.uint8), np.frombuffer(other, np.uint8))


def is_black(values: np.ndarray) -> bool:
    """Whether nearly all values are dark."""
    return bool(values.size) and np.count_nonzero(values <= DARK) >= DARK_SHARE * values.size


def is_same(one: np.ndarray, other: np.ndarray) -> bool:
    """Whether two small pictures are one picture, encoded twice."""
    blocks = [
        np.asarray(Image.fromarray(p).resize((BLOCKS, BLOCKS), Image.Resampling.BOX), np.int16) for p in (one, other)
    ]
    return bool(np.abs(blocks[0] - blocks[1]).max() <= SAME)


def _small(pixels: np.ndarray) -> np.ndarray:
    picture = Image.fromarray(pixels)
    picture.thumbnail((SIDE, SIDE), reducing_gap=2.0)
    return np.asarray(picture)


def _jpeg(pixels: np.ndarray) -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, "JPEG", quality=QUALITY)
    return buffer.getvalue()
