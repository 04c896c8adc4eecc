"""What a run tells of itself and of what it lost, and what it asks when it goes on."""

import copy
import json
import os
import shutil
import signal

import pytest
import yaml
from train_support import raw_config, write

from beingh_core.cli import main
from beingh_core.errors import BeingHError
from beingh_core.train import going_on
from beingh_core.train.run import Run
from beingh_core.train.settings import RunConfig

pytestmark = pytest.mark.usefixtures("one_thread")


@pytest.fixture(scope="module")
def cubes(tmp_path_factory):
    return write(tmp_path_factory.mktemp("cubes") / "cubes", version="v2.1")


def small(root, out, **changes):
    """A run of a few steps without workers."""
    raw = raw_config(root, out=out, **{"log": {"every": 1, "tensorboard": False}, **changes})
    raw["packing"] = {"expected_tokens": 300, "max_tokens": 400, "max_tokens_per_sample": 300, "buffer": 6}
    raw["data"] = {**raw["data"], "cache": str(out.parent / "cache"), "workers": 0} | changes.get("data", {})
    return raw


def run_of(raw):
    return Run(RunConfig.from_dict(copy.deepcopy(raw)))


def broken(cubes, folder, *numbers):
    """A copy whose pictures of some episodes cannot be read; of all without numbers."""
    root = shutil.copytree(cubes, folder)
    for path in sorted(root.glob("videos/**/*.mp4")):
        if not numbers or int(path.stem.rpartition("_")[2]) in numbers:
            path.write_bytes(path.read_bytes()[:900])
    return root


def test_a_run_without_a_readable_picture_ends_before_it_saves(cubes, tmp_path, capsys):
    root = broken(cubes, tmp_path / "blind")
    with pytest.raises(BeingHError, match=r"(\d+) of \1 samples cannot be made, .*of `blind`: episode"):
        run_of(small(root, tmp_path / "out")).train()
    said = capsys.readouterr().out
    assert said.count("note: `blind` has a sample that cannot be made: episode 0") == 1
    assert not list((tmp_path / "out").glob("step-*"))


def test_what_is_lost_is_told_counted_and_allowed_up_to_a_share(cubes, tmp_path, capsys):
    root, out = broken(cubes, tmp_path / "half", 1), tmp_path / "out"
    with pytest.raises(BeingHError, match="data.most_bad"):
        run_of(small(root, out, data={"most_bad": 0.01})).train()
    run = run_of(small(root, out, data={"most_bad": 0.9}))
    assert run.train() and run.lost.made > 0
    told = json.loads((out / "last" / "training.json").read_text())["left_out"]
    assert sum(count for _, _, count in told) == run.lost.counted.total() > 0
    assert f"lost {run.lost.counted.total()}" in (said := capsys.readouterr().out)
    assert said.count("note: `half` has a sample that cannot be made") == 1 + 1  # of both runs
    again = run_of({**small(root, out, data={"most_bad": 0.9}), "training": {"steps": 6, "precision": "fp32"}})
    assert (again.lost.counted, again.lost.made) == (run.lost.counted, run.lost.made)
    assert again.train() and again.lost.made > run.lost.made


def test_no_held_out_sample_is_no_loss_and_no_best(cubes, tmp_path, capsys):
    whole = run_of(small(cubes, tmp_path / "a", evaluate={"every": 2, "packs": 1}, data={"held_out": 0.4}))
    held = whole.sources[0].is_held_out(0.4).nonzero()[0].tolist()
    assert 0 < len(held) < len(whole.sources[0].table.episodes)
    root = broken(cubes, tmp_path / "held", *held)
    changes = {"evaluate": {"every": 2, "packs": 1}, "data": {"held_out": 0.4}}
    run_of(small(root, tmp_path / "b" / "out", **changes)).train()
    said = capsys.readouterr().out
    assert "held out: not one of the samples can be made" in said and "`held` has a sample that cannot" in said
    assert (
        not (tmp_path / "b" / "out" / "best").exists()
        and '"held_out"' not in (tmp_path / "b/out/log.jsonl").read_text()
    )


def test_a_run_that_goes_on_tells_what_is_other_and_takes_no_other_weights(cubes, tmp_path, capsys):
    raw = small(cubes, tmp_path / "out", training={"steps": 2})
    run_of(raw).train()
    assert " million of " in (said := capsys.readouterr().out) and "episodes or lines held out" in said
    assert run_of(raw).stepper.step_number == 2
    assert "other settings" not in capsys.readouterr().out
    raw["training"]["steps"], raw["optimiser"] = 3, {"learning_rate": 1e-5}
    run = run_of(raw)
    said = capsys.readouterr().out
    assert "training.steps 3 (was 2)" in said and "optimiser.learning_rate 1e-05 (was " in said
    assert run.train() and not run_of(raw).prepared.plan().stocks[0].left_out
    run_of(raw).train()
    assert "all 3 steps are done" in capsys.readouterr().out
    shutil.copytree(tmp_path / "out" / "last", tmp_path / "other")
    for key in ("model", "name"):
        raw.pop(key, None)
    with pytest.raises(BeingHError, match="began with checkpoint nothing"):
        run_of({**raw, "checkpoint": str(tmp_path / "other")})


def test_settings_are_compared_key_by_key(tmp_path):
    (tmp_path / "link").symlink_to(tmp_path / "real")
    before = {"out": "a", "checkpoint": str(tmp_path / "link"), "loss": {"a": 1, "old": 2}, "betas": [1, 2]}
    now = {"out": "b", "checkpoint": str(tmp_path / "real"), "loss": {"a": 3, "new": 2}, "betas": [1, 4]}
    assert going_on.changed(before, now) == {"loss.a": (1, 3), "betas.1": (2, 4)}
    assert going_on.check(tmp_path, now, now) == ""
    many = {f"k{n}": n for n in range(20)}
    assert "and 12 more" in going_on.check(tmp_path, many, {key: -1 for key in many})


def test_a_run_that_was_ended_early_has_an_exit_status_of_its_own(cubes, tmp_path, monkeypatch):
    path = tmp_path / "run.yaml"
    path.write_text(yaml.safe_dump(small(cubes, tmp_path / "out", training={"steps": 4})))
    step = Run._one_step

    def stop(self, *args):
        step(self, *args)
        os.kill(os.getpid(), signal.SIGTERM)

    with monkeypatch.context() as patched:
        patched.setattr(Run, "_one_step", stop)
        assert main(["train", "--config", str(path), "--device", "cpu"]) == 143
    assert main(["train", "--config", str(path), "--device", "cpu"]) == 0
