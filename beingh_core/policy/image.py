"""Camera pictures as the vision tower takes them."""

from __future__ import annotations

import numpy as np
import torch

from beingh_core.policy.pictures import resize_crop

# ImageNet, RGB, of values in 0..1
MEAN = np.array([0.485, 0.456, 0.406], dtype=np.float32)
STD = np.array([0.229, 0.224, 0.225], dtype=np.float32)
_SCALE = (1.0 / (255.0 * STD)).astype(np.float32)
_SHIFT = (MEAN / STD).astype(np.float32)


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
