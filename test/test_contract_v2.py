"""Version 2 of the contract: robots that count, name and move in their own ways, from messages to slots and back."""

import numpy as np
import pytest
from contract_support import ARM, COUNT, NAMES, changed, random_positions, robot, set_key, two_arms
from scipy.spatial.transform import Rotation

from beingh_core import rotations
from beingh_core.contract.codec import SignalCodec
from beingh_core.contract.kinematics import Kinematics
from beingh_core.contract.schema import JOINT_SOURCES
from beingh_core.errors import BeingHError
from beingh_core.policy.from_contract import data_config_for
from beingh_core.policy.trained_range import physical_ranges

changed = changed


def test_the_robots_are_there():
    assert set(NAMES) == {"inspire_hand", "dex3_hand", "degrees_arm", "mobile_base", "pose_arm"}
    assert all(robot(name).notes == () for name in NAMES)


@pytest.mark.parametrize("name", NAMES)
def test_every_state_key_has_the_width_that_the_policy_expects(name):
    contract = robot(name)
    state = SignalCodec(contract).encode_state(contract.state_at_home)
    for spec in data_config_for(contract).state:
        assert state[spec.key].shape == (spec.data_width("state"),), spec.key
    actions = SignalCodec(contract).encode_commands(np.tile(contract.home, (3, 1)))
    for spec in data_config_for(contract).action:
        assert actions[spec.key].shape == (2, spec.data_width("action")), spec.key


@pytest.mark.parametrize("name", NAMES)
def test_what_messages_say_is_kept_both_ways(name):
    """Of every state signal and every command topic: number -> position -> number and back."""
    contract, rng = robot(name), np.random.default_rng(0)
    wires = [signal.wire for signal in contract.state if signal.wire]
    wires += [group.wire for driver in contract.drivers if not driver.is_velocity for group in driver.groups]
    for wire in wires:
        positions = random_positions(contract, wire.joints, rng)
        values = wire.values(positions)
        back = np.array([list(wire.positions(dict(zip(wire.names, row))).values()) for row in values.tolist()])
        np.testing.assert_allclose(back, positions, rtol=1e-12, atol=1e-12)
        np.testing.assert_allclose(wire.values(back), values, rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("name", ["inspire_hand", "dex3_hand", "degrees_arm"])
@pytest.mark.parametrize("mode", ["absolute", "relative", "delta"])
def test_joint_actions_are_kept_both_ways(name, mode, changed):
    def change(document):
        for slot, action in document["action"].items():
            if slot != "control_mode":
                action["mode"] = mode

    contract, rng = changed(name, change), np.random.default_rng(1)
    codec = SignalCodec(contract)
    q_TJ = random_positions(contract, contract.joint_names, rng, COUNT + 1)
    for coupling in (c for signal in contract.action for c in signal.coupling):
        column = {joint: index for index, joint in enumerate(contract.joint_names)}
        q_TJ[:, column[coupling.joint]] = coupling.scale * q_TJ[:, column[coupling.of]] + coupling.offset
    first = random_positions(contract, contract.joint_names, rng, 1)[0]
    actions = codec.encode_commands(q_TJ, first_state=first)
    back = codec.decode_actions(actions, q_TJ[0], first_state=first)
    np.testing.assert_allclose(back, q_TJ[1:], atol=1e-8)
    again = codec.encode_commands(np.vstack([q_TJ[:1], back]), first_state=first)
    for slot, values in actions.items():
        np.testing.assert_allclose(again[slot], values, atol=1e-8, err_msg=slot)


POSE_MODES = [("absolute", None), ("relative", None), ("delta", "world"), ("delta", "eef"), ("delta", "chunk_start")]


@pytest.mark.parametrize(("mode", "frame"), POSE_MODES)
@pytest.mark.parametrize("rotation", ["axis_angle", "quaternion_xyzw", "rotation_6d"])
def test_pose_actions_are_kept_both_ways(mode, frame, rotation, changed):
    """Chunks of 16 steps around random postures, 10,080 values or more of each construct."""

    def change(document):
        for slot, action in document["action"].items():
            action.update(mode=mode, **({"frame": frame} if frame else {}))
            if slot == "eef_rotation":
                action["rotation"] = rotation

    contract, rng = changed("pose_arm", change), np.random.default_rng(2)
    codec, home = SignalCodec(contract), np.array(contract.home)
    for _ in range(105):
        start = home + rng.uniform(-0.15, 0.15, 6)
        q_TJ = start + np.vstack([np.zeros(6), np.cumsum(rng.normal(0, 0.01, (16, 6)), axis=0)])
        origin = {"q_chunk_start": home + rng.uniform(-0.1, 0.1, 6), "first_state": start + rng.uniform(-0.1, 0.1, 6)}
        actions = codec.encode_commands(q_TJ, **origin)
        assert actions["eef_rotation"].shape == (16, rotations.WIDTHS[rotation])
        decoded = codec.decode(actions, q_TJ[0], **origin)
        assert decoded.unreached == ()
        np.testing.assert_allclose(decoded.positions, q_TJ[1:], atol=1e-4)
        again = codec.encode_commands(np.vstack([q_TJ[:1], decoded.positions]), **origin)
        for slot, values in actions.items():
            np.testing.assert_allclose(again[slot], values, atol=1e-5, err_msg=slot)


def test_relative_poses_are_those_of_the_released_loader():
    """`is_relative` of vla_dataset.py: R_state^-1 (p - p_state) and R_state^-1 R, of the measured state."""
    contract, rng = robot("mobile_base"), np.random.default_rng(3)
    arm = Kinematics(contract.urdf_path, ARM, "tool", "base_link")
    q_TJ = np.array(contract.home) + rng.normal(0, 0.1, (9, 8))
    first = np.array(contract.home) + rng.normal(0, 0.1, 8)
    actions = SignalCodec(contract).encode_commands(q_TJ, first_state=first)
    place, turn = arm.fk(first[:6])
    poses = [arm.fk(row[:6]) for row in q_TJ[1:]]
    inverse = Rotation.from_matrix(turn).inv()
    np.testing.assert_allclose(actions["eef_position"], inverse.apply([p - place for p, _ in poses]), atol=1e-12)
    turns = (inverse * Rotation.from_matrix([r for _, r in poses])).as_matrix()
    np.testing.assert_allclose(actions["eef_rotation"], np.hstack([turns[:, :, 0], turns[:, :, 1]]), atol=1e-9)
    np.testing.assert_array_equal(actions["base_motion"], q_TJ[1:, 6:])


def test_registers_of_a_hand():
    contract = robot("inspire_hand")
    wire, codec = contract.wire_of("/hand/registers"), SignalCodec(contract)
    closed = wire.positions({name: 0.0 for name in wire.names})
    assert closed["L_pinky_proximal_joint"] == 1.7 and closed["L_thumb_proximal_yaw_joint"] == 1.3
    opened = wire.positions({name: 1000.0 for name in wire.names})
    assert opened["L_pinky_proximal_joint"] == 0.0 and opened["L_thumb_proximal_yaw_joint"] == pytest.approx(-0.1)
    assert wire.positions({"pinky": 500})["L_pinky_proximal_joint"] == pytest.approx(0.85)
    np.testing.assert_allclose(codec.encode_state(closed)["left_dexhand_position"], np.zeros(6), atol=1e-12)
    np.testing.assert_allclose(codec.encode_state(opened)["left_dexhand_position"], np.ones(6), atol=1e-12)
    commanded = codec.decode_actions({"left_dexhand_position": np.full((1, 6), 0.25)}, np.array(contract.home))
    group = contract.drivers[0].groups[0]
    np.testing.assert_allclose(group.wire.values(commanded[0]), np.full(6, 250.0))
    assert group.wire.names == ("pinky", "ring", "middle", "index", "thumb_bend", "thumb_rotation")


def test_degrees_signs_zeros_names_and_a_head():
    contract = robot("degrees_arm")
    read = contract.wire_of("/arm/joint_states").positions(
        dict(j1=90, j2=90, j3=-90, j4=720, j5=0, j6=-45, pan_joint=7)
    )
    quarter = np.pi / 2
    expected = dict(zip(ARM, (quarter, -quarter, 0.0, 4 * np.pi, 0.0, -np.pi / 4)))
    assert read == pytest.approx(expected, abs=1e-12)
    strangers = contract.wire_of("/arm/joint_states").positions({"pan_joint": 7.0, "lamp": 1.0})
    assert strangers == {"lamp": 1.0}, "what is called pan_joint there is none of ours"
    joints = read | contract.wire_of("/jaw/joint_states").positions({"jaw_joint": 12.5}) | {"head_joint": 0.5}
    state = SignalCodec(contract).encode_state(joints)
    np.testing.assert_allclose(state["gripper_position"], [0.25])
    assert state["head_position"].shape == (1,)
    arm, jaw, head = (driver.groups[0].wire for driver in contract.drivers)
    np.testing.assert_allclose(
        arm.values(np.array([read[joint] for joint in ARM])), [90, 90, -90, 720, 0, -45], atol=1e-9
    )
    np.testing.assert_allclose(arm.rates(np.ones(6)), np.degrees([1, -1, 1, 1, 1, 1]))
    assert jaw.names == ("left_jaw_joint",) and jaw.values(np.array([0.05]))[0] == pytest.approx(50.0)
    assert head.values(np.array([np.pi]))[0] == pytest.approx(0.5)
    assert {spec.key: spec.bounds("action") for spec in data_config_for(contract).action}["head_position"] == slice(
        64, 65
    )


def test_a_mode_without_joints_stands_in_the_slot_and_moves_nothing():
    contract = robot("degrees_arm")
    codec, home = SignalCodec(contract), np.array(contract.home)
    actions = codec.encode_commands(np.tile(home, (5, 1)))
    np.testing.assert_array_equal(actions["control_mode"], np.ones((4, 1)))
    moved = codec.decode_actions(actions | {"control_mode": np.full((4, 1), -3.0)}, home)
    np.testing.assert_allclose(moved, np.tile(home, (4, 1)), atol=1e-12)


def test_coupled_joints_follow():
    contract = robot("dex3_hand")
    codec, home = SignalCodec(contract), np.array(contract.home)
    assert contract.joint_names[-1] == "left_hand_index_1_joint"
    moved = codec.decode_actions({"left_dexhand_position": np.full((3, 6), -0.1)}, home, first_state=home + 0.05)
    np.testing.assert_allclose(moved[:, 5], np.full(3, home[5] + 0.05 - 0.1))
    np.testing.assert_allclose(moved[:, 6], 1.1 * moved[:, 5])
    assert set(contract.wire_of("/dex3/left/state").joints) == set(contract.joint_names), "and are measured"


def test_measured_poses_keep_their_branch_and_representation():
    codec = SignalCodec(robot("mobile_base"))
    joints = dict(zip(ARM, robot("mobile_base").home)) | {f"base_position[{i}]": float(i) for i in range(3)}
    half = joints | {"base_rotation[0]": 0.0, "base_rotation[1]": 0.0, "base_rotation[2]": np.pi - 0.01}
    state = codec.encode_state(half)
    np.testing.assert_allclose(state["base_position"], [0, 1, 2])
    np.testing.assert_allclose(
        state["base_rotation"], [np.cos(np.pi / 2 - 0.005), 0, 0, np.sin(np.pi / 2 - 0.005)], atol=1e-12
    )
    specs = {spec.key: spec.rotation for spec in data_config_for(robot("mobile_base")).state}
    assert specs == {
        "base_position": None,
        "base_rotation": "quaternion_wxyz",
        "eef_position": None,
        "eef_rotation": "rotation_6d",
    }
    assert state["eef_rotation"].shape == (6,)


def test_joints_without_an_end_reach_poses_beyond_a_turn():
    contract = robot("pose_arm")
    arm = Kinematics(contract.urdf_path, ARM, "tool", "base_link")
    q = np.array(contract.home) + [0, 0, 0, 2 * np.pi, 0, -4 * np.pi]
    place, turn = arm.fk(q)
    np.testing.assert_allclose(place, arm.fk(np.array(contract.home))[0], atol=1e-9)
    np.testing.assert_allclose(arm.ik(place, turn, q + 0.02), q, atol=1e-4)


def test_what_is_physically_possible_of_each_kind_of_signal():
    hand = physical_ranges(robot("inspire_hand"))
    assert {key: (r.kind, r.lower[0], r.upper[5]) for key, r in hand.items()} == dict.fromkeys(
        ("state.left_dexhand_position", "action.left_dexhand_position"), ("share", 0.0, 1.0)
    )
    degrees = physical_ranges(robot("degrees_arm"))
    assert degrees["state.arm_joint_position"].kind == "angle" and "action.arm_joint_position" not in degrees
    assert degrees["action.head_position"].upper.tolist() == [1.5]
    base = physical_ranges(robot("mobile_base"))
    assert base["action.eef_position"].upper[0] == 2 * base["state.eef_position"].upper[0]
    assert "state.base_position" not in base and "action.base_motion" not in base
    assert "state.eef_position" not in physical_ranges(robot("pose_arm")), "a measured pose may be of any frame"


HAND, DEGREES = "state.left_dexhand_position", "state.arm_joint_position"
MISTAKES = {
    "unknown unit": ("degrees_arm", f"{DEGREES}.unit", "degrees", ["unit", "deg"]),
    "length of an angle": ("degrees_arm", f"{DEGREES}.unit", "mm", ["`mm` is no unit of `pan_joint`, which turns"]),
    "angle of a length": ("degrees_arm", "state.gripper_position.unit", "deg", ["which slides", "mm"]),
    "scale of nothing": ("degrees_arm", f"{DEGREES}.scale", 0, ["scale", "pan_joint"]),
    "scale of a stranger": ("degrees_arm", f"{DEGREES}.scale", {"pan": 1}, ["did you mean `pan_joint`"]),
    "name of a stranger": ("degrees_arm", f"{DEGREES}.names", {"j1": "pan"}, ["not among the joints", "pan_joint"]),
    "one joint, two names": ("degrees_arm", f"{DEGREES}.names", {"a": "pan_joint", "b": "pan_joint"}, ["name each once"]),
    "two joints, one name": ("degrees_arm", f"{DEGREES}.names", {"lift_joint": "pan_joint"}, ["name each once"]),
    "prefix that is not there": ("degrees_arm", "state.head_position.add_prefix", "arm_", ["does not begin with `arm_`"]),
    "unit said once only": ("degrees_arm", "drivers.0", {
        "kind": "forward_command", "topic": "/arm/commands", "joints": list(ARM), "rate_hz": 50}, ["unit of its own"]),
    "share of nothing": ("inspire_hand", f"{HAND}.range", None, ["counts from closed to open", "range"]),
    "range beyond": ("inspire_hand", f"{HAND}.range.L_ring_proximal_joint", [2.0, 0.0], ["L_ring_proximal_joint", "0 to 1.7"]),
    "range of one joint": ("inspire_hand", f"{HAND}.range", {"L_ring_proximal_joint": [1, 0]}, ["has no range"]),
    "range of words": ("inspire_hand", f"{HAND}.range.L_ring_proximal_joint", ["a", 0], ["2 numbers"]),
    "coupled to a stranger": ("dex3_hand", "action.left_dexhand_position.coupling", {
        "left_hand_index_1_joint": {"of": "left_hand_index_1_joint"}}, ["coupling", "left_hand_index_0_joint"]),
    "coupled and in the slot": ("dex3_hand", "action.left_dexhand_position.coupling", {
        "left_hand_index_0_joint": {"of": "left_hand_thumb_0_joint"}}, ["is in the slot itself"]),
    "not enough indices": ("dex3_hand", f"{HAND}.indices", [0, 1], ["2 numbers for 7 joints"]),
    "index twice": ("dex3_hand", f"{HAND}.indices", [0, 1, 2, 3, 4, 5, 5], ["indices", "different"]),
    "no field": ("dex3_hand", f"{HAND}.field", None, ["are not known here", "`field`"]),
    "field of nothing": ("dex3_hand", f"{HAND}.field", "motor state", ["names no number", "motor_state[].q"]),
    "no type": ("dex3_hand", f"{HAND}.type", "HandState", ["no message type", "std_msgs/msg/Float64MultiArray"]),
    "pose of joints": ("mobile_base", "state.base_position.type", "sensor_msgs/msg/JointState", ["nav_msgs/msg/Odometry"]),
    "joints of a pose": ("degrees_arm", f"{DEGREES}.type", "nav_msgs/msg/Odometry", ["joints cannot be read"]),
    "two types on a topic": ("pose_arm", "state.eef_rotation.type", "nav_msgs/msg/Odometry", ["`/servo/pose` carries"]),
    "unknown rotation": ("pose_arm", "state.eef_rotation.rotation", "quat", ["quaternion_xyzw"]),
    "modes of one pose": ("pose_arm", "action.eef_rotation.mode", "delta", ["`mode` differs"]),
    "relative to nothing": ("dex3_hand", HAND, {
        "topic": "/hand", "source": "field", "type": "std_msgs/msg/Float64MultiArray", "indices": [0, 1, 2, 3, 4, 5],
        "max_age_s": 1.0}, ["no state signal measures"]),
    "two poses on one topic": ("pose_arm", "driver.eef_frame", "base_link", ["does not move `base_link`"]),
    "two arms on one hand": ("pose_arm", "driver", {"kind": "pose_command", "rate_hz": 50, "groups": [
        {"topic": "/a", "joints": list(ARM[:3])}, {"topic": "/b", "joints": list(ARM[3:])}]}, ["share one end effector"]),
    "one topic, two spellings": ("pose_arm", "state.eef_rotation.topic", "servo/pose", ["`/servo/pose` and `servo/pose`"]),
    "mode of a mode": ("degrees_arm", "action.control_mode.mode", "delta", ["control_mode.mode", "absolute"]),
    "a version to come": ("degrees_arm", "version", 3, ["version", "at most 2"]),
}  # fmt: skip


@pytest.mark.parametrize("mistake", MISTAKES)
def test_a_mistake_is_one_error_with_file_line_key_and_remedy(mistake, changed):
    name, path, value, wanted = MISTAKES[mistake]
    with pytest.raises(BeingHError) as caught:
        changed(name, set_key(path, value))
    text = str(caught.value)
    assert "robot.yaml:" in text
    for part in wanted:
        assert part in text, f"{part!r} not in: {text}"


def test_an_old_file_loads_and_says_what_changed(changed):
    contract = changed("pose_arm", set_key("version", None))
    (note,) = contract.notes
    assert (
        "stay the same in every namespace" in note
        and "robot.yaml: version 1" in note
        and "write `version: 2`" in note
        and "\n" not in note
    )
    assert contract.version == 1 and contract.hash == robot("pose_arm").hash


def test_the_hash_knows_what_a_model_sees(changed):
    before = robot("inspire_hand").hash
    assert changed("inspire_hand", set_key("driver.unit", "per_mille")).hash == before
    assert changed("inspire_hand", set_key("state.left_dexhand_position.topic", "/other")).hash == before
    for path, value in (
        ("cameras.wrist_view.rotate", 180),
        ("cameras.wrist_view.crop", [0, 0, 64, 48]),
        ("action.left_dexhand_position.mode", "delta"),
        ("action.left_dexhand_position.range", None),
    ):
        assert changed("inspire_hand", set_key(path, value)).hash != before, path


def test_two_arms_with_the_same_names_in_two_namespaces(changed):
    """ALOHA: each arm's joints are called the same, in a namespace of its own."""
    contract = changed("pose_arm", two_arms)
    message = {"waist": 0.1, "shoulder": 0.2, "elbow": 0.3}
    assert contract.wire_of("/right/joint_states").positions(message) == dict(zip(ARM[:3], (0.1, 0.2, 0.3)))
    assert contract.wire_of("/left/joint_states").positions(message) == dict(zip(ARM[3:], (0.1, 0.2, 0.3)))
    assert [group.wire.names for group in contract.command_groups] == [("waist", "shoulder", "elbow")] * 2
    assert all(signal.source in JOINT_SOURCES for signal in contract.state)


def test_a_child_frame_that_the_messages_do_not_have_is_refused(changed):
    def change(document):
        document["state"]["eef_position"]["child_frame_id"] = "tool"

    with pytest.raises(BeingHError, match="PoseStamped` has no child frame.*leave `child_frame_id` out"):
        changed("pose_arm", change)


def test_a_camera_is_not_undistorted_by_its_own_pictures(changed):
    def change(document):
        document["cameras"]["front_view"]["undistort"] = document["cameras"]["front_view"]["topic"]

    with pytest.raises(BeingHError, match="is the topic of `cameras.front_view` and of `cameras.front_view.undistort`"):
        changed("pose_arm", change)
