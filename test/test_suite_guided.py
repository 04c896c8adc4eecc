"""Guided real-time chunking: the engine's flow with a gradient, its Jacobian by finite differences, the published weights."""

import math

import numpy as np
import pytest
import torch
from test_engine import draw, tiny

from beingh_core.bench import shapes
from beingh_core.errors import BeingHError
from beingh_core.model.engine import Engine
from beingh_core.model.quantised import quantised_config
from beingh_core.suite.guided import ActionFlow, gain, guided_chunk, guided_velocity, soft_mask

pytestmark = pytest.mark.usefixtures("one_thread")
H = shapes.SHAPES["tiny"]["action_chunk_length"]


@pytest.fixture
def both(monkeypatch):
    """The plain flow and one behind a strong MPG, and a noise; all in double precision, also the gate, which is in single."""
    monkeypatch.setattr(torch.Tensor, "float", torch.Tensor.double)
    model = tiny(3, torch.float64, mpg_lambda=2.0)
    engine = Engine(model)
    started, flow = engine.begin([shapes.random_sample(model, 2, seed=1)]), ActionFlow(engine)
    # Directions of its own: among many, some draw brings numbers so close together that a difference reaches past their order.
    directions = draw(model.config.num_inference_steps, 32, 64, seed=3).double()
    gated = flow.behind(started, draw(1, H, 200, seed=6).double(), directions)
    return flow.behind(started), gated, draw(1, H, 200, seed=5).double()


@pytest.fixture
def exact(both):
    """The plain flow, and a noise."""
    return both[0], both[2]


def test_without_guidance_it_is_the_engine_in_every_pass():
    model = tiny(0)
    engine, noise = Engine(model), draw(2, 2, H, 200, seed=2)
    steps = model.config.num_inference_steps
    directions = draw(steps, 32, 64, seed=3)
    started = engine.begin([shapes.random_sample(model, 2, seed) for seed in (1, 2)])
    flow, chunk = ActionFlow(engine), None
    for index in range(flow.passes):
        behind = flow.behind(started, chunk, directions)
        chunk = guided_chunk(behind, noise[index], steps, torch.zeros_like(noise[0]), torch.zeros(H, 1))
        given = {"noise": noise[: index + 1], "refinement_iters": index}
        expected = engine.finish(started, **given, **({"projections": directions} if index else {}))
        assert (chunk - expected).abs().max() < 1e-5 and expected.std() > 0.1
    assert index == 1 and model.config.mpg_stop_gradient


@pytest.mark.parametrize("time", [0.0, 0.25, 0.75])
@pytest.mark.parametrize("index", [0, 1])
def test_the_pull_is_the_jacobian_by_finite_differences(both, index, time):
    """gain (Y - X)^T diag(W) dX/dA, along random directions: central differences of (error . X)."""
    flow, actions, step = both[index], both[2], 1e-5
    wanted, weights = draw(1, H, 200, seed=7).double(), soft_mask(H, 3, 4).unsqueeze(-1)
    with torch.no_grad():
        clean = lambda a: a + (1 - time) * flow(a, time)
        error = (wanted - clean(actions)) * weights
        velocity = flow(actions, time)
    pull = (guided_velocity(flow, actions, time, wanted, weights) - velocity) / gain(time)
    for seed in range(5):
        along = draw(1, H, 200, seed=20 + seed).double()
        with torch.no_grad():
            slope = ((clean(actions + step * along) - clean(actions - step * along)) * error).sum() / (2 * step)
        assert float((pull * along).sum()) == pytest.approx(float(slope), rel=1e-6)
    # The Jacobian is no identity here: without the model's part another number would come out.
    assert (pull - error).abs().max() > 1e-3 * error.abs().max()


def test_the_pull_of_a_linear_flow_by_hand():
    matrix = torch.tensor([[0.5, 2.0], [0.0, -1.0]], dtype=torch.float64)
    actions, wanted = torch.tensor([[[1.0, 2.0]]]).double(), torch.tensor([[[0.0, 1.0]]]).double()
    found = guided_velocity(lambda a, _: a @ matrix.T, actions, 0.5, wanted, torch.ones(1, 1).double())
    jacobian, v = np.eye(2) + 0.5 * matrix.numpy(), matrix.numpy() @ [1.0, 2.0]
    error = np.array([0.0, 1.0]) - (np.array([1.0, 2.0]) + 0.5 * v)
    np.testing.assert_allclose(found[0, 0].numpy(), v + 2.0 * error @ jacobian)


def test_the_weights_are_the_published_ones():
    mask = soft_mask(16, 4, 6).numpy()
    assert mask[:4].tolist() == [1.0] * 4 and mask[10:].tolist() == [0.0] * 6
    c = (10 - 7) / (10 - 4 + 1)
    assert mask[7] == pytest.approx(c * (math.exp(c) - 1) / (math.e - 1)) and np.all(np.diff(mask[3:11]) < 0)
    assert soft_mask(16, 8, 8).tolist() == [1.0] * 8 + [0.0] * 8  # nothing is left to soften
    assert soft_mask(16, 12, 12).tolist() == [1.0] * 4 + [0.0] * 12 and soft_mask(16, 3, 16).sum() == 0.0
    r2 = 0.1**2 / (0.9**2 + 0.1**2)
    assert gain(0.9, beta=100.0) == pytest.approx(0.1 / (0.9 * r2)) and gain(0.0) == gain(0.05) == 5.0
    assert gain(0.5) == pytest.approx(2.0)


def test_guidance_brings_the_head_of_a_chunk_to_what_the_one_before_wants(exact):
    flow, noise = exact
    wanted, weights = 0.5 * draw(1, H, 200, seed=9).double(), soft_mask(H, 5, 6).unsqueeze(-1)
    free = guided_chunk(flow, noise, 8, wanted, 0.0 * weights)
    guided = guided_chunk(flow, noise, 8, wanted, weights)
    off = lambda chunk: (chunk - wanted)[:, :5].square().mean().sqrt()
    assert off(guided) < 0.2 * off(free)


def test_weights_without_a_gradient_are_refused():
    engine = shapes.random_engine(shapes.SHAPES["tiny"], "cpu", torch.float32, bits=quantised_config("int8"))
    with pytest.raises(BeingHError, match="guidance needs a gradient.*int8.*original checkpoint in float32"):
        ActionFlow(engine)
