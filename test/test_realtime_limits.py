"""Limits against finite differences and step-by-step braking."""

import time

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from beingh_core.errors import BeingHError
from beingh_core.realtime.limits import JointLimits, brake, limit_forward, stopping_speed

DT = 0.05


def make_limits(joints=2, lower=-1.0, upper=1.0, velocity=1.0, acceleration=4.0):
    full = lambda value: np.full(joints, value, dtype=float)
    return JointLimits(lower=full(lower), upper=full(upper), velocity=full(velocity), acceleration=full(acceleration))


def follow(targets, limits, position=None, velocity=None):
    """limit_forward from `position` (default 0) and `velocity` (default at rest)."""
    joints = len(limits.lower)
    position = np.zeros(joints) if position is None else np.asarray(position, dtype=float)
    velocity = np.zeros(joints) if velocity is None else np.asarray(velocity, dtype=float)
    return limit_forward(np.asarray(targets, dtype=float), position, velocity, limits, DT)


def assert_within(positions, limits, start, start_velocity):
    """Finite differences of a trajectory that starts in a given state."""
    path = np.vstack([start - start_velocity * DT, start, positions])
    velocity = np.diff(path, axis=0) / DT
    acceleration = np.diff(velocity, axis=0) / DT
    assert (np.abs(velocity) <= limits.velocity + 1e-9).all()
    assert (np.abs(acceleration) <= limits.acceleration + 1e-7).all()
    assert (positions >= limits.lower - 1e-9).all() and (positions <= limits.upper + 1e-9).all()


def stops_after(speed, acceleration):
    """Distance of a tick at `speed` and of full braking after it, tick by tick."""
    distance = 0.0
    while speed > 0:
        distance += speed * DT
        speed -= acceleration * DT
    return distance


@pytest.mark.parametrize("distance", [0.0, 0.001, 0.01, 0.0100001, 0.03, 0.1, 0.5, 7.0])
def test_stopping_speed_just_stops(distance):
    limits = make_limits(joints=1)
    speed = stopping_speed(np.array([distance]), limits, DT)[0]
    assert stops_after(speed, 4.0) == pytest.approx(distance, abs=1e-9)


def test_stopping_speed_by_hand():
    """a = 4, dt = 0.05: a dt = 0.2 m/s; 0.2 + 0 covers 0.01 m, 0.4 + 0.2 covers 0.03 m, 0.3 + 0.1 covers 0.02 m."""
    limits = make_limits(joints=4)
    speeds = stopping_speed(np.array([0.01, 0.03, 0.02, -0.01]), limits, DT)
    np.testing.assert_allclose(speeds, [0.2, 0.4, 0.3, -0.2])


def test_joint_without_position_limits():
    limits = make_limits(lower=-np.inf, upper=np.inf)
    positions, clips = follow(np.full((80, 2), 3.0), limits)
    assert np.isfinite(positions).all() and clips > 0
    np.testing.assert_allclose(positions[-1], 3.0)


def test_step_is_followed_as_fast_as_allowed():
    """From rest to 0.3 with a dt = 0.2: speeds 0.2 0.4 0.6 0.8 1.0 1.0 .. braking to meet the target at rest."""
    limits = make_limits(joints=1, velocity=0.8)
    positions, clips = follow(np.full((14, 1), 0.2), limits)
    speeds = np.diff(positions[:, 0], prepend=0.0) / DT
    np.testing.assert_allclose(speeds[:4], [0.2, 0.4, 0.6, 0.8], atol=1e-9)
    assert positions.max() <= 0.2 + 1e-12 and positions[-1, 0] == 0.2
    assert clips == int((positions != 0.2).sum())


def test_feasible_input_is_untouched():
    limits = make_limits()
    time_s = np.arange(1, 60) * DT
    targets = 0.4 * np.stack([1 - np.cos(time_s), np.cos(1.5 * time_s) - 1], axis=1)
    positions, clips = follow(targets, limits)
    assert clips == 0
    np.testing.assert_array_equal(positions, targets)


def test_position_limit_is_reached_without_overshoot():
    limits = make_limits(joints=1, upper=0.5)
    positions, _ = follow(np.arange(1, 41)[:, None] * 0.04, limits)
    assert_within(positions, limits, np.zeros(1), np.zeros(1))
    assert positions[-1, 0] == pytest.approx(0.5, abs=1e-9)


def test_start_outside_the_position_limits_returns_gently():
    limits = make_limits(joints=1)
    positions, _ = follow(np.full((30, 1), 1.3), limits, position=[1.2])
    path = np.concatenate([[1.2, 1.2], positions[:, 0]])
    assert (np.abs(np.diff(path, 2)) <= 4.0 * DT**2 + 1e-12).all()
    assert (np.diff(path) <= 1e-12).all() and positions[-1, 0] <= 1.0 + 1e-9


def test_brake():
    limits = make_limits(joints=2)
    positions = brake(np.zeros(2), np.array([0.5, -0.25]), limits, DT)  # a dt = 0.2
    np.testing.assert_allclose(np.diff(positions, axis=0, prepend=0.0) / DT, [[0.3, -0.05], [0.1, 0.0]], atol=1e-12)
    assert brake(np.zeros(2), np.zeros(2), limits, DT).shape == (0, 2)
    assert brake(np.zeros(2), np.array([0.2, 0.1]), limits, DT).shape == (0, 2)


@st.composite
def motions(draw):
    """Limits, a start inside them at rest, and arbitrary targets."""
    rng = np.random.default_rng(draw(st.integers(0, 2**32)))
    limits = JointLimits(
        lower=rng.uniform(-2, -0.2, 3),
        upper=rng.uniform(0.2, 2, 3),
        velocity=rng.uniform(0.05, 3, 3),
        acceleration=rng.uniform(0.1, 30, 3),
    )
    start = rng.uniform(limits.lower, limits.upper)
    scale = draw(st.sampled_from([0.001, 0.05, 0.5, 5.0]))
    targets = start + np.cumsum(rng.normal(0, scale, (24, 3)), axis=0)
    return limits, start, targets


@given(motions())
@settings(max_examples=300, deadline=None)
def test_any_input_is_limited_and_limiting_is_idempotent(motion):
    limits, start, targets = motion
    rest = np.zeros(3)
    once, _ = follow(targets, limits, start, rest)
    assert_within(once, limits, start, rest)
    tail = brake(once[-1], (once[-1] - once[-2]) / DT, limits, DT)
    assert_within(np.vstack([once, tail]), limits, start, rest)
    twice, clips = follow(once, limits, start, rest)
    np.testing.assert_allclose(twice, once, atol=1e-9)
    assert clips == 0


@given(motions(), st.integers(2, 22))
@settings(max_examples=100, deadline=None)
def test_limiting_a_limited_path_again_from_a_later_tick_changes_nothing(motion, k):
    limits, start, targets = motion
    whole, _ = follow(targets, limits, start)
    rest, clips = limit_forward(whole[k:], whole[k - 1], (whole[k - 1] - whole[k - 2]) / DT, limits, DT)
    np.testing.assert_allclose(rest, whole[k:], atol=1e-9)
    assert clips == 0


@pytest.mark.parametrize(
    "change", [{"lower": 2.0}, {"velocity": 0.0}, {"acceleration": -1.0}, {"acceleration": np.inf}, {"upper": np.nan}]
)
def test_impossible_limits(change):
    with pytest.raises(BeingHError, match="limits"):
        make_limits(**change)


def test_it_is_fast():
    limits = make_limits(joints=31)
    targets = np.cumsum(np.random.default_rng(0).normal(0, 0.1, (32, 31)), axis=0)
    seconds = []
    for _ in range(30):
        began = time.thread_time()
        follow(targets, limits)
        seconds.append(time.thread_time() - began)
    assert np.median(seconds) <= 2e-3
