"""Twenty optimiser steps of the released model, replayed by the trainer's own step (test/data/curves.npz: its inputs, losses, gradients, weights)."""

from pathlib import Path

import numpy as np
import pytest
import torch

from beingh_core.model import BeingH
from beingh_core.train.parts import PARTS
from beingh_core.train.ranks import Ranks
from beingh_core.train.settings import LossSection, OptimiserSection, TrainingSection
from beingh_core.train.step import PackInputs, Stepper
from beingh_core.train.watching import Watcher

DATA = Path(__file__).parent / "data"
STEPS = 20
# Parts of the trainer, as the released groups are called.
GROUPS = {part: part for part in PARTS} | {"vision": "vit", "act": "expert"}
NAMES = ("vit", "connector", "embed", "lm_head", "state", "action_encoder", "action_decoder", "mpg", "expert", "und")


@pytest.fixture(scope="module")
def curves():
    with np.load(DATA / "curves.npz") as stored:
        return dict(stored)


@pytest.fixture(scope="module")
def replay(curves):
    """Losses, gradient norms (all, of each group) and names without gradient of each step; weights before and after."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    model = BeingH.from_pretrained(DATA / "set_a").train()
    start = {name: tensor.detach().clone() for name, tensor in model.named_parameters()}
    optimiser = OptimiserSection(learning_rate=1e-3, schedule="constant", weight_decay=0.01, clip=1.0)
    stepper = Stepper(model, optimiser, TrainingSection(steps=STEPS, precision="fp32"), LossSection())
    told, gradients, watcher = [], {}, Watcher(model, Ranks())
    for k in range(STEPS):
        prefix = f"b{curves['step.batch'][k]}."
        batch = {name.removeprefix(prefix): value for name, value in curves.items() if name.startswith(prefix)}
        draws = {name: curves.get(f"s{k:02}.{name}") for name in ("noise", "time", "delays", "projections")}
        pack = PackInputs(batch=batch, draws={**draws, "mpg_lambda": float(curves["step.mpg_lambda"][k])})

        def watch(found):
            watcher.look(found)
            gradients.update({name: None if grad is None else grad.clone() for name, grad in found.items()})

        step = stepper.step([pack], watch)
        norms = watcher.take()
        told.append(
            {"action_loss": step.action_loss, "und_loss": step.und_loss, "grad_norm": step.grad_norm}
            | {"without": sorted(name for name, g in gradients.items() if g is None)}
            | {f"of.{GROUPS[part]}": norms.get(f"gradient_{part}", 0.0) for part in PARTS if part != "embeddings"}
        )
        for group, layer in (("embed", "model.embed_tokens"), ("lm_head", "lm_head")):
            grad = gradients.get(f"language_model.{layer}.weight")
            told[-1][f"of.{group}"] = 0.0 if grad is None else grad.double().norm().item()
    torch.set_num_threads(threads)
    return told, start, dict(model.named_parameters())


@pytest.mark.parametrize("name", ("action_loss", "und_loss", "grad_norm"))
def test_losses_and_gradient_norm_of_every_step(curves, replay, name):
    np.testing.assert_allclose([one[name] for one in replay[0]], curves[f"out.{name}"], rtol=1e-5)


@pytest.mark.parametrize("group", NAMES)
def test_gradient_norms_of_the_parts(curves, replay, group):
    found = [one[f"of.{group}"] for one in replay[0]]
    np.testing.assert_allclose(found, curves[f"out.grad_norm_of.{group}"], rtol=5e-5, atol=1e-9)


def test_who_has_no_gradient(curves, replay):
    expected = [sorted(str(names).split()) for names in curves["out.without_gradient"]]
    assert [one["without"] for one in replay[0]] == expected


def test_how_far_every_weight_has_moved(curves, replay):
    _, start, end = replay
    for name, tensor in end.items():
        moved, final = (tensor.detach() - start[name]).norm().item(), tensor.detach().norm().item()
        expected = curves[f"out.moved_norm.{name}"].item()
        assert moved == pytest.approx(expected, rel=1e-4), name
        assert (expected == 0.0) == name.startswith("mpg.action_proj"), name
        assert final == pytest.approx(curves[f"out.final_norm.{name}"].item(), rel=1e-5), name
