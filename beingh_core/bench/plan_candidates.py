"""What could be changed about a policy, each change measured in turn with the policy as it is, in the time that is left."""

from __future__ import annotations

import gc
import time
from collections.abc import Mapping, Sequence
from contextlib import nullcontext
from dataclasses import dataclass, field
from typing import Any

import torch

from beingh_core.bench.plan_measuring import StandingRobot, changed
from beingh_core.bench.plan_settings import PlanBench, load
from beingh_core.contract import RobotContract
from beingh_core.policy.loading import DTYPES

JPEG_QUALITY = 90
MORE_TIME = "give more --minutes"
_KEYS = {"num_steps": "num_inference_timesteps", "refinement_iters": "mpg_refinement_iters"}


@dataclass(kw_only=True)
class Change:
    """One change, or several together.

    Attributes:
        name: In few words.
        how: What to do for it.
        options: Of `plan_measuring.changed`.
        chunk_ms: What it takes [ms]; empty where it was not measured.
        ratio: How many times as fast it makes a chunk, by the quickest of both, which what else runs on the machine
            disturbs least; None where it was not measured.
        skipped: Why it was not measured.
    """

    name: str
    how: str
    options: Mapping[str, int] = field(default_factory=dict)
    chunk_ms: list[float] = field(default_factory=list)
    ratio: float | None = None
    skipped: str = ""


@dataclass(frozen=True, kw_only=True)
class Baseline:
    """The policy as it is: time of its quickest chunk [ms], peak memory [MB], how long it took to load [s], fewer bits."""

    chunk_ms: float
    memory_mb: float
    load_s: float
    quantised: bool = False


def changes_of(policy) -> list[Change]:
    """What can be changed about a `BeingHPolicy` that stays loaded."""
    passes, found = policy.model_facts["mpg_passes"], []
    steps = policy.engine.config.num_inference_steps // 2
    fewer, once = {"num_steps": steps}, {"refinement_iters": 0}
    if steps:
        found.append(_of_flow(f"{steps} steps", fewer))
    if passes:
        found.append(_of_flow("no refinement", once))
    if len(found) == 2:
        found.append(_of_flow(f"{steps} steps, no refinement", fewer | once))
    if len(policy.views) > 1:
        how = f"a checkpoint trained without {policy.views[-1]}, and a contract without it"
        found.append(Change(name="a view less", how=how, options={"views": len(policy.views) - 1}))
    return found


def _of_flow(name: str, options: dict[str, int]) -> Change:
    """A change of what every chunk computes."""
    keys = " and ".join(f"{_KEYS[option]} {value}" for option, value in options.items())
    return Change(name=name, how=f"{keys} in config.json, or as options of `beingh serve`", options=options)


def measure_here(contract: RobotContract, policy, changes: Sequence[Change], end: float) -> None:
    """Measures changes of a loaded policy in turn with the policy itself, until a time of `perf_counter`.

    The first round does not count where there is another.
    """
    robot, own_ms = StandingRobot(contract, policy), []
    asked: list[tuple[Mapping[str, Any] | None, list[float]]] = [(None, own_ms)]
    asked += [(change.options, change.chunk_ms) for change in changes]
    while time.perf_counter() < end:
        for options, found in asked:
            if time.perf_counter() < end:
                with nullcontext() if options is None else changed(policy, **options):
                    found.append(robot.chunk_ms())
    for change in changes:
        _conclude(change, _counted(own_ms))


def measure_others(
    bench: PlanBench, contract: RobotContract, own: Baseline, changes: Sequence[Change], end: float
) -> list[Change]:
    """The other precisions, alone and together with the changes of steps and passes; for a server, compressed pictures.

    Nothing of the policy as it is may be held any more: both may not fit into memory.
    """
    if bench.server:
        how = f"policy_jpeg_quality {JPEG_QUALITY}: the pictures lose a little"
        found = [(Change(name=f"JPEG {JPEG_QUALITY}", how=how), [], {"jpeg_quality": JPEG_QUALITY})]
    else:
        fewer = [change for change in changes if "views" not in change.options][-1:]
        found = [(_other_dtype(dtype), fewer, {"dtype": dtype}) for dtype in DTYPES if dtype != bench.own_dtype]
    measured = []
    for number, (change, fewer, instead) in enumerate(found):
        together = [_together(change, other) for other in fewer]
        begin = time.perf_counter()
        until = begin + (end - begin) / (len(found) - number)
        change.skipped = _cannot(bench, own, instead, until - begin)
        if not change.skipped:
            _measure_other(contract, load(bench, contract, **instead), [change, *together], own, until)
            gc.collect()
        for one in together:
            one.skipped = one.skipped or change.skipped
        measured += [change, *together]
    return measured


def _measure_other(contract: RobotContract, policy, changes: Sequence[Change], own: Baseline, end: float) -> None:
    robot = StandingRobot(contract, policy)
    while not changes[0].chunk_ms or time.perf_counter() < end:
        for change in changes:
            with changed(policy, **change.options) if change.options else nullcontext():
                change.chunk_ms.append(robot.chunk_ms())
    for change in changes:
        _conclude(change, [own.chunk_ms])


def _conclude(change: Change, own_ms: Sequence[float]) -> None:
    change.chunk_ms = _counted(change.chunk_ms)
    if change.chunk_ms and own_ms:
        change.ratio = min(own_ms) / min(change.chunk_ms)
    else:
        change.skipped = f"no time was left: {MORE_TIME}"


def _counted(values: list[float]) -> list[float]:
    return values[1:] if len(values) > 1 else values


def _other_dtype(dtype: str) -> Change:
    return Change(name=dtype, how=f"`beingh serve --dtype {dtype}` on this computer, and policy_url")


def _together(change: Change, other: Change) -> Change:
    return Change(name=f"{change.name}, {other.name}", how=f"{change.how}; {other.how}", options=other.options)


def _cannot(bench: PlanBench, own: Baseline, instead: Mapping[str, Any], seconds: float) -> str:
    """Why another policy cannot be loaded and measured; "" when it can."""
    dtype = instead.get("dtype")
    needed_s = own.load_s + 4e-3 * own.chunk_ms
    if needed_s > seconds:
        return f"loading and a few chunks take {needed_s:.0f} s, {max(0.0, seconds):.0f} s are left: {MORE_TIME}"
    if dtype is None or own.quantised:
        return ""
    needed_mb = own.memory_mb * getattr(torch, dtype).itemsize / getattr(torch, bench.own_dtype).itemsize
    free_mb = _free_mb(bench.own_device)
    if free_mb is not None and needed_mb > free_mb:
        return f"it needs about {needed_mb:.0f} MB, {free_mb:.0f} MB are free"
    return ""


def _free_mb(device: str) -> float | None:
    """Memory that can be had [MB]; None where nobody says."""
    if device == "cuda":
        return torch.cuda.mem_get_info()[0] / 2**20
    try:
        with open("/proc/meminfo") as file:
            lines = file.read().splitlines()
    except OSError:
        return None
    return next((int(line.split()[1]) / 1024 for line in lines if line.startswith("MemAvailable:")), None)
