"""A whole run: from a dataset to a policy, gone on with after any end, on any number of ranks, with complete files only."""

import copy
import errno
import json
import os
import random
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
import yaml
from train_support import (
    CONTRACT,
    SIZE,
    H,
    raw_config,
    write,
)

from beingh_core.cli import main
from beingh_core.errors import BeingHError
from beingh_core.model import BeingH
from beingh_core.policy.loading import load_for_contract
from beingh_core.policy.metadata import load_metadata
from beingh_core.policy.observations import named_observation
from beingh_core.train.parts import PARTS
from beingh_core.train.progress import duration
from beingh_core.train.run import Run
from beingh_core.train.saving import Checkpoints
from beingh_core.train.settings import RunConfig

pytestmark = pytest.mark.usefixtures("one_thread")


ROOT = Path(__file__).resolve().parent.parent


@pytest.fixture(scope="module")
def cubes(tmp_path_factory):
    return write(tmp_path_factory.mktemp("cubes") / "cubes")


@pytest.fixture(scope="module")
def lids(tmp_path_factory):
    return write(tmp_path_factory.mktemp("lids") / "lids", lengths=(30, 12), first=1, version="v2.1")


def small(*roots, out, cache, **changes):
    """A run of a few steps over datasets, with its cache beside others'."""
    raw = raw_config(*roots, out=out, **{"log": {"every": 1, "tensorboard": False}, **changes})
    raw["packing"] = {"expected_tokens": 300, "max_tokens": 400, "max_tokens_per_sample": 300, "buffer": 6}
    raw["data"] = {**raw["data"], "cache": str(cache), "workers": 0} | changes.get("data", {})
    return raw


def train(raw):
    run = Run(RunConfig.from_dict(copy.deepcopy(raw)))
    run.train()
    return run


def told(out, kind="train"):
    lines = [json.loads(line) for line in (Path(out) / "log.jsonl").read_text().splitlines()]
    return [line for line in lines if line["kind"] == kind]


def losses(out):
    """Step -> loss, the last time it was told."""
    return {line["step"]: line["action_loss"] for line in told(out)}


def test_a_run_makes_a_policy_of_its_robot(cubes, tmp_path, capsys):
    out = tmp_path / "out"
    raw = small(cubes, out=out, cache=tmp_path / "cache", save={"every": 2, "keep": 1, "dtype": "bf16"})
    raw["model"]["use_mpg"] = True
    run = train(raw)
    assert [path.name for path in out.glob("step-*")] == ["step-00000004"] and (
        out / "last"
    ).resolve().name == "step-00000004"
    policy = load_for_contract(CONTRACT, out / "last")
    assert policy.trained_delay == CONTRACT.uac.delay_steps
    image = np.full((1, *SIZE, 3), 90, np.uint8)
    seen = {"scene_view": image, "wrist_view": image}
    state = {"eef_position": np.array([[0.45, 0.0, 0.3]]), "gripper_position": np.array([[0.0]])}
    actions = policy.get_action(named_observation(seen, state, "pick up the red cube"))
    assert actions["action.eef_position"].shape == (1, H, 3)
    stored = BeingH.from_pretrained(out / "last")
    assert stored.dtype == torch.bfloat16 and stored.raw_config["simulated_delay"] == CONTRACT.uac.delay_steps + 1
    entry = load_metadata(out / "last", CONTRACT.policy.dataset_name).merged
    assert entry["contract_hash"] == CONTRACT.hash and entry["statistics"] == run.sources[0].statistics
    for line in told(out):
        parts = sum(line[f"gradient_{part}"] ** 2 for part in PARTS if f"gradient_{part}" in line)
        assert 0 < line["mpg_gate"] < 1 and line["norm"] == pytest.approx(parts**0.5, rel=1e-4)
    said = capsys.readouterr().out
    assert "samples/s" in said and "tokens/s" in said and "left" in said and "drawn: dataset cubes" in said


@pytest.mark.parametrize("ema_decay", (0.0, 0.9))
def test_a_run_goes_on_to_the_same_weights(cubes, lids, tmp_path, ema_decay):
    changes = {"save": {"every": 3}, "training": {"steps": 6, "precision": "fp32", "ema_decay": ema_decay}}
    straight = train(small(cubes, lids, out=tmp_path / "a", cache=tmp_path / "cache", **changes))
    halted = small(cubes, lids, out=tmp_path / "b", cache=tmp_path / "cache", **changes)
    first = Run(RunConfig.from_dict(copy.deepcopy(halted)))
    first.progress.tell = _signal_at(3, first.progress.tell)
    first.train()
    assert first.stepper.step_number == 3
    second = train(halted)
    assert losses(tmp_path / "a") == losses(tmp_path / "b") and len(losses(tmp_path / "a")) == 6
    for name, parameter in straight.stepper.trained.items():
        assert torch.equal(parameter, second.stepper.trained[name]), name
    assert second.plan.account() == straight.plan.account()


def _signal_at(step, tell):
    """Sends this process SIGTERM when a step is told, as a cluster's scheduler does."""

    def told(number, *rest):
        tell(number, *rest)
        if number == step:
            os.kill(os.getpid(), signal.SIGTERM)

    return told


def test_sigterm_saves_where_it_stands(cubes, tmp_path, capsys):
    run = Run(config_of_raw(small(cubes, out=tmp_path / "out", cache=tmp_path / "cache", save={"every": 100})))
    run.progress.tell = _signal_at(2, run.progress.tell)
    before = signal.getsignal(signal.SIGTERM)
    run.train()
    assert run.checkpoints.steps() == [2] and "stopping at step 2 after SIGTERM" in capsys.readouterr().out
    assert signal.getsignal(signal.SIGTERM) is before


def config_of_raw(raw):
    return RunConfig.from_dict(copy.deepcopy(raw))


def test_held_out_loss_chooses_the_best(cubes, lids, tmp_path):
    raw = small(
        cubes, lids, out=tmp_path / "out", cache=tmp_path / "cache", evaluate={"every": 2, "packs": 2},
        training={"steps": 6, "precision": "fp32", "ema_decay": 0.5}, data={"held_out": 0.4}, save={"every": 2, "keep": 1},
    )  # fmt: skip
    run = train(raw)
    curve = {line["step"]: line["action_loss"] for line in told(tmp_path / "out", "held_out")}
    assert sorted(curve) == [2, 4, 6]
    best = min(curve, key=curve.get)
    assert (tmp_path / "out" / "best").resolve().name == f"step-{best:08d}"
    assert run.evaluate() == run.evaluate() and run.evaluate()["action_loss"] == pytest.approx(curve[6], rel=1e-6)


def test_several_robots_share_a_checkpoint_with_the_statistics_of_each(cubes, lids, tmp_path):
    entries = [
        {"path": str(cubes), "robot": "fr3"},
        {"path": str(lids), "robot": "fr3", "embodiment_tag": "other", "dataset_name": "other"},
    ]
    raw = small(cubes, out=tmp_path / "out", cache=tmp_path / "cache", data={"datasets": entries})
    with pytest.raises(BeingHError, match="would both be saved as `fr3_cubes`"):
        train({**raw, "data": {**raw["data"], "datasets": [entries[0], {**entries[1], "dataset_name": ""}]}})
    run = train({**raw, "name": "uni"})
    whole = load_metadata(tmp_path / "out" / "last", "uni")
    assert {name: entry["stats_level"] for name, entry in whole.variants.items()} == {
        "fr3": "embodiment", "cubes": "task", "other": "embodiment", "lids": "task",
    }  # fmt: skip
    assert whole.variants["other"]["statistics"] == run.sources[1].statistics
    rows = np.concatenate([source.table.action[:, :3] for source in run.sources]).astype(float)
    np.testing.assert_allclose(
        whole.merged["statistics"]["action"]["eef_position"]["q01"], np.quantile(rows, 0.01, axis=0)
    )


def test_a_run_starts_from_a_checkpoint_and_may_change_its_chunks_and_delays(cubes, tmp_path):
    first = small(cubes, out=tmp_path / "a", cache=tmp_path / "cache", training={"steps": 1, "precision": "fp32"})
    train(first)
    second = {**first, "out": str(tmp_path / "b"), "checkpoint": str(tmp_path / "a" / "last"), "uac": {"longest": 2}}
    second["model"] = {"num_inference_timesteps": 8}
    run = Run(config_of_raw(second))
    start = BeingH.from_pretrained(tmp_path / "a" / "last")
    for name, parameter in start.named_parameters():
        assert torch.equal(parameter, dict(run.stepper.model.named_parameters())[name])
    run.train()
    stored = BeingH.from_pretrained(tmp_path / "b" / "last").config
    assert (stored.trained_delay, stored.num_inference_steps) == (2, 8)
    with pytest.raises(BeingHError, match="leaves nothing of a chunk of 16"):
        Run(config_of_raw({**second, "out": str(tmp_path / "c"), "uac": {"longest": 16}}))


@pytest.mark.parametrize(
    ("change", "said"),
    (
        ({"resume": False}, "there is a run in this folder, up to step-00000004"),
        ({"training": {"steps": 6, "precision": "fp32", "freeze": ["vision"]}}, "trained other weights"),
        (
            {"packing": {"expected_tokens": 500, "max_tokens": 600, "max_tokens_per_sample": 300}},
            "no longer those of the run",
        ),
    ),
)
def test_a_run_with_other_settings_does_not_go_on(done, change, said):
    with pytest.raises(BeingHError, match=said):
        Run(config_of_raw({**done, **change}))


@pytest.fixture(scope="module")
def done(cubes, tmp_path_factory):
    """The configuration of a run that has ended."""
    folder = tmp_path_factory.mktemp("done")
    raw = small(cubes, out=folder / "out", cache=folder / "cache")
    train(raw)
    return raw


def test_a_run_of_models_only_says_how_to_start_from_them(cubes, tmp_path):
    raw = small(cubes, out=tmp_path / "out", cache=tmp_path / "cache", save={"model_only": True})
    train(raw)
    with pytest.raises(BeingHError, match="has saved models only.*checkpoint="):
        Run(config_of_raw(raw))


def test_a_damaged_state_is_told(done, tmp_path):
    path = Path(done["out"]) / "last" / "resume.pt"
    data = path.read_bytes()
    path.write_bytes(data[: len(data) // 2])
    try:
        with pytest.raises(BeingHError, match="remove this checkpoint's folder"):
            Run(config_of_raw(done))
    finally:
        path.write_bytes(data)


def test_checkpoints_are_complete_or_not_there(tmp_path):
    checkpoints = Checkpoints(tmp_path / "out", keep=2)
    fill = lambda folder: (folder / "config.json").write_text("{}")
    assert checkpoints.steps() == [] and checkpoints.resumable() is None
    for step, best in ((1, True), (2, False), (3, False), (4, False)):
        checkpoints.save(step, fill, {"step": step}, best)
    assert checkpoints.steps() == [1, 3, 4]  # the best one stays

    def full(folder):
        fill(folder)
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    with pytest.raises(BeingHError, match="step 5 cannot be written: No space left.*make room"):
        checkpoints.save(5, full, {})
    assert checkpoints.steps() == [1, 3, 4] and (tmp_path / "out" / "last").resolve().name == "step-00000004"
    (tmp_path / "out" / "step-00000006.partial").mkdir()  # of a run that was killed
    assert checkpoints.steps() == [1, 3, 4]
    checkpoints.save(5, fill, {}, best=True)
    assert checkpoints.steps() == [4, 5] and not list((tmp_path / "out").glob("*.partial"))


def test_times_are_told_as_people_say_them():
    told = [duration(seconds) for seconds in (5, 89, 100, 4000, 12_000, 200_000)]
    assert told == ["5 s", "89 s", "2 min", "67 min", "3 h 20 min", "2 d 7 h"]


def test_the_command_tells_mistakes_in_one_line(tmp_path, capsys):
    path = tmp_path / "run.yaml"
    path.write_text(yaml.safe_dump(raw_config(tmp_path / "none", out=tmp_path / "out")))
    assert main(["train", "--config", str(path), "trainin.steps=3"]) == 2
    assert "did you mean `training`" in capsys.readouterr().err
    assert main(["train", "--config", str(path), "--device", "cpu"]) == 2
    assert "give the folder of a LeRobot dataset" in capsys.readouterr().err


def torchrun(path, ranks, *changes, wait=True):
    """The run of a file on so many ranks of this machine."""
    words = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", str(ranks)]
    words += ["-m", "beingh_core.train", "--config", str(path), "--device", "cpu", "--threads", "1", *changes]
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": str(ROOT)}
    started = subprocess.Popen(
        words, cwd=ROOT, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    )
    if wait:
        said, _ = started.communicate(timeout=900)
        assert started.returncode == 0, said[-3000:]
    return started


@pytest.fixture
def fifty(cubes, lids, tmp_path):
    """The file of a run of 50 steps of two packs each, and its folder."""
    training = {"steps": 50, "precision": "fp32", "accumulate": 2}
    raw = small(
        cubes, lids, out=tmp_path / "one", cache=tmp_path / "cache", training=training, save={"every": 7, "keep": 9}
    )
    raw["model"]["use_mpg"] = True
    path = tmp_path / "run.yaml"
    path.write_text(yaml.safe_dump(raw))
    return path, tmp_path


@pytest.mark.slow
def test_two_ranks_and_sharded_ranks_learn_what_one_learns(fifty):
    path, folder = fifty
    torchrun(path, 1)
    expected = losses(folder / "one")
    assert len(expected) == 50 and expected[50] < 0.95 * expected[1]
    for name, change in (("two", "training.shard=false"), ("sharded", "training.shard=true")):
        torchrun(path, 2, f"out={folder / name}", "training.accumulate=1", change)
        found = losses(folder / name)
        assert found.keys() == expected.keys()
        for step, loss in expected.items():
            assert found[step] == pytest.approx(loss, rel=1e-4), (name, step)
        assert BeingH.from_pretrained(folder / name / "last").config.use_mpg


@pytest.mark.slow
def test_killed_at_any_step_it_goes_on_on_another_number_of_ranks(fifty):
    path, folder = fifty
    torchrun(path, 1)
    expected, at = losses(folder / "one"), random.randint(8, 40)
    print(f"killed at step {at}")
    started = torchrun(path, 2, f"out={folder / 'killed'}", "training.accumulate=1", "training.shard=true", wait=False)
    for line in started.stdout:
        if line.startswith(f"step {at}/"):
            break
    children = subprocess.run(["pgrep", "-P", str(started.pid)], capture_output=True, text=True).stdout.split()
    for process in (*map(int, children), started.pid):
        os.kill(process, signal.SIGKILL)
    started.wait()
    torchrun(path, 1, f"out={folder / 'killed'}")
    found = losses(folder / "killed")
    assert found.keys() == expected.keys()
    for step, loss in expected.items():
        assert found[step] == pytest.approx(loss, rel=1e-4), step
    accounts = [told(folder / name, "account")[-1]["datasets"] for name in ("one", "killed")]
    assert accounts[0] == accounts[1]
