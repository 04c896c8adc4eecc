"""The append-only invariant over random schedules, and the proof that the check can fail.

A schedule is a list of events between a policy that misbehaves (late, reordered, repeated, lost, broken
and foreign chunks; restarts) and a controller that ticks and stops. `Observer` knows nothing of the
buffer's insides: it remembers what was promised and compares it with what is sent.
"""

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import HealthCheck, Phase, find, given, settings
from hypothesis import strategies as st

from beingh_core.realtime.commit_buffer import Chunk, CommitBuffer
from beingh_core.realtime.limits import JointLimits

DT, H, D = 0.05, 8, 3
JOINTS = ("a", "b")
LIMITS = JointLimits(lower=[-1.0, -0.5], upper=[1.0, 2.0], velocity=[1.0, 2.0], acceleration=[6.0, 15.0])
FAULTS = ("none",) * 14 + ("nan", "foreign_joint", "missing_joint", "bad_dt", "short", "foreign_epoch")

def events():
    """One event. Kinds are drawn by weight: `one_of` alone would stop as often as it infers."""
    kinds = {
        "tick": (5, st.integers(1, 3)),
        "infer": (
            6,
            st.integers(-2, 2),  # base tick, seen from the next tick
            st.sampled_from(FAULTS),
            st.sampled_from([0.003, 0.05, 1.0]),  # how far the joints wander in a step
            st.integers(0, 2**16),
        ),
        "deliver": (6, st.integers(0, 9), st.booleans()),  # which chunk in flight; keep it, to be repeated?
        "lose": (1, st.integers(0, 9)),
        "policy_restart": (1,),
        "stop": (1,),
        "restart": (3,),
    }
    weighted = [kind for kind, (weight, *_) in kinds.items() for _ in range(weight)]
    return st.sampled_from(weighted).flatmap(lambda kind: st.tuples(st.just(kind), *kinds[kind][1:]))


# Short schedules shrink well, long ones get into trouble.
SCHEDULES = st.tuples(st.one_of(st.lists(events(), max_size=8), st.lists(events(), min_size=20, max_size=40)), st.integers(0, 3))


class Violation(AssertionError):
    """The buffer broke a promise."""


def require(condition, what):
    if not condition:
        raise Violation(what)


class Observer:
    """Watches a buffer from outside: promised ticks, the log, limits.

    With `noise`, the points of a chunk that the buffer must ignore are replaced by noise before it is merged.
    """

    def __init__(self, buffer, noise=None):
        self.buffer = buffer
        self.noise = noise
        self.promised = {}  # tick -> positions that can no longer change, in this epoch
        self.sent = []  # positions of this epoch, the start first
        self.log = ()
        self.begin(np.zeros(2))

    def begin(self, start):
        self.promised, self.sent = {}, [np.array(start)]

    def promise(self, until):
        """Notes the commands of all ticks before `until`, and compares them with what was noted."""
        first, planned = self.buffer.planned(2 * H + D)
        for tick in range(first, min(until, first + len(planned))):
            row = planned[tick - first]
            kept = self.promised.setdefault(tick, row)
            require(np.array_equal(kept, row), "a committed tick was changed")

    def tick(self):
        next_tick = self.buffer.next_tick
        self.promise(next_tick + self.buffer.commit_margin)
        command = self.buffer.advance()
        require(command.tick == next_tick == len(self.sent) - 1, "a tick was skipped or sent again")
        kept = self.promised.get(command.tick, command.positions)
        require(np.array_equal(kept, command.positions), "a tick was not sent as committed")
        self.sent.append(np.array(command.positions))
        self.check_log(1)
        self.promise(self.buffer.next_tick + self.buffer.commit_margin)

    def merge(self, chunk):
        next_tick, before = self.buffer.planned(3 * H)
        self.promise(next_tick + self.buffer.commit_margin)
        result = self.buffer.merge(self.with_noise_in_the_head(chunk, next_tick))
        after = self.buffer.planned(3 * H)[1]
        if result.accepted:
            locked = max(next_tick + self.buffer.commit_margin, chunk.base_tick + D)
            require(result.first_tick == locked, "a chunk was merged from another tick than the rule says")
            require(np.array_equal(after[: locked - next_tick], before[: locked - next_tick]), "the prefix was rewritten")
            require(result.consumed == next_tick - chunk.base_tick, "the consumed ticks are counted wrongly")
            require((result.status == "late") == (result.consumed > D), "late is c > d")
            self.promise(locked)
        else:
            require(np.array_equal(after, before), f"a {result.status} chunk changed the plan")
        self.check_log(0)
        return result

    def with_noise_in_the_head(self, chunk, next_tick):
        if self.noise is None:
            return chunk
        ignored = max(next_tick + self.buffer.commit_margin - chunk.base_tick, D)
        positions = np.array(chunk.positions)
        head = positions[:ignored]
        head += self.noise.normal(0, 10.0, head.shape)
        return replace(chunk, positions=positions)

    def check_log(self, added):
        """The log grows by `added` at its end and nowhere else."""
        log = self.buffer.log
        require(len(log) == len(self.log) + added, "the log did not grow by the commands sent")
        require(all(new is old for new, old in zip(log, self.log)), "the log was rewritten")
        self.log = log

    def check_motion(self):
        """Finite differences of what was sent in this epoch."""
        path = np.array([self.sent[0], *self.sent])
        velocity = np.diff(path, axis=0) / DT
        acceleration = np.diff(velocity, axis=0) / DT
        require((np.abs(velocity) <= LIMITS.velocity + 1e-9).all(), "a velocity is over its limit")
        require((np.abs(acceleration) <= LIMITS.acceleration + 1e-7).all(), "an acceleration is over its limit")
        require((path >= LIMITS.lower - 1e-9).all() and (path <= LIMITS.upper + 1e-9).all(), "a position limit was passed")


def make_chunk(buffer, base, fault, scale, seed):
    """A chunk from what the buffer publishes: its prefix, then a random walk; broken as `fault` says."""
    rng = np.random.default_rng(seed)
    start = buffer.planned()[1][min(D, H - 1)]
    positions = start + np.cumsum(rng.normal(0, scale, (H, 2)), axis=0)
    fields = {"base_tick": base, "epoch": buffer.epoch, "joints": JOINTS, "positions": positions, "dt_s": DT}
    if fault == "nan":
        positions[rng.integers(H), rng.integers(2)] = rng.choice([np.nan, np.inf])
    changes = {
        "foreign_joint": {"joints": ("a", "x")},
        "missing_joint": {"joints": ("a",), "positions": positions[:, :1]},
        "bad_dt": {"dt_s": 0.1},
        "short": {"positions": positions[:-1]},
        "foreign_epoch": {"epoch": "another"},
    }
    return Chunk(**{**fields, **changes.get(fault, {})}), fault


def run(schedule, buffer_class=CommitBuffer, noise=None):
    """Plays a schedule; raises `Violation` where the buffer breaks a promise. Returns what was sent."""
    events, commit_margin = schedule
    buffer = buffer_class(
        joints=JOINTS, start_positions=np.zeros(2), limits=LIMITS, dt_s=DT, chunk_length=H, delay_steps=D,
        commit_margin=commit_margin, epoch="0",
    )  # fmt: skip
    observer, in_flight, epochs, stopped, newest = Observer(buffer, noise), [], 0, False, -(10**6)
    for event, *values in events:
        if event == "tick":
            for _ in range(values[0]):
                observer.tick()
        elif event == "infer":
            offset, fault, scale, seed = values
            in_flight.append(make_chunk(buffer, buffer.next_tick + offset, fault, scale, seed))
        elif event == "deliver" and in_flight:
            index = values[0] % len(in_flight)
            chunk, fault = in_flight[index] if values[1] else in_flight.pop(index)
            result = observer.merge(chunk)
            refused = stopped or fault != "none" or chunk.epoch != str(epochs) or chunk.base_tick < newest
            require(not (refused and result.accepted), f"a chunk with fault {fault} was merged")
            newest = chunk.base_tick if result.accepted else newest
        elif event == "lose" and in_flight:
            in_flight.pop(values[0] % len(in_flight))
        elif event == "policy_restart":
            in_flight.clear()
        elif event == "stop":
            buffer.stop("test")
            stopped = True
            observer.promised = {}
            for _ in range(2):
                observer.tick()
        elif event == "restart" and stopped:
            observer.check_motion()
            epochs += 1
            start = np.array(observer.sent[-1])
            buffer.restart(start, str(epochs))
            observer.begin(start)
            stopped, newest = False, -(10**6)
    for _ in range(2 * H):
        observer.tick()
    observer.check_motion()
    require(np.array_equal(observer.sent[-1], observer.sent[-2]), "it did not come to rest when dry")
    return np.array([command.positions for command in buffer.log])


def run_with_and_without_noise(schedule, buffer_class=CommitBuffer):
    """Plays a schedule twice, the second time with noise in every point that must be ignored."""
    plain = run(schedule, buffer_class)
    noisy = run(schedule, buffer_class, np.random.default_rng(0))
    require(np.array_equal(plain, noisy), "an ignored point of a chunk changed what was sent")


@given(SCHEDULES)
@settings(max_examples=1500, deadline=None, suppress_health_check=list(HealthCheck))
def test_the_log_is_append_only(schedule):
    run(schedule)


@given(SCHEDULES)
@settings(max_examples=300, deadline=None, suppress_health_check=list(HealthCheck))
def test_ignored_points_have_no_influence(schedule):
    run_with_and_without_noise(schedule)


class ForgetsTheMargin(CommitBuffer):
    def _first_free(self, chunk):
        return max(self._next, chunk.base_tick + self.delay_steps)


class ForgetsThePrefix(CommitBuffer):
    def _first_free(self, chunk):
        return max(self._next, chunk.base_tick) + self.commit_margin


class ForgetsTheCommitCheck(CommitBuffer):
    def _first_free(self, chunk):
        return max(self._next, chunk.base_tick)


class ResendsExecutedActions(CommitBuffer):
    """Plays a chunk from its first row whenever it arrives."""

    def _replace_from(self, first, chunk):
        self._plan = [(row, False) for row in chunk.array()]
        return 0


class IgnoresLimits(CommitBuffer):
    def _replace_from(self, first, chunk):
        kept = self._rows(first - self._next)
        self._plan = kept + [(row, False) for row in chunk.array()[first - chunk.base_tick :]]
        return 0


class RewritesTheLog(CommitBuffer):
    def merge(self, chunk):
        result = super().merge(chunk)
        if result.accepted and self._log:
            self._log.pop()
        return result


class TakesOldEpochs(CommitBuffer):
    def merge(self, chunk):
        self._stop_reason, reason = None, self._stop_reason
        result = super().merge(chunk)
        self._stop_reason = reason
        return result


class TakesStaleChunks(CommitBuffer):
    def merge(self, chunk):
        self._newest_base = None
        return super().merge(chunk)


class SkipsTicks(CommitBuffer):
    def advance(self):
        if self._plan and len(self._plan) % 7 == 0:
            self._next += 1
        return super().advance()


class ListensToTheHead(CommitBuffer):
    """Shifts the free points by a part of what the last ignored one differs from the command that stands."""

    def _replace_from(self, first, chunk):
        offset, positions = first - chunk.base_tick, np.array(chunk.positions)
        positions[offset:] += 0.1 * (positions[offset - 1] - self._rows(first - self._next)[-1][0])
        return super()._replace_from(first, replace(chunk, positions=positions))


MUTANTS = [
    ForgetsTheMargin, ForgetsThePrefix, ForgetsTheCommitCheck, ResendsExecutedActions, IgnoresLimits,
    RewritesTheLog, TakesOldEpochs, TakesStaleChunks, SkipsTicks, ListensToTheHead,
]  # fmt: skip


@pytest.mark.parametrize("mutant", MUTANTS)
def test_a_broken_buffer_is_found(mutant):
    """The same run finds a violation in every variant that lacks one of the rules."""

    def violates(schedule):
        try:
            run_with_and_without_noise(schedule, mutant)
        except Violation:
            return True
        return False

    quick = settings(max_examples=1500, phases=[Phase.generate], deadline=None, database=None)
    run_with_and_without_noise(find(SCHEDULES, violates, settings=quick))  # and the real buffer passes the schedule that was found
