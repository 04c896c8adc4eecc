"""Why a camera sends nothing: what the graph shows, and how the policy tells it."""

import numpy as np
import pytest
import rclpy
from rclpy.context import Context
from rclpy.node import Node
from rclpy.qos import QoSProfile, ReliabilityPolicy
from ros_support import ros_graph, spun, wait_until
from sensor_msgs.msg import CompressedImage, Image

from beingh_core.contract import load_contract
from beingh_core.inference.policy_inputs import PolicyInputs
from beingh_ros.messages.conversions import array_to_image
from beingh_ros.nodes import camera_input
from beingh_ros.nodes.camera_input import BEST_EFFORT, RELIABLE, CameraInput

FR3 = load_contract("fr3")
CAMERA = FR3.cameras[0]
TOPIC = f"/left/{CAMERA.topic}"


def test_a_camera_that_never_comes_is_told_with_topic_and_cause(monkeypatch):
    inputs = PolicyInputs(FR3, lambda topic: f"/left/{topic}")
    closed = dict(inputs.closed(0))
    assert closed["video.scene_view"] == f"missing: nothing was received ({TOPIC})"
    inputs.hints["video.scene_view"] = "nobody publishes there"
    assert (
        dict(inputs.closed(0))["video.scene_view"] == f"missing: nothing was received ({TOPIC}: nobody publishes there)"
    )


def test_the_graph_shows_why_no_picture_comes(monkeypatch):
    monkeypatch.setattr(camera_input, "SILENT_S", 0.0)
    seen, refused = [], []
    with ros_graph() as graph:
        node = Node("policy", context=graph.context, namespace="/left")
        camera = CameraInput(node, CAMERA, lambda _stamp, pixels: seen.append(pixels), refused.append)
        assert camera.absence() == "nobody publishes there"
        # In the root, where the driver was started without the namespace.
        root = graph.create_publisher(Image, CAMERA.topic, 1)
        wait_until(lambda: camera.absence() == f"nobody publishes there; there is /{CAMERA.topic}", what="the namesake")
        graph.destroy_publisher(root)
        other = graph.create_publisher(CompressedImage, "/left/camera/color/compressed", 1)
        wait_until(lambda: "; there is /left/camera/color/compressed" in camera.absence(), what="another camera")
        graph.destroy_publisher(other)
        # One process cannot have a topic of two types.
        apart = Context()
        rclpy.init(args=[], context=apart, domain_id=int(graph.environment["ROS_DOMAIN_ID"]))
        driver = Node("driver", context=apart)
        driver.create_publisher(CompressedImage, TOPIC, 1)
        words = "/driver publishes sensor_msgs/msg/CompressedImage there, and the contract says sensor_msgs/msg/Image"
        wait_until(lambda: camera.absence() == words, what="the other type")
        driver.destroy_node()
        rclpy.shutdown(context=apart)
        node.destroy_node()


@pytest.mark.parametrize("reliability", [BEST_EFFORT, RELIABLE])
def test_pictures_come_whatever_the_publisher_offers(monkeypatch, reliability):
    """And while they do, there is nothing to explain."""
    seen = []
    with ros_graph() as graph:
        node = Node("policy", context=graph.context, namespace="/left")
        with spun(node):
            camera = CameraInput(node, CAMERA, lambda _stamp, pixels: seen.append(pixels), seen.append)
            driver = graph.create_publisher(
                Image, TOPIC, QoSProfile(depth=5, reliability=ReliabilityPolicy(reliability))
            )
            wait_until(
                lambda: "publishes there, and nothing comes (best effort)" in camera.absence(), what="the publisher"
            )
            picture = array_to_image(np.full((96, 96, 3), 7, np.uint8), 10**18, "camera")

            def come():
                camera.match_publishers()
                driver.publish(picture)
                return seen and camera.reliability == reliability and not camera.absence()

            wait_until(come, what="a picture")
            assert np.all(seen[-1] == 7)
