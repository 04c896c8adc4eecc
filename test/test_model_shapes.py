"""Every shape a configuration can describe, against the sample-by-sample float64 model of model_reference.py."""

import copy

import numpy as np
import pytest
import torch
from model_reference import WIDTH, Reference, pack, random_sample, small_config

from beingh_core.errors import BeingHError
from beingh_core.model import BeingH

CONFIGS = {
    "golden": {},
    "one_kv_head_odd_dims": dict(
        llm_config__num_attention_heads=3, llm_config__num_key_value_heads=1, llm_config__head_dim=10,
        llm_config__num_hidden_layers=2, action_chunk_length=5, num_inference_timesteps=3,
        vit_config__image_size=32, vit_config__patch_size=8, vit_config__num_attention_heads=3,
    ),
    "no_gqa_wide_act": dict(
        llm_config__num_attention_heads=2, llm_config__num_key_value_heads=2, llm_config__head_dim=24,
        llm_config__hidden_size=40, llm_config__expert_config__hidden_size=56, llm_config__num_hidden_layers=1,
        action_chunk_length=9, num_inference_timesteps=7, vit_config__qk_normalization=True, vit_config__qkv_bias=False,
        vit_config__norm_type="rms_norm", llm_config__rope_theta=10000,
    ),
    "tied_biased": dict(
        llm_config__num_attention_heads=6, llm_config__num_key_value_heads=2, llm_config__head_dim=8,
        llm_config__tie_word_embeddings=True, llm_config__attention_bias=True, num_inference_timesteps=1,
        action_chunk_length=3, mpg_refinement_iters=2, mpg_num_projections=5, mpg_gate_temperature=0.4,
        vit_config__num_hidden_layers=3, select_layer=-2, vit_config__image_size=48, vit_config__patch_size=12,
    ),
    "experts": dict(
        mof={"experts": 5, "top_k": 2, "shared_layers": 1}, llm_config__num_hidden_layers=3, action_chunk_length=6,
    ),
}  # fmt: skip


pytestmark = pytest.mark.usefixtures("one_thread")


@pytest.fixture(params=CONFIGS, scope="module")
def setting(request):
    raw = small_config(**CONFIGS[request.param])
    model = BeingH.from_config(raw, seed=1)
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if parameter.ndim == 1:
                parameter += 0.1 * torch.randn(parameter.shape, generator=torch.Generator().manual_seed(len(name)))
    return raw, model, Reference(raw, model.state_dict())


def draw(*shape, seed=0):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


@pytest.mark.parametrize("views", (1, 3))
@pytest.mark.parametrize("delay", (0, 2))
def test_cached_inference_equals_full_sequence(setting, views, delay):
    raw, model, reference = setting
    sample = random_sample(raw, np.random.default_rng(views), views)
    passes, chunk = raw["mpg_refinement_iters"] + 1, raw["action_chunk_length"]
    noise, prev = draw(passes, 1, chunk, WIDTH), draw(1, chunk, WIDTH, seed=1)
    calls = raw["mpg_refinement_iters"] * raw["num_inference_timesteps"]
    directions = draw(calls, raw["mpg_num_projections"], raw["llm_config"]["hidden_size"], seed=2)
    found = model.get_action(
        pack([sample]), noise=noise, projections=directions, prev_chunk=prev if delay else None, inference_delay=delay
    )
    expected = reference.act(sample, noise[:, 0], directions, prev[0], delay)
    assert found.shape == (chunk, WIDTH)
    torch.testing.assert_close(found.double(), expected, atol=2e-5, rtol=2e-5)


@pytest.mark.parametrize("kind", ("equal", "ragged", "shared"))
@pytest.mark.parametrize("gated", (False, True))
def test_packed_loss_equals_sample_by_sample(setting, kind, gated):
    raw, model, reference = setting
    rng = np.random.default_rng(5)
    samples = [random_sample(raw, rng, 1)]
    for i in range(1, 5):
        texts = (7, 3, 9, 2) if kind == "equal" else (7, 3, 4 + 3 * (i % 3), 2)
        samples.append(random_sample(raw, rng, 1, texts, samples[i // 2] if kind == "shared" else None))
    batch = pack(samples)
    if kind == "shared":
        views = {id(s["images"]): i for i, s in enumerate(reversed(samples))}
        batch["packed_vit_view_index"] = np.array([4 - views[id(s["images"])] for s in samples])
    noise, time = draw(5, raw["action_chunk_length"], WIDTH), torch.tensor([0.0, 0.251, 0.503, 0.757, 0.999])
    delays = torch.tensor([0, 1, 2, 0, 1])
    directions = draw(raw["mpg_num_projections"], raw["llm_config"]["hidden_size"]) if gated else None
    found = model.loss(
        batch, noise=noise, time=time, delays=delays, projections=directions, mpg_lambda=None if gated else 0.0
    )
    action_loss, und_loss = reference.losses(samples, noise, time, delays, directions)
    assert found["action_loss"].item() == pytest.approx(action_loss.item(), rel=2e-5)
    assert found["und_loss"].item() == pytest.approx(und_loss.item(), rel=2e-5)


def test_sharing_leaves_gradients_unchanged(setting, monkeypatch):
    raw, model, _ = setting
    rng = np.random.default_rng(7)
    samples = [random_sample(raw, rng, 1)]
    for i in range(5):
        samples.append(random_sample(raw, rng, 1, (7, 3, 3 + i % 3, 2), samples[0]))
    batch = pack(samples)
    noise = draw(6, raw["action_chunk_length"], WIDTH)

    def gradients(batch):
        model.zero_grad()
        time, delays = torch.linspace(0, 0.9, 6), torch.arange(6) % 3
        losses = model.loss(batch, noise=noise, time=time, delays=delays, mpg_lambda=0.0)
        (losses["action_loss"] + losses["und_loss"]).backward()
        return {name: p.grad.clone() for name, p in model.named_parameters() if p.grad is not None}

    apart = gradients(batch)
    one_image = {"packed_vit_tokens": samples[0]["images"], "packed_vit_view_index": np.zeros(6, int)}
    together = gradients({**batch, **one_image})
    assert apart.keys() == together.keys()
    for name, gradient in apart.items():
        torch.testing.assert_close(together[name], gradient, atol=2e-6, rtol=2e-4, msg=name)


def test_inactive_slots_follow_their_exact_path(setting):
    raw, model, _ = setting
    sample = pack([random_sample(raw, np.random.default_rng(0), 1)])
    active = np.arange(WIDTH) < 7
    actions = model.get_action(sample, active_slots=active, generator=torch.Generator().manual_seed(0))
    assert torch.count_nonzero(actions[:, 7:]) == 0
    assert torch.count_nonzero(actions[:, :7]) == actions[:, :7].numel()


def test_bfloat16_inference_is_close(setting):
    raw, model, _ = setting
    sample = pack([random_sample(raw, np.random.default_rng(0), 2)])
    noise = draw(1, 1, raw["action_chunk_length"], WIDTH)
    exact = model.get_action(sample, noise=noise, refinement_iters=0)
    rough = copy.deepcopy(model).to(torch.bfloat16).get_action(sample, noise=noise, refinement_iters=0)
    assert rough.dtype == torch.float32
    assert (rough - exact).abs().mean() < 0.1 * exact.abs().mean()


@pytest.mark.parametrize(
    "change, word",
    (
        ({"packed_text_indexes": 3}, "sequence position"),
        ({"packed_action_indexes": 1}, "padded_action"),
        ({"sample_lens": 1}, "sample_lens"),
        ({"padded_state": 1}, "padded_state"),
        ({"packed_label_ids": 1}, "packed_label_ids"),
        ({"packed_vit_token_indexes": 1}, "views"),
    ),
)
def test_impossible_batches_are_refused(change, word):
    raw = small_config()
    model = BeingH.from_config(raw)
    batch = pack([random_sample(raw, np.random.default_rng(0), 1), random_sample(raw, np.random.default_rng(1), 1)])
    for key, amount in change.items():
        batch[key] = batch[key][:-1] if key != "sample_lens" else batch[key] + amount
        if key == "packed_text_indexes":
            batch["packed_text_ids"] = batch["packed_text_ids"][:-1]
    with pytest.raises(BeingHError, match=word):
        model.loss(batch)


@pytest.mark.parametrize("shape", ((3, 32, 64), (4, 32, 63), (32, 64)))
def test_wrong_projections_are_refused(shape):
    raw = small_config()
    model = BeingH.from_config(raw)
    with pytest.raises(BeingHError, match="projections"):
        model.get_action(pack([random_sample(raw, np.random.default_rng(0), 1)]), projections=torch.ones(shape))
