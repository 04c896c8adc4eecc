"""Faults of the chunks on their way to the controller, and of its plans on their way back."""

from __future__ import annotations

import math
import random
from collections.abc import Callable, Sequence
from dataclasses import replace

import numpy as np

from beingh_core.contract import RobotContract
from beingh_ros.soak.disturbance import Effect, changed, delayed, dropped, duplicated, in_bursts, reordered
from beingh_ros.soak.fault import RUNS, Fault, Makers, wire_fault
from beingh_ros.soak.injector import ACCEPTED, BASE_BUFFER, BASE_CHUNK, BUFFER, CHUNK, has_base
from beingh_ros.soak.rig import Rig
from beingh_ros.soak.tampering import CHUNK_CHANGES, gripper_steps

FAR_AWAY = "far_away"
# Time for a gripper to go from one end to the other, and how much of its range it must be sent through in it.
GRIPPER_S, GRIPPER_SHARE = 1.5, 0.8


def chunk_faults(contract: RobotContract, rng: random.Random) -> Makers:
    """Kind -> maker of a fault."""
    tick_s, chunk_s = contract.dt_s, contract.policy.chunk_length * contract.dt_s
    budget_s = contract.uac.latency_budget_s

    base = has_base(contract)

    def chunks(kind: str, seconds: float, make: Callable[[], Sequence[Effect]], **more) -> Fault:
        """`make` makes the effects for each part of a chunk."""
        return wire_fault(kind, seconds, {topic: make() for topic in (CHUNK, *([BASE_CHUNK] if base else []))}, **more)

    def back(kind: str, seconds: float, *effects: Effect) -> Fault:
        topics = (BUFFER, ACCEPTED, *([BASE_BUFFER] if base else []))
        return wire_fault(kind, seconds, dict.fromkeys(topics, effects), may_hold=True)

    def tampered(change: str) -> Fault:
        share = rng.choice((0.5, 1.0))
        effects = [changed(CHUNK_CHANGES[change], share, rng)]
        return wire_fault(f"chunk_{change}", 2.0, {CHUNK: effects}, may_hold=True)

    def constant() -> Fault:
        seconds = rng.uniform(0.2, 0.7) * budget_s
        return chunks("latency_constant", 4.0, lambda: [delayed(seconds, seconds, rng)])

    def bursts() -> Fault:
        period_s = rng.uniform(0.5, 1.5)
        return chunks("latency_bursts", 4.0, lambda: [in_bursts(period_s)], may_hold=True)

    def duplicates() -> Fault:
        spacing_s = rng.uniform(0.0, 3 * tick_s)
        return chunks("chunks_duplicated", 3.0, lambda: [duplicated(4, spacing_s)])

    return {
        "latency_constant": constant,
        "latency_jitter": lambda: chunks("latency_jitter", 4.0, lambda: [delayed(0.0, chunk_s, rng)], may_hold=True),
        "latency_bursts": bursts,
        "chunks_dropped": lambda: chunks(
            "chunks_dropped", 4.0, lambda: [dropped(rng.uniform(0.2, 0.8), rng)], may_hold=True
        ),
        "chunks_duplicated": duplicates,
        "chunks_reordered": lambda: chunks(
            "chunks_reordered", 4.0, lambda: [duplicated(2, 5 * tick_s), reordered(7 * tick_s)], may_hold=True
        ),
        "buffer_late": lambda: back("buffer_late", 4.0, delayed(0.0, 0.5 * budget_s, rng)),
        "buffer_dropped": lambda: back("buffer_dropped", 4.0, dropped(0.5, rng)),
        "buffer_duplicated": lambda: back("buffer_duplicated", 3.0, duplicated(3, 1.5 * tick_s)),
        **{f"chunk_{change}": lambda change=change: tampered(change) for change in CHUNK_CHANGES if change != FAR_AWAY},
        f"chunk_{FAR_AWAY}": lambda: _far_away(rng),
        **({"gripper_step": lambda: _gripper_step(contract, rng)} if _loose(contract) else {}),
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


def _loose(contract: RobotContract) -> list[int]:
    """Columns of grippers: positions that nobody watches."""
    watched = zip(contract.watchdog.tracking_error, contract.limits.is_velocity)
    return [column for column, (error, moves) in enumerate(watched) if math.isinf(error) and not moves]


def _gripper_step(contract: RobotContract, rng: random.Random) -> Fault:
    """Chunks whose gripper steps from open to closed and back behind the locked prefix."""
    loose = _loose(contract)
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
            sent = rig.onlooker.planned_since(began_ns, name)
            share = np.ptp(sent) / (high - low) if len(sent) else 0.0
            if share < GRIPPER_SHARE:
                return f"{name} was sent through {share:.2f} of its range only"
        return ""

    return replace(plain, begin=begin, check=check)
