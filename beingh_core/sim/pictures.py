"""Pictures of the simulator as cameras send them: rendered at the view's size, with noise, in the contract's encoding."""

from __future__ import annotations

import io

import mujoco
import numpy as np
from PIL import Image

from beingh_core.contract.encodings import COMPRESSED, RAW, Encoding
from beingh_core.errors import BeingHError
from beingh_core.sim.views import SimView

# What can be written, of `encodings`.
WRITTEN = tuple(name for name, encoding in {**RAW, **COMPRESSED}.items() if not encoding.needs_opencv)
DEPTH_ENCODING = "16UC1"
JPEG_QUALITY = 90
# Nothing beyond is measured by a depth camera [m].
FARTHEST_M = 10.0
_GREY = np.array([0.299, 0.587, 0.114])
_NOISE_VALUES = 1 << 20


class Pictures:
    """Renders views. Belongs to the thread that rendered first.

    Args:
        model: the scene.
        seed: of the noise.
    """

    def __init__(self, model: mujoco.MjModel, seed: int = 0) -> None:
        self._model, self._rng = model, np.random.default_rng(seed)
        self._renderers: dict[tuple[int, int, bool], mujoco.Renderer] = {}
        self._noise: np.ndarray | None = None

    def colour(self, data: mujoco.MjData, view: SimView) -> np.ndarray:
        """uint8 (H, W, 3) RGB."""
        pixels = self._renderer(view, False, data).render()
        return self._noisy(pixels, view.noise) if view.noise > 0.0 else pixels

    def depth(self, data: mujoco.MjData, view: SimView) -> np.ndarray:
        """float32 (H, W): distance along the direction in which the camera looks [m], 0 beyond `FARTHEST_M`."""
        distances = self._renderer(view, True, data).render()
        return np.where(distances > FARTHEST_M, np.float32(0.0), distances)

    def close(self) -> None:
        """Release the OpenGL contexts; call from the thread that rendered."""
        for renderer in self._renderers.values():
            renderer.close()
        self._renderers.clear()

    def _renderer(self, view: SimView, is_depth: bool, data: mujoco.MjData) -> mujoco.Renderer:
        key = (view.height, view.width, is_depth)
        if key not in self._renderers:
            self._renderers[key] = mujoco.Renderer(self._model, view.height, view.width)
            if is_depth:
                self._renderers[key].enable_depth_rendering()
        self._renderers[key].update_scene(data, camera=view.camera)
        return self._renderers[key]

    def _noisy(self, pixels: np.ndarray, deviation: float) -> np.ndarray:
        """`pixels` with noise out of one long list, from anywhere in it on: drawing anew takes longer than rendering."""
        if self._noise is None:
            self._noise = self._rng.standard_normal(_NOISE_VALUES).astype(np.float32)
        begin = int(self._rng.integers(_NOISE_VALUES))
        noise = np.resize(np.roll(self._noise, -begin), pixels.shape) * np.float32(deviation)
        return np.clip(np.rint(pixels + noise), 0, 255).astype(np.uint8)


def written(pixels: np.ndarray, name: str) -> tuple[bytes, int]:
    """Bytes of a picture in an encoding, and how many one row has (0 of a compressed one).

    Args:
        pixels: uint8 (H, W, 3) RGB; float32 (H, W) distances [m] for `DEPTH_ENCODING`.
        name: one of `WRITTEN`.

    Raises:
        BeingHError: another encoding.
    """
    if name not in WRITTEN:
        raise BeingHError(f"the simulator cannot publish {name}", allowed=WRITTEN)
    if name == DEPTH_ENCODING:
        steps = np.rint(np.clip(pixels * 1000.0, 0, 65535)).astype("<u2")
        return steps.tobytes(), 2 * steps.shape[1]
    if name in COMPRESSED:
        return _compressed(pixels, COMPRESSED[name]), 0
    values = _arranged(pixels, RAW[name])
    if RAW[name].bits == 16:
        values = values.astype("<u2") * 257
    return np.ascontiguousarray(values).tobytes(), values.shape[1] * values.shape[2] * values.itemsize


def _arranged(pixels: np.ndarray, encoding: Encoding) -> np.ndarray:
    """(H, W, channels) uint8 in the order of an encoding."""
    if encoding.layout == "grey":
        return _grey(pixels)[..., None]
    planes = {letter: pixels[..., index] for index, letter in enumerate("rgb")}
    planes["a"] = np.full(pixels.shape[:2], 255, np.uint8)
    return np.stack([planes[letter] for letter in encoding.layout], axis=-1)


def _grey(pixels: np.ndarray) -> np.ndarray:
    """uint8 (H, W), by BT.601."""
    return np.rint(pixels @ _GREY).astype(np.uint8)


def _compressed(pixels: np.ndarray, encoding: Encoding) -> bytes:
    image = Image.fromarray(pixels if encoding.colour else _grey(pixels))
    out = io.BytesIO()
    options = {"quality": JPEG_QUALITY} if encoding.layout == "jpeg" else {"compress_level": 1}
    image.save(out, encoding.layout, **options)
    return out.getvalue()
