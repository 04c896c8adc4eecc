"""The released model's own numbers (test/data/set_a): actions, losses, gradients."""

from pathlib import Path

import numpy as np
import pytest
import torch

from beingh_core.model import BeingH

SET_A = Path(__file__).parent / "data" / "set_a"
TOLERANCE = 1e-4
INFERENCE_CASES = ("plain", "mpg", "prefix", "mpg_prefix", "mpg2")
TRAINING_CASES = ("flow", "flow_mpg", "uac", "uac_mpg")


def cases(name):
    with np.load(SET_A / name) as data:
        return {key: data[key] for key in data.files}


@pytest.fixture(scope="module")
def model():
    return BeingH.from_pretrained(SET_A, device="cpu", dtype=torch.float32)


def test_vision_embeddings(model):
    case = cases("model_cases.npz")
    with torch.no_grad():
        embeds = model.embed_images(torch.from_numpy(case["packed_vit_tokens"]))
    np.testing.assert_allclose(embeds.numpy(), case["vit_embeds"], atol=TOLERANCE, rtol=0)


@pytest.mark.parametrize("name", INFERENCE_CASES)
@pytest.mark.parametrize("kind", ("numpy", "torch"))
def test_action_prediction(model, name, kind):
    case = cases("model_cases.npz")
    if kind == "torch":
        case = {key: torch.from_numpy(value) for key, value in case.items()}
    actions = model.get_action(
        {key: value for key, value in case.items() if "." not in key},
        noise=case[f"{name}.noise"],
        projections=case.get(f"{name}.projections"),
        prev_chunk=case["prev_chunk"],
        inference_delay=int(case[f"{name}.inference_delay"]),
        refinement_iters=int(case[f"{name}.refinement_iters"]),
    )
    np.testing.assert_allclose(
        actions.numpy(), np.asarray(case[f"{name}.action_pred"]).reshape(actions.shape), atol=TOLERANCE, rtol=0
    )


@pytest.mark.parametrize("name", TRAINING_CASES)
def test_losses_and_gradients(model, name):
    prefix = name + "."
    case = {key[len(prefix) :]: value for key, value in cases("train_cases.npz").items() if key.startswith(prefix)}
    model.zero_grad()
    losses = model.loss(
        case,
        noise=case["noise"],
        time=case["time"],
        delays=case.get("delays"),
        projections=case.get("projections"),
        mpg_lambda=0.1 if name.endswith("mpg") else 0.0,
    )
    for key in ("action_loss", "und_loss"):
        assert losses[key].item() == pytest.approx(case[key].item(), abs=TOLERANCE)
    (losses["action_loss"] + losses["und_loss"]).backward()
    parameters = dict(model.named_parameters())
    norms = {key[len("grad_norm.") :]: value for key, value in case.items() if key.startswith("grad_norm.")}
    assert norms
    for key, norm in norms.items():
        assert parameters[key].grad.norm().item() == pytest.approx(norm.item(), abs=TOLERANCE), key
