"""Faults of the chunks on their way to the controller, and of its plans on their way back."""

from __future__ import annotations

import math
import random
from dataclasses import replace

import numpy as np

from beingh_core.contract import RobotContract
from beingh_ros.soak.disturbance import Effect, changed, delayed, dropped, duplicated, in_bursts, reordered
from beingh_ros.soak.fault import RUNS, Fault, Makers, wire_fault
from beingh_ros.soak.injector import ACCEPTED, BUFFER, CHUNK
from beingh_ros.soak.rig import Rig
from beingh_ros.soak.tampering import CHUNK_CHANGES, gripper_steps

FAR_AWAY = "far_away"
# Time for a gripper to go from one end to the other, and how much of its range it must be sent through in it.
GRIPPER_S, GRIPPER_SHARE = 1.5, 0.8


def chunk_faults(contract: RobotContract, rng: random.Random) -> Makers:
    """Kind -> maker of a fault."""
    tick_s, chunk_s = contract.dt_s, contract.policy.chunk_length * contract.dt_s
    budget_s = contract.uac.latency_budget_s

    def chunks(kind: str, seconds: float, *effects: Effect, **more) -> Fault:
        return wire_fault(kind, seconds, {CHUNK: effects}, **more)

    def back(kind: str, seconds: float, *effects: Effect) -> Fault:
        return wire_fault(kind, seconds, {BUFFER: effects, ACCEPTED: effects}, may_hold=True)

    def tampered(change: str) -> Fault:
        share = rng.choice((0.5, 1.0))
        return chunks(f"chunk_{change}", 2.0, changed(CHUNK_CHANGES[change], share, rng), may_hold=True)

    return {
        "latency_constant": lambda: chunks(
            "latency_constant", 4.0, delayed(*[rng.uniform(0.2, 0.7) * budget_s] * 2, rng)
        ),
        "latency_jitter": lambda: chunks("latency_jitter", 4.0, delayed(0.0, chunk_s, rng), may_hold=True),
        "latency_bursts": lambda: chunks("latency_bursts", 4.0, in_bursts(rng.uniform(0.5, 1.5)), may_hold=True),
        "chunks_dropped": lambda: chunks("chunks_dropped", 4.0, dropped(rng.uniform(0.2, 0.8), rng), may_hold=True),
        "chunks_duplicated": lambda: chunks("chunks_duplicated", 3.0, duplicated(4, rng.uniform(0.0, 3 * tick_s))),
        "chunks_reordered": lambda: chunks(
            "chunks_reordered", 4.0, duplicated(2, 5 * tick_s), reordered(7 * tick_s), may_hold=True
        ),
        "buffer_late": lambda: back("buffer_late", 4.0, delayed(0.0, 0.5 * budget_s, rng)),
        "buffer_dropped": lambda: back("buffer_dropped", 4.0, dropped(0.5, rng)),
        "buffer_duplicated": lambda: back("buffer_duplicated", 3.0, duplicated(3, 1.5 * tick_s)),
        **{f"chunk_{change}": lambda change=change: tampered(change) for change in CHUNK_CHANGES if change != FAR_AWAY},
        f"chunk_{FAR_AWAY}": lambda: _far_away(rng),
        "gripper_step": lambda: _gripper_step(contract, rng),
    }


def _far_away(rng: random.Random) -> Fault:
    """The arm is led to where the table or its own links may block it, so it is brought back afterwards."""
    plain = wire_fault(f"chunk_{FAR_AWAY}", 1.2, {CHUNK: [changed(CHUNK_CHANGES[FAR_AWAY], 1.0, rng)]})
    return replace(
        plain,
        end=lambda rig: (plain.end(rig), rig.tidy_up()),
        may_hold=True,
        own_stops=("stop_service", "tracking_error", "joint_states_invalid"),
    )


def _gripper_step(contract: RobotContract, rng: random.Random) -> Fault:
    """Chunks whose gripper steps from open to closed and back behind the locked prefix."""
    loose = [i for i, error in enumerate(contract.watchdog.tracking_error) if math.isinf(error)]
    joints = [contract.joint_names[i] for i in loose]
    ends = [(float(contract.limits.lower[i]), float(contract.limits.upper[i])) for i in loose]
    row = contract.uac.delay_steps + rng.randrange(3)
    effects = {CHUNK: [changed(gripper_steps(joints, ends, row, GRIPPER_S), 1.0, rng)]}
    plain = wire_fault("gripper_step", 3 * GRIPPER_S, effects, RUNS, may_hold=True)
    began_ns = 0

    def begin(rig: Rig) -> int:
        nonlocal began_ns
        began_ns = plain.begin(rig)
        return began_ns

    def check(rig: Rig) -> str:
        for name, (low, high) in zip(joints, ends):
            sent = rig.onlooker.log.sent_since(began_ns, name)
            share = np.ptp(sent) / (high - low) if len(sent) else 0.0
            if share < GRIPPER_SHARE:
                return f"{name} was sent through {share:.2f} of its range only"
        return ""

    return replace(plain, begin=begin, check=check)
