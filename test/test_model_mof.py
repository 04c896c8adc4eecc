"""Mixture of flow experts: routing against a plain loop, gradients, balance, up-cycling, checkpoints, refusals, memory."""

import copy
import json

import numpy as np
import pytest
import torch
from model_reference import pack, random_sample, small_config

from beingh_core.bench import matmul_bound, shapes
from beingh_core.bench.full_sequence import full_sequence_actions
from beingh_core.errors import BeingHError
from beingh_core.model import BeingH, mof
from beingh_core.model.config import BeingHConfig, MofConfig
from beingh_core.model.engine import Engine
from beingh_core.model.engine.mlp import PreparedExperts
from beingh_core.model.engine.prepare import Preparer
from beingh_core.model.weights import OwnWeights
from beingh_core.train import memory
from beingh_core.train.lora import add_lora, merged
from beingh_core.train.parts import freeze
from beingh_core.train.settings import LoraSection, TrainingSection

LAYER = "language_model.model.layers.{}.mlp_mot_gen."


pytestmark = pytest.mark.usefixtures("one_thread")


def draw(*shape, seed=0):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def experts(count=4, top_k=1, shared=1):
    return {"experts": count, "top_k": top_k, "shared_layers": shared}


def routed_mlp(count=4, top_k=1, seed=0):
    torch.manual_seed(seed)
    return mof.RoutedMLP(6, 10, "silu", MofConfig(**experts(count, top_k)))


def batch(raw, seed=0, count=3):
    return pack([random_sample(raw, np.random.default_rng(seed + i), 1) for i in range(count)])


def losses(model, raw=None, seed=0):
    return model.loss(batch(raw or model.raw_config, seed), generator=torch.Generator().manual_seed(seed))


def by_hand(mlp, x):
    """Each token alone, every expert's result by the definition."""
    rows = []
    for token in x:
        scores = (mlp.router.weight @ token).exp()
        scores = scores / scores.sum()
        best = sorted(range(len(mlp.experts)), key=lambda e: -scores[e].item())[: mlp.top_k]
        total = sum(scores[e].item() for e in best)  # a number, through which nothing flows back
        rows.append(sum(scores[e] / total * mlp.experts[e](token) for e in best))
    return torch.stack(rows)


@pytest.mark.parametrize("count, top_k", ((2, 1), (4, 1), (5, 2), (3, 3)))
def test_routing_is_what_a_plain_loop_computes_with_its_gradients(count, top_k):
    mlp, x = routed_mlp(count, top_k), draw(40, 6)
    found, expected = [], []
    for call, told in ((mlp, found), (lambda x: by_hand(mlp, x), expected)):
        inputs = x.clone().requires_grad_(True)
        out = call(inputs)
        wanted = [inputs, *mlp.parameters()]
        told += [out, *torch.autograd.grad((out * draw(40, 6, seed=1)).sum(), wanted)]
    for one, other in zip(found, expected):
        torch.testing.assert_close(one, other, rtol=1e-5, atol=1e-6)
    assert found[2].abs().sum() > 0 or top_k == count  # the router learns, also where one expert is chosen


@pytest.mark.parametrize("top_k", (1, 2))
def test_every_way_of_mixing_gives_the_same(top_k):
    mlp, x = routed_mlp(4, top_k), draw(2, 9, 6)
    expected = by_hand(mlp, x.flatten(0, 1)).view_as(x)
    every = mof.mix_all(x.flatten(0, 1), mlp.route(x.flatten(0, 1)), mlp.experts, top_k)
    torch.testing.assert_close(every.view_as(x), expected)
    with torch.inference_mode():
        prepared = PreparedExperts(mlp, Preparer(OwnWeights(mlp, x.device, x.dtype), pack=True))
        torch.testing.assert_close(prepared(x), expected)
        assert prepared(x[:, :0]).shape == (2, 0, 6)


def test_an_expert_that_nobody_chose_has_a_gradient_of_zero():
    mlp = routed_mlp(3)
    with torch.no_grad():
        mlp.router.weight.zero_()[0, 0] = 50.0
    x = draw(8, 6).abs() + 0.1
    mlp(x).square().sum().backward()
    sizes = [expert.gate_proj.weight.grad.abs().sum().item() for expert in mlp.experts]
    assert sizes[0] > 0 and sizes[1:] == [0.0, 0.0]


def test_the_balance_loss_is_one_at_even_load_and_more_elsewhere():
    even = torch.full((8, 4), 0.1) + 0.6 * torch.eye(4).repeat(2, 1)
    assert mof.balance_loss(even, 1).item() == pytest.approx(1.0)
    assert mof.balance_loss(torch.eye(4)[[0] * 8], 1).item() == pytest.approx(4.0)
    pairs = torch.tensor([[0.4, 0.4, 0.1, 0.1], [0.1, 0.1, 0.4, 0.4]])
    assert mof.balance_loss(pairs, 2).item() == pytest.approx(1.0)
    uneven = torch.tensor([[0.5, 0.3, 0.2], [0.6, 0.1, 0.3], [0.1, 0.2, 0.7]])
    assert mof.balance_loss(uneven, 1).item() == pytest.approx(3 * (2 / 3 * 0.4 + 1 / 3 * 0.4))
    assert mof.balance_loss(even[:0], 1).item() == 0.0


def test_what_each_chunk_chose_is_counted_over_its_own_action_tokens():
    probabilities = torch.eye(3)[[2, 2, 0, 0, 1, 1, 1, 2]]  # two state tokens, then chunks of three steps
    assert mof.load(probabilities, 1, 2, 3).tolist() == [[2, 1, 0], [0, 2, 1]]
    assert mof.load(probabilities, 2, 2, 3).sum().item() == 12
    assert mof.load(probabilities[:2], 1, 0, 3).shape == (0, 3)


@pytest.mark.parametrize("top_k", (1, 2))
def test_an_upcycled_model_computes_what_the_dense_one_does(tmp_path, top_k):
    raw = small_config()
    dense = BeingH.from_config(raw, seed=1)
    dense.save_pretrained(tmp_path)
    grown = BeingH.from_pretrained(tmp_path, overrides={"mof": experts(4, top_k)}, seed=3)
    expected, found = losses(dense.eval()), losses(grown)
    for name in ("action_loss", "und_loss", "chunk_losses"):
        torch.testing.assert_close(found[name], expected[name], rtol=1e-6, atol=1e-6)
    noise, directions = draw(2, 1, 16, 200), draw(4, 32, raw["llm_config"]["hidden_size"])
    sample = pack([random_sample(raw, np.random.default_rng(0), 2)])
    chunks = [model.get_action(sample, noise=noise, projections=directions) for model in (dense, grown)]
    torch.testing.assert_close(chunks[1], chunks[0], rtol=1e-6, atol=1e-6)
    names = set(grown.state_dict())
    assert LAYER.format(0) + "gate_proj.weight" in names and LAYER.format(0) + "router.weight" not in names
    assert LAYER.format(1) + "experts.3.gate_proj.weight" in names and LAYER.format(1) + "gate_proj.weight" not in names
    other = BeingH.from_pretrained(tmp_path, overrides={"mof": experts(4, top_k)}, seed=4).state_dict()
    router = LAYER.format(1) + "router.weight"
    assert not torch.equal(other[router], grown.state_dict()[router])
    # Copies, not views: one expert's step moves no other.
    grown.get_parameter(LAYER.format(1) + "experts.0.gate_proj.weight").data.zero_()
    assert grown.get_parameter(LAYER.format(1) + "experts.1.gate_proj.weight").abs().sum() > 0


def test_one_expert_is_the_dense_model():
    raw = small_config()
    dense, one = (BeingH.from_config(config, seed=1) for config in (raw, {**raw, "mof": experts(1)}))
    assert one.state_dict().keys() == dense.state_dict().keys()
    assert torch.equal(losses(dense)["action_loss"], losses(one)["action_loss"]) and "routing" not in losses(one)


def test_saved_and_loaded_it_is_the_same_and_strict(tmp_path):
    model = BeingH.from_config(small_config(mof=experts(3, 2)), seed=1)
    model.save_pretrained(tmp_path)
    again = BeingH.from_pretrained(tmp_path)
    assert again.raw_config["mof"] == experts(3, 2) and not again.training
    assert all(torch.equal(tensor, again.state_dict()[name]) for name, tensor in model.state_dict().items())
    first = losses(model)
    for name, value in losses(again).items():
        assert torch.equal(value, first[name]), name
    narrower = BeingH.from_pretrained(tmp_path, overrides={"mof": experts(3, 1)})
    assert narrower.config.mof.top_k == 1
    for wanted, said in (
        (experts(4), "has 3 experts above 1 shared layers, 4 above 1 shared layers cannot"),
        (experts(1), "none cannot be made"),
    ):
        with pytest.raises(BeingHError, match=said):
            BeingH.from_pretrained(tmp_path, overrides={"mof": wanted})
    (tmp_path / "config.json").write_text(json.dumps(small_config()))
    with pytest.raises(BeingHError, match="do not fit config.json.*mlp_mot_gen"):
        BeingH.from_pretrained(tmp_path)


@pytest.mark.parametrize(
    "wrong, said",
    (
        (experts(2, 3), "top_k 3 is more than mof.experts 2"),
        (experts(2, 1, 3), "leaves none of 3 layers"),
        ({"experts": 2}, "shared_layers"),
        ({**experts(), "experts": 0}, "1 to 64"),
        ({**experts(), "top_k": True}, "True is not allowed"),
        ([4], "mapping"),
    ),
)
def test_impossible_experts_are_refused_by_name(wrong, said):
    with pytest.raises(BeingHError, match=said) as told:
        BeingHConfig.from_dict(small_config(mof=wrong), "config.json")
    assert "mof" in str(told.value)


def test_gradients_reach_chosen_experts_and_routers_of_a_model():
    model = BeingH.from_config(small_config(mof=experts(3)), seed=2).train()
    found = losses(model)
    layers = model.config.decoder.num_layers
    assert (
        found["routing"].shape == (layers - 1, 3, 3) and (found["routing"].sum(-1) == model.config.chunk_length).all()
    )
    found["action_loss"].backward()
    for layer in range(1, layers):
        used = found["routing"][layer - 1].sum(0)
        assert model.get_parameter(LAYER.format(layer) + "router.weight").grad.abs().sum() > 0
        for expert in range(3):
            grad = model.get_parameter(LAYER.format(layer) + f"experts.{expert}.down_proj.weight").grad
            assert (grad.abs().sum().item() > 0) == (used[expert].item() > 0), (layer, expert)


def test_parts_that_are_frozen_and_low_rank_changes():
    model = BeingH.from_config(small_config(mof=experts(3)), seed=2)
    low = copy.deepcopy(model)
    freeze(model, ("act",))
    assert not any(p.requires_grad for name, p in model.named_parameters() if "_mot_gen" in name)
    layers, before = low.config.decoder.num_layers, losses(low)["action_loss"]
    matrices = add_lora(low, LoraSection(rank=2, parts=["act"]))
    assert matrices == layers * 4 + 3 + (layers - 1) * 3 * 3
    assert torch.equal(losses(low)["action_loss"], before)
    trained = {name for name, p in low.named_parameters() if p.requires_grad and "mlp_mot_gen" in name}
    assert all(".router." in name or ".parametrizations." in name for name in trained)
    assert LAYER.format(1) + "router.weight" in trained
    assert merged(low, lambda tensor: tensor.detach().clone()).keys() == model.state_dict().keys()


def test_the_shapes_of_the_bench_count_their_experts():
    raw = shapes.SHAPES["2b_mof"]
    dense, routed = memory.parameters(shapes.SHAPES["2b"]), memory.parameters(raw)
    assert routed["act"] - dense["act"] == 14 * (3 * 3 * 1024 * 3072 + 4 * 1024) and routed["und"] == dense["und"]
    load = memory.Load(und=7800, act=400, views=90)
    estimates = [memory.estimate(one, TrainingSection(), load, 1) for one in (shapes.SHAPES["2b"], raw)]
    assert estimates[1]["AdamW"] - estimates[0]["AdamW"] == pytest.approx(8 * (routed["act"] - dense["act"]) / 1e9)
    more = estimates[1]["activations"] / estimates[0]["activations"]
    assert 1.0 < more < 1.02  # as many products of a token as before, from copies of its inputs


def test_the_bound_counts_one_expert_and_the_router_of_each_token():
    dense, routed = (matmul_bound.count_parts(shapes.build_model(shape), 60, 2) for shape in ("tiny", "tiny_mof"))
    router = 2 * 4 * 32  # weights of both routed layers
    assert routed.step.flops - dense.step.flops == 2 * 16 * router
    assert routed.step.weight_bytes - dense.step.weight_bytes == 4 * router
    assert routed.prefix.flops - dense.prefix.flops == 2 * 1 * router / 2  # the last layer's outputs are not needed


def test_the_engine_of_several_robots_routes_each_as_alone():
    model = shapes.build_model("tiny_mof", seed=3)
    samples = [shapes.random_sample(model, 1, seed) for seed in range(3)]
    noise, directions = draw(2, 3, 16, 200), draw(4, 32, 64)
    engine = Engine(model)
    together = engine.finish(engine.begin(samples), noise=noise, projections=directions)
    for place, sample in enumerate(samples):
        alone = full_sequence_actions(model, sample, noise[:, place : place + 1], directions)
        assert (together[place] - alone).abs().max() <= 1e-4
