"""What the released model does with delays, padding, packs without actions, missing keys and other architectures.

test/data/released_packs.npz has packs and what the released model (594219e, float32, CPU, set_a's weights) computes of them:
`vlm`, text with a picture and no robot, token 0 (padding) among the words; `states`, two robots and two texts with a state.
"""

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from model_reference import WIDTH, Reference, pack, random_sample, small_config
from safetensors.torch import load_file, save_file

from beingh_core.errors import BeingHError
from beingh_core.model import BeingH, BeingHConfig
from beingh_core.model.action import time_features

SET_A = Path(__file__).parent / "data" / "set_a"
PAD = 0
ACTION_WEIGHTS = ("action_encoder.", "action_decoder.", "mpg.", "action_to_vlm_proj.", "vlm_to_action_proj.")


pytestmark = pytest.mark.usefixtures("one_thread")


@pytest.fixture
def model():
    return BeingH.from_config(small_config(), seed=1)


def asked(rng, ids, state=True):
    """A sample without actions: text, perhaps a state, text; labels at its last two positions."""
    count = len(ids) + state
    text = np.array([i for i in range(count) if not (state and i == 4)])
    sample = {
        "packed_text_ids": np.asarray(ids),
        "packed_text_indexes": text,
        "packed_position_ids": np.arange(count),
        "sequence_length": count,
        "ce_loss_indexes": np.array([count - 3, count - 2]),
        "packed_label_ids": np.array([8, 9]),
    }
    if state:
        sample |= {
            "packed_state_indexes": np.array([4]),
            "padded_state": rng.standard_normal((1, WIDTH)).astype(np.float32),
        }
    return sample


def joined(batch, sample):
    """A packed batch with one more sample behind."""
    offset, merged = batch["sequence_length"], dict(batch)
    for key, value in sample.items():
        if key == "sequence_length":
            merged[key] = offset + value
        else:
            shifted = value + offset if key.endswith("indexes") else value
            merged[key] = np.concatenate((batch[key], shifted)) if key in batch else shifted
    lens = [n for n in batch["sample_lens"] if n != 11]  # `pack` ends with an entry for padding
    merged["sample_lens"] = np.append(lens, sample["sequence_length"])
    return merged


# --- delays -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("keys", "longest"),
    [
        ({"simulated_delay": 4}, 3),
        ({"simulated_delay": 1}, 0),
        ({"simulated_delay": 0}, 0),
        ({"simulated_delay": None}, 0),
        ({"simulated_delay": 100}, 16),
        ({"simulated_delay": 7, "trained_delay": 6}, 6),
        ({"simulated_delay": 6, "trained_delay": 6}, 6),
        ({"simulated_delay": 6, "trained_delay": 0}, 0),
        ({"simulated_delay": 4, "use_training_time_rtc": False}, 0),
        ({"simulated_delay": 4, "trained_delay": 4, "use_training_time_rtc": False}, 0),
    ],
)
def test_the_longest_prefix_that_training_drew(keys, longest):
    assert BeingHConfig.from_dict(small_config(**keys)).trained_delay == longest


def test_a_simulated_delay_of_one_step_locks_nothing():
    raw = small_config(simulated_delay=1)
    batch = pack([random_sample(raw, np.random.default_rng(0), 1) for _ in range(3)])
    found = [
        BeingH.from_config(small_config(**keys)).loss(batch, generator=torch.Generator().manual_seed(3))["action_loss"]
        for keys in ({"simulated_delay": 1}, {"use_training_time_rtc": False})
    ]
    assert torch.equal(*found)


def test_drawn_delays_reach_one_step_less_than_the_released_key():
    raw = small_config(simulated_delay=3, rtc_delay_exp_weight=False, use_mpg=False)
    model, chunk = BeingH.from_config(raw), raw["action_chunk_length"]
    batch = pack([random_sample(raw, np.random.default_rng(0), 1)])
    batch["padded_action_mask"] = np.zeros((chunk, WIDTH), bool)
    batch["padded_action_mask"][:3] = True
    lost = 0
    with torch.no_grad():
        for seed in range(40):
            lost += model.loss(batch, generator=torch.Generator().manual_seed(seed))["action_loss"].item() == 0.0
    assert lost == 0, "a prefix of 3 steps leaves no valid step; simulated_delay 3 draws 0, 1 and 2"


def test_the_shipped_checkpoint_says_what_it_was_trained_for():
    raw = json.loads((SET_A.parents[2] / "checkpoints" / "fr3_cubes" / "config.json").read_text())
    assert BeingHConfig.from_dict(raw).trained_delay == 6 == raw["simulated_delay"] - 1


# --- arithmetic -------------------------------------------------------------------------------------------------------


def test_time_features_divide_before_they_multiply():
    tau, half = torch.arange(0, 1001, 7), 96
    released = torch.exp(-torch.arange(half, dtype=torch.float) * (torch.log(torch.tensor(10000.0)) / half))
    angles = tau.float()[:, None] * released
    found = time_features(tau, 2 * half)
    assert torch.equal(found, torch.cat((angles.sin(), angles.cos()), -1))
    exact = tau.double()[:, None] * 10000.0 ** (-torch.arange(half, dtype=torch.float64) / half)
    np.testing.assert_allclose(found, torch.cat((exact.sin(), exact.cos()), -1), atol=2e-4)


def test_the_padding_token_gets_no_gradient():
    rng = np.random.default_rng(0)
    sample = asked(rng, [PAD, 5, PAD, 7, 9, 11, PAD, 3])
    rows = {}
    for pad in (PAD, None):
        model = BeingH.from_config(small_config(llm_config__pad_token_id=pad), seed=1)
        model.loss(sample)["und_loss"].backward()
        rows[pad] = model.language_model.model.embed_tokens.weight.grad
    assert torch.count_nonzero(rows[PAD][PAD]) == 0 and torch.count_nonzero(rows[PAD][5]) > 0
    assert torch.count_nonzero(rows[None][PAD]) > 0


def test_a_padding_token_outside_of_the_vocabulary_is_refused():
    with pytest.raises(BeingHError, match="pad_token_id 512"):
        BeingHConfig.from_dict(small_config(llm_config__pad_token_id=512))


def test_the_gate_sees_every_state_row_of_the_pack():
    raw, rng = small_config(mpg_lambda=3.0), np.random.default_rng(0)
    model = BeingH.from_config(raw, seed=1)
    model.mpg.obs_proj.bias.data.normal_(generator=torch.Generator().manual_seed(2))  # what a state row projects to
    samples = [random_sample(raw, rng, 1) for _ in range(2)]
    batch = joined(joined(pack(samples), asked(rng, range(20, 32))), asked(rng, range(40, 49)))
    shape = (2, raw["action_chunk_length"], WIDTH)
    noise = torch.randn(shape, generator=torch.Generator().manual_seed(0))
    time, delays = torch.tensor([0.251, 0.757]), torch.tensor([0, 2])
    directions = model.directions(1, torch.Generator().manual_seed(1))[0]

    class FourRows(Reference):
        def enhance(self, embeddings, states, *rest):
            return super().enhance(embeddings, 4, *rest)

    weights = dict(model.named_parameters())
    found = model.loss(batch, noise=noise, time=time, delays=delays, projections=directions)["action_loss"].item()
    expected = FourRows(raw, weights).losses(samples, noise, time, delays, directions)[0].item()
    two_rows = Reference(raw, weights).losses(samples, noise, time, delays, directions)[0].item()
    assert found == pytest.approx(expected, rel=2e-5) and abs(two_rows - expected) > 5e-4 * expected


@pytest.fixture(scope="module")
def released():
    with np.load(SET_A.parent / "released_packs.npz") as stored:
        return dict(stored)


def of_case(stored, prefix):
    return {key.removeprefix(prefix): value for key, value in stored.items() if key.startswith(prefix)}


def compare_gradients(model, expected):
    """Norms of the gradients that there are, and which there are."""
    found = {name: p.grad.norm().item() for name, p in model.named_parameters() if p.grad is not None}
    assert found.keys() == expected.keys()
    for name, norm in expected.items():
        assert found[name] == pytest.approx(norm.item(), rel=2e-5, abs=1e-7), name


@pytest.mark.parametrize("case", ("gated", "strong", "strong_delayed"))
def test_more_state_rows_than_chunks_give_the_released_numbers(released, case):
    pack, model = of_case(released, "states."), BeingH.from_pretrained(SET_A)
    expected = of_case(pack, f"out.{case}.")
    losses = model.loss(
        pack,
        noise=pack["noise"],
        time=pack["time"],
        delays=pack["delays"] if case.endswith("delayed") else None,
        projections=pack["projections"],
        mpg_lambda=float(expected["lambda"]),
    )
    (losses["action_loss"] + losses["und_loss"]).backward()
    told = {name: loss for name, loss in losses.items() if loss.ndim == 0}
    assert {"action_loss", "und_loss"} <= told.keys()
    for name, loss in told.items():
        assert loss.item() == pytest.approx(expected[name].item(), rel=1e-6), name
    compare_gradients(model, of_case(expected, "grad_norm."))


def test_a_text_pack_gives_the_released_numbers(released):
    pack, model = of_case(released, "vlm."), BeingH.from_pretrained(SET_A)
    losses = model.loss(pack)
    (losses["action_loss"] + losses["und_loss"]).backward()
    assert losses["action_loss"].item() == 0.0
    assert losses["und_loss"].item() == pytest.approx(pack["out.und_loss"].item(), rel=1e-6)
    compare_gradients(model, of_case(pack, "out.grad_norm."))
    without = sorted(name for name, p in model.named_parameters() if p.grad is None)
    assert without == str(pack["out.without_gradient"]).split()
    row = model.language_model.model.embed_tokens.weight.grad[PAD]
    assert row.norm().item() == pack["out.grad_norm_of_row_0"].item() == 0.0


@pytest.mark.parametrize("state", (False, True))
def test_a_pack_without_actions_leaves_the_action_weights_without_gradient(model, state):
    losses = model.loss(asked(np.random.default_rng(0), range(10), state))
    assert losses["action_loss"].item() == 0.0 and not losses["action_loss"].requires_grad
    (losses["action_loss"] + losses["und_loss"]).backward()
    without = {name for name, p in model.named_parameters() if p.grad is None}
    assert {name for name, _ in model.named_parameters() if name.startswith(ACTION_WEIGHTS)} <= without
    assert (model.proprio_encoder_robot.layer1.weight.grad is None) == (not state)
    last = f"language_model.model.layers.{len(model.language_model.model.layers) - 1}."
    assert {"language_model.model.norm_mot_gen.weight", f"{last}self_attn.o_proj_mot_gen.weight"} <= without
    assert "language_model.model.embed_tokens.weight" not in without


def test_without_strength_the_first_pass_is_the_answer(model):
    sample = pack([random_sample(model.raw_config, np.random.default_rng(0), 1)])
    plain, idle = (
        model.get_action(sample, generator=torch.Generator().manual_seed(0), **options)
        for options in ({"refinement_iters": 0}, {"mpg_lambda": 0.0})
    )
    assert torch.equal(plain, idle)


# --- config.json ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("key", "attribute", "value"),
    [
        ("mpg_gate_temperature", "mpg_temperature", 2.0),
        ("mpg_lambda", "mpg_lambda", 0.0),
        ("mpg_num_projections", "mpg_num_projections", 32),
        ("mpg_refinement_iters", "mpg_refinement_iters", 1),
        ("mpg_use_stop_gradient", "mpg_stop_gradient", True),
        ("use_mpg", "use_mpg", False),
        ("rtc_delay_exp_weight", "delay_exponential", True),
        ("use_training_time_rtc", "train_with_delay", False),
        ("simulated_delay", "simulated_delay", 0),
        ("action_chunk_length", "chunk_length", 16),
        ("num_inference_timesteps", "num_inference_steps", 4),
        ("select_layer", "select_layer", -1),
        ("downsample_ratio", "downsample_ratio", 0.5),
    ],
)
def test_a_missing_key_has_the_released_default(key, attribute, value):
    raw = small_config()
    del raw[key]
    assert getattr(BeingHConfig.from_dict(raw), attribute) == value


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"use_flow_matching": False}, "use_flow_matching.*False is not supported.*would need that head"),
        ({"use_flow_matching": None}, "use_flow_matching.*False is not supported.*missing key"),
        ({"attn_mode": "full"}, "attn_mode.*'full' is not supported.*would need that mask"),
        ({"attn_mode": "noise"}, "attn_mode.*'noise' is not supported.*would need that mask"),
        ({"use_expert": False}, "use_expert.*would need a decoder with one set of weights"),
        ({"llm_config__use_mot": False}, "use_mot.*would need a decoder with one set of weights"),
        ({"llm_config__layer_module": "Qwen3DecoderLayer"}, "would need a decoder with one set of weights"),
        ({"llm_config__layer_module": "Qwen2MoTDecoderLayer"}, "Qwen2MoTDecoderLayer.*_moe_gen"),
        ({"llm_config__layer_module": None, "llm_config__model_type": "qwen2"}, "qwen2.*_moe_gen"),
    ],
)
def test_what_this_model_does_not_compute_is_refused_with_what_it_would_need(change, words):
    with pytest.raises(BeingHError, match=words) as caught:
        BeingHConfig.from_dict(small_config(**change))
    assert "use a checkpoint of the released kind" in caught.value.remedy


# --- tensors ----------------------------------------------------------------------------------------------------------


@pytest.fixture
def copy_of_set_a(tmp_path):
    for name in ("config.json", "model.safetensors"):
        shutil.copyfile(SET_A / name, tmp_path / name)
    return tmp_path


@pytest.mark.parametrize("sharded", (False, True))
def test_mixed_precision_is_loaded_at_the_widest(copy_of_set_a, sharded):
    tensors = load_file(copy_of_set_a / "model.safetensors")
    for number, name in enumerate(sorted(tensors)):
        tensors[name] = tensors[name].to((torch.bfloat16, torch.float16, torch.float32)[number % 3])
    (copy_of_set_a / "model.safetensors").unlink()
    for part in range(2 if sharded else 1):
        names = sorted(tensors)[part::2] if sharded else sorted(tensors)
        save_file({name: tensors[name] for name in names}, copy_of_set_a / f"model-{part}.safetensors")
    model = BeingH.from_pretrained(copy_of_set_a)
    assert {p.dtype for p in model.parameters()} == {torch.float32}
    assert all(torch.equal(p, tensors[name].float()) for name, p in model.named_parameters())
    sample = pack([random_sample(model.raw_config, np.random.default_rng(0), 1)])
    assert torch.isfinite(model.get_action(sample)).all()


def test_one_narrow_precision_is_kept(copy_of_set_a):
    tensors = load_file(copy_of_set_a / "model.safetensors")
    save_file({n: t.bfloat16() for n, t in tensors.items()}, copy_of_set_a / "model.safetensors")
    assert {p.dtype for p in BeingH.from_pretrained(copy_of_set_a).parameters()} == {torch.bfloat16}


def test_tied_embeddings_that_differ_are_refused(tmp_path):
    head, embedding = "language_model.lm_head.weight", "language_model.model.embed_tokens.weight"
    BeingH.from_config(small_config(llm_config__tie_word_embeddings=True)).save_pretrained(tmp_path)
    tensors = load_file(tmp_path / "model.safetensors")
    save_file(tensors | {head: tensors[embedding].clone()}, tmp_path / "model.safetensors")
    model = BeingH.from_pretrained(tmp_path)
    assert torch.equal(model.language_model.logits(torch.eye(64)), tensors[embedding].T)
    save_file(tensors | {head: tensors[embedding] + 1e-3}, tmp_path / "model.safetensors")
    with pytest.raises(BeingHError, match="lm_head.*embed_tokens.*differ.*tie_word_embeddings to false"):
        BeingH.from_pretrained(tmp_path)
