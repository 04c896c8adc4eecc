"""UAC arithmetic and the tick clock, with numbers worked out by hand."""

import numpy as np
import pytest

from beingh_core.errors import BeingHError
from beingh_core.realtime.clock import TickClock, epoch_id, parse_epoch
from beingh_core.realtime.uac import DelayEstimator, check_plan, delay_steps


@pytest.mark.parametrize(
    "latency_s, dt_s, margin, expected",
    [
        (0.2, 0.05, 1, 5),  # 4 steps + 1
        (0.21, 0.05, 1, 6),  # 4.2 steps are 5
        (0.14, 0.02, 0, 7),  # 7.000000000000001 in floating point
        (0.28, 0.04, 1, 8),
        (0.15, 0.05, 0, 3),  # 2.9999999999999996
        (0.141, 0.02, 0, 8),  # a step begun is a step
        (0.0, 0.05, 2, 2),
        (0.001, 1 / 30, 0, 1),
        (0.1, 1 / 30, 1, 4),
    ],
)
def test_delay_steps(latency_s, dt_s, margin, expected):
    assert delay_steps(latency_s, dt_s, margin) == expected


@pytest.mark.parametrize("arguments", [(-0.1, 0.05, 0), (0.1, 0.0, 0), (0.1, 0.05, -1), (float("nan"), 0.05, 0)])
def test_delay_of_nonsense(arguments):
    with pytest.raises(BeingHError):
        delay_steps(*arguments)


@pytest.mark.parametrize("d, s, h", [(5, 6, 16), (5, 5, 16), (5, 11, 16), (8, 8, 16), (0, 1, 1), (0, 16, 16)])
def test_plans_that_work(d, s, h):
    check_plan(d, s, h, trained_delay=8)


@pytest.mark.parametrize(
    "d, s, h, trained, parts",
    [
        (9, 9, 16, None, ["d = 9", "H = 16", "H / 2 = 8", "latency_budget_s", "rate_hz", "H >= 18"]),
        (5, 4, 16, None, ["s = 4", "5 to 11", "raise execution_steps"]),
        (5, 12, 16, None, ["s = 12", "5 to 11", "lower execution_steps"]),
        (5, 6, 16, 4, ["d = 5", "delays up to 4", "train with a larger delay"]),
        (0, 0, 16, None, ["s >= 1"]),
    ],
)
def test_plans_that_do_not(d, s, h, trained, parts):
    with pytest.raises(BeingHError) as caught:
        check_plan(d, s, h, trained, where="fr3.yaml: uac")
    for part in ["fr3.yaml: uac", *parts]:
        assert part in str(caught.value)


def test_estimate_is_the_recent_maximum_and_never_below_the_budget():
    estimator = DelayEstimator(budget_steps=3, margin=1, window=3, warm_up=2)
    assert estimator.delay == 4
    estimates = []
    for consumed in [40, 30, 2, 6, 4, 3, 1, 1]:  # the first two are warm-up
        estimator.add(consumed)
        estimates.append(estimator.delay)
    assert estimates == [4, 4, 4, 7, 7, 7, 5, 4]


def test_ticks_of_an_awkward_rate_do_not_drift():
    start = 1_700_000_000_123_456_789
    clock = TickClock(30, start)
    assert clock.stamp_ns(30 * 3600) == start + 3600 * 1_000_000_000
    assert clock.stamp_ns(1) == start + 33_333_333
    assert clock.period_ns == 33_333_333
    for tick in [*range(-5, 50), 10**6, 10**7 + 1]:
        stamp = clock.stamp_ns(tick)
        assert clock.nearest_tick(stamp) == clock.tick_at_or_after(stamp) == clock.tick_at_or_before(stamp) == tick
        assert clock.tick_at_or_after(stamp + 1) == tick + 1
        assert clock.tick_at_or_after(stamp - 1) == tick
        assert clock.tick_at_or_before(stamp + 1) == tick
        assert clock.tick_at_or_before(stamp - 1) == tick - 1
        assert clock.stamps_ns(np.array([tick, tick + 1])).tolist() == [stamp, clock.stamp_ns(tick + 1)]
        assert clock.nearest_tick(stamp + 16_000_000) == tick
        assert clock.nearest_tick(stamp + 17_000_000) == tick + 1


def test_clock_needs_a_rate():
    with pytest.raises(BeingHError):
        TickClock(0, 0)


def test_epoch_names():
    assert epoch_id(3, 1_700_000_000_123_456_789) == "3@1700000000123456789"
    assert parse_epoch("3@1700000000123456789") == (3, 1_700_000_000_123_456_789)
    for text in ["", "3", "3@", "@5", "a@5", "3@5x"]:
        with pytest.raises(BeingHError, match="no epoch"):
            parse_epoch(text)
