"""The engine: several robots at once, filled-up prompts, prepared weights, bfloat16, early start, errors."""

import json

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from beingh_core.bench import shapes
from beingh_core.bench.full_sequence import full_sequence_actions
from beingh_core.errors import BeingHError
from beingh_core.model.engine import Engine
from beingh_core.model.engine.linear import PreparedLinear, can_pack

pytestmark = pytest.mark.usefixtures("one_thread")


def tiny(seed=0, dtype=torch.float32, **changes):
    raw = json.loads(json.dumps(shapes.SHAPES["tiny"]))
    raw |= changes
    return shapes.random_model(raw, "cpu", dtype, seed)


def draw(*shape, seed=0):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def flow_inputs(model, robots, seed):
    config = model.config
    passes = config.mpg_refinement_iters + 1
    return {
        "noise": draw(passes, robots, config.chunk_length, 200, seed=seed),
        "projections": draw((passes - 1) * config.num_inference_steps, 32, 64, seed=seed + 1),
        "prev_chunk": draw(robots, config.chunk_length, 200, seed=seed + 2),
    }


texts = st.tuples(*[st.integers(1, 40)] * 3, st.integers(0, 3))


@settings(max_examples=15)
@given(
    robots=st.lists(st.tuples(texts, st.integers(0, 15)), min_size=1, max_size=4),
    views=st.integers(0, 3),
    bucket=st.sampled_from([1, 8, 32]),
    seed=st.integers(0, 2**31),
)
def test_robots_computed_together_get_what_each_gets_alone(robots, views, bucket, seed):
    model = tiny(seed)
    samples = [shapes.random_sample(model, views, seed + i, text) for i, (text, _) in enumerate(robots)]
    delays = [delay for _, delay in robots]
    inputs = flow_inputs(model, len(robots), seed % 1000)
    engine = Engine(model, bucket=bucket)
    together = engine.finish(engine.begin(samples), inference_delay=delays, **inputs)
    for i, sample in enumerate(samples):
        noise, prev = inputs["noise"][:, i : i + 1], inputs["prev_chunk"][i : i + 1]
        alone = full_sequence_actions(model, sample, noise, inputs["projections"], prev, delays[i])
        assert (together[i] - alone).abs().max() <= 1e-4


@pytest.mark.parametrize("seed", range(6))
def test_in_bfloat16_the_engine_is_as_near_to_float32_as_the_full_sequence(seed):
    """Both round; they add in other orders, so they differ from each other by about as much as from the truth."""
    half = tiny(seed, torch.bfloat16)
    exact = shapes.random_model(half.raw_config, "cpu", torch.float32, seed)
    exact.load_state_dict({name: value.float() for name, value in half.state_dict().items()})
    sample, inputs = shapes.random_sample(half, 2, seed), flow_inputs(half, 1, seed)
    truth = full_sequence_actions(exact, sample, **inputs, inference_delay=4)
    full = full_sequence_actions(half, sample, **inputs, inference_delay=4)
    cached = Engine(half).get_action(sample, **inputs, inference_delay=4)
    scale = truth.square().mean().sqrt()
    errors = [((x - truth).square().mean().sqrt() / scale).item() for x in (cached, full)]
    between = ((cached - full).square().mean().sqrt() / scale).item()
    assert errors[0] <= 1.5 * errors[1] + 1e-3
    assert between <= 2 * max(errors) and max(errors) < 2e-2


def test_prepared_weights_multiply_as_plain_ones():
    weight, bias, x = draw(96, 64).bfloat16(), draw(96).bfloat16(), draw(2, 5, 64).bfloat16()
    prepared = PreparedLinear(weight, bias)
    assert (prepared.packed is not None) == can_pack(weight)
    expected = x.double() @ weight.double().T + bias.double()
    torch.testing.assert_close(prepared(x).double(), expected, atol=0.05, rtol=0.02)
    assert PreparedLinear(weight.float()).packed is None


def test_a_prompt_computed_early_gives_the_same_chunk():
    model = tiny()
    sample, inputs = shapes.random_sample(model, 2), flow_inputs(model, 1, 3)
    engine = Engine(model)
    started = engine.begin([sample])
    first = engine.finish(started, **inputs, inference_delay=3)
    again = engine.finish(started, **inputs, inference_delay=5)
    assert torch.equal(first[:, :3], inputs["prev_chunk"][:, :3])
    assert torch.equal(again, engine.get_action(sample, **inputs, inference_delay=5)[None])


def test_a_prompt_that_was_overwritten_is_refused():
    model = tiny()
    engine = Engine(model)
    old = engine.begin([shapes.random_sample(model, 1, 0)])
    engine.begin([shapes.random_sample(model, 1, 1)])
    with pytest.raises(BeingHError, match="overwritten"):
        engine.finish(old)


def test_robots_of_different_kinds_are_refused():
    model = tiny()
    with pytest.raises(BeingHError, match="once for each kind of robot"):
        Engine(model).begin([shapes.random_sample(model, 1), shapes.random_sample(model, 2)])
    with pytest.raises(BeingHError, match="no sample"):
        Engine(model).begin([])


def test_the_prefix_of_each_robot_must_fit():
    model = tiny()
    engine = Engine(model)
    started = engine.begin([shapes.random_sample(model, 1), shapes.random_sample(model, 1)])
    for delays in ([1, 16], [-1, 0], [1, 2, 3]):
        with pytest.raises(BeingHError, match="inference_delay"):
            engine.finish(started, prev_chunk=draw(2, 16, 200), inference_delay=delays)
    with pytest.raises(BeingHError, match="no prev_chunk"):
        engine.finish(started, inference_delay=[0, 1])


def test_memory_for_shapes_is_bounded():
    model = tiny()
    engine = Engine(model)
    for words in range(3, 15):
        engine.get_action(shapes.random_sample(model, 1, 0, (words, 1, 1, 0)))
    assert len(engine._workspaces) <= 8


def test_sampled_noise_is_that_of_the_generator():
    model = tiny()
    engine, sample = Engine(model), shapes.random_sample(model, 1)

    def act(seed):
        return engine.get_action(sample, generator=torch.Generator().manual_seed(seed))

    assert torch.equal(act(1), act(1)) and not torch.equal(act(1), act(2))


def test_the_observed_gates_are_those_of_the_definition_and_change_nothing():
    """g = exp(-D / temperature), D by sorted projections, where the integration of each pass begins (DESIGN 5)."""
    model = tiny(5, mpg_refinement_iters=2)
    engine, steps = Engine(model), model.config.num_inference_steps
    inputs, delays = flow_inputs(model, 2, 7), [0, 3]
    started = engine.begin([shapes.random_sample(model, 2, seed) for seed in (1, 2)])
    plain = engine.finish(started, inference_delay=delays, **inputs)
    assert torch.equal(engine.finish(started, inference_delay=delays, observe_gates=True, **inputs), plain)
    gates = engine.gates(started).clone()
    assert gates.shape == (2 * steps, 2) and gates.unique().numel() == gates.numel()
    for index in (1, 2):
        call = (index - 1) * steps
        known = {"noise": inputs["noise"][:index], "prev_chunk": inputs["prev_chunk"], "inference_delay": delays}
        directions = {"projections": inputs["projections"][:call]} if call else {}
        clean = engine.finish(started, refinement_iters=index - 1, **known, **directions)
        for robot, delay in enumerate(delays):
            noisy, tau = inputs["noise"][index, robot].clone(), torch.zeros(len(clean[0]), dtype=torch.long)
            noisy[:delay], tau[:delay] = inputs["prev_chunk"][robot, :delay], model.config.num_timestep_buckets
            expected = defined_gate(model, noisy, tau, clean[robot], inputs["projections"][call])
            assert gates[call, robot].item() == pytest.approx(expected, rel=1e-4)
    engine.finish(started, refinement_iters=0, noise=inputs["noise"][:1], observe_gates=True)
    assert engine.gates(started).shape == (0, 2)


@torch.no_grad()
def defined_gate(model, noisy_HW, tau_H, clean_HW, directions_PD):
    """The gate of one robot with one state token by the model's plain layers."""
    normed = lambda x: (x - x.mean(-1, keepdim=True)) / (x.var(-1, unbiased=False, keepdim=True) + 1e-5).sqrt()
    suffix = model.action_to_vlm_proj(model.action_encoder(noisy_HW, tau_H))
    observed = normed(model.mpg.obs_proj(torch.cat((torch.zeros_like(suffix[:1]), suffix))))
    clean = model.action_encoder(clean_HW, torch.zeros_like(tau_H))
    prior = normed(model.mpg.action_proj(clean)).mean(dim=0, keepdim=True).expand_as(observed)
    unit = directions_PD / directions_PD.norm(dim=-1, keepdim=True)
    first, second = ((x @ unit.T).sort(dim=0).values for x in (observed, prior))
    return float(torch.exp(-((first - second) ** 2).mean() / model.config.mpg_temperature))
