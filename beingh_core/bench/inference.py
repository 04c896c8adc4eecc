"""`beingh bench inference`: how long one action chunk takes, part by part, and whether both engines agree."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from torch import Tensor

from beingh_core.bench.full_sequence import full_sequence_actions
from beingh_core.bench.matmul_bound import Parts, RateMeter, Rates, Work, chunk_bound_ms, count_parts
from beingh_core.bench.memory import Peak, held_mb, peak_memory
from beingh_core.bench.shapes import SHAPES, TEXT_TOKENS, build_model, random_engine, random_sample
from beingh_core.errors import BeingHError
from beingh_core.model import BeingH
from beingh_core.model.config import UNIFIED_WIDTH
from beingh_core.model.quantised import GROUP, TOWERS, QuantisedConfig, quantised_config

DTYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16}
DEVICES = ("cpu", "cuda")
ENGINES = ("cached", "full", "both")
FULL_CHUNKS = 20
"""At most so many chunks of the full sequence when both engines run: it only serves for comparison."""
CLOCKED_CHUNKS = 3
"""Chunks of each engine whose parts are timed; clocks on modules synchronise the device, so totals are timed apart."""


@dataclass(frozen=True, kw_only=True)
class InferenceBench:
    """What to measure; checked on construction.

    Attributes:
        shape: A name in `SHAPES`.
        device: Where it runs.
        dtype: Type of weights and activations.
        steps: Euler steps of a pass; None takes the shape's.
        views: Images.
        engine: `cached`, `full` (full sequence), or `both` in turn.
        robots: Robots computed in one call; the full sequence takes them one after the other.
        repeats: Timed calls of each engine.
        seed: Of weights, sample, noise and directions.
        scheme: In how many bits the cached engine's weights are, one of `SCHEMES`; "" as `dtype`.
        towers: Which parts of them; a scheme makes `plain`, the engine without it, run beside.
        group_size: Numbers that share a scale, of int4.
    """

    shape: str = "tiny"
    device: str = "cpu"
    dtype: str = "float32"
    steps: int | None = None
    views: int = 2
    engine: str = "both"
    robots: int = 1
    repeats: int = 10
    seed: int = 0
    scheme: str = ""
    towers: str = ",".join(TOWERS)
    group_size: int = GROUP

    def __post_init__(self) -> None:
        for name, allowed in (("shape", SHAPES), ("device", DEVICES), ("dtype", DTYPES), ("engine", ENGINES)):
            if getattr(self, name) not in allowed:
                raise BeingHError(f"unknown {name} '{getattr(self, name)}'", allowed=allowed, where=f"--{name}")
        for name, least in (("steps", 1), ("views", 0), ("robots", 1), ("repeats", 1), ("seed", 0)):
            value = getattr(self, name)
            if value is not None and value < least:
                raise BeingHError(f"{name} is {value}", where=f"--{name}", allowed=f"{least} or more")
        if self.scheme and self.engine == "full":
            raise BeingHError("--scheme with --engine full", allowed="cached or both", remedy="leave one out")
        _ = self.bits
        if self.device == "cuda" and not torch.cuda.is_available():
            raise BeingHError(
                "this PyTorch sees no NVIDIA GPU",
                where="--device cuda",
                remedy="run with --device cpu, or install the CUDA build of torch on a machine with a GPU",
            )

    @property
    def runs(self) -> list[str]:
        """Names of what runs, the cached engine first: its memory is measured before others have any."""
        cached = ["cached", *(["plain"] if self.scheme else [])]
        return {"cached": cached, "full": ["full"], "both": [*cached, "full"]}[self.engine]

    @property
    def bits(self) -> QuantisedConfig | None:
        """What the scheme and its towers say; None without a scheme."""
        return quantised_config(self.scheme, self.towers, self.group_size) if self.scheme else None


@dataclass(kw_only=True)
class Measured:
    """One engine's times [ms], weights [MB] and memory; `parts` come from chunks with clocks on the modules.

    `cpu_ms` is the time that the process had processors for, summed over them: other programs change it least.
    """

    total_ms: list[float] = field(default_factory=list)
    cpu_ms: list[float] = field(default_factory=list)
    parts: dict[str, list[float]] = field(default_factory=lambda: {"vision": [], "prefix": [], "step": []})
    weights_mb: float = 0.0
    memory: Peak = field(default_factory=Peak)
    actions: Tensor | None = None

    def total(self, quantile: float) -> float:
        """Quantile of the time of a chunk [ms]."""
        return float(np.quantile(self.total_ms, quantile))

    @property
    def cpu(self) -> float:
        """Median processor time of a chunk [ms]."""
        return float(np.median(self.cpu_ms))

    def part(self, name: str) -> float:
        """Median time of one part [ms]; 0 when the chunk has no such part."""
        return float(np.median(self.parts[name])) if self.parts[name] else 0.0


def run(bench: InferenceBench, say: Callable[[str], None] = print) -> dict[str, Any]:
    """Measures, tells what it found in lines of text, and returns the report.

    Returns:
        `total_ms` {p50, p95}, `vision_ms`, `prefix_ms`, `step_ms` (one Euler step), `weights_mb`, `peak_memory_mb` (making
        the weights and the first chunk, what was there before included) and `memory_ratio` (the peak less what was there
        before, over the weights) of the cached engine (of the full one when it runs alone), `full_total_ms` {p50},
        `ratio` (full / cached, medians), `plain_ratio` (without the scheme / with it), both also as `cpu_ratio` and
        `plain_cpu_ratio` of processor times, `cpu_ms` of the cached engine, `max_abs_diff` between their actions, `bound_ms`,
        `growth_mb` (memory held after all chunks less that after the first). What needs an engine that did not
        run is None.
    """
    device, dtype = torch.device(bench.device), DTYPES[bench.dtype]
    say(
        f"{bench.shape}, {bench.device}, {bench.dtype}, {bench.views} views, {bench.robots} robots, {torch.get_num_threads()} threads"
    )
    runners, measured = {}, {}
    for name in bench.runs:
        with peak_memory(device) as peak:
            runners[name] = RUNNERS[name](bench)
            measured[name] = Measured(actions=runners[name].chunks(), memory=peak, weights_mb=runners[name].weights_mb)
        say(_memory_text(name, measured[name], runners[name].kind))
    model = next(iter(runners.values())).model
    meter = RateMeter(device, dtype)
    meter.sample()
    before_mb = held_mb(device)
    _repeat(bench, runners, measured, meter)
    growth_mb = held_mb(device) - before_mb
    for name, result in measured.items():
        # The full sequence has no prefix: it computes all tokens in each step.
        parts = ", ".join(f"{n} {result.part(n):.2f}" for n in result.parts if (name, n) != ("full", "prefix"))
        say(
            f"{name}: total p50 {result.total(0.5):.2f} p95 {result.total(0.95):.2f}, {parts} [ms], processor {result.cpu:.2f}"
        )
    say(f"memory held after {bench.repeats} chunks: {growth_mb:+.1f} MB")
    report = _report(measured, _bound_ms(model, bench, meter.rates(), say)) | {"growth_mb": growth_mb}
    if report["plain_ratio"] is not None:
        say(f"plain / {bench.scheme} {report['plain_ratio']:.2f}, by processor time {report['plain_cpu_ratio']:.2f}")
    if report["ratio"] is not None:
        largest = float(measured["cached"].actions.abs().max())
        say(f"full / cached {report['ratio']:.2f}, by processor time {report['cpu_ratio']:.2f}")
        say(f"largest difference {report['max_abs_diff']:.2e}, largest action {largest:.2f}")
        if bench.dtype == "bfloat16" and not bench.scheme:
            say("in bfloat16 the engines add in different orders; compare them in float32 to check equality")
    say(f"matmul bound {report['bound_ms']:.2f} ms, total / bound {report['total_ms']['p50'] / report['bound_ms']:.2f}")
    return report


def _repeat(bench: InferenceBench, runners: dict[str, Any], measured: dict[str, Measured], meter: RateMeter) -> None:
    """Times chunks of all engines in turn."""
    device = torch.device(bench.device)
    for index in range(bench.repeats):
        for name, runner in runners.items():
            if name == "full" and bench.engine == "both" and index >= FULL_CHUNKS:
                continue
            before_s = time.process_time()
            measured[name].total_ms.append(_timed_ms(runner.chunks, device))
            measured[name].cpu_ms.append(1e3 * (time.process_time() - before_s))
            if index < CLOCKED_CHUNKS:
                runner.clocked(measured[name].parts)
        if index < FULL_CHUNKS:
            meter.sample()


def _memory_text(name: str, result: Measured, kind: str) -> str:
    """Weights, peak and their ratio."""
    peak = result.memory
    return (
        f"{name}: weights {result.weights_mb:.0f} MB ({kind}), peak with making them {peak.own_mb:.0f} MB above the "
        f"{peak.before_mb:.0f} MB held before ({peak.counter}), peak / weights {peak.own_mb / result.weights_mb:.3f}"
    )


def _report(measured: dict[str, Measured], bound_ms: float) -> dict[str, Any]:
    first = next(iter(measured.values()))
    full, cached, plain = (measured.get(name) for name in ("full", "cached", "plain"))
    both = full is not None and cached is not None
    return {
        "total_ms": {"p50": first.total(0.5), "p95": first.total(0.95)},
        "vision_ms": first.part("vision"),
        "prefix_ms": first.part("prefix"),
        "step_ms": first.part("step"),
        "full_total_ms": {"p50": full.total(0.5) if full else None},
        "ratio": full.total(0.5) / cached.total(0.5) if both else None,
        "cpu_ms": first.cpu,
        "cpu_ratio": full.cpu / cached.cpu if both else None,
        "max_abs_diff": float((full.actions - cached.actions).abs().max()) if both else None,
        "bound_ms": bound_ms,
        "plain_ratio": plain.total(0.5) / cached.total(0.5) if plain else None,
        "plain_cpu_ratio": plain.cpu / cached.cpu if plain else None,
        "weights_mb": first.weights_mb,
        "peak_memory_mb": first.memory.peak_mb,
        "memory_ratio": first.memory.own_mb / first.weights_mb,
    }


def _inputs(model: BeingH, device: torch.device, bench: InferenceBench) -> tuple[list[dict[str, Any]], dict[str, Any]]:
    """One packed sample for each robot, and the flow's options: the same noise and directions for every engine."""
    config = model.config
    steps, passes = bench.steps or config.num_inference_steps, config.mpg_refinement_iters + 1
    generator = torch.Generator().manual_seed(bench.seed)
    shape = (passes, bench.robots, config.chunk_length, UNIFIED_WIDTH)
    noise = torch.randn(shape, generator=generator).to(device)
    widths = (config.mpg_num_projections, config.decoder.und.hidden_size)
    projections = torch.randn((passes - 1) * steps, *widths, generator=generator).to(device)
    samples = [random_sample(model, bench.views, bench.seed + index) for index in range(bench.robots)]
    return samples, {"noise": noise, "projections": projections, "num_steps": steps}


class CachedRunner:
    """Chunks of the engine, whole or with a clock between its parts."""

    def __init__(self, bench: InferenceBench, bits: QuantisedConfig | None = None) -> None:
        self._engine = random_engine(SHAPES[bench.shape], bench.device, DTYPES[bench.dtype], bench.seed, bits)
        self.model, self.weights_mb = self._engine.model, self._engine.weight_bytes / 2**20
        self.kind = bits.text if bits else bench.dtype
        self._samples, self._options = _inputs(self.model, self._engine.device, bench)
        self._flow_steps = len(self._options["noise"]) * self._options["num_steps"]

    def chunks(self) -> Tensor:
        """One chunk for each robot, (B, H, W)."""
        return self._engine.finish(self._engine.begin(self._samples), **self._options)

    def clocked(self, parts: dict[str, list[float]]) -> None:
        """The same with its parts timed."""
        engine, device = self._engine, self._engine.device
        started = engine.load(self._samples)
        if started.workspace.pixels.shape[0]:
            parts["vision"].append(_timed_ms(lambda: engine.see(started.workspace), device))
        parts["prefix"].append(_timed_ms(lambda: engine.read(started.workspace), device))
        flow_ms = _timed_ms(lambda: engine.finish(started, **self._options), device)
        parts["step"].append(flow_ms / self._flow_steps)


class FullRunner:
    """Chunks of the full-sequence path, whole or with clocks on its modules."""

    def __init__(self, bench: InferenceBench) -> None:
        self.model = build_model(bench.shape, bench.device, DTYPES[bench.dtype], bench.seed)
        self.weights_mb, self.kind = sum(p.nbytes for p in self.model.parameters()) / 2**20, bench.dtype
        self._samples, options = _inputs(self.model, self.model.device, bench)
        noise = options.pop("noise")
        self._options = [options | {"noise": noise[:, index : index + 1]} for index in range(bench.robots)]

    def chunks(self) -> Tensor:
        """One chunk for each robot, (B, H, W)."""
        pairs = zip(self._samples, self._options, strict=True)
        return torch.stack([full_sequence_actions(self.model, sample, **options) for sample, options in pairs])

    def clocked(self, parts: dict[str, list[float]]) -> None:
        """The same with vision and steps timed; there is no prefix, since every step computes all tokens."""
        with _module_clocks(self.model, parts):
            self.chunks()


RUNNERS = {"cached": lambda bench: CachedRunner(bench, bench.bits), "plain": CachedRunner, "full": FullRunner}


def _bound_ms(model: BeingH, bench: InferenceBench, rates: Rates, say: Callable[[str], None]) -> float:
    parts = count_parts(model, sum(TEXT_TOKENS[:3]), bench.views)
    parts = Parts(*(Work(work.flops * bench.robots, work.weight_bytes) for work in parts))
    say(f"measured here: matmul {rates.flops / 1e9:.0f} GFLOP/s, memory {rates.bytes / 1e9:.1f} GB/s")
    say("bound by part: " + ", ".join(f"{n} {rates.bound_ms(w):.3f}" for n, w in parts._asdict().items()) + " [ms]")
    steps = bench.steps or model.config.num_inference_steps
    return chunk_bound_ms(parts, rates, steps, model.config.mpg_refinement_iters)


def _synchronise(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize(device)


def _timed_ms(call: Callable[[], object], device: torch.device) -> float:
    _synchronise(device)
    begin = time.perf_counter()
    call()
    _synchronise(device)
    return 1e3 * (time.perf_counter() - begin)


@contextmanager
def _module_clocks(model: BeingH, parts: dict[str, list[float]]) -> Iterator[None]:
    """Times vision and steps by the modules that begin and end them."""
    begun: dict[str, float] = {}

    def start(name: str) -> Callable[..., None]:
        def hook(*_: object) -> None:
            _synchronise(model.device)
            begun[name] = time.perf_counter()

        return hook

    def end(name: str) -> Callable[..., None]:
        def hook(*_: object) -> None:
            _synchronise(model.device)
            parts[name].append(1e3 * (time.perf_counter() - begun[name]))

        return hook

    handles = [
        model.vit_model.register_forward_pre_hook(start("vision")),
        model.connector.register_forward_hook(end("vision")),
        model.action_encoder.register_forward_pre_hook(start("step")),
        model.action_decoder.register_forward_hook(end("step")),
    ]
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()
