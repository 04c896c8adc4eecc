"""A whole run of `beingh soak`: from its arguments to the exit status."""

from __future__ import annotations

import argparse
import json
import random
import signal
import sys
import time
from pathlib import Path

from beingh_core.contract import load_contract
from beingh_core.errors import BeingHError
from beingh_core.evaluate.soak import judge
from beingh_core.interrupts import INTERRUPTED
from beingh_ros.demo.choice import policy_of
from beingh_ros.demo.command import isolate
from beingh_ros.soak.processes import POLICY, TIMER, SystemProcesses
from beingh_ros.soak.rig import Rig
from beingh_ros.soak.runner import Soak
from beingh_ros.soak.table import show

FAILED = 1
NO_FAULTS = "none"


def run(chosen: argparse.Namespace) -> int:
    """Run it, print the tables, write the figures.

    Returns:
        0 when every promise was kept, 1 when one was broken, 130 when it was interrupted.
    """
    if chosen.json:
        Path(chosen.json).parent.mkdir(parents=True, exist_ok=True)
    contract = load_contract(chosen.robot)
    checkpoint = policy_of(contract, "auto", chosen.checkpoint)
    out = chosen.out.resolve()
    out.mkdir(parents=True, exist_ok=True)
    if chosen.rate_hz and checkpoint is None:
        raise BeingHError(
            f"`{contract.robot}` has no checkpoint that could run at another rate",
            where="--rate-hz",
            remedy="give --checkpoint DIR, or leave --rate-hz out",
        )
    if chosen.rate_hz:
        from beingh_ros.soak.other_rate import at_rate

        contract, checkpoint = at_rate(contract, checkpoint, chosen.rate_hz, out)
    kinds = _kinds(chosen.faults)
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, signal.default_int_handler)
    isolate()
    record, interrupted_s = _on_the_wire(chosen, contract, checkpoint, out, kinds)
    if chosen.seam_episodes and checkpoint is not None and interrupted_s is None:
        from beingh_ros.soak.seam import seam_figures

        print("comparing ways of joining chunks ...", flush=True)
        try:
            record.seam = seam_figures(contract, checkpoint, episodes=chosen.seam_episodes, seed=chosen.seed)
        except BeingHError as error:  # what was soaked is judged all the same
            print(f"not compared: {error}", flush=True)
    verdict = judge(record)
    show(verdict, record, contract.rate_hz, interrupted_s)
    if chosen.json:
        cut = {} if interrupted_s is None else {"interrupted_after_s": round(interrupted_s, 1)}
        Path(chosen.json).write_text(json.dumps(verdict.figures | cut, indent=2) + "\n")
    if interrupted_s is not None:
        return INTERRUPTED
    return FAILED if verdict.problems else 0


def _kinds(text: str) -> list[str] | None:
    """Fault kinds of the option; [] for all, None for none."""
    if text == NO_FAULTS:
        return None
    return [kind.strip() for kind in text.split(",") if kind.strip()]


def _on_the_wire(chosen, contract, checkpoint: Path | None, out: Path, kinds: list[str] | None):
    """The part with real nodes: its `SoakRecord`, and after how long it was interrupted [s], None when it was not."""
    rng, begun_s, interrupted_s = random.Random(chosen.seed), time.monotonic(), None
    processes = SystemProcesses(contract, checkpoint, chosen.seed, out)
    with Rig(contract, processes, chosen.seed) as rig:
        print(f"starting simulator, controller and policy; logs in {out / 'logs'}", flush=True)
        soak = Soak(rig, contract, rng, kinds or (), tell=lambda line: print(line, flush=True))
        try:
            rig.start()
            if kinds is None:
                soak.wait_calmly(60.0 * chosen.minutes)
            else:
                soak.run(60.0 * chosen.minutes)
        except KeyboardInterrupt:
            interrupted_s = time.monotonic() - begun_s
            print(f"interrupted after {interrupted_s:.0f} s; judging what was recorded", file=sys.stderr)
        soak.record.timing_judged = chosen.judge_timing
        # The policy first, so that the robot rests and the record ends with everything that was promised sent.
        processes.kill(POLICY, signal.SIGTERM)
        processes.kill(TIMER, signal.SIGINT)
        rig.wait(lambda: rig.onlooker.speed == 0.0, 5.0)
    soak.record.reports = rig.onlooker.stop_reports()
    soak.record.joint_states = rig.onlooker.joint_states
    soak.record.moved_by_others = rig.moved
    soak.record.touches = rig.onlooker.touches
    stopped_ns = [note.cause_ns for note in soak.record.stops]
    halts = rig.onlooker.halts()
    soak.record.streams = [stream.judged(stopped_ns, halts) for stream in rig.onlooker.streams]
    if processes.timer_file.exists():
        soak.record.timer_ns = [int(line) for line in processes.timer_file.read_text().split()]
    return soak.record, interrupted_s
