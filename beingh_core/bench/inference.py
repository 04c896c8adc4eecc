"""`beingh bench inference`: how long one action chunk takes, part by part, and whether both engines agree."""

from __future__ import annotations

import os
import resource
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from beingh_core.bench.full_sequence import full_sequence_actions
from beingh_core.bench.matmul_bound import chunk_bound_ms, count_parts, measure_rates
from beingh_core.bench.shapes import SHAPES, TEXT_TOKENS, build_model, random_sample
from beingh_core.errors import BeingHError
from beingh_core.model import BeingH
from beingh_core.model.config import UNIFIED_WIDTH

DTYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16}
DEVICES = ("cpu", "cuda")
ENGINES = ("cached", "full", "both")
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
        repeats: Timed chunks of each engine.
        seed: Of weights, sample, noise and directions.
    """

    shape: str = "tiny"
    device: str = "cpu"
    dtype: str = "float32"
    steps: int | None = None
    views: int = 2
    engine: str = "both"
    repeats: int = 10
    seed: int = 0

    def __post_init__(self) -> None:
        for name, allowed in (("shape", SHAPES), ("device", DEVICES), ("dtype", DTYPES), ("engine", ENGINES)):
            if getattr(self, name) not in allowed:
                raise BeingHError(f"unknown {name} '{getattr(self, name)}'", allowed=allowed, where=f"--{name}")
        for name, least in (("steps", 1), ("views", 0), ("repeats", 1), ("seed", 0)):
            value = getattr(self, name)
            if value is not None and value < least:
                raise BeingHError(f"{name} is {value}", where=f"--{name}", allowed=f"{least} or more")
        if self.device == "cuda" and not torch.cuda.is_available():
            raise BeingHError(
                "this PyTorch sees no NVIDIA GPU",
                where="--device cuda",
                remedy="run with --device cpu, or install the CUDA build of torch on a machine with a GPU",
            )


@dataclass(kw_only=True)
class Measured:
    """One engine's times [ms] and its peak memory [MB]; `parts` come from chunks with clocks on the modules."""

    total_ms: list[float] = field(default_factory=list)
    parts: dict[str, list[float]] = field(default_factory=lambda: {"vision": [], "prefix": [], "step": []})
    peak_memory_mb: float = 0.0
    actions: Tensor | None = None

    def total(self, quantile: float) -> float:
        """Quantile of the time of a chunk [ms]."""
        return float(np.quantile(self.total_ms, quantile))

    def part(self, name: str) -> float:
        """Median time of one part [ms]; 0 when the chunk has no such part."""
        return float(np.median(self.parts[name])) if self.parts[name] else 0.0


def run(bench: InferenceBench, say: Callable[[str], None] = print) -> dict[str, Any]:
    """Measures, tells what it found in lines of text, and returns the report.

    Returns:
        `total_ms` {p50, p95}, `vision_ms`, `prefix_ms`, `step_ms` (one Euler step) and `peak_memory_mb` of the cached
        engine (of the full one when it runs alone), `full_total_ms` {p50}, `ratio` (full / cached, medians),
        `max_abs_diff` between their actions, `bound_ms`. What needs an engine that did not run is None.
    """
    device, dtype = torch.device(bench.device), DTYPES[bench.dtype]
    model = build_model(bench.shape, device, dtype, bench.seed)
    say(f"{bench.shape}, {bench.device}, {bench.dtype}, {bench.views} views, {torch.get_num_threads()} threads")
    engines = _engines(model, bench)
    measured = {name: Measured() for name in engines}
    for name, chunk in engines.items():
        with _peak_memory(device, measured[name]):
            measured[name].actions = chunk()
    for index in range(bench.repeats):
        for name, chunk in engines.items():
            measured[name].total_ms.append(_timed_ms(chunk, device))
            if index < CLOCKED_CHUNKS:
                with _part_clocks(model, measured[name].parts):
                    chunk()
    for name, result in measured.items():
        # The full sequence has no prefix: it computes all tokens in each step.
        parts = ", ".join(f"{n} {result.part(n):.2f}" for n in result.parts if (name, n) != ("full", "prefix"))
        say(f"{name}: total p50 {result.total(0.5):.2f} p95 {result.total(0.95):.2f}, {parts} [ms]")
        say(f"{name}: peak memory {result.peak_memory_mb:.0f} MB")
    report = _report(measured, _bound_ms(model, bench, say))
    if report["ratio"] is not None:
        largest = float(measured["cached"].actions.abs().max())
        say(f"full / cached {report['ratio']:.2f}")
        say(f"largest difference {report['max_abs_diff']:.2e}, largest action {largest:.2f}")
        if bench.dtype == "bfloat16":
            say("in bfloat16 the engines add in different orders; compare them in float32 to check equality")
    say(f"matmul bound {report['bound_ms']:.2f} ms, total / bound {report['total_ms']['p50'] / report['bound_ms']:.2f}")
    return report


def write_target(path: str) -> Path:
    """The file to write a report to; BeingHError, before anything is measured, when that cannot work."""
    target = Path(path)
    if target.is_dir() or not os.access(target if target.exists() else target.parent, os.W_OK):
        raise BeingHError(f"cannot write '{path}'", where="--json", remedy="give a file in a folder that you may write")
    return target


def _report(measured: dict[str, Measured], bound_ms: float) -> dict[str, Any]:
    first = next(iter(measured.values()))
    full, cached = measured.get("full"), measured.get("cached")
    both = full is not None and cached is not None
    return {
        "total_ms": {"p50": first.total(0.5), "p95": first.total(0.95)},
        "vision_ms": first.part("vision"),
        "prefix_ms": first.part("prefix"),
        "step_ms": first.part("step"),
        "full_total_ms": {"p50": full.total(0.5) if full else None},
        "ratio": full.total(0.5) / cached.total(0.5) if both else None,
        "max_abs_diff": float((full.actions - cached.actions).abs().max()) if both else None,
        "bound_ms": bound_ms,
        "peak_memory_mb": first.peak_memory_mb,
    }


def _engines(model: BeingH, bench: InferenceBench) -> dict[str, Callable[[], Tensor]]:
    """Calls that compute the same chunk, from the same noise and directions, by engine; the cached one first."""
    config = model.config
    steps, passes = bench.steps or config.num_inference_steps, config.mpg_refinement_iters + 1
    batch = random_sample(model, bench.views, bench.seed)
    generator = torch.Generator().manual_seed(bench.seed)
    noise = torch.randn(passes, 1, config.chunk_length, UNIFIED_WIDTH, generator=generator).to(model.device)
    projections = model.directions((passes - 1) * steps, generator)
    calls = {
        "cached": lambda: model.get_action(batch, noise=noise, projections=projections, num_steps=steps),
        "full": lambda: full_sequence_actions(model, batch, noise, projections, num_steps=steps),
    }
    return {name: call for name, call in calls.items() if bench.engine in (name, "both")}


def _bound_ms(model: BeingH, bench: InferenceBench, say: Callable[[str], None]) -> float:
    parts = count_parts(model, sum(TEXT_TOKENS[:3]), bench.views)
    rates = measure_rates(model.device, model.dtype)
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
def _part_clocks(model: BeingH, parts: dict[str, list[float]]) -> Iterator[None]:
    """Times the parts of a chunk by the modules that every engine must call, in the order it must call them."""
    begun: dict[str, float] = {}

    def start(name: str) -> Callable[..., None]:
        def hook(*_: object) -> None:
            _synchronise(model.device)
            now = time.perf_counter()
            if name == "step" and "prefix" in begun:
                parts["prefix"].append(1e3 * (now - begun.pop("prefix")))
            begun[name] = now

        return hook

    def end(name: str) -> Callable[..., None]:
        def hook(*_: object) -> None:
            _synchronise(model.device)
            now = time.perf_counter()
            parts[name].append(1e3 * (now - begun[name]))
            if name == "vision":
                begun["prefix"] = now

        return hook

    handles = [
        model.vit_model.register_forward_pre_hook(start("vision")),
        model.connector.register_forward_hook(end("vision")),
        model.action_encoder.register_forward_pre_hook(start("step")),
        model.action_decoder.register_forward_hook(end("step")),
    ]
    # Without images the prefix begins with the chunk; else the end of vision sets it anew.
    _synchronise(model.device)
    begun["prefix"] = time.perf_counter()
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()


@contextmanager
def _peak_memory(device: torch.device, result: Measured) -> Iterator[None]:
    """Peak memory of a block, weights included: allocated on the GPU, or resident in this process on a CPU."""
    if device.type == "cuda":
        torch.cuda.reset_peak_memory_stats(device)
        yield
        result.peak_memory_mb = torch.cuda.max_memory_allocated(device) / 2**20
        return
    resettable = _reset_peak_resident()
    yield
    result.peak_memory_mb = _peak_resident_mb(resettable)


def _reset_peak_resident() -> bool:
    """Whether Linux let us forget the process's earlier peak."""
    try:
        Path("/proc/self/clear_refs").write_text("5")
    except OSError:
        return False
    return True


def _peak_resident_mb(since_reset: bool) -> float:
    if since_reset:
        lines = Path("/proc/self/status").read_text().splitlines()
        return next(int(line.split()[1]) for line in lines if line.startswith("VmHWM:")) / 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
