"""`beingh bench ratios`: has the software become slower? Ratios of one run against committed ones; times of machines differ, these little.

Everything runs in one thread and is counted by processor time, so that a busy machine changes little.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from beingh_core.bench import controller, loader, ratios_file, server, training
from beingh_core.bench.inference import CachedRunner, FullRunner, InferenceBench
from beingh_core.contract import load_contract
from beingh_core.errors import BeingHError
from beingh_core.policy.loading import load_for_contract

ENGINE_CHUNKS, SERVER_CHUNKS = 25, 50
HIGHER, LOWER = "higher", "lower"


@dataclass(frozen=True, kw_only=True)
class Guard:
    """One ratio.

    Attributes:
        what: Of what, in few words.
        better: Which is better, `HIGHER` or `LOWER`.
        tolerance: By which share it may get worse, where no file says it.
    """

    what: str
    better: str
    tolerance: float


@dataclass(frozen=True, kw_only=True)
class Bench:
    """One measurement and the ratios that it gives, by name."""

    guards: Mapping[str, Guard]
    measure: Callable[[], Mapping[str, float]]


@dataclass(frozen=True, kw_only=True)
class RatiosBench:
    """What to do; checked on construction.

    Attributes:
        against: File of committed ratios.
        update: Write it anew in place of comparing.
        only: Names in `BENCHES`; () for all.
    """

    against: str = "docs/bench_ratios.json"
    update: bool = False
    only: Sequence[str] = ()

    def __post_init__(self) -> None:
        for name in self.only:
            if name not in BENCHES:
                raise BeingHError(f"unknown bench '{name}'", where="--only", allowed=BENCHES)
        if self.update and self.only:
            raise BeingHError(
                "a file of some ratios cannot be written", where="--only", remedy="leave out one of the two"
            )
        if self.update and not Path(self.against).parent.is_dir():
            raise BeingHError(f"there is no folder for '{self.against}'", where="--against")


def run(bench: RatiosBench, say: Callable[[str], None] = print) -> dict[str, Any]:
    """Measures and compares; with `update` it writes the file instead.

    Returns:
        `ratios`: of each its `value`, `committed`, `change` (share, below 0 is worse) and whether it is `worse`; `failed`:
        bench -> why it could not run; `passed`: whether nothing is worse and everything ran.

    Raises:
        BeingHError: The file cannot be used.
    """
    names = [name for one in BENCHES.values() for name in one.guards]
    path = Path(bench.against)
    committed = None if bench.update else ratios_file.read(path, names)
    here = ratios_file.this_machine()
    if committed is not None and committed.machine != here:
        say(f"the committed ratios are of {_told(committed.machine)}; this is {_told(here)}")
    threads, before = torch.get_num_threads(), os.getloadavg()[0]
    torch.set_num_threads(1)
    try:
        ratios, failed = _measure_all(bench, committed, say)
    finally:
        torch.set_num_threads(threads)
    worse = [name for name, ratio in ratios.items() if ratio.get("worse")]
    report = {
        "machine": here.model_dump(),
        "load": round(before, 2),
        "ratios": ratios,
        "failed": failed,
        "passed": not worse and not failed,
    }
    if bench.update and not failed:
        ratios_file.write(path, {name: one["value"] for name, one in ratios.items()}, _tolerances(path, names, say))
        say(f"wrote {path}")
    elif bench.update:
        say(f"{path} was not written: {', '.join(failed)} could not run")
    else:
        say(f"worse: {', '.join(worse) or 'nothing'}; could not run: {', '.join(failed) or 'nothing'}")
    return report


def _measure_all(
    bench: RatiosBench, committed: ratios_file.Committed | None, say: Callable[[str], None]
) -> tuple[dict[str, dict[str, Any]], dict[str, str]]:
    """(ratios, failed) as in the report."""
    ratios: dict[str, dict[str, Any]] = {}
    failed: dict[str, str] = {}
    for name in bench.only or BENCHES:
        one, begin = BENCHES[name], time.perf_counter()
        try:
            found = compared(one.guards, one.measure(), committed)
            if any(ratio.get("worse") for ratio in found.values()):
                say(f"{name}: worse; measured once more, the better counts")
                found = _better(found, compared(one.guards, one.measure(), committed))
        except (BeingHError, ImportError, OSError) as error:
            failed[name] = str(error)
            say(f"{name}: could not run: {error}")
            continue
        ratios |= found
        for key, ratio in found.items():
            say(_line(key, one.guards[key], ratio, time.perf_counter() - begin))
    return ratios, failed


def compared(
    guards: Mapping[str, Guard], values: Mapping[str, float], committed: ratios_file.Committed | None
) -> dict[str, dict[str, Any]]:
    """Values beside the committed ones."""
    found: dict[str, dict[str, Any]] = {}
    for name, guard in guards.items():
        value = float(values[name])
        found[name] = {"value": value}
        if committed is not None:
            before = committed.ratios[name]
            factor = value / before.value if guard.better == HIGHER else before.value / value
            found[name] |= {"committed": before.value, "change": factor - 1, "worse": factor < 1 - before.tolerance}
    return found


def _better(one: dict[str, dict[str, Any]], other: dict[str, dict[str, Any]]) -> dict[str, dict[str, Any]]:
    return {name: max(one[name], other[name], key=lambda ratio: ratio["change"]) for name in one}


def _line(name: str, guard: Guard, ratio: Mapping[str, Any], seconds: float) -> str:
    told = f"{name}: {ratio['value']:.3g} ({guard.what}; {guard.better} is better; {seconds:.0f} s)"
    if "committed" not in ratio:
        return told
    how = "WORSE" if ratio["worse"] else "worse, within tolerance" if ratio["change"] < 0 else "not worse"
    return f"{told}, committed {ratio['committed']:.3g}: {100 * ratio['change']:+.0f} %, {how}"


def _told(machine: ratios_file.Machine) -> str:
    return f"{machine.processors} processors {machine.architecture}, Python {machine.python}, torch {machine.torch}"


def _tolerances(path: Path, names: Sequence[str], say: Callable[[str], None]) -> dict[str, float]:
    """Those of the file that is replaced, where it can be read."""
    tolerances = {name: guard.tolerance for one in BENCHES.values() for name, guard in one.guards.items()}
    if path.exists():
        try:
            tolerances |= {name: ratio.tolerance for name, ratio in ratios_file.read(path, names).ratios.items()}
        except BeingHError as error:
            say(f"tolerances are the usual ones again: {error}")
    return tolerances


def _engine() -> dict[str, float]:
    """The full sequence in every step against the cached prefix."""
    bench = InferenceBench(shape="tiny")
    spent: dict[type, list[float]] = {CachedRunner: [], FullRunner: []}
    runners = {kind: kind(bench) for kind in spent}
    for _ in range(ENGINE_CHUNKS):
        for kind, runner in runners.items():
            begin = time.process_time()
            runner.chunks()
            spent[kind].append(time.process_time() - begin)
    middle = {kind: sorted(values)[len(values) // 2] for kind, values in spent.items()}
    return {"engine_full_over_cached": middle[FullRunner] / middle[CachedRunner]}


def _controller() -> dict[str, float]:
    """ruckig, which has not changed, against the merge and the tick."""
    report = controller.run(controller.ControllerBench(repeats=300, clock="processor"))
    if report["ruckig_follow_ms"] is None:
        raise BeingHError("ruckig is not installed", remedy="pip install ruckig")
    ruckig, case = report["ruckig_follow_ms"]["p50"], report["merge"]["all"]
    return {
        "controller_ruckig_over_merge": ruckig / case["merge_ms"]["p50"],
        "controller_ruckig_over_tick": ruckig / case["advance_ms"]["p50"],
    }


def _server() -> dict[str, float]:
    """A chunk from a server, by processor time of both ends, against one of the same policy in this process."""
    bench = server.ServerBench(checkpoint="checkpoints/fr3_cubes", repeats=SERVER_CHUNKS)
    served_ms = server.run(bench, say=lambda _: None)[server.RAW]["processor_ms"]
    policy = load_for_contract(load_contract(bench.contract), bench.checkpoint, threads=bench.threads)
    shown = server.observation(policy, bench)
    begin = time.process_time()
    for _ in range(SERVER_CHUNKS):
        policy.get_action(shown)
    return {"server_chunk_over_own": served_ms * SERVER_CHUNKS / (1e3 * (time.process_time() - begin))}


def _loader() -> dict[str, float]:
    bench = loader.LoaderBench(without_lerobot=True, seconds=5, rounds=3)
    return {"loader_over_trainer": loader.run(bench, say=lambda _: None)["samples_per_processor_s"]["over_trainer"]}


def _training() -> dict[str, float]:
    bench = training.TrainingBench(repeats=5, clock="processor")
    return {"training_packed_over_padded": training.run(bench, say=lambda _: None)["ratio"]}


BENCHES = {
    "engine": Bench(
        guards={"engine_full_over_cached": Guard(what="whole sequence / cached prefix", better=HIGHER, tolerance=0.15)},
        measure=_engine,
    ),
    "controller": Bench(
        guards={
            "controller_ruckig_over_merge": Guard(what="ruckig / merge with limits", better=HIGHER, tolerance=0.2),
            "controller_ruckig_over_tick": Guard(what="ruckig / tick", better=HIGHER, tolerance=0.3),
        },
        measure=_controller,
    ),
    "server": Bench(
        guards={"server_chunk_over_own": Guard(what="a server's chunk / own chunk", better=LOWER, tolerance=0.15)},
        measure=_server,
    ),
    "loader": Bench(
        guards={"loader_over_trainer": Guard(what="samples of loader / trainer", better=HIGHER, tolerance=0.25)},
        measure=_loader,
    ),
    "training": Bench(
        guards={"training_packed_over_padded": Guard(what="packed / padded samples", better=HIGHER, tolerance=0.15)},
        measure=_training,
    ),
}
