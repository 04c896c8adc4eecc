"""Training from scratch: what is sampled, where gradients go, what the loss looks at, that it learns."""

import subprocess
import sys

import numpy as np
import pytest
import torch
from model_reference import pack, random_sample, small_config

from beingh_core.errors import BeingHError
from beingh_core.model import BeingH, flow

pytestmark = pytest.mark.usefixtures("one_thread")


def make_batch(raw, count=3, views=1):
    rng = np.random.default_rng(0)
    return pack([random_sample(raw, rng, views) for _ in range(count)])


def test_flow_times_have_the_configured_distribution():
    times = flow.sample_times(200_000, 1.5, 1.0, 0.999, torch.Generator().manual_seed(0))
    # t = 1 - b / s with b ~ Beta(1.5, 1): P(b < x) = x^1.5.
    beta = (1 - times) * 0.999
    for x in (0.1, 0.4, 0.8):
        assert (beta < x).float().mean().item() == pytest.approx(x**1.5, abs=0.01)


@pytest.mark.parametrize("exponential", (True, False))
def test_delays_cover_their_range_and_favour_small_ones_when_asked(exponential):
    delays = flow.sample_delays(60_000, 4, exponential, torch.Generator().manual_seed(0))
    share = torch.bincount(delays, minlength=5).float() / len(delays)
    assert len(share) == 5 and (share > 0).all()
    if exponential:
        ratio = share[:-1] / share[1:]
        assert (ratio > 2).all()
    else:
        torch.testing.assert_close(share, torch.full((5,), 0.2), atol=0.01, rtol=0)


def test_locked_steps_carry_no_loss_and_enter_clean():
    raw = small_config()
    model = BeingH.from_config(raw)
    batch = make_batch(raw, 1)
    noise, time, delays = torch.zeros(1, 16, 200), torch.tensor([0.4]), torch.tensor([3])
    other = noise.clone()
    other[:, :3] = 7.0
    first, second = (
        model.loss(batch, noise=n, time=time, delays=delays, mpg_lambda=0)["action_loss"] for n in (noise, other)
    )
    assert torch.equal(first, second)
    changed = {**batch, "padded_action": batch["padded_action"].copy()}
    changed["padded_action"][0] += 1.0
    third = model.loss(changed, noise=noise, time=time, delays=delays, mpg_lambda=0)["action_loss"]
    assert not torch.equal(first, third)


def test_delays_are_sampled_with_the_times_only():
    raw = small_config(simulated_delay=16, rtc_delay_exp_weight=False)
    model = BeingH.from_config(raw)
    batch = make_batch(raw)
    noise = torch.randn(3, 16, 200, generator=torch.Generator().manual_seed(0))
    given = dict(noise=noise, time=torch.tensor([0.2, 0.4, 0.6]), mpg_lambda=0)
    plain = model.loss(batch, **given)["action_loss"]
    assert torch.equal(plain, model.loss(batch, delays=torch.zeros(3, dtype=torch.long), **given)["action_loss"])
    losses = {
        round(model.loss(batch, generator=torch.Generator().manual_seed(s))["action_loss"].item(), 6) for s in (1, 2, 1)
    }
    assert len(losses) == 2


def test_every_parameter_learns_except_the_gate():
    raw = small_config()
    model = BeingH.from_config(raw)
    losses = model.loss(make_batch(raw, views=2))
    (losses["action_loss"] + losses["und_loss"]).backward()
    without = {n for n, p in model.named_parameters() if p.grad is None or not p.grad.abs().sum() > 0}
    assert without == {"mpg.action_proj.weight", "mpg.action_proj.bias"}


def test_gate_learns_without_stop_gradient():
    raw = small_config(mpg_use_stop_gradient=False)
    model = BeingH.from_config(raw)
    model.loss(make_batch(raw))["action_loss"].backward()
    assert model.mpg.action_proj.weight.grad.abs().sum() > 0


def test_text_only_batch():
    raw = small_config()
    model = BeingH.from_config(raw)
    ids = torch.arange(12)
    losses = model.loss({
        "packed_text_ids": ids, "packed_text_indexes": ids, "packed_position_ids": ids, "sequence_length": 12,
        "ce_loss_indexes": torch.tensor([3, 4]), "packed_label_ids": torch.tensor([5, 6]),
    })  # fmt: skip
    losses["und_loss"].backward()
    assert losses["action_loss"].item() == 0.0 and losses["und_loss"].item() > 0


def test_robot_and_text_samples_share_a_pack():
    raw = small_config()
    model = BeingH.from_config(raw)
    rng = np.random.default_rng(3)
    robots = [random_sample(raw, rng, 2) for _ in range(2)]
    noise, time = torch.randn(2, 16, 200, generator=torch.Generator().manual_seed(0)), torch.tensor([0.3, 0.8])
    batch = pack(robots)
    # A question about the first robot's pictures: its own text after the same beginning.
    head, images = 7, int((robots[0]["kinds"] == "v").sum())
    question = np.concatenate((robots[0]["ids"][:head], rng.integers(0, 250, 10)))
    places = np.concatenate((np.arange(head), np.arange(head + images, head + images + 10)))
    question_alone = {
        "packed_text_ids": question,
        "packed_text_indexes": places,
        "packed_vit_tokens": robots[0]["images"],
        "packed_vit_token_indexes": np.arange(head, head + images),
        "packed_position_ids": np.arange(images + head + 10),
        "sequence_length": images + head + 10,
        "ce_loss_indexes": np.array([places[-3], places[-2]]),
        "packed_label_ids": np.array([8, 9]),
    }
    words = model.loss(question_alone)["und_loss"]
    offset, length = batch["sequence_length"], question_alone["sequence_length"]
    mixed = {
        **batch,
        "packed_text_ids": np.concatenate((batch["packed_text_ids"], question)),
        "packed_text_indexes": np.concatenate((batch["packed_text_indexes"], places + offset)),
        "packed_vit_view_index": np.array([0, 1, 2, 3, 0, 1]),
        "packed_vit_token_indexes": np.concatenate(
            (batch["packed_vit_token_indexes"], question_alone["packed_vit_token_indexes"] + offset)
        ),
        "packed_position_ids": np.concatenate((batch["packed_position_ids"], np.arange(length))),
        "sample_lens": np.append(batch["sample_lens"][:2], length),
        "sequence_length": offset + length,
        "ce_loss_indexes": question_alone["ce_loss_indexes"] + offset,
        "packed_label_ids": question_alone["packed_label_ids"],
    }
    together = model.loss(mixed, noise=noise, time=time, mpg_lambda=0)
    plain = model.loss(batch, noise=noise, time=time, mpg_lambda=0)["action_loss"]
    torch.testing.assert_close(together["action_loss"], plain, atol=1e-6, rtol=1e-5)
    torch.testing.assert_close(together["und_loss"], words, atol=1e-6, rtol=1e-5)


def test_random_weights_depend_on_the_seed_alone():
    raw = small_config()
    torch.manual_seed(11)
    first = BeingH.from_config(raw, seed=4).state_dict()
    state = torch.random.get_rng_state()
    second = BeingH.from_config(raw, seed=4).state_dict()
    assert all(torch.equal(first[n], second[n]) for n in first)
    other = BeingH.from_config(raw, seed=5).state_dict()
    assert not torch.equal(first["action_encoder.W1.weight"], other["action_encoder.W1.weight"])
    assert torch.equal(state, torch.random.get_rng_state())


@pytest.mark.parametrize("autocast", (False, True))
def test_a_small_model_learns_to_overfit(autocast):
    raw = small_config(use_mpg=False, vit_config__initializer_factor=1.0)
    model = BeingH.from_config(raw).train()
    batch = make_batch(raw, 2)
    noise, time = torch.randn(2, 16, 200, generator=torch.Generator().manual_seed(0)), torch.tensor([0.1, 0.6])
    optimiser = torch.optim.AdamW(model.parameters(), 3e-3)
    history = []
    for _ in range(60):
        with torch.autocast("cpu", torch.bfloat16, enabled=autocast):
            losses = model.loss(batch, noise=noise, time=time)
        (losses["action_loss"] + losses["und_loss"]).backward()
        optimiser.step()
        optimiser.zero_grad()
        history.append({k: losses[k].item() for k in ("action_loss", "und_loss")})
    assert history[-1]["action_loss"] < 0.2 * history[0]["action_loss"]
    assert history[-1]["und_loss"] < 0.2 * history[0]["und_loss"]


def test_bfloat16_autocast_stays_close_to_float32():
    raw = small_config()
    model = BeingH.from_config(raw)
    batch, found = make_batch(raw, 4), []
    for autocast in (False, True):
        with torch.autocast("cpu", torch.bfloat16, enabled=autocast):
            found.append(model.loss(batch, generator=torch.Generator().manual_seed(0)))
    for key in ("action_loss", "und_loss"):
        assert found[1][key].item() == pytest.approx(found[0][key].item(), rel=0.02)


@pytest.mark.parametrize("delay, prev", ((3, False), (16, True), (-1, True)))
def test_impossible_locks_are_refused(delay, prev):
    raw = small_config()
    model = BeingH.from_config(raw)
    batch = make_batch(raw, 1)
    with pytest.raises(BeingHError, match="inference_delay"):
        model.get_action(batch, prev_chunk=np.zeros((1, 16, 200)) if prev else None, inference_delay=delay)


def test_import_is_light():
    code = "import sys, beingh_core.model; print(any(m in sys.modules for m in ('transformers', 'rclpy', 'scipy')))"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True).stdout.strip() == "False"
