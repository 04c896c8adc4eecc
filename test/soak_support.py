"""A recording of a fault run made by hand, and its limits; change it before `record`."""

from dataclasses import dataclass, field
from types import SimpleNamespace

import numpy as np

from beingh_core.evaluate.soak import SoakRecord, StopNote
from beingh_core.evaluate.stops import StopReport
from beingh_core.evaluate.wire import WireLog

JOINTS, GROUPS = ("a", "b", "g"), (("a", "b"), ("g",))
RATE_HZ, PERIOD_NS = 20.0, 50_000_000
START_NS = 1_000_000_000_000
EPOCH = f"0@{START_NS}"
MARGIN, DELAY, CHUNK = 1, 3, 8
ONES = np.ones(3)
LIMITS = SimpleNamespace(
    lower=-2.0 * ONES, upper=2.0 * ONES, velocity=1.0 * ONES, acceleration=4.0 * ONES, jerk=100.0 * ONES
)


def stamp(tick):
    """Time of a tick [ns]; it is sent a millisecond later."""
    return START_NS + tick * PERIOD_NS


def sent_at(tick):
    return stamp(tick) + 1_000_000


def swing(ticks):
    """(ticks, 3): from rest to one side and back, well inside the limits; joint b half of a, g still."""
    time_s = np.arange(ticks) / RATE_HZ
    a = 0.3 * (1 - np.cos(1.5 * time_s))
    return np.stack([a, a / 2, np.zeros_like(a)], axis=1)


def brake(q, velocity, rate_hz=RATE_HZ, acceleration=4.0, rows=20):
    """Rows after a row `q`, slowed down at the limit: (rows, 3)."""
    out, v = [], np.array(velocity, dtype=float)
    for _ in range(rows):
        v = np.sign(v) * np.maximum(np.abs(v) - acceleration / rate_hz, 0.0)
        q = q + v / rate_hz
        out.append(q)
    return np.array(out)


@dataclass
class Recording:
    """Messages as they are received.

    Attributes:
        commands: for each topic [tick, rows, time sent, number].
        buffers: [first tick, rows, time sent].
        chunks: [base tick, rows].
        accepted: base ticks.
        reports, stops: of the controller and of the harness.
    """

    commands: list = field(default_factory=lambda: [[], []])
    buffers: list = field(default_factory=list)
    chunks: list = field(default_factory=list)
    accepted: list = field(default_factory=list)
    reports: list = field(default_factory=list)
    stops: list = field(default_factory=list)

    def record(self, limits=LIMITS) -> SoakRecord:
        wire = WireLog(joints=JOINTS, groups=GROUPS, rate_hz=RATE_HZ)
        for group, commands in enumerate(self.commands):
            for tick, rows, sent_ns, number in commands:
                wire.command(group, stamp(tick), GROUPS[group], rows, sent_ns, sent_ns=sent_ns, sequence=number)
        for first, rows, sent_ns in self.buffers:
            wire.buffer(EPOCH, stamp(first), JOINTS, rows, sent_ns=sent_ns)
        for base, rows in self.chunks:
            wire.chunk(EPOCH, stamp(base), JOINTS, rows)
        for base in self.accepted:
            wire.accepted(EPOCH, stamp(base))
        return SoakRecord(
            wire=wire,
            limits=limits,
            commit_margin=MARGIN,
            delay_steps=DELAY,
            stops=list(self.stops),
            reports=list(self.reports),
        )


def healthy(ticks=120, path=None) -> Recording:
    """A controller that keeps its promises: it sends `path` (ticks + CHUNK, 3)."""
    path = swing(ticks + CHUNK) if path is None else path
    recording = Recording()
    recording.buffers.append([0, path[:CHUNK], sent_at(0) - PERIOD_NS])
    for tick in range(ticks):
        for group, columns in enumerate(([0, 1], [2])):
            rows = path[tick : tick + 1 + MARGIN, columns]
            recording.commands[group].append([tick, rows, sent_at(tick), tick + 1])
        recording.buffers.append([tick + 1, path[tick + 1 : tick + 1 + CHUNK], sent_at(tick) + 100_000])
    for base in range(6, ticks - CHUNK, 6):
        recording.chunks.append([base, path[base : base + CHUNK]])
        recording.accepted.append(base)
    return recording


def stopped(at=22, ticks=80, wait=0, tell=True) -> Recording:
    """A controller that is stopped before it sends tick `at`, and brakes from `wait` ticks later on.

    What the tick before had announced as committed is cut by the stop.
    """
    path = swing(ticks + CHUNK)
    cut = at + wait
    velocity = (path[cut - 1] - path[cut - 2]) * RATE_HZ
    path[cut:] = np.vstack([brake(path[cut - 1], velocity), np.zeros((len(path), 3))])[: len(path) - cut]
    settled = cut + 20
    path[settled:] = path[settled - 1]
    recording = healthy(ticks, path)
    planned = swing(ticks + CHUNK)
    for group, columns in enumerate(([0, 1], [2])):
        recording.commands[group][cut - 1][1] = planned[cut - 1 : cut + MARGIN, columns]
    for buffer in recording.buffers:
        if buffer[0] <= cut:
            buffer[1] = planned[buffer[0] : buffer[0] + CHUNK]
    recording.chunks = [chunk for chunk in recording.chunks if chunk[0] < at - CHUNK]
    recording.accepted = [base for base in recording.accepted if base < at - CHUNK]
    cause_ns = sent_at(at - 1) + 10_000_000
    reported_ns = cause_ns + 3_000_000 + wait * PERIOD_NS
    if tell:
        recording.reports.append(StopReport(epoch=EPOCH, stamp_ns=reported_ns - 1_000_000, sent_ns=reported_ns))
    recording.stops.append(
        StopNote(
            cause="estop",
            cause_ns=cause_ns,
            reported_ns=reported_ns if tell else None,
            until_ns=stamp(ticks),
            recovered=True,
        )
    )
    return recording
