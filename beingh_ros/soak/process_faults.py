"""Processes that are killed, held up and restarted."""

from __future__ import annotations

import signal
from collections.abc import Callable

from beingh_ros.soak.fault import HOLDS, RESTART_S, RUNS, Fault, Makers
from beingh_ros.soak.processes import CONTROLLER, POLICY, SERVER
from beingh_ros.soak.rig import Rig

PAUSE_S = 0.4


def process_faults() -> Makers:
    """Kind -> maker of a fault."""

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
