"""Chunks are cut before what a check blocks: on numbers worked out by hand, over random schedules, and in broken variants."""

import copy
import threading
from collections import Counter, deque

import numpy as np
import pytest
from buffer_support import DT, H, make_buffer, make_chunk, sent
from realtime_schedules import Violation, check_of, random_schedule, require, run

from beingh_core.realtime.commit_buffer import CommitBuffer
from beingh_core.realtime.cut import Blocked, free_steps
from beingh_core.realtime.limits import JointLimits, brake

SCHEDULES = 20_000


def wall(at):
    return check_of(lambda row: row[0] >= at)


def walled(at, **limits):
    buffer = make_buffer(**limits)
    buffer._check = wall(at)
    return buffer


def test_a_chunk_is_cut_at_the_step_before_and_held():
    buffer = walled(1.055)
    result = buffer.merge(make_chunk(0))  # steps 1.00, 1.01, ..., decides from tick 3 on
    assert (result.status, result.first_tick, result.cut_at, result.blocked) == ("merged", 3, 6, "a wall")
    assert sent(buffer, 9) == [0, 0, 0, 1.03, 1.04, 1.05, 1.05, 1.05, 1.05]
    assert [command.held for command in buffer.log] == [True] * 3 + [False] * 3 + [True] * 3
    assert buffer.counters["cuts"] == buffer.counters["merged"] == 1


def test_a_chunk_that_nothing_blocks_is_no_other_than_without_a_check():
    free, checked = make_buffer(velocity=1.0, acceleration=5.0), walled(1e9, velocity=1.0, acceleration=5.0)
    for buffer in (free, checked):
        assert (buffer.merge(make_chunk(0)).cut_at, buffer.counters["cuts"]) == (None, 0)
    np.testing.assert_array_equal(free.planned(30)[1], checked.planned(30)[1])


def test_the_brake_behind_the_cut_is_free_too():
    """0.05 m a tick at 1 m/s; the brake at 5 m/s^2 takes 0.0125 m a tick off it: 0.0375 + 0.025 + 0.0125 = 0.075 m."""
    limits = {"velocity": 1.0, "acceleration": 5.0}
    past = np.array([[0.0], [0.05], [0.10]])
    rows = 0.10 + 0.05 * np.arange(1, 9)[:, None]
    limits = JointLimits(lower=[-9.0], upper=[9.0], velocity=[1.0], acceleration=[5.0])
    steps, blocked = free_steps(rows, past, limits, DT, wall(0.331))
    assert blocked == Blocked(row=4, reason="a wall")
    assert steps == 3, "0.25 and 0.075 m of brake; a step later 0.30 and 0.075 m"
    assert free_steps(rows, past, limits, DT, wall(0.18))[0] == 0, "a brake at once ends at 0.175"
    assert free_steps(rows, past, limits, DT, wall(0.17))[0] is None
    assert free_steps(rows, past, limits, DT, wall(0.576)) == (8, None)
    assert free_steps(rows, past, limits, DT, wall(0.574))[0] == 7, "only the brake behind the last step is blocked"


def test_where_no_brake_is_free_the_plan_stays():
    """The old plan goes around what a brake would run into: free at every row, blocked beside them."""
    buffer = make_buffer(velocity=1.0, acceleration=5.0)
    buffer.merge(make_chunk(0, positions=np.stack([0.002 * np.arange(H) ** 2, np.zeros(H)], axis=1)))
    first, before = buffer.planned(40)
    sent(buffer, 3)
    known = {row.tobytes() for row in before}
    buffer._check = check_of(lambda row: row.tobytes() not in known)
    result = buffer.merge(make_chunk(2, value=0.3))
    assert (result.status, result.first_tick, result.cut_at) == ("blocked", None, None) and "a wall" in result.reason
    np.testing.assert_array_equal(buffer.planned(37)[1], before[3:])
    assert buffer.counters["blocked"] == 1 and buffer.counters["merged"] == 1


def test_the_next_chunk_begins_where_the_cut_one_holds():
    buffer = walled(1.055)
    buffer.merge(make_chunk(0))
    sent(buffer, 8)
    assert buffer.merge(make_chunk(8, value=0.9)).blocked == ""  # away from the wall: 0.98 + 0.03 from tick 11 on
    assert sent(buffer, 4) == [1.05, 1.05, 1.05, 1.01]


@pytest.mark.parametrize(("ticks", "status", "first"), [(1, "merged", 9), (2, "late", 11), (3, "useless", None)])
def test_ticks_go_out_while_a_chunk_is_checked(ticks, status, first):
    """A chunk whose check takes so many ticks, each time: it decides what is free after that, and no tick before."""
    buffer = make_buffer()
    buffer.merge(make_chunk(0))
    sent(buffer, 6)
    _, before = buffer.planned(20)

    def slow(_start, _rows, _known):
        for _ in range(ticks):
            buffer.advance()

    buffer._check = slow
    result = buffer.merge(make_chunk(4, value=2.0))  # base tick 4: without a check from tick 7 on
    assert (result.status, result.first_tick) == (status, first)
    sent(buffer, 14 - buffer.next_tick)
    log = np.array([command.positions for command in buffer.log])
    assert [command.tick for command in buffer.log] == list(range(14))
    np.testing.assert_array_equal(log[6:first], before[: (first or 14) - 6])
    assert first is None or log[first, 0] == 2.0 + first / 100


def test_a_check_in_another_thread_lets_ticks_and_stops_through():
    buffer, begun, go_on = make_buffer(), threading.Event(), threading.Event()

    def waits(_start, _rows, _known):
        begun.set()
        assert go_on.wait(10.0)

    buffer._check, results = waits, []
    thread = threading.Thread(target=lambda: results.append(buffer.merge(make_chunk(0))))
    thread.start()
    assert begun.wait(10.0)
    buffer.advance()
    buffer.stop("test")
    go_on.set()
    thread.join(10.0)
    assert results[0].status == "stopped" and buffer.planned(3)[1][:, 0].tolist() == [0, 0, 0]


def test_a_chunk_of_an_epoch_that_ends_while_it_is_checked_is_of_another():
    buffer = make_buffer()

    def restarts(_start, _rows, _known):
        buffer._check = None
        buffer.stop("test")
        buffer.restart(np.zeros(2), "1@0")

    buffer._check = restarts
    assert buffer.merge(make_chunk(0)).status == "foreign_epoch"
    assert sent(buffer, 5) == [0] * 5


def test_a_check_with_a_defect_changes_nothing_and_blocks_nobody():
    buffer = make_buffer()

    def fails(_start, _rows, _known):
        raise RuntimeError("defect")

    buffer._check = fails
    with pytest.raises(RuntimeError, match="defect"):
        buffer.merge(make_chunk(0))
    buffer._check = None
    assert buffer.counters["merged"] == 0 and buffer.merge(make_chunk(0)).status == "merged"


def blocks(row):
    """Small obstacles all over the place, a fifth of it; none where the schedules start."""
    a, b = np.floor(row[:2] / 0.03).astype(int)
    return bool((7 * a * a + 5 * a * b + 13 * b + 4) % 5 == 0)


class Judged(CommitBuffer):
    """Compares every merge with that of a buffer without a check."""

    met = Counter()

    def merge(self, chunk):
        free = copy.copy(self)
        free._check, free._counters, free._seen_bases = None, Counter(), deque(self._seen_bases)
        expected, result = CommitBuffer.merge(free, chunk), super().merge(chunk)
        if not expected.accepted:
            require(result == expected, "the check changed the verdict on a chunk that is refused")
            return result
        head = expected.first_tick - self._next
        made = np.array([row for row, held in free._plan[head:] if not held])
        past = free._past_before(free._rows(head))
        if not any(blocks(row) for row, _ in free._plan[head:]):
            require(result == expected, "a free chunk was cut")
            require(np.array_equal(self.planned(60)[1], free.planned(60)[1]), "a free chunk was changed")
            return result
        require(result.blocked, "a blocked chunk was not cut")
        self.met[result.status if result.status == "blocked" else "cut"] += 1
        if result.accepted:
            steps = result.cut_at - (expected.first_tick - chunk.base_tick)
            kept = np.array([row for row, _ in self._plan[head:]]).reshape(-1, 4)
            require(
                0 <= steps < len(made) and np.array_equal(kept[:steps], made[:steps]), "the steps before were changed"
            )
            moves = [row for row in self.planned(60)[1][head:] if not np.array_equal(row, past[-1])]
            require(not any(map(blocks, moves)), "blocked rows are in the plan")
            more = made[: steps + 1]
            more = np.vstack([more, brake(np.vstack([past, more])[-3:], self.limits, self.dt_s)])
            require(any(map(blocks, more)), "a step more would be free")
        else:
            require(any(map(blocks, brake(past, self.limits, self.dt_s))), "a brake at once would be free")
        return result


@pytest.mark.parametrize("schedules", [60, pytest.param(6_000, marks=pytest.mark.slow)])
def test_no_schedule_gets_a_blocked_row_sent_or_a_committed_one_changed(schedules):
    Judged.met.clear()
    for seed in range(schedules):
        try:
            run(random_schedule(seed), Judged, blocks=blocks)
        except Violation as violation:
            raise AssertionError(f"schedule {seed}: {violation}") from violation
    assert Judged.met["cut"] > schedules / 10 and Judged.met["blocked"] > 0, Judged.met


class CutsWhatIsCommitted(CommitBuffer):
    def _take(self, chunk, draft, steps, blocked):
        result = super()._take(chunk, draft, steps, blocked)
        if blocked is not None and result.accepted:
            self._plan = self._stop_after([])
        return result


class ForgetsTheBrakeBehindTheCut(CommitBuffer):
    def _take(self, chunk, draft, steps, blocked):
        return super()._take(chunk, draft, steps if blocked is None else blocked.row, blocked)


class StopsDeadAtTheCut(CommitBuffer):
    def _take(self, chunk, draft, steps, blocked):
        result = super()._take(chunk, draft, steps, blocked)
        if blocked is not None and result.accepted:
            self._plan = [one for one in self._plan if not one[1]]
        return result


class BrakesWhereNoBrakeIsFree(CommitBuffer):
    def _take(self, chunk, draft, steps, blocked):
        return super()._take(chunk, draft, steps or 0, blocked) if blocked else super()._take(chunk, draft, steps, None)


class AsksOnlyAboutTheSteps(CommitBuffer):
    def merge(self, chunk):
        full, steps = self._check, self.chunk_length - self.delay_steps
        self._check = full and (lambda start, rows, known: full(start, rows[:steps], min(known, steps)))
        result = super().merge(chunk)
        self._check = full
        return result


@pytest.mark.parametrize(
    "broken",
    [
        CutsWhatIsCommitted,
        ForgetsTheBrakeBehindTheCut,
        StopsDeadAtTheCut,
        BrakesWhereNoBrakeIsFree,
        AsksOnlyAboutTheSteps,
    ],
)
def test_a_broken_cut_is_found(broken):
    """By the onlooker alone, who sees what is sent; the real buffer passes the schedule that finds it."""
    for seed in range(SCHEDULES):
        schedule = random_schedule(seed)
        try:
            run(schedule, broken, blocks=blocks)
        except Violation:
            run(schedule, blocks=blocks)
            return
    pytest.fail(f"{SCHEDULES} schedules did not find {broken.__name__}")
