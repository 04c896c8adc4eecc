"""Checkpoint directories: what is written is read back, and nothing that does not fit is accepted."""

import json
import os
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from model_reference import pack, random_sample, small_config
from safetensors.torch import load_file, save_file

from beingh_core.errors import BeingHError
from beingh_core.model import BeingH

SET_A = Path(__file__).parent / "data" / "set_a"
NAME = "language_model.model.layers.1.mlp_mot_gen.up_proj.weight"


@pytest.fixture
def copy_of_set_a(tmp_path):
    for name in ("config.json", "model.safetensors"):
        shutil.copy(SET_A / name, tmp_path / name)
    return tmp_path


def rewrite(directory, edit):
    tensors = load_file(directory / "model.safetensors")
    edit(tensors)
    save_file(tensors, directory / "model.safetensors", metadata={"format": "pt"})


def refused(directory):
    with pytest.raises(BeingHError) as caught:
        BeingH.from_pretrained(directory)
    return str(caught.value)


def test_parameter_names_are_the_released_names():
    model = BeingH.from_config(small_config())
    released = load_file(SET_A / "model.safetensors")
    assert {n: p.shape for n, p in model.state_dict().items()} == {n: t.shape for n, t in released.items()}


def test_save_and_load_round_trip(tmp_path):
    raw = {**small_config(num_inference_timesteps=3), "a_key_of_tomorrow": {"kept": [1, 2]}}
    model = BeingH.from_config(raw, seed=3)
    model.save_pretrained(tmp_path / "new" / "checkpoint")
    again = BeingH.from_pretrained(tmp_path / "new" / "checkpoint")
    assert json.loads((tmp_path / "new" / "checkpoint" / "config.json").read_text()) == raw
    for name, tensor in model.state_dict().items():
        assert torch.equal(tensor, again.state_dict()[name]), name
    batch = pack([random_sample(raw, np.random.default_rng(0), 2)])
    first, second = (m.get_action(batch, generator=torch.Generator().manual_seed(0)) for m in (model, again))
    assert torch.equal(first, second)


@pytest.mark.parametrize("mask", [0o022, 0o027])
def test_saved_files_may_be_read_by_whom_the_umask_lets(tmp_path, mask):
    before = os.umask(mask)
    try:
        BeingH.from_config(small_config()).save_pretrained(tmp_path)
    finally:
        os.umask(before)
    assert {path.name: path.stat().st_mode & 0o777 for path in tmp_path.iterdir()} == dict.fromkeys(
        ("config.json", "model.safetensors"), 0o666 & ~mask
    )


def test_saving_the_released_checkpoint_changes_nothing(tmp_path):
    BeingH.from_pretrained(SET_A).save_pretrained(tmp_path)
    before, after = load_file(SET_A / "model.safetensors"), load_file(tmp_path / "model.safetensors")
    assert before.keys() == after.keys() and all(torch.equal(before[n], after[n]) for n in before)
    assert json.loads((SET_A / "config.json").read_text()) == json.loads((tmp_path / "config.json").read_text())


@pytest.mark.parametrize("index", (True, False))
def test_sharded_checkpoint(copy_of_set_a, index):
    tensors = load_file(copy_of_set_a / "model.safetensors")
    (copy_of_set_a / "model.safetensors").unlink()
    names, weight_map = sorted(tensors), {}
    for part in range(3):
        file = f"model-0000{part + 1}-of-00003.safetensors"
        save_file({n: tensors[n] for n in names[part::3]}, copy_of_set_a / file)
        weight_map.update(dict.fromkeys(names[part::3], file))
    if index:
        (copy_of_set_a / "model.safetensors.index.json").write_text(json.dumps({"weight_map": weight_map}))
    loaded = BeingH.from_pretrained(copy_of_set_a).state_dict()
    assert all(torch.equal(loaded[n], tensors[n]) for n in names)
    (copy_of_set_a / "model-00002-of-00003.safetensors").unlink()
    message = refused(copy_of_set_a)
    assert ("model-00002-of-00003.safetensors" if index else "missing") in message


def test_missing_tensor(copy_of_set_a):
    rewrite(copy_of_set_a, lambda tensors: tensors.pop(NAME))
    message = refused(copy_of_set_a)
    assert NAME in message and "(64, 32)" in message and str(copy_of_set_a) in message and "To fix" in message


def test_unexpected_tensor(copy_of_set_a):
    rewrite(copy_of_set_a, lambda tensors: tensors.update({"stranger.weight": torch.zeros(3, 5)}))
    message = refused(copy_of_set_a)
    assert "stranger.weight" in message and "(3, 5)" in message and "model.safetensors" in message


def test_misshapen_tensor(copy_of_set_a):
    rewrite(copy_of_set_a, lambda tensors: tensors.update({NAME: torch.zeros(64, 31)}))
    message = refused(copy_of_set_a)
    assert NAME in message and "(64, 32)" in message and "(64, 31)" in message and "model.safetensors" in message


def test_damaged_files(copy_of_set_a, tmp_path):
    (copy_of_set_a / "model.safetensors").write_bytes(b"\x00" * 40)
    assert "model.safetensors" in refused(copy_of_set_a)
    (copy_of_set_a / "config.json").write_text("{")
    assert "not valid JSON" in refused(copy_of_set_a)
    assert "config.json" in refused(tmp_path / "nowhere")


@pytest.mark.parametrize(
    "change, word",
    (
        ({"attn_mode": "full"}, "attn_mode"),
        ({"use_expert": False}, "use_expert"),
        ({"llm_config__hidden_act": "tangent"}, "tangent"),
        ({"llm_config__hidden_size": None}, "hidden_size"),
        ({"llm_config__num_key_value_heads": 3}, "num_key_value_heads"),
        ({"vit_config__num_attention_heads": 5}, "num_attention_heads"),
        ({"select_layer": -9}, "select_layer"),
        ({"llm_config__rope_scaling": {"rope_type": "yarn"}}, "yarn"),
    ),
)
def test_impossible_configurations_are_refused(change, word):
    with pytest.raises(BeingHError, match=word):
        BeingH.from_config(small_config(**change))


def test_half_precision_load():
    model = BeingH.from_pretrained(SET_A, dtype=torch.bfloat16)
    assert {p.dtype for p in model.parameters()} == {torch.bfloat16} and not model.training


def test_tied_head_is_not_stored_and_tolerated(tmp_path):
    raw = small_config(llm_config__tie_word_embeddings=True)
    BeingH.from_config(raw).save_pretrained(tmp_path)
    stored = load_file(tmp_path / "model.safetensors")
    assert "language_model.lm_head.weight" not in stored
    head = stored["language_model.model.embed_tokens.weight"].clone()
    rewrite(tmp_path, lambda tensors: tensors.update({"language_model.lm_head.weight": head}))
    BeingH.from_pretrained(tmp_path)


def test_model_without_mpg(tmp_path):
    raw = small_config(use_mpg=False)
    model = BeingH.from_config(raw)
    assert not any(n.startswith(("mpg", "action_to_vlm", "vlm_to_action")) for n, _ in model.named_parameters())
    model.save_pretrained(tmp_path)
    again = BeingH.from_pretrained(tmp_path)
    batch = pack([random_sample(raw, np.random.default_rng(0), 1)])
    assert again.get_action(batch).shape == (16, 200)
    again.loss(batch)["action_loss"].backward()
    with pytest.raises(BeingHError, match="MPG"):
        again.get_action(batch, refinement_iters=1)
    with pytest.raises(BeingHError, match="MPG"):
        again.loss(batch, mpg_lambda=0.1)
