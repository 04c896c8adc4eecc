"""Faults that are there before the controller or the policy starts: it must say so and wait, and start when they are gone."""

from __future__ import annotations

import signal
from collections.abc import Callable

from beingh_ros.soak.fault import HOLDS, RESTART_S, Fault, Makers
from beingh_ros.soak.misspelled import starts_anyway
from beingh_ros.soak.other_units import MILLIMETRES, in_other_units
from beingh_ros.soak.processes import CONTROLLER, POLICY
from beingh_ros.soak.rig import Rig

# Longer than an undisturbed controller takes until it runs.
START_S = 12.0


def start_faults() -> Makers:
    """Kind -> maker of a fault."""

    def controller_meets(kind: str, come: Callable[[Rig], object], go: Callable[[Rig], object], told: str, **more):
        def begin(rig: Rig) -> int:
            begin_ns = rig.now_ns()
            rig.processes.kill(CONTROLLER, signal.SIGTERM)
            come(rig)
            rig.start_controller()
            return begin_ns

        return lambda: Fault(
            kind=kind,
            seconds=START_S,
            expected=HOLDS,
            begin=begin,
            end=go,
            recover_s=RESTART_S,
            told=told,
            **{"own_stops": ("shutdown",), **more},
        )

    return {
        "start_slider": controller_meets(
            "start_slider", lambda rig: rig.strangers.slider(), _strangers_end, "forgotten_slider"
        ),
        "start_commander": controller_meets(
            "start_commander", lambda rig: rig.strangers.commander(), _strangers_end, "other_commander"
        ),
        "start_estop": controller_meets(
            "start_estop",
            lambda rig: rig.strangers.button(),
            _button_released,
            "emergency stop",
            own_stops=("shutdown", "estop"),
        ),
        "start_misspelled": misspelled,
        "start_other_units": lambda: Fault(
            kind="start_other_units",
            seconds=START_S,
            expected=HOLDS,
            begin=_other_units,
            end=_own_units,
            recover_s=RESTART_S,
            told="statistics",
        ),
    }


def misspelled() -> Fault:
    """The controller is started with a misspelled parameter, and the launch file with a misspelled argument."""
    found: list[str] = []

    def begin(rig: Rig) -> int:
        begin_ns = rig.now_ns()
        rig.processes.kill(CONTROLLER, signal.SIGTERM)
        alone_ns = rig.now_ns()
        problem = starts_anyway(rig.processes.spec(CONTROLLER))
        moved = len(rig.onlooker.log.sent_since(alone_ns, rig.onlooker.seen.joints[0]))
        found.append(problem or (f"{moved} commands were sent" if moved else ""))
        return begin_ns

    return Fault(
        kind="start_misspelled",
        seconds=0.0,
        expected=HOLDS,
        begin=begin,
        end=lambda rig: rig.start_controller(),
        recover_s=RESTART_S,
        own_stops=("shutdown",),
        check=lambda _rig: found[0],
    )


def _button_released(rig: Rig) -> None:
    rig.strangers.release_button()
    rig.need(lambda: rig.reset()[0], RESTART_S, "a reset")
    rig.strangers.end()


def _other_units(rig: Rig) -> int:
    begin_ns = rig.now_ns()
    rig.processes.kill(POLICY, signal.SIGTERM)
    wrong = in_other_units(rig.processes.checkpoint, MILLIMETRES, rig.processes.out)
    rig.start_policy(served=False, checkpoint=wrong)
    return begin_ns


def _own_units(rig: Rig) -> None:
    rig.processes.kill(POLICY, signal.SIGTERM)
    rig.start_policy(served=False)


def _strangers_end(rig: Rig) -> None:
    rig.strangers.end()
