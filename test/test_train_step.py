"""The trainer's step: packs do not mix their samples, packs add up, delays per embodiment, schedule, freezing, averages."""

import numpy as np
import pytest
import torch
from model_reference import pack, random_sample, small_config
from train_support import (
    H,
    config_of,
    opened,
    write,
)

from beingh_core.bench import training as bench
from beingh_core.errors import BeingHError
from beingh_core.model import BeingH
from beingh_core.train.config import model_config
from beingh_core.train.parts import freeze, part_of, recompute
from beingh_core.train.plan import Pack
from beingh_core.train.samples import SampleMaker, normalised
from beingh_core.train.settings import LossSection, OptimiserSection, TrainingSection, UacSection
from beingh_core.train.step import PackInputs, Stepper, draw_delays, learning_rate, longest_delay

pytestmark = pytest.mark.usefixtures("one_thread")


def model_of(**changes):
    return BeingH.from_config(small_config(**changes), seed=1).train()


def stepper_of(model, loss=None, optimiser=None, **training):
    settings = TrainingSection(**{"steps": 10, "precision": "fp32", **training})
    return Stepper(model, OptimiserSection(**(optimiser or {})), settings, loss or LossSection())


def batch_of(seed, views=1, count=2):
    rng = np.random.default_rng(seed)
    return pack([random_sample(small_config(), rng, views) for _ in range(count)])


def weights(model):
    return {name: parameter.detach().clone() for name, parameter in model.named_parameters()}


def test_a_packed_batch_gives_each_sample_the_loss_it_has_alone(tmp_path):
    """Samples of a real dataset, of different lengths; the loss of the pack is their mean by valid values."""
    root = write(tmp_path / "d", lengths=(9, 14))
    sources, prompts = opened(config_of(root), tmp_path / "cache")
    model_sizes = {**config_of(root).model.model_dump(), "num_inference_timesteps": 4, "mpg_lambda": 0.1}
    raw = model_config(
        {**model_sizes, "mpg_refinement_iters": 1, "use_training_time_rtc": True, "trained_delay": 6},
        prompts.tokenizer.get_vocab_size(),
    )
    model = BeingH.from_config(raw, seed=0)
    maker = SampleMaker(sources, prompts, config_of(root).data, 0)
    samples = [(0, row) for row in (3, 20, 8, 11, 22)]
    made = maker.make(Pack(number=5, samples=tuple(samples)))
    assert len(set(made.batch["sample_lens"].tolist())) == 2
    draws = {
        "noise": torch.randn(5, H, 200, generator=torch.Generator().manual_seed(0)),
        "time": torch.tensor([0.1, 0.8, 0.3, 0.5, 0.9]), "delays": torch.tensor([0, 3, 6, 0, 1]),
    }  # fmt: skip
    together = model.loss(normalised(made.batch, "cpu"), **draws)["action_loss"]
    together.backward()
    gradients, alone, counts = {n: p.grad.clone() for n, p in model.named_parameters() if p.grad is not None}, [], []
    model.zero_grad()
    parts = np.split(np.arange(5), 5)
    views = 2
    for place in parts:
        one = {key: value[place] for key, value in draws.items()}
        prompt = prompts.pack([prompts.build(maker.task(0, samples[place[0]][1]), views)])
        rows = slice(place[0] * H, (place[0] + 1) * H)
        batch = {
            **prompt, "packed_vit_tokens": made.batch["packed_vit_tokens"][place[0] * views : (place[0] + 1) * views],
            "padded_state": made.batch["padded_state"][place], "padded_action": made.batch["padded_action"][rows],
            "padded_action_mask": made.batch["padded_action_mask"][rows],
        }  # fmt: skip
        loss = model.loss(normalised(batch, "cpu"), **one)["action_loss"]
        counts.append(4 * (H - int(one["delays"])))
        (loss * counts[-1]).backward()
        alone.append(loss.item())
    assert together.item() == pytest.approx(np.average(alone, weights=counts), rel=1e-5)
    for name, parameter in model.named_parameters():
        if name in gradients:
            expected = parameter.grad / sum(counts)
            assert (gradients[name] - expected).norm() <= 1e-5 * max(1e-3, expected.norm()), name


def test_padding_changes_no_loss_and_the_bench_tells_a_ratio(capsys):
    report = bench.run(bench.TrainingBench(tokens=1024, repeats=1))
    assert report["loss_difference"] < 1e-6 and 0 < report["padding"] < 1
    rates = report["samples_per_s"]
    assert report["ratio"] == pytest.approx(rates["packed"] / rates["padded"])
    assert "packed" in capsys.readouterr().out
    with pytest.raises(BeingHError, match="tokens is 3"):
        bench.TrainingBench(tokens=3)


def test_packs_of_one_step_count_as_what_they_have():
    """Two packs are one that holds the samples of both: the loss is the mean over valid values, not over packs."""
    both = [
        PackInputs(batch=batch_of(seed, count=count), draws={"delays": torch.zeros(count)}, seed=seed)
        for seed, count in ((1, 1), (2, 3))
    ]
    valid = [int(one.batch["padded_action_mask"].sum()) for one in both]
    gradients = []
    for packs in (both[:1], both[1:], both):
        stepper = stepper_of(model_of(), LossSection(text_weight=0.0), {"clip": 1e9})
        told = stepper.step(
            packs, lambda found: gradients.append({n: g.clone() for n, g in found.items() if g is not None})
        )
        gradients[-1]["loss"] = torch.tensor(told.action_loss)
    assert valid[0] != valid[1]
    for name, joint in gradients[2].items():
        expected = (gradients[0][name] * valid[0] + gradients[1][name] * valid[1]) / sum(valid)
        torch.testing.assert_close(joint, expected, rtol=1e-4, atol=1e-7)


def test_a_step_depends_on_its_seeds_alone():
    packs = [PackInputs(batch=batch_of(3), seed=7)]
    torch.manual_seed(1)
    first = stepper_of(model_of()).step(packs)
    torch.manual_seed(2)
    assert stepper_of(model_of()).step(packs) == first
    assert stepper_of(model_of()).step([PackInputs(batch=packs[0].batch, seed=8)]) != first


def test_an_empty_pack_counts_as_nothing():
    full = PackInputs(batch=batch_of(3), seed=7)
    alone, beside = stepper_of(model_of()).step([full]), stepper_of(model_of()).step([full, PackInputs(batch=None)])
    assert beside == alone


def test_a_loss_that_is_not_finite_changes_nothing():
    model = model_of()
    before, batch = weights(model), batch_of(3)
    batch["padded_action"][0, np.flatnonzero(batch["padded_action_mask"][0])[0]] = np.inf
    with pytest.raises(BeingHError, match="step 0: action loss.*lower optimiser.learning_rate"):
        stepper_of(model).step([PackInputs(batch=batch)])
    assert all(torch.equal(before[name], p) for name, p in model.named_parameters())


def test_the_schedule_warms_up_and_ends_at_its_minimum():
    settings = OptimiserSection(learning_rate=2.0, min_learning_rate=0.5, warmup_ratio=0.1)
    rates = [learning_rate(step, settings, 100) for step in range(101)]
    assert rates[:10] == pytest.approx([0.2 * (k + 1) for k in range(10)]) and rates[10] == 2.0
    assert (
        rates[55] == pytest.approx(1.25)
        and rates[100] == pytest.approx(0.5)
        and rates == sorted(rates[:10]) + sorted(rates[10:])[::-1]
    )
    constant = OptimiserSection(learning_rate=2.0, schedule="constant", warmup_steps=4)
    assert {learning_rate(step, constant, 100) for step in range(4, 100)} == {2.0}


def test_delays_are_drawn_by_embodiment():
    uac = UacSection(longest={"arm": 3}, distribution="uniform")
    assert [longest_delay(name, 5, uac) for name in ("arm", "hand")] == [3, 5]
    assert (
        longest_delay("arm", 5, UacSection(longest=2)) == 2 and longest_delay("arm", 5, UacSection(enabled=False)) == 0
    )
    longest = [3, 0, 6] * 700
    drawn = draw_delays(longest, uac, torch.Generator().manual_seed(0)).view(700, 3)
    assert not drawn[:, 1].any() and sorted(set(drawn[:, 2].tolist())) == list(range(7))
    assert torch.bincount(drawn[:, 0], minlength=4).float().div(700).sub(0.25).abs().max() < 0.06
    small = draw_delays(longest, UacSection(), torch.Generator().manual_seed(0)).view(700, 3)
    assert (small[:, 2] == 0).float().mean() > 0.5
    other = draw_delays([3, 0, 1] * 700, uac, torch.Generator().manual_seed(0)).view(700, 3)
    assert torch.equal(other[:, 0], drawn[:, 0])


def test_frozen_parts_stay_and_the_rest_learns():
    model = model_of()
    freeze(model, ("vision", "und", "embeddings"), act_layers=1)
    before = weights(model)
    stepper = stepper_of(model, optimiser={"weight_decay": 0.1})
    for seed in range(2):
        stepper.step([PackInputs(batch=batch_of(seed), seed=seed)])
    moved = {name for name, p in model.named_parameters() if not torch.equal(before[name], p)}
    assert {part_of(name) for name in moved} == {"connector", "state", "action_encoder", "action_decoder", "mpg", "act"}
    assert not any(name.startswith("language_model.model.layers.0.") for name in moved)
    assert any(name.startswith("language_model.model.layers.1.") for name in moved)


def test_nothing_left_to_train_and_too_many_layers_are_told():
    with pytest.raises(BeingHError, match="99 act layers"):
        freeze(model_of(), (), act_layers=99)
    model = model_of()
    for parameter in model.parameters():
        parameter.requires_grad_(False)
    with pytest.raises(BeingHError, match="every weight is frozen"):
        freeze(model, ())


def test_averaged_weights_lag_behind_and_go_on():
    model = model_of()
    stepper, start = stepper_of(model, ema_decay=0.5), weights(model)
    stepper.step([PackInputs(batch=batch_of(1), seed=1)])
    name = "action_encoder.W2.weight"
    moved = dict(model.named_parameters())[name].detach()
    expected = start[name] * 0.1 + moved * 0.9  # (1 + 0) / (10 + 0) of the start is kept
    with stepper.averaged_weights():
        torch.testing.assert_close(dict(model.named_parameters())[name].detach(), expected)
    assert torch.equal(dict(model.named_parameters())[name], moved)


@pytest.mark.parametrize("ema_decay", (0.0, 0.5))
def test_a_step_goes_on_where_another_stood(ema_decay):
    stepper = stepper_of(model_of(), ema_decay=ema_decay)
    stepper.step([PackInputs(batch=batch_of(1), seed=1)])
    other = stepper_of(model_of(), ema_decay=ema_decay)
    other.go_on(stepper.state())
    packs = [PackInputs(batch=batch_of(2), seed=2)]
    assert other.step(packs) == stepper.step(packs) and other.step_number == 2
    for name, parameter in stepper.trained.items():
        assert torch.equal(other.trained[name], parameter), name
    assert all(torch.equal(stepper.average[key], value) for key, value in other.average.items())
    frozen = model_of()
    freeze(frozen, ("vision",))
    with pytest.raises(BeingHError, match="trained other weights"):
        stepper_of(frozen, ema_decay=ema_decay).go_on(stepper.state())


def test_computing_layers_anew_changes_no_gradient():
    found = []
    for again in (False, True):
        model = model_of()
        if again:
            recompute(model)
        stepper_of(model).step(
            [PackInputs(batch=batch_of(1), seed=1)],
            lambda g: found.append({n: x.clone() for n, x in g.items() if x is not None}),
        )
    assert found[0].keys() == found[1].keys()
    for name, gradient in found[0].items():
        torch.testing.assert_close(found[1][name], gradient, rtol=1e-6, atol=1e-9)
