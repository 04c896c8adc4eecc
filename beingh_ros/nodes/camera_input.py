"""One camera's subscription: QoS that fits its publishers, pixels into the stream."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from rclpy.node import Node
from rclpy.qos import QoSProfile, ReliabilityPolicy
from sensor_msgs.msg import CompressedImage, Image

from beingh_core.contract import CameraStream
from beingh_core.contract.encodings import IMAGE_ENCODINGS
from beingh_core.data.pixels import opencv
from beingh_core.errors import BeingHError
from beingh_core.policy.pictures import check_image
from beingh_ros.messages.conversions import compressed_to_array, image_to_array, stamp_to_ns

BEST_EFFORT, RELIABLE = ReliabilityPolicy.BEST_EFFORT, ReliabilityPolicy.RELIABLE
DEPTH = 5


class CameraInput:
    """Subscribes best effort, which fits every publisher, and changes to reliable while all publishers are.

    Raw images sent best effort lose most of their fragments under load; a reliable publisher heard through a
    best-effort subscription does so too.

    Args:
        node: Owner.
        camera: The contract's camera.
        push: Called with (stamp [ns], uint8 (H, W, 3)).
        refuse: Called with the error of a message that cannot be used.

    Raises:
        BeingHError: When the encoding needs OpenCV, which is not installed.
    """

    def __init__(
        self,
        node: Node,
        camera: CameraStream,
        push: Callable[[int, np.ndarray], None],
        refuse: Callable[[BeingHError], None],
    ) -> None:
        self._node, self._camera, self._push, self._refuse = node, camera, push, refuse
        self._compressed = camera.type.endswith("CompressedImage")
        if IMAGE_ENCODINGS[camera.type][camera.encoding].needs_opencv:
            opencv()  # takes a while the first time, which no callback may
        self._subscription = None
        self.reliability = BEST_EFFORT
        self._subscribe()

    def match_publishers(self) -> None:
        """Subscribe again when the publishers ask for another reliability; executor thread."""
        offered = [info.qos_profile.reliability for info in self._node.get_publishers_info_by_topic(self._camera.topic)]
        wanted = RELIABLE if offered and all(policy == RELIABLE for policy in offered) else BEST_EFFORT
        if offered and wanted != self.reliability:
            self.reliability = wanted
            self.close()
            self._subscribe()

    def close(self) -> None:
        """Remove the subscription."""
        self._node.destroy_subscription(self._subscription)

    def _subscribe(self) -> None:
        self._subscription = self._node.create_subscription(
            CompressedImage if self._compressed else Image,
            self._camera.topic,
            self._receive,
            QoSProfile(depth=DEPTH, reliability=self.reliability),
        )

    def _receive(self, message: Image | CompressedImage) -> None:
        try:
            stamp_ns = stamp_to_ns(message.header.stamp)
            if stamp_ns == 0:
                raise BeingHError("an image has no time stamp", remedy="use a driver that stamps its images")
            convert = compressed_to_array if self._compressed else image_to_array
            pixels = check_image(convert(message, self._camera.encoding), f"video.{self._camera.name}")
        except BeingHError as error:
            self._refuse(error)
            return
        self._push(stamp_ns, pixels)
