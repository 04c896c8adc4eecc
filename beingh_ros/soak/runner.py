"""Runs faults one after the other until the time is over, and notes what came of each."""

from __future__ import annotations

import random
import signal
import time
from collections.abc import Callable, Sequence

from beingh_core.contract import RobotContract
from beingh_core.errors import BeingHError
from beingh_core.evaluate.soak import SETTLING_MS, FaultNote, SoakRecord, StopNote
from beingh_ros.soak.fault import HOLDS, RUNS, STOPS, Fault
from beingh_ros.soak.faults import catalogue, schedule
from beingh_ros.soak.onlooker import STOPPED_STATES
from beingh_ros.soak.processes import POLICY, SERVER
from beingh_ros.soak.rig import Rig

# A fault strikes while a joint moves at least this fast [rad/s or m/s], if that comes within MOVING_S [s].
MOVING_SPEED, MOVING_S = 0.1, 4.0
CALM_S = 0.6
# Longest time until the controller reports a stop, and until it rests [s].
REPORT_S, REST_S = 5.0, 5.0
# After the cause has gone, how long it must stay stopped without a reset [s].
STAYS_S = 0.4
# A controller that has told no plan for longer has none [s].
SILENT_S = 0.5
# A G1's arms are soft (80 N m/rad, 3 N m s/rad): they swing with some 14 rad/s, and a third of it is left after 0.3 s.
SOFT, SOFT_MS = "unitree_g1_arm_sdk", 800.0
# Chunks in a row that show that the robot goes on.
CHUNKS_AGAIN = 2


class Soak:
    """One run over a rig that has started. Main thread.

    Args:
        rig: What to act on.
        contract: Robot.
        rng: Draws the order of the faults and their numbers.
        kinds: Which faults; empty for all.
        tell: Called with a line after every fault.

    Raises:
        BeingHError: A kind that does not exist.
    """

    def __init__(
        self,
        rig: Rig,
        contract: RobotContract,
        rng: random.Random,
        kinds: Sequence[str] = (),
        tell: Callable[[str], None] = lambda _line: None,
    ) -> None:
        self._rig, self._tell = rig, tell
        self._catalogue = catalogue(contract, rng, expert=rig.processes.checkpoint is None)
        unknown = [kind for kind in kinds if kind not in self._catalogue]
        if unknown:
            raise BeingHError(f"there is no fault '{unknown[0]}'", where="--faults", allowed=sorted(self._catalogue))
        # Until a robot's own controller has given it away, it takes no chunks.
        self._takes_over_s = max((driver.options.get("ramp_in_s", 0.0) for driver in contract.drivers), default=0.0)
        self._kinds, self._rng = list(kinds or self._catalogue), rng
        self.record = SoakRecord(
            wire=rig.onlooker.log,
            limits=rig.onlooker.seen.limits,
            commit_margin=contract.uac.commit_margin,
            delay_steps=contract.uac.delay_steps,
            must_follow=rig.onlooker.seen.must_follow,
            planned=rig.onlooker.seen.planned,
            settling_ms=SOFT_MS if any(driver.kind == SOFT for driver in contract.drivers) else SETTLING_MS,
        )

    def run(self, seconds: float) -> None:
        """Faults until the time is over; one that has begun is finished."""
        start_s = time.monotonic()
        for kind in schedule(self._kinds, self._rng):
            if time.monotonic() - start_s >= seconds:
                return
            self._prepare(kind)
            fault = self._catalogue[kind]()
            at_s = time.monotonic() - start_s
            problem, recover_s = self._stop(fault) if fault.expected == STOPS else self._run(fault)
            self.record.faults.append(
                FaultNote(kind=kind, at_s=at_s, expected=_expected(fault), problem=problem, recover_s=recover_s)
            )
            self._tell(f"{at_s:6.1f} s  {kind:20s} {_expected(fault):28s} {problem or 'as expected'}")
            if problem:
                self._put_right()

    def wait_calmly(self, seconds: float) -> None:
        """Let the robot work without a fault, with a new task now and then; a stop is none of its own."""
        start_s, end_s = time.monotonic(), time.monotonic() + seconds
        while (left_s := end_s - time.monotonic()) > 0:
            self._rig.new_task()
            if self._rig.wait(lambda: self._rig.stopped, min(left_s, 8.0)):
                at_s, problem = time.monotonic() - start_s, f"it stopped: {self._rig.onlooker.state.reason}"
                self.record.faults.append(FaultNote(kind="none", at_s=at_s, expected=RUNS, problem=problem))
                return

    def _prepare(self, kind: str) -> None:
        """A policy of the right sort, a robot that goes by chunks, and if possible in motion."""
        rig = self._rig
        if kind == "server_loss" and not (rig.served and rig.processes.running(SERVER)):
            rig.start_server()
            rig.processes.kill(POLICY, signal.SIGTERM)
            rig.start_policy(served=True)
            self._chunks_again(180.0)
        rig.wait(lambda: False, CALM_S)
        rig.new_task()
        self._chunks_again(10.0)
        if not rig.wait(lambda: rig.onlooker.speed > MOVING_SPEED, MOVING_S):
            rig.tidy_up()
            self._chunks_again(10.0)
            rig.wait(lambda: rig.onlooker.speed > MOVING_SPEED, MOVING_S)

    def _run(self, fault: Fault) -> tuple[str, float | None]:
        """A fault that must not stop the robot; (problem, recovery [s])."""
        rig, before = self._rig, len(self._rig.onlooker.states)
        fault.begin(rig)
        rig.wait(lambda: False, fault.seconds)
        # A controller that is gone plans nothing any more.
        held = rig.onlooker.speed == 0.0 or rig.onlooker.silent_s > SILENT_S
        problem = self._untold(fault, before) or fault.check(rig)
        fault.end(rig)
        ended_s = time.monotonic()
        if not self._chunks_again(fault.recover_s):
            problem = f"no chunk was accepted within {fault.recover_s:g} s of its end"
        recover_s = time.monotonic() - ended_s
        stops = [note for note in rig.onlooker.states[before:] if note.state in STOPPED_STATES]
        for note in stops:
            if note.cause not in fault.own_stops:
                return f"it stopped: {note.cause}: {note.reason}", None
        if fault.expected == HOLDS and not held and not problem:
            problem = "the robot still moved at its end"
        return problem, recover_s

    def _stop(self, fault: Fault) -> tuple[str, float | None]:
        """A fault that must stop the robot; (problem, recovery [s])."""
        rig, before = self._rig, len(self._rig.onlooker.states)

        def news() -> list:
            return [note for note in rig.onlooker.states[before:] if note.state in STOPPED_STATES]

        cause_ns = fault.begin(rig)
        began_s = time.monotonic()
        rig.wait(news, fault.seconds + REPORT_S)
        rig.wait(lambda: False, max(0.0, fault.seconds - (time.monotonic() - began_s)))
        rested = rig.wait(lambda: rig.stopped, REST_S)
        problem = "" if rested else "it did not come to rest"
        still_until_ns = rig.now_ns()
        if fault.kind == "estop" and rig.reset()[0]:
            problem = problem or "a reset was accepted while the emergency stop was pressed"
        problem = problem or self._untold(fault, before) or fault.check(rig)
        fault.end(rig)
        rig.wait(lambda: not rig.stopped, STAYS_S)
        if not rig.stopped and rested:
            problem = problem or "it went on without a reset"
        reported = news()
        recovered, until_ns, recover_s = self._recover(fault.recover_s)
        self.record.stops.append(
            StopNote(
                cause=fault.cause,
                cause_ns=cause_ns,
                reported_ns=reported[0].received_ns if reported else None,
                until_ns=until_ns,
                recovered=recovered,
                still_until_ns=still_until_ns,
                held_up_ms=1e3 * fault.held_up_s,
            )
        )
        if not reported:
            return f"no stop by {fault.cause} was reported", recover_s
        if reported[0].cause != fault.cause:
            return f"it stopped by {reported[0].cause} ({reported[0].reason})", recover_s
        return problem, recover_s

    def _untold(self, fault: Fault, before: int) -> str:
        """In words, that neither controller nor policy has said what is the matter; "" when one has."""
        policy = self._rig.onlooker.policy
        said = [note.reason for note in self._rig.onlooker.states[before:]]
        said += [policy.get("message", ""), policy.get("gate", "")]
        if not fault.told or any(fault.told in text.lower() for text in said):
            return ""
        return f"nobody said '{fault.told}'; the last words were '{said[-3] if len(said) > 2 else ''}' and '{said[-1]}'"

    def _recover(self, recover_s: float) -> tuple[bool, int, float]:
        """Reset until it is accepted, and wait for chunks; (recovered, time of the reset [ns], how long [s])."""
        began_s, until_ns = time.monotonic(), self._rig.now_ns()
        agreed = False
        while not agreed and time.monotonic() - began_s < recover_s:
            until_ns = self._rig.now_ns()
            agreed, _ = self._rig.reset()
            if not agreed:
                self._rig.wait(lambda: False, 0.2)
        recovered = agreed and self._chunks_again(recover_s)
        return recovered, until_ns, time.monotonic() - began_s

    def _chunks_again(self, timeout_s: float) -> bool:
        """Wait until the controller runs and has accepted chunks from now on; whether it did."""
        rig, count = self._rig, self._rig.onlooker.accepted_count
        end_s = time.monotonic() + timeout_s + self._takes_over_s
        while time.monotonic() < end_s:
            rig.keep_telling()
            if rig.wait(lambda: rig.running and rig.onlooker.accepted_count >= count + CHUNKS_AGAIN, 1.0):
                return True
        return False

    def _put_right(self) -> None:
        """After a failed expectation: as good a state as can be had, so that the faults after it mean something."""
        rig = self._rig
        rig.injector.clear()
        rig.strangers.end()
        rig.press_estop(False)
        rig.step_clock(0)
        if not rig.running:
            self._recover(20.0)


def _expected(fault: Fault) -> str:
    if fault.expected == STOPS:
        return f"stops: {fault.cause}, then reset"
    if fault.may_hold:
        return "keeps running or holds"
    return fault.expected
