"""The policy node's health as diagnostic reports; the keys are read by the demo's report. Executor thread only."""

from __future__ import annotations

import time
from collections import defaultdict

from beingh_core.contract import RobotContract
from beingh_core.inference.chunk_schedule import ChunkSchedule
from beingh_core.inference.inference_thread import InferenceThread
from beingh_core.inference.policy_inputs import PolicyInputs
from beingh_core.realtime.samples import Samples
from beingh_ros.messages import thresholds
from beingh_ros.messages.diagnostics import ERROR, WARN, Report
from beingh_ros.messages.thresholds import RecentCounts, percent

# Nothing was measured later than now, but for what two clocks may differ [s].
CLOCK_AHEAD_S = 0.05


class PolicyReport:
    """Reports on inference and on every stream, once a second each.

    Args:
        contract: Robot.
        inputs: The streams.
        facts: Constant key-values about the checkpoint.
        simulated: Whether the clock goes by steps, so that a message may come before its time.
    """

    def __init__(self, contract: RobotContract, inputs: PolicyInputs, facts: dict, simulated: bool = False) -> None:
        self._contract, self._inputs, self._facts, self._simulated = contract, inputs, facts, simulated
        self._recent: defaultdict[str, RecentCounts] = defaultdict(RecentCounts)

    def stream(self, name: str, now_ns: int, qos: str, publishers: int = 0) -> Report:
        """Age, rate, jitter and losses of one stream.

        Args:
            name: Which, as `video.<view>` or `state.<slot>`.
            now_ns: Present time [ns].
            qos: Reliability it is received with.
            publishers: How many publish on its topic.
        """
        stats, stream = self._inputs.stats[name], self._inputs.streams[name]
        newest = stream.latest()
        age_s = (now_ns - newest.stamp_ns) / 1e9 if newest else None
        values = {
            "topic": self._inputs.topics[name],
            "qos": qos,
            "publishers": publishers,
            "age_s": "none" if age_s is None else age_s,
            "max_age_s": stream.max_age_s,
            "rate_hz": stats.rate_hz,
            "jitter_ms": stats.jitter_ms,
            "received": stats.received,
            "lost": stats.lost,
            "refused": stats.refused,
        }
        recent = self._recent[name](time.monotonic(), {"received": stats.received, "lost": stats.lost})
        reason = dict(self._inputs.closed(now_ns)).get(name)
        if reason is not None:
            return ERROR, reason, values
        missing = self._inputs.missing_views(now_ns).get(name)
        if missing is not None:
            return WARN, missing, values
        ahead_s = self._inputs.ahead_s(name, now_ns) or 0.0
        if ahead_s > CLOCK_AHEAD_S and not self._simulated:
            text = f"stamped {ahead_s:.3f} s ahead of this computer's clock: set both by one clock (chrony)"
            return WARN, text, values
        lost = percent(recent["lost"], recent["received"] + recent["lost"])
        level, text = thresholds.worst(
            [
                *thresholds.STREAM_AGE.judge(percent(age_s or 0.0, stream.max_age_s)),
                *thresholds.STREAM_LOSS.judge(lost),
            ],
            "fresh",
        )
        return bytes([level]), text, values

    def inference(
        self, thread: InferenceThread, schedule: ChunkSchedule, consumed: Samples, controllers: str = ""
    ) -> Report:
        """Gate, counts and times of inference.

        Args:
            thread: The inference thread.
            schedule: Its schedule.
            consumed: Measured delays in consumed ticks.
            controllers: The nodes that publish a plan, when there are several.
        """
        closed = thread.closed()
        values = {
            "active": thread.active,
            "instruction": thread.instruction,
            "gate": "; ".join(f"{what}: {why}" for what, why in closed) or "open",
            "chunks": thread.chunks,
            "failures": thread.failures,
            "unreached_steps": thread.unreached,
            "delay_steps": schedule.delay,
            "estimated_delay_steps": schedule.estimated_delay,
            **self._facts,
            **thread.inference_ms.summary("inference_ms", (50, 95)),
            **thread.latency_ms.summary("latency_ms", (50, 95)),
            "prefetched": thread.prefetched,
            **thread.answer_ms.summary("answer_ms", (50, 95)),
            **consumed.summary("consumed_delay", (50,)),
        }
        counts = {"chunks": thread.chunks, "failures": thread.failures, "unreached": thread.unreached}
        findings = self._inference_findings(self._recent[""](time.monotonic(), counts), thread, schedule)
        rivals = [(thresholds.ERROR, f"several controllers publish a plan: {controllers}")] if controllers else []
        if closed:
            level, text = thresholds.worst([*rivals, (thresholds.WARN, f"gate closed: {values['gate']}")], "")
            return bytes([level]), text, values
        findings += rivals
        if thread.outside is not None:
            findings.append((thresholds.WARN, f"allowed by allow_state_outside_statistics: {thread.outside}"))
        if schedule.estimated_delay > schedule.delay:
            findings.append((thresholds.WARN, "chunks come late: raise latency_budget_s or use a faster machine"))
        level, text = thresholds.worst(findings, "inferring")
        return bytes([level]), text, values

    def _inference_findings(
        self, recent: dict[str, float], thread: InferenceThread, schedule: ChunkSchedule
    ) -> list[thresholds.Finding]:
        chunks, failures = int(recent["chunks"]), recent["failures"]
        latencies_ms = thread.latency_ms.newest(chunks)
        planned_ms = 1e3 * schedule.delay / self._contract.rate_hz
        late = percent(Samples.percentile(latencies_ms, 95), planned_ms) if len(latencies_ms) else None
        return [
            *thresholds.FAILURES.judge(percent(failures, chunks + failures)),
            *thresholds.LATENCY.judge(late),
            *thresholds.UNREACHED.judge(percent(recent["unreached"], chunks * self._contract.policy.chunk_length)),
        ]
