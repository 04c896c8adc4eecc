"""Camera images as the vision tower takes them."""

from __future__ import annotations

import numpy as np
import torch
from PIL import Image

from beingh_core.errors import BeingHError

# ImageNet, RGB, of values in 0..1
MEAN = np.array([0.485, 0.456, 0.406], dtype=np.float32)
STD = np.array([0.229, 0.224, 0.225], dtype=np.float32)
_SCALE = (1.0 / (255.0 * STD)).astype(np.float32)
_SHIFT = (MEAN / STD).astype(np.float32)


def check_image(image: np.ndarray, name: str = "image") -> np.ndarray:
    """One RGB picture as a (H, W, 3) uint8 array; a leading batch of one is dropped.

    Raises:
        BeingHError: another type, shape or number of channels.
    """
    image = np.asarray(image)
    if image.dtype != np.uint8:
        raise BeingHError(
            f"`{name}` is {image.dtype}, not uint8",
            remedy="hand over RGB values 0..255 as uint8, neither scaled nor normalised",
        )
    while image.ndim > 3 and image.shape[0] == 1:
        image = image[0]
    if image.ndim != 3 or image.shape[2] != 3 or 0 in image.shape:
        raise BeingHError(
            f"`{name}` has shape {image.shape}",
            allowed="(height, width, 3) or (1, height, width, 3)",
            remedy="hand over one RGB picture, channels last",
        )
    return image


def resize_crop(image: np.ndarray, size: int) -> np.ndarray:
    """(S, S, 3) uint8: short side to `size` (bicubic, antialiased), then the centre.

    Args:
        image: (H, W, 3) uint8.
        size: S, pixels.
    """
    height, width = image.shape[:2]
    if height <= width:
        new_height, new_width = size, int(size * width / height)
    else:
        new_height, new_width = int(size * height / width), size
    if (new_height, new_width) != (height, width):
        picture = Image.fromarray(np.ascontiguousarray(image))
        image = np.asarray(picture.resize((new_width, new_height), Image.Resampling.BICUBIC))
    top, left = int(round((new_height - size) / 2)), int(round((new_width - size) / 2))
    return image[top : top + size, left : left + size]


def normalize(image: np.ndarray) -> torch.Tensor:
    """(3, S, S) float32 with ImageNet mean and deviation taken out, of (S, S, 3) uint8."""
    values = image.astype(np.float32) * _SCALE - _SHIFT
    return torch.from_numpy(np.ascontiguousarray(values.transpose(2, 0, 1)))


def eval_transform(image: np.ndarray, size: int) -> torch.Tensor:
    """The deterministic image transform of inference.

    Args:
        image: (H, W, 3) uint8 RGB.
        size: S, the side the vision tower takes [pixels].

    Returns:
        (3, S, S) float32.
    """
    return normalize(resize_crop(image, size))
