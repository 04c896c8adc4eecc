"""The controller's health as a diagnostic report; the keys are read by the demo's report. Executor thread, `merged` the chunk thread."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Mapping, Sequence

from beingh_core.contract import RobotContract
from beingh_core.control.controller import Controller
from beingh_core.control.stop_causes import COLLISION, RUNNING, Status
from beingh_core.control.tick_thread import TickThread
from beingh_core.realtime.clock import TickClock
from beingh_core.realtime.commit_buffer import MergeResult
from beingh_core.realtime.samples import Samples
from beingh_ros.messages import thresholds
from beingh_ros.messages.controller_state import state_level
from beingh_ros.messages.diagnostics import Report
from beingh_ros.messages.thresholds import RECENT_S, RecentCounts, percent

# Counters that are no verdict on a chunk.
_NO_VERDICTS = ("sent", "held", "clips", "stops", "cuts")
_USED = ("merged", "late")


class ControllerReport:
    """Collects what becomes of the chunks and publishes everything countable once a second.

    Args:
        contract: Robot.
        controller: Its controller.
        ticks: The thread that sends.
        dry_run: Whether nothing is sent.
        unchecked: What of chunks is not checked for self-collision, a sentence; "" for nothing.
        setpoints: Gives what the drivers count, and counts and lateness of the setpoints between the ticks.

    Attributes:
        ticks: The thread that sends.
        malformed: Chunk messages that could not be read; the owner counts them.
        incomplete: Chunks of which one part never came; the owner counts them.
        crowded: Chunks that were dropped because others came faster than they could be checked; the owner counts them.
    """

    def __init__(
        self,
        contract: RobotContract,
        controller: Controller,
        ticks: TickThread,
        *,
        dry_run: bool,
        setpoints: Callable[[], Mapping[str, float]] = dict,
        unchecked: str = "",
    ) -> None:
        self._contract, self._controller, self.ticks, self._dry_run = contract, controller, ticks, dry_run
        self._unchecked = unchecked
        self._consumed, self._setpoints = Samples(), setpoints
        self._recent = RecentCounts()
        self._newest: tuple[str, int] | None = None  # epoch and time of the last step [ns] of the newest chunk used
        self.malformed = self.incomplete = self.crowded = 0

    def merged(self, result: MergeResult, epoch: str, stamp_ns: int) -> None:
        """Note a chunk that the controller has judged.

        Args:
            result: The verdict.
            epoch: The chunk's epoch.
            stamp_ns: Time of its base tick [ns].
        """
        if result.accepted:
            self._consumed.add(result.consumed)
            clock = TickClock(self._contract.rate_hz, stamp_ns)
            steps = self._contract.policy.chunk_length if result.cut_at is None else result.cut_at
            self._newest = epoch, clock.stamp_ns(steps)

    def buffer_depth(self) -> int:
        """Ticks ahead for which the newest chunk has steps; 0 when the robot brakes or holds."""
        next_ns = self._controller.next_tick_ns()
        if self._newest is None or next_ns is None or self._newest[0] != self._controller.status.epoch:
            return 0
        return max(0, TickClock(self._contract.rate_hz, next_ns).nearest_tick(self._newest[1]))

    def __call__(self, rivals: Iterable[str], doubled: str = "") -> Report:
        """Level, sentence and values.

        Args:
            rivals: Command topics that another node publishes too.
            doubled: That several publishers speak for one joint, in words.
        """
        rivals = list(rivals)
        controller, counters, rate_hz = self._controller, self._controller.counters, self._contract.rate_hz
        status = controller.status
        clock_ahead_s, clock_text = controller.clock_difference
        verdicts = {name: count for name, count in counters.items() if name not in _NO_VERDICTS}
        accepted = sum(verdicts.get(name, 0) for name in _USED)
        unread = {"malformed": self.malformed, "incomplete": self.incomplete, "crowded": self.crowded}
        refused = sum(unread.values()) + sum(verdicts.values()) - accepted - verdicts.get("useless", 0)
        counted = counters | unread
        counted |= {"accepted": accepted, "refused": refused, "overruns": controller.overruns}
        setpoints = self._setpoints()
        counted |= {"gripper_ended_short": setpoints.get("gripper_ended_short", 0)}
        recent = self._recent(time.monotonic(), counted)
        values = {
            "state": status.state,
            "cause": status.cause,
            "reason": status.reason,
            "epoch": status.epoch,
            "estop": status.estop,
            "at_rest": controller.at_rest,
            "dry_run": self._dry_run,
            "rivals": " ".join(rivals),
            "buffer_depth": self.buffer_depth(),
            "tracking_error_share": controller.tracking_share,
            "joint_state_clock_ahead_s": clock_ahead_s,
            "self_collision_check": self._unchecked or "on",
            "chunk_length": self._contract.policy.chunk_length,
            "delay_steps": self._contract.uac.delay_steps,
        }
        values |= counted
        values |= {"tick_rate_hz_target": rate_hz, "tick_period_ms_target": 1e3 / rate_hz}
        values |= self.ticks.periods_ms.summary("tick_period_ms", (50, 99))
        values |= self.ticks.lateness_ms.summary("tick_lateness_ms", (50, 99))
        values |= self._consumed.summary("consumed_delay", (50,))
        values |= setpoints
        values |= self._recent_ticks()
        findings = self._state_findings(status, rivals, values["buffer_depth"], accepted)
        findings += [(thresholds.WARN, text) for text in (clock_text, doubled) if text]
        if status.state == RUNNING:
            findings += self._chunk_findings(recent)
            findings += thresholds.TICK_LATENESS.judge(values.get("recent_lateness_percent"))
            findings += thresholds.TRACKING.judge(100 * controller.tracking_share)
        level, text = thresholds.worst(findings, "running (dry run: nothing is sent)" if self._dry_run else "running")
        return bytes([level]), text, values

    def _recent_ticks(self) -> dict[str, float]:
        """Rate, jitter and lateness of the newest ticks."""
        newest = max(2, round(RECENT_S * self._contract.rate_hz))
        periods = self.ticks.periods_ms.newest(newest)
        late = self.ticks.lateness_ms.newest(newest)
        if not len(periods) or not len(late):
            return {}
        target_ms = 1e3 / self._contract.rate_hz
        return {
            "tick_rate_hz": 1e3 / float(periods.mean()),
            "tick_jitter_ms": float(periods.std()),
            "recent_lateness_percent": 100 * Samples.percentile(late, 99) / target_ms,
        }

    def _state_findings(
        self, status: Status, rivals: Sequence[str], depth: int, accepted: int
    ) -> list[thresholds.Finding]:
        findings = []
        if rivals:
            findings.append((thresholds.ERROR, f"another node commands the robot too, on {', '.join(rivals)}"))
        if status.state != RUNNING:
            findings.insert(0, (state_level(status)[0], status.sentence))
        elif status.cause == COLLISION:
            findings.append((thresholds.WARN, status.reason))
        elif accepted and depth == 0 and self._newest and self._newest[0] == status.epoch:
            findings.append((thresholds.WARN, "the plan has run out, the robot holds: no chunk arrives in time"))
        return findings

    def _chunk_findings(self, recent: dict[str, float]) -> list[thresholds.Finding]:
        """What the counters of the recent period say."""
        used, useless, others = recent["accepted"], recent.get("useless", 0), recent["refused"]
        values = used * self._contract.policy.chunk_length * len(self._contract.joint_names)
        return [
            *thresholds.USELESS_CHUNKS.judge(percent(useless, used + useless + others)),
            *thresholds.REFUSED_CHUNKS.judge(percent(others, used + useless + others)),
            *thresholds.LATE_CHUNKS.judge(percent(recent.get("late", 0), used)),
            *thresholds.CLIPPED_VALUES.judge(percent(recent.get("clips", 0), values)),
            *thresholds.OVERRUNS.judge(recent["overruns"]),
            *thresholds.GRIPPER.judge(recent["gripper_ended_short"]),
        ]
