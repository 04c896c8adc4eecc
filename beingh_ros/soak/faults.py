"""Which faults there are, what each does, and what must come of it.

A fault either leaves the robot running, makes it hold (its plan runs out, it rests, and goes on by itself), or stops it
for a cause, after which only a reset lets it go on.
"""

from __future__ import annotations

import math
import random
import signal
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from beingh_core.contract import RobotContract
from beingh_ros.soak.disturbance import (
    Effect,
    changed,
    delayed,
    dropped,
    duplicated,
    frozen,
    in_bursts,
    reordered,
)
from beingh_ros.soak.injector import ACCEPTED, BUFFER, CHUNK, joint_state_topics
from beingh_ros.soak.processes import CONTROLLER, POLICY, SERVER
from beingh_ros.soak.rig import Rig
from beingh_ros.soak.tampering import CHUNK_CHANGES, joint_state_with

RUNS, HOLDS, STOPS = "keeps running", "holds", "stops"
RESTART_S = 90.0
CLOCK_STEPS_S = (5.0, -5.0, 0.3, -0.3)
PAUSE_S = 0.4
FAR_AWAY = "far_away"


@dataclass(frozen=True, kw_only=True)
class Fault:
    """One fault.

    Attributes:
        kind: its name.
        seconds: how long it lasts [s].
        expected: RUNS, HOLDS or STOPS. Where the robot may run or hold, RUNS is what is written, and `may_hold` set.
        begin, end: what to do. `begin` returns when the cause arises, on the system clock [ns]; for a watchdog
            that is when its time is over, which may lie ahead.
        cause: of the stop, as controller/state names it.
        may_hold: whether a plan that runs out is no failure.
        recover_s: longest time until chunks are accepted again [s].
        own_stops: causes of stops that belong to it though the robot must go on.
    """

    kind: str
    seconds: float
    expected: str
    begin: Callable[[Rig], int]
    end: Callable[[Rig], None]
    cause: str = ""
    may_hold: bool = False
    recover_s: float = 20.0
    own_stops: tuple[str, ...] = ()


def catalogue(contract: RobotContract, rng: random.Random) -> dict[str, Callable[[], Fault]]:
    """Kind -> maker of a fault of that kind, whose numbers the generator draws."""
    tick_s, chunk_s = contract.dt_s, contract.policy.chunk_length * contract.dt_s
    budget_s = contract.uac.latency_budget_s
    cameras, states = [camera.topic for camera in contract.cameras], joint_state_topics(contract)
    back = (BUFFER, ACCEPTED)

    def wire(kind: str, seconds: float, effects: dict[str, Sequence[Effect]], expected: str = RUNS, **more) -> Fault:
        def begin(rig: Rig) -> int:
            for topic, those in effects.items():
                rig.injector.disturb(topic, those)
            return rig.now_ns()

        return Fault(
            kind=kind, seconds=seconds, expected=expected, begin=begin, end=lambda rig: rig.injector.clear(), **more
        )

    def chunks(kind: str, seconds: float, *effects: Effect, **more) -> Callable[[], Fault]:
        return lambda: wire(kind, seconds, {CHUNK: effects}, **more)

    def tampered(change: str) -> Callable[[], Fault]:
        share = rng.choice((0.5, 1.0))
        return chunks(f"chunk_{change}", 2.0, changed(CHUNK_CHANGES[change], share, rng), may_hold=True)

    def far_away() -> Fault:
        """The arm is led to where the table or its own links may block it, so it is brought back afterwards."""
        plain = wire("", 0.0, {CHUNK: [changed(CHUNK_CHANGES[FAR_AWAY], 1.0, rng)]})
        return Fault(
            kind=f"chunk_{FAR_AWAY}",
            seconds=1.2,
            expected=RUNS,
            begin=plain.begin,
            end=lambda rig: (plain.end(rig), rig.tidy_up()),
            may_hold=True,
            own_stops=("stop_service", "tracking_error"),
        )

    made = {
        "latency_constant": lambda: wire(
            "latency_constant", 4.0, {CHUNK: [delayed(*[rng.uniform(0.2, 0.7) * budget_s] * 2, rng)]}
        ),
        "latency_jitter": lambda: wire("latency_jitter", 4.0, {CHUNK: [delayed(0.0, chunk_s, rng)]}, may_hold=True),
        "latency_bursts": chunks("latency_bursts", 4.0, in_bursts(rng.uniform(0.5, 1.5)), may_hold=True),
        "chunks_dropped": lambda: wire(
            "chunks_dropped", 4.0, {CHUNK: [dropped(rng.uniform(0.2, 0.8), rng)]}, may_hold=True
        ),
        "chunks_duplicated": chunks("chunks_duplicated", 3.0, duplicated(4, rng.uniform(0.0, 3 * tick_s))),
        "chunks_reordered": chunks(
            "chunks_reordered", 4.0, duplicated(2, 5 * tick_s), reordered(7 * tick_s), may_hold=True
        ),
        "buffer_late": lambda: wire(
            "buffer_late", 4.0, {topic: [delayed(0.0, 0.5 * budget_s, rng)] for topic in back}, may_hold=True
        ),
        "buffer_dropped": lambda: wire(
            "buffer_dropped", 4.0, {topic: [dropped(0.5, rng)] for topic in back}, may_hold=True
        ),
        "buffer_duplicated": lambda: wire(
            "buffer_duplicated", 3.0, {topic: [duplicated(3, 1.5 * tick_s)] for topic in back}, may_hold=True
        ),
        **{f"chunk_{change}": tampered(change) for change in CHUNK_CHANGES if change != FAR_AWAY},
        f"chunk_{FAR_AWAY}": far_away,
        "camera_freeze": lambda: wire("camera_freeze", 3.0, {rng.choice(cameras): [frozen()]}, HOLDS),
        "camera_loss": lambda: wire("camera_loss", 3.0, {rng.choice(cameras): [dropped(1.0, rng)]}, HOLDS),
        "camera_late": lambda: wire(
            "camera_late", 3.0, {rng.choice(cameras): [delayed(0.0, budget_s, rng)]}, may_hold=True
        ),
        "joint_states_late": lambda: wire(
            "joint_states_late", 3.0, {topic: [delayed(0.0, 0.05, rng)] for topic in states}, may_hold=True
        ),
    }
    return {**made, **_stops(contract, rng, wire), **_processes()}


def _stops(contract: RobotContract, rng: random.Random, wire) -> dict[str, Callable[[], Fault]]:
    """Everything that must stop the robot."""
    states, watchdog = joint_state_topics(contract), contract.watchdog
    # A gripper may be blocked by what it holds; the arm is watched.
    joint = next(name for name, error in zip(contract.joint_names, watchdog.tracking_error) if math.isfinite(error))

    def watched(kind: str, seconds: float, cause: str, effects: list[Effect], after_s: float) -> Fault:
        plain = wire(kind, seconds, {topic: effects for topic in states}, STOPS, cause=cause)
        return Fault(
            kind=kind,
            seconds=seconds,
            expected=STOPS,
            begin=lambda rig: plain.begin(rig) + round(1e9 * after_s),
            end=plain.end,
            cause=cause,
        )

    def tampered(kind: str, cause: str, change, after_s: float) -> Fault:
        return watched(kind, 1.5, cause, [changed(joint_state_with(joint, change), 1.0, rng)], after_s)

    def clock_step() -> Fault:
        step_ns = round(1e9 * rng.choice(CLOCK_STEPS_S))
        return Fault(
            kind="clock_step",
            seconds=1.5,
            expected=STOPS,
            begin=lambda rig: rig.step_clock(step_ns),
            end=lambda rig: rig.step_clock(0),
            cause="clock",
        )

    return {
        "joint_state_gap": lambda: watched(
            "joint_state_gap",
            watchdog.joint_states_s + 1.0,
            "joint_states_silent",
            [dropped(1.0, rng)],
            watchdog.joint_states_s,
        ),
        "joint_state_nan": lambda: tampered("joint_state_nan", "joint_states_invalid", lambda _: math.nan, 0.0),
        "joint_state_error": lambda: tampered(
            "joint_state_error", "tracking_error", lambda value: value + 0.6, watchdog.tracking_time_s
        ),
        "clock_step": clock_step,
        "estop": lambda: Fault(
            kind="estop",
            seconds=1.0,
            expected=STOPS,
            begin=lambda rig: rig.press_estop(True),
            end=lambda rig: rig.press_estop(False),
            cause="estop",
        ),
        "stop_service": lambda: Fault(
            kind="stop_service",
            seconds=1.0,
            expected=STOPS,
            begin=lambda rig: rig.call_stop(),
            end=lambda rig: rig.new_scene(),
            cause="stop_service",
        ),
    }


def _processes() -> dict[str, Callable[[], Fault]]:
    """Processes that are killed, held up and restarted."""

    def kill(name: str, number: int = signal.SIGKILL) -> Callable[[Rig], int]:
        def begin(rig: Rig) -> int:
            begin_ns = rig.now_ns()
            rig.processes.kill(name, number)
            return begin_ns

        return begin

    def pause(rig: Rig) -> int:
        begin_ns = rig.now_ns()
        rig.processes.send(CONTROLLER, signal.SIGSTOP)
        return begin_ns

    return {
        "policy_kill": lambda: Fault(
            kind="policy_kill",
            seconds=2.0,
            expected=HOLDS,
            begin=kill(POLICY),
            end=lambda rig: rig.start_policy(served=False),
            recover_s=RESTART_S,
        ),
        "server_loss": lambda: Fault(
            kind="server_loss",
            seconds=2.5,
            expected=HOLDS,
            begin=kill(SERVER),
            end=lambda rig: rig.start_server(),
            recover_s=RESTART_S,
        ),
        "controller_held_up": lambda: Fault(
            kind="controller_held_up",
            seconds=PAUSE_S,
            expected=RUNS,
            begin=pause,
            end=lambda rig: rig.processes.send(CONTROLLER, signal.SIGCONT),
            may_hold=True,
        ),
        "controller_restart": lambda: Fault(
            kind="controller_restart",
            seconds=1.0,
            expected=HOLDS,
            begin=kill(CONTROLLER, signal.SIGTERM),
            end=lambda rig: rig.start_controller(),
            recover_s=RESTART_S,
            own_stops=("shutdown",),
        ),
    }


def schedule(kinds: Sequence[str], rng: random.Random):
    """Kinds for ever: all of them in a drawn order, then all of them in another."""
    while True:
        yield from rng.sample(list(kinds), len(kinds))
