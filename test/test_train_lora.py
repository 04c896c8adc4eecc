"""Low-rank training: nothing changes at first, only the changes learn, and a saved checkpoint is a plain one."""

import copy
import shutil

import numpy as np
import pytest
import torch
from model_reference import pack, random_sample, small_config
from train_support import (
    raw_config,
    write,
)

from beingh_core.errors import BeingHError
from beingh_core.model import BeingH
from beingh_core.train.lora import add_lora, merged
from beingh_core.train.run import Run
from beingh_core.train.settings import LoraSection, RunConfig

pytestmark = pytest.mark.usefixtures("one_thread")


def batch(seed=0):
    return pack([random_sample(small_config(), np.random.default_rng(seed), 1) for _ in range(2)])


def loss_of(model):
    return model.loss(batch(), generator=torch.Generator().manual_seed(0))["action_loss"]


def test_nothing_changes_until_the_changes_learn_and_merging_keeps_the_result():
    plain, model = BeingH.from_config(small_config(), seed=1), BeingH.from_config(small_config(), seed=1)
    layers = model.config.decoder.num_layers
    assert add_lora(model, LoraSection(rank=3, parts=["und", "act"])) == 2 * 7 * layers
    assert torch.equal(loss_of(model), loss_of(plain))
    trained = {name for name, p in model.named_parameters() if p.requires_grad}
    assert not any("layers" in n and "parametrizations" not in n for n in trained if n.startswith("language_model"))
    optimiser = torch.optim.SGD([p for p in model.parameters() if p.requires_grad and p.ndim == 2], 0.05)
    for _ in range(2):
        optimiser.zero_grad()
        loss_of(model).backward()
        optimiser.step()
    saved = merged(model, lambda tensor: tensor.detach().clone())
    assert saved.keys() == plain.state_dict().keys()
    name = "language_model.model.layers.0.self_attn.q_proj_mot_gen.weight"
    assert torch.linalg.matrix_rank(saved[name] - plain.state_dict()[name]) == 3
    other = BeingH(small_config())
    other.load_state_dict(saved)
    torch.testing.assert_close(loss_of(other), loss_of(model))


def test_wrong_names_are_told():
    with pytest.raises(BeingHError, match="no matrix is called qkv in und.*q_proj"):
        add_lora(BeingH.from_config(small_config()), LoraSection(rank=2, modules=["qkv"]))


def test_a_run_saves_a_plain_checkpoint_and_goes_on(tmp_path):
    root = write(tmp_path / "d", lengths=(9, 12))
    raw = raw_config(root, out=tmp_path / "a", training={"steps": 2, "precision": "fp32"}, save={"every": 1, "keep": 4})
    raw["data"]["cache"] = str(tmp_path / "cache")
    start = Run(RunConfig.from_dict(copy.deepcopy(raw)))
    start.train()
    raw |= {"out": str(tmp_path / "b"), "checkpoint": str(tmp_path / "a/last"), "model": {}}
    raw["training"] = {"steps": 4, "precision": "fp32", "ema_decay": 0.5, "lora": {"rank": 2, "parts": ["und"]}}
    raw["training"]["freeze"] = ["vision"]
    straight = Run(RunConfig.from_dict(copy.deepcopy(raw)))
    straight.train()
    before, after = (BeingH.from_pretrained(tmp_path / folder / "last").state_dict() for folder in ("a", "b"))
    moved = {name for name in before if not torch.equal(before[name], after[name])}
    assert any(name.endswith("layers.0.self_attn.k_proj.weight") for name in moved)
    assert not any("norm" in name and "_mot_gen" not in name or name.startswith("vit_model") for name in moved)
    shutil.copytree(tmp_path / "b", tmp_path / "c", symlinks=True)
    for step in (3, 4):
        shutil.rmtree(tmp_path / f"c/step-0000000{step}")
    Run(RunConfig.from_dict(copy.deepcopy({**raw, "out": str(tmp_path / "c")}))).train()
    again = BeingH.from_pretrained(tmp_path / "c/last").state_dict()
    assert all(torch.equal(after[name], again[name]) for name in after)
