"""A run and the doctor refuse the same, in the same words, before any weight is loaded."""

import os
import shutil
from pathlib import Path

import pytest
import yaml
from train_support import contract_with, raw_config, write

from beingh_core.cli import main
from beingh_core.errors import BeingHError
from beingh_core.train import doctor, run
from beingh_core.train.doctor import examine
from beingh_core.train.run import Run
from beingh_core.train.settings import RunConfig

ROOT = Path(__file__).resolve().parent.parent


@pytest.fixture(scope="module")
def cubes(tmp_path_factory):
    return write(tmp_path_factory.mktemp("cubes") / "cubes", lengths=(9, 8))


@pytest.fixture
def no_model(monkeypatch):
    """Fails when weights are loaded."""

    def loaded(*_):
        raise AssertionError("the model is loaded")

    for module in (run, doctor):
        monkeypatch.setattr(module, "load_model", loaded)


def refusals(raw):
    """What the doctor and what the run says of a configuration."""
    said = []
    for begin in (lambda config: examine(config, say=lambda _: None), Run):
        with pytest.raises(BeingHError) as caught:
            begin(RunConfig.from_dict(raw))
        said.append(str(caught.value))
    return said


@pytest.mark.parametrize(
    ("changes", "said"),
    (
        ({"uac": {"longest": 16}}, "leaves nothing of a chunk of 16"),
        ({"training": {"freeze_act_layers": 3}}, "3 act layers to freeze"),
        ({"training": {"lora": {"rank": 2, "modules": ["fc3"]}}}, "no matrix is called fc3"),
        ({"training": {"freeze": ["vision", "connector", "und", "embeddings", "act"], "lora": {"rank": 2, "parts": ["vision"]}}}, "no matrix is called q_proj"),
        ({"packing": {"max_tokens_per_sample": 20}}, "`cubes` has no sample for train of at most 20 tokens"),
        ({"model": {"mpg_refinement_iters": 16, "num_inference_timesteps": 99, "use_mpg": True}}, "more than 100 evaluations"),
        ({"data": {"workers": 0, "most_bad": 0.0, "datasets": [{"path": "/nothing", "robot": "fr3"}]}}, "give the folder of a LeRobot dataset"),
    ),
)  # fmt: skip
def test_settings_that_fit_nothing(cubes, tmp_path, no_model, changes, said):
    told = refusals(raw_config(cubes, out=tmp_path / "out", **changes))
    assert told[0] == told[1] and said in told[0]


def test_two_embodiments_of_one_name(cubes, tmp_path, no_model):
    entries = [
        {"path": str(cubes), "robot": "fr3"},
        {"path": str(cubes), "robot": "fr3", "name": "other", "embodiment_tag": "other"},
    ]
    told = refusals(raw_config(cubes, out=tmp_path / "out", data={"datasets": entries}))
    assert told[0] == told[1] and "would both be saved as `fr3_cubes`" in told[0]


def test_nothing_is_held_out(tmp_path, no_model):
    root = write(tmp_path / "one", lengths=(12,))
    raw = raw_config(root, out=tmp_path / "out", data={"held_out": 0.2}, evaluate={"every": 1})
    told = refusals(raw)
    assert told[0] == told[1] and "`one` has no episode to hold out" in told[0]


def test_a_run_that_may_not_go_on(cubes, tmp_path):
    raw = raw_config(cubes, out=tmp_path / "out", training={"steps": 1, "precision": "fp32"})
    Run(RunConfig.from_dict(raw)).train()
    for changes, said in (
        ({"resume": False}, "there is a run in this folder"),
        ({"packing": {**raw["packing"], "expected_tokens": 500}}, "no longer those of the run"),
        ({"training": {**raw["training"], "freeze": ["und"]}}, "trained other weights"),
        ({"data": {**raw["data"], "datasets": [{**raw["data"]["datasets"][0], "name": "b"}]}}, "knew no dataset `b`"),
    ):
        told = refusals({**raw, **changes})
        assert told[0] == told[1] and said in told[0]
    packed = Run(RunConfig.from_dict(raw)).plan.account()[0]["samples"]
    assert examine(RunConfig.from_dict(raw), say=lambda _: None).account[0]["samples"] > packed > 0


def test_a_folder_that_cannot_be_written(cubes, tmp_path, no_model, monkeypatch):
    (tmp_path / "file").write_text("")
    told = refusals(raw_config(cubes, out=tmp_path / "file" / "out"))
    assert told[0] == told[1] and f"{tmp_path / 'file'} is a file" in told[0]
    monkeypatch.setattr(os, "access", lambda *_: False)  # root may write everywhere
    told = refusals(raw_config(cubes, out=tmp_path / "locked" / "out"))
    assert told[0] == told[1] and f"may not write in {tmp_path}. To fix" in told[0]


def test_a_disk_that_refuses_later_is_one_error(cubes, tmp_path):
    raw = raw_config(cubes, out=tmp_path / "out", training={"steps": 1, "precision": "fp32"}, save={"every": 9})
    running = Run(RunConfig.from_dict(raw))
    (tmp_path / "out" / "log.jsonl").mkdir()
    with pytest.raises(BeingHError, match="log.jsonl cannot be written: Is a directory"):
        running.train()
    (tmp_path / "file").write_text("")
    raw = raw_config(cubes, out=tmp_path / "else", data={"cache": str(tmp_path / "file" / "cache")})
    with pytest.raises(BeingHError, match="its numbers cannot be kept: Not a directory.*data.cache"):
        Run(RunConfig.from_dict(raw))


def test_contradictions_of_a_dataset_end_both(cubes, tmp_path, capsys):
    root = shutil.copytree(cubes, tmp_path / "cubes")
    changed = contract_with(tmp_path, lambda raw: raw.update(rate_hz=10), "contract.yaml")
    shutil.copy(changed.path, root / "meta/contract.yaml")
    path = tmp_path / "run.yaml"
    path.write_text(yaml.safe_dump(raw_config(root, out=tmp_path / "out")))
    words = ["--config", str(path), "--device", "cpu", "--page", str(tmp_path / "page.html"), "--gpus", "1"]
    assert main(["train", "doctor", *words]) == 1 and main(["train", *words]) == 2
    said = capsys.readouterr()
    assert "was exported at 10 Hz" in said.out and "was exported at 10 Hz" in said.err


def test_what_a_cpu_cannot_train_and_a_run_that_would_only_look(cubes, tmp_path, no_model, capsys):
    raw = raw_config(cubes, out=tmp_path / "out", training={"steps": 1, "attention": "flex"})
    with pytest.raises(BeingHError, match="flex attention cannot train with a CPU"):
        Run(RunConfig.from_dict(raw))
    assert main(["train", "--config", str(ROOT / "config/train/tiny.yaml"), "--dry-run"]) == 2
    assert "--dry-run is an option of the doctor" in capsys.readouterr().err


def test_datasets_and_checkpoints_that_are_not_there_are_told(tmp_path, capsys):
    missing = tmp_path / "demonstrations"
    config = str(ROOT / "config/train/fr3_cubes.yaml")
    assert main(["train", "--config", config, f"data.datasets.0.path={missing}", f"out={tmp_path / 'out'}"]) == 2
    assert f"{missing}/meta/info.json: cannot be read" in capsys.readouterr().err
    assert main(["serve", "--contract", "fr3", "--checkpoint", "/nothing/at/all"]) == 2
    assert "/nothing/at/all: there is no such directory" in capsys.readouterr().err
