"""Teaching branches: what a row becomes, what samples of a row share, what a run makes of them and goes on with."""

import copy
import json
import os
import random
import subprocess
import sys
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
import yaml
from branch_support import FORM, LENGTHS, WITHOUT, branches_of, write_branched
from train_support import CONTRACT, SIZE, H, config_of, opened, raw_config, write

from beingh_core.data.branches import FILE, PREFIX
from beingh_core.data.lerobot import Dataset
from beingh_core.errors import BeingHError
from beingh_core.policy.loading import load_for_contract
from beingh_core.policy.observations import named_observation
from beingh_core.train.doctor import examine
from beingh_core.train.grounding import exchanged
from beingh_core.train.plan import Pack, Plan
from beingh_core.train.run import Run
from beingh_core.train.samples import SampleMaker, normalised
from beingh_core.train.settings import RunConfig
from beingh_core.train.sources import open_sources

ROOT = Path(__file__).resolve().parent.parent
ROW = 12  # the fourth row of the second episode: three branches
BUDGET = {"expected_tokens": 1500, "max_tokens": 2600, "max_tokens_per_sample": 1500, "buffer": 6}


@pytest.fixture(scope="module")
def root(tmp_path_factory):
    return write_branched(tmp_path_factory.mktemp("branched") / "cubes")


@pytest.fixture(scope="module")
def cache(tmp_path_factory):
    return tmp_path_factory.mktemp("cache")


def config_with(root, **branches):
    data = {"datasets": [{"path": str(root), "robot": "fr3", "branches": branches}], "workers": 0}
    return config_of(root, data=data, packing=BUDGET)


def maker_of(root, cache, plain=True, **branches):
    config = config_with(root, **branches)
    sources, prompts = opened(config, cache)
    return SampleMaker(sources, prompts, config.data, 0, plain=plain), sources, prompts, config


def test_a_row_becomes_a_sample_of_every_branch_and_reply(root, cache):
    maker, sources, prompts, _ = maker_of(root, cache, draws=2)
    made = maker.make(Pack(number=0, samples=((0, ROW),)))
    wanted = branches_of(1, ROW - LENGTHS[0])
    assert len(wanted) == 3
    assert made.branches[made.acts].tolist() == [0, 0, 1, 1, 2, 2] and set(made.rows) == {ROW}
    assert made.prefixes[made.acts].tolist() == [branch.prefix for branch in wanted for _ in range(2)]
    back = maker.transform(0).action_from_unified(made.batch["padded_action"].view(6, H, 200).double().numpy())
    for place, branch in enumerate(wanted):
        for draw in range(2):
            np.testing.assert_allclose(back["eef_position"][2 * place + draw], branch.actions[:, :3], atol=1e-6)
            np.testing.assert_allclose(
                back["gripper_position"][2 * place + draw][:, 0], branch.actions[:, 3], atol=1e-6
            )
        assert maker.task(0, ROW, place) == branch.task
    replies = sum(len(branch.replies) for branch in wanted)
    assert len(made.batch["sample_lens"]) == 6 + replies and len(made.batch["padded_state"]) == 6 + replies
    assert len(made.batch["packed_vit_tokens"]) == 2  # one of each view, for all of them
    assert made.tokens == sources[0].lengths(np.array([ROW]))[0] == int(made.batch["sample_lens"].sum())
    labels = prompts.tokenizer.decode(made.batch["packed_label_ids"].tolist(), skip_special_tokens=True)
    assert labels == "".join(text for branch in wanted for text in branch.replies)


def test_what_samples_share_changes_no_loss(root, cache):
    """The pack against the same samples, each with pictures and a beginning of its own."""
    config = RunConfig.from_dict(raw_config(root, packing=BUDGET))
    run = Run(config.model_copy(update={"out": str(cache / "unused")}))
    maker = SampleMaker(run.sources, run.prepared.prompts, config.data, 0, plain=True)
    made = maker.make(Pack(number=0, samples=((0, ROW), (0, 3))))
    batch, count = normalised(made.batch, "cpu"), int(made.acts.sum())
    generator = torch.Generator().manual_seed(1)
    noise, time = torch.randn((count, H, 200), generator=generator), torch.rand(count, generator=generator)
    delays, model = torch.from_numpy(made.prefixes[made.acts]), run.stepper.model.eval()
    with torch.no_grad():
        shared = model.loss(batch, noise=noise, time=time, delays=delays)
        apart = dict(batch)
        apart["packed_vit_tokens"] = batch["packed_vit_tokens"][batch["packed_vit_view_index"]]
        del apart["packed_vit_view_index"]
        separate = model.loss(apart, noise=noise, time=time, delays=delays)
    for name in ("action_loss", "und_loss"):
        assert float(shared[name]) == pytest.approx(float(separate[name]), abs=1e-5), name
    assert float(shared["und_loss"]) > 0


def test_rows_without_branches_are_not_taught_unless_their_own_actions_are(root, cache):
    _, sources, _, config = maker_of(root, cache)
    plan = Plan(sources, config.data, config.packing, 0)
    taught = {row for _ in range(40) for _, row in plan.next().samples}
    starts = np.cumsum([0, *LENGTHS])
    with_some = {
        int(first) + row for first, count in zip(starts, LENGTHS) for row in range(count) if row % WITHOUT != 1
    }
    assert taught == with_some and plan.account()[0]["left_out"] == 0
    maker, sources, _, config = maker_of(root, cache, own=True)
    plan = Plan(sources, config.data, config.packing, 0)
    assert {row for _ in range(60) for _, row in plan.next().samples} == set(range(sum(LENGTHS)))
    made = maker.make(Pack(number=0, samples=((0, ROW), (0, ROW + 1))))
    assert made.branches[made.acts].tolist() == [-1, 0, 1, 2, -1] and made.prefixes[0] == made.prefixes[-1] == -1


def test_a_dataset_with_branches_can_be_taught_as_an_ordinary_one(root, cache):
    maker, sources, _, _ = maker_of(root, cache, teach=False)
    made = maker.make(Pack(number=0, samples=((0, ROW),)))
    assert made.branches.tolist() == [-1] and "packed_vit_view_index" not in made.batch
    assert sources[0].table.branches is None


def test_branches_are_not_weighed(root, cache):
    data = {"datasets": [{"path": str(root), "robot": "fr3", "intervention": {"policy": 0.0}}]}
    with pytest.raises(BeingHError, match="branches have no weights"):
        open_sources(config_of(root, data=data).data, cache, H)


def test_statistics_are_those_of_what_is_taught(root, cache):
    _, sources, _, _ = maker_of(root, cache)
    actions = np.concatenate([
        branch.actions for episode, count in enumerate(LENGTHS) for row in range(count) for branch in branches_of(episode, row)
    ])  # fmt: skip
    found = sources[0].statistics["action"]["eef_position"]
    np.testing.assert_allclose(found["q99"], np.quantile(actions[:, :3].astype(float), 0.99, axis=0))
    np.testing.assert_allclose(found["mean"], actions[:, :3].mean(axis=0), atol=1e-6)


def test_the_exchanged_batch_has_the_actions_of_another_branch(root, cache):
    maker, *_ = maker_of(root, cache, draws=2)
    made = maker.make(Pack(number=0, samples=((0, ROW), (0, 3))))
    before, after = (one.batch["padded_action"].view(-1, H, 200) for one in (made, exchanged(made)))
    groups = list(zip(made.rows[made.acts], made.branches[made.acts]))
    for place, (row, branch) in enumerate(groups):
        others = [n for n, (r, b) in enumerate(groups) if r == row and b != branch]
        assert any(torch.equal(after[place], before[n]) for n in others) and not torch.equal(
            after[place], before[place]
        )
    ordinary, *_ = maker_of(root, cache, teach=False)
    assert exchanged(ordinary.make(Pack(number=0, samples=((0, ROW),)))) is None


def run_of(root, out, cache, **changes):
    raw = raw_config(root, out=out, packing=BUDGET, log={"every": 1, "tensorboard": False}, **changes)
    raw["data"] |= {"cache": str(cache), "held_out": 0.3}
    return RunConfig.from_dict(copy.deepcopy(raw))


def test_a_run_makes_a_policy_and_goes_on_to_the_same_weights(root, tmp_path, cache, capsys):
    changes = {
        "save": {"every": 2},
        "loss": {"text_weight": 0.2, "text_depths": [1]},
        "evaluate": {"every": 2, "packs": 1},
    }
    straight = Run(run_of(root, tmp_path / "a", cache, **changes))
    straight.train()
    assert "with another instruction" in capsys.readouterr().out
    halted = Run(run_of(root, tmp_path / "b", cache, **changes))
    packs = halted._packs()
    for _ in range(2):
        halted.plan.next()
        halted.stepper.step([halted.inputs(next(packs))])
    halted.save()
    resumed = Run(run_of(root, tmp_path / "b", cache, **changes))
    assert resumed.stepper.step_number == 2
    resumed.train()
    for name, parameter in straight.stepper.trained.items():
        assert torch.equal(parameter, resumed.stepper.trained[name]), name
    policy = load_for_contract(CONTRACT, tmp_path / "a" / "last")
    recorded = max(b.prefix for e, n in enumerate(LENGTHS) for row in range(n) for b in branches_of(e, row))
    assert policy.trained_delay == recorded
    encoded = straight.prepared.tokenizer.encode("pick up the red cube", add_special_tokens=False)
    assert len(encoded.ids) == 3
    image = np.full((1, *SIZE, 3), 90, np.uint8)
    state = {"eef_position": np.array([[0.45, 0.0, 0.3]]), "gripper_position": np.array([[0.0]])}
    actions = policy.get_action(
        named_observation({"scene_view": image, "wrist_view": image}, state, "pick up the red cube")
    )
    assert np.isfinite(actions["action.eef_position"]).all()


@pytest.mark.slow
def test_killed_at_any_step_it_goes_on_to_the_same_losses(root, tmp_path, cache):
    def started(out):
        config = run_of(root, tmp_path / out, cache, training={"steps": 30, "precision": "fp32"}, save={"every": 4})
        path = tmp_path / f"{out}.yaml"
        path.write_text(yaml.safe_dump(config.model_dump()))
        words = [sys.executable, "-m", "beingh_core.train", "--config", str(path), "--device", "cpu", "--threads", "1"]
        environment = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": str(ROOT)}
        return subprocess.Popen(words, cwd=ROOT, env=environment, stdout=subprocess.PIPE, text=True)

    def losses(out):
        lines = map(json.loads, (tmp_path / out / "log.jsonl").read_text().splitlines())
        return {line["step"]: line["action_loss"] for line in lines if line["kind"] == "train"}

    straight, at = started("a"), random.randint(5, 28)
    straight.communicate(timeout=600)
    print(f"killed at step {at}")
    killed = started("b")
    for line in killed.stdout:
        if line.startswith(f"step {at}/"):
            break
    killed.kill()
    killed.communicate()
    assert len(losses("b")) < 30
    started("b").communicate(timeout=600)
    assert losses("a") == losses("b") and len(losses("a")) == 30


def test_prefixes_are_the_recorded_ones_and_cannot_be_switched_off(root, tmp_path, cache):
    run = Run(run_of(root, tmp_path / "a", cache))
    made = next(run._packs())
    assert run.inputs(made).draws["delays"].tolist() == made.prefixes[made.acts].tolist()
    with pytest.raises(BeingHError, match="committed steps"):
        Run(run_of(root, tmp_path / "b", cache, uac={"enabled": False}))


def test_bad_branches_leave_their_episode_out_by_name(tmp_path, cache):
    root = write_branched(tmp_path / "bad", lengths=(3,) * 6, version="v2.1")
    path = Dataset(root).episodes[4].data
    table = pq.read_table(path, partitioning=None)
    spoiled = [[H] * 3] * len(table)
    place = table.column_names.index(PREFIX)
    pq.write_table(table.set_column(place, PREFIX, pa.array(spoiled, table.schema.field(PREFIX).type)), path)
    data = config_with(root).data.model_copy(update={"most_bad": 0.5})
    [source] = open_sources(data, cache, H)
    assert list(source.table.bad) == [4] and "branch.prefix" in source.table.bad[4]
    (root / FILE).unlink()
    [source] = open_sources(data, cache, H)
    assert any("branches are not taught" in note for note in source.notes) and source.table.branches is None


def test_a_mixture_of_rows_with_and_without_branches_packs_together(root, tmp_path, cache):
    plain = write(tmp_path / "plain")
    config = config_of(root, plain, packing=BUDGET)
    sources, prompts = opened(config, cache)
    made = SampleMaker(sources, prompts, config.data, 0).make(Pack(number=0, samples=((0, ROW), (1, 2), (1, 3))))
    assert made.sources[made.acts].tolist() == [0, 0, 0, 1, 1] and made.acts[-2:].all()
    assert len(made.batch["packed_vit_tokens"]) == 6


def test_the_doctor_shows_branches_beside_what_was_recorded(root, cache):
    report = examine(config_with(root), gpus=(1,), say=lambda _: None)
    assert report.difference < 1e-5 and not report.refused
    assert {sample.task for sample in report.samples} <= {text for text in FORM.texts}
