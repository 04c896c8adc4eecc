"""What the check for self-collision costs: in a merge, and a tick that is sent meanwhile.

Every chunk swings all joints about home, at a part of their speed; it is free, so that all of it is looked at.
"""

from __future__ import annotations

import sys
import threading
import time
from collections.abc import Callable
from typing import Any

import numpy as np

from beingh_core.contract import RobotContract, load_contract
from beingh_core.realtime.commit_buffer import Chunk, CommitBuffer
from beingh_core.realtime.cut import Blocked, PathCheck

# Part of the fastest speed, the swing's period in ticks, and its largest size [rad or m].
SPEED, PERIOD, SWING = 0.3, 24, 0.1
TICK_S = 0.001
# Of threads, as the controller node has it [s].
SWITCH_S = 1e-4


def measure(robot: str, repeats: int, summary: Callable[[list[float]], dict[str, float]]) -> dict[str, Any]:
    """Times of merges with and without the check, and of ticks beside them.

    Args:
        robot: name or path of a contract.
        repeats: timed chunks of each kind.
        summary: of seconds.

    Raises:
        BeingHError: no such contract, or a robot without shapes.
    """
    from beingh_core.contract.self_collision import collisions_of

    contract = load_contract(robot)
    joints, began = ~contract.limits.is_velocity, time.perf_counter()
    collisions = collisions_of(contract)
    built_s, rows_seen, blocked = time.perf_counter() - began, 0, 0

    def check(start_J: np.ndarray, rows_KJ: np.ndarray, known: int) -> Blocked | None:
        nonlocal rows_seen, blocked
        rows_seen += len(rows_KJ) - known
        hit = collisions.first_on_path(start_J[joints], rows_KJ[:, joints], known)
        blocked += hit is not None
        return hit and Blocked(row=hit.row, reason="")

    plain, checked = _merges(contract, None, repeats), _merges(contract, check, repeats)
    costs_s = float(np.median(checked) - np.median(plain))
    return {
        "robot": contract.robot,
        "pairs": len(collisions.pairs),
        "built_s": round(built_s, 3),
        "merge_without_ms": summary(plain),
        "merge_with_ms": summary(checked),
        "us_per_row": round(1e6 * costs_s * repeats / rows_seen, 1),
        "blocked": blocked,
        "advance_beside_merges_without_ms": summary(_ticks_beside(contract, None, 5 * repeats)),
        "advance_beside_merges_with_ms": summary(_ticks_beside(contract, check, 5 * repeats)),
    }


def _buffer(contract: RobotContract, check: PathCheck | None) -> CommitBuffer:
    return CommitBuffer(
        joints=contract.joint_names, start_positions=np.array(contract.home), limits=contract.limits, dt_s=contract.dt_s,
        chunk_length=contract.policy.chunk_length, delay_steps=0, commit_margin=0, epoch="bench", check=check, log_length=10,
    )  # fmt: skip


def _chunk(contract: RobotContract, tick: int) -> Chunk:
    limits = contract.limits
    most = SPEED * limits.velocity * contract.dt_s * PERIOD / (2 * np.pi)
    swing = np.where(limits.is_velocity, 0.0, np.minimum(most, SWING))
    ticks = tick + np.arange(contract.policy.chunk_length)
    rows = np.array(contract.home) + np.sin(2 * np.pi * ticks / PERIOD)[:, None] * swing
    return Chunk(base_tick=tick, epoch="bench", joints=contract.joint_names, positions=rows, dt_s=contract.dt_s)


def _merges(contract: RobotContract, check: PathCheck | None, repeats: int) -> list[float]:
    buffer, times = _buffer(contract, check), []
    for _ in range(repeats):
        chunk = _chunk(contract, buffer.next_tick)
        began = time.perf_counter()
        buffer.merge(chunk)
        times.append(time.perf_counter() - began)
        for _ in range(contract.uac.execution_steps):
            buffer.advance()
    return times


def _ticks_beside(contract: RobotContract, check: PathCheck | None, count: int) -> list[float]:
    """Seconds of each of so many ticks, while another thread merges chunks without a pause."""
    buffer, ending, times = _buffer(contract, check), threading.Event(), []

    def merge() -> None:
        while not ending.is_set():
            buffer.merge(_chunk(contract, buffer.next_tick))

    thread = threading.Thread(target=merge)
    before = sys.getswitchinterval()
    sys.setswitchinterval(SWITCH_S)
    thread.start()
    try:
        for _ in range(count):
            time.sleep(TICK_S)
            began = time.perf_counter()
            buffer.advance()
            times.append(time.perf_counter() - began)
    finally:
        ending.set()
        thread.join()
        sys.setswitchinterval(before)
    return times
