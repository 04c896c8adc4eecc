"""States against statistics: other units, orders and signs are found, a robot that stands elsewhere is left alone."""

import json
from pathlib import Path

import numpy as np
import pytest

from beingh_core.contract import load_contract
from beingh_core.contract.codec import SignalCodec
from beingh_core.policy.data_configs import DataConfig, KeySpec
from beingh_core.policy.from_contract import data_config_for
from beingh_core.policy.metadata import compute_statistics
from beingh_core.policy.trained_range import SignalRange, TrainedRange, physical_ranges, trained_range

ROOT = Path(__file__).resolve().parent.parent
FR3, UR5E = load_contract("fr3"), load_contract("ur5e")
METADATA = json.loads((ROOT / "checkpoints/fr3_cubes/fr3_cubes_metadata.json").read_text())
DEMO = METADATA["fr3_cubes"]["statistics"]
MODES = {"q99": ("q01", "q99"), "min_max": ("min", "max"), "mean_std": ("mean", "std")}


def fr3_state(positions=FR3.home):
    return SignalCodec(FR3).encode_state(dict(zip(FR3.joint_names, positions)))


def demo(change, kind="state"):
    statistics = json.loads(json.dumps(DEMO))
    rows = statistics[kind]["eef_position"]
    statistics[kind]["eef_position"] = {name: change(np.array(row)).tolist() for name, row in rows.items()}
    return statistics


def with_mode(mode, key="eef_position"):
    config = data_config_for(FR3)
    state = tuple(
        KeySpec(key=s.key, normalization=mode if s.key == key else "none", width=s.width) for s in config.state
    )
    return DataConfig(name="fr3", views=config.views, state=state, action=config.action)


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize(
    "factor, words",
    [
        (1000, "millimetres"),
        (100, "centimetres"),
        (39.37, "inches"),
        (20, ""),
        (0.05, ""),
        (0.01, "robot's values look like centimetres"),
        (0.001, "robot's values look like millimetres"),
    ],
)
def test_statistics_in_other_units_are_told_with_both_ranges(mode, factor, words):
    config = with_mode(mode)
    problem = trained_range(FR3, config, demo(lambda row: row * factor)).problem(fr3_state())
    assert "state.eef_position" in problem and "x is 0.48" in problem and "training saw" in problem and words in problem
    assert trained_range(FR3, config, DEMO).problem(fr3_state()) is None


@pytest.mark.parametrize("mode", MODES)
def test_only_the_rows_that_normalise_need_to_be_there(mode):
    rows = {name: [1000 * v for v in DEMO["state"]["eef_position"][name]] for name in MODES[mode]}
    problem = trained_range(FR3, with_mode(mode), {"state": {"eef_position": rows}}).problem(fr3_state())
    assert "millimetres" in problem
    assert trained_range(FR3, with_mode("none"), {"state": {"eef_position": rows}}).problem(fr3_state()) is None


def arm_statistics(change):
    rng = np.random.default_rng(0)
    rows = np.array(UR5E.home)[:6] + rng.normal(0.0, 0.3, (500, 6))
    return {"state": {"arm_joint_position": compute_statistics(change(rows))}}


@pytest.mark.parametrize(
    "change, words",
    [
        (np.degrees, "degrees"),
        (np.radians, "robot's values look like degrees"),
        (lambda rows: -rows, "the sign looks wrong: shoulder_lift_joint"),
        (lambda rows: rows[:, ::-1], "order looks different"),
        (lambda rows: rows[:, [0, 2, 1, 3, 4, 5]], "order looks different"),
    ],
)
def test_units_orders_and_signs_of_joints(change, words):
    config = data_config_for(UR5E)
    state = {"arm_joint_position": np.array(UR5E.home)[:6]}
    assert trained_range(UR5E, config, arm_statistics(lambda rows: rows)).problem(state) is None
    assert words in trained_range(UR5E, config, arm_statistics(change)).problem(state)


def test_a_robot_that_publishes_degrees_is_found_too():
    trained = trained_range(UR5E, data_config_for(UR5E), arm_statistics(lambda rows: rows))
    problem = trained.problem({"arm_joint_position": np.degrees(np.array(UR5E.home)[:6])})
    assert "robot's values look like degrees" in problem


def test_impossible_statistics_of_actions_are_told():
    problem = trained_range(FR3, data_config_for(FR3), demo(lambda row: 1000 * row, "action")).problem(fr3_state())
    assert "action.eef_position" in problem and "impossible" in problem


@pytest.mark.parametrize(
    ("kind", "low", "high", "said"),
    [
        ("arm_joint_position", [-20, -5, 1, -30, -1], [20, 40, 90, 10, 1], "it looks like degrees: divided by 57.3"),
        ("arm_joint_position", [-900, -1500, 1, -1600, -1], [1000, 1500, 1600, 10, 1], "it looks like milliradians"),
        ("arm_joint_position", [-20, -5, 1, -30, -1], [20, 40, 9e4, 10, 1], "the unit is wrong"),
        ("gripper_position", [0], [98], "it looks like per cent: divided by 100"),
    ],
)
def test_every_impossible_joint_is_told_with_the_likely_unit(kind, low, high, said):
    so101, rows = load_contract("so101"), {"q01": low, "q99": high}
    config = data_config_for(so101)
    config = DataConfig(
        name="x", views=config.views, action=config.action,
        state=tuple(KeySpec(key=s.key, normalization="q99", width=s.width) for s in config.state),
    )  # fmt: skip
    problem = trained_range(so101, config, {"state": {kind: rows}}).impossible("the recorded values")
    ranges = physical_ranges(so101)[f"state.{kind}"]
    wide = 2 * ranges.span.max()  # which every joint is beyond that goes further
    wrong = [n for n, a, b in zip(ranges.labels, low, high) if max(-a, b) > wide]
    assert wrong and all(f"{name} was" in problem for name in wrong)
    assert "wrist_roll" not in problem and said in problem and f"state.{kind}" in problem


def test_the_demo_runs_all_over_its_workspace():
    trained, rng = trained_range(FR3, data_config_for(FR3), DEMO), np.random.default_rng(1)
    for _ in range(500):
        positions = np.clip(np.array(FR3.home) + rng.uniform(-0.6, 0.6, 8), FR3.limits.lower, FR3.limits.upper)
        assert trained.problem(fr3_state(positions)) is None


@pytest.mark.parametrize("name", ["ur5e", "so101", "xarm7", "g1"])
def test_a_robot_that_stands_somewhat_outside_runs(name):
    contract, rng = load_contract(name), np.random.default_rng(2)
    codec, home = SignalCodec(contract), np.array(contract.home)
    encode = lambda q: codec.encode_state(dict(zip(contract.joint_names, q)))  # noqa: E731
    rows = [encode(home + rng.normal(0.0, 0.1, len(home))) for _ in range(300)]
    statistics = {"state": {key: compute_statistics(np.array([row[key] for row in rows])) for key in rows[0]}}
    trained = trained_range(contract, data_config_for(contract), statistics)
    for _ in range(100):
        assert trained.problem(encode(home + rng.uniform(-0.6, 0.6, len(home)))) is None


def test_released_metadata_is_no_reason_to_stop():
    """No robot, no hash, other keys beside ours, a gripper that counts from -1 to 1."""
    released = json.loads((Path(__file__).parent / "data/set_a/uni_posttrain_metadata.json").read_text())
    statistics = released["uni_posttrain"]["statistics"]
    assert trained_range(FR3, with_mode("q99"), statistics).problem(fr3_state()) is None


GRIPPER = {"state.gripper_position": physical_ranges(FR3)["state.gripper_position"]}


@pytest.mark.parametrize("seen", [[1.0] * 500, [1.0] * 499 + [0.0], [0.0] * 250 + [1.0] * 250])
@pytest.mark.parametrize("measured", [0.9, 1.0, 1.05])
def test_a_gripper_that_hardly_moved_in_training_may_be_a_little_elsewhere(seen, measured):
    statistics = {"state": {"gripper_position": compute_statistics(np.array(seen)[:, None])}}
    trained = TrainedRange(with_mode("q99", "gripper_position"), statistics, GRIPPER)
    assert trained.problem({"gripper_position": np.array([measured])}) is None


def test_a_gripper_in_millimetres_is_told_and_one_wild_value_hides_nothing():
    config, rng = with_mode("q99", "gripper_position"), np.random.default_rng(3)
    seen = np.append(rng.uniform(0.0, 80.0, 999), 1e6)[:, None]
    trained = TrainedRange(config, {"state": {"gripper_position": compute_statistics(seen)}}, GRIPPER)
    assert "gripper_position" in trained.problem({"gripper_position": np.array([1.0])})


def test_a_rotation_is_the_same_on_either_branch():
    turn = np.full(3, 2 * np.pi)
    ranges = {"state.eef_rotation": SignalRange(labels=("x", "y", "z"), lower=-turn, upper=turn, kind="angle")}
    spec = KeySpec(key="eef_rotation", normalization="q99")
    config = DataConfig(name="x", views=("a",), state=(spec,), action=data_config_for(FR3).action)
    seen = np.array([np.pi, 0.0, 0.0]) + np.random.default_rng(4).normal(0, 0.02, (300, 3))
    trained = TrainedRange(config, {"state": {"eef_rotation": compute_statistics(seen)}}, ranges)
    assert trained.problem({"eef_rotation": np.array([-np.pi + 0.02, 0.01, 0.0])}) is None
    assert trained.problem({"eef_rotation": np.array([0.0, 1.5, 0.0])}) is not None


@pytest.mark.parametrize(
    "rows", [None, {}, {"q01": None, "q99": [1, 2, 3]}, {"q01": ["a"], "q99": [1]}, "text", {"q01": [0], "q99": [1]}]
)
def test_statistics_that_are_not_there_are_left_to_the_normalisation(rows):
    assert trained_range(FR3, with_mode("q99"), {"state": {"eef_position": rows}}).problem(fr3_state()) is None


def test_x_and_y_that_are_swapped_are_told():
    swapped = trained_range(FR3, data_config_for(FR3), demo(lambda row: row[[1, 0, 2]]))
    assert "order looks different: y where x belongs, x where y belongs" in swapped.problem(fr3_state())
    assert trained_range(FR3, data_config_for(FR3), DEMO).problem(fr3_state()) is None


def test_no_posture_of_the_demo_looks_swapped():
    """All over the box in which the expert works, and a usual width beyond one of its sides."""
    trained, rng = trained_range(FR3, data_config_for(FR3), DEMO), np.random.default_rng(2)
    rows = {name: np.array(row) for name, row in DEMO["state"]["eef_position"].items()}
    gripper = fr3_state()["gripper_position"]
    for position in rng.uniform(rows["min"], rows["max"], (2000, 3)):
        position[rng.integers(3)] += rng.uniform(-1.0, 1.0) * (rows["q99"] - rows["q01"]).min()
        assert trained.problem({"eef_position": position, "gripper_position": gripper}) is None
