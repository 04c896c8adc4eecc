"""Rate and losses told from stamps: bursts, changes of the rate, disorder, and streams without a period."""

import itertools
import random

import pytest

from beingh_core.inference.stream_stats import StreamStats

START_NS, MS = 1_700_000_000_000_000_000, 1_000_000


def stats_of(gaps_ms):
    stats = StreamStats()
    for stamp_ms in itertools.accumulate(gaps_ms, initial=0.0):
        stats.add(START_NS + round(stamp_ms * MS))
    return stats


@pytest.mark.parametrize("burst", [1, 3, 7, 9, 12, 40, 200])
@pytest.mark.parametrize("between_ms", [0.01, 2.0, 8.0])
def test_a_burst_at_the_start_does_not_set_the_period(burst, between_ms):
    stats = stats_of([between_ms] * burst + [33.3] * 60)
    assert stats.rate_hz == pytest.approx(30.0, rel=0.02) and stats.lost <= 2
    assert stats.received == 61 + burst


@pytest.mark.parametrize("rates_hz", [(30, 15), (15, 30), (30, 25, 20), (60, 7.5, 60), (5, 50), (100, 30)])
def test_another_rate_is_no_loss(rates_hz):
    rng = random.Random(1)
    stats = stats_of([1e3 / rate * rng.uniform(0.95, 1.05) for rate in rates_hz for _ in range(100)])
    assert stats.rate_hz == pytest.approx(rates_hz[-1], rel=0.05) and stats.lost <= 1


@pytest.mark.parametrize("share", [0.02, 0.2, 0.5, 0.8])
def test_losses_are_counted_whatever_their_share(share):
    rng, gaps, gap, lost = random.Random(2), [], 0.0, 0
    for _ in range(3000):
        gap += 33.3
        if rng.random() < share:
            lost += 1
        else:
            gaps.append(gap + rng.gauss(0, 0.5))
            gap = 0.0
    stats = stats_of(gaps)
    assert 0.8 * lost <= stats.lost <= lost and stats.rate_hz == pytest.approx(30.0, rel=0.05)


def test_losses_after_a_change_of_the_rate_are_counted():
    assert stats_of([33.3] * 40 + [66.6] * 40 + [199.8, 66.6, 133.2, 66.6]).lost == 3


def test_messages_that_come_bunched_after_a_gap_are_not_lost():
    assert stats_of(([33.3] * 30 + [1000] + [2.0] * 29) * 3 + [33.3] * 10).lost <= 1


def test_doubled_stamps_and_late_messages_are_no_loss():
    stats = StreamStats()
    for k in range(200):
        order = (k + 1, k) if k % 20 == 5 else (k - 1, k) if k % 20 == 6 else (k, k)
        for place in order:
            stats.add(START_NS + place * 50 * MS)
    assert (stats.received, stats.lost) == (400, 0) and stats.rate_hz == pytest.approx(20.0)


def test_a_stream_without_a_period_has_few_losses():
    rng = random.Random(3)
    stats = stats_of([rng.expovariate(1 / 33) for _ in range(1000)])
    assert stats.lost < 50


def test_two_publishers_at_one_rate_are_no_loss():
    assert stats_of([5, 28] * 200).lost == 0


@pytest.mark.parametrize("step_s", [-3600, -5, 5, 3600])
def test_a_clock_that_is_set_begins_anew(step_s):
    stats = stats_of([50.0] * 40)
    begin_ns = START_NS + 2000 * MS + step_s * 1000 * MS
    for k in range(40):
        stats.add(begin_ns + k * 100 * MS)
    assert stats.rate_hz == pytest.approx(10.0) and (stats.received, stats.lost) == (81, 0)
