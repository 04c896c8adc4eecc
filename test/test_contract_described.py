"""What `beingh robots show` and `check` print of units, signs, zeros, names, ranges, couplings and frames."""

import re

import pytest
from contract_support import ROBOTS, changed, robot, set_key

from beingh_core.contract.check import check_contract
from beingh_core.contract.described import camera_words
from beingh_core.contract.show import shown_contract

changed = changed

SHOWN = {
    "degrees_arm": [
        r"pan_joint +j1 +deg +0\.0174533 x rad",
        r"lift_joint +j2 +deg +-0\.0174533 x rad",
        r"elbow_joint +j3 +deg +0\.0174533 x \+ 1\.5708 rad",
        r"jaw_joint +jaw_joint +mm +0\.001 x m +0 at 0 m \(closed\), 1 at 0\.05 \(open\)",
        r"jaw_joint +left_jaw_joint +mm",
        r"head_joint +data\[0\] +turn +6\.28319 x rad",
        r"control_mode +absolute, always 1: moves nothing",
    ],
    "inspire_hand": [
        r"L_thumb_proximal_yaw_joint +thumb_rotation +per_mille +-0\.0014 x \+ 1\.3 rad +0 at 1\.3 rad \(closed\), 1 at -0\.1"
    ],
    "dex3_hand": [
        r"left_hand_index_1_joint +motor_state\[6\]\.q +rad +x rad +nothing: 1\.1 \* left_hand_index_0_joint"
    ],
    "mobile_base": [
        r"base_rotation +/odom: rotation of Odometry in odom of base_footprint, written as quaternion_wxyz",
        r"eef_rotation .*the pose of tool in base_link, written as rotation_6d",
        r"twist_base +/cmd_vel: 2 joints \(base_x to base_yaw\), along linear\.x, angular\.z",
    ],
    "pose_arm": [
        r"eef_position +/servo/pose: position of PoseStamped in base_link",
        r"pose_command .*the pose of tool in base_link, frame_id base_link",
    ],
}


@pytest.mark.parametrize("name", SHOWN)
def test_show_has_a_row_for_each_joint_that_is_counted_or_called_otherwise(name):
    text = shown_contract(robot(name))
    for row in SHOWN[name]:
        assert re.search(row, text), f"{row} is not in\n{text}"


def test_an_arm_in_degrees_does_not_look_like_one_in_radians(changed):
    def found(contract):
        _, rows = check_contract(contract.path)
        return {row.subject: row.found for row in rows}

    degrees = found(changed("degrees_arm", lambda document: None))
    assert "called j1 to j6" in degrees["state.arm_joint_position"]

    def plain(document):
        for part in (document["state"]["arm_joint_position"], document["drivers"][0]):
            for key in ("unit", "scale", "offset", "names"):
                del part[key]

    radians = found(changed("degrees_arm", plain))
    for subject in ("state.arm_joint_position", "driver forward_command"):
        assert "in rad, by the URDF's names" in radians[subject] and "in deg" in degrees[subject]
        assert "lift_joint = -0.0174533 x rad" in degrees[subject]


def test_what_is_done_with_pictures_is_told(changed):
    keys = {"rotate": 90, "crop": [10, 20, 320, 240], "undistort": "/camera/camera_info"}
    contract = changed("pose_arm", lambda document: document["cameras"]["front_view"].update(keys))
    words = camera_words(contract.cameras[0])
    assert "undistorted by /camera/camera_info, turned clockwise by 90 deg, cut to 320x240 at (10, 20)" in words
    depth = set_key("cameras.front_view", {
        "topic": "/d", "type": "sensor_msgs/msg/Image", "encoding": "16UC1", "max_age_s": 0.5,
        "depth": {"near": 0.2, "far": 1.5}})  # fmt: skip
    words = camera_words(changed("pose_arm", depth).cameras[0])
    assert "depth of 0.001 m a step from 0.2 m (white) to 1.5 m (black)" in words


def test_the_robots_are_all_of_those_in_the_folder():
    assert set(SHOWN) == {path.stem for path in ROBOTS.glob("*.yaml")}
