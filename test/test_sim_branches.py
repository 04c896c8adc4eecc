"""Demonstrations that branch, from the simulator: what a row holds, what is said of things, and the whole way to a policy."""

import copy

import numpy as np
import pytest
import yaml
from train_support import SIZES, contract_with

from beingh_core.cli import main
from beingh_core.contract import load_contract
from beingh_core.data.branched_rollouts import BranchedRollouts
from beingh_core.data.branches import ACTIONS, PREFIX, TASK, BranchForm
from beingh_core.data.lerobot import Dataset
from beingh_core.errors import BeingHError
from beingh_core.policy.loading import load_for_contract
from beingh_core.policy.observations import named_observation
from beingh_core.sim import SimRobot
from beingh_core.sim.expert_policy import ExpertPolicy, cubes_of
from beingh_core.sim.pictures import Pictures
from beingh_core.sim.words import CELLS, SceneWords


def small_pictures(raw):
    """Of a contract's mapping: pictures of the simulator's cameras that are quick to render."""
    sim = raw.setdefault("sim", {})
    sim["cameras"] = {name: {"size": [48, 48]} for name in raw["cameras"]}


@pytest.mark.parametrize("name", ("fr3", pytest.param("so101", marks=pytest.mark.slow)))
def test_a_row_shows_every_instruction_behind_the_motion_under_way(name, tmp_path):
    contract = contract_with(tmp_path, small_pictures, source=name)
    sentences = ("pick up the {colour} cube", "lift the {colour} cube")
    rollouts = BranchedRollouts(contract, instructions=sentences, every=1, seconds=1.5)
    form, width = rollouts.form, sum(signal.width for signal in contract.action)
    rows = [frame.vectors for seed in range(3) for frame in rollouts.episode(seed)[0]]
    rollouts.close()
    differ = 0
    for row in rows:
        there = row[TASK] >= 0
        prefix = row[PREFIX][there]
        actions = row[ACTIONS].reshape(form.branches, form.steps, width)[there]
        assert prefix.max(initial=0) <= contract.uac.delay_steps + 1
        for a, first in enumerate(actions):
            for b, second in enumerate(actions):
                shared = min(prefix[a], prefix[b])
                np.testing.assert_array_equal(first[:shared], second[:shared])
        # The first action of the longest stretch is what the robot really did, without noise.
        if prefix.max(initial=0):
            np.testing.assert_allclose(actions[prefix.argmax(), 0], row["action"], atol=1e-6)
        differ += len(actions) > 1 and np.abs(actions[0, -1] - actions[1, -1]).max() > 1e-4
    assert contract.rate_hz < len(rows) <= 3 * 1.6 * contract.rate_hz and differ > 0.8 * len(rows)
    told = {form.texts[n] for row in rows for n in row[TASK] if n >= 0}
    assert told == {f"{verb} the {c} cube" for verb in ("pick up", "lift") for c in ("red", "green", "blue")}


def test_an_instruction_without_its_field_and_too_long_a_prefix_are_refused(tmp_path, capsys):
    contract = load_contract("vx300s")
    with pytest.raises(BeingHError, match="has not one field"):
        BranchedRollouts(contract, instructions=("pick up a cube",))
    with pytest.raises(BeingHError, match="prefixes of up to 99"):
        BranchedRollouts(contract, longest=99)
    for seconds in (0.1, float("nan")):
        with pytest.raises(BeingHError, match="episodes of (0.1|nan) s"):
            BranchedRollouts(contract, seconds=seconds)
    words = ["sim", "rollouts", "--robot", "vx300s", "--out", str(tmp_path / "d")]
    assert main([*words, "--every", "0", "--branches"]) == 2 and "--every 0" in capsys.readouterr().err
    assert main([*words, "--seconds", "3"]) == 2 and "without --branches" in capsys.readouterr().err
    assert main([*words, "--instruction", "a {colour}", "--instruction", "b {colour}"]) == 2
    assert "several instructions" in capsys.readouterr().err


@pytest.mark.parametrize(("name", "above"), (("fr3", 0.4), pytest.param("so101", 0.0, marks=pytest.mark.slow)))
def test_a_reply_names_the_cell_where_the_renderer_draws_a_cube(name, above, tmp_path):
    """From a posture above a cube, by this share of the way to rest, out of which its camera sees it."""

    def large(raw):
        small_pictures(raw)
        for camera in raw["sim"]["cameras"].values():
            camera["size"] = [240, 240]

    contract = contract_with(tmp_path, large, source=name)
    robot, [picker, *_] = SimRobot.of(contract), ExpertPolicy(contract).pickers
    words, found = SceneWords(robot), 0
    view = next(view for view in robot.views.values() if view.camera == "wrist_camera")
    pictures = Pictures(robot.model)
    for seed in range(4):
        robot.reset(seed)
        over = picker.way_to(cubes_of(robot)[list(robot.objects())[seed % 3]]).hover
        posture = over + above * (picker.fingers.rest - over)
        robot.place_joints(dict(zip(picker.hand.arm_joints, posture)))
        image = pictures.colour(robot.data, view).astype(int)
        for channel, colour in enumerate(robot.objects()):
            others = [c for c in range(3) if c != channel]
            shown = (image[..., channel] > 50) & (image[..., channel] > 1.8 * image[..., others].max(-1))
            rows, columns = np.nonzero(shown)
            said = words.replies(colour, robot.objects()[colour][0])
            assert said[0].startswith(f"{colour}: on the table, ") and set(said) <= set(words.texts([colour]))
            if not shown.any() or shown[[0, -1]].any() or shown[:, [0, -1]].any():
                continue  # not wholly in the picture
            numbers = [int(word.strip(",")) for word in said[1].split() if word.strip(",").isdigit()]
            place = CELLS * np.array([rows.mean(), columns.mean()]) / 240 - 0.5
            assert np.abs(place - numbers).max() < 1.0
            found += 1
    pictures.close()
    robot.close()
    assert found >= 3


@pytest.mark.slow
@pytest.mark.parametrize("name", ("fr3", "so101"))
def test_from_the_expert_to_a_policy(name, tmp_path, capsys):
    """Record, go on with the recording, train, and act: the way of `make checkpoint`, with any robot."""
    contract = contract_with(tmp_path, small_pictures, source=name)
    words = [
        "sim",
        "rollouts",
        "--robot",
        str(contract.path),
        "--out",
        str(tmp_path / "d"),
        "--branches",
        "--noise",
        "0.02",
    ]
    assert main([*words, "--episodes", "2"]) == 0
    assert main([*words, "--episodes", "4", "--workers", "2"]) == 0
    dataset = Dataset(tmp_path / "d")
    assert len(dataset.episodes) == 4 and BranchForm.read(dataset.root, dataset.spec) is not None
    assert main([*words, "--episodes", "4", "--instruction", "take the {colour} cube"]) == 2
    assert "same instructions" in capsys.readouterr().err
    raw = {
        "out": str(tmp_path / "out"), "model": {**copy.deepcopy(SIZES), "action_chunk_length": contract.policy.chunk_length},
        "data": {"datasets": [{"path": str(tmp_path / "d"), "robot": str(contract.path)}], "held_out": 0.25, "workers": 1},
        "packing": {"expected_tokens": 4000, "max_tokens": 6000, "max_tokens_per_sample": 4000},
        "training": {"steps": 6}, "loss": {"text_weight": 0.2, "text_depths": [1]}, "evaluate": {"every": 3, "packs": 1},
    }  # fmt: skip
    path = tmp_path / "run.yaml"
    path.write_text(yaml.safe_dump(raw))
    assert main(["train", "--config", str(path), "--device", "cpu", "--threads", "1"]) == 0
    assert "with another instruction" in capsys.readouterr().out
    policy = load_for_contract(contract, tmp_path / "out" / "last")
    state = {signal.slot: np.zeros((1, signal.width)) for signal in contract.state}
    pictures = {camera.name: np.full((1, 48, 48, 3), 90, np.uint8) for camera in contract.cameras}
    actions = policy.get_action(named_observation(pictures, state, "pick up the red cube"))
    for signal in contract.action:
        shown = actions[f"action.{signal.slot}"]
        assert shown.shape == (1, contract.policy.chunk_length, signal.width) and np.isfinite(shown).all()
