"""What a contract asks for between a camera and the policy: distortion out, turned, cut, depth, optional."""

from dataclasses import replace

import numpy as np
import pytest
from contract_support import changed, set_key
from ros_support import ros_graph, wait_matched, wait_until
from sensor_msgs.msg import CameraInfo, Image
from test_nodes_logic import FR3, HOME, NOW

from beingh_core.data.views import Lens, View, grey_of_depth
from beingh_core.errors import BeingHError
from beingh_core.inference.policy_inputs import PolicyInputs
from beingh_ros.messages.conversions import ns_to_stamp
from beingh_ros.nodes.camera_input import CameraInput

pytest.importorskip("cv2")
changed = changed
CAMERA = FR3.cameras[0]
K = (60.0, 0.0, 40.0, 0.0, 58.0, 30.0, 0.0, 0.0, 1.0)
D = (-0.3, 0.1, 0.002, -0.001, 0.02)


def ramp(height=60, width=80):
    """Pixels that say where they are: red rises to the right, green downwards."""
    y, x = np.mgrid[:height, :width]
    return np.stack([3 * x, 4 * y, np.full_like(x, 7)], axis=2).astype(np.uint8)


@pytest.mark.parametrize(("turn", "corner"), [(0, (0, 0)), (90, (0, -1)), (180, (-1, -1)), (270, (-1, 0))])
def test_turned_clockwise_and_then_cut(turn, corner):
    pixels = ramp()
    seen = View(replace(CAMERA, rotate=turn)).apply(pixels)
    assert seen.shape == ((60, 80, 3) if turn % 180 == 0 else (80, 60, 3))
    np.testing.assert_array_equal(seen[corner], pixels[0, 0])
    cut = View(replace(CAMERA, rotate=turn, crop=(10, 20, 30, 40))).apply(pixels)
    np.testing.assert_array_equal(cut, seen[20:60, 10:40])
    assert cut.flags.c_contiguous


def test_a_crop_outside_of_the_picture_is_one_error():
    with pytest.raises(BeingHError, match=r"`crop` \[60, 0, 30, 40\] lies outside of a picture of 80x60"):
        View(replace(CAMERA, crop=(60, 0, 30, 40))).apply(ramp())


def brown(x, y):
    """Distorted image coordinates (Brown 1966, as CameraInfo has them: k1 k2 p1 p2 k3)."""
    k1, k2, p1, p2, k3 = D
    r2 = x * x + y * y
    radial = 1 + k1 * r2 + k2 * r2**2 + k3 * r2**3
    return x * radial + 2 * p1 * x * y + p2 * (r2 + 2 * x * x), y * radial + p1 * (r2 + 2 * y * y) + 2 * p2 * x * y


def fisheye(x, y):
    """Distorted image coordinates (Kannala and Brandt 2006, four terms)."""
    r = np.hypot(x, y)
    angle = np.arctan(r)
    bent = angle * (1 + D[0] * angle**2 + D[1] * angle**4 + D[2] * angle**6 + D[3] * angle**8)
    scale = np.where(r > 1e-9, bent / np.maximum(r, 1e-9), 1.0)
    return x * scale, y * scale


@pytest.mark.parametrize(("model", "numbers", "bend"), [("plumb_bob", D, brown), ("equidistant", D[:4], fisheye)])
def test_distortion_is_taken_out(model, numbers, bend):
    view = View(replace(CAMERA, undistort="/camera_info"))
    with pytest.raises(BeingHError, match="no CameraInfo has come on /camera_info"):
        view.apply(ramp())
    view.calibrate(Lens(60, 80, model, K, numbers))
    seen = view.apply(ramp()).astype(float)
    y, x = np.mgrid[:60, :80]
    bent_x, bent_y = bend((x - K[2]) / K[0], (y - K[5]) / K[4])
    u, v = K[0] * bent_x + K[2], K[4] * bent_y + K[5]
    inside = (u > 1) & (u < 78) & (v > 1) & (v < 58)
    assert inside.sum() > 2000 and np.abs(u - x)[inside].max() > 2.0
    np.testing.assert_allclose(seen[..., 0][inside], 3 * u[inside], atol=1.0)
    np.testing.assert_allclose(seen[..., 1][inside], 4 * v[inside], atol=1.0)
    with pytest.raises(BeingHError, match="picture is 40x30 and its CameraInfo on /camera_info is for 80x60"):
        view.apply(ramp(30, 40))


@pytest.mark.parametrize(
    ("lens", "words"),
    [
        (Lens(60, 80, "plumb_bob", (0.0,) * 9, D), "no calibration: K is"),
        (Lens(60, 80, "plumb_bob", (float("nan"), *K[1:]), D), "no calibration"),
        (Lens(60, 80, "plumb_bob", K, D[:3]), "'plumb_bob' with 3 numbers.*plumb_bob"),
        (Lens(60, 80, "magic", K, D), "'magic' with 5 numbers.*rational_polynomial"),
        (Lens(0, 0, "plumb_bob", K, D), "no calibration"),
    ],
)
def test_what_is_no_calibration_is_one_error_and_the_old_one_stays(lens, words):
    view = View(replace(CAMERA, undistort="/camera_info"))
    view.calibrate(Lens(60, 80, "plumb_bob", K, (0.0,) * 5))
    with pytest.raises(BeingHError, match=words):
        view.calibrate(lens)
    np.testing.assert_array_equal(view.apply(ramp())[1:-1, 1:-1], ramp()[1:-1, 1:-1])


def test_depth_is_grey_from_near_to_far():
    """1 mm a step, 0.5 m white, 1.5 m black: 1.0 m is half, and no distance is black."""
    grey = grey_of_depth(np.array([[0, 400, 500, 1000, 1500, 65535]], np.uint16), (0.001, 0.5, 1.5))
    assert grey.shape == (1, 6, 3) and grey.dtype == np.uint8
    assert grey[0, :, 0].tolist() == [0, 255, 255, 128, 0, 0]
    np.testing.assert_array_equal(grey[..., 0], grey[..., 2])


def inputs_without(missing):
    contract = replace(FR3, cameras=(FR3.cameras[0], replace(FR3.cameras[1], optional=True, crop=(0, 0, 40, 30))))
    inputs = PolicyInputs(contract)
    inputs.push_joints("joint_states", NOW, dict(HOME))
    for camera in contract.cameras:
        if camera.name != missing:
            inputs.push_image(f"video.{camera.name}", NOW, np.full((30, 40, 3), 90, np.uint8))
    return inputs


def test_the_policy_goes_on_without_an_optional_camera_and_sees_black():
    inputs = inputs_without("wrist_view")
    assert inputs.closed(NOW) == []
    image = inputs.observe().images["wrist_view"]
    assert image.shape == (30, 40, 3) and not image.any()
    assert "the policy sees black" in inputs.missing_views(NOW)["video.wrist_view"]
    inputs.push_image("video.wrist_view", NOW, np.full((30, 40, 3), 50, np.uint8))
    assert inputs.missing_views(NOW) == {} and (inputs.observe().images["wrist_view"] == 50).all()
    later = NOW + 300_000_000
    inputs.push_joints("joint_states", later, dict(HOME))
    inputs.push_image("video.scene_view", later, np.full((30, 40, 3), 90, np.uint8))
    inputs.refuse("video.wrist_view", "broken")
    assert inputs.closed(later) == [], "neither an old nor a refused one closes the gate"
    assert not inputs.observe().images["wrist_view"].any()
    assert inputs.missing_views(later)["video.wrist_view"].startswith("broken")


def test_it_waits_for_a_camera_that_is_not_optional():
    assert [name for name, _ in inputs_without("scene_view").closed(NOW)] == ["video.scene_view"]


def test_pictures_over_dds_with_their_calibration_and_as_depth():
    flat = replace(CAMERA, topic="/eye/image", undistort="/eye/camera_info", rotate=180)
    deep = replace(CAMERA, topic="/deep/image", encoding="16UC1", depth=(0.001, 0.5, 1.5))
    seen, refused = {"flat": [], "deep": []}, []
    with ros_graph() as graph:
        inputs = [
            CameraInput(graph, camera, lambda _stamp, pixels, n=name: seen[n].append(pixels), refused.append)
            for name, camera in (("flat", flat), ("deep", deep))
        ]
        pictures, depths = (graph.create_publisher(Image, camera.topic, 5) for camera in (flat, deep))
        infos = graph.create_publisher(CameraInfo, flat.undistort, 5)
        wait_matched(graph, pictures, depths, infos)
        message = Image(height=60, width=80, step=240, encoding="rgb8", data=ramp().tobytes())
        message.header.stamp = ns_to_stamp(NOW)
        pictures.publish(message)
        wait_until(lambda: refused, what="the refusal of a picture without calibration")
        assert "no CameraInfo has come on /eye/camera_info" in str(refused[0]) and not seen["flat"]
        infos.publish(CameraInfo(height=60, width=80, distortion_model="plumb_bob", k=list(K), d=[0.0] * 5))
        again = graph.create_timer(0.02, lambda: pictures.publish(message))
        wait_until(lambda: seen["flat"], what="a picture")
        again.cancel()
        np.testing.assert_array_equal(seen["flat"][0][1:-1, 1:-1], ramp()[::-1, ::-1][1:-1, 1:-1])
        values = np.full((30, 40), 1000, ">u2")
        depth = Image(height=30, width=40, step=80, encoding="16UC1", is_bigendian=1, data=values.tobytes())
        depth.header.stamp = ns_to_stamp(NOW)
        depths.publish(depth)
        wait_until(lambda: seen["deep"], what="a depth image")
        assert (seen["deep"][0] == 128).all()
        for camera in inputs:
            camera.close()


MISTAKES = {
    "no quarter turn": ("rotate", 45, ["rotate", "0, 90, 180, 270"]),
    "half a pixel": ("crop", [0, 0, 10.5, 20], ["crop", "left, top, width, height"]),
    "nothing left": ("crop", [0, 0, 4, 20], ["crop", "at least 8"]),
    "three numbers": ("crop", [0, 0, 20], ["4 numbers"]),
    "depth of a picture": ("depth", {"near": 0.2, "far": 1.0}, ["`rgb8`", "16UC1 of sensor_msgs/msg/Image"]),
    "far before near": ("depth", {"near": 1.0, "far": 0.5}, ["not farther than near"]),
    "calibration of nothing": ("undistort", "camera info", ["not a topic name"]),
    "all optional": ("optional", True, ["every camera is optional"]),
}


@pytest.mark.parametrize("mistake", MISTAKES)
def test_a_mistake_is_one_error(mistake, changed):
    key, value, wanted = MISTAKES[mistake]
    with pytest.raises(BeingHError) as caught:
        changed("pose_arm", set_key(f"cameras.front_view.{key}", value))
    for part in ("robot.yaml:", *wanted):
        assert part in str(caught.value)


def test_a_depth_camera_loads(changed):
    def change(document):
        document["cameras"]["front_view"] |= {"encoding": "16UC1", "depth": {"near": 0.2, "far": 1.2}}

    assert changed("pose_arm", change).cameras[0].depth == (0.001, 0.2, 1.2)
