"""What a contract says twice of one joint: units, directions, open ends, zeros and couplings that contradict each other."""

import math
from pathlib import Path

import pytest
import yaml
from contract_support import changed, robot, set_key, two_arms

from beingh_core.contract import load_contract
from beingh_core.errors import BeingHError

changed = changed


@pytest.mark.parametrize(
    "state, command, told",
    [
        ({"unit": "deg"}, {}, "is measured in a unit of its own"),
        ({"unit": "deg"}, {"strip_prefix": "robot_"}, "is measured in a unit of its own"),
        ({"unit": "deg"}, {"names": {"pan": "shoulder_pan_joint"}}, "is measured in a unit of its own"),
        ({"unit": "deg"}, {"offset": 0.0}, "is measured in a unit of its own"),
        ({"scale": -1.0}, {"names": {"pan": "shoulder_pan_joint"}}, "is measured in a unit of its own"),
        ({}, {"unit": "deg"}, "is commanded in a unit of its own"),
        ({"names": {"pan": "shoulder_pan_joint"}}, {"unit": "deg"}, "is commanded in a unit of its own"),
        ({"unit": "deg"}, {"unit": "rad"}, ""),
        ({"unit": "rad"}, {"unit": "deg"}, ""),
        ({"scale": -1.0}, {"scale": 1.0}, "measured in one direction and commanded in the other"),
        ({"unit": "deg"}, {"unit": "deg", "scale": -1.0}, "measured in one direction and commanded in the other"),
        ({"unit": "deg", "scale": -1.0}, {"unit": "rad"}, "measured in one direction and commanded in the other"),
        ({"unit": "deg", "offset": 1.57}, {"unit": "deg"}, "`offset` of `.*` is given in the state and not for /?\\w+"),
        ({"unit": "deg", "offset": 1.57}, {"unit": "mrad"}, "`offset` of .* is given in the state and not for"),
        ({"unit": "deg"}, {"unit": "deg", "offset": 0.1}, "`offset` of .* is given for .* and not in the state"),
        ({"unit": "deg", "scale": 10.0}, {"unit": "deg"}, "`scale` of .* is given in the state and not for"),
        ({"unit": "deg", "scale": 10.0}, {"unit": "deg", "scale": 1.0}, ""),
        ({"unit": "deg", "scale": 0.1}, {"unit": "rad"}, ""),
        ({"unit": "deg", "offset": 1.57}, {"unit": "deg", "offset": 0.0}, ""),
        ({"scale": -1.0}, {"scale": -1.0}, ""),
        ({"unit": "deg"}, {"scale": 1.0}, ""),
        ({"offset": 0.1}, {"offset": 0.0}, ""),
        ({"names": {"pan": "shoulder_pan_joint"}}, {}, ""),
    ],
)
def test_a_unit_on_one_side_needs_a_word_on_the_other_and_a_name_is_none(tmp_path, state, command, told):
    """Else a robot that is measured in degrees would be commanded 57 times too far or too short."""
    path = Path(load_contract("ur5e").path)
    document = yaml.safe_load(path.read_text())
    document["urdf"] = str(load_contract("ur5e").urdf_path)
    document["state"]["arm_joint_position"].update(state)
    document["driver"].update(command)
    (tmp_path / "robot.yaml").write_text(yaml.safe_dump(document))
    if not told:
        load_contract(tmp_path / "robot.yaml")
        return
    with pytest.raises(BeingHError, match=told):
        load_contract(tmp_path / "robot.yaml")


def test_a_hand_that_opens_one_way_and_is_told_the_other_is_refused(changed):
    def change(document):
        document["driver"]["range"] = {joint: ends[::-1] for joint, ends in document["driver"]["range"].items()}

    with pytest.raises(BeingHError, match="measured in one direction and commanded in the other.*order of `range`"):
        changed("inspire_hand", change)


def test_two_arms_with_the_same_names_need_topics_of_their_own(changed):
    with pytest.raises(BeingHError, match="are both called `waist` on /both.*topic of its own"):
        changed("pose_arm", lambda document: two_arms(document, commands="/both"))


def reversed_ends(document, where):
    """Turns every [closed, open] of a place of the Inspire hand around, and makes it a little shorter."""
    for part in where.split("."):
        document = document[part]
    document["range"] = {joint: [opened, 0.9 * closed] for joint, (closed, opened) in document["range"].items()}


@pytest.mark.parametrize(
    "where, told",
    [
        (
            "state.left_dexhand_position",
            r"action\.left_dexhand_position\.range.*in state\.left_dexhand_position\.range",
        ),
        (
            "action.left_dexhand_position",
            r"action\.left_dexhand_position\.range.*in state\.left_dexhand_position\.range",
        ),
        ("driver", r"driver\.range.*in state\.left_dexhand_position\.range"),
    ],
)
def test_an_end_that_is_open_in_one_place_is_not_closed_in_another(changed, where, told):
    """Also where the ends are not the same positions; only the order counts."""
    told = rf"robot\.yaml:\d+: {told}: told to stay, the robot would jump.*same order in both"
    with pytest.raises(BeingHError, match=told):
        changed("inspire_hand", lambda document: reversed_ends(document, where))


@pytest.mark.parametrize("side", ["state", "action"])
def test_a_gripper_opens_the_same_way_in_state_and_action(changed, side):
    def change(document):
        document[side]["gripper_position"].update(closed=0.04, open=0.01)

    with pytest.raises(
        BeingHError, match=r"action\.gripper_position\.closed: `jaw_joint` opens from .* but the other way"
    ):
        changed("degrees_arm", change)


def test_how_far_a_joint_opens_may_differ(changed):
    def change(document):
        document["action"]["gripper_position"].update(closed=0.01, open=0.04)

    assert changed("degrees_arm", change).action[1].open == 0.04


INDEX = {"of": "left_hand_index_0_joint", "scale": 1.1}


@pytest.mark.parametrize(
    "coupling, told",
    [
        (INDEX | {"scale": 0.9}, r"0\.9 \* left_hand_index_0_joint \+ 0 here"),
        (INDEX | {"offset": 0.1}, r"1\.1 \* left_hand_index_0_joint \+ 0\.1 here"),
        ({"of": "left_hand_index_0_joint"}, r"1 \* left_hand_index_0_joint \+ 0 here"),
        (INDEX | {"of": "left_hand_middle_0_joint"}, r"1\.1 \* left_hand_middle_0_joint \+ 0 here"),
        (INDEX | {"offset": 0.0}, ""),
    ],
)
def test_a_joint_is_coupled_in_one_way(changed, coupling, told):
    def change(document):
        document["action"]["left_dexhand_position"]["coupling"] = {"left_hand_index_1_joint": coupling}

    if not told:
        assert changed("dex3_hand", change).action[0].coupling == robot("dex3_hand").state[0].coupling
        return
    place = r"robot\.yaml:\d+: action\.left_dexhand_position\.coupling\.left_hand_index_1_joint: "
    with pytest.raises(BeingHError, match=f"{place}.*{told}, but 1.1 .* in state.left_dexhand_position.coupling"):
        changed("dex3_hand", change)


def test_a_coupling_that_no_posture_fulfils_is_refused(changed):
    def change(document):
        for kind in ("state", "action"):
            document[kind]["left_dexhand_position"]["coupling"] = {"left_hand_index_1_joint": INDEX | {"offset": 20.0}}

    with pytest.raises(
        BeingHError, match=r"coupling\.left_hand_index_1_joint\.offset: .* always outside of its limits"
    ):
        changed("dex3_hand", change)


ARM_STATE = "state.arm_joint_position"


@pytest.mark.parametrize("unit", ["rad", "deg", "turn"])
@pytest.mark.parametrize("offset", [90, -90, {"lift_joint": 45}])
def test_a_zero_in_degrees_is_refused_whatever_the_unit(changed, unit, offset):
    def change(document):
        document["state"]["arm_joint_position"].update(unit=unit, offset=offset)

    degrees = offset["lift_joint"] if isinstance(offset, dict) else offset
    told = rf"robot\.yaml:\d+: {ARM_STATE}\.offset: {degrees} rad is beyond .*meant in degrees, write {math.radians(degrees):.6g}"
    with pytest.raises(BeingHError, match=told):
        changed("degrees_arm", change)


def test_a_zero_in_millimetres_is_refused(changed):
    with pytest.raises(
        BeingHError, match=r"gripper_position\.offset: 50 m is beyond .*meant in millimetres, write 0\.05"
    ):
        changed("degrees_arm", set_key("state.gripper_position.offset", 50))


def test_the_zero_of_an_encoder_may_be_anywhere(changed):
    """Counts of an encoder, and angles that are a whole turn off, or off by half of what the joint turns."""

    def change(document):
        for entry in (document["state"]["arm_joint_position"], document["drivers"][0]):
            entry.update(unit="rad", scale=2.4e-5, offset={"pan_joint": -400.0})

    changed("degrees_arm", change)
    changed("degrees_arm", set_key(f"{ARM_STATE}.offset", {"elbow_joint": 6.28318, "lift_joint": -8.2}))


@pytest.mark.parametrize(
    "path, value, where",
    [
        ("estop_topic", "/servo/pose", r"robot\.yaml:\d+: state\.eef_position\.topic: "),
        ("cameras.front_view.topic", "/servo/pose", r"robot\.yaml:\d+: cameras\.front_view\.topic: "),
        ("driver.topic", "/servo/pose", r"robot\.yaml:\d+: driver\.topic: "),
        ("state.eef_rotation.topic", "servo/pose", r"robot\.yaml:\d+: state\.eef_rotation\.topic: "),
    ],
)
def test_a_collision_of_names_is_told_at_the_second_of_the_two(changed, path, value, where):
    with pytest.raises(BeingHError, match=where):
        changed("pose_arm", set_key(path, value))


def test_a_collision_of_slots_and_of_joints_is_told_where_it_is(changed):
    with pytest.raises(
        BeingHError, match=r"robot\.yaml:\d+: driver\.groups\.1\.names: .* \(.*: driver\.groups\.0\.joints.*\)"
    ):
        changed("pose_arm", lambda document: two_arms(document, commands="/both"))

    def overlap(document):
        document["state"]["gripper_qpos"] = document["state"]["libero_gripper_position"] = {}

    def with_one_joint(document):
        document["action"]["left_dexhand_position"] = {"mode": "absolute", "joints": ["L_index_proximal_joint"]}

    with pytest.raises(BeingHError, match=r"robot\.yaml:\d+: state\.libero_gripper_position.*: .*overlap"):
        changed("pose_arm", overlap)
    with pytest.raises(BeingHError, match=r"robot\.yaml:\d+: driver\.joints.*: .*no action commands it"):
        changed("inspire_hand", with_one_joint)


def test_a_base_alone_is_refused_since_the_controller_begins_at_joints(changed):
    def change(document):
        base = next(driver for driver in document["drivers"] if driver["kind"] == "twist_base")
        document["drivers"] = [base]
        document["action"] = {"base_motion": document["action"]["base_motion"]}

    with pytest.raises(BeingHError, match="action: it commands a base and no joint.*beside the base"):
        changed("mobile_base", change)
