"""Training with experts: two robots' routing is told, balance comes back, runs go on, ranks agree, checkpoints are strict."""

import numpy as np
import pytest
import torch
import yaml
from model_reference import pack, random_sample, small_config
from test_train_run import losses, small, told, torchrun, train
from train_support import CONTRACT, SIZE, H, contract_with, raw_config, write

from beingh_core.errors import BeingHError
from beingh_core.model import BeingH
from beingh_core.policy.loading import load_for_contract
from beingh_core.policy.observations import named_observation
from beingh_core.train.doctor import examine
from beingh_core.train.doctor_page import page
from beingh_core.train.ranks import Ranks
from beingh_core.train.routing import Routing
from beingh_core.train.run import Run
from beingh_core.train.settings import LossSection, OptimiserSection, RunConfig, TrainingSection
from beingh_core.train.step import PackInputs, Stepper

MOF = {"experts": 3, "top_k": 1, "shared_layers": 1}


pytestmark = pytest.mark.usefixtures("one_thread")


@pytest.fixture(scope="module")
def robots(tmp_path_factory):
    """Two datasets, and the contracts of their two robots."""
    folder = tmp_path_factory.mktemp("robots")

    def rename(raw):
        raw["robot"], raw["policy"]["dataset_name"] = "twin", "twin_cubes"

    twin = contract_with(folder, rename, "twin.yaml")
    return write(folder / "a"), write(folder / "b", lengths=(20, 14), first=3, contract=twin), twin.path


def two_robots(robots, folder, **changes):
    first, second, contract = robots
    raw = small(first, second, out=folder / "out", cache=folder / "cache", **changes)
    raw["data"]["datasets"][1]["robot"] = str(contract)
    raw["model"]["mof"] = dict(MOF)
    return raw


def test_a_run_of_two_robots_tells_where_each_goes_and_makes_a_checkpoint(robots, tmp_path, capsys):
    raw = two_robots(
        robots,
        tmp_path,
        evaluate={"every": 4, "packs": 2},
        training={"steps": 4, "precision": "fp32", "ema_decay": 0.5},
    )
    raw["data"]["held_out"] = 0.3
    run = train(raw)
    for line in told(tmp_path / "out", "routing"):
        names = [name for name in line if "/" in name]
        assert {name.rpartition("/")[0] for name in names} == {"fr3/layer1", "twin/layer1"} and len(names) == 6
        for robot in ("fr3", "twin"):
            assert sum(line[f"{robot}/layer1/expert{e}"] for e in range(3)) == pytest.approx(1.0, abs=2e-4)
    last = told(tmp_path / "out")[-1]
    assert last["balance_loss"] >= 0.9 and 0 <= last["least_used"] <= 1
    (held,) = told(tmp_path / "out", "held_out")
    of_robots = [held["action_loss/fr3"], held["action_loss/twin"]]
    assert min(of_robots) < held["action_loss"] < max(of_robots)
    assert "least used" in capsys.readouterr().out
    policy, image = load_for_contract(CONTRACT, tmp_path / "out/last"), np.full((1, *SIZE, 3), 90, np.uint8)
    state = {"eef_position": np.array([[0.45, 0.0, 0.3]]), "gripper_position": np.array([[0.0]])}
    seen = named_observation({"scene_view": image, "wrist_view": image}, state, "pick up the red cube")
    assert policy.get_action(seen)["action.eef_position"].shape == (1, H, 3)
    saved = BeingH.from_pretrained(tmp_path / "out/last")
    assert saved.config.mof.experts == 3
    average = {name: tensor for name, tensor in run.stepper.average.items() if "experts" in name or "router" in name}
    assert len(average) == 3 * 3 + 1
    assert all(torch.equal(saved.state_dict()[name], tensor) for name, tensor in average.items())


def test_a_dense_checkpoint_is_upcycled_and_one_with_experts_is_not_changed(robots, tmp_path):
    first, _, _ = robots
    dense = small(first, out=tmp_path / "dense", cache=tmp_path / "cache", training={"steps": 2, "precision": "fp32"})
    train(dense)
    grown = {**dense, "out": str(tmp_path / "grown"), "checkpoint": str(tmp_path / "dense/last"), "model": {"mof": MOF}}
    run = train(grown)
    layer = run.stepper.model.language_model.model.layers[1].mlp_mot_gen
    assert not torch.equal(layer.experts[0].up_proj.weight, layer.experts[1].up_proj.weight)  # they go apart
    start = told(tmp_path / "grown")[0]["action_loss"]
    again = train({**dense, "out": str(tmp_path / "plain"), "checkpoint": str(tmp_path / "dense/last"), "model": {}})
    assert start == pytest.approx(told(again.out)[0]["action_loss"], rel=1e-5)
    other = {**grown, "out": str(tmp_path / "other"), "checkpoint": str(tmp_path / "grown/last")}
    for wanted in ({**MOF, "experts": 4}, {**MOF, "experts": 1}):
        with pytest.raises(BeingHError, match="has 3 experts above 1 shared layers.*leave model.mof out"):
            Run(RunConfig.from_dict({**other, "model": {"mof": wanted}}))


def test_wrong_keys_are_told():
    raw = raw_config("d")
    for wrong, said in (
        ({"experts": 4, "shared_layers": 1, "topk": 2}, "topk"),
        ({"experts": 4}, "shared_layers"),
        ({"experts": "4", "shared_layers": 1}, "1 to 64"),
    ):
        raw["model"]["mof"] = wrong
        with pytest.raises(BeingHError, match=said):
            RunConfig.from_dict(raw)
    with pytest.raises(BeingHError, match="balance_weight"):
        RunConfig.from_dict(raw_config("d", loss={"balance_weight": -1.0}))


def test_the_doctor_knows_of_experts(robots, tmp_path):
    raw = two_robots(robots, tmp_path)
    report = examine(RunConfig.from_dict(raw), gpus=(1, 2), say=lambda _: None)
    dense = {**raw, "model": {key: value for key, value in raw["model"].items() if key != "mof"}}
    plain = examine(RunConfig.from_dict(dense), gpus=(1, 2), say=lambda _: None)
    assert report.parameters["act"] - plain.parameters["act"] == 2 * 3 * 16 * 32 + 3 * 16
    assert report.memory[1, False]["weights"] > plain.memory[1, False]["weights"]
    assert report.refused == [] and f"{report.parameters['act']:,}" in page(report)
    assert 0.5 < report.loss["action"] / report.loss["of nothing"] < 3


def test_the_demo_s_configuration_takes_experts():
    found = RunConfig.from_file("config/train/fr3_cubes.yaml", ["model.mof={experts: 4, shared_layers: 2}"])
    assert (found.model.mof.experts, found.model.mof.shared_layers) == (4, 2)


def stepper_of(weight, steps=60, **ranks):
    model = BeingH.from_config(small_config(mof={"experts": 4, "top_k": 1, "shared_layers": 2}), seed=1).train()
    optimiser = OptimiserSection(learning_rate=3e-3, schedule="constant")
    training = TrainingSection(steps=steps, precision="fp32")
    return Stepper(model, optimiser, training, LossSection(balance_weight=weight), **ranks)


def inputs(seed):
    rng = np.random.default_rng(seed % 6)
    return PackInputs(batch=pack([random_sample(small_config(), rng, 1) for _ in range(3)]), seed=seed)


def shares(stepper, steps, first=0):
    """Share of each expert over the last ten of some steps, and the balance loss of the first and the last one."""
    counts, told = [], []
    for seed in range(first, first + steps):
        told.append(stepper.step([inputs(seed)]).balance_loss)
        counts.append(stepper.routing[0].sum((0, 1)))
    total = torch.stack(counts[-10:]).sum(0).double()
    return (total / total.sum()).tolist(), told


def test_the_balance_loss_brings_an_uneven_load_back():
    found = {}
    for weight in (0.0, 0.02):
        stepper = stepper_of(weight)
        layer, seen = stepper.model.language_model.model.layers[2], []
        norm = layer.post_attention_layernorm_mot_gen
        hook = norm.register_forward_hook(lambda _, __, normed: seen.append(normed.mean(0)))
        with torch.no_grad():
            stepper.model.loss(inputs(0).batch, generator=torch.Generator().manual_seed(0))
            layer.mlp_mot_gen.router.weight[0] = (
                3.0 * seen[0] / seen[0].norm()
            )  # what tokens have in common goes to one
        hook.remove()
        found[weight], told = shares(stepper, 60 if weight else 15)
        assert told[0] > 3
    assert max(found[0.0]) > 0.9
    assert min(found[0.02]) > 1 / 16 and told[-1] < 1.5


class Among(Ranks):
    """One rank among others that have pictures, actions and answers in every place."""

    def sums(self, values):
        counts, kinds = values[:2], values[2:]
        return [*counts, *(1.0 for _ in kinds)] if len(values) > 3 else list(values)


@pytest.mark.parametrize("sharded", (False, True))
def test_packs_without_actions_have_no_part_in_balance_and_routing(sharded):
    """Where weights are sharded they get a chunk of zeros to compute; its tokens are nobody's."""
    words = {
        "packed_text_ids": np.array([5, 6, 7]), "packed_text_indexes": np.arange(3), "packed_position_ids": np.arange(3),
        "sequence_length": 3, "sample_lens": np.array([3]), "ce_loss_indexes": np.array([1]), "packed_label_ids": np.array([7]),
    }  # fmt: skip
    packs = [PackInputs(batch=batch, draws={"delays": None}, seed=1) for batch in (words, None)]
    stepper = stepper_of(0.02, ranks=Among() if sharded else Ranks(), sharded=sharded)
    alone = float(stepper.losses(inputs(0))["balance_loss"].detach())
    ready = [pack.batch for pack, _ in stepper.prepared([*packs, inputs(0)])]
    assert [batch is not None and "packed_action_indexes" in batch for batch in ready] == [sharded, sharded, True]
    told = stepper.step([*packs, inputs(0)])
    assert told.balance_loss == pytest.approx(alone / 3) and alone > 0.9
    assert [chosen is None for chosen in stepper.routing] == [True, True, False]
    assert stepper.routing[2].shape[1] == 3
    with torch.no_grad():
        assert stepper.summed(packs[0])[4] == [] and len(stepper.summed(inputs(0))[4]) == 3


def test_routing_is_summed_by_embodiment():
    from beingh_core.model.config import MofConfig

    routing = Routing(MofConfig(**MOF), 3, ["arm", "hand", "arm"], Ranks())
    chosen = torch.tensor([[[4, 0, 0], [1, 1, 2], [0, 4, 0]], [[1, 2, 1], [0, 0, 4], [1, 1, 2]]])
    routing.add(chosen, [0, 1, 2])
    routing.add(None, [])
    least, found = routing.take()
    assert found["arm/layer1/expert0"] == 0.5 and found["arm/layer1/expert1"] == 0.5
    assert found["hand/layer2/expert2"] == 1.0 and found["arm/layer2/expert2"] == 0.375
    assert least["least_used"] == pytest.approx(3 * min(5 / 12, 5 / 12, 2 / 12, 2 / 12, 3 / 12, 7 / 12))
    assert routing.take() == ({}, {}) == Routing(None, 3, ["arm"], Ranks()).take()


@pytest.mark.slow
def test_two_ranks_and_sharded_ranks_with_experts_learn_what_one_learns(robots, tmp_path):
    """Some experts see no token of a rank's pack; sharded ranks must still exchange all gradients."""
    training = {"steps": 12, "precision": "fp32", "accumulate": 2, "ema_decay": 0.9}
    raw = two_robots(robots, tmp_path, training=training, save={"every": 12})
    raw["model"]["mof"] = {"experts": 6, "top_k": 1, "shared_layers": 0}
    raw["model"]["use_mpg"] = True
    path = tmp_path / "run.yaml"
    path.write_text(yaml.safe_dump(raw))
    torchrun(path, 1)
    expected, weights = losses(tmp_path / "out"), BeingH.from_pretrained(tmp_path / "out/last").state_dict()
    assert len(expected) == 12 and min(line["least_used"] for line in told(tmp_path / "out")) == 0
    for name, *changes in (
        ("two", "training.shard=false"),
        ("sharded", "training.shard=true", "training.activation_checkpointing=true"),
    ):
        torchrun(path, 2, f"out={tmp_path / name}", "training.accumulate=1", *changes)
        found = losses(tmp_path / name)
        for step, loss in expected.items():
            assert found[step] == pytest.approx(loss, rel=1e-4), (name, step)
        for kind in ("routing", "train"):
            for one, other in zip(told(tmp_path / "out", kind), told(tmp_path / name, kind), strict=True):
                for key in (key for key in one if "/" in key or key == "least_used"):
                    assert other[key] == pytest.approx(one[key], abs=0.03), (name, key)
        saved = BeingH.from_pretrained(tmp_path / name / "last").state_dict()
        assert saved.keys() == weights.keys()
        for key in (key for key in saved if ".mlp_mot_gen." in key):
            assert (saved[key] - weights[key]).norm() <= 1e-4 * weights[key].norm(), (name, key)
