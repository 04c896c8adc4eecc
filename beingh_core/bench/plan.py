"""`beingh plan`: whether chunks come in time on this machine for a robot's contract, and what to change where they do not."""

from __future__ import annotations

import gc
import os
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch

from beingh_core.bench.memory import peak_memory
from beingh_core.bench.plan_candidates import Baseline, Change, changes_of, measure_here, measure_others
from beingh_core.bench.plan_fit import Fit, change_of_contract, fit, longest_chunk_s
from beingh_core.bench.plan_measuring import StandingRobot, Times, picture_sizes
from beingh_core.bench.plan_settings import PlanBench, load
from beingh_core.contract import RobotContract, load_contract

OWN_SHARE, HERE_SHARE = 0.4, 0.7
"""Of the time, for the policy as it is; of the rest, for what can be changed without loading another one."""
PARTS = ("encode", "model", "decode", "transport")


@dataclass(frozen=True, kw_only=True)
class Judge:
    """From a chunk's time to what follows for a robot."""

    contract: RobotContract
    trained_delay: int | None
    picture_age_ms: float

    def fit(self, chunk_ms: float) -> Fit:
        """What follows from chunks of so long [ms]."""
        return fit(self.contract, (chunk_ms + self.picture_age_ms) / 1e3, self.trained_delay)


def run(bench: PlanBench, say: Callable[[str], None] = print) -> dict[str, Any]:
    """Measures and returns the report, which `plan_page` tells.

    Raises:
        BeingHError: A contract, checkpoint or server that cannot be used, or not together.
    """
    contract = load_contract(bench.robot)
    machine = {"processors": len(os.sched_getaffinity(0)), "load": round(os.getloadavg()[0], 2)}
    begin = time.perf_counter()
    with peak_memory(torch.device(bench.own_device)) as memory:
        policy = load(bench, contract)
        load_s = time.perf_counter() - begin
        begin, seconds = time.perf_counter(), 60 * bench.minutes
        say(f"loaded in {load_s:.1f} s; measuring for {seconds:.0f} s")
        times = StandingRobot(contract, policy, bench.seed).measure(OWN_SHARE * seconds)
    judge = Judge(
        contract=contract,
        trained_delay=None if bench.shape else policy.trained_delay,
        picture_age_ms=bench.picture_age_ms,
    )
    report = machine | _asked(bench, judge, policy) | _measured(times, judge) | {"peak_memory_mb": memory.peak_mb}
    own = Baseline(
        chunk_ms=times.quantile(0.0), memory_mb=memory.peak_mb, load_s=load_s, quantised=_bits(policy, bench) != ""
    )
    changes = [] if bench.server else changes_of(policy)
    end = begin + seconds
    if changes:
        now = time.perf_counter()
        may_load = load_s + 4e-3 * own.chunk_ms < (1 - HERE_SHARE) * (end - now)
        measure_here(contract, policy, changes, now + (HERE_SHARE if may_load else 1.0) * (end - now))
    if bench.server:
        policy.close()
    del policy
    gc.collect()
    changes += measure_others(bench, contract, own, changes, end)
    return report | {"changes": [_told(change, times, judge) for change in changes]}


def _asked(bench: PlanBench, judge: Judge, policy) -> dict[str, Any]:
    """What is measured, and what the contract asks for."""
    contract, uac, local = judge.contract, judge.contract.uac, not bench.server
    return {
        "robot": contract.robot,
        "source": "server" if bench.server else "shape" if bench.shape else "checkpoint",
        "policy": bench.server or bench.shape or bench.checkpoint,
        "device": bench.own_device if local else None,
        "dtype": _bits(policy, bench) + bench.own_dtype if local else None,
        "threads": torch.get_num_threads() if local else None,
        "steps": policy.engine.config.num_inference_steps if local else None,
        "passes": policy.model_facts.get("mpg_passes", 0) + 1,
        "pictures": {view: list(size) for view, size in picture_sizes(contract).items()},
        "rate_hz": contract.rate_hz,
        "chunk_length": contract.policy.chunk_length,
        "latency_budget_ms": 1e3 * uac.latency_budget_s,
        "margin_steps": uac.margin_steps,
        "contract_delay": uac.delay_steps,
        "contract_execution_steps": uac.execution_steps,
        "trained_delay": judge.trained_delay,
        "picture_age_ms": judge.picture_age_ms,
        "minutes": bench.minutes,
    }


def _bits(policy, bench: PlanBench) -> str:
    """Scheme of a checkpoint in fewer bits, before the type of the rest."""
    quantised = None if bench.server else policy.engine.config.quantised
    return "" if quantised is None else f"{quantised.scheme} and "


def _measured(times: Times, judge: Judge) -> dict[str, Any]:
    """Times of the policy as it is, and what follows."""
    found = judge.fit(times.quantile(0.95))
    longest_s = longest_chunk_s(judge.contract, judge.picture_age_ms / 1e3, judge.trained_delay)
    return {
        "chunks": len(times.chunk_ms),
        "chunk_ms": {"p50": times.quantile(0.5), "p95": times.quantile(0.95)},
        "parts_ms": {name: value for name, value in times.parts().items() if name in PARTS},
        **_follows(found),
        "problems": list(found.problems),
        "contract_change": change_of_contract(judge.contract, found, judge.trained_delay),
        "longest_chunk_ms": None if longest_s is None else 1e3 * longest_s,
    }


def _follows(found: Fit) -> dict[str, Any]:
    return {
        "latency_ms": 1e3 * found.latency_s,
        "delay": found.delay,
        "locked": found.locked,
        "execution_steps": found.execution_steps,
        "fits": found.fits,
    }


def _told(change: Change, times: Times, judge: Judge) -> dict[str, Any]:
    """A change in the report. Its p95 is the policy's own by its gain: it had fewer chunks."""
    told: dict[str, Any] = {"name": change.name, "how": change.how, "chunks": len(change.chunk_ms)}
    if change.ratio is None:
        return told | {"skipped": change.skipped}
    p50, p95 = (times.quantile(q) / change.ratio for q in (0.5, 0.95))
    found = judge.fit(p95)
    contract = change_of_contract(judge.contract, found, judge.trained_delay)
    return told | {
        "ratio": change.ratio, "chunk_ms": {"p50": p50, "p95": p95}, **_follows(found), "contract_change": contract
    }  # fmt: skip
