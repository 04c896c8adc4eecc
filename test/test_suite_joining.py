"""Ways of joining chunks: their plans, what they send, and what counts as a broken promise."""

import numpy as np
import pytest

from beingh_core.contract import load_contract
from beingh_core.suite.episode import broken_promises, jerk_rms
from beingh_core.suite.joining import WAYS, Joining, Timing, Uac

CONTRACT = load_contract("fr3")
H = CONTRACT.policy.chunk_length
SLOPE = np.zeros(len(CONTRACT.joint_names))
SLOPE[0] = 0.002  # rad a tick, slow enough for every limit


def timing(delay, jitter=0, trained=6):
    return Timing.of(CONTRACT, delay, jitter, trained)


@pytest.mark.parametrize("trained", [0, 4, 6, 16])
def test_every_plan_leaves_a_chunk_time_to_take_over(trained):
    for delay in range(H + 1):
        plan = timing(delay, 1, trained)
        assert plan.lock <= plan.execution_steps <= H - plan.lock and plan.lock <= delay + 1
        assert plan.lock <= (trained or H)
    # A checkpoint that was taught no prefix runs behind the same one.
    assert timing(5, 1, 0).lock == timing(5, 1, 16).lock == 6


def line(joining: Joining, delay: int, ticks: int = 60, rows_of=None) -> int:
    """Lets chunks come that go on from their prefix with one slope; how many were asked for."""
    pending, last, asked = None, None, 0
    for tick in range(ticks):
        if pending is not None and pending[0] <= tick:
            joining.add(*pending[1:])
            pending = None
        if joining.wants(last, pending is not None):
            ask = joining.ask(tick + delay)
            steps = np.arange(1, H - len(ask.prefix) + 2)[:, None]
            rows = np.vstack([ask.prefix[1:], ask.prefix[-1] + SLOPE * steps])
            pending, last, asked = (tick + delay, ask.base, rows if rows_of is None else rows_of(rows)), tick, asked + 1
        joining.advance()
    return asked


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("delay", [1, 3, 7, 8])
def test_a_way_of_joining_sends_what_the_chunks_want(way, delay):
    """Chunks that agree with each other: every way sends the same straight line, with no jump after its start."""
    joining = WAYS[way](CONTRACT, np.array(CONTRACT.home), timing(delay, trained=8))
    asked = line(joining, delay)
    sent = np.array(joining.sent)[:, 0]
    assert sent[-1] > sent[0] + 0.03 and np.all(np.diff(sent) >= -1e-12)
    assert asked >= 4 and len(joining.seams) >= 4 and joining.late == joining.refused == 0
    assert broken_promises(joining, CONTRACT) == 0
    if way == "waiting":
        assert np.count_nonzero(np.diff(sent) == 0.0) >= delay * (asked - 1)  # it stands still while it waits
    else:
        moving = np.diff(sent)[joining.seams[0] :]
        assert moving == pytest.approx(np.full(len(moving), SLOPE[0]))
        assert joining.held == list(range(delay)) + [delay]


@pytest.mark.parametrize("way", WAYS)
def test_a_chunk_that_comes_when_its_steps_have_passed_moves_nothing(way):
    joining = WAYS[way](CONTRACT, np.array(CONTRACT.home), timing(H))
    line(joining, H, ticks=40)
    still = way == "waiting"  # whose chunks begin when they come
    assert (np.ptp(np.array(joining.sent)[:, 0]) == 0.0) != still and (joining.refused > 0) != still


def test_what_a_late_chunk_brings_is_taken_behind_what_has_run():
    """Taught 3 steps, 7 ticks late: nothing that was sent changes, and it counts as late."""
    joining = Uac(CONTRACT, np.array(CONTRACT.home), timing(7, trained=3))
    asked = line(joining, 7)
    assert asked - 1 <= joining.late <= asked and joining.refused == 0
    assert broken_promises(joining, CONTRACT) == 0


def test_a_chunk_is_late_behind_the_prefix_that_it_repeats_locked_or_not():
    for name, way in WAYS.items():
        joining = way(CONTRACT, np.array(CONTRACT.home), timing(7, trained=3))
        asked = line(joining, 7)
        assert (joining.late >= asked - 1) if name in ("uac", "training_rtc") else joining.late == 0, name


def test_the_first_chunk_s_first_tick_is_decided():
    joining = WAYS["naive"](CONTRACT, np.array(CONTRACT.home), timing(3))
    line(joining, 3)
    assert joining.held == [0, 1, 2, 3] and joining.undecided == 3


def test_a_prefix_that_is_not_what_was_sent_is_a_broken_promise():
    joining = Uac(CONTRACT, np.array(CONTRACT.home), timing(3))
    asked = line(joining, 3, rows_of=lambda rows: rows + np.where(np.arange(H) == 1, 1e-6, 0.0)[:, None])
    assert 0 < asked - 1 <= broken_promises(joining, CONTRACT) <= asked


def test_a_check_that_blocks_a_step_cuts_every_way_that_sends_through_the_buffer():
    from beingh_core.realtime.cut import Blocked

    end = CONTRACT.home[0] + 0.03
    hit = lambda _, rows, __: next((Blocked(row=i, reason="box") for i, row in enumerate(rows) if row[0] > end), None)
    for way, joining in {
        name: kind(CONTRACT, np.array(CONTRACT.home), timing(3), hit) for name, kind in WAYS.items()
    }.items():
        line(joining, 3)
        assert (np.array(joining.sent)[:, 0].max() > end) == (way == "training_rtc"), way


def test_the_jerk_of_a_cubic():
    times = np.arange(40) / 20.0
    path = np.stack([times**3, 0.5 * times**3, np.zeros(40)], axis=1)
    assert jerk_rms(path, 20.0) == pytest.approx(6.0)
    assert jerk_rms(path[:3], 20.0) == jerk_rms(path[:, :0], 20.0) == 0.0
