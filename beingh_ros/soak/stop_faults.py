"""Faults that must stop the robot, each by its cause."""

from __future__ import annotations

import math
import random
import signal
from dataclasses import replace

from beingh_core.contract import RobotContract
from beingh_ros.soak.disturbance import Effect, changed, dropped
from beingh_ros.soak.fault import RESTART_S, STOPS, Fault, Makers, wire_fault
from beingh_ros.soak.injector import joint_state_topics
from beingh_ros.soak.processes import CONTROLLER, SIM
from beingh_ros.soak.rig import Rig
from beingh_ros.soak.tampering import joint_state_with

CLOCK_STEPS_S = (5.0, -5.0, 0.3, -0.3)
# Beside the robot [rad].
OFF_RAD = 0.6
# A new publisher is received after this time at the latest [s].
DISCOVERY_S = 0.5


def stop_faults(contract: RobotContract, rng: random.Random) -> Makers:
    """Kind -> maker of a fault."""
    states, watchdog = joint_state_topics(contract), contract.watchdog
    # A gripper may be blocked by what it holds; the arm is watched.
    joint = next(name for name, error in zip(contract.joint_names, watchdog.tracking_error) if math.isfinite(error))

    source = next(signal for signal in contract.state if joint in signal.joints)
    name, factor, _ = contract.wire_of(source.topic).of(joint)

    def watched(kind: str, seconds: float, cause: str, effects: list[Effect], after_s: float, topics=states) -> Fault:
        plain = wire_fault(kind, seconds, {topic: effects for topic in topics}, STOPS, cause=cause)
        return replace(plain, begin=lambda rig: plain.begin(rig) + round(1e9 * after_s))

    def tampered(kind: str, cause: str, change, after_s: float) -> Fault:
        effects = [changed(joint_state_with(name, change), 1.0, rng)]
        return watched(kind, 1.5, cause, effects, after_s, [source.topic])

    return {
        "brake_held_up": lambda: _brake_held_up(contract, rng),
        "joint_states_slider": _slider,
        "robot_restart": lambda: Fault(
            kind="robot_restart",
            seconds=watchdog.joint_states_s + 1.0,
            expected=STOPS,
            begin=lambda rig: _kill_robot(rig) + round(1e9 * watchdog.joint_states_s),
            end=lambda rig: rig.restart_robot(),
            cause="joint_states_silent",
            recover_s=RESTART_S,
        ),
        "joint_state_gap": lambda: watched(
            "joint_state_gap",
            watchdog.joint_states_s + 1.0,
            "joint_states_silent",
            [dropped(1.0, rng)],
            watchdog.joint_states_s,
        ),
        "joint_state_nan": lambda: tampered("joint_state_nan", "joint_states_invalid", lambda _: math.nan, 0.0),
        "joint_state_error": lambda: tampered(
            "joint_state_error", "tracking_error", lambda value: value + OFF_RAD / factor, watchdog.tracking_time_s
        ),
        "clock_step": lambda: _clock_step(rng),
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


def _slider() -> Fault:
    def begin(rig: Rig) -> int:
        rig.strangers.slider()
        return rig.now_ns() + round(1e9 * DISCOVERY_S)

    return Fault(
        kind="joint_states_slider",
        seconds=1.5,
        expected=STOPS,
        begin=begin,
        end=lambda rig: rig.strangers.end(),
        cause="joint_states_invalid",
    )


def _kill_robot(rig: Rig) -> int:
    rig.processes.kill(SIM)
    return rig.now_ns()


def _clock_step(rng: random.Random) -> Fault:
    step_ns = round(1e9 * rng.choice(CLOCK_STEPS_S))
    return Fault(
        kind="clock_step",
        seconds=1.5,
        expected=STOPS,
        begin=lambda rig: rig.step_clock(step_ns),
        end=lambda rig: rig.step_clock(0),
        cause="clock",
    )


def _brake_held_up(contract: RobotContract, rng: random.Random) -> Fault:
    """The controller gets no processor while it brakes."""
    held_up_s = rng.choice((2.5, 4.0, 8.0)) * contract.dt_s

    def begin(rig: Rig) -> int:
        pressed_ns = rig.press_estop(True)
        rig.wait(lambda: False, 1.5 * contract.dt_s)
        rig.processes.send(CONTROLLER, signal.SIGSTOP)
        rig.wait(lambda: False, held_up_s)
        rig.processes.send(CONTROLLER, signal.SIGCONT)
        return pressed_ns

    return Fault(
        kind="brake_held_up",
        seconds=1.0,
        expected=STOPS,
        begin=begin,
        end=lambda rig: rig.press_estop(False),
        cause="estop",
        held_up_s=held_up_s + 0.05,
    )
