"""One fault: what it does, and what must come of it.

A fault either leaves the robot running, makes it hold (its plan runs out, it rests, and goes on by itself), or stops it
for a cause, after which only a reset lets it go on.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from beingh_ros.soak.disturbance import Effect
from beingh_ros.soak.rig import Rig

RUNS, HOLDS, STOPS = "keeps running", "holds", "stops"
# Longest time until a process that was started anew takes part again [s].
RESTART_S = 90.0

Makers = dict[str, Callable[[], "Fault"]]


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
        told: what the controller or the policy must have said before its end, in lower case; "" for nothing.
        held_up_s: how long the controller gets no processor meanwhile; a stop may take that much longer [s].
        check: what is wrong at its end, in words; "" for nothing.
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
    told: str = ""
    held_up_s: float = 0.0
    check: Callable[[Rig], str] = lambda _rig: ""


def wire_fault(kind: str, seconds: float, effects: dict[str, Sequence[Effect]], expected: str = RUNS, **more) -> Fault:
    """A fault of messages between the nodes: topic -> effects while it lasts."""

    def begin(rig: Rig) -> int:
        for topic, those in effects.items():
            rig.injector.disturb(topic, those)
        return rig.now_ns()

    return Fault(
        kind=kind, seconds=seconds, expected=expected, begin=begin, end=lambda rig: rig.injector.clear(), **more
    )
