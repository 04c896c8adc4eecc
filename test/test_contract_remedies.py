"""Mistakes that an outsider made: each is one error that says what to write instead."""

import re

import pytest
from contract_support import ARM, changed, set_key, two_arms

from beingh_core.contract.state_messages import StateMessages
from beingh_core.errors import BeingHError

changed = changed

HAND, DEGREES, HEAD = "state.left_dexhand_position", "state.arm_joint_position", "state.head_position"
INDEX = "coupling.left_hand_index_1_joint.scale"
CAMERA = "cameras.front_view"
MISTAKES = {
    "a newer format": ("pose_arm", {"version": 3}, "version: 3 is out of range.*at most 2.*write `version: 2`.*newer beingh_ros"),
    "a compressed encoding": ("pose_arm", {f"{CAMERA}.encoding": "jpeg"}, "encoding: `jpeg` comes in sensor_msgs/msg/CompressedImage, not in .*write `type: sensor_msgs/msg/CompressedImage`"),
    "a raw encoding": ("pose_arm", {f"{CAMERA}.type": "sensor_msgs/msg/CompressedImage"}, "encoding: `rgb8` comes in sensor_msgs/msg/Image.*write `type: sensor_msgs/msg/Image`"),
    "no camera_info": ("pose_arm", {f"{CAMERA}.undistort": True}, "undistort: `true` is not a topic name.*write it like `camera/camera_info`"),
    "a flag for depth": ("pose_arm", {f"{CAMERA}.depth": True}, r"depth: `true` is not a mapping. Allowed: such as `\{near: 0.2, far: 1.5\}`"),
    "a crop in words": ("pose_arm", {f"{CAMERA}.crop": "320x240"}, "crop: .*Allowed: 4 numbers in"),
    "a range in registers": ("inspire_hand", {f"{HAND}.range.L_ring_proximal_joint": [0, 1000]}, r"write positions of the URDF \[rad\], not numbers of messages"),
    "a range in degrees": ("inspire_hand", {f"{HAND}.range.L_ring_proximal_joint": [90, 0]}, r"write radians, not degrees: \[1.5708, 0.0000\]"),
    "a gripper in registers": ("degrees_arm", {"state.gripper_position.open": 1000}, r"write positions of the URDF \[m\]"),
    "a gripper in millimetres": ("degrees_arm", {"action.gripper_position.open": 40}, "open: 40 is outside .*write metres, not millimetres: 0.0400"),
    "a home in millimetres": ("degrees_arm", {"home.jaw_joint": 20}, "home.jaw_joint: 20 is outside .*write metres, not millimetres: 0.0200"),
    "limits in degrees": ("degrees_arm", {"limits.position": {"lift_joint": [-90, 90]}}, r"write radians, not degrees: \[-1.5708, 1.5708\]"),
    "a speed in degrees": ("degrees_arm", {"limits.velocity.lift_joint": 90}, "write radians, not degrees: 1.5708"),
    "millimetres of a turn": ("degrees_arm", {f"{DEGREES}.unit": "mm"}, "`mm` is no unit of `pan_joint`, which turns.*leave `unit` out and write `scale`, in rad a number"),
    "half an axis": ("mobile_base", {"drivers.1.axes": ["x", "angular.z"]}, "there is no axis `x`.*write `linear.x` or `angular.x`"),
    "an axis by its name": ("mobile_base", {"drivers.1.axes": ["linear.x", "yaw"]}, "there is no axis `yaw`.*write `angular.z`"),
    "an action of poses": ("pose_arm", {"driver.topic": None, "driver.action": "servo"}, "driver.action: this kind of driver takes `topic`, not `action`.*write `topic:` in place"),
    "a topic of goals": ("pose_arm", {"driver": {"kind": "follow_joint_trajectory", "groups": [{"topic": "a", "joints": list(ARM)}]}}, "groups.0.topic: this kind of driver takes `action`, not `topic`"),
    "neither": ("pose_arm", {"driver.topic": None}, "driver: `topic` is missing.*add `topic:` and `joints:` here, or several of them under `groups:`"),
    "names the wrong way": ("degrees_arm", {f"{DEGREES}.names": dict(zip(ARM, "abcdef"))}, r"write it the other way around, `\{a: pan_joint\}`"),
    "a misspelt signal": ("degrees_arm", {"policy.normalization": {"state.arm_joints": "none"}}, "unknown signal `state.arm_joints`.*did you mean `state.arm_joint_position`"),
    "a misspelt slot": ("degrees_arm", {"state.arm_joints": {}}, "unknown state slot `arm_joints`.*did you mean `arm_joint_position`"),
    "a misspelt key": ("degrees_arm", {"rate_hz": None, "rate_hx": 20}, "`rate_hz` is missing.*or rename `rate_hx`"),
    "joint states": ("degrees_arm", {f"{DEGREES}.type": "sensor_msgs/msg/JointStates"}, "type: the numbers of `sensor_msgs/msg/JointStates` are not known.*did you mean `sensor_msgs/msg/JointState`"),
    "ROS 1": ("degrees_arm", {f"{DEGREES}.type": "sensor_msgs/JointState"}, "is no message type.*did you mean `sensor_msgs/msg/JointState`"),
    "an array": ("degrees_arm", {f"{HEAD}.type": "std_msgs/msg/Int16MultArray"}, "did you mean `std_msgs/msg/Int16MultiArray`"),
    "a type of its own": ("degrees_arm", {f"{HEAD}.type": "my_msgs/msg/Angle"}, "the numbers of `my_msgs/msg/Angle` are not known here.*say with `field`"),
    "one number for six": ("degrees_arm", {f"{DEGREES}.type": "std_msgs/msg/Float64"}, "holds one number, `data`.*use it for one joint"),
    "home of a base": ("mobile_base", {"home.base_x": 0.0}, "home.base_x: `base_x` is a velocity of the base, which starts at rest.*leave it out"),
    "no home": ("mobile_base", {"home": {}}, "there is no home position of `pan_joint`, .*, `spin_joint`.*add `pan_joint: <position>`.*of the base there is none"),
    "a coupling too far": ("dex3_hand", {f"{HAND}.{INDEX}": 5.0, f"action.left_dexhand_position.{INDEX}": 5.0}, r"scale \(written in line \d+\): `left_hand_index_1_joint` would be at -7.854 to 0 while .*limits.position: \{left_hand_index_0_joint: \[-0.3491, 0\]"),
    "a coupling backwards": ("dex3_hand", {f"{HAND}.{INDEX}": -1.0, f"action.left_dexhand_position.{INDEX}": -1.0}, "would be at 0 to 1.571 .*correct `scale` and `offset`"),
}  # fmt: skip


@pytest.mark.parametrize("mistake", MISTAKES)
def test_a_mistake_says_what_to_write(mistake, changed):
    name, keys, told = MISTAKES[mistake]
    with pytest.raises(BeingHError) as caught:
        changed(name, lambda document: [set_key(path, value)(document) for path, value in keys.items()])
    assert re.search(rf"robot\.yaml:\d+: .*{told}", str(caught.value)), caught.value


def test_a_coupling_fits_once_the_joint_that_is_followed_is_narrowed(changed):
    def change(document):
        for kind in ("state", "action"):
            set_key(f"{kind}.left_dexhand_position.{INDEX}", 5.0)(document)
        document["limits"]["position"] = {"left_hand_index_0_joint": [-0.3491, 0.0]}
        document["home"] |= {"left_hand_index_0_joint": -0.2, "left_hand_index_1_joint": -1.0}

    assert changed("dex3_hand", change).action[0].coupling[0].scale == 5.0


def test_two_joints_of_one_name_are_both_named_at_the_key_that_makes_them_one(changed):
    def both(document, key):
        two_arms(document)
        for signal in document["state"].values():
            signal["topic"] = "/both"
        signals = list(document["state"].values())
        if key != "names":
            signals[1].pop("names")
        if key == "strip_prefix":
            signals[1]["strip_prefix"] = ""
        if key != "names":
            signals[0]["names"] = {ARM[3]: ARM[0], "b": ARM[1], "c": ARM[2]}

    for key in ("names", "strip_prefix", "joints"):
        with pytest.raises(BeingHError, match=rf"left_arm_joint_position\.{key}: `.*` and `.*` are both called `.*`"):
            changed("pose_arm", lambda document, key=key: both(document, key))


@pytest.mark.parametrize("kind", ["Float64", "Int16", "UInt8"])
def test_numbers_of_std_msgs_need_no_field(changed, kind):
    import importlib

    messages = importlib.import_module("std_msgs.msg")
    for name, data in ((f"{kind}MultiArray", [3, 7]), (kind, 3)):
        contract = changed("degrees_arm", set_key(f"{HEAD}.type", f"std_msgs/msg/{name}"))
        number = float if kind == "Float64" else int
        message = getattr(messages, name)(data=[*map(number, data)] if isinstance(data, list) else number(data))
        read = StateMessages(contract, contract.state[-1].topic).read(message)
        assert read.positions["head_joint"] == pytest.approx(3 * 2 * 3.141592653589793)
