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

_GREY = torch.tensor([0.299, 0.587, 0.114]).view(3, 1, 1)  # ITU-R BT.601


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
    changed = []
    for pixels in pixels_V3SS:
        image = pixels.float() / 255.0
        draws = rng.uniform(-1.0, 1.0, 4)
        for which in rng.permutation(4):
            if strengths[which]:
                amount = float(draws[which] * strengths[which])
                image = _CHANGES[which](image, amount if which == 3 else 1.0 + amount)
        changed.append((image * 255.0).round_().to(torch.uint8))
    return torch.stack(changed)


def brightened(image_3SS: Tensor, factor: float) -> Tensor:
    """A picture in 0..1 whose values are multiplied."""
    return (image_3SS * factor).clamp_(0.0, 1.0)


def contrasted(image_3SS: Tensor, factor: float) -> Tensor:
    """A picture in 0..1 whose values are moved away from its mean grey."""
    mean = (image_3SS * _GREY).sum(0).mean()
    return (mean + factor * (image_3SS - mean)).clamp_(0.0, 1.0)


def saturated(image_3SS: Tensor, factor: float) -> Tensor:
    """A picture in 0..1 whose values are moved away from each pixel's grey."""
    grey = (image_3SS * _GREY).sum(0, keepdim=True)
    return (grey + factor * (image_3SS - grey)).clamp_(0.0, 1.0)


def turned(image_3SS: Tensor, turns: float) -> Tensor:
    """A picture in 0..1 whose hue is moved by a share of the circle, at the same value and saturation (HSV)."""
    hsv = cv2.cvtColor(image_3SS.permute(1, 2, 0).contiguous().numpy(), cv2.COLOR_RGB2HSV)
    hsv[..., 0] = np.remainder(hsv[..., 0] + 360.0 * turns, 360.0)  # OpenCV counts the hue of float32 in degrees
    return torch.from_numpy(cv2.cvtColor(hsv, cv2.COLOR_HSV2RGB)).permute(2, 0, 1)


_CHANGES = (brightened, contrasted, saturated, turned)
