"""`BeingHPolicy` against the released policy's numbers, its prefix lock, and its answers to bad input."""

import inspect
import json
import logging
import shutil
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch

from beingh_core.errors import BeingHError
from beingh_core.policy import BeingHPolicy
from beingh_core.policy.data_configs import get_data_config
from beingh_core.policy.observations import check_observation

SET_A = Path(__file__).parent / "data" / "set_a"
CASES = ("libero", "libero_task", "libero_rtc", "robocasa", "libero_nompg")
H = 16


@pytest.fixture(scope="module")
def cases():
    with np.load(SET_A / "policy_cases.npz") as stored:
        return dict(stored)


def make_policy(cases, name, directory=SET_A, **changes):
    meta = json.loads(str(cases[f"{name}.meta"]))
    source = meta.pop("stats_source")
    policy = BeingHPolicy(model_path=directory, device="cpu", dtype=torch.float32, **(meta | changes))
    assert policy.stats_source == source
    return policy


def observation(cases, name):
    obs = {key.split(".obs.")[1]: value for key, value in cases.items() if key.startswith(f"{name}.obs.")}
    for key in ("prev_chunk", "inference_delay"):
        if f"{name}.{key}" in cases:
            obs[key] = cases[f"{name}.{key}"]
    return obs


def randomness(cases, name):
    return {"noise": cases[f"{name}.noise"], "projections": cases.get(f"{name}.projections")}


@pytest.fixture(scope="module")
def libero(cases):
    return make_policy(cases, "libero")


def test_the_lists_of_steps_are_what_runs(cases, libero):
    obs, steps = observation(cases, "libero"), libero.steps
    assert [step.__name__ for step in steps.inputs] == ["words_to_sequence", "images_to_pixels", "state_to_slots"]
    assert [step.__name__ for step in steps.outputs] == ["finite", "slots_to_actions", "named"]
    whole, all_steps = libero.encode(steps.check(obs)), steps.inputs
    try:
        steps.inputs = all_steps[:-1]
        assert whole.keys() - libero.encode(steps.check(obs)).keys() == {"padded_state"}
    finally:
        steps.inputs = all_steps


@pytest.mark.parametrize("name", CASES)
def test_released_numbers(cases, name):
    policy = make_policy(cases, name)
    obs = observation(cases, name)

    packed = policy.encode(check_observation(obs, policy.data_config, policy.chunk_length))
    expected = {k.split(".packed.")[1]: v for k, v in cases.items() if k.startswith(f"{name}.packed.")}
    for key, value in expected.items():
        np.testing.assert_allclose(np.asarray(packed[key]), value, atol=1e-5, err_msg=key)

    output = policy.get_action(obs, **randomness(cases, name))
    expected = {k.split(".out.")[1]: v for k, v in cases.items() if k.startswith(f"{name}.out.")}
    assert output.keys() == expected.keys()
    for key, value in expected.items():
        assert output[key].shape == value.shape and output[key].dtype == value.dtype
        np.testing.assert_allclose(output[key], value, atol=1e-4, err_msg=key)


def test_facts_that_nodes_read(libero):
    assert libero.chunk_length == H
    assert libero.trained_delay == 3  # simulated_delay 4: prefixes of 0 to 3 steps
    assert libero.views == ("top_view", "wrist_view")
    seconds = libero.warm_up()
    assert seconds == pytest.approx(libero.last_timing_ms["total"] / 1e3)
    assert set(libero.last_timing_ms) == {"encode", "model", "decode", "total"}


def test_plain_shapes_and_texts_are_accepted(cases, libero):
    obs = observation(cases, "libero")
    plain = {key: value[0] if key != "inference_delay" else value for key, value in obs.items()}
    plain["language.instruction"] = str(plain["language.instruction"])
    output = libero.get_action(plain, **randomness(cases, "libero"))
    for name, value in output.items():
        np.testing.assert_allclose(value, cases[f"libero.out.{name}"][0], atol=1e-4, err_msg=name)
    plain["state.eef_position"] = plain["state.eef_position"][None]
    assert libero.get_action(plain, **randomness(cases, "libero"))["action_unified"].shape == (1, H, 200)


def test_a_physical_prefix_is_what_comes_out_first(cases, libero):
    rng = np.random.default_rng(0)
    sent = {
        "eef_position": rng.normal(size=(3, 3)),
        "eef_rotation": rng.normal(size=(3, 3)),
        "gripper_position": rng.random((3, 1)),
    }
    obs = observation(cases, "libero")
    obs |= {"prev_chunk": libero.encode_prefix(sent), "inference_delay": 3}
    output = libero.get_action(obs, **randomness(cases, "libero"))
    free = libero.get_action(observation(cases, "libero"), **randomness(cases, "libero"))
    for key, value in sent.items():
        np.testing.assert_allclose(output[f"action.{key}"][0, :3], value, atol=1e-6)
        assert np.abs(output[f"action.{key}"][0, 3:] - free[f"action.{key}"][0, 3:]).max() > 1e-3


@pytest.mark.parametrize("trained", (True, False))
def test_prefix_is_ignored_aloud_once_unless_enabled_and_trained(cases, tmp_path, caplog, trained):
    directory = tmp_path / "checkpoint"
    shutil.copytree(SET_A, directory)
    config = json.loads((directory / "config.json").read_text())
    config["use_training_time_rtc"] = trained
    (directory / "config.json").write_text(json.dumps(config))
    policy = make_policy(cases, "libero", directory, enable_rtc=not trained)
    assert policy.trained_delay == (3 if trained else 0)

    obs = observation(cases, "libero")
    obs |= {"prev_chunk": np.ones((1, H, 200)), "inference_delay": 4}
    with caplog.at_level(logging.WARNING, logger="beingh_core.policy"):
        output = policy.get_action(obs, **randomness(cases, "libero"))
        policy.get_action(obs)
    for name in ("action.eef_position", "action.eef_rotation", *(() if trained else ("action_unified",))):
        np.testing.assert_allclose(output[name], cases[f"libero.out.{name}"], atol=1e-4)
    assert ("action_unified" in output) == (not trained), "enable_rtc off leaves it out"
    assert sum("prev_chunk is ignored" in record.message for record in caplog.records) == 1


def test_a_delay_beyond_training_locks_and_warns(cases, libero, caplog):
    obs = observation(cases, "libero")
    obs |= {"prev_chunk": np.full((1, H, 200), 0.25), "inference_delay": 6}
    with caplog.at_level(logging.WARNING, logger="beingh_core.policy"):
        output = libero.get_action(obs)
    assert np.all(output["action_unified"][0, :6] == 0.25)
    assert any("longer than the 3 steps" in record.message for record in caplog.records)


def test_a_checkpoint_that_drew_no_delays_locks_as_released_and_says_so(cases, tmp_path, caplog):
    shutil.copytree(SET_A, tmp_path / "checkpoint")
    config = json.loads((tmp_path / "checkpoint" / "config.json").read_text())
    (tmp_path / "checkpoint" / "config.json").write_text(json.dumps(config | {"simulated_delay": None}))
    policy = make_policy(cases, "libero", tmp_path / "checkpoint")
    obs = observation(cases, "libero") | {"prev_chunk": np.full((1, H, 200), 0.25), "inference_delay": 2}
    with caplog.at_level(logging.WARNING, logger="beingh_core.policy"):
        output = policy.get_action(obs)
    assert policy.trained_delay == 0 and np.all(output["action_unified"][0, :2] == 0.25)
    assert any("longer than the 0 steps" in record.message for record in caplog.records)


RELEASED_ARGUMENTS = (
    "model_path data_config_name dataset_name embodiment_tag instruction_template prop_pos max_view_num use_fixed_view "
    "action_attn_mode device use_mpg mpg_lambda mpg_num_projections mpg_refinement_iters mpg_gate_temperature "
    "num_inference_timesteps enable_rtc metadata_variant stats_selection_mode"
).split()


def test_the_released_arguments_in_their_order():
    parameters = inspect.signature(BeingHPolicy).parameters.values()
    assert [p.name for p in parameters if p.kind is p.POSITIONAL_OR_KEYWORD] == RELEASED_ARGUMENTS


def test_what_the_released_policy_leaves_out_of_account_changes_nothing_and_is_said(cases, caplog):
    ignored = {"prop_pos": "back", "max_view_num": 1, "use_fixed_view": True, "action_attn_mode": "full"}
    with caplog.at_level(logging.WARNING, logger="beingh_core.policy"):
        policy = make_policy(cases, "libero", **ignored)
    (record,) = [r for r in caplog.records if "without effect" in r.message]
    assert all(name in record.message for name in ignored)
    output = policy.get_action(observation(cases, "libero"), **randomness(cases, "libero"))
    np.testing.assert_allclose(output["action_unified"], cases["libero.out.action_unified"], atol=1e-4)


def test_gating_can_be_set(cases, libero):
    noise = cases["libero.noise"]

    def unified(policy, directions):
        return policy.get_action(observation(cases, "libero"), noise=noise, projections=directions)["action_unified"]

    hot = make_policy(cases, "libero", mpg_gate_temperature=50.0)
    assert hot.engine.config.mpg_temperature == hot.engine.mpg.temperature == 50.0
    assert np.abs(unified(hot, cases["libero.projections"]) - cases["libero.out.action_unified"]).max() > 1e-4
    few = make_policy(cases, "libero", mpg_num_projections=5)
    few_directions = cases["libero.projections"][:, :5]
    np.testing.assert_array_equal(unified(few, few_directions), unified(libero, few_directions))
    assert unified(few, None).shape == (1, H, 200)
    off, idle = make_policy(cases, "libero", use_mpg=False), make_policy(cases, "libero", mpg_lambda=0.0)
    assert [one.model_facts["mpg_passes"] for one in (off, idle, libero)] == [0, 0, 1]
    plain = [one.get_action(observation(cases, "libero"), noise=noise[:1])["action_unified"] for one in (off, idle)]
    np.testing.assert_array_equal(*plain)


@pytest.mark.parametrize("asked", ({"use_mpg": True}, {"mpg_refinement_iters": 2}))
def test_gated_passes_of_a_checkpoint_without_them_are_refused(cases, tmp_path, asked):
    raw = json.loads((SET_A / "config.json").read_text()) | {"use_mpg": False}
    shutil.copytree(SET_A, tmp_path / "checkpoint")
    (tmp_path / "checkpoint" / "config.json").write_text(json.dumps(raw))
    with pytest.raises(BeingHError, match="trained without MPG"):
        make_policy(cases, "libero", tmp_path / "checkpoint", **asked)


def test_project_inactive_only_touches_what_it_says(cases):
    policy = make_policy(cases, "libero_nompg")
    policy.project_inactive = True
    unused = ~policy.transform.action_mask
    output = policy.get_action(observation(cases, "libero_nompg"), **randomness(cases, "libero_nompg"))
    np.testing.assert_allclose(output["action_unified"][0][:, unused], 0.0, atol=1e-6)


def test_a_contract_of_another_chunk_length_is_refused(libero):
    contract = SimpleNamespace(robot="r", hash="0" * 64, policy=SimpleNamespace(chunk_length=H))
    libero.check_contract(contract)
    contract.policy.chunk_length = H // 2
    with pytest.raises(BeingHError, match="chunk_length 8"):
        libero.check_contract(contract)


def bad(key, value):
    return pytest.param({key: value}, id=f"{key}-{np.asarray(value).dtype}-{np.shape(value)}")


IMAGE = "video.wrist_view"
NAN_STATE = np.array([[0.0, np.nan, 0.0]])


@pytest.mark.parametrize(
    "change",
    [
        bad(IMAGE, np.zeros((1, 64, 64, 3), dtype=np.float32)),
        bad(IMAGE, np.zeros((1, 3, 64, 64), dtype=np.uint8)),
        bad(IMAGE, np.zeros((1, 64, 64, 4), dtype=np.uint8)),
        bad(IMAGE, np.zeros((2, 64, 64, 3), dtype=np.uint8)),
        bad(IMAGE, np.zeros((1, 0, 64, 3), dtype=np.uint8)),
        bad("state.eef_position", NAN_STATE),
        bad("state.eef_position", np.zeros((1, 4))),
        bad("state.eef_position", np.zeros((2, 3))),
        bad("state.eef_position", np.array(["a", "b", "c"])),
        bad("language.instruction", ""),
        bad("language.instruction", 3),
        bad("prev_chunk", np.zeros((1, H - 1, 200))),
        bad("prev_chunk", np.zeros((1, H, 199))),
        bad("inference_delay", H // 2 + 1),
        bad("inference_delay", -1),
        bad("inference_delay", 1.5),
    ],
)
def test_bad_observations_name_their_key(cases, libero, change):
    (key,) = change
    with pytest.raises(BeingHError) as caught:
        libero.get_action(observation(cases, "libero") | change)
    assert key in str(caught.value)


def test_nan_in_the_locked_steps_only_is_refused(cases, libero):
    chunk = np.zeros((1, H, 200))
    chunk[0, 4] = np.nan
    obs = observation(cases, "libero") | {"prev_chunk": chunk, "inference_delay": 4}
    libero.get_action(obs)
    with pytest.raises(BeingHError, match="prev_chunk"):
        libero.get_action(obs | {"inference_delay": 5})


@pytest.mark.parametrize("key", ("video.top_view", "state.eef_rotation", "language.instruction"))
def test_a_missing_key_is_named(cases, libero, key):
    obs = observation(cases, "libero")
    del obs[key]
    with pytest.raises(BeingHError, match=key):
        libero.get_action(obs)


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"data_config_name": "libero_norm"}, "libero_nonorm"),
        ({"dataset_name": "uni_postrain"}, "uni_posttrain"),
        ({"metadata_variant": "libero_spatia"}, "libero_spatial"),
        ({"stats_selection_mode": "tasks"}, "task"),
        ({"instruction_template": "do {task}"}, "task_description"),
        ({"num_inference_timesteps": 0}, "num_inference_timesteps"),
        ({"mpg_lambda": -1.0}, "mpg_lambda"),
        ({"mpg_gate_temperature": 0.0}, "mpg_gate_temperature"),
        ({"mpg_num_projections": 0}, "mpg_num_projections"),
        ({"mpg_refinement_iters": -1}, "mpg_refinement_iters"),
    ],
)
def test_bad_settings_are_refused_with_what_is_possible(cases, changes, said):
    with pytest.raises(BeingHError, match=said):
        make_policy(cases, "libero", **changes)


def test_a_directory_without_a_checkpoint_is_refused(tmp_path):
    with pytest.raises(BeingHError, match="config.json"):
        BeingHPolicy(tmp_path, get_data_config("libero_nonorm"), "uni_posttrain")
