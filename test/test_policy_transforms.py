"""Normalisation, rotations, slots and pictures: algebra, scipy, and round trips."""

from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.linalg import expm
from scipy.spatial.transform import Rotation

from beingh_core import rotations
from beingh_core.contract import load_contract
from beingh_core.errors import BeingHError
from beingh_core.policy.data_configs import DataConfig, KeySpec, get_data_config, register_data_config
from beingh_core.policy.from_contract import data_config_for
from beingh_core.policy.image import MEAN, STD, eval_transform, resize_crop
from beingh_core.policy.metadata import compute_statistics
from beingh_core.policy.transforms import Normalizer, UnifiedTransform

ROOT = Path(__file__).parents[1]
finite = st.floats(-5.0, 5.0, allow_nan=False, width=32)


def normalizer(mode, **statistics):
    width = len(next(iter(statistics.values()), [0]))
    return Normalizer(mode, statistics, width, where="test")


def test_ranges_map_to_one():
    q99 = normalizer("q99", q01=[-1.0, 2.0], q99=[3.0, 2.5])
    assert q99.normalize(np.array([[-1.0, 2.0], [1.0, 2.25], [3.0, 2.5]])).tolist() == [[-1, -1], [0, 0], [1, 1]]
    min_max = normalizer("min_max", min=[0.0], max=[10.0])
    assert min_max.normalize(np.array([10.0, 15.0])).tolist() == [1.0, 2.0]
    mean_std = normalizer("mean_std", mean=[4.0], std=[2.0])
    assert mean_std.normalize(np.array([8.0])).tolist() == [2.0]


def test_binary_is_a_threshold_both_ways():
    values = np.array([-2.0, 0.4999, 0.5, 0.5001, 3.0])
    binary = normalizer("binary")
    assert binary.normalize(values).tolist() == binary.denormalize(values).tolist() == [0, 0, 0, 1, 1]


@pytest.mark.parametrize(
    ("mode", "constant"),
    [
        ("q99", {"q01": [0.3], "q99": [0.3]}),
        ("min_max", {"min": [0.3], "max": [0.3]}),
        ("mean_std", {"mean": [0.3], "std": [0.0]}),
    ],
)
def test_what_never_moved_comes_back_as_its_constant(mode, constant):
    norm = normalizer(mode, **constant)
    assert norm.normalize(np.array([0.3])).tolist() == [0.0]
    assert norm.denormalize(np.array([-7.0])).tolist() == [0.3]


@settings(max_examples=60, deadline=None)
@given(
    mode=st.sampled_from(["q99", "min_max", "mean_std", "none"]),
    data=st.lists(st.tuples(finite, finite, finite), min_size=3, max_size=20),
    values=st.tuples(finite, finite, finite),
)
def test_normalisation_round_trip(mode, data, values):
    statistics = compute_statistics(np.array(data))
    norm = Normalizer(mode, statistics, 3, where="test")
    values = np.array(values, dtype=np.float64)
    back = norm.denormalize(norm.normalize(values))
    moved = np.ones(3, dtype=bool) if mode == "none" else norm.inverse_scale > 0
    np.testing.assert_allclose(back[moved], values[moved], atol=1e-9)


@pytest.mark.parametrize(
    "statistics",
    [
        None,
        {},
        {"q01": [0.0], "q99": [1.0]},
        {"q01": [0, 0], "q99": [1, np.nan]},
        {"q01": [1, 1], "q99": [0, 0]},
    ],
)
def test_unusable_statistics_are_refused(statistics):
    with pytest.raises(BeingHError, match="here"):
        Normalizer("q99", statistics, 2, where="here")


def rodrigues(rotvec):
    x, y, z = rotvec
    return expm(np.array([[0, -z, y], [z, 0, -x], [-y, x, 0]]))


@settings(max_examples=40, deadline=None)
@given(rotvec=st.tuples(*[st.floats(-1.7, 1.7)] * 3))
def test_rotations_describe_the_same_matrix(rotvec):
    rotvec = np.array(rotvec)
    matrix = rodrigues(rotvec)
    read = {
        "axis_angle": lambda v: rodrigues(v),
        "matrix": lambda v: v.reshape(3, 3),
        "rotation_6d": lambda v: np.stack([v[:3], v[3:], np.cross(v[:3], v[3:])], axis=1),
        "quaternion_wxyz": lambda v: Rotation.from_quat(v, scalar_first=True).as_matrix(),
        "quaternion_xyzw": lambda v: Rotation.from_quat(v).as_matrix(),
        "euler_xyz": lambda v: rodrigues([0, 0, v[2]]) @ rodrigues([0, v[1], 0]) @ rodrigues([v[0], 0, 0]),
    }
    assert read.keys() == rotations.WIDTHS.keys()
    for representation, to_matrix in read.items():
        values = rotations.from_axis_angle(rotvec, representation)
        assert values.shape == (rotations.WIDTHS[representation],)
        np.testing.assert_allclose(to_matrix(values), matrix, atol=1e-7, err_msg=representation)
        back = rotations.to_axis_angle(values[None, None], representation)[0, 0]
        np.testing.assert_allclose(rodrigues(back), matrix, atol=1e-7, err_msg=representation)


def test_quaternions_of_either_sign_give_the_short_rotation():
    quaternion = np.array([-0.8, 0.6, 0.0, 0.0])
    expected = [-2 * np.arctan2(0.6, 0.8), 0.0, 0.0]
    for sign in (1, -1):
        np.testing.assert_allclose(rotations.to_axis_angle(sign * quaternion, "quaternion_wxyz"), expected)


@pytest.mark.parametrize("representation", ["quaternion_wxyz", "rotation_6d"])
def test_what_is_no_rotation_is_refused(representation):
    with pytest.raises(BeingHError):
        rotations.to_axis_angle(np.zeros(rotations.WIDTHS[representation]), representation)
    with pytest.raises(BeingHError, match="quaternion_wxyz"):
        rotations.width_of("quaternion")


CONFIG = DataConfig(
    name="both_kinds",
    views=("view",),
    state=(
        KeySpec(key="arm", slot="arm_joint_position", width=5, normalization="mean_std"),
        KeySpec(key="gripper_qpos"),
    ),
    action=(
        KeySpec(key="turn", slot="eef_rotation", rotation="quaternion_wxyz", normalization="q99"),
        KeySpec(key="gripper_position", normalization="binary"),
    ),
)
STATISTICS = {
    "state": {"arm": compute_statistics(np.random.default_rng(0).normal(size=(50, 5)))},
    "action": {"turn": compute_statistics(np.random.default_rng(1).normal(size=(50, 3)))},
}


def test_every_value_lands_in_its_slot():
    transform = UnifiedTransform(CONFIG, STATISTICS)
    arm, qpos = np.arange(5.0), np.array([7.0, 8.0])
    unified = transform.state_to_unified({"state.arm": arm, "gripper_qpos": qpos})
    assert unified.shape == (200,) and unified.dtype == np.float32
    mean, std = (np.array(STATISTICS["state"]["arm"][k]) for k in ("mean", "std"))
    np.testing.assert_allclose(unified[50:55], (arm - mean) / std, rtol=1e-6)
    np.testing.assert_allclose(unified[44:46], qpos)
    assert np.flatnonzero(unified).tolist() == [44, 45, 50, 51, 52, 53, 54]
    assert np.flatnonzero(transform.mask("state")).tolist() == [44, 45, 50, 51, 52, 53, 54]
    assert np.flatnonzero(transform.action_mask).tolist() == [3, 4, 5, 18]


def test_actions_round_trip_and_the_prefix_is_zero_elsewhere():
    transform = UnifiedTransform(CONFIG, STATISTICS)
    rng = np.random.default_rng(2)
    turn = Rotation.random(4, random_state=3).as_quat(scalar_first=True, canonical=True)
    action = {"turn": turn, "gripper_position": rng.integers(0, 2, size=(4, 1)).astype(float)}
    unified = transform.action_to_unified(action)
    assert unified.shape == (4, 200)
    back = transform.action_from_unified(unified)
    for key, value in action.items():
        np.testing.assert_allclose(back[key], value, atol=1e-5)
    prefix = transform.encode_prefix(action, 16)
    assert prefix.shape == (1, 16, 200) and prefix.dtype == np.float32
    np.testing.assert_array_equal(prefix[0, :4], unified)
    assert not prefix[0, 4:].any() and not prefix[0, :, ~transform.action_mask].any()
    with pytest.raises(BeingHError, match="prefix"):
        transform.encode_prefix(action, 3)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"arm": None}, "state.arm"),
        ({"arm": np.zeros(6)}, "last dimension must be 5"),
        ({"arm": np.array([0, 0, 0, 0, np.inf])}, "NaN or infinity"),
        ({"arm": ["a"] * 5}, "not an array of numbers"),
        ({"arm": np.zeros((2, 5))}, "leading shape"),
    ],
)
def test_bad_values_are_named(change, said):
    transform = UnifiedTransform(CONFIG, STATISTICS)
    values = {"arm": np.zeros(5), "gripper_qpos": np.zeros(2)} | change
    values = {key: value for key, value in values.items() if value is not None}
    with pytest.raises(BeingHError, match=said):
        transform.state_to_unified(values)


def config_of(*action, name="x", views=("a",), state=()):
    return DataConfig(name=name, views=views, state=state, action=action)


EEF = KeySpec(key="eef_position")


@pytest.mark.parametrize(
    "broken",
    [
        lambda: KeySpec(key="eef_position", normalization="q9"),
        lambda: KeySpec(key="eef_rotation", rotation="quat"),
        lambda: config_of(EEF, views=()),
        lambda: config_of(EEF, views=("a", "a")),
        lambda: config_of(),
        lambda: config_of(KeySpec(key="eef_positon")),
        lambda: config_of(KeySpec(key="eef_position", width=2)),
        lambda: config_of(KeySpec(key="base_motion", rotation="axis_angle")),
        lambda: config_of(EEF, KeySpec(key="again", slot="eef_position")),
        lambda: config_of(EEF, state=(KeySpec(key="gripper_qpos"), KeySpec(key="libero_gripper_position"))),
        lambda: register_data_config(config_of(EEF, name="libero_nonorm")),
        lambda: get_data_config("robocasa"),
    ],
)
def test_bad_data_configs_are_refused(broken):
    with pytest.raises(BeingHError):
        broken()


def test_a_contract_gives_its_views_slots_and_normalisation():
    contract = load_contract(ROOT / "config" / "robots" / "fr3.yaml")
    config = data_config_for(contract)
    assert config.name == contract.robot == "fr3"
    assert config.views == tuple(camera.name for camera in contract.cameras)
    assert [spec.slot for spec in config.state] == [signal.slot for signal in contract.state]
    given = {f"state.{s.key}": s.normalization for s in config.state}
    given |= {f"action.{s.key}": s.normalization for s in config.action}
    assert contract.policy.normalization.items() <= given.items()


def test_a_normalisation_for_no_signal_is_refused():
    contract = SimpleNamespace(
        robot="r", state=(), action=(), cameras=(), policy=SimpleNamespace(normalization={"state.eef_position": "q99"})
    )
    with pytest.raises(BeingHError, match="state.eef_position"):
        data_config_for(contract)


def test_pictures_keep_their_centre_and_their_colour():
    image = np.zeros((48, 80, 3), dtype=np.uint8)
    image[:, :16], image[:, -16:] = 255, 255
    assert not resize_crop(image, 48).any()
    assert not resize_crop(image.transpose(1, 0, 2), 48).any()
    flat = np.full((37, 91, 3), (10, 128, 250), dtype=np.uint8)
    tensor = eval_transform(flat, 28)
    assert tuple(tensor.shape) == (3, 28, 28)
    expected = (np.array([10, 128, 250]) / 255 - MEAN) / STD
    np.testing.assert_allclose(tensor.numpy(), np.broadcast_to(expected[:, None, None], (3, 28, 28)), atol=1e-5)
