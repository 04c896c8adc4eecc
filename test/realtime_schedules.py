"""Random schedules of a controller and a policy that misbehaves, and an onlooker who judges what is sent.

A schedule is a list of events: ticks, chunks that are made, delivered (late, out of order, twice), lost or broken,
restarts of the policy, stops and restarts of the controller. `Observer` knows nothing of the buffer's insides: it
decides itself what must become of a chunk, remembers what was promised, compares it with what is sent, and takes
finite differences of all that was sent.
"""

from dataclasses import replace

import numpy as np

from beingh_core.realtime.commit_buffer import Chunk, CommitBuffer
from beingh_core.realtime.cut import Blocked
from beingh_core.realtime.limits import JointLimits

DT, H, D = 0.05, 8, 3
# An arm's joint, one without a jerk limit, a gripper of small range, and a component of a base's velocity.
JOINTS = ("a", "b", "grip", "base")
LIMITS = JointLimits(
    lower=[-1.0, -0.5, 0.0, -0.6], upper=[1.0, 2.0, 0.04, 0.4], velocity=[1.0, 2.0, 0.2, 1.0],
    acceleration=[6.0, 15.0, 5.0, 1.5], jerk=[90.0, np.inf, 60.0, 12.0], is_velocity=[False, False, False, True],
)  # fmt: skip
START = np.array([0.1, -0.2, 0.04, 0.0])
FORGIVEN = 1e-6  # part of a limit, for rounding
FAULTS = {
    "none": None, "nan": "nonfinite", "foreign_joint": "bad_joints", "missing_joint": "bad_joints", "bad_dt": "bad_dt",
    "short": "bad_length", "foreign_epoch": "foreign_epoch",
}  # fmt: skip
SCALES = (0.003, 0.05, 1.0)  # how far the joints wander in a step
# Kind of event -> how often.
WEIGHTS = {"tick": 5, "infer": 6, "deliver": 6, "lose": 1, "policy_restart": 1, "stop": 1, "restart": 3}
FAULT_WEIGHTS = (14, 1, 1, 1, 1, 1, 1)
_KINDS = [kind for kind, weight in WEIGHTS.items() for _ in range(weight)]
_FAULTS = [fault for fault, weight in zip(FAULTS, FAULT_WEIGHTS) for _ in range(weight)]


def random_schedule(seed, events=14):
    """(events, commit margin): short, with a chunk under way from the beginning."""
    rng = np.random.default_rng(seed)
    numbers = rng.integers(0, 2**16, (events, 5))
    found = [("infer", 0, "none", SCALES[seed % 3], seed), ("deliver", 0, False)]
    for kind, first, second, third, fourth in numbers.tolist():
        name = _KINDS[kind % len(_KINDS)]
        found.append(
            {
                "tick": ("tick", 1 + first % 3),
                "infer": (
                    "infer",
                    first % 5 - 2 if first % 37 else 2 * H,
                    _FAULTS[second % len(_FAULTS)],
                    SCALES[third % 3],
                    fourth,
                ),
                "deliver": ("deliver", first % 10, second % 2 == 0),
                "lose": ("lose", first % 10),
            }.get(name, (name,))
        )
    return found, int(numbers[0, 0] % 4)


class Violation(AssertionError):
    """The buffer broke a promise."""


def require(condition, what):
    if not condition:
        raise Violation(what)


class Observer:
    """Watches a buffer from outside: promised ticks, verdicts, the log, limits.

    With `noise`, the points of a chunk that the buffer must ignore are replaced by noise before it is merged. `blocks` says
    which rows the buffer's check blocks.
    """

    def __init__(self, buffer, noise=None, blocks=lambda row: False):
        self.buffer, self.noise, self.blocks = buffer, noise, blocks
        self.log = ()
        self.path = [START] * 3  # all that was sent, over all epochs
        self.stopped = False
        self.begin("0")

    def begin(self, epoch):
        self.epoch, self.stopped = epoch, False
        self.began_blocked = self.blocks(self.path[-1])
        self.promised, self.next_tick = {}, 0  # tick -> positions that can no longer change, in this epoch
        self.newest, self.newest_rows, self.seen = None, None, set()

    def plan(self):
        first, planned = self.buffer.planned(3 * H)
        require(first == self.next_tick, "the next tick is another one")
        return planned

    def promise(self, planned, until):
        """Notes the commands of all ticks before `until`, and compares them with what was noted."""
        for tick in range(self.next_tick, until):
            row = planned[tick - self.next_tick]
            kept = self.promised.setdefault(tick, row)
            require(kept is row or kept.tolist() == row.tolist(), "a committed tick was changed")

    def tick(self):
        self.promise(self.plan(), self.next_tick + self.buffer.commit_margin)
        command = self.buffer.advance()
        require(command.tick == self.next_tick and command.epoch == self.epoch, "a tick was skipped or sent again")
        row = command.positions
        require(self.promised.get(command.tick, row).tolist() == row.tolist(), "a tick was not sent as committed")
        require(self.stopped or self.began_blocked or not self.blocks(row), "a blocked row was sent")
        self.next_tick += 1
        self.path.append(row)
        self.check_log(1)

    def merge(self, chunk, fault):
        before = self.plan()
        self.promise(before, self.next_tick + self.buffer.commit_margin)
        locked = max(self.next_tick + self.buffer.commit_margin, chunk.base_tick + D)
        expected = self.verdict(chunk, fault, locked)
        result = self.buffer.merge(self.with_noise_in_the_head(chunk, locked))
        if result.status == "blocked":
            require(result.blocked, "nothing is in the way")
            require(expected in ("merged", "late"), f"a chunk became blocked, not {expected}")
        else:
            require(result.status == expected, f"a chunk became {result.status}, not {expected}")
        require(result.reason, "no reason is given")
        require(result.consumed == self.next_tick - chunk.base_tick, "the consumed ticks are counted wrongly")
        after = self.plan()
        if result.accepted:
            require(result.first_tick == locked, "a chunk was merged from another tick than the rule says")
            require(
                np.array_equal(after[: locked - self.next_tick], before[: locked - self.next_tick]), "prefix rewritten"
            )
            self.promise(after, locked)
            self.newest, self.newest_rows = chunk.base_tick, chunk.positions
            self.seen.add(chunk.base_tick)
        else:
            require(np.array_equal(after, before), f"a {result.status} chunk changed the plan")
        self.check_log(0)

    def verdict(self, chunk, fault, locked):
        """What the rules say of a chunk."""
        consumed = self.next_tick - chunk.base_tick
        if chunk.epoch != self.epoch:
            return "foreign_epoch"
        if self.stopped:
            return "stopped"
        if FAULTS[fault]:
            return FAULTS[fault]
        if chunk.base_tick > self.next_tick + H:
            return "future"
        offset = locked - chunk.base_tick
        if self.newest == chunk.base_tick and np.array_equal(chunk.positions[offset:], self.newest_rows[offset:]):
            return "duplicate"
        if self.newest is not None and chunk.base_tick < self.newest:
            return "stale" if consumed > D or chunk.base_tick in self.seen else "reordered"
        if locked >= chunk.base_tick + H:
            return "useless"
        return "late" if consumed > D else "merged"

    def with_noise_in_the_head(self, chunk, locked):
        if self.noise is None:
            return chunk
        positions = np.array(chunk.positions)
        head = positions[: locked - chunk.base_tick]
        head += self.noise.normal(0, 10.0, head.shape)
        return replace(chunk, positions=positions)

    def stop(self):
        self.buffer.stop("test")
        kept = self.next_tick
        if not self.stopped:
            self.promised = {tick: row for tick, row in self.promised.items() if tick < kept}
        self.stopped = True

    def come_to_rest(self):
        for _ in range(60):
            if (self.plan() == self.path[-1]).all():
                return
            self.tick()
        require(False, "it did not come to rest")

    def check_log(self, added):
        """The log grows by `added` at its end and nowhere else."""
        log = self.buffer.log
        require(len(log) == len(self.log) + added, "the log did not grow by the commands sent")
        require(all(new is old for new, old in zip(log, self.log)), "the log was rewritten")
        self.log = log

    def check_motion(self):
        """Finite differences of what was sent, over stops, restarts and everything."""
        path = np.array(self.path)
        first, second, third = (np.diff(path, n, axis=0) / DT**n for n in (1, 2, 3))
        base, slack = LIMITS.is_velocity, 1 + FORGIVEN
        require((np.abs(first) <= np.where(base, LIMITS.acceleration, LIMITS.velocity) * slack).all(), "velocity")
        require((np.abs(second) <= np.where(base, LIMITS.jerk, LIMITS.acceleration) * slack).all(), "acceleration")
        require((np.abs(third) <= np.where(base, np.inf, LIMITS.jerk) * slack).all(), "jerk")
        require((path >= LIMITS.lower - 1e-9).all() and (path <= LIMITS.upper + 1e-9).all(), "position")


def make_chunk(buffer, base, fault, scale, seed):
    """A chunk from what the buffer publishes: its prefix, then a random walk; broken as `fault` says."""
    rng = np.random.default_rng(seed)
    start = buffer.planned()[1][D]
    positions = start + np.cumsum(rng.normal(0, scale, (H, len(JOINTS))), axis=0)
    fields = {"base_tick": base, "epoch": buffer.epoch, "joints": JOINTS, "positions": positions, "dt_s": DT}
    if fault == "nan":
        positions[rng.integers(H), rng.integers(2)] = rng.choice([np.nan, np.inf])
    changes = {
        "foreign_joint": {"joints": (*JOINTS[:-1], "x")},
        "missing_joint": {"joints": JOINTS[:1], "positions": positions[:, :1]},
        "bad_dt": {"dt_s": 0.1},
        "short": {"positions": positions[:-1]},
        "foreign_epoch": {"epoch": "another"},
    }
    return Chunk(**{**fields, **changes.get(fault, {})})


def check_of(blocks):
    """A check that blocks such rows."""

    def check(_start, rows, known):
        found = next((row for row in range(known, len(rows)) if blocks(rows[row])), None)
        return None if found is None else Blocked(row=found, reason="a wall")

    return check


def run(schedule, buffer_class=CommitBuffer, noise=None, blocks=None):
    """Plays a schedule; raises `Violation` where the buffer breaks a promise. Returns what was sent.

    `blocks` says of a row whether the buffer's check blocks it; without it there is no check.
    """
    events, commit_margin = schedule
    buffer = buffer_class(
        joints=JOINTS, start_positions=START, limits=LIMITS, dt_s=DT, chunk_length=H, delay_steps=D,
        commit_margin=commit_margin, epoch="0", check=blocks and check_of(blocks),
    )  # fmt: skip
    observer, in_flight, epochs = Observer(buffer, noise, blocks or (lambda row: False)), [], 0
    for event, *values in events:
        if event == "tick":
            for _ in range(values[0]):
                observer.tick()
        elif event == "infer":
            offset, fault, scale, seed = values
            in_flight.append((make_chunk(buffer, buffer.next_tick + offset, fault, scale, seed), fault))
        elif event == "deliver" and in_flight:
            index = values[0] % len(in_flight)
            observer.merge(*(in_flight[index] if values[1] else in_flight.pop(index)))
        elif event == "lose" and in_flight:
            in_flight.pop(values[0] % len(in_flight))
        elif event == "policy_restart":
            in_flight.clear()
        elif event == "stop":
            observer.stop()
            observer.tick()
        elif event == "restart" and observer.stopped:
            observer.come_to_rest()
            observer.path.append(observer.path[-1])  # the first tick of an epoch is two periods after its announcement
            epochs += 1
            buffer.restart(observer.path[-1], str(epochs))
            observer.begin(str(epochs))
    observer.tick()
    observer.come_to_rest()
    observer.check_motion()
    return np.array(observer.path)
