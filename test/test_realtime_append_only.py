"""The append-only invariant over random schedules, and the proof that the check can fail.

`realtime_schedules` has the schedules and the onlooker who judges what is sent.
"""

from collections import Counter
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from realtime_schedules import FAULTS, SCALES, WEIGHTS, Violation, random_schedule, require, run

from beingh_core.realtime.chunk import STATUSES
from beingh_core.realtime.commit_buffer import CommitBuffer

# Most schedules that are tried to find a mutant; most are found by the first few.
SCHEDULES = 20_000


def events():
    """One event. Kinds are drawn by weight: `one_of` alone would stop as often as it infers."""
    kinds = {
        "tick": (st.integers(1, 3),),
        "infer": (
            st.integers(-2, 2),  # base tick, seen from the next tick
            st.sampled_from(("none",) * 8 + tuple(FAULTS)),
            st.sampled_from(SCALES),
            st.integers(0, 2**16),
        ),
        "deliver": (st.integers(0, 9), st.booleans()),  # which chunk in flight; keep it, to be repeated?
        "lose": (st.integers(0, 9),),
    }
    weighted = [kind for kind, weight in WEIGHTS.items() for _ in range(weight)]
    return st.sampled_from(weighted).flatmap(lambda kind: st.tuples(st.just(kind), *kinds.get(kind, ())))


# Short schedules shrink well, long ones get into trouble.
SHRINKABLE = st.tuples(
    st.one_of(st.lists(events(), max_size=8), st.lists(events(), min_size=20, max_size=40)), st.integers(0, 3)
)


def run_with_and_without_noise(schedule, buffer_class=CommitBuffer):
    """Plays a schedule twice, the second time with noise in every point that must be ignored."""
    plain = run(schedule, buffer_class)
    noisy = run(schedule, buffer_class, np.random.default_rng(0))
    require(np.array_equal(plain, noisy), "an ignored point of a chunk changed what was sent")


@pytest.mark.parametrize("schedules", [3_000, pytest.param(20_000, marks=pytest.mark.slow)])
def test_no_schedule_breaks_a_rule(schedules):
    """Commitment, verdicts and limits; and every verdict was met often."""
    met = Counter()

    class Counting(CommitBuffer):
        def merge(self, chunk):
            result = super().merge(chunk)
            met[result.status] += 1
            return result

    for seed in range(schedules):
        try:
            run(random_schedule(seed), Counting)
        except Violation as violation:
            raise AssertionError(f"schedule {seed}: {violation}") from violation
    possible = set(STATUSES) - {"blocked"}  # nothing is, without a check: test_realtime_cut
    rare = {status: met[status] for status in possible if met[status] < schedules / 200}
    assert rare == {}


@given(SHRINKABLE)
@settings(max_examples=300, deadline=None, suppress_health_check=list(HealthCheck))
def test_the_log_is_append_only(schedule):
    """As above, with longer schedules, and a short one to look at when it fails."""
    run(schedule)


@given(SHRINKABLE)
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

    def merge(self, chunk):
        result = super().merge(chunk)
        if result.accepted:
            self._plan = [(row, False) for row in chunk.array()]
        return result


class IgnoresLimits(CommitBuffer):
    def _decided(self, first, chunk, past_3J):
        return chunk.array()[first - chunk.base_tick :], 0


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


class IgnoresJerk(CommitBuffer):
    def __init__(self, *, limits, **others):
        super().__init__(limits=replace(limits, jerk=np.full(len(limits.lower), np.inf)), **others)


class StopsDead(CommitBuffer):
    def stop(self, reason):
        stopped = super().stop(reason)
        self._plan = []
        return stopped


class HoldsTheBasesVelocity(CommitBuffer):
    """Where it has run dry it goes on with the last row, as if that were a posture."""

    def _stop_after(self, rows):
        last = self._past_before(rows)[-1]
        kept = super()._stop_after(rows)
        return [(np.where(self.limits.is_velocity, last, row), held) for row, held in kept]


class TakesDuplicates(CommitBuffer):
    def merge(self, chunk):
        self._newest_chunk = np.full((self.chunk_length, len(self.joints)), np.nan)
        return super().merge(chunk)


class TakesNumbersThatAreNone(CommitBuffer):
    def merge(self, chunk):
        if chunk.array().shape == (self.chunk_length, len(self.joints)):
            chunk = replace(chunk, positions=np.nan_to_num(chunk.array(), posinf=1.0))
        return super().merge(chunk)


class ListensToTheHead(CommitBuffer):
    """Shifts the free points by a part of what the last ignored one differs from the command that stands."""

    def _decided(self, first, chunk, past_3J):
        offset, positions = first - chunk.base_tick, np.array(chunk.positions)
        positions[offset:] += 0.1 * (positions[offset - 1] - past_3J[-1])
        return super()._decided(first, replace(chunk, positions=positions), past_3J)


MUTANTS = [
    ForgetsTheMargin, ForgetsThePrefix, ForgetsTheCommitCheck, ResendsExecutedActions, IgnoresLimits,
    RewritesTheLog, TakesOldEpochs, TakesStaleChunks, SkipsTicks, ListensToTheHead, IgnoresJerk, StopsDead,
    HoldsTheBasesVelocity, TakesDuplicates, TakesNumbersThatAreNone,
]  # fmt: skip


@pytest.mark.parametrize("mutant", MUTANTS)
def test_a_broken_buffer_is_found(mutant):
    """The same schedules find a violation in every variant that lacks one of the rules; the real buffer passes there."""
    for seed in range(SCHEDULES):
        schedule = random_schedule(seed)
        try:
            run_with_and_without_noise(schedule, mutant)
        except Violation:
            run_with_and_without_noise(schedule)
            return
    pytest.fail(f"{SCHEDULES} schedules did not find {mutant.__name__}")
