"""The commit buffer rule by rule, on numbers worked out by hand: H = 8, d = 3, commit margin 1, dt = 0.05 s."""

import threading
import time

import numpy as np
import pytest
from buffer_support import DT, EPOCH, D, H, make_buffer, make_chunk, sent
from fuzz_support import failures

from beingh_core.realtime.commit_buffer import Chunk, CommitBuffer
from beingh_core.realtime.limits import JointLimits


def test_chunk_decides_from_the_end_of_its_prefix():
    buffer = make_buffer()
    result = buffer.merge(make_chunk(0))
    assert (result.status, result.first_tick, result.consumed) == ("merged", 3, 0)
    assert sent(buffer, 9) == [0, 0, 0, 1.03, 1.04, 1.05, 1.06, 1.07, 1.07]
    assert [command.held for command in buffer.log] == [True] * 3 + [False] * 5 + [True]
    assert [command.tick for command in buffer.log] == list(range(9))


def test_next_chunk_replaces_the_postfix_only():
    buffer = make_buffer()
    buffer.merge(make_chunk(0))
    sent(buffer, 5)
    result = buffer.merge(make_chunk(4, value=2.0))  # next tick 5: c = 1, free from max(5 + 1, 4 + 3) = 7
    assert (result.status, result.first_tick, result.consumed) == ("merged", 7, 1)
    assert sent(buffer, 7) == [1.05, 1.06, 2.07, 2.08, 2.09, 2.10, 2.11]


@pytest.mark.parametrize(
    "executed, status, first",
    [
        (2, "merged", 3),  # c = 2: max(2 + 1, 3) = 3
        (3, "merged", 4),  # c = 3 = d is in time, but tick 3 is committed: max(3 + 1, 3)
        (4, "late", 5),  # c = 4 > d
        (6, "late", 7),  # only tick 7 is left
        (7, "useless", None),  # c = 7 < H, but its last tick 7 is committed
        (8, "useless", None),  # c = 8 = H
        (30, "useless", None),
    ],
)
def test_late_and_useless(executed, status, first):
    buffer = make_buffer()
    sent(buffer, executed)
    result = buffer.merge(make_chunk(0))
    assert (result.status, result.first_tick, result.consumed) == (status, first, executed)
    if first is None:
        assert sent(buffer, 5) == [0.0] * 5
    else:
        expected = [0.0] * (first - executed) + [1 + t / 100 for t in range(first, H)]
        assert sent(buffer, len(expected)) == expected


@pytest.mark.parametrize("commit_margin, first", [(0, 5), (1, 6), (2, 7)])
def test_commit_margin(commit_margin, first):
    buffer = make_buffer(commit_margin=commit_margin)
    sent(buffer, 5)
    assert buffer.committed_until == 5 + commit_margin
    assert buffer.merge(make_chunk(1)).first_tick == first


def test_a_position_that_is_no_number_is_refused_wherever_it_stands():
    """In a child process with a limit of time: a plan with such a number would never come to rest."""

    def merge(place):
        positions = np.zeros((H, 2))
        positions[place[:2]] = place[2]
        buffer = make_buffer()
        sent(buffer, 5)
        before = buffer.planned()[1]
        result = buffer.merge(make_chunk(4, positions=positions))
        assert (result.status, result.first_tick, buffer.counters["nonfinite"]) == ("nonfinite", None, 1)
        np.testing.assert_array_equal(buffer.planned()[1], before)

    places = [(row, column, value) for row in range(H) for column in (0, 1) for value in (np.nan, np.inf, -np.inf)]
    assert failures(merge, places, allowed=(), seconds=1.0) == []


@pytest.mark.parametrize(
    "changes, status",
    [
        ({"epoch": "1@0"}, "foreign_epoch"),
        ({"joints": ["a"]}, "bad_joints"),
        ({"joints": ["a", "c"]}, "bad_joints"),
        ({"joints": ["a", "b", "c"]}, "bad_joints"),
        ({"joints": ["a", "a"]}, "bad_joints"),
        ({"dt_s": 0.1}, "bad_dt"),
        ({"dt_s": float("nan")}, "bad_dt"),
        ({"positions": np.zeros((H - 1, 2))}, "bad_length"),
        ({"positions": np.zeros((H, 3))}, "bad_length"),
        ({"positions": [[0.0], [0.0, 1.0]]}, "bad_length"),
        ({"base_tick": 3}, "reordered"),
        ({"base_tick": 1}, "stale"),
        ({"value": 1.0}, "duplicate"),
        ({"base_tick": 6 + H}, "future"),
    ],
)
def test_refused_chunk_changes_nothing(changes, status):
    buffer = make_buffer()
    sent(buffer, 5)
    buffer.merge(make_chunk(4))
    first, before = buffer.planned()
    result = buffer.merge(make_chunk(**{"base": 4, "value": 5.0, **changes}))
    assert result.status == status and result.reason and not result.accepted and result.first_tick is None
    again, after = buffer.planned()
    assert again == first
    np.testing.assert_array_equal(after, before)
    assert buffer.counters[status] == 1 and buffer.counters["merged"] == 1


def test_joints_are_matched_by_name():
    buffer = make_buffer()
    chunk = make_chunk(0)
    buffer.merge(make_chunk(0, joints=["b", "a"], positions=chunk.positions[:, ::-1]))
    np.testing.assert_allclose(buffer.planned()[1][3], [1.03, -1.03])


def test_stamps_rounded_to_nanoseconds_give_the_same_period():
    buffer = make_buffer()
    assert buffer.merge(make_chunk(0, dt_s=0.050000001)).status == "merged"


def test_duplicate_changes_nothing():
    buffer = make_buffer(velocity=0.5, acceleration=3.0)
    buffer.merge(make_chunk(0))
    before = buffer.planned()[1]
    sent(buffer, 2)
    assert buffer.merge(make_chunk(0)).status == "duplicate"
    np.testing.assert_array_equal(buffer.planned()[1][:6], before[2:8])


def test_a_chunk_seen_before_is_stale_and_another_one_of_the_same_tick_counts():
    buffer = make_buffer()
    for base in (0, 1, 2):
        buffer.merge(make_chunk(base))
    assert buffer.merge(make_chunk(1)).status == "stale"  # in time, but it was merged before
    assert buffer.merge(make_chunk(2, value=3.0)).status == "merged"
    assert buffer.planned()[1][5][0] == 3.05
    assert buffer.counters["stale"] == 1 and buffer.counters["merged"] == 4


@pytest.mark.parametrize("huge", [1e200, -1.7e308])
def test_a_finite_but_absurd_chunk_is_approached_within_the_limits(huge):
    buffer = make_buffer(velocity=1.0, acceleration=3.0, jerk=20.0)
    assert buffer.merge(make_chunk(0, positions=np.array([[huge, -huge]] * H))).clips == 2 * (H - D)
    path = np.array([[0.0, 0.0]] * 3 + [buffer.advance().positions for _ in range(30)])
    assert np.abs(np.diff(path, axis=0)).max() <= DT * 1.0 + 1e-12
    assert np.abs(np.diff(path, 3, axis=0)).max() <= DT**3 * 20.0 * (1 + 1e-6)


@pytest.mark.parametrize("executed", [1, 3, 5])  # in time; in time with row d committed; late
def test_the_ignored_head_of_a_chunk_has_no_influence(executed):
    """The free points continue from the last command that stands, whatever the chunk has before them."""
    plans = []
    for head in (0.0, 0.3, -40.0):
        buffer = make_buffer(velocity=1.0, acceleration=3.0)
        buffer.merge(make_chunk(0, value=0.1))
        sent(buffer, 6 + executed)
        chunk = make_chunk(6, value=0.12)
        chunk.positions[: max(executed + 1, D)] += head
        assert buffer.merge(chunk).accepted
        plans.append(buffer.planned(30)[1])
    np.testing.assert_array_equal(plans[1], plans[0])
    np.testing.assert_array_equal(plans[2], plans[0])


def test_free_points_are_met_at_once_where_the_limits_allow_it():
    """0.11 stands at tick 1 + 3 of a late chunk; its next points are 0.01 m further (0.2 m/s, 4 m/s^2 of 5) each."""
    buffer = make_buffer(start=0.11, velocity=1.0, acceleration=5.0)
    sent(buffer, 4)
    rows = np.array([9.0, 9.0, 9.0, 9.0, 9.0, 0.12, 0.13, 0.14])
    result = buffer.merge(make_chunk(0, positions=np.stack([rows, rows], axis=1)))
    assert (result.status, result.first_tick, result.clips) == ("late", 5, 0)
    assert sent(buffer, 4) == [0.11, 0.12, 0.13, 0.14]


@pytest.mark.parametrize("executed", [6, 7, 8])
def test_a_chunk_that_repeats_the_plan_changes_no_bit(executed):
    """What was limited once, sent back as the next chunk, is merged as it is."""
    buffer = make_buffer(velocity=0.8, acceleration=2.5)
    buffer.merge(make_chunk(0, positions=np.random.default_rng(1).normal(0, 0.3, (H, 2))))
    sent(buffer, 5)
    first, before = buffer.planned(40)
    sent(buffer, executed - 5)
    again = Chunk(base_tick=first, epoch=EPOCH, joints=["a", "b"], positions=before[:H], dt_s=DT)
    assert buffer.merge(again).status == "merged"
    np.testing.assert_array_equal(buffer.planned(20)[1][: H - (executed - 5)], before[executed - 5 : H])


def test_log_forgets_the_oldest_only():
    buffer = make_buffer(log_length=3)
    sent(buffer, 5)
    assert [command.tick for command in buffer.log] == [2, 3, 4]


def test_threads():
    """Three threads merge while one advances: every tick is sent once and moves within the limits."""
    buffer = make_buffer(velocity=1.0, acceleration=5.0)
    done = threading.Event()

    def merge(seed):
        rng = np.random.default_rng(seed)
        while not done.is_set():
            base = buffer.next_tick - int(rng.integers(0, 3))
            buffer.merge(make_chunk(base, positions=rng.normal(0, 0.3, (H, 2))))

    threads = [threading.Thread(target=merge, args=(seed,)) for seed in range(3)]
    for thread in threads:
        thread.start()
    for _ in range(300):
        buffer.advance()
        time.sleep(0.0005)
    done.set()
    for thread in threads:
        thread.join()
    assert [command.tick for command in buffer.log] == list(range(300))
    positions = np.array([command.positions for command in buffer.log])
    assert buffer.counters["merged"] > 0
    assert np.abs(np.diff(positions, axis=0)).max() <= DT + 1e-9
    assert np.abs(np.diff(positions, 2, axis=0)).max() <= 5 * DT**2 + 1e-9


def test_merge_of_a_humanoid_is_fast():
    joints = [f"j{i}" for i in range(31)]
    limits = JointLimits(lower=[-3.0] * 31, upper=[3.0] * 31, velocity=[2.0] * 31, acceleration=[10.0] * 31)
    buffer = CommitBuffer(
        joints=joints, start_positions=np.zeros(31), limits=limits, dt_s=DT, chunk_length=32, delay_steps=5, commit_margin=1, epoch=EPOCH
    )  # fmt: skip
    rng = np.random.default_rng(0)
    seconds = []
    for _ in range(40):
        positions = np.cumsum(rng.normal(0, 0.1, (32, 31)), axis=0)
        chunk = Chunk(base_tick=buffer.next_tick, epoch=EPOCH, joints=joints, positions=positions, dt_s=DT)
        began = time.thread_time()
        assert buffer.merge(chunk).status == "merged"
        seconds.append(time.thread_time() - began)
        for _ in range(6):
            buffer.advance()
    assert np.median(seconds) <= 2e-3
