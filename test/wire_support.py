"""A small wire stream made by hand, and ways to tamper with it."""

from dataclasses import dataclass, field

import numpy as np

from beingh_core.evaluate.wire import WireLog

JOINTS, GROUPS = ("a", "b", "g"), (("a", "b"), ("g",))
RATE_HZ, START_NS, EPOCH = 10.0, 5_000_000_000, "0@5000000000"
MARGIN, DELAY, CHUNK = 1, 2, 5
PERIOD_NS = 100_000_000
# Joint a of ticks 0..8: rest, then a chunk of base tick 2 takes over at tick 4 and moves by 0.1 a tick until tick 6.
SENT_A = [0.0, 0.0, 0.0, 0.0, 0.1, 0.2, 0.3, 0.3, 0.3]
MERGED_AT = 3  # the tick that was next when the chunk was merged


def rows(a):
    """(N, 3): joint a as given, b half of it, g at rest."""
    a = np.asarray(a, dtype=float)
    return np.stack([a, a / 2, np.zeros_like(a)], axis=1)


@dataclass
class Stream:
    """Messages as (tick, rows), in the order of a topic; change them before `log`."""

    commands: list = field(default_factory=lambda: [[], []])
    buffers: list = field(default_factory=list)
    chunks: list = field(default_factory=list)
    accepted: list = field(default_factory=list)

    def log(self) -> WireLog:
        """What an onlooker sees: one topic after the other, the order between topics being unknown."""
        wire = WireLog(joints=JOINTS, groups=GROUPS, rate_hz=RATE_HZ)
        for group, commands in enumerate(self.commands):
            for tick, positions in commands:
                wire.command(group, stamp(tick), GROUPS[group], positions, received_ns=stamp(tick) + 1000 * tick)
        for tick, positions in self.buffers:
            wire.buffer(EPOCH, stamp(tick), JOINTS, positions)
        for tick, positions in self.chunks:
            wire.chunk(EPOCH, stamp(tick), JOINTS, positions)
        for tick in self.accepted:
            wire.accepted(EPOCH, stamp(tick))
        return wire


def stamp(tick):
    return START_NS + tick * PERIOD_NS


def healthy(ticks=8) -> Stream:
    """The stream of a controller that keeps its promises: every tick sent with the next one as committed."""
    stream = Stream()
    sent = rows(SENT_A)
    for tick in range(ticks):
        pair = sent[tick : tick + 1 + MARGIN]
        stream.commands[0].append((tick, pair[:, :2]))
        stream.commands[1].append((tick, pair[:, 2:]))
    for first in range(ticks + 1):
        plan = [0.0] * CHUNK if first <= MERGED_AT else (SENT_A + [0.3] * CHUNK)[first : first + CHUNK]
        stream.buffers.append((first, rows(plan)))
    stream.chunks.append((2, rows([0.0, 0.0, 0.1, 0.2, 0.3])))
    stream.accepted.append(2)
    return stream
