"""Limits judged by finite differences of what comes out, by stops played by hand, and by ruckig's time-optimal motion."""

import time

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from beingh_core.errors import BeingHError
from beingh_core.realtime.limits import JointLimits, brake, limit_forward
from beingh_core.realtime.stopping import reach

DT = 0.05
# Part of a limit by which rounding may pass it: what the limiter itself forgives, and the onlooker's differences.
FORGIVEN = 1e-6


def make_limits(joints=2, lower=-1.0, upper=1.0, velocity=1.0, acceleration=4.0, jerk=np.inf, is_velocity=False):
    full = lambda value: np.full(joints, value)
    return JointLimits(
        lower=full(lower), upper=full(upper), velocity=full(velocity), acceleration=full(acceleration), jerk=full(jerk),
        is_velocity=full(is_velocity),
    )  # fmt: skip


def rest(limits, position=0.0):
    return np.tile(np.broadcast_to(np.asarray(position, dtype=float), len(limits.lower)), (3, 1))


def follow(targets, limits, past=None, dt=DT):
    return limit_forward(np.asarray(targets, dtype=float), rest(limits) if past is None else past, limits, dt)


def assert_within(rows, limits, past, dt=DT):
    """Finite differences of a path that starts with `past`; a start outside the range must come back."""
    path = np.vstack([past, rows])
    first, second, third = (np.diff(path, n, axis=0) / dt**n for n in (1, 2, 3))
    joint = ~limits.is_velocity
    rounding = 64 * np.finfo(float).eps * max(1.0, np.abs(path).max())
    keeps = lambda values, most, n: (np.abs(values) <= most * (1 + FORGIVEN) + rounding / dt**n).all()
    assert keeps(first[2:, joint], limits.velocity[joint], 1), "velocity"
    assert keeps(second[1:, joint], limits.acceleration[joint], 2), "acceleration"
    assert keeps(third[:, joint], limits.jerk[joint], 3), "jerk"
    assert keeps(first[2:, ~joint], limits.acceleration[~joint], 1), "rate of a velocity"
    assert keeps(second[1:, ~joint], limits.jerk[~joint], 2), "change of the rate of a velocity"
    start = past[2]
    assert (rows >= np.minimum(limits.lower, start) - 1e-9).all(), "lower limit"
    assert (rows <= np.maximum(limits.upper, start) + 1e-9).all(), "upper limit"


def stops_after(speed, gain):
    """Distance of a step `speed` and of those after it, each smaller by `gain`."""
    distance = 0.0
    while speed > 0:
        distance += speed
        speed -= gain
    return distance


@pytest.mark.parametrize("distance", [0.0, 0.001, 0.01, 0.0100001, 0.03, 0.1, 0.5, 7.0])
def test_reach_just_stops(distance):
    step = reach(np.array([distance]), 0.01)[0]
    assert stops_after(step, 0.01) == pytest.approx(distance, abs=1e-9)


def test_reach_by_hand():
    """Gain 0.01: 0.01 + 0 covers 0.01; 0.02 + 0.01 covers 0.03; 0.015 + 0.005 covers 0.02."""
    np.testing.assert_allclose(reach(np.array([0.01, 0.03, 0.02, -0.01]), 0.01), [0.01, 0.02, 0.015, -0.01])


@pytest.mark.parametrize("jerk", [np.inf, 40.0])
def test_joint_without_position_limits(jerk):
    limits = make_limits(lower=-np.inf, upper=np.inf, jerk=jerk)
    positions, clips = follow(np.full((90, 2), 3.0), limits)
    assert np.isfinite(positions).all() and clips > 0
    np.testing.assert_array_equal(positions[-1], 3.0)


def test_step_is_followed_as_fast_as_allowed():
    """From rest to 0.2 with a dt = 0.2: speeds 0.2 0.4 0.6 0.8 0.8 .. braking to meet the target at rest."""
    limits = make_limits(joints=1, velocity=0.8)
    positions, clips = follow(np.full((14, 1), 0.2), limits)
    speeds = np.diff(positions[:, 0], prepend=0.0) / DT
    np.testing.assert_allclose(speeds[:4], [0.2, 0.4, 0.6, 0.8], atol=1e-9)
    assert positions.max() <= 0.2 + 1e-12 and positions[-1, 0] == 0.2
    assert clips == int((positions != 0.2).sum())


def test_brake_with_jerk_by_hand():
    """v = 0.5, j dt^2 = 0.1, a dt = 0.2: steps of -0.1 and -0.2 leave 0.2, which -0.15 and then -0.05 take."""
    limits = make_limits(joints=1, velocity=2.0, acceleration=4.0, jerk=40.0)
    past = np.array([[-2 * 0.025], [-0.025], [0.0]])
    rows = brake(past, limits, DT)[:, 0]
    speeds = np.diff([0.0, *rows, rows[-1]]) / DT  # it holds behind the last row
    np.testing.assert_allclose(np.diff(speeds, prepend=0.5), [-0.1, -0.2, -0.15, -0.05], atol=1e-9)
    assert brake(rest(limits), limits, DT).shape == (0, 1)


def test_brake_without_jerk_limit_by_hand():
    limits = make_limits(joints=2)  # a dt = 0.2
    past = np.array([[-0.05, 0.025], [-0.025, 0.0125], [0.0, 0.0]])  # 0.5 and -0.25
    positions = brake(past, limits, DT)
    np.testing.assert_allclose(np.diff(positions, axis=0, prepend=0.0) / DT, [[0.3, -0.05], [0.1, 0.0]], atol=1e-12)


@pytest.mark.parametrize(("sign", "jerk"), [(1.0, np.inf), (-1.0, np.inf), (1.0, 40.0), (-1.0, 40.0)])
def test_brake_never_passes_a_position_limit(sign, jerk):
    """Too fast for the way that is left: the limit wins; a start outside goes no further out."""
    limits = make_limits(joints=2, jerk=jerk)
    past = sign * np.array([[0.88, 1.1], [0.93, 1.15], [0.98, 1.2]])  # 1 rad/s towards the limits at +-1
    rows = sign * brake(past, limits, DT)
    assert len(rows) > 2 and (rows == [1.0, 1.2]).all()


def test_brake_of_a_velocity_is_a_ramp_to_zero():
    limits = make_limits(joints=1, lower=-0.5, upper=0.5, acceleration=2.0, jerk=20.0, is_velocity=True)
    rows = brake(np.full((3, 1), 0.4), limits, DT)
    assert_within(rows, limits, np.full((3, 1), 0.4))
    assert rows[-1, 0] == 0.0 and (np.diff(rows[:, 0], prepend=0.4) < 0).all()
    np.testing.assert_allclose(rows[:, 0], [0.35, 0.25, 0.15, 0.05, 0.0], atol=1e-12)  # a dt = 0.1, j dt^2 = 0.05


@pytest.mark.parametrize("jerk", [np.inf, 60.0])
def test_feasible_input_is_untouched(jerk):
    limits = make_limits(jerk=jerk)
    time_s = np.arange(1, 60) * DT
    targets = 0.4 * np.stack([1 - np.cos(time_s), np.cos(1.5 * time_s) - 1], axis=1)
    positions, clips = follow(targets, limits)
    assert clips == 0
    np.testing.assert_array_equal(positions, targets)


@pytest.mark.parametrize("sign", [1.0, -1.0])
def test_a_chunk_may_not_end_with_a_push_that_carries_the_brake_beyond_the_velocity_limit(sign):
    """Speeds 0.1, 0.3, 0.6, 1.0 keep each limit by themselves, but behind them the push of 0.4 a tick falls by 0.1 a tick only."""
    limits = make_limits(joints=1, lower=-9.0, upper=9.0, acceleration=8.0, jerk=40.0)
    targets = sign * np.cumsum([0.1, 0.3, 0.6, 1.0])[:, None] * DT
    rows, clips = follow(targets, limits)
    past = np.vstack([rest(limits), rows])
    assert_within(np.vstack([rows, brake(past[-3:], limits, DT)]), limits, rest(limits))
    assert clips > 0


@pytest.mark.parametrize("jerk", [np.inf, 60.0])
def test_position_limit_is_reached_without_overshoot(jerk):
    limits = make_limits(joints=1, upper=0.5, jerk=jerk)
    positions, _ = follow(np.arange(1, 61)[:, None] * 0.04, limits)
    assert_within(positions, limits, rest(limits))
    assert positions[-1, 0] == pytest.approx(0.5, abs=1e-9) and (np.diff(positions[:, 0]) >= -1e-12).all()


@pytest.mark.parametrize("jerk", [np.inf, 60.0])
def test_start_outside_the_position_limits_returns_gently(jerk):
    limits = make_limits(joints=1, jerk=jerk)
    past = rest(limits, 1.2)
    positions, _ = follow(np.full((40, 1), 1.3), limits, past)
    assert_within(positions, limits, past)
    assert (np.diff(positions[:, 0], prepend=1.2) <= 1e-12).all() and positions[-1, 0] <= 1.0 + 1e-9


@pytest.mark.parametrize("distance", [0.003, 0.02, 0.1, 0.3, 1.0, 2.0])
@pytest.mark.parametrize("jerk", [60.0, 150.0, 380.0])
def test_a_step_is_met_no_later_than_by_ruckig(distance, jerk):
    """ruckig's duration of the time-optimal motion, rounded up to ticks, and one; overshoot far below one tick's jerk."""
    ruckig = pytest.importorskip("ruckig")
    order, motion = ruckig.InputParameter(1), ruckig.Trajectory(1)
    order.current_position, order.target_position = [0.0], [distance]
    order.max_velocity, order.max_acceleration, order.max_jerk = [2.0], [10.0], [jerk]
    assert ruckig.Ruckig(1).calculate(order, motion) == ruckig.Result.Working
    limits = make_limits(joints=1, lower=-3.0, upper=3.0, velocity=2.0, acceleration=10.0, jerk=jerk)
    positions, _ = follow(np.full((60, 1), distance), limits)
    assert_within(positions, limits, rest(limits))
    ticks = int(np.argmax(positions[:, 0] == distance)) + 1
    assert positions[-1, 0] == distance and ticks <= np.ceil(motion.duration / DT) + 1
    assert positions.max() <= distance + 0.2 * jerk * DT**3


@st.composite
def motions(draw):
    """Limits (with and without jerk; a velocity column last), a start at rest inside them, and arbitrary targets."""
    rng = np.random.default_rng(draw(st.integers(0, 2**32)))
    dt = draw(st.sampled_from([0.05, 0.02, 0.004]))
    acceleration = rng.uniform(0.1, 30, 4)
    limits = JointLimits(
        lower=rng.uniform(-2, -0.02, 4),
        upper=rng.uniform(0.02, 2, 4),
        velocity=rng.uniform(0.05, 3, 4),
        acceleration=acceleration,
        jerk=acceleration * [*rng.uniform(0.5, 60, 2), np.inf, rng.uniform(1, 60)],
        is_velocity=[False, False, False, True],
    )
    start = np.where(limits.is_velocity, 0.0, rng.uniform(limits.lower, limits.upper))
    kind = draw(st.sampled_from(["walk", "steps", "smooth"]))
    scale = draw(st.sampled_from([0.0003, 0.01, 0.1, 1.0, 5.0])) * limits.velocity * dt
    if kind == "walk":
        targets = start + np.cumsum(rng.normal(0, 1, (24, 4)) * scale, axis=0)
    elif kind == "steps":
        targets = start + np.cumsum(rng.normal(0, 10, (24, 4)) * (rng.random((24, 4)) < 0.15) * scale, axis=0)
    else:
        phases = np.arange(24)[:, None] * rng.uniform(0, 0.8, 4) + rng.uniform(0, 6, 4)
        targets = start + 10 * scale * (np.sin(phases) - np.sin(phases[0]))
    return limits, rest(limits, start), targets, dt


@given(motions(), st.integers(2, 23))
@settings(max_examples=400, deadline=None)
def test_any_input_is_limited_and_what_came_out_is_left_alone(motion, k):
    """Limits, at every stop, too; idempotent as a whole and from any tick on, bit by bit."""
    limits, past, targets, dt = motion
    once, _ = follow(targets, limits, past, dt)
    assert_within(once, limits, past, dt)
    path = np.vstack([past, once])
    for row in (k, 24):
        tail = brake(path[row : row + 3], limits, dt)
        assert_within(tail, limits, path[row : row + 3], dt)
        held = tail[-1] if len(tail) else path[row + 2]
        assert (held[limits.is_velocity] == 0).all() and len(tail) < 10_000
        assert_within(np.vstack([tail, [held] * 3]), limits, path[row : row + 3], dt)
    for first in (0, k):
        again, clips = follow(once[first:], limits, path[first : first + 3], dt)
        np.testing.assert_array_equal(again, once[first:])
        assert clips == 0


@given(motions())
@settings(max_examples=200, deadline=None)
def test_targets_within_the_limits_come_out_bit_by_bit(motion):
    """Feasible by construction: a slow version of any motion, ending at rest."""
    limits, past, targets, dt = motion
    once, _ = follow(targets, limits, past, dt)
    path = np.vstack([past, once, brake(np.vstack([past, once])[-3:], limits, dt)])
    slow = past[2] + 0.99 * (path[3:] - past[2])
    rows, clips = follow(slow, limits, past, dt)
    np.testing.assert_array_equal(rows, slow)
    assert clips == 0


@given(motions())
@settings(max_examples=60, deadline=None)
def test_a_target_beyond_the_limits_is_approached_and_held(motion):
    """Half a minute of one target outside: the joint ends on its limit, at rest."""
    limits, past, targets, dt = motion
    beyond = np.where(np.arange(4) % 2 == 0, limits.upper + 1.0, limits.lower - 1.0)
    path = np.vstack([past, follow(targets, limits, past, dt)[0]])
    whole = []
    for _ in range(60):
        rows, clips = follow(np.tile(beyond, (120, 1)), limits, path[-3:], dt)
        assert clips == rows.size
        path = np.vstack([path[-3:], rows])
        whole.append(rows)
        if np.ptp(rows, axis=0).max() == 0:
            break
    assert_within(np.vstack(whole), limits, np.vstack([past, follow(targets, limits, past, dt)[0]])[-3:], dt)
    np.testing.assert_allclose(path[-1], np.clip(beyond, limits.lower, limits.upper), atol=1e-9)


def test_noise_that_no_joint_can_follow_does_not_shake_it():
    """Targets that are noisy beyond the limits: the joint stays nearer to what is under the noise than they are."""
    rng = np.random.default_rng(1)
    limits = make_limits(joints=31, lower=-3.0, upper=3.0, velocity=2.0, acceleration=10.0, jerk=150.0)
    clean = 0.3 * (1 - np.cos(np.arange(32)[:, None] * DT * rng.uniform(1, 4, 31)))
    error = lambda rows: np.sqrt(np.mean((rows - clean) ** 2))
    for noise in (0.02, 0.1):
        noisy = clean + rng.normal(0, noise, clean.shape)
        assert error(follow(noisy, limits)[0]) < 0.9 * error(noisy)


@pytest.mark.parametrize(
    "change",
    [{"lower": 2.0}, {"velocity": 0.0}, {"acceleration": -1.0}, {"acceleration": np.inf}, {"upper": np.nan}, {"jerk": 0.0},
     {"jerk": np.nan}, {"lower": 0.5, "is_velocity": True}],
)  # fmt: skip
def test_impossible_limits(change):
    with pytest.raises(BeingHError, match="limits"):
        make_limits(**change)


@pytest.mark.parametrize("jerk", [np.inf, 150.0])
def test_it_is_fast(jerk):
    limits = make_limits(joints=31, lower=-3.0, upper=3.0, velocity=2.0, acceleration=10.0, jerk=jerk)
    targets = np.cumsum(np.random.default_rng(0).normal(0, 0.1, (32, 31)), axis=0)
    seconds = []
    for _ in range(30):
        began = time.thread_time()
        follow(targets, limits)
        seconds.append(time.thread_time() - began)
    assert np.median(seconds) <= 4e-3  # on a machine that others use; `beingh bench controller` measures it alone
