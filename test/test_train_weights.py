"""Weights of rows: what a column and who was in charge make of them, in chunks, plan, loss and log."""

import dataclasses
import json
import shutil

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
from train_support import CONTRACT, SIZE, H, config_of, numbers, opened, picture, raw_config, task_of

from beingh_core.data.contract_rows import ACTION, STATE, dataset_spec
from beingh_core.data.lerobot import DatasetWriter, Frame, VideoSettings
from beingh_core.data.lerobot.schema import Vector
from beingh_core.errors import BeingHError
from beingh_core.model import BeingH
from beingh_core.train.config import model_config
from beingh_core.train.plan import Pack, Plan
from beingh_core.train.run import Run
from beingh_core.train.samples import SampleMaker, normalised
from beingh_core.train.settings import InterventionSection, RunConfig
from beingh_core.train.weighing import CORRECTION, GROUPS, weights_of

UNKNOWN, NOBODY, POLICY, PERSON, CORRECTED = range(len(GROUPS))
LENGTHS = (40, 24)


def charge_of(episode, index):
    """The policy, a person from row 20 to 27, the policy again; the second episode is all a person's."""
    return PERSON if episode or 20 <= index < 28 else POLICY


def write(root, weight=lambda episode, index: 1.0, charge=charge_of, flag=True, told=True, lengths=LENGTHS):
    """A dataset of the FR3 whose rows have weights and say who was in charge."""
    sizes = {camera.name: SIZE for camera in CONTRACT.cameras}
    spec = dataset_spec(CONTRACT, sizes, VideoSettings(encoder="software"), "v3.0", in_charge=True)
    left_out = [key for key, has in (("in_charge", told), ("intervention", flag)) if not has]
    vectors = [vector for vector in spec.vectors if vector.key not in left_out]
    spec = dataclasses.replace(spec, vectors=(*vectors, Vector(key="weight", names=("weight",))))
    with DatasetWriter(root, spec) as writer:
        for episode, count in enumerate(lengths):
            frames = []
            for index in range(count):
                state, action = numbers(episode, index)
                who = charge(episode, index)
                taken_over = who == PERSON and not episode
                own = {STATE: state, ACTION: action, "weight": np.array([weight(episode, index)], np.float32)}
                own |= {"in_charge": np.array([who])} if told else {}
                own |= {"intervention": np.array([taken_over])} if flag else {}
                images = {c.key: picture(v, episode, index) for v, c in enumerate(spec.cameras)}
                frames.append(Frame(vectors=own, images=images, task=task_of(episode)))
            writer.add(frames, source=f"s{episode}")
    return root


@pytest.fixture(scope="module")
def plain(tmp_path_factory):
    return write(tmp_path_factory.mktemp("plain") / "plain")


def config(root, **section):
    return config_of(root, data={"datasets": [{"path": str(root), "robot": "fr3", **section}], "workers": 0})


def test_the_rule_weighs_corrections_and_what_led_to_them():
    charge = np.array([POLICY] * 5 + [NOBODY] + [POLICY] * 2 + [CORRECTED] * 3 + [PERSON, POLICY, UNKNOWN, CORRECTED])
    rule = InterventionSection(policy=1.0, person=2.0, correction=5.0, nobody=0.5, unknown=0.25, before=0.2)
    expected = [1, 1, 1, 1, 0, 0.5, 0, 0, 5, 5, 5, 2, 0, 0.25, 5]
    assert weights_of(charge, rule, 20).tolist() == expected  # 4 rows before: the policy's alone
    low = InterventionSection(person=3.0, before=0.05, before_weight=0.5)
    assert weights_of(np.array([POLICY, POLICY, CORRECTED]), low, 20).tolist() == [1, 0.5, 3]


@pytest.mark.parametrize("flag, told", ((True, True), (False, True), (True, False)))
def test_who_was_in_charge_comes_from_either_column(tmp_path, flag, told):
    root = write(tmp_path / "d", flag=flag, told=told)
    [source], _ = opened(config(root, intervention={"policy": 1, "person": 4}), tmp_path / "cache")
    first = [POLICY] * 20 + [CORRECTED] * 8 + [POLICY] * 12
    other = PERSON if told else POLICY  # LeRobot's flag says nothing else
    assert source.table.charge.tolist() == first + [other] * 24
    assert source.table.weight.tolist() == [4.0 if who in (CORRECTED, PERSON) else 1.0 for who in source.table.charge]
    said = [note for note in source.notes if "in charge" in note]
    assert len(said) == 1 and f"{CORRECTION} 12% of the rows and " in said[0]


def test_a_chunk_has_the_weights_of_its_rows_with_a_mean_of_one(tmp_path):
    root = write(tmp_path / "d", weight=lambda episode, index: 3.0 if episode else 1.0 + index % 2)
    [source], prompts = opened(config(root, weight_column="weight"), tmp_path / "cache")
    maker = SampleMaker([source], prompts, config(root).data, 0)
    rows = list(range(sum(LENGTHS)))
    batch = maker.make(Pack(number=0, samples=tuple((0, row) for row in rows))).batch
    found = batch["padded_action_weight"].numpy().reshape(-1, H)
    ends = np.array([LENGTHS[0]] * LENGTHS[0] + [sum(LENGTHS)] * LENGTHS[1])
    recorded = np.array([1.0 + row % 2 if row < LENGTHS[0] else 3.0 for row in rows])
    expected = np.array([[recorded[min(row + k, ends[row] - 1)] for k in range(H)] for row in rows])
    assert found.dtype == np.float32 and found == pytest.approx(expected / expected.mean(), rel=1e-6)


def test_rows_without_weight_are_not_taught_and_chunks_without_any_not_drawn(tmp_path):
    root = write(tmp_path / "d", lengths=(60, 4))
    settings = config(root, intervention={"policy": 0, "person": 0, "correction": 2})
    [source], prompts = opened(settings, tmp_path / "cache")
    plan = Plan([source], settings.data, settings.packing, 0)
    drawn = {row for _ in range(8) for _, row in plan.next().samples}
    assert drawn == set(range(20 - H + 1, 28)) and plan.stocks[0].left_out == 64 - len(drawn)
    batch = SampleMaker([source], prompts, settings.data, 0).make(Pack(number=0, samples=((0, 10),))).batch
    weight = batch["padded_action_weight"].numpy()
    assert (weight[:10] == 0).all() and (weight[10:] > 0).all() and len(weight) == H
    [note] = [note for note in source.notes if "never drawn" in note]
    assert f"{64 - len(drawn)} rows are never drawn" in note


def test_weights_change_the_plan_only_where_rows_are_not_drawn(tmp_path, plain):
    weighed = config(plain, intervention={"person": 5})
    zero = config(plain, intervention={"policy": 0})
    plans = []
    for settings in (config(plain), weighed, zero):
        [source], _ = opened(settings, tmp_path / "cache")
        plans.append(Plan([source], settings.data, settings.packing, 0))
    first = plans[0].state()["identity"]
    assert plans[2].state()["identity"] != first
    samples = [[plan.next().samples for _ in range(3)] for plan in plans[:2]]
    assert samples[0] == samples[1] and len(plans[2].stocks[0].firsts) == len(plans[0].stocks[0].firsts)


@pytest.mark.parametrize("value, said", ((np.nan, "nan"), (-1.0, "-1"), (np.inf, "inf"), (2e6, "2e+06")))
def test_a_weight_that_is_none_leaves_its_episode_out_by_name(plain, tmp_path, value, said):
    root = shutil.copytree(plain, tmp_path / "d")
    [path] = (root / "data").rglob("*.parquet")
    table = pq.read_table(path, partitioning=None)
    weights = np.ones(sum(LENGTHS), np.float32)
    weights[LENGTHS[0] + 3] = value
    place = table.column_names.index("weight")
    pq.write_table(table.set_column(place, table.schema.field("weight"), pa.array(weights)), path)
    settings = config(root, weight_column="weight")
    [source], _ = opened(settings.model_copy(update={"data": _tolerant(settings.data)}), tmp_path / "cache")
    assert source.table.episodes == (0,)
    assert f"`weight` holds a weight of {said} in row 3, 1 such in all" in source.table.bad[1]
    with pytest.raises(BeingHError, match="1 of 2 episodes cannot be taught"):
        opened(settings, tmp_path / "cache")


def _tolerant(data):
    return data.model_copy(update={"most_bad": 1.0})


def test_what_a_dataset_does_not_have_is_told(tmp_path, plain):
    with pytest.raises(BeingHError, match=r"has no column `wight` with one number a row.*weight"):
        opened(config(plain, weight_column="wight"), tmp_path / "cache")
    with pytest.raises(BeingHError, match="has no column `observation.state` with one number a row"):
        opened(config(plain, weight_column=STATE), tmp_path / "cache")
    with pytest.raises(BeingHError, match="no row has a weight above 0"):
        zero = dict.fromkeys(("policy", "person", "nobody", "unknown"), 0)
        opened(config(plain, intervention=zero), tmp_path / "cache")
    silent = write(tmp_path / "silent", flag=False, told=False, lengths=(5,))
    with pytest.raises(BeingHError, match="does not say who was in charge"):
        opened(config(silent, intervention={"policy": 0.5}), tmp_path / "cache")
    [source], _ = opened(config(silent), tmp_path / "cache")
    assert source.table.charge is None and source.weights is None
    with pytest.raises(BeingHError, match="a number from 0 to 1e\\+06"):
        config(plain, intervention={"policy": -0.5})


@pytest.fixture(scope="module")
def learner(plain, tmp_path_factory):
    """A model, and the maker of three samples of the dataset with given weights."""
    settings = config(plain)
    [source], prompts = opened(settings, tmp_path_factory.mktemp("cache"))
    sizes = {**settings.model.model_dump(), "num_inference_timesteps": 4, "mpg_lambda": 0.1, "mpg_refinement_iters": 1}
    raw = model_config({**sizes, "use_training_time_rtc": True, "trained_delay": 6}, prompts.tokenizer.get_vocab_size())
    made = SampleMaker([source], prompts, settings.data, 0).make(Pack(number=0, samples=((0, 3), (0, 22), (0, 50))))
    batch = normalised(made.batch, "cpu")
    rng = np.random.default_rng(0)
    draws = {
        "noise": rng.normal(size=(3, H, 200)).astype(np.float32), "time": np.array([0.2, 0.5, 0.7]),
        "delays": np.array([0, 3, 6]), "mpg_lambda": 0,
    }  # fmt: skip
    return BeingH.from_config(raw, seed=0), batch, draws


def test_weights_of_one_change_no_loss_and_no_gradient(learner):
    model, batch, draws = learner
    found = []
    for more in ({}, {"padded_action_weight": np.ones(3 * H, np.float32)}):
        model.zero_grad()
        losses = model.loss({**batch, **more}, **draws)
        losses["action_loss"].backward()
        found.append((losses["action_loss"].item(), model.action_decoder.layer2.weight.grad.clone()))
    assert found[0][0] == pytest.approx(found[1][0], abs=1e-7) and torch.equal(found[0][1], found[1][1])


def test_the_loss_is_the_weighted_mean_of_its_steps(learner):
    """Against the errors of single steps, taken from losses in which all other steps have no weight."""
    model, batch, draws = learner
    weight = np.random.default_rng(1).uniform(0, 3, 3 * H).astype(np.float32)
    with torch.no_grad():
        whole = model.loss({**batch, "padded_action_weight": weight}, **draws)
        plain = model.loss(batch, **draws)
        for place in (0, 5, H + 2, H + 3, 2 * H + 7):
            alone = np.zeros(3 * H, np.float32)
            alone[place] = weight[place]
            part = model.loss({**batch, "padded_action_weight": alone}, **draws)["action_loss"].item()
            assert part == pytest.approx(whole["action_parts"][place].item(), rel=1e-5)
            assert part == pytest.approx(weight[place] * plain["action_parts"][place].item(), rel=1e-4)
    assert whole["action_parts"].sum().item() == pytest.approx(whole["action_loss"].item(), rel=1e-5)
    assert (whole["action_parts"][[H, H + 1, H + 2]] == 0).all()  # the locked prefix of the second sample
    with pytest.raises(BeingHError, match="padded_action_weight"):
        model.loss({**batch, "padded_action_weight": weight[:-1]}, **draws)


def test_a_sample_of_weight_two_counts_as_two(learner, plain, tmp_path):
    model, batch, draws = learner
    weight = np.repeat(np.array([2.0, 1.0, 1.0], np.float32) * 3 / 4, H)
    with torch.no_grad():
        parts = model.loss(batch, **draws)["action_parts"].view(3, H).sum(1)
        weighed = model.loss({**batch, "padded_action_weight": weight}, **draws)["action_loss"]
    assert weighed.item() == pytest.approx(float((parts * torch.tensor([2.0, 1.0, 1.0])).sum() * 3 / 4), rel=1e-5)


def test_a_run_tells_whose_steps_the_loss_is(plain, tmp_path):
    shares = {}
    for name, rule in (("even", {}), ("high", {"correction": 50.0, "policy": 0.0})):
        section = {"path": str(plain), "robot": "fr3", "intervention": rule}
        raw = raw_config(plain, out=tmp_path / name, log={"every": 1, "tensorboard": False}, save={"every": 100})
        raw["data"] |= {"datasets": [section], "cache": str(tmp_path / "cache")}
        raw["training"] |= {"steps": 3}
        Run(RunConfig.from_dict(raw)).train()
        lines = map(json.loads, (tmp_path / name / "log.jsonl").read_text().splitlines())
        shares[name] = [
            {k.removeprefix("loss_share_"): v for k, v in line.items() if k.startswith("loss_share_")}
            for line in lines if line["kind"] == "train"
        ]  # fmt: skip
    for told in shares["even"] + shares["high"]:
        assert sum(told.values()) == pytest.approx(1.0)
    assert {"policy", "person", CORRECTION} == {who for told in shares["even"] for who in told}
    assert all("policy" not in told for told in shares["high"])
    mean = lambda name: np.mean([told.get(CORRECTION, 0.0) for told in shares[name]])
    assert mean("high") > 2 * mean("even") > 0
