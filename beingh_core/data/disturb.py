"""What can go wrong with cameras, made on purpose and the same in every run: darkness, noise, something in the way, a stuck
camera, lost pictures."""

from __future__ import annotations

import zlib
from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np

from beingh_core.errors import BeingHError

_BOUNDS = {"brightness": (0.0, 10.0), "noise": (0.0, 255.0), "occlusion": (0.0, 1.0), "drop": (0.0, 1.0)}


@dataclass(frozen=True, kw_only=True)
class Disturbance:
    """Which disturbances there are; none by default.

    Attributes:
        brightness: factor on every value.
        noise: standard deviation of noise on every value [of 255].
        occlusion: share of the picture's area that a grey square covers, at a place that stays for a recording.
        drop: share of pictures that are lost.
        frozen: view -> (from, to) [s]: the camera goes on sending the picture that it had then.
        views: to which these happen; () for all. `frozen` names its own.
    """

    brightness: float = 1.0
    noise: float = 0.0
    occlusion: float = 0.0
    drop: float = 0.0
    frozen: Mapping[str, tuple[float, float]] = field(default_factory=dict)
    views: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        for name, (low, high) in _BOUNDS.items():
            if not low <= getattr(self, name) <= high:
                raise BeingHError(f"{name} {getattr(self, name)}", allowed=f"{low:g} to {high:g}")
        for view, (begin, end) in self.frozen.items():
            if not 0.0 <= begin < end:
                raise BeingHError(f"{view} frozen from {begin} to {end} s", allowed="0 <= from < to")

    def check(self, views: tuple[str, ...]) -> None:
        """Refuses a view that a robot does not have.

        Raises:
            BeingHError: naming it.
        """
        for view in (*self.views, *self.frozen):
            if view not in views:
                raise BeingHError(f"there is no view `{view}` to disturb", allowed=views)

    @property
    def changes_pixels(self) -> bool:
        """Whether any picture is changed, not only lost or repeated."""
        return self.brightness != 1.0 or self.noise > 0.0 or self.occlusion > 0.0

    @property
    def text(self) -> str:
        """In words; "" for none."""
        parts = [f"{name} {getattr(self, name):g}" for name, none in
                 (("brightness", 1.0), ("noise", 0.0), ("occlusion", 0.0), ("drop", 0.0)) if getattr(self, name) != none]  # fmt: skip
        of = f" ({', '.join(self.views)})" if self.views and parts else ""
        frozen = [f"{view} frozen {begin:g} to {end:g} s" for view, (begin, end) in self.frozen.items()]
        return ", ".join(parts) + of + (", " if parts and frozen else "") + ", ".join(frozen)

    def start(self, seed: int, recording: object) -> Disturbed:
        """For one recording; the same seed and recording give the same disturbances."""
        return Disturbed(self, seed, recording)


class Disturbed:
    """The disturbances of one recording. From one thread, pictures of each view in their order.

    Args:
        settings: Which.
        seed, recording: Of what is random.
    """

    def __init__(self, settings: Disturbance, seed: int, recording: object) -> None:
        self._settings, self._key = settings, f"{seed}|{recording}"
        self._rngs: dict[str, np.random.Generator] = {}
        self._held: dict[str, object] = {}
        self._places: dict[str, tuple[float, float]] = {}

    def is_lost(self, view: str) -> bool:
        """Whether the next picture of a view is lost; call it once for each."""
        return self._concerns(view) and self._settings.drop > 0.0 and self._rng(view).random() < self._settings.drop

    def held(self, view: str, time_s: float, picture: object) -> object:
        """The picture that a camera sends: this one, or the one at which it is stuck."""
        begin, end = self._settings.frozen.get(view, (np.inf, np.inf))
        if not begin <= time_s < end:
            self._held.pop(view, None)
            return picture
        return self._held.setdefault(view, picture)

    def pixels(self, view: str, pixels_HWC: np.ndarray) -> np.ndarray:
        """A picture (uint8) after darkness, noise and what is in the way; the very same array without any."""
        settings = self._settings
        if not self._concerns(view) or not settings.changes_pixels:
            return pixels_HWC
        values = pixels_HWC.astype(np.float32) * settings.brightness
        if settings.noise:
            values += settings.noise * self._rng(view).standard_normal(values.shape, dtype=np.float32)
        values = np.clip(np.round(values), 0, 255).astype(np.uint8)
        if settings.occlusion:
            height, width = values.shape[:2]
            side = np.sqrt(settings.occlusion)
            down, right = self._place(view)
            top, left = round(down * (1 - side) * height), round(right * (1 - side) * width)
            values[top : top + round(side * height), left : left + round(side * width)] = 128
        return values

    def picture(self, view: str, time_s: float, pixels_HWC: np.ndarray) -> np.ndarray:
        """`pixels` of `held`; a lost picture leaves the one before it, as at a tick of the live nodes."""
        if self.is_lost(view) and (view, "last") in self._held:
            return self._held[(view, "last")]
        seen = self.pixels(view, self.held(view, time_s, pixels_HWC))
        self._held[(view, "last")] = seen
        return seen

    def _concerns(self, view: str) -> bool:
        return not self._settings.views or view in self._settings.views

    def _rng(self, view: str) -> np.random.Generator:
        if view not in self._rngs:
            self._rngs[view] = np.random.default_rng(zlib.crc32(f"{self._key}|{view}".encode()))
        return self._rngs[view]

    def _place(self, view: str) -> tuple[float, float]:
        if view not in self._places:
            rng = np.random.default_rng(zlib.crc32(f"{self._key}|{view}|place".encode()))
            self._places[view] = tuple(rng.random(2).tolist())
        return self._places[view]
