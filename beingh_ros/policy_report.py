"""The policy node's health as diagnostic reports; the keys are read by the demo's report."""

from __future__ import annotations

from beingh_ros.chunk_schedule import ChunkSchedule
from beingh_ros.diagnostics import ERROR, OK, WARN, Report, Samples
from beingh_ros.inference_thread import InferenceThread
from beingh_ros.policy_inputs import PolicyInputs


def stream_report(inputs: PolicyInputs, name: str, now_ns: int, qos: str) -> Report:
    """Age, rate and losses of one stream.

    Args:
        inputs: The streams.
        name: Which, as `video.<view>` or `state.<slot>`.
        now_ns: Present time [ns].
        qos: Reliability it is heard with.
    """
    stats, newest = inputs.stats[name], inputs.streams[name].latest()
    values = {
        "topic": inputs.topics[name],
        "qos": qos,
        "age_s": (now_ns - newest.stamp_ns) / 1e9 if newest else "none",
        "rate_hz": stats.rate_hz,
        "received": stats.received,
        "lost": stats.lost,
        "refused": stats.refused,
    }
    reason = dict(inputs.closed(now_ns)).get(name)
    return (OK, "fresh", values) if reason is None else (ERROR, reason, values)


def inference_report(thread: InferenceThread, schedule: ChunkSchedule, consumed: Samples, model_facts: dict) -> Report:
    """Gate, counts and times of inference.

    Args:
        thread: The inference thread.
        schedule: Its schedule.
        consumed: Measured delays in consumed ticks.
        model_facts: Constant key-values about the checkpoint.
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
        **model_facts,
        **thread.inference_ms.summary("inference_ms", (50, 95)),
        **thread.latency_ms.summary("latency_ms", (50, 95)),
        **consumed.summary("consumed_delay", (50,)),
    }
    if closed:
        return WARN, f"gate closed: {values['gate']}", values
    if schedule.estimated_delay > schedule.delay:
        return WARN, "chunks come late: raise latency_budget_s or use a faster machine", values
    return OK, "inferring", values
