"""Changes of training pictures, as released: a random crop and colour jitter. Shape letters: V views, S side of a picture."""

from __future__ import annotations

import math

import cv2
import numpy as np
import torch
from PIL import Image
from torch import Tensor

from beingh_core.policy.pictures import resize_crop
from beingh_core.train.settings import PicturesSection


def cropped(image_HW3: np.ndarray, size: int, smallest: float, rng: np.random.Generator) -> np.ndarray:
    """(S, S, 3) uint8: a random square out of the middle square, which is what inference sees.

    Args:
        image_HW3: uint8.
        size: S [pixels].
        smallest: least share of the middle square's area; 1 gives exactly the picture of inference.
        rng: draws share and place.
    """
    share, across, down = rng.uniform(smallest, 1.0), rng.random(), rng.random()
    if smallest >= 1.0:
        return resize_crop(image_HW3, size)
    height, width = image_HW3.shape[:2]
    short = min(height, width)
    side = short * math.sqrt(share)
    left, top = (width - short) / 2 + across * (short - side), (height - short) / 2 + down * (short - side)
    picture = Image.fromarray(np.ascontiguousarray(image_HW3))
    box = (left, top, left + side, top + side)
    return np.asarray(picture.resize((size, size), Image.Resampling.BICUBIC, box=box))


def jittered(pixels_V3SS: Tensor, settings: PicturesSection, rng: np.random.Generator) -> Tensor:
    """Brightness, contrast, saturation and hue changed in random order and strength, each view for itself.

    Args:
        pixels_V3SS: uint8.
        settings: strengths.
        rng: draws them.

    Returns:
        uint8 of the same shape.
    """
    strengths = (settings.brightness, settings.contrast, settings.saturation, settings.hue)
    if not any(strengths):
        return pixels_V3SS
    changed = np.empty((len(pixels_V3SS), *pixels_V3SS.shape[2:], 3), np.uint8)
    for view, pixels in enumerate(pixels_V3SS.permute(0, 2, 3, 1).contiguous().numpy()):
        image = pixels * np.float32(1 / 255)
        draws = rng.uniform(-1.0, 1.0, 4)
        for which in rng.permutation(4):
            if strengths[which]:
                amount = float(draws[which] * strengths[which])
                image = _CHANGES[which](image, amount if which == 3 else 1.0 + amount)
        changed[view] = np.rint(image * 255.0)
    return torch.from_numpy(changed).permute(0, 3, 1, 2).contiguous()


def brightened(image_SS3: np.ndarray, factor: float) -> np.ndarray:
    """A picture in 0..1, float32, whose values are multiplied."""
    return _clipped(image_SS3 * np.float32(factor))


def contrasted(image_SS3: np.ndarray, factor: float) -> np.ndarray:
    """A picture in 0..1 whose values are moved away from its mean grey."""
    mean = float(_grey(image_SS3).mean())
    return _clipped(image_SS3 * np.float32(factor) + np.float32((1.0 - factor) * mean))


def saturated(image_SS3: np.ndarray, factor: float) -> np.ndarray:
    """A picture in 0..1 whose values are moved away from each pixel's grey."""
    grey = _grey(image_SS3) * np.float32(1.0 - factor)
    return _clipped(image_SS3 * np.float32(factor) + grey[..., None])


def turned(image_SS3: np.ndarray, turns: float) -> np.ndarray:
    """A picture in 0..1 whose hue is moved by a share of the circle, at the same value and saturation (HSV)."""
    hsv = cv2.cvtColor(image_SS3, cv2.COLOR_RGB2HSV)
    hue = hsv[..., 0] * np.float32(1 / 360) + np.float32(turns)  # OpenCV counts that of float32 in degrees
    hsv[..., 0] = (hue - np.floor(hue)) * np.float32(360)
    return cv2.cvtColor(hsv, cv2.COLOR_HSV2RGB)


def _grey(image_SS3: np.ndarray) -> np.ndarray:
    """(S, S), by ITU-R BT.601."""
    return cv2.cvtColor(image_SS3, cv2.COLOR_RGB2GRAY)


def _clipped(image: np.ndarray) -> np.ndarray:
    return np.clip(image, 0.0, 1.0, out=image)


_CHANGES = (brightened, contrasted, saturated, turned)
