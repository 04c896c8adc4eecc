"""Shifts of what the cameras show: their kinds, their strengths, and what each is in an episode."""

from __future__ import annotations

import math
import random
from collections.abc import Sequence
from dataclasses import dataclass

from beingh_core.data.disturb import Disturbance
from beingh_core.errors import BeingHError, did_you_mean

NONE = "none"
# A camera sticks first at some moment of so long a beginning: a pick takes about 5 s.
STICKS_WITHIN_S = 4.0
MOST_OFFSET_M = 1.0
MOST_FROZEN_S = 3600.0

# Kind -> what its strength is.
KINDS = {
    NONE: "",
    "brightness": "factor on every value",
    "noise": "standard deviation of every value of a pixel, of 255",
    "occlusion": "share of the picture behind a grey square, at a place that the seed draws for the episode",
    "offset": "metres by which the camera stands aside in the plane of its picture, in a direction that the seed draws",
    "frozen": f"seconds for which the picture stands still, from a moment of the first {STICKS_WITHIN_S:g} s on that the seed draws",
}  # fmt: skip
LABELS = {
    "brightness": "factor of brightness",
    "noise": "noise [of 255]",
    "occlusion": "hidden share",
    "offset": "camera aside [m]",
    "frozen": "frozen for [s]",
}


@dataclass(frozen=True)
class Shift:
    """One kind at one strength.

    Attributes:
        kind: Of `KINDS`.
        strength: See there; that of `none` is 0.

    Raises:
        BeingHError: No such kind, or a strength that is impossible or changes nothing.
    """

    kind: str = NONE
    strength: float = 0.0

    def __post_init__(self) -> None:
        if self.kind not in KINDS:
            raise BeingHError(
                f"there is no shift `{self.kind}`",
                where="--shifts",
                allowed=KINDS,
                remedy=did_you_mean(self.kind, KINDS),
            )
        most = {"offset": MOST_OFFSET_M, "frozen": MOST_FROZEN_S}.get(self.kind, math.inf)
        if self.kind != NONE and not (self.strength != self._neutral and 0.0 <= self.strength <= most):
            raise BeingHError(
                f"the shift `{self}` is impossible or none", where="--shifts",
                allowed=f"{KINDS[self.kind]}; not {self._neutral:g}" + (f", at most {most:g}" if most < math.inf else ""),
            )  # fmt: skip
        self.disturbance(0, ())  # its bounds

    def __str__(self) -> str:
        return self.kind if self.kind == NONE else f"{self.kind}:{self.strength:g}"

    @property
    def _neutral(self) -> float:
        """The strength at which nothing is shifted."""
        return 1.0 if self.kind == "brightness" else 0.0

    @classmethod
    def read(cls, text: str) -> Shift:
        """A shift of `none` or `KIND:STRENGTH`.

        Raises:
            BeingHError: The text is neither, or see the class.
        """
        kind, colon, strength = text.partition(":")
        try:
            if bool(colon) == (kind == NONE):
                raise ValueError
            return cls(kind, float(f"{float(strength):g}")) if colon else cls(kind)  # as it is written in rows
        except ValueError:
            raise BeingHError(
                f"`{text}` is no shift", where="--shifts", allowed="none, or KIND:STRENGTH such as brightness:0.5"
            ) from None

    def disturbance(self, seed: int, views: Sequence[str]) -> Disturbance:
        """What it is in the episode of a seed, to these views; of an offset nothing, see `aside`."""
        if self.kind in ("brightness", "noise", "occlusion"):
            return Disturbance(**{self.kind: self.strength}, views=tuple(views))
        if self.kind == "frozen":
            begin = random.Random(f"{seed}|frozen").uniform(0.0, STICKS_WITHIN_S)
            return Disturbance(frozen={view: (begin, begin + self.strength) for view in views})
        return Disturbance()

    def aside(self, seed: int, view: str) -> tuple[float, float]:
        """How far the camera of a view stands to the right and up in the episode of a seed [m]."""
        if self.kind != "offset":
            return 0.0, 0.0
        angle = random.Random(f"{seed}|{view}|aside").uniform(0.0, 2.0 * math.pi)
        return self.strength * math.cos(angle), self.strength * math.sin(angle)
