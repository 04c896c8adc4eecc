"""Policy inputs: the gate, the observation, and the losses that stamps show."""

import math

import numpy as np
import pytest
from control_support import DT_NS, FR3, HOME, NOW

from beingh_core.inference.policy_inputs import PolicyInputs
from beingh_core.inference.stream_stats import StreamStats


def fill(inputs, stamp_ns, value=0):
    for camera in FR3.cameras:
        inputs.push_image(f"video.{camera.name}", stamp_ns, np.full((2, 2, 3), value, np.uint8))
    inputs.push_joints("joint_states", stamp_ns, HOME | {"other": math.nan})


def test_the_gate_names_what_is_missing_stale_or_refused():
    inputs = PolicyInputs(FR3)
    assert {name for name, _ in inputs.closed(NOW)} == set(inputs.streams)
    fill(inputs, NOW)
    assert inputs.closed(NOW + 1) == []
    inputs.refuse("video.wrist_view", "16UC1")
    assert inputs.closed(NOW + 1) == [("video.wrist_view", "16UC1")]
    inputs.push_image("video.wrist_view", NOW + 1, np.zeros((2, 2, 3), np.uint8))
    assert inputs.closed(NOW + 1) == []
    reasons = dict(inputs.closed(NOW + 300_000_000))
    assert set(reasons) == set(inputs.streams) and "scene_camera/color/image_raw" in reasons["video.scene_view"]


@pytest.mark.parametrize(
    "positions, stream, word",
    [
        ({"fr3_finger_joint1": math.nan}, "state.gripper_position", "fr3_finger_joint1"),
        ({"fr3_joint1": 0.0, "fr3_joint2": math.inf}, "state.eef_position", "fr3_joint2"),
    ],
)
def test_joint_states_that_are_no_numbers_close_the_gate(positions, stream, word):
    inputs = PolicyInputs(FR3)
    fill(inputs, NOW)
    wrong = inputs.push_joints("joint_states", NOW + 1, positions)
    assert list(wrong) == [stream] and word in wrong[stream]
    assert [name for name, _ in inputs.closed(NOW + 1)] == [stream]


def test_the_observation_is_at_the_oldest_of_the_newest_images():
    inputs = PolicyInputs(FR3)
    for k in range(5):
        fill(inputs, NOW + k * DT_NS, value=k)
        inputs.push_joints("joint_states", NOW + k * DT_NS, HOME | {"fr3_joint1": float(k)})
    inputs.push_image("video.scene_view", NOW + 5 * DT_NS, np.full((2, 2, 3), 5, np.uint8))
    inputs.push_joints("joint_states", NOW + 5 * DT_NS, HOME | {"fr3_joint1": 5.0})
    observation = inputs.observe()
    assert observation.stamp_ns == NOW + 4 * DT_NS
    assert {view: image[0, 0, 0] for view, image in observation.images.items()} == {"scene_view": 4, "wrist_view": 4}
    assert observation.joints["fr3_joint1"] == 4.0 and set(observation.joints) == set(FR3.joint_names)


def test_joint_states_that_begin_after_the_images_close_the_gate_until_the_next_image():
    inputs = PolicyInputs(FR3)
    for view in ("scene_view", "wrist_view"):
        inputs.push_image(f"video.{view}", NOW, np.zeros((2, 2, 3), np.uint8))
    inputs.push_joints("joint_states", NOW + 1, HOME)
    closed = inputs.closed(NOW + 2)
    assert [name for name, _ in closed] == ["state.eef_position", "state.gripper_position"]
    assert all("time of the images (joint_states)" in reason for _, reason in closed)
    fill(inputs, NOW + 3)
    assert inputs.closed(NOW + 3) == []


def test_after_time_went_back_the_new_samples_count():
    inputs = PolicyInputs(FR3)
    fill(inputs, NOW)
    assert {name for name, reason in inputs.closed(6) if "missing" in reason} == set(inputs.streams)
    fill(inputs, NOW)
    inputs.clear()
    fill(inputs, 7)
    assert inputs.closed(8) == [] and inputs.observe().stamp_ns == 7


def test_losses_are_counted_from_the_stamps():
    stats = StreamStats()
    for k in [*range(20), 22, 23, 27, 28, 100, 101]:
        stats.add(NOW + k * DT_NS)
    # 20, 21, 24, 25, 26 are missing; the pause of four seconds is a stopped publisher.
    assert (stats.received, stats.lost) == (26, 5) and stats.rate_hz == pytest.approx(20.0)
    jitter = StreamStats()
    for k in range(100):
        jitter.add(NOW + k * DT_NS + (-1) ** k * 10_000_000)
    assert jitter.lost == 0
