"""A camera's messages as the policy sees them: from the message to the picture, for live nodes and export alike.

A message is anything with the fields of its type: rclpy's own, or what a bag's reader makes of it.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from beingh_core.contract import CameraStream
from beingh_core.contract.encodings import IMAGE_ENCODINGS, RAW_TYPE
from beingh_core.data.pixels import compressed_pixels, depth_values, fields_of, opencv, raw_pixels
from beingh_core.data.views import Lens, View, grey_of_depth
from beingh_core.policy.observations import image_key
from beingh_core.policy.pictures import check_image


class CameraReader:
    """Reads one camera's messages. One thread.

    Args:
        camera: The contract's camera.

    Raises:
        BeingHError: When the encoding, or undistorting, needs OpenCV, which is not installed.
    """

    def __init__(self, camera: CameraStream) -> None:
        self._camera = camera
        if IMAGE_ENCODINGS[camera.type][camera.encoding].needs_opencv:
            opencv()  # takes a while the first time, which no callback may
        self._view = View(camera)

    def calibrate(self, lens: Lens) -> None:
        """Take a calibration; see `View.calibrate`."""
        self._view.calibrate(lens)

    def pixels(self, message: Any) -> np.ndarray:
        """uint8 (H, W, 3) of a message, of depth as grey.

        Raises:
            BeingHError: Another encoding than the contract's, sizes that do not fit, or no calibration yet.
        """
        if self._camera.depth:
            pixels = grey_of_depth(self._depth(message), self._camera.depth)
        else:
            pixels = plain_pixels(message, self._camera)
        return check_image(self._view.apply(pixels), image_key(self._camera.name))

    def depth(self, message: Any) -> np.ndarray:
        """uint16 (H, W) of a depth camera's message as the camera counts, cut and turned as its picture; see `pixels`."""
        return self._view.apply(self._depth(message))

    def _depth(self, message: Any) -> np.ndarray:
        return depth_values(**fields_of(message), promised=self._camera.encoding)


def plain_pixels(message: Any, camera: CameraStream) -> np.ndarray:
    """uint8 (H, W, 3) of a message of a camera without depth, neither cut nor turned.

    Raises:
        BeingHError: Another encoding than the contract's, or sizes that do not fit.
    """
    if camera.type == RAW_TYPE:
        return raw_pixels(**fields_of(message), promised=camera.encoding)
    return compressed_pixels(message.data, text=message.format, promised=camera.encoding)


def lens_of(message: Any) -> Lens:
    """The calibration in a CameraInfo."""
    numbers = tuple(map(float, message.k)), tuple(map(float, message.d))
    return Lens(message.height, message.width, message.distortion_model, *numbers)
