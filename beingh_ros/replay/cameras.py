"""Recorded pictures on their way to the nodes: disturbed as was asked, and some kept for the report."""

from __future__ import annotations

import numpy as np
from rclpy.serialization import deserialize_message, serialize_message
from sensor_msgs.msg import CompressedImage, Image

from beingh_core.contract import CameraStream, RobotContract
from beingh_core.data.bags.message import header_of, restamped
from beingh_core.data.camera_reader import plain_pixels
from beingh_core.data.disturb import Disturbance
from beingh_core.data.pixels import opencv
from beingh_core.errors import BeingHError
from beingh_core.openloop.recording import Played

# Raw encodings of one byte a value, with the number of values of a pixel.
CHANNELS = {"rgb8": 3, "bgr8": 3, "rgba8": 4, "bgra8": 4, "mono8": 1}
FILM_S = 0.5
JPEG_QUALITY = 95


class Cameras:
    """The cameras of one recording. One thread.

    Args:
        contract: Robot.
        disturbance: What is done to the pictures.
        seed: Of what is random.
        recording: Name of the recording.
        film: Whether to keep pictures for the report.

    Attributes:
        by_topic: Topic -> camera.
        film: (time [s], view -> uint8 (H, W, 3)).

    Raises:
        BeingHError: Pixels are to be changed in an encoding that this cannot.
    """

    def __init__(
        self, contract: RobotContract, disturbance: Disturbance, seed: int, recording: str, film: bool = False
    ) -> None:
        self.by_topic = {camera.topic: camera for camera in contract.cameras}
        self.film: list[tuple[float, dict[str, np.ndarray]]] = []
        self._disturbance, self._disturbed = disturbance, disturbance.start(seed, recording)
        self._newest: dict[str, np.ndarray] = {}
        self._filming, self._filmed_s = film, -np.inf
        for camera in contract.cameras:
            if (
                self._is_changed(camera)
                and not camera.type.endswith("CompressedImage")
                and camera.encoding not in CHANNELS
            ):
                raise BeingHError(
                    f"pictures of {camera.name} are {camera.encoding}, whose brightness and noise are not changed here",
                    allowed=CHANNELS, remedy="name other views: --disturb VIEW",
                )  # fmt: skip

    def sent(self, message: Played, time_s: float) -> bytes | None:
        """What the camera sends in place of a recorded picture; None for a lost one."""
        camera = self.by_topic[message.topic]
        if self._disturbed.is_lost(camera.name):
            return None
        data = self._disturbed.held(camera.name, time_s, message.data)
        if data is not message.data:
            data = restamped(data, header_of(message.data)[0])
        if self._is_changed(camera):
            data = self._changed(camera, data)
        if self._filming:
            self._keep(camera, data, time_s)
        return data

    def _is_changed(self, camera: CameraStream) -> bool:
        disturbance = self._disturbance
        return disturbance.changes_pixels and (not disturbance.views or camera.name in disturbance.views)

    def _changed(self, camera: CameraStream, data: bytes) -> bytes:
        """The message with other pixels."""
        if camera.type.endswith("CompressedImage"):
            message, cv2 = deserialize_message(data, CompressedImage), opencv()
            pixels = cv2.imdecode(np.frombuffer(message.data, np.uint8), cv2.IMREAD_COLOR)
            if pixels is None:
                return data  # the node refuses it, as it would live
            kind = ".png" if "png" in message.format else ".jpg"
            options = [] if kind == ".png" else [cv2.IMWRITE_JPEG_QUALITY, JPEG_QUALITY]
            message.data = cv2.imencode(kind, self._disturbed.pixels(camera.name, pixels), options)[1].tobytes()
            return serialize_message(message)
        message, channels = deserialize_message(data, Image), CHANNELS[camera.encoding]
        rows = np.array(message.data, dtype=np.uint8)
        if message.encoding != camera.encoding or rows.size != message.height * message.step:
            return data
        rows = rows.reshape(message.height, message.step)
        width = message.width * channels
        pixels = rows[:, :width].reshape(message.height, message.width, channels)
        rows[:, :width] = self._disturbed.pixels(camera.name, pixels).reshape(message.height, width)
        message.data = rows.tobytes()
        return serialize_message(message)

    def _keep(self, camera: CameraStream, data: bytes, time_s: float) -> None:
        """Note a picture; all views of about one time make one of the film."""
        if time_s - self._filmed_s < FILM_S:
            return
        try:
            if not camera.depth:
                kind = CompressedImage if camera.type.endswith("CompressedImage") else Image
                self._newest[camera.name] = plain_pixels(deserialize_message(data, kind), camera)
        except BeingHError:
            return  # the node says so
        if len(self._newest) == sum(not one.depth for one in self.by_topic.values()):
            self.film.append((max(time_s, 0.0), dict(self._newest)))
            self._newest.clear()
            self._filmed_s = time_s
