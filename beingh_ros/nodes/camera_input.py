"""One camera's subscription: QoS that fits its publishers, pixels into the stream, and why there are none."""

from __future__ import annotations

import time
from collections.abc import Callable

import numpy as np
from rclpy.node import Node
from rclpy.qos import QoSProfile, ReliabilityPolicy
from sensor_msgs.msg import CameraInfo, CompressedImage, Image

from beingh_core.contract import CameraStream
from beingh_core.data.camera_reader import CameraReader, lens_of
from beingh_core.errors import BeingHError
from beingh_ros.messages.conversions import stamp_to_ns
from beingh_ros.nodes.graph import listed, namesakes, of_other_type, publishers, resolved

BEST_EFFORT, RELIABLE = ReliabilityPolicy.BEST_EFFORT, ReliabilityPolicy.RELIABLE
DEPTH = 5
# Without a message for so long, the graph is asked why [s].
SILENT_S = 1.0
PICTURES = ("sensor_msgs/msg/Image", "sensor_msgs/msg/CompressedImage")
# Best effort and volatile fits every publisher; a calibration comes with every picture.
CALIBRATIONS = QoSProfile(depth=1, reliability=BEST_EFFORT)


class CameraInput:
    """Subscribes best effort, which fits every publisher, and changes to reliable while all publishers are.

    Raw images sent best effort lose most of their fragments under load; a reliable publisher received through a
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
        self._reader = CameraReader(camera)
        self._subscription = self._calibration = None
        if camera.undistort:
            self._calibration = node.create_subscription(CameraInfo, camera.undistort, self._calibrate, CALIBRATIONS)
        self.reliability = BEST_EFFORT
        self._received_s = -SILENT_S
        self._subscribe()

    def match_publishers(self) -> str:
        """Subscribe again when the publishers ask for another reliability; executor thread.

        Returns:
            Why no message comes; see `absence`.
        """
        offered = [info.qos_profile.reliability for info in self._node.get_publishers_info_by_topic(self._camera.topic)]
        wanted = RELIABLE if offered and all(policy == RELIABLE for policy in offered) else BEST_EFFORT
        if offered and wanted != self.reliability:
            self.reliability = wanted
            self._node.destroy_subscription(self._subscription)
            self._subscribe()
        return self.absence()

    def absence(self) -> str:
        """Why no message comes, from what the graph shows; "" while they come. Executor thread."""
        if time.monotonic() - self._received_s < SILENT_S:
            return ""
        node, topic, kind = self._node, resolved(self._node, self._camera.topic), self._camera.type
        others = of_other_type(node, topic, kind)
        if others:
            name, wrong = next(iter(others.items()))
            return f"{name} publishes {wrong} there, and the contract says {kind}"
        who = publishers(node, topic)
        if who:
            qos = self.reliability.name.lower().replace("_", " ")
            return f"{listed(who)} publishes there, and nothing comes ({qos}): is the camera running?"
        elsewhere = namesakes(node, topic, kind) or self._pictures()
        return "nobody publishes there" + (f"; there is {listed(elsewhere)}" if elsewhere else "")

    def _pictures(self) -> list[str]:
        """Other topics of this namespace on which pictures are published."""
        space = self._node.get_namespace().rstrip("/") + "/"
        found = self._node.get_topic_names_and_types()
        names = [name for name, kinds in found if name.startswith(space) and set(kinds) & set(PICTURES)]
        return [name for name in names if self._node.count_publishers(name)]

    def close(self) -> None:
        """Remove the subscriptions."""
        for subscription in filter(None, (self._subscription, self._calibration)):
            self._node.destroy_subscription(subscription)

    def _subscribe(self) -> None:
        self._subscription = self._node.create_subscription(
            CompressedImage if self._compressed else Image,
            self._camera.topic,
            self._receive,
            QoSProfile(depth=DEPTH, reliability=self.reliability),
        )

    def _receive(self, message: Image | CompressedImage) -> None:
        self._received_s = time.monotonic()
        try:
            stamp_ns = stamp_to_ns(message.header.stamp)
            if stamp_ns == 0:
                raise BeingHError("an image has no time stamp", remedy="use a driver that stamps its images")
            pixels = self._reader.pixels(message)
        except BeingHError as error:
            self._refuse(error)
            return
        self._push(stamp_ns, pixels)

    def _calibrate(self, message: CameraInfo) -> None:
        try:
            self._reader.calibrate(lens_of(message))
        except BeingHError as error:
            self._refuse(error)
