"""The simulator's cameras on the wire: types, encodings, sizes, intrinsics, and stamps that are the time of exposure."""

import io

import numpy as np
import pytest
from PIL import Image as Picture
from ros_support import ROOT, NodeProcess, Recorder, ros_graph
from sensor_msgs.msg import CameraInfo, CompressedImage, Image

from beingh_ros.messages.conversions import image_to_array, stamp_to_ns

pytest.importorskip("mujoco")

LATENCY_S, JITTER_S = 0.12, 0.05
SIM = """sim:
  cameras:
    scene_view: {size: [160, 120], rate_hz: 10}
    wrist_view: {size: [64, 48], fovy_deg: 60, rate_hz: 10}
  faults: {camera_latency_s: 0.9}
"""


@pytest.fixture(scope="module")
def wire(tmp_path_factory):
    """Some messages of every camera topic, with the time when each came."""
    folder = tmp_path_factory.mktemp("cameras")
    text = (ROOT / "config" / "robots" / "fr3.yaml").read_text()
    text = text.replace("encoding: rgb8", "encoding: bgr8", 1)
    text = text.replace(
        "wrist_camera/color/image_raw, type: sensor_msgs/msg/Image, encoding: rgb8",
        "wrist/image_raw/compressed, type: sensor_msgs/msg/CompressedImage, encoding: jpeg",
    )
    begin = text.index("\nsim:")
    contract = folder / "robot.yaml"
    contract.write_text(f"{text[:begin]}\n{SIM}\n{text[text.index('estop_topic:') :]}")
    topics = {
        "scene": ("/scene_camera/color/image_raw", Image),
        "scene_info": ("/scene_camera/color/camera_info", CameraInfo),
        "wrist": ("/wrist/image_raw/compressed", CompressedImage),
        "wrist_info": ("/wrist/camera_info", CameraInfo),
    }
    with ros_graph() as graph:
        recorders = {name: Recorder(graph, kind, topic) for name, (topic, kind) in topics.items()}
        ages = []

        def receive(message):
            ages.append((graph.get_clock().now().nanoseconds - stamp_to_ns(message.header.stamp)) / 1e9)

        graph.create_subscription(Image, topics["scene"][0], receive, 10)
        values = {"contract": str(contract), "camera_latency_s": LATENCY_S, "camera_jitter_s": JITTER_S}
        with NodeProcess(graph, "sim_node", values, folder / "sim.log"):
            for recorder in recorders.values():
                recorder.wait_for(8)
        yield {name: list(recorder.messages) for name, recorder in recorders.items()} | {"ages": ages}


def test_pictures_have_the_size_and_the_encoding_of_the_contract(wire):
    scene, wrist = wire["scene"][-1], wire["wrist"][-1]
    assert (scene.width, scene.height, scene.encoding, scene.step) == (160, 120, "bgr8", 480)
    assert wrist.format == "jpeg"
    image = Picture.open(io.BytesIO(bytes(wrist.data)))
    assert (image.format, image.size) == ("JPEG", (64, 48))
    # The table is brown, which is told by red before blue: of the message as it says, and of the file.
    for pixels in (image_to_array(scene, "bgr8"), np.asarray(image)):
        middle = pixels[pixels.shape[0] // 3 :].astype(int)
        assert np.median(middle[..., 0] - middle[..., 2]) > 10


def test_intrinsics_are_those_of_the_pictures(wire):
    for view, fovy_deg in (("scene", 42.0), ("wrist", 60.0)):
        info, picture = wire[f"{view}_info"][-1], wire[view][-1]
        assert info.header.frame_id == picture.header.frame_id
        size = (160, 120) if view == "scene" else (64, 48)
        assert (info.width, info.height) == size and not any(info.d)
        focal = size[1] / 2 / np.tan(np.deg2rad(fovy_deg / 2))
        wanted = [focal, 0.0, (size[0] - 1) / 2, 0.0, focal, (size[1] - 1) / 2, 0.0, 0.0, 1.0]
        assert info.k.tolist() == pytest.approx(wanted)
        stamps = {stamp_to_ns(message.header.stamp) for message in wire[view]}
        assert stamps & {stamp_to_ns(message.header.stamp) for message in wire[f"{view}_info"]}


def test_stamps_are_of_the_exposure_and_the_parameters_override_the_contract(wire):
    ages = wire["ages"]
    assert min(ages) >= LATENCY_S
    assert min(ages) < 0.9, "the contract's latency was taken"
    stamps = [stamp_to_ns(message.header.stamp) for message in wire["scene"]]
    gaps = np.diff(stamps) / 1e9
    # Exposures keep their time, a tenth of a second or, where one was left out, several; jitter is none of theirs.
    np.testing.assert_allclose(gaps, np.maximum(0.1, np.round(gaps, 1)), atol=1e-6)
