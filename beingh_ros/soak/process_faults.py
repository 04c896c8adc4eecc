"""Processes that are killed, held up and restarted."""

from __future__ import annotations

import signal
from collections.abc import Callable

from lifecycle_msgs.msg import Transition

from beingh_ros.soak.fault import HOLDS, RESTART_S, RUNS, Fault, Makers
from beingh_ros.soak.processes import CONTROLLER, POLICY, SERVER
from beingh_ros.soak.rig import Rig

PAUSE_S, LONG_PAUSE_S = 0.4, 3.0


def process_faults() -> Makers:
    """Kind -> maker of a fault."""

    return {
        "policy_kill": lambda: Fault(
            kind="policy_kill",
            seconds=2.0,
            expected=HOLDS,
            begin=_kill(POLICY),
            end=lambda rig: rig.start_policy(served=False),
            recover_s=RESTART_S,
        ),
        "server_loss": lambda: Fault(
            kind="server_loss",
            seconds=2.5,
            expected=HOLDS,
            begin=_kill(SERVER),
            end=lambda rig: rig.start_server(),
            recover_s=RESTART_S,
        ),
        "controller_held_up": lambda: _held_up("controller_held_up", CONTROLLER, PAUSE_S, RUNS),
        "policy_held_up": lambda: _held_up("policy_held_up", POLICY, LONG_PAUSE_S, HOLDS),
        "controller_lifecycle": lambda: _lifecycle("controller_lifecycle", CONTROLLER, ("shutdown",)),
        "policy_lifecycle": lambda: _lifecycle("policy_lifecycle", POLICY, ()),
        "controller_restart": lambda: Fault(
            kind="controller_restart",
            seconds=1.0,
            expected=HOLDS,
            begin=_kill(CONTROLLER, signal.SIGTERM),
            end=lambda rig: rig.start_controller(),
            recover_s=RESTART_S,
            own_stops=("shutdown",),
        ),
    }


def _kill(name: str, number: int = signal.SIGKILL) -> Callable[[Rig], int]:
    def begin(rig: Rig) -> int:
        begin_ns = rig.now_ns()
        rig.processes.kill(name, number)
        return begin_ns

    return begin


def _held_up(kind: str, name: str, seconds: float, expected: str) -> Fault:
    def begin(rig: Rig) -> int:
        begin_ns = rig.now_ns()
        rig.processes.send(name, signal.SIGSTOP)
        return begin_ns

    return Fault(
        kind=kind,
        seconds=seconds,
        expected=expected,
        begin=begin,
        end=lambda rig: rig.processes.send(name, signal.SIGCONT),
        may_hold=expected == RUNS,
    )


def _lifecycle(kind: str, name: str, own_stops: tuple[str, ...]) -> Fault:
    """From active to unconfigured and back."""

    def begin(rig: Rig) -> int:
        begin_ns = rig.now_ns()
        rig.change_state(name, Transition.TRANSITION_DEACTIVATE, Transition.TRANSITION_CLEANUP)
        return begin_ns

    def end(rig: Rig) -> None:
        rig.change_state(name, Transition.TRANSITION_CONFIGURE, Transition.TRANSITION_ACTIVATE)

    return Fault(
        kind=kind,
        seconds=1.5,
        expected=HOLDS,
        begin=begin,
        end=end,
        recover_s=RESTART_S,
        own_stops=own_stops,
    )
