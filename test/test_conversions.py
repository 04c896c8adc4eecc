"""Messages against arrays built by hand, and against OpenCV and struct as second implementations."""

import array
import math

import numpy as np
import pytest
from trajectories import trajectory_message

pytest.importorskip("rclpy")
from builtin_interfaces.msg import Time
from hypothesis import given, settings
from hypothesis import strategies as st
from rclpy.serialization import deserialize_message, serialize_message
from sensor_msgs.msg import CompressedImage, Image, JointState
from trajectory_msgs.msg import JointTrajectory, JointTrajectoryPoint

from beingh_core.contract.state_messages import joint_positions
from beingh_core.data.pixels import compressed_pixels
from beingh_core.errors import BeingHError
from beingh_ros.messages import conversions as cv

RGB = np.arange(2 * 3 * 3, dtype=np.uint8).reshape(2, 3, 3)


def image(encoding, rows, step=None, **fields):
    """Image message of per-row byte strings, padded to `step` with 0xEE."""
    step = step or len(rows[0])
    channels = {"mono8": 1, "rgba8": 4, "bgra8": 4, "16UC1": 2}.get(encoding, 3)
    data = b"".join(row.ljust(step, b"\xee") for row in rows)
    return Image(
        height=len(rows),
        width=len(rows[0]) // channels,
        encoding=encoding,
        step=step,
        data=array.array("B", data),
        **fields,
    )


def compressed(message):
    return compressed_pixels(message.data, text=message.format)


@pytest.mark.parametrize("big_endian", [0, 1])
@pytest.mark.parametrize("step", [None, 9, 11, 16])
def test_rgb_rows_with_any_padding(step, big_endian):
    message = image("rgb8", [RGB[0].tobytes(), RGB[1].tobytes()], step, is_bigendian=big_endian)
    np.testing.assert_array_equal(cv.image_to_array(message, "rgb8"), RGB)


def test_last_row_may_lack_its_padding():
    message = image("rgb8", [RGB[0].tobytes(), RGB[1].tobytes()], 12)
    message.data = message.data[:-3]
    np.testing.assert_array_equal(cv.image_to_array(message), RGB)


@pytest.mark.parametrize(
    "encoding, pixel",
    [
        ("rgb8", b"\x01\x02\x03"),
        ("bgr8", b"\x03\x02\x01"),
        ("rgba8", b"\x01\x02\x03\xff"),
        ("bgra8", b"\x03\x02\x01\xff"),
    ],
)
def test_channel_order(encoding, pixel):
    np.testing.assert_array_equal(cv.image_to_array(image(encoding, [pixel * 2])), [[[1, 2, 3], [1, 2, 3]]])


def test_grey_is_repeated():
    np.testing.assert_array_equal(cv.image_to_array(image("mono8", [b"\x07\x09"], 5)), [[[7] * 3, [9] * 3]])


def test_result_does_not_share_the_message_memory():
    message = image("rgb8", [b"\x01\x02\x03"])
    pixels = cv.image_to_array(message)
    message.data[0] = 99
    assert pixels[0, 0, 0] == 1 and pixels.flags.c_contiguous and pixels.flags.writeable


@pytest.mark.parametrize("encoding", ["32FC1", "16UC3", "8UC2", "argb8", ""])
def test_other_encodings_are_refused_by_name(encoding):
    with pytest.raises(BeingHError, match=f"'{encoding}'"):
        cv.image_to_array(image(encoding, [b"\0" * 12]))


def test_the_byte_order_of_sixteen_bits_is_the_messages():
    for big_endian in (0, 1):
        message = image("16UC1", [b"\x01\x02" * 3], is_bigendian=big_endian)
        value = round((0x0102 if big_endian else 0x0201) * 255 / 65535)
        np.testing.assert_array_equal(cv.image_to_array(message), np.full((1, 3, 3), value))


def test_encoding_must_be_the_contracts():
    with pytest.raises(BeingHError, match="bgr8.*rgb8"):
        cv.image_to_array(image("bgr8", [b"\0" * 3]), "rgb8")


@pytest.mark.parametrize(
    "change",
    [
        dict(width=4),
        dict(height=3),
        dict(step=8),
        dict(height=0),
        dict(width=0),
        dict(data=array.array("B")),
    ],
)
def test_sizes_that_do_not_fit_are_refused(change):
    message = image("rgb8", [RGB[0].tobytes(), RGB[1].tobytes()])
    for name, value in change.items():
        setattr(message, name, value)
    with pytest.raises(BeingHError, match="row step"):
        cv.image_to_array(message)


def test_image_round_trip_through_the_wire():
    message = cv.array_to_image(RGB, 1_700_000_000_123_456_789, "cam")
    received = deserialize_message(serialize_message(message), Image)
    assert (received.encoding, received.step, received.header.frame_id) == ("rgb8", 9, "cam")
    assert cv.stamp_to_ns(received.header.stamp) == 1_700_000_000_123_456_789
    np.testing.assert_array_equal(cv.image_to_array(received, "rgb8"), RGB)


def test_compressed_images_against_opencv():
    import cv2

    pixels = np.random.default_rng(0).integers(0, 255, (8, 6, 3), dtype=np.uint8)
    png = cv2.imencode(".png", pixels[..., ::-1])[1].tobytes()
    np.testing.assert_array_equal(compressed(CompressedImage(format="png", data=png)), pixels)
    flat = np.full((16, 16, 3), (200, 30, 90), np.uint8)
    jpeg = cv2.imencode(".jpg", flat[..., ::-1])[1].tobytes()
    decoded = compressed(CompressedImage(format="rgb8; jpeg compressed bgr8", data=jpeg))
    assert np.abs(decoded.astype(int) - flat).max() <= 3
    grey = cv2.imencode(".png", pixels[..., 0])[1].tobytes()
    np.testing.assert_array_equal(compressed(CompressedImage(data=grey))[..., 2], pixels[..., 0])


@pytest.mark.parametrize(
    "message",
    [
        CompressedImage(format="jpeg"),
        CompressedImage(format="jpeg", data=b"not a picture"),
    ],
)
def test_broken_compressed_images_are_refused(message):
    with pytest.raises(BeingHError, match="jpeg"):
        compressed(message)


def test_sixteen_bit_png_is_refused():
    import cv2

    png = cv2.imencode(".png", np.zeros((4, 4), np.uint16))[1].tobytes()
    with pytest.raises(BeingHError, match="8-bit"):
        compressed(CompressedImage(format="16UC1; png", data=png))


@given(st.integers(0, (2**31) * 10**9 - 1))
def test_stamps_are_exact(stamp_ns):
    stamp = cv.ns_to_stamp(stamp_ns)
    assert cv.stamp_to_ns(stamp) == stamp_ns and 0 <= stamp.nanosec < 10**9


def test_negative_stamps_are_refused():
    with pytest.raises(BeingHError):
        cv.ns_to_stamp(-1)


def test_joints_are_matched_by_name():
    message = JointState(name=["b", "a", "c"], position=[2.0, 1.0, math.nan])
    positions = joint_positions(message)
    np.testing.assert_array_equal(cv.select_joints(positions, ["a", "b"]), [1.0, 2.0])
    with pytest.raises(BeingHError, match="c=nan"):
        cv.select_joints(positions, ["a", "c"])
    with pytest.raises(BeingHError, match="lacks d.*Allowed: a, b, c"):
        cv.select_joints(positions, ["a", "d"])


@pytest.mark.parametrize(
    "message, words",
    [
        (JointState(name=["a", "b"], position=[1.0]), "2 names"),
        (JointState(name=["a", "a"], position=[1.0, 2.0]), "holds a more than once"),
    ],
)
def test_malformed_joint_states_are_refused(message, words):
    with pytest.raises(BeingHError, match=words):
        joint_positions(message)


@settings(max_examples=50, deadline=None)
@given(rate=st.sampled_from([10.0, 15.0, 20.0, 30.0, 59.94]), count=st.integers(1, 40), first=st.integers(0, 2))
def test_trajectory_round_trip(rate, count, first):
    rows = np.random.default_rng(count).normal(size=(count, 2))
    message = trajectory_message(
        ["x", "y"], rows, stamp_ns=5_000_000_001, rate_hz=rate, frame_id="0@5", first_step=first
    )
    read = cv.read_trajectory(deserialize_message(serialize_message(message), JointTrajectory))
    np.testing.assert_array_equal(read.positions, rows)
    assert (read.stamp_ns, read.frame_id, read.joints) == (5_000_000_001, "0@5", ("x", "y"))
    np.testing.assert_allclose(read.times_ns, (first + np.arange(count)) * 1e9 / rate, atol=0.51)
    assert np.all(np.diff(read.times_ns) > 0)
    assert math.isnan(read.dt_s) if count == 1 or first else abs(read.dt_s - 1 / rate) < 2e-9


@pytest.mark.parametrize(
    "times_s, even",
    [
        ([0.0, 0.05, 0.1, 0.15], True),
        ([0.0, 0.05001, 0.1, 0.15], True),
        ([0.0, 0.0, 0.0, 0.15], False),
        ([0.0, 0.1, 0.05, 0.15], False),
        ([0.0, 0.051, 0.1, 0.15], False),
        ([0.05, 0.1, 0.15, 0.2], False),
        ([-0.05, 0.0, 0.05, 0.1], False),
        ([1.9e9 + 0.05 * i for i in range(4)], False),
        ([-1.9e9 + 0.05 * i for i in range(4)], False),
        ([0.15, 0.1, 0.05, 0.0], False),
        ([2147483647.0] * 4, False),
        ([0.0] * 4, True),
    ],
)
def test_a_step_time_is_told_only_of_points_that_are_that_far_apart_from_the_stamp_on(times_s, even):
    points = [
        JointTrajectoryPoint(positions=[0.0], time_from_start=cv.ns_to_duration(round(time_s * 1e9)))
        for time_s in times_s
    ]
    step_s = cv.read_trajectory(JointTrajectory(joint_names=["x"], points=points)).dt_s
    assert step_s == pytest.approx(times_s[-1] / 3) if even else math.isnan(step_s)


def test_nan_positions_are_passed_on_and_ragged_ones_refused():
    message = JointTrajectory(joint_names=["x"], points=[JointTrajectoryPoint(positions=[math.nan])])
    assert np.isnan(cv.read_trajectory(message).positions).all()
    message.points.append(JointTrajectoryPoint(positions=[1.0, 2.0]))
    with pytest.raises(BeingHError, match="1 joints"):
        cv.read_trajectory(message)
    assert cv.read_trajectory(JointTrajectory(joint_names=["x", "y"])).positions.shape == (0, 2)


def test_time_type_is_the_ros_one():
    assert isinstance(cv.ns_to_stamp(0), Time)
