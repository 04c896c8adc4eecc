"""The bench: its two engines agree, its full-sequence path and its bound are right, its reports and errors are clear."""

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from model_reference import Reference, pack, small_config
from model_reference import random_sample as reference_sample
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.flop_counter import FlopCounterMode

from beingh_core.bench import inference, matmul_bound, shapes
from beingh_core.bench.full_sequence import full_sequence_actions
from beingh_core.cli import main
from beingh_core.errors import BeingHError
from beingh_core.model.engine import Engine

ROOT = Path(__file__).resolve().parent.parent
KEYS = {
    "total_ms",
    "vision_ms",
    "prefix_ms",
    "step_ms",
    "full_total_ms",
    "ratio",
    "plain_ratio",
    "plain_cpu_ratio",
    "cpu_ms",
    "cpu_ratio",
    "weights_mb",
    "memory_ratio",
    "max_abs_diff",
    "bound_ms",
    "peak_memory_mb",
    "growth_mb",
}


@st.composite
def tiny_configs(draw):
    """The tiny shape with other head counts, widths, depths and chunk lengths."""
    raw = json.loads(json.dumps(shapes.SHAPES["tiny"]))
    kv_heads = draw(st.sampled_from([1, 2, 4]))
    raw["llm_config"] |= {
        "num_key_value_heads": kv_heads,
        "num_attention_heads": kv_heads * draw(st.integers(1, 3)),
        "head_dim": draw(st.sampled_from([8, 16])),
        "num_hidden_layers": draw(st.integers(1, 4)),
        "hidden_size": draw(st.sampled_from([48, 64])),
        "attention_bias": draw(st.booleans()),
        "qk_norm": draw(st.booleans()),
    }
    if draw(st.booleans()):
        experts, shared = draw(st.integers(1, 5)), draw(st.integers(0, raw["llm_config"]["num_hidden_layers"] - 1))
        raw["mof"] = {"experts": experts, "top_k": draw(st.integers(1, experts)), "shared_layers": shared}
    raw["action_chunk_length"] = draw(st.integers(2, 17))
    raw["mpg_refinement_iters"] = draw(st.integers(0, 2))
    raw["num_inference_timesteps"] = draw(st.integers(1, 5))
    return raw


@settings(max_examples=25)
@given(
    raw=tiny_configs(),
    views=st.integers(0, 3),
    text=st.tuples(*[st.integers(1, 40)] * 3, st.integers(0, 3)),
    share=st.floats(0, 1, exclude_max=True),
    seed=st.integers(0, 2**31),
)
def test_the_engines_agree_whatever_the_shape_views_delay_and_prompt(raw, views, text, share, seed):
    model = shapes.random_model(raw, "cpu", torch.float32, seed)
    batch = shapes.random_sample(model, views, seed, text)
    steps, passes, length = raw["num_inference_timesteps"], raw["mpg_refinement_iters"] + 1, raw["action_chunk_length"]
    generator = torch.Generator().manual_seed(seed)
    noise = torch.randn(passes, 1, length, 200, generator=generator)
    options = {
        "projections": model.directions((passes - 1) * steps, generator),
        "prev_chunk": torch.randn(1, length, 200, generator=generator),
        "inference_delay": int(share * length),
    }
    cached = Engine(model).get_action(batch, noise=noise, **options)
    full = full_sequence_actions(model, batch, noise, **options)
    assert full.shape == (length, 200) and cached.isfinite().all()
    assert (cached - full).abs().max() <= 1e-4


@pytest.mark.parametrize("delay", [0, 3])
def test_the_full_sequence_follows_the_equations(delay):
    raw = small_config(mpg_lambda=0.7)
    model, rng = shapes.random_model(raw, "cpu", torch.float32, 5), np.random.default_rng(delay)
    sample = reference_sample(raw, rng, views=2)
    noise = torch.from_numpy(rng.standard_normal((2, 1, 16, 200))).float()
    directions = torch.from_numpy(rng.standard_normal((4, 32, 64))).float()
    prev = torch.from_numpy(rng.standard_normal((1, 16, 200))).float()
    actions = full_sequence_actions(model, pack([sample]), noise, directions, prev, delay)
    truth = Reference(raw, model.state_dict()).act(sample, noise[:, 0], directions, prev[0].double(), delay)
    assert (actions.double() - truth).abs().max() <= 1e-4


def counted_flops(call):
    """PyTorch's own count, with attention as plain matmuls that it can see."""
    with FlopCounterMode(display=False) as counter, sdpa_kernel(SDPBackend.MATH):
        call()
    return counter.get_total_flops()


def test_the_counted_work_is_what_a_chunk_multiplies():
    model = shapes.build_model("tiny")
    batch = shapes.random_sample(model, views=2)
    parts = matmul_bound.count_parts(model, sum(shapes.TEXT_TOKENS[:3]), views=2)
    weights = [p for n, p in model.named_parameters() if n.startswith(("vit_model", "connector")) and p.ndim in (2, 4)]
    assert parts.vision.weight_bytes == sum(p.numel() * 4 for p in weights)
    assert parts.vision.flops == counted_flops(lambda: model.embed_images(batch["packed_vit_tokens"]))
    chunks = [counted_flops(lambda n=n: model.get_action(batch, num_steps=n)) for n in (1, 2)]
    both_steps = parts.step.flops + parts.refinement_step.flops
    # The engine multiplies a little more: hidden keys of causal attention, the gate, the last layer's unused queries.
    assert both_steps <= chunks[1] - chunks[0] <= 1.1 * both_steps
    rest = parts.vision.flops + parts.prefix.flops
    assert rest <= chunks[0] - both_steps <= 1.4 * rest


def test_a_bound_is_the_longer_of_reading_and_multiplying():
    rates = matmul_bound.Rates(flops=1e9, bytes=1e6)
    vision, prefix, step = (matmul_bound.Work(*w) for w in ((5e6, 1e3), (1e6, 2e3), (0.0, 4e3)))
    assert [rates.bound_ms(w) for w in (vision, prefix, step)] == pytest.approx([5.0, 2.0, 4.0])
    refined = matmul_bound.Work(7e6, 0.0)
    parts = matmul_bound.Parts(vision, prefix, step, refined)
    assert matmul_bound.chunk_bound_ms(parts, rates, steps=3, refinements=2) == pytest.approx(7 + 3 * (4 + 2 * 7))


@pytest.fixture(scope="module")
def reports(tmp_path_factory):
    """What each engine choice writes."""
    folder, found = tmp_path_factory.mktemp("bench"), {}
    for engine in inference.ENGINES:
        target = folder / f"{engine}.json"
        assert main(["bench", "inference", "--engine", engine, "--repeats", "2", "--json", str(target)]) == 0
        found[engine] = json.loads(target.read_text())
    return found


def test_the_report_has_the_agreed_keys(reports):
    for report in reports.values():
        assert set(report) == KEYS and set(report["total_ms"]) == {"p50", "p95"}
        assert set(report["full_total_ms"]) == {"p50"}
        assert report["bound_ms"] > 0 and report["peak_memory_mb"] > 10
        assert 0 < report["vision_ms"] < report["total_ms"]["p95"] and 0 < report["step_ms"]
    both = reports["both"]
    assert both["max_abs_diff"] <= 1e-4
    assert both["ratio"] == pytest.approx(both["full_total_ms"]["p50"] / both["total_ms"]["p50"])


def test_what_did_not_run_is_null(reports):
    assert reports["cached"]["full_total_ms"]["p50"] is None and reports["full"]["full_total_ms"]["p50"] > 0
    for engine in ("cached", "full"):
        assert reports[engine]["ratio"] is None and reports[engine]["max_abs_diff"] is None


def test_several_robots_in_one_call_agree_with_one_after_the_other():
    report = inference.run(inference.InferenceBench(robots=3, repeats=1), say=lambda _: None)
    assert report["max_abs_diff"] <= 1e-4 and set(report) == KEYS


def test_bfloat16_runs_without_images():
    report = inference.run(inference.InferenceBench(dtype="bfloat16", views=0, repeats=1), say=lambda line: None)
    assert report["vision_ms"] == 0 and report["prefix_ms"] > 0 and report["max_abs_diff"] < 0.3


def test_the_2b_shape_is_the_published_one():
    """Parameter counts of InternViT-300M, Qwen3-1.7B and Qwen3-0.6B without its embedding."""
    with torch.device("meta"):
        model = inference.BeingH(shapes.SHAPES["2b"])
    counts = {"vit": 0, "und": 0, "act": 0}
    for name, parameter in model.named_parameters():
        side = "vit" if name.startswith("vit_model") else "act" if "_mot_gen" in name else "und"
        if name.startswith(("vit_model", "language_model")):
            counts[side] += parameter.numel()
    assert counts["vit"] == pytest.approx(0.304e9, rel=0.02)
    assert counts["und"] == pytest.approx(1.72e9, rel=0.01)
    assert counts["act"] == pytest.approx(0.44e9, rel=0.01)
    assert model.config.tokens_per_view == 64 and model.config.chunk_length == 16


@pytest.mark.parametrize(
    "option, value, told",
    [
        ("--shape", "7b", "tiny, 2b"),
        ("--device", "tpu", "cpu, cuda"),
        ("--dtype", "int8", "float32, bfloat16"),
        ("--engine", "fast", "cached, full, both"),
        ("--steps", "0", "1 or more"),
        ("--repeats", "0", "1 or more"),
        ("--views", "-1", "0 or more"),
        ("--json", "/no/such/folder/report.json", "/no/such/folder/report.json"),
    ],
)
def test_mistakes_are_told_in_one_line(capsys, option, value, told):
    assert main(["bench", "inference", option, value]) == 2
    error = capsys.readouterr().err
    assert error.count("\n") == 1 and option in error and told in error


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU here")
def test_a_missing_gpu_is_told(capsys):
    assert main(["bench", "inference", "--device", "cuda"]) == 2
    assert "--device cpu" in capsys.readouterr().err


def test_an_unknown_shape_is_refused():
    with pytest.raises(BeingHError, match="unknown shape '9b'"):
        shapes.build_model("9b")


def test_help_needs_no_torch():
    code = "import sys; sys.modules['torch'] = None\nfrom beingh_core.cli import main\nmain(['bench', '--help'])"
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, check=False, capture_output=True, text=True)
    assert done.returncode == 0 and "inference" in done.stdout, done.stderr
