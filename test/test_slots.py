"""The slot table against the ranges of the design page, typed here once more from it."""

import pickle

import pytest

from beingh_core import slots
from beingh_core.errors import BeingHError

BOTH = {
    "eef_position": (0, 3), "eef_rotation": (3, 6), "left_eef_position": (9, 12), "left_eef_rotation": (12, 15),
    "gripper_position": (18, 19), "left_gripper_position": (19, 20), "dexhand_position": (20, 26),
    "left_dexhand_position": (32, 38), "arm_joint_position": (50, 57), "left_arm_joint_position": (57, 64),
    "head_position": (64, 66), "waist_position": (66, 69), "right_theta": (110, 155), "left_theta": (155, 200),
}  # fmt: skip
STATE = {
    "gripper_qpos": (44, 46), "libero_gripper_position": (44, 46), "base_position": (70, 73),
    "base_rotation": (73, 76), "right_beta": (90, 100), "left_beta": (100, 110),
}  # fmt: skip
ACTION = {"base_motion": (70, 74), "control_mode": (74, 75)}


@pytest.mark.parametrize("kind, only", [("state", STATE), ("action", ACTION)])
def test_table(kind, only):
    expected = {**BOTH, **only}
    assert {name: (s.start, s.stop) for name, s in slots.slots(kind).items()} == expected
    assert slots.WIDTH == 200 and max(stop for _, stop in expected.values()) <= 200


def test_unknown_name_suggests_the_nearest():
    with pytest.raises(BeingHError, match="`eef_positon`.*did you mean `eef_position`"):
        slots.slot("state", "eef_positon")


def test_name_of_the_other_table_is_said():
    with pytest.raises(BeingHError, match="`base_motion` is an action slot"):
        slots.slot("state", "base_motion")


def test_overlap_names_both():
    with pytest.raises(BeingHError, match="gripper_qpos.*libero_gripper_position.*overlap"):
        slots.check_no_overlap("state", ["eef_position", "gripper_qpos", "libero_gripper_position"])
    slots.check_no_overlap("action", ["base_motion", "control_mode", "eef_position", "eef_rotation"])
    slots.check_no_overlap("state", ["base_position", "base_rotation"])


def test_width():
    slots.check_width("state", "arm_joint_position", 6)
    slots.check_width("state", "left_arm_joint_position", 7)
    for name, width in [("arm_joint_position", 8), ("head_position", 3), ("gripper_position", 2)]:
        with pytest.raises(BeingHError, match=f"`{name}` was given {width} values"):
            slots.check_width("action", name, width)


def test_error_message_has_all_parts_and_survives_pickling():
    error = BeingHError("bad rate `0`", where="a.yaml:3", allowed=["1", "2"], remedy="write 1")
    assert str(error) == "a.yaml:3: bad rate `0`. Allowed: 1, 2. To fix: write 1."
    assert str(pickle.loads(pickle.dumps(error))) == str(error)
