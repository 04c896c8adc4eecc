"""Weights in fewer bits: the numbers, the products, checkpoints that say so, and what is refused."""

import json
import shutil
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from peak_memory import PeakMemory
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from small_checkpoint import write_small

from beingh_core.bench import inference, shapes
from beingh_core.bench.memory import peak_memory
from beingh_core.cli import main
from beingh_core.contract import load_contract
from beingh_core.errors import BeingHError
from beingh_core.model import BeingH, checkpoint
from beingh_core.model.checkpoint import WEIGHTS
from beingh_core.model.engine import Engine, engine, quantised_linear
from beingh_core.model.engine.loading import load_engine
from beingh_core.model.engine.quantised_linear import QuantisedLinear, _IntMM, multiplies_integers
from beingh_core.model.heap import give_back
from beingh_core.model.quantise_checkpoint import check_source, write_quantised
from beingh_core.model.quantised import KEY, SCALE, VALUES, quantised, quantised_config, tower_of
from beingh_core.policy.loading import load_for_contract

pytestmark = pytest.mark.usefixtures("one_thread")
ROOT = Path(__file__).resolve().parent.parent
CHECKPOINT = ROOT / "checkpoints/fr3_cubes"
BAG = ROOT / "test/data/replay/cubes.mcap"
TENSOR = "language_model.model.layers.0.mlp.up_proj"


def draw(*shape, seed=0):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def make(source, out, scheme="int8", towers="und,act,vision", group=4):
    config = quantised_config(scheme, towers, group)
    write_quantised(check_source(source, out, config), out, config, {})
    return out


@pytest.fixture(scope="module")
def original(tmp_path_factory):
    return write_small(tmp_path_factory.mktemp("original"))


@pytest.mark.parametrize("scheme, groups", [("int8", 1), ("w8a8", 1), ("int4", 4)])
def test_each_number_is_off_by_half_a_step_at_most(scheme, groups):
    weight = draw(48, 128)
    weight[3] = 0.0
    small = quantised(weight, scheme, groups)
    steps = small.scale.repeat_interleave(128 // groups, dim=1)
    off = (small.plain(torch.float32) - weight).abs()
    most = 7 if scheme == "int4" else 127
    inside = weight.abs() <= (most + 0.5) * steps
    assert (off <= 0.501 * steps)[inside].all() and inside.float().mean() > (0.9 if scheme == "int4" else 0.9999)
    assert small.plain(torch.float32)[3].eq(0).all()
    assert small.values.nbytes == weight.numel() // (2 if scheme == "int4" else 1)


def test_int4_chooses_its_scales_by_the_error_and_by_what_matters():
    weight = draw(64, 128)
    most = weight.abs().unflatten(-1, (2, -1)).amax(-1, keepdim=True) / 7
    plain = ((weight.unflatten(-1, (2, -1)) / most).round() * most).flatten(-2)
    matters = torch.where(torch.arange(128) % 8 == 0, 100.0, 1.0)

    def error(found):
        return ((found - weight).square() * matters).sum()

    chosen = quantised(weight, "int4", 2).plain(torch.float32)
    weighted = quantised(weight, "int4", 2, matters).plain(torch.float32)
    assert (chosen - weight).square().sum() < 0.9 * (plain - weight).square().sum()
    assert error(weighted) < 0.95 * error(chosen)


@pytest.mark.parametrize("dtype, close", [(torch.float32, 1e-4), (torch.bfloat16, 2e-2)])
@pytest.mark.parametrize("scheme, groups", [("int8", 1), ("int4", 1), ("int4", 4), ("int4", 16)])
def test_weights_alone_multiply_as_the_matrix_that_they_stand_for(scheme, groups, dtype, close):
    small, bias, x = quantised(draw(64, 128), scheme, groups), draw(64, seed=1), draw(2, 5, 128, seed=2)
    expected = x.to(dtype).float() @ small.plain(torch.float32).T + bias
    y = QuantisedLinear(small, bias.to(dtype), dtype)(x.to(dtype))
    assert y.dtype == dtype and (y.float() - expected).norm() <= close * expected.norm()


@pytest.mark.parametrize("dtype, close", [(torch.float32, 1e-5), (torch.bfloat16, 1e-2)])
@pytest.mark.parametrize("rows", [1, 16, 70, 600])
def test_w8a8_is_the_product_of_whole_numbers(rows, dtype, close):
    small, bias, x = quantised(draw(64, 128), "w8a8"), draw(64, seed=1), draw(rows, 128, seed=2).to(dtype)
    x[0] *= 1000
    if rows > 1:
        x[1] = 0.0
    scale = x.abs().amax(-1, keepdim=True).float().clamp_min(1e-30) / 127
    whole = (x.float() / scale).round()
    expected = (whole.double() @ small.values.double().T) * scale.double() * small.scale.double().T + bias.double()
    layers = [_IntMM(small)]
    if multiplies_integers(torch.device("cpu")):
        layers.append(QuantisedLinear(small, None, dtype)._run)
    for layer in layers:
        y = layer(x, bias.to(dtype))
        wrong = (y.double() - expected).norm(dim=-1)
        assert y.dtype == dtype and (wrong <= close * expected.norm(dim=-1).clamp_min(1.0)).all()


def test_w8a8_says_where_it_cannot_multiply_whole_numbers(monkeypatch):
    small, x = quantised(draw(64, 128), "w8a8"), draw(3, 128, seed=2)
    monkeypatch.setattr(quantised_linear, "multiplies_integers", lambda device: False)
    layer = QuantisedLinear(small)
    assert type(layer._run).__name__ == "_Int8" and (layer(x) - x @ small.plain(torch.float32).T).norm() < 1e-3
    monkeypatch.setattr(engine, "multiplies_integers", lambda device: False)
    told = SimpleNamespace(
        config=SimpleNamespace(quantised=quantised_config("w8a8")),
        dtype=torch.float32,
        device="cpu",
        weight_bytes=1 << 20,
    )
    assert "computed as int8, slower: no AVX-512 VNNI" in Engine.weights_text.fget(told)


def test_memory_of_a_product_can_be_used_in_and_out_of_inference_mode():
    layer, x = QuantisedLinear(quantised(draw(64, 1024), "w8a8")), draw(100, 1024, seed=2)
    with torch.inference_mode():
        first = layer(x)
    assert torch.equal(first, layer(x))


def test_blocks_of_rows_are_packed_as_the_whole_is(monkeypatch):
    small = quantised(draw(1024 + 16, 256), "int4", 4)
    parts = small.parts(1 << 16)
    assert len(parts) > 2 and torch.equal(torch.cat([part.numbers() for part in parts]), small.numbers())
    if not quantised_linear._Int4Kernel.takes(small, torch.bfloat16):
        pytest.skip("this PyTorch has no kernel for int4 on a CPU")
    whole = torch.ops.aten._convert_weight_to_int4pack_for_cpu(small.numbers().to(torch.int32) + 8, 1)
    monkeypatch.setattr(quantised_linear, "_PART", 1 << 16)
    assert torch.equal(quantised_linear._Int4Kernel(small)._packed, whole)


def test_every_large_matrix_belongs_to_a_tower():
    model = BeingH.from_config(shapes.SHAPES["tiny_mof"])
    linear = {name for name, module in model.named_modules() if isinstance(module, torch.nn.Linear)}
    outside = {name for name in linear if tower_of(name) is None}
    assert {name.partition(".")[0] for name in outside - {n for n in outside if n.endswith("router")}} == {
        "proprio_encoder_robot", "action_encoder", "action_decoder", "mpg", "action_to_vlm_proj", "vlm_to_action_proj"
    }  # fmt: skip
    assert {tower_of(name) for name in linear} == {"und", "act", "vision", None}
    assert tower_of("language_model.model.layers.2.mlp_mot_gen.experts.3.up_proj") == "act"


@pytest.mark.parametrize("scheme, most", [("int8", 0.02), ("w8a8", 0.05), ("int4", 0.5)])
def test_a_quantised_checkpoint_acts_like_its_original_and_says_what_it_is(tmp_path, caplog, scheme, most):
    out = make(CHECKPOINT, tmp_path / "small", scheme, group=16)
    assert json.loads((out / "config.json").read_text())[KEY]["scheme"] == scheme
    plain, small = load_engine(CHECKPOINT), load_engine(out)
    assert "quantised weights, " in caplog.text and small.weights_text in caplog.text and scheme in small.weights_text
    assert small.weight_bytes < (0.35 if scheme == "int4" else 0.45) * plain.weight_bytes
    sample, noise = shapes.random_sample(plain.model, 2), draw(2, 1, plain.config.chunk_length, 200)
    calls = plain.config.mpg_refinement_iters * plain.config.num_inference_steps
    directions = draw(calls, 32, plain.config.decoder.und.hidden_size)
    options = {"noise": noise[: 1 + plain.config.use_mpg], "projections": directions, "refinement_iters": None}
    expected, found = (engine.get_action(sample, **options) for engine in (plain, small))
    assert 0 < (found - expected).norm() <= most * expected.norm()


def test_towers_are_chosen_apart(tmp_path, original):
    out = make(original, tmp_path / "act", towers="act")
    names = load_file(out / WEIGHTS)
    assert f"{TENSOR}.weight" in names
    assert names[f"{TENSOR.replace('.mlp.', '.mlp_mot_gen.')}.{VALUES}"].dtype == torch.int8
    assert load_engine(out).config.quantised.towers == ["act"]


def test_only_an_engine_takes_a_quantised_checkpoint(tmp_path, original):
    out = make(original, tmp_path / "small")
    load_for_contract(load_contract("fr3"), out, threads=1)
    with pytest.raises(BeingHError, match="only an engine computes with them.*To fix: give the checkpoint that it"):
        BeingH.from_pretrained(out)
    raw = json.loads((out / "config.json").read_text())
    del raw[KEY]  # a tool that does not know the key
    (out / "config.json").write_text(json.dumps(raw))
    with pytest.raises(BeingHError, match="expected shape .* found none"):
        BeingH.from_pretrained(out)


@pytest.mark.parametrize(
    "change, told",
    [
        ({"quant_method": "awq"}, "quant_method"),
        ({"scheme": "int3"}, "int8"),
        ({"scheme": "int4"}, "group_size"),
        ({"group_size": 8}, "group_size"),
        ({"towers": ["und", "und"]}, "twice"),
        ({"towers": ["hands"]}, "towers"),
        ({"towers": ["und"]}, "do not fit config.json"),
        ({"version": 2}, "version"),
    ],
)
def test_what_the_checkpoint_says_is_checked(tmp_path, original, change, told):
    out = make(original, tmp_path / "small")
    raw = json.loads((out / "config.json").read_text())
    raw[KEY] |= change
    (out / "config.json").write_text(json.dumps(raw))
    with pytest.raises(BeingHError, match=told):
        load_engine(out)


def test_stored_numbers_of_another_kind_are_refused(tmp_path, original):
    out = make(original, tmp_path / "small")
    tensors = load_file(out / WEIGHTS)
    for name, value, told in (
        (f"{TENSOR}.{VALUES}", tensors[f"{TENSOR}.{VALUES}"].float(), "has values of type F32"),
        (f"{TENSOR}.{SCALE}", torch.full_like(tensors[f"{TENSOR}.{SCALE}"], torch.nan), "not finite"),
    ):
        save_file(tensors | {name: value}, out / WEIGHTS)
        with pytest.raises(BeingHError, match=told):
            load_engine(out)


def damaged(original, tmp_path, change):
    copy = Path(shutil.copytree(original, tmp_path / "damaged"))
    tensors = load_file(copy / WEIGHTS)
    change(tensors)
    save_file(tensors, copy / WEIGHTS)
    return copy


def test_what_cannot_be_quantised_is_refused_and_leaves_nothing(tmp_path, original):
    def run(source, told, *more, out="out"):
        with pytest.raises(BeingHError, match=told):
            make(source, tmp_path / out, *more)
        assert not list(tmp_path.glob("out*"))

    run(make(original, tmp_path / "once"), "is quantised already .int8")
    run(original, "something is there already", out="once")
    run(original, "unknown scheme", "int3")
    run(original, "towers", "int8", "und,legs")
    run(original, "towers", "int8", "")
    run(original, "groups of 6 do not divide", "int4", "und", 6)
    run(original, "group_size 3 is odd", "int4", "und", 3)
    run(damaged(original, tmp_path / "a", lambda t: t[f"{TENSOR}.weight"].fill_(torch.nan)), "not finite")
    lora = damaged(original, tmp_path / "b", lambda t: t.update({f"{TENSOR}.lora_A.weight": torch.zeros(2, 8)}))
    run(lora, "low-rank changes .LoRA.*merge them")


def test_the_command_tells_what_it_costs(tmp_path, capsys):
    out, task = tmp_path / "small", ["--task", "pick up the green cube", "--threads", "1"]
    command = ["quantize", str(CHECKPOINT), "--data", str(BAG), "--out", str(out), "--observations", "6", *task]
    assert main([*command, "--scheme", "int4", "--group-size", "32"]) == 0
    text, report = capsys.readouterr().out, json.loads((out / "quantised.json").read_text())
    assert "int4, groups of 32 in und, act, vision" in text and "eef_position [mm/step]" in text
    assert 1 <= report["observations"] <= 6 and report["weights_mb"]["int4"] < 0.6 * report["weights_mb"]["bfloat16"]
    steps = report["errors"]["eef_position"]["steps"]
    assert set(steps) == {"1", "s", "H"} and all(0 < one["mean"] < 5 for one in steps.values())
    assert main([*command, "--scheme", "int4"]) == 2 and "something is there already" in capsys.readouterr().err
    blind = load_file(make(CHECKPOINT, tmp_path / "blind", "int4", group=32) / WEIGHTS)
    seen = load_file(out / WEIGHTS)
    assert any(not torch.equal(seen[name], blind[name]) for name in seen if name.endswith(SCALE))


def test_a_full_disk_leaves_nothing_and_says_so(tmp_path, monkeypatch):
    def full(*args, **kwargs):
        raise SafetensorError("I/O error: File too large")

    monkeypatch.setattr(checkpoint, "save_file", full)
    with pytest.raises(BeingHError, match="cannot be written: I/O error.*make room"):
        make(CHECKPOINT, tmp_path / "small")
    assert not list(tmp_path.iterdir())


def test_the_bench_compares_a_scheme_with_the_plain_engine():
    bench = inference.InferenceBench(scheme="w8a8", engine="cached", repeats=1, dtype="bfloat16")
    said = []
    report = inference.run(bench, said.append)
    assert report["plain_ratio"] > 0 and report["ratio"] is None
    assert any(line.startswith("cached: weights 0 MB (w8a8 in und, act, vision)") for line in said)
    with pytest.raises(BeingHError, match="unknown scheme"):
        inference.InferenceBench(scheme="fp4")


def raw_of(hidden, layers):
    raw = json.loads(json.dumps(shapes.SHAPES["tiny"]))
    raw["llm_config"] |= {"num_hidden_layers": layers, "hidden_size": hidden, "intermediate_size": 2 * hidden}
    raw["llm_config"]["expert_config"] |= {"hidden_size": hidden, "intermediate_size": 2 * hidden}
    return raw


@pytest.mark.parametrize("scheme", ["", "int8", "int4"])
def test_loading_holds_each_weight_once(tmp_path, scheme):
    """In float32 nothing is packed, so that every storage is seen."""
    source = tmp_path / "plain"
    shapes.random_model(raw_of(128, 12), "cpu", torch.bfloat16).save_pretrained(source)
    source = make(source, tmp_path / "small", scheme, group=16) if scheme else source
    with PeakMemory() as memory:
        engine = load_engine(source, dtype=torch.float32)
    assert engine.weight_bytes <= memory.peak <= 1.15 * engine.weight_bytes
    assert memory.now <= 1.01 * engine.weight_bytes


def test_an_engine_of_random_weights_is_that_of_the_random_model():
    raw = shapes.SHAPES["tiny"]
    model, sample = shapes.random_model(raw, "cpu", torch.bfloat16, 3), None
    sample, noise = shapes.random_sample(model, 2), draw(1, 1, 16, 200)
    engines = (Engine(model), shapes.random_engine(raw, "cpu", torch.bfloat16, 3))
    first, second = (engine.get_action(sample, noise=noise, refinement_iters=0) for engine in engines)
    assert torch.equal(first, second)


@pytest.mark.slow
@pytest.mark.parametrize(
    "stored, dtype, scheme",
    [
        (torch.bfloat16, torch.bfloat16, ""),
        (torch.float32, torch.bfloat16, ""),
        (torch.bfloat16, torch.bfloat16, "w8a8"),
        (torch.bfloat16, torch.bfloat16, "int4"),
    ],
)
def test_the_process_holds_little_more_than_the_weights(tmp_path, stored, dtype, scheme):
    source = tmp_path / "plain"
    shapes.random_model(raw_of(1024, 12), "cpu", stored).save_pretrained(source)
    source = make(source, tmp_path / "small", scheme, "und,act", 32) if scheme else source
    load_engine(CHECKPOINT).get_action(
        shapes.random_sample(load_engine(CHECKPOINT).model, 2)
    )  # memory of a first chunk
    give_back()
    with peak_memory(torch.device("cpu")) as peak:
        engine = load_engine(source, dtype=dtype)
        engine.get_action(shapes.random_sample(engine.model, 2), refinement_iters=0)
    assert engine.weight_bytes > 80e6 and peak.own_mb * 2**20 <= 1.15 * engine.weight_bytes
