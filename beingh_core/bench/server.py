"""`beingh bench server`: what a chunk from a policy server on this machine costs beside the model."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import numpy as np

from beingh_core.bench.clocks import processor_s
from beingh_core.contract import load_contract
from beingh_core.errors import BeingHError
from beingh_core.policy.observations import named_observation
from beingh_core.policy.remote.client import RemotePolicy

RAW = "raw"
DEADLINE_S = 60.0
WARM_UP = 5
PARTS = ("pack", "unpack", "waited")


@dataclass(frozen=True, kw_only=True)
class ServerBench:
    """What to measure; checked on construction.

    Attributes:
        checkpoint: Checkpoint directory that is served.
        contract: Robot contract: name or path; its cameras are the views.
        size: Side of the cameras' square pictures [px]; they travel at the model's size.
        jpeg_quality: Of the compressed pictures.
        threads: CPU threads of the server's model, 0 for torch's default.
        device: Where the model runs.
        repeats: Timed chunks of each kind of pictures.
        seed: Of the pictures.
    """

    checkpoint: str
    contract: str = "fr3"
    size: int = 224
    jpeg_quality: int = 90
    threads: int = 1
    device: str = "cpu"
    repeats: int = 200
    seed: int = 0

    def __post_init__(self) -> None:
        for name, least, most in (("size", 8, 1024), ("jpeg_quality", 1, 100), ("repeats", 1, 1_000_000)):
            value = getattr(self, name)
            if not least <= value <= most:
                raise BeingHError(
                    f"{name} is {value}", where=f"--{name.replace('_', '-')}", allowed=f"{least} to {most}"
                )


def run(bench: ServerBench, say: Callable[[str], None] = print) -> dict[str, Any]:
    """Starts a server as a process, asks it for chunks, tells what it found in lines of text, and returns the report.

    Returns:
        For `raw` and `jpeg` pictures: {p50, p95} of `overhead_ms` (round trip less the policy's own time),
        `round_trip_ms`, `policy_ms`, and of parts of the overhead: `pack_ms` and `unpack_ms` of the observation,
        `waited_ms` until the policy's thread had it; `processor_ms` of a chunk, of both processes; and `request_bytes`. `views` and `size` tell what was sent.
    """
    contract = load_contract(bench.contract)
    with _served(bench) as url:
        report: dict[str, Any] = {}
        for kind, quality in ((RAW, 0), ("jpeg", bench.jpeg_quality)):
            policy = RemotePolicy(url, contract, deadline_s=DEADLINE_S, jpeg_quality=quality)
            report[kind] = _measure(policy, bench)
            report |= {"views": len(policy.views), "size": bench.size}
            policy.close()
            overhead, round_trip = report[kind]["overhead_ms"], report[kind]["round_trip_ms"]
            say(
                f"{kind}, {report['views']} views of {bench.size} px: overhead p50 {overhead['p50']:.2f} ms, "
                f"p95 {overhead['p95']:.2f} ms, of a round trip of {round_trip['p50']:.2f} ms"
            )
    return report


def _measure(policy: RemotePolicy, bench: ServerBench) -> dict[str, Any]:
    shown = observation(policy, bench)
    times: dict[str, list[float]] = {name: [] for name in ("overhead", "round_trip", "policy", *PARTS)}
    spent_s = 0.0
    for number in range(WARM_UP + bench.repeats):
        if number == WARM_UP:
            spent_s = processor_s(os.getpid())
        policy.get_action(shown)
        timing = policy.last_timing_ms
        if number < WARM_UP:
            continue
        times["overhead"].append(timing["transport"])
        times["round_trip"].append(timing["total"])
        times["policy"].append(timing["total"] - timing["transport"])
        for name in PARTS:
            times[name].append(timing[name])
    return {f"{name}_ms": _quantiles(values) for name, values in times.items()} | {
        "processor_ms": 1e3 * (processor_s(os.getpid()) - spent_s) / bench.repeats,
        "request_bytes": policy.last_request_bytes,
    }


def _quantiles(values: list[float]) -> dict[str, float]:
    return {name: float(np.quantile(values, q)) for name, q in (("p50", 0.5), ("p95", 0.95))}


def observation(policy, bench: ServerBench) -> Mapping[str, object]:
    """What the policy, a server's or one of this process, is shown every time."""
    rng = np.random.default_rng(bench.seed)
    images = {view: _picture(rng, bench.size) for view in policy.views}
    leading = policy.state_history.leading
    state = {spec.key: np.full((*leading, spec.data_width("state")), 0.3) for spec in policy.data_config.state}
    return named_observation(images, state, "pick up the red cube")


def _picture(rng: np.random.Generator, size: int) -> np.ndarray:
    """(1, size, size, 3) uint8: coloured areas with some noise, which compresses like a camera's picture."""
    cell = 16
    areas = rng.integers(0, 256, (-(-size // cell), -(-size // cell), 3)).repeat(cell, 0).repeat(cell, 1)
    noisy = areas[:size, :size] + rng.normal(0.0, 4.0, (size, size, 3))
    return noisy.clip(0, 255).astype(np.uint8)[None]


@contextmanager
def _served(bench: ServerBench) -> Iterator[str]:
    """The URL of a server in a process of its own."""
    words = {"--checkpoint": bench.checkpoint, "--contract": bench.contract, "--port": 0}
    words |= {"--threads": bench.threads, "--device": bench.device, "--max-batch": 1}
    command = [
        sys.executable,
        "-m",
        "beingh_core.cli",
        "serve",
        *(str(word) for pair in words.items() for word in pair),
    ]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as server:
        try:
            line = server.stdout.readline()
            if not line.startswith("serving"):
                raise BeingHError("the server did not start", remedy="see its message above")
            yield line.split()[-1]
        finally:
            server.terminate()
            server.wait()
