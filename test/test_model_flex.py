"""Flex attention gives the losses and gradients of dense attention on the same pack, and is taken where it can train."""

import numpy as np
import pytest
import torch
from model_reference import pack, random_sample, small_config

from beingh_core.errors import BeingHError
from beingh_core.model import BeingH
from beingh_core.model.flex import FlexPack, uses_flex
from beingh_core.train.parts import recompute

LOSSES = ("action_loss", "und_loss")
CUDA, CPU = torch.device("cuda"), torch.device("cpu")
pytestmark = pytest.mark.filterwarnings("ignore:flex_attention called without torch.compile")


@pytest.fixture
def trains_on_cpu(monkeypatch):
    """PyTorch has the mathematics of a backward pass for a CPU, and refuses it there since it is no kernel."""
    monkeypatch.setattr("torch.nn.attention.flex_attention._validate_device", lambda *_: None)


def batch_of(seed, same=False):
    """Samples of several lengths; `same` lets two of them begin alike, so that they share tokens."""
    rng, raw = np.random.default_rng(seed), small_config()
    samples = [
        random_sample(raw, rng, views, texts)
        for views, texts in ((1, (7, 3, 9, 2)), (2, (5, 3, 30, 2)), (1, (9, 1, 2, 1)))
    ]
    if same:
        samples.append(random_sample(raw, rng, 1, same_head=samples[0]))
    return pack(samples)


def losses_and_gradients(model, batch, **draws):
    model.zero_grad()
    told = model.loss(batch, generator=torch.Generator().manual_seed(5), text_depths=(1,), **draws)
    losses = {name: told[name] for name in LOSSES}
    sum(losses.values()).backward()
    gradients = {name: p.grad.clone() for name, p in model.named_parameters() if p.grad is not None}
    return {name: loss.item() for name, loss in losses.items()}, gradients


@pytest.mark.parametrize("same", (False, True))
@pytest.mark.parametrize("again", (False, True))
def test_flex_is_dense(trains_on_cpu, same, again):
    model, batch = BeingH.from_config(small_config(), seed=1).train(), batch_of(2, same)
    if again:
        recompute(model)
    expected, gradients = losses_and_gradients(model, batch)
    model.flex = True
    losses, found = losses_and_gradients(model, batch)
    assert losses == pytest.approx(expected, abs=1e-5) and found.keys() == gradients.keys()
    for name, gradient in gradients.items():
        torch.testing.assert_close(found[name], gradient, rtol=1e-5, atol=1e-5, msg=name)


def test_other_samples_of_a_pack_change_nothing(trains_on_cpu):
    """Another sample's words, pictures and actions change nothing."""
    model = BeingH.from_config(small_config(), seed=1)
    model.flex = True
    rng, raw = np.random.default_rng(0), small_config()
    first, one, other = (random_sample(raw, rng, 1) for _ in range(3))
    draws = {
        "noise": torch.randn(2, raw["action_chunk_length"], 200),
        "time": torch.tensor([0.3, 0.6]),
        "mpg_lambda": 0,
    }
    states = []
    for second in (one, other):
        batch = pack([second, first])
        batch["padded_action_mask"][: raw["action_chunk_length"]] = False  # only the last sample's actions count
        batch["ce_loss_indexes"], batch["packed_label_ids"] = (
            batch["ce_loss_indexes"][2:],
            batch["packed_label_ids"][2:],
        )
        states.append(losses_and_gradients(model, batch, **draws)[0])
    assert states[0] == pytest.approx(states[1], abs=1e-6)


def test_the_mask_is_causal_within_samples():
    lens = [3, 200, 1, 90]
    numbers = torch.arange(sum(lens))
    mask = FlexPack.build(lens, numbers, numbers).mask
    sample = np.repeat(np.arange(4), lens)
    expected = (sample[:, None] == sample) & (numbers.numpy()[:, None] >= numbers.numpy())
    found = mask.mask_mod(torch.tensor(0), torch.tensor(0), numbers[:, None], numbers[None])
    assert torch.equal(found, torch.from_numpy(expected))
    assert mask.sparsity() > 0  # whole blocks are left out


def test_bfloat16_autocast_attends_in_one_type(trains_on_cpu):
    model, batch = BeingH.from_config(small_config(), seed=1).train(), batch_of(2)
    expected, _ = losses_and_gradients(model, batch)
    model.flex = True
    with torch.autocast("cpu", torch.bfloat16):
        losses, _ = losses_and_gradients(model, batch)
    assert losses["action_loss"] == pytest.approx(expected["action_loss"], rel=0.05)


def test_it_is_chosen_by_device():
    assert uses_flex("auto", CUDA, 128) and not uses_flex("auto", CPU, 128) and not uses_flex("auto", CUDA, 8)
    assert uses_flex("flex", CUDA, 128) and not uses_flex("dense", CUDA, 128)
    with pytest.raises(BeingHError, match="cannot train with a CPU.*use auto"):
        uses_flex("flex", CPU, 128)
    with pytest.raises(BeingHError, match="heads of 8 numbers, its kernel needs 16"):
        uses_flex("flex", CUDA, 8)


@pytest.mark.slow
@torch.no_grad()
def test_the_compiled_kernel_is_dense(monkeypatch):
    """On a CPU PyTorch compiles the forward pass only."""
    from torch.nn.attention.flex_attention import flex_attention

    model, batch = BeingH.from_config(small_config(), seed=1).eval(), batch_of(2)
    draws = {"generator": torch.Generator().manual_seed(5)}
    expected = model.loss(batch, **draws)
    model.flex = True
    compiled = torch.compile(flex_attention)
    monkeypatch.setattr("beingh_core.model.flex._flex_attention", lambda _: compiled)
    found = model.loss(batch, generator=torch.Generator().manual_seed(5))
    for name in LOSSES:
        assert found[name].item() == pytest.approx(expected[name].item(), abs=1e-5)
