"""The figures of a fault run, and what of them breaks a promise."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np

from beingh_core.evaluate.commitment import Violation, audit
from beingh_core.evaluate.figures import percentiles
from beingh_core.evaluate.motion import (
    Jump,
    Touch,
    check_limits_of,
    check_starts,
    jumps_of_the_robot,
    moved_after,
)
from beingh_core.evaluate.seams import SeamFigures
from beingh_core.evaluate.stops import PROMISED_MS, StopFigures, StopReport, Timeline, cut_ticks, measure_stop, timeline
from beingh_core.evaluate.stream_figures import StreamFigures
from beingh_core.evaluate.ticks import TickCount, count_ticks
from beingh_core.evaluate.wire import EpochLog, WireLog

# A tick period may miss its target by this [ms], and the p99 of an empty timer by this factor.
PERIOD_TOLERANCE_MS, TIMER_FACTOR = 2.0, 1.2
OWN_MODE = "prefix_lock"
# The p95 of the few seams of a short run may be this much above that inside the chunks.
SEAM_FACTOR = 1.15
# This much after what was sent the robot rests too [ms]; then it moves no further than that [rad or m].
SETTLING_MS, AT_REST = 300.0, 0.01
# Differences of three ticks are made from what was sent for a tick.
_AFTER_A_CUT = 3


@dataclass(frozen=True, kw_only=True)
class StopNote:
    """A stop that the harness caused. Times are on the system clock [ns].

    Attributes:
        cause: as controller/state names it.
        cause_ns: when the cause arose.
        reported_ns: when the controller's report was received, None without one.
        until_ns: when it was reset.
        recovered: whether the robot went on after that.
        still_until_ns: until when nobody else has moved the robot; None for the time of the reset.
        held_up_ms: how long the controller got no processor meanwhile, which a stop may take longer [ms].
    """

    cause: str
    cause_ns: int
    reported_ns: int | None
    until_ns: int
    recovered: bool
    still_until_ns: int | None = None
    held_up_ms: float = 0.0


@dataclass(frozen=True, kw_only=True)
class FaultNote:
    """One fault of the run.

    Attributes:
        kind: its name.
        at_s: when it began, after the start of the run [s].
        expected: what must come of it.
        problem: what came instead, "" when nothing did.
        recover_s: how long it took until chunks were accepted again [s].
    """

    kind: str
    at_s: float
    expected: str
    problem: str = ""
    recover_s: float | None = None


@dataclass(kw_only=True, eq=False)
class SoakRecord:
    """Everything that a fault run has recorded.

    Attributes:
        wire: what was received.
        limits: of the joints.
        commit_margin, delay_steps: the contract's.
        faults, stops: what the harness did.
        reports: what the controller told of its stops.
        joint_states: (when measured [ns], (J,) positions).
        moved_by_others: (from, to) times in which the harness has moved the robot [ns].
        touches: what the robot has touched, as the simulator says.
        must_follow: (J,) joints that follow what is sent; a gripper does what the thing in it lets it do. None for all.
        timer_ns: calls of the empty timer [ns].
        seam: way of joining chunks -> its figures.
        timing_judged: whether the machine was left to itself, so that its timing means something.
        planned: whether the wire has the controller's plans in the place of its commands, because those are streams between
            the ticks: what is sent for the tick of a stop, and how the next ones differ from it, is not known then.
        settling_ms: this much after what was sent the robot rests too [ms].
        streams: figures and problems of what is no trajectory.
    """

    wire: WireLog
    limits: object
    commit_margin: int
    delay_steps: int
    faults: list[FaultNote] = field(default_factory=list)
    stops: list[StopNote] = field(default_factory=list)
    reports: list[StopReport] = field(default_factory=list)
    joint_states: Sequence[tuple[int, np.ndarray]] = ()
    moved_by_others: Sequence[tuple[int, int]] = ()
    touches: Sequence[Touch] = ()
    must_follow: np.ndarray | None = None
    timer_ns: Sequence[int] = ()
    seam: Mapping[str, SeamFigures] = field(default_factory=dict)
    timing_judged: bool = False
    planned: bool = False
    settling_ms: float = SETTLING_MS
    streams: Sequence[StreamFigures] = ()


@dataclass(frozen=True, kw_only=True)
class Verdict:
    """The judged run: the figures for the JSON file, every broken promise in words, and details for people.

    `excused` are the robot's jumps that a contact explains, in words.
    """

    figures: dict[str, object]
    problems: tuple[str, ...]
    prefix: tuple[Violation, ...]
    limit: tuple[Violation, ...]
    ticks: TickCount
    stops: tuple[tuple[StopNote, StopFigures], ...]
    comparisons: int
    excused: tuple[str, ...] = ()


def judge(record: SoakRecord) -> Verdict:
    """Everything that can be said of a run."""
    wire, logs = record.wire, record.wire.epochs()
    cuts = cut_ticks(logs, record.reports)
    found = audit(
        logs,
        wire.joints,
        wire.groups,
        commit_margin=record.commit_margin,
        delay_steps=record.delay_steps,
        cuts=cuts,
    )
    # Missing and repeated ticks are counted apart, with what the onlooker lost taken off.
    prefix = tuple(v for v in found.violations if v.rule != "order" or v.tick < 0)
    measured_ns = np.array([stamp_ns for stamp_ns, _ in record.joint_states], dtype=np.int64)
    measured = np.array([row for _, row in record.joint_states]).reshape(len(measured_ns), len(wire.joints))
    limit = (
        *check_limits_of(logs, wire.joints, wire.groups, wire.rate_hz, record.limits),
        *check_starts(logs, wire.joints, wire.groups, measured_ns, measured),
    )
    if record.planned:
        limit = tuple(v for v in limit if not any(0 <= v.tick - cut <= _AFTER_A_CUT for cut in cuts.get(v.epoch, ())))
    ticks = count_ticks(logs)
    line = timeline(logs, wire.joints, wire.groups)
    stops = tuple((note, _measure(line, note, record.limits, wire.rate_hz)) for note in record.stops)
    jumps = _jumps(record, measured_ns, measured)
    figures = {
        "ticks": ticks.sent,
        "prefix_violations": len(prefix),
        "limit_violations": len(limit),
        "ticks_missed": ticks.missed,
        "ticks_doubled": ticks.doubled,
        "jumps_of_the_robot": sum(jump.touch is None for jump in jumps),
        "jumps_after_contact": sum(jump.touch is not None for jump in jumps),
        **_measured_figures(record, logs, stops),
        **{key: value for stream in record.streams for key, value in stream.figures.items()},
    }
    problems = [
        *_promises(figures, stops, record),
        *(f"the robot itself jumped: {_in_words(jump, wire.joints)}" for jump in jumps if jump.touch is None),
        *(problem for stream in record.streams for problem in stream.problems),
        *(text for note, stop in stops if (text := _still_moving(note, stop, record, measured_ns, measured))),
        *(f"{n.kind} at {n.at_s:.0f} s: {n.problem}" for n in record.faults if n.problem),
    ]
    return Verdict(
        figures=figures,
        problems=tuple(problems),
        prefix=prefix,
        limit=limit,
        ticks=ticks,
        stops=stops,
        comparisons=found.comparisons,
        excused=tuple(_in_words(jump, wire.joints) for jump in jumps if jump.touch is not None),
    )


def _measured_figures(
    record: SoakRecord, logs: Sequence[EpochLog], stops: Sequence[tuple[StopNote, StopFigures]]
) -> dict[str, object]:
    """Figures that are no count of broken promises."""
    timer = np.diff(np.asarray(record.timer_ns, dtype=np.int64)) / 1e6
    return {
        "faults": dict(Counter(note.kind for note in record.faults)),
        "stops": [
            {"cause": note.cause, "latency_ms": round(stop.latency_ms, 2), "recovered": note.recovered}
            for note, stop in stops
        ],
        "tick_period_ms": percentiles(tick_periods_ms(logs), 50, 99),
        "empty_timer_period_ms": percentiles(timer, 50, 99),
        "seam": {
            mode: {"p95_rad_s": seam.p95_rad_s, "inside_p95_rad_s": seam.inside_p95_rad_s}
            for mode, seam in record.seam.items()
        },
    }


def tick_periods_ms(logs: Sequence[EpochLog]) -> np.ndarray:
    """Time between the sending of consecutive ticks of an epoch (N,) [ms], by the sender's stamps."""
    found = []
    for log in logs:
        rows = [row for row in log.commands[0] if row.sent_ns is not None] if log.commands else []
        found += [(b.sent_ns - a.sent_ns) / 1e6 for a, b in zip(rows, rows[1:]) if b.first == a.first + 1]
    return np.array(found)


def _measure(line: Timeline, note: StopNote, limits, rate_hz: float) -> StopFigures:
    return measure_stop(
        line,
        cause_ns=note.cause_ns,
        until_ns=note.until_ns,
        reported_ns=note.reported_ns,
        held_up_ms=note.held_up_ms,
        limits=limits,
        rate_hz=rate_hz,
    )


def _jumps(record: SoakRecord, measured_ns: np.ndarray, measured: np.ndarray) -> list[Jump]:
    """Where the robot itself was faster than it may be."""
    speeds = np.array(record.limits.velocity, dtype=float)
    if record.must_follow is not None:
        speeds[~record.must_follow] = np.inf
    return jumps_of_the_robot(measured_ns, measured, speeds, record.moved_by_others, record.touches)


def _in_words(jump: Jump, joints: tuple[str, ...]) -> str:
    text = f"{joints[jump.joint]} at {jump.speed:.2f} rad/s or m/s (at {jump.at_ns / 1e9:.3f})"
    if jump.touch is None:
        return text
    link, _, other = jump.touch.pair.partition("|")
    return f"{text}, after {link} pressed against {other} with {jump.touch.force_n:.0f} N"


def _still_moving(
    note: StopNote, stop: StopFigures, record: SoakRecord, measured_ns: np.ndarray, measured: np.ndarray
) -> str:
    """In words, when the robot itself was not at rest after what was sent to it was."""
    since_ns = note.cause_ns + round(1e6 * (PROMISED_MS + stop.deceleration_ms + note.held_up_ms + record.settling_ms))
    moved = moved_after(measured_ns, measured, since_ns, note.still_until_ns or note.until_ns)
    if moved is None or (moved <= AT_REST).all():
        return ""
    return f"after a stop by {note.cause} a joint still moved by {moved.max():.3f} rad or m"


def _promises(figures: dict, stops: Sequence[tuple[StopNote, StopFigures]], record: SoakRecord) -> list[str]:
    """Every line of "it must show" that is not met."""
    problems = [
        f"{figures[key]} {words}"
        for key, words in (
            ("prefix_violations", "broken commitments"),
            ("limit_violations", "ticks outside the limits"),
            ("ticks_missed", "ticks that were never sent"),
            ("ticks_doubled", "ticks that were sent again"),
        )
        if figures[key]
    ]
    for note, stop in stops:
        if not stop.kept:
            problems.append(
                f"a stop by {note.cause} took {stop.latency_ms:.0f} ms longer than the deceleration "
                f"({PROMISED_MS:.0f} ms are promised)"
            )
        if not note.recovered:
            problems.append(f"no recovery from a stop by {note.cause}")
    if not figures["ticks"]:
        problems.append("not one tick was seen")
    own = record.seam.get(OWN_MODE)
    if own is not None and not (own.p95_rad_s or 0.0) <= SEAM_FACTOR * (own.inside_p95_rad_s or 0.0):
        problems.append("with the prefix lock the velocity jumps more at the seams than inside the chunks")
    if record.timing_judged:
        problems += timing_problems(figures, record.wire.rate_hz)
    return problems


def timing_problems(figures: Mapping, rate_hz: float) -> list[str]:
    """What of the tick period is worse than promised."""
    period, timer = figures["tick_period_ms"]["p99"], figures["empty_timer_period_ms"]["p99"]
    target, problems = 1e3 / rate_hz, []
    if period is None or timer is None:
        return ["the tick period was not measured"]
    if abs(period - target) > PERIOD_TOLERANCE_MS:
        problems.append(
            f"the tick period's p99 is {period:.2f} ms, more than {PERIOD_TOLERANCE_MS:g} ms off {target:g}"
        )
    if period > TIMER_FACTOR * timer:
        problems.append(f"the tick period's p99 is {period:.2f} ms, that of an empty timer {timer:.2f} ms")
    return problems
