"""Twenty optimiser steps of the released model, replayed (test/data/curves.npz: its inputs, losses, gradients, weights)."""

from pathlib import Path

import numpy as np
import pytest
import torch

from beingh_core.model import BeingH

DATA = Path(__file__).parent / "data"
STEPS = 20
GROUPS = {
    "vit": ("vit_model.",),
    "connector": ("connector.",),
    "embed": ("language_model.model.embed_tokens.",),
    "lm_head": ("language_model.lm_head.",),
    "state": ("proprio_encoder_robot.",),
    "action_encoder": ("action_encoder.",),
    "action_decoder": ("action_decoder.",),
    "mpg": ("mpg.", "action_to_vlm_proj.", "vlm_to_action_proj."),
}


def group_of(name):
    named = [group for group, starts in GROUPS.items() if name.startswith(starts)]
    return named[0] if named else ("expert" if "mot_gen" in name else "und")


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
    groups = [{"params": [p for p in model.parameters() if (p.ndim >= 2) == decay]} for decay in (True, False)]
    groups[0]["weight_decay"], groups[1]["weight_decay"] = 0.01, 0.0
    optimiser = torch.optim.AdamW(groups, lr=1e-3, betas=(0.9, 0.95), eps=1e-8)
    told = []
    for k in range(STEPS):
        prefix = f"b{curves['step.batch'][k]}."
        batch = {name.removeprefix(prefix): value for name, value in curves.items() if name.startswith(prefix)}
        losses = model.loss(
            batch,
            noise=curves[f"s{k:02}.noise"],
            time=curves[f"s{k:02}.time"],
            delays=curves.get(f"s{k:02}.delays"),
            projections=curves.get(f"s{k:02}.projections"),
            mpg_lambda=float(curves["step.mpg_lambda"][k]),
        )
        optimiser.zero_grad(set_to_none=True)
        (losses["action_loss"] + losses["und_loss"]).backward()
        gradients = {name: p.grad for name, p in model.named_parameters()}
        squares = dict.fromkeys((*GROUPS, "expert", "und"), 0.0)
        for name, gradient in gradients.items():
            squares[group_of(name)] += 0.0 if gradient is None else gradient.double().square().sum().item()
        norm = torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0).item()
        optimiser.step()
        told.append(
            {name: loss.item() for name, loss in losses.items()}
            | {"grad_norm": norm, "without": sorted(name for name, g in gradients.items() if g is None)}
            | {f"of.{name}": square**0.5 for name, square in squares.items()}
        )
    torch.set_num_threads(threads)
    return told, start, dict(model.named_parameters())


@pytest.mark.parametrize("name", ("action_loss", "und_loss", "grad_norm"))
def test_losses_and_gradient_norm_of_every_step(curves, replay, name):
    np.testing.assert_allclose([one[name] for one in replay[0]], curves[f"out.{name}"], rtol=1e-5)


@pytest.mark.parametrize("group", (*GROUPS, "expert", "und"))
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
