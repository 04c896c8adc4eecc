"""What a contract asks for between a camera's pixels and the policy: lens distortion out, turned, cut, depth as grey.

Distortion models are those of sensor_msgs/CameraInfo: `plumb_bob` and `rational_polynomial` (Brown) and `equidistant`
(fisheye); the picture keeps its size and its camera matrix K. Depth of value v is far away at v * scale metres.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from beingh_core.contract import CameraStream
from beingh_core.data.pixels import opencv
from beingh_core.errors import BeingHError, shown

BROWN, FISHEYE = ("plumb_bob", "rational_polynomial"), ("equidistant", "fisheye")


@dataclass(frozen=True)
class Lens:
    """One camera's calibration.

    Attributes:
        height, width: of the picture it is for [pixels].
        model: distortion model of CameraInfo.
        matrix: the 9 numbers of K, row by row.
        distortion: the numbers of D.
    """

    height: int
    width: int
    model: str
    matrix: tuple[float, ...]
    distortion: tuple[float, ...]


class View:
    """One camera's pictures as the policy sees them. One thread.

    Args:
        camera: The contract's camera.

    Raises:
        BeingHError: Undistorting needs OpenCV, which is not installed.
    """

    def __init__(self, camera: CameraStream) -> None:
        self._camera, self._lens = camera, None
        self._maps: tuple[np.ndarray, np.ndarray] | None = None
        self._cv2 = opencv() if camera.undistort else None

    def calibrate(self, lens: Lens) -> None:
        """Take a calibration; the same one again costs nothing.

        Raises:
            BeingHError: It is none of a lens that is known here; the one before stays.
        """
        if lens != self._lens:
            self._maps = self._maps_of(lens)
            self._lens = lens

    def apply(self, pixels_HWC: np.ndarray) -> np.ndarray:
        """uint8 (H', W', 3) of uint8 (H, W, 3) pixels; of a depth image they are `grey_of_depth`.

        Raises:
            BeingHError: There is no calibration yet, one of another size, or the crop lies outside of the picture.
        """
        camera = self._camera
        if camera.undistort:
            pixels_HWC = self._undistorted(pixels_HWC)
        if camera.rotate:
            pixels_HWC = np.rot90(pixels_HWC, -camera.rotate // 90)
        if camera.crop:
            pixels_HWC = self._cropped(pixels_HWC)
        return np.ascontiguousarray(pixels_HWC)

    def _undistorted(self, pixels_HWC: np.ndarray) -> np.ndarray:
        topic, size = self._camera.undistort, pixels_HWC.shape[:2]
        if self._lens is None:
            raise BeingHError(f"no CameraInfo has come on {topic}", remedy="publish it, or leave `undistort` out")
        if size != (self._lens.height, self._lens.width):
            raise BeingHError(
                f"the picture is {size[1]}x{size[0]} and its CameraInfo on {topic} is for "
                f"{self._lens.width}x{self._lens.height}",
                remedy="calibrate at the resolution that is published",
            )
        # Between a distance and none there is no distance.
        how = self._cv2.INTER_NEAREST if self._camera.depth else self._cv2.INTER_LINEAR
        return self._cv2.remap(pixels_HWC, *self._maps, how)

    def _cropped(self, pixels_HWC: np.ndarray) -> np.ndarray:
        left, top, width, height = self._camera.crop
        high, wide = pixels_HWC.shape[:2]
        if left + width > wide or top + height > high:
            raise BeingHError(
                f"`crop` {list(self._camera.crop)} lies outside of a picture of {wide}x{high}",
                remedy="correct `crop` of the camera: [left, top, width, height], after `rotate`",
            )
        return pixels_HWC[top : top + height, left : left + width]

    def _maps_of(self, lens: Lens) -> tuple[np.ndarray, np.ndarray]:
        matrix, distortion = np.array(lens.matrix, float), np.array(lens.distortion, float)
        fits = matrix.shape == (9,) and np.isfinite(matrix).all() and np.isfinite(distortion).all()
        if not fits or matrix[0] <= 0.0 or matrix[4] <= 0.0 or min(lens.height, lens.width) < 1:
            raise BeingHError(
                f"CameraInfo on {self._camera.undistort} is no calibration: K is {shown(list(lens.matrix))}",
                remedy="calibrate the camera (camera_calibration), or leave `undistort` out",
            )
        matrix, size = matrix.reshape(3, 3), (lens.width, lens.height)
        if lens.model in BROWN and len(distortion) in (4, 5, 8):
            return self._cv2.initUndistortRectifyMap(matrix, distortion, None, matrix, size, self._cv2.CV_32FC1)
        if lens.model in FISHEYE and len(distortion) == 4:
            return self._cv2.fisheye.initUndistortRectifyMap(
                matrix, distortion, np.eye(3), matrix, size, self._cv2.CV_32FC1
            )
        raise BeingHError(
            f"CameraInfo on {self._camera.undistort} has the model {shown(lens.model)} with {len(distortion)} numbers",
            allowed=[*(f"{name} (4, 5 or 8)" for name in BROWN), *(f"{name} (4)" for name in FISHEYE)],
        )


def grey_of_depth(values_HW: np.ndarray, depth: Sequence[float]) -> np.ndarray:
    """uint8 (H, W, 3) grey of uint16 (H, W) depth: white at `near` and nearer, black at `far`, farther and unknown (0).

    Args:
        values_HW: Depth as the camera counts.
        depth: (metres a step, near [m], far [m]).
    """
    scale, near, far = depth
    metres = scale * np.arange(1 << 16)
    shades = np.round(255.0 * np.clip((far - metres) / (far - near), 0.0, 1.0)).astype(np.uint8)
    shades[0] = 0
    return np.repeat(shades[values_HW][..., None], 3, axis=2)
