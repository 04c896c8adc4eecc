"""Pictures of the simulator: where its cameras are, what they see, and how it is written."""

import io
from dataclasses import replace

import numpy as np
import pytest
from PIL import Image

from beingh_core.contract import load_contract
from beingh_core.contract.encodings import COMPRESSED, RAW
from beingh_core.data.pixels import raw_pixels
from beingh_core.errors import BeingHError
from beingh_core.sim import CUBE_COLOURS, SimRobot
from beingh_core.sim.pictures import WRITTEN, Pictures, written
from beingh_core.sim.views import SimView

VIEW = SimView(name="front", camera="scene_camera", height=240, width=320, rate_hz=30.0, noise=0.0, fovy_deg=42.0)


@pytest.fixture(scope="module")
def robot():
    robot = SimRobot.of(load_contract("vx300s"))
    robot.reset(2)
    return robot


@pytest.fixture(scope="module")
def pictures(robot):
    pictures = Pictures(robot.model)
    yield pictures
    pictures.close()


def optical(robot, camera, point):
    """A point (3,) in the axes of a camera's picture: right, down and ahead [m]."""
    place = robot.data.camera(camera)
    right, up, back = place.xmat.reshape(3, 3).T
    return np.array([right, -up, -back]) @ (point - place.xpos)


def test_cubes_are_where_the_intrinsics_say(robot, pictures):
    image, depth = pictures.colour(robot.data, VIEW).astype(int), pictures.depth(robot.data, VIEW)
    fx, fy, cx, cy = VIEW.intrinsics
    for colour, (place, _) in robot.objects().items():
        channel = list(CUBE_COLOURS).index(colour)
        others = [other for other in range(3) if other != channel]
        rows, columns = np.nonzero((image[..., channel] > 60) & (image[..., channel] > 2 * image[..., others].max(-1)))
        right, down, ahead = optical(robot, "scene_camera", place)
        wanted = (cx + fx * right / ahead, cy + fy * down / ahead)
        np.testing.assert_allclose((columns.mean(), rows.mean()), wanted, atol=1.5)
        # The middle of a cube is behind the sides that are seen.
        assert 0.0 < ahead - np.median(depth[rows, columns]) < robot.layout.cube_m


def test_the_table_is_as_far_as_it_is(robot, pictures):
    depth = pictures.depth(robot.data, VIEW)
    fx, fy, cx, cy = VIEW.intrinsics
    row, column = 200, 40
    ray = np.array([(column - cx) / fx, (row - cy) / fy, 1.0]) * depth[row, column]
    place = robot.data.camera("scene_camera")
    right, up, back = place.xmat.reshape(3, 3).T
    point = place.xpos + np.column_stack([right, -up, -back]) @ ray
    assert point[2] == pytest.approx(robot.layout.table[2], abs=0.002)
    above = pictures.depth(robot.data, replace(VIEW, camera="spectator_camera"))
    assert above.dtype == np.float32 and (above[0] == 0.0).all(), "nothing is there"


@pytest.mark.parametrize("name", [name for name in WRITTEN if name in RAW and name != "16UC1"])
def test_raw_pictures_are_read_as_they_were(name):
    pixels = np.random.default_rng(0).integers(0, 256, (5, 7, 3), dtype=np.uint8)
    data, step = written(pixels, name)
    read = raw_pixels(data, height=5, width=7, step=step, encoding=name)
    if RAW[name].colour:
        assert (read == pixels).all()
    else:
        grey = pixels @ [0.299, 0.587, 0.114]
        assert np.abs(read - grey[..., None]).max() <= 0.51


@pytest.mark.parametrize("name", sorted(COMPRESSED))
def test_compressed_pictures_are_files(name):
    pixels = np.kron(
        np.random.default_rng(0).integers(0, 256, (4, 4, 3), dtype=np.uint8), np.ones((16, 16, 1), np.uint8)
    )
    data, _ = written(pixels, name)
    image = Image.open(io.BytesIO(data))
    assert image.format.lower() == name.split("_")[0] and image.size == (64, 64)
    assert image.mode == ("RGB" if COMPRESSED[name].colour else "L")
    if name == "png":
        assert (np.asarray(image) == pixels).all()


def test_depth_is_written_in_millimetres():
    data, step = written(np.array([[0.0, 0.5004, 1.2345]], np.float32), "16UC1")
    assert np.frombuffer(data, "<u2").tolist() == [0, 500, 1234] and step == 6


def test_other_encodings_are_one_error():
    with pytest.raises(BeingHError, match="cannot publish uyvy.*rgb8"):
        written(np.zeros((2, 2, 3), np.uint8), "uyvy")


def test_noise_is_as_large_as_it_says(robot, pictures):
    plain = pictures.colour(robot.data, VIEW).astype(int)
    noisy = pictures.colour(robot.data, replace(VIEW, noise=4.0)).astype(int)
    inside = (plain > 20) & (plain < 235)
    assert (noisy - plain)[inside].std() == pytest.approx(4.0, rel=0.1)
    assert abs((noisy - plain)[inside].mean()) < 0.2


def test_each_arm_has_a_camera_of_its_own():
    robot = SimRobot.of(load_contract("aloha"))
    bodies = {
        name: robot.model.body(robot.model.camera(view.camera).bodyid[0]).name for name, view in robot.views.items()
    }
    assert bodies == {
        "cam_high": "world",
        "cam_low": "world",
        "cam_left_wrist": "left_fingers_link",
        "cam_right_wrist": "right_fingers_link",
    }
    assert len({view.camera for view in robot.views.values()}) == 4
    for side in ("left", "right"):
        camera = robot.views[f"cam_{side}_wrist"].camera
        tips = [robot.data.body(f"{side}_{finger}_finger_link").xpos for finger in ("left", "right")]
        right, down, ahead = optical(robot, camera, np.mean(tips, axis=0))
        assert ahead > 0.03 and abs(right / ahead) < 0.1 and abs(down / ahead) < np.tan(np.deg2rad(40))


def test_a_camera_stands_where_the_contract_says():
    robot = SimRobot.of(load_contract("g1"))
    view = robot.views["head_view"]
    assert (view.width, view.height, view.fovy_deg, view.rate_hz) == (640, 480, 42.0, 20.0)
    torso, camera = robot.data.body("torso_link"), robot.data.camera(view.camera)
    axes = torso.xmat.reshape(3, 3)
    np.testing.assert_allclose(camera.xpos, torso.xpos + axes @ [0.0576235, 0.01753, 0.42987], atol=1e-9)
    # d435_joint turns by 0.8307767 about y: downwards.
    ahead = axes @ [np.cos(0.8307767), 0.0, -np.sin(0.8307767)]
    np.testing.assert_allclose(-camera.xmat.reshape(3, 3)[:, 2], ahead, atol=1e-5)
