"""Demonstrations, batches and the training loop: a tiny run from nothing to a policy that acts."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
import yaml

from beingh_core.contract import load_contract
from beingh_core.data.demonstrations import COLOURS, Recorder, RecorderConfig, record_shard
from beingh_core.errors import BeingHError
from beingh_core.policy import BeingHPolicy
from beingh_core.policy.from_contract import data_config_for
from beingh_core.sim import SimRobot
from beingh_core.sim.scene import wrist_view_of
from beingh_core.train.__main__ import main
from beingh_core.train.batches import shuffled
from beingh_core.train.config import TrainConfig
from beingh_core.train.language import replies, task_phrases
from beingh_core.train.loop import VALIDATION_FRAMES, Trainer
from beingh_core.train.tokenizer import build_tokenizer

FRAMES = VALIDATION_FRAMES + 8


@pytest.fixture(scope="module")
def demonstrations(tmp_path_factory):
    directory = tmp_path_factory.mktemp("demonstrations")
    record_shard("fr3", directory, 0, frames=FRAMES)
    return directory


@pytest.fixture(scope="module")
def tiny_config():
    config = TrainConfig.from_file("config/train/fr3_cubes.yaml")
    model = {
        **config.model,
        "vision": {"image": 96, "patch": 24, "hidden": 16, "layers": 1, "heads": 2, "mlp": 32},
        "decoder": {
            "layers": 2,
            "heads": 2,
            "kv_heads": 1,
            "head_dim": 8,
            "und_hidden": 24,
            "und_mlp": 32,
            "act_hidden": 16,
            "act_mlp": 32,
        },
    }
    return config.model_copy(update={
        "model": model,
        "data": config.data.model_copy(update={"frames": FRAMES, "frames_per_batch": 2}),
        "optimiser": config.optimiser.model_copy(update={"warmup_steps": 1}),
        "training": config.training.model_copy(update={"steps": 4}),
    })  # fmt: skip


def test_recorded_frames_show_every_instruction_behind_a_common_prefix():
    frames = Recorder(load_contract("fr3"), RecorderConfig(), seed=7).frames()
    differ = 0
    for _, frame in zip(range(30), frames):
        assert frame["images"].shape == (2, 96, 96, 3) and frame["images"].dtype == np.uint8
        assert frame["steps"].shape == (len(COLOURS), 16, 3) and frame["openings"].shape == (len(COLOURS), 16)
        shared = int(frame["delay"].min())
        assert frame["delay"].max() <= RecorderConfig().max_delay
        assert (frame["steps"][:, :shared] == frame["steps"][:1, :shared]).all()
        ends = frame["steps"].sum(axis=1)
        differ += np.linalg.norm(ends[0] - ends[1]) > 0.01
    assert differ >= 20


def test_an_existing_shard_is_kept(demonstrations):
    before = (demonstrations / "samples-00000.npz").stat().st_mtime_ns
    record_shard("fr3", demonstrations, 0, frames=FRAMES)
    assert (demonstrations / "samples-00000.npz").stat().st_mtime_ns == before


def test_too_few_frames_is_one_clear_error(demonstrations, tiny_config, tmp_path):
    config = tiny_config.model_copy(update={"data": tiny_config.data.model_copy(update={"frames": FRAMES + 1})})
    with pytest.raises(BeingHError, match=f"{FRAMES} demonstration frames"):
        Trainer(config, demonstrations, tmp_path)


def test_a_delay_that_was_not_recorded_cannot_be_claimed(demonstrations, tiny_config, tmp_path):
    config = tiny_config.model_copy(update={"model": {**tiny_config.model, "trained_delay": 8}})
    with pytest.raises(BeingHError, match="prefixes of up to 6 steps, the model would claim 8"):
        Trainer(config, demonstrations, tmp_path)


def test_interrupted_training_goes_on_to_the_same_weights(demonstrations, tiny_config, tmp_path):
    straight = Trainer(tiny_config, demonstrations, tmp_path / "straight")
    straight.run(log_every=2, save_every=100)
    halted = Trainer(tiny_config, demonstrations, tmp_path / "halted")
    while halted.step < 2:
        halted._train_step(next(shuffled(FRAMES - VALIDATION_FRAMES, 2, 0, halted.step)))
    halted.save()
    resumed = Trainer(tiny_config, demonstrations, tmp_path / "halted")
    resumed.run(log_every=2, save_every=100)
    for name, part in straight.stepper.average.items():
        assert torch.equal(part, resumed.stepper.average[name]), name


def test_what_training_saves_is_a_policy_of_this_robot_only(demonstrations, tiny_config, tmp_path):
    Trainer(tiny_config, demonstrations, tmp_path).run(log_every=2, save_every=100)
    contract = load_contract("fr3")
    policy = BeingHPolicy(
        model_path=tmp_path, data_config_name=data_config_for(contract), dataset_name=contract.policy.dataset_name
    )
    assert policy.trained_delay == tiny_config.model["trained_delay"]
    policy.check_contract(contract)
    image = np.zeros((1, 96, 96, 3), np.uint8)
    out = policy.get_action(
        {
            "video.scene_view": image,
            "video.wrist_view": image,
            "state.eef_position": np.array([[0.5, 0.0, 0.3]]),
            "state.gripper_position": np.array([[1.0]]),
            "language.instruction": "pick up the red cube",
        }
    )
    assert out["action.eef_position"].shape == (1, 16, 3) and np.isfinite(out["action.eef_position"]).all()
    with pytest.raises(BeingHError):
        policy.check_contract(replace(contract, rate_hz=10.0))


def test_tokenizer_writes_any_text_and_keeps_phrases_whole():
    phrases = task_phrases(["pick up the {colour} cube"], COLOURS, 16)
    tokenizer = build_tokenizer(phrases)
    for text in ("pick up the red cube", "Öffne die Schublade, s'il te plaît 你好"):
        assert tokenizer.decode(tokenizer.encode(text, add_special_tokens=False).ids) == text
    assert len(tokenizer.encode("pick up the red cube", add_special_tokens=False).ids) == 3


def test_replies_name_cells_of_the_table_and_of_the_wrist_view():
    tool = np.array([0.5, 0.0, 0.30])
    below, hidden = np.array([0.5, 0.0, 0.02]), np.array([0.4, 0.5, 0.02])
    assert replies("red", below, tool) == [
        "red: on the table, 4 forward, 4 left",
        "red: in the wrist view, row 4, column 4",
    ]
    assert replies("blue", hidden, tool) == ["blue: on the table, 1 forward, 8 left"]


def test_wrist_view_is_where_the_renderer_draws_a_cube():
    contract = load_contract("fr3")
    robot = SimRobot(contract.urdf_path, dict(zip(contract.joint_names, contract.home)), image_size=(240, 240))
    tool = robot.data.body("fr3_hand_tcp").xpos
    for seed in range(5):
        robot.reset(seed)
        image = robot.render("wrist_camera").astype(int)
        for channel, colour in enumerate(COLOURS):
            others = [c for c in range(3) if c != channel]
            rows, columns = np.nonzero(
                (image[..., channel] > 50) & (image[..., channel] > 1.8 * image[..., others].max(-1))
            )
            right, above = wrist_view_of(robot.objects()[colour][0], tool)
            assert columns.mean() == pytest.approx(120 * (1 + right), abs=4)
            assert rows.mean() == pytest.approx(120 * (1 - above), abs=4)
    robot.close()


def test_shuffled_batches_can_start_anywhere():
    source = shuffled(10, 3, seed=1, skip=0)
    whole = [next(source) for _ in range(7)]
    later = shuffled(10, 3, seed=1, skip=4)
    for expected in whole[4:]:
        assert (next(later) == expected).all()


def test_training_configuration_names_wrong_keys(tmp_path):
    path = tmp_path / "bad.yaml"
    path.write_text("robot: fr3\nlearning: 1\n")
    with pytest.raises(BeingHError, match="learning"):
        TrainConfig.from_file(path)


@pytest.mark.parametrize(
    ("keys", "value", "said"),
    (
        (("training", "steps"), 0, "training.steps: 0"),
        (("optimiser", "learning_rate"), float("nan"), "optimiser.learning_rate: nan"),
        (("optimiser", "betas"), [0.9, 1.5], "optimiser.betas.1: 1.5"),
        (("training", "precision"), "fp8", "Allowed: 'bf16' or 'fp32'"),
        (("training", "shard"), True, "training.shard is for runs over datasets"),
        (("data", "frames"), "66000", "data.frames: '66000'"),
        (("data", "ask_for_words"), 1, "data.ask_for_words: 1"),
        (("data",), None, "data: None"),
        (("tasks",), [], "tasks"),
        (("model", "action_chunk_length"), 10**9, "action_chunk_length: 1000000000"),
        (("model", "vision", "heads"), 3, "not a multiple of num_attention_heads 3"),
        (("model", "decoder", "layers"), -1, "num_hidden_layers: -1"),
        (("model", "decoder", "layer"), 4, "decoder.layer: the key 'layer' is unknown"),
        (("model", "decoder", "und_hidden"), 30_000, "parameters, more than"),
    ),
)
def test_training_configuration_names_wrong_values(tmp_path, keys, value, said):
    raw = yaml.safe_load(Path("config/train/fr3_cubes.yaml").read_text())
    section = raw
    for key in keys[:-1]:
        section = section[key]
    section[keys[-1]] = value
    if keys[-1] == "und_hidden":
        section |= {"und_mlp": 120_000, "layers": 64}
    path = tmp_path / "wrong.yaml"
    path.write_text(yaml.safe_dump(raw))
    with pytest.raises(BeingHError) as caught:
        TrainConfig.from_file(path)
    assert said in str(caught.value) and str(path) in str(caught.value) and "To fix" in str(caught.value)


def test_training_without_a_configuration_is_told_without_a_traceback(tmp_path, monkeypatch, capsys):
    for path in (tmp_path, tmp_path / "missing.yaml"):
        words = ["train", "--config", str(path), "--data", str(tmp_path), "--out", str(tmp_path)]
        monkeypatch.setattr("sys.argv", words)
        with pytest.raises(SystemExit, match="2"):
            main()
        assert f"train: {path}: " in capsys.readouterr().err
