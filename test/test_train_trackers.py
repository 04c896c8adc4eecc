"""Trackers: imported only when asked for, told when they are missing, and never the end of a run that has begun."""

import importlib
import json
import os
import subprocess
import sys
import types
from pathlib import Path

import pytest
from train_support import raw_config, write

from beingh_core.cli import main
from beingh_core.errors import BeingHError
from beingh_core.train import trackers
from beingh_core.train.run import Run
from beingh_core.train.settings import LogSection, RunConfig

ROOT = Path(__file__).resolve().parent.parent


class Module(types.ModuleType):
    """A tracker that notes what it is asked for, and breaks down at a step."""

    def __init__(self, name, fails_at=None, fails_to_start=False):
        super().__init__(name)
        self.__spec__ = importlib.machinery.ModuleSpec(name, None)
        self.begun, self.seen, self.finished = [], [], 0
        self._fails_at, self._fails_to_start = fails_at, fails_to_start

    def init(self, **options):
        if self._fails_to_start:
            raise RuntimeError("no API key\nof many lines")
        self.begun.append(options)

    def log(self, values, step):
        if step == self._fails_at:
            raise ConnectionError("the server is gone")
        self.seen.append((step, values))

    def finish(self):
        self.finished += 1


def opened(log, out, monkeypatch, *modules, **options):
    for module in modules:
        monkeypatch.setitem(sys.modules, module.__name__, module)
    log = LogSection(tensorboard=False, **log)
    return trackers.Trackers(log, out, {"out": str(out)}, **options)


def test_a_tracker_gets_every_number_and_goes_on_as_the_same_run(tmp_path, monkeypatch):
    for _ in range(2):
        wandb, trackio = Module("wandb"), Module("trackio")
        found = opened({"to": ["wandb", "trackio"], "project": "arms"}, tmp_path, monkeypatch, wandb, trackio)
        found.write("train", {"action_loss": 0.5, "name": "x", "flag": True, "steps": 3}, 7)
        found.close()
        for module in (wandb, trackio):
            assert module.seen == [(7, {"train/action_loss": 0.5, "train/steps": 3})] and module.finished == 1
            [options] = module.begun
            assert options["project"] == "arms" and options["resume"] == "allow"
        run = (tmp_path / trackers.RUN_ID).read_text().strip()
        assert wandb.begun[0]["id"] == run and wandb.begun[0]["dir"] == str(tmp_path)
        assert trackio.begun[0]["name"] == wandb.begun[0]["name"] == f"{tmp_path.name}-{run}"
        assert "id" not in trackio.begun[0]


def test_one_that_fails_is_told_once_and_left_out(tmp_path, monkeypatch):
    said, wandb, trackio = [], Module("wandb", fails_at=2), Module("trackio")
    found = opened({"to": ["wandb", "trackio"]}, tmp_path, monkeypatch, wandb, trackio, say=said.append)
    for step in (1, 2, 3):
        found.write("train", {"loss": 1.0}, step)
    found.close()
    assert [step for step, _ in wandb.seen] == [1] and [step for step, _ in trackio.seen] == [1, 2, 3]
    assert len(said) == 1 and "wandb failed at step 2 (ConnectionError: the server is gone)" in said[0]
    assert wandb.finished == 0 and trackio.finished == 1


def test_one_that_cannot_be_closed_or_started_is_told(tmp_path, monkeypatch):
    said, trackio = [], Module("trackio")
    trackio.finish = lambda: 1 / 0
    opened({"to": ["trackio"]}, tmp_path, monkeypatch, trackio, say=said.append).close()
    assert len(said) == 1 and "ZeroDivisionError" in said[0]
    with pytest.raises(BeingHError, match="wandb does not start: RuntimeError: no API key.*WANDB_MODE=offline"):
        opened({"to": ["wandb"]}, tmp_path, monkeypatch, Module("wandb", fails_to_start=True))


def test_nothing_is_imported_that_was_not_asked_for(tmp_path):
    code = (
        "import sys; from pathlib import Path; from beingh_core.train.trackers import Trackers; "
        "from beingh_core.train.settings import LogSection; "
        "Trackers(LogSection(tensorboard=False), Path(sys.argv[1]), {}); "
        "print(sorted({'trackio', 'wandb', 'tensorboard'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code, str(tmp_path)], capture_output=True, text=True, cwd=ROOT)
    assert done.stdout.strip() == "[]", done.stderr


def test_a_missing_package_ends_the_run_before_it_begins(tmp_path, monkeypatch, capsys):
    for name in ("trackio", "wandb"):
        monkeypatch.setitem(sys.modules, name, None)
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    raw = ["--config", str(ROOT / "config/train/tiny.yaml"), "data.datasets.0.path=nowhere", f"out={tmp_path}/o"]
    for words in (["train"], ["train", "doctor"]):
        assert main([*words, *raw, "log.to=[wandb]"]) == 2
        error = capsys.readouterr().err
        assert "asks for wandb, which is not installed" in error and "pip install wandb" in error
    assert not (tmp_path / "o").exists()
    assert main(["train", *raw, "log.to=[mlflow]"]) == 2
    assert "trackio" in capsys.readouterr().err


def test_a_run_ends_well_whatever_its_tracker_does(tmp_path, monkeypatch, capsys):
    root = write(tmp_path / "d", lengths=(9,))
    monkeypatch.setitem(sys.modules, "wandb", Module("wandb", fails_at=2))
    raw = raw_config(root, out=tmp_path / "o", log={"every": 1, "tensorboard": False, "to": ["wandb"]})
    raw["data"]["cache"], raw["training"]["steps"] = str(tmp_path / "cache"), 3
    Run(RunConfig.from_dict(raw)).train()
    assert "wandb failed at step 2" in capsys.readouterr().out
    steps = [json.loads(line)["step"] for line in (tmp_path / "o/log.jsonl").read_text().splitlines()]
    assert steps[:3] == [1, 2, 3] and (tmp_path / "o/last").exists()


@pytest.mark.slow
@pytest.mark.parametrize("name", ("trackio", "wandb"))
def test_the_packages_themselves_without_a_network(tmp_path, monkeypatch, name):
    monkeypatch.setitem(os.environ, "WANDB_MODE", "offline")
    monkeypatch.setitem(os.environ, "TRACKIO_DIR", str(tmp_path / "trackio"))  # which trackio reads when it is imported
    pytest.importorskip(name)
    said = []
    found = trackers.Trackers(LogSection(tensorboard=False, to=[name]), tmp_path / "o", {"x": 1}, said.append)
    for step in (1, 2):
        found.write("train", {"action_loss": 1.0 / step}, step)
    found.close()
    assert said == []
    folder = tmp_path / "o/wandb" if name == "wandb" else tmp_path / "trackio"
    assert any(path.stat().st_size for path in folder.rglob("*") if path.is_file())
