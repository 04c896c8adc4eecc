"""The codec: round trips, and each convention against its definition."""

from dataclasses import replace

import numpy as np
import pytest
from scipy.spatial.transform import Rotation

from beingh_core.contract import ActionSignal, StateSignal, load_contract
from beingh_core.contract.codec import SignalCodec, nearest_branch
from beingh_core.contract.kinematics import Kinematics
from beingh_core.errors import BeingHError

ARM = tuple(f"fr3_joint{i}" for i in range(1, 8))
POSE = {"eef_frame": "fr3_hand_tcp", "base_frame": "fr3_link0"}


@pytest.fixture(scope="module")
def contract():
    return load_contract("fr3")


@pytest.fixture(scope="module")
def arm(contract):
    return Kinematics(contract.urdf_path, ARM, "fr3_hand_tcp", "fr3_link0")


def with_pose(contract, frame):
    """The FR3 with position and rotation actions in a frame."""
    pair = [
        ActionSignal(slot=slot, mode="delta", frame=frame, joints=ARM, **POSE)
        for slot in ("eef_position", "eef_rotation")
    ]
    return replace(contract, action=(*pair, contract.action[1]))


def random_actions(rng, steps, rotation=False, chunk_start=False):
    moves = rng.normal(0, 0.008, (steps, 3))
    turns = rng.normal(0, 0.03, (steps, 3))
    actions = {
        "eef_position": np.cumsum(moves, axis=0) if chunk_start else moves,
        "gripper_position": rng.uniform(0, 1, (steps, 1)),
    }
    return {**actions, "eef_rotation": turns} if rotation else actions


def assert_round_trip(contract, actions):
    codec, home = SignalCodec(contract), np.array(contract.home)
    decoded = codec.decode(actions, home)
    assert decoded.unreached == ()
    encoded = codec.encode_commands(np.vstack([home, decoded.positions]))
    assert encoded.keys() == actions.keys()
    for slot, values in actions.items():
        np.testing.assert_allclose(encoded[slot], values, atol=5e-6, err_msg=slot)


@pytest.mark.parametrize("seed", range(5))
def test_round_trip_of_the_fr3(contract, seed):
    assert_round_trip(contract, random_actions(np.random.default_rng(seed), 16))


@pytest.mark.parametrize("frame", ["world", "eef", "chunk_start"])
def test_round_trip_with_rotation(contract, frame):
    actions = random_actions(np.random.default_rng(3), 16, rotation=True, chunk_start=frame == "chunk_start")
    assert_round_trip(with_pose(contract, frame), actions)


def test_round_trip_of_absolute_joints(contract):
    signal = ActionSignal(slot="arm_joint_position", mode="absolute", joints=ARM)
    contract = replace(contract, action=(signal, contract.action[1]))
    rng = np.random.default_rng(0)
    assert_round_trip(
        contract, {"arm_joint_position": rng.normal(0, 1, (16, 7)), "gripper_position": rng.uniform(0, 1, (16, 1))}
    )


def test_state(contract, arm):
    positions = {**dict(zip(contract.joint_names, contract.home)), "fr3_finger_joint1": 0.01, "another_joint": 9.0}
    state = SignalCodec(contract).encode_state(positions)
    np.testing.assert_allclose(state["eef_position"], arm.fk(np.array(contract.home[:7]))[0])
    np.testing.assert_allclose(state["gripper_position"], [0.25])  # 0 = closed at 0 m, 1 = open at 0.04 m


def test_state_errors(contract):
    codec, positions = SignalCodec(contract), dict(zip(contract.joint_names, contract.home))
    with pytest.raises(BeingHError, match="`fr3_joint3` is nan"):
        codec.encode_state({**positions, "fr3_joint3": float("nan")})
    del positions["fr3_joint3"]
    with pytest.raises(BeingHError, match="no `fr3_joint3`"):
        codec.encode_state(positions)


def test_deltas_are_differences_of_world_positions(contract, arm):
    rng = np.random.default_rng(0)
    q_TJ = np.array(contract.home) + np.cumsum(rng.normal(0, 0.01, (6, 8)), axis=0)
    encoded = SignalCodec(contract).encode_commands(q_TJ)
    positions = np.array([arm.fk(q[:7])[0] for q in q_TJ])
    np.testing.assert_allclose(encoded["eef_position"], np.diff(positions, axis=0), atol=1e-12)
    np.testing.assert_allclose(encoded["gripper_position"], q_TJ[1:, 7:] / 0.04)


def test_rotation_conventions(contract, arm):
    home = np.array(contract.home)
    turn, steps = np.array([0.02, -0.01, 0.03]), 4
    actions = {
        "eef_position": np.zeros((steps, 3)),
        "eef_rotation": np.tile(turn, (steps, 1)),
        "gripper_position": np.ones((steps, 1)),
    }
    before = Rotation.from_matrix(arm.fk(home[:7])[1])
    expected = {
        "world": Rotation.from_rotvec(turn * steps) * before,
        "eef": before * Rotation.from_rotvec(turn * steps),
        "chunk_start": before * Rotation.from_rotvec(turn),
    }
    for frame, wanted in expected.items():
        q = SignalCodec(with_pose(contract, frame)).decode_actions(actions, home)[-1]
        reached = Rotation.from_matrix(arm.fk(q[:7])[1])
        assert (reached.inv() * wanted).magnitude() < 1e-5, frame


def test_eef_frame_moves_along_the_tool(contract, arm):
    home = np.array(contract.home)
    contract = replace(contract, action=(replace(contract.action[0], frame="eef"), contract.action[1]))
    actions = {"eef_position": np.array([[0, 0, 0.01]]), "gripper_position": np.ones((1, 1))}
    position, rotation = arm.fk(home[:7])
    q = SignalCodec(contract).decode_actions(actions, home)[0]
    np.testing.assert_allclose(arm.fk(q[:7])[0], position + 0.01 * rotation[:, 2], atol=1e-5)


def test_orientation_of_the_anchor_is_kept(contract, arm):
    codec, home = SignalCodec(contract), np.array(contract.home)
    tilted = home + np.array([0.1, 0, 0, 0, 0.2, 0.1, 0, 0])
    for q in codec.decode_actions(random_actions(np.random.default_rng(0), 16), tilted):
        turned = arm.fk(tilted[:7])[1].T @ arm.fk(q[:7])[1]
        assert Rotation.from_matrix(turned).magnitude() < 1e-5


def test_reference_rotation_is_approached(contract, arm):
    codec, home = SignalCodec(contract), np.array(contract.home)
    tilted = home + np.array([0, 0, 0, 0, 0, 0.1, 0, 0])
    reference = arm.fk(home[:7])[1]
    still = {"eef_position": np.zeros((16, 3)), "gripper_position": np.ones((16, 1))}
    q_TJ = codec.decode_actions(still, tilted, reference_rotation={"eef_position": reference})
    angles = [Rotation.from_matrix(reference.T @ arm.fk(q[:7])[1]).magnitude() for q in (tilted, *q_TJ)]
    assert angles[0] == pytest.approx(0.1, abs=1e-6) and angles[-1] < 1e-5
    assert max(-np.diff(angles)) < 0.021
    np.testing.assert_allclose(arm.fk(q_TJ[-1, :7])[0], arm.fk(tilted[:7])[0], atol=1e-5)


def test_deltas_do_not_reanchor(contract, arm):
    """Chunk after chunk from its own commands lands where the sum of the deltas says."""
    codec, q = SignalCodec(contract), np.array(contract.home)
    start, total = arm.fk(q[:7])[0], np.zeros(3)
    rng = np.random.default_rng(0)
    for _ in range(10):
        actions = random_actions(rng, 6)
        actions["eef_position"] *= 0.5
        total += actions["eef_position"].sum(axis=0)
        q = codec.decode_actions(actions, q)[-1]
    np.testing.assert_allclose(arm.fk(q[:7])[0], start + total, atol=3e-5)


def test_gripper_is_cut_to_its_range(contract):
    actions = {"eef_position": np.zeros((2, 3)), "gripper_position": np.array([[-0.3], [1.7]])}
    q_TJ = SignalCodec(contract).decode_actions(actions, np.array(contract.home))
    np.testing.assert_allclose(q_TJ[:, 7], [0.0, 0.04])


def test_unreached_steps_are_reported(contract):
    actions = {"eef_position": np.tile([0.2, 0, 0], (6, 1)), "gripper_position": np.ones((6, 1))}
    decoded = SignalCodec(contract).decode(actions, np.array(contract.home))
    assert decoded.unreached and decoded.unreached[-1] == 5 and 0 not in decoded.unreached
    low, high = contract.limits.lower, contract.limits.upper
    assert ((decoded.positions >= low) & (decoded.positions <= high)).all()


@pytest.mark.parametrize(
    "change, message",
    [
        ({"eef_position": None}, "no `eef_position`"),
        ({"eef_position": np.zeros((4, 2))}, "shape .4, 2."),
        ({"gripper_position": np.zeros((5, 1))}, "shape .5, 1."),
        ({"gripper_position": np.full((4, 1), np.nan)}, "not finite"),
    ],
)
def test_bad_actions(contract, change, message):
    actions = {"eef_position": np.zeros((4, 3)), "gripper_position": np.zeros((4, 1)), **change}
    actions = {slot: values for slot, values in actions.items() if values is not None}
    with pytest.raises(BeingHError, match=message):
        SignalCodec(contract).decode_actions(actions, np.array(contract.home))


def test_rotation_vectors_keep_their_branch(contract):
    signal = StateSignal(slot="eef_rotation", topic="/joint_states", source="fk", joints=ARM, max_age_s=0.2, **POSE)
    codec = SignalCodec(replace(contract, state=(*contract.state, signal)))
    previous, vectors = None, []
    for turn in np.linspace(-0.6, 0.6, 61):  # the gripper points down: its rotation vector is near pi
        positions = dict(zip(contract.joint_names, np.array(contract.home) + turn * np.eye(8)[4]))
        previous = codec.encode_state(positions, previous)
        vectors.append(previous["eef_rotation"])
    assert np.linalg.norm(np.diff(vectors, axis=0), axis=1).max() < 0.1


def test_nearest_branch_is_the_same_rotation():
    rng = np.random.default_rng(0)
    for _ in range(200):
        vector, previous = rng.normal(0, 1.5, 3), rng.normal(0, 3, 3)
        found = nearest_branch(vector, previous)
        assert (Rotation.from_rotvec(found).inv() * Rotation.from_rotvec(vector)).magnitude() < 1e-9
        axis = vector / np.linalg.norm(vector)
        others = [vector + 2 * np.pi * k * axis for k in range(-3, 4)]
        assert np.linalg.norm(found - previous) <= min(np.linalg.norm(o - previous) for o in others) + 1e-9
