"""The path between ticks: through the points, continuous with its derivative, known in time, inside the limits."""

import time

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from beingh_core.realtime.commit_buffer import Chunk, CommitBuffer
from beingh_core.realtime.interpolation import cubic, point_velocities
from beingh_core.realtime.limits import JointLimits

DT, H, D = 0.05, 12, 3
LIMITS = JointLimits(
    lower=[-1.0, -0.02, -0.6], upper=[1.0, 0.04, 0.6], velocity=[2.0, 0.2, 9.0], acceleration=[10.0, 5.0, 1.5],
    jerk=[150.0, 60.0, 12.0], is_velocity=[False, False, True],
)  # fmt: skip


def make_buffer(**changes):
    arguments = {
        "joints": ["arm", "finger", "base"], "start_positions": [0.2, 0.04, 0.0], "limits": LIMITS, "dt_s": DT,
        "chunk_length": H, "delay_steps": D, "commit_margin": 1, "epoch": "0",
    }  # fmt: skip
    return CommitBuffer(**{**arguments, **changes})


def chunk(buffer, rng, scale):
    start = buffer.planned()[1][D]
    positions = start + np.cumsum(rng.normal(0, scale, (H, 3)), axis=0) + rng.choice([0.0, 5.0], 3)
    return Chunk(base_tick=buffer.next_tick, epoch="0", joints=buffer.joints, positions=positions, dt_s=DT)


def ride(seed, ticks=60, stop_at=None, scale=0.05):
    """Random chunks: the (T, J) rows that were sent."""
    rng = np.random.default_rng(seed)
    buffer = make_buffer()
    for tick in range(ticks):
        if rng.random() < 0.3:
            buffer.merge(chunk(buffer, rng, scale))
        if tick == stop_at:
            buffer.stop("test")
        buffer.advance()
        if rng.random() < 0.3:
            buffer.merge(chunk(buffer, rng, scale))
    return np.array([command.positions for command in buffer.log])


def pieces_of(rows):
    """What `cubic` needs for each piece of the path through rows that is known on both sides."""
    slopes = point_velocities(rows[:-2], rows[1:-1], rows[2:], LIMITS, DT)
    return list(zip(rows[1:-2], rows[2:-1], slopes, slopes[1:]))


def test_a_cubic_by_hand():
    """From 0 at 1/s to 1 at 0 in 1 s: x = t + t^2 - t^3."""
    piece = np.zeros(1), np.ones(1), np.ones(1), np.zeros(1)
    times = np.array([0.0, 0.25, 0.5, 1.0])
    positions, velocities = cubic(times, 1.0, *piece)
    np.testing.assert_allclose(positions[:, 0], times + times**2 - times**3)
    np.testing.assert_allclose(velocities[:, 0], 1 + 2 * times - 3 * times**2, atol=1e-15)
    np.testing.assert_allclose(cubic(0.25, 1.0, *piece)[0], positions[1])
    np.testing.assert_array_equal(cubic([-1.0, 7.0], 1.0, *piece)[0][:, 0], [0.0, 1.0])


@pytest.mark.parametrize("power", [1, 2])
def test_it_follows_lines_and_parabolas_exactly(power):
    ticks = np.arange(-1, 3)
    rows = (0.1 * ticks**power)[:, None]
    wide = JointLimits(lower=[-99.0], upper=[99.0], velocity=[9.0], acceleration=[9.0])
    v = [point_velocities(rows[i - 1], rows[i], rows[i + 1], wide, 1.0) for i in (1, 2)]
    times = np.linspace(0, 1, 9)
    np.testing.assert_allclose(cubic(times, 1.0, rows[1], rows[2], *v)[0][:, 0], 0.1 * times**power, atol=1e-15)


@given(st.integers(0, 2**32), st.one_of(st.none(), st.integers(0, 59)), st.sampled_from([0.002, 0.05, 0.5]))
@settings(max_examples=60, deadline=None)
def test_the_path_passes_the_committed_points_and_is_c1(seed, stop_at, scale):
    for start, end, start_velocity, end_velocity in pieces_of(ride(seed, stop_at=stop_at, scale=scale)):
        positions, velocities = cubic(np.linspace(0, DT, 26), DT, start, end, start_velocity, end_velocity)
        np.testing.assert_array_equal(positions[[0, -1]], [start, end])
        np.testing.assert_allclose(velocities[[0, -1]], [start_velocity, end_velocity], atol=1e-12)
        assert (positions >= LIMITS.lower - 1e-12).all() and (positions <= LIMITS.upper + 1e-12).all()


def test_between_undisturbed_points_the_limits_hold_up_to_one_tick_of_jerk():
    """One long chunk that the limits shape; differences of the path at 1 kHz."""
    buffer = make_buffer(chunk_length=60, start_positions=[0.2, 0.02, 0.0])
    rows = np.tile([0.9, 0.0, 0.5], (60, 1))
    rows[30:] = [-0.8, 0.03, -0.5]
    buffer.merge(Chunk(base_tick=0, epoch="0", joints=buffer.joints, positions=rows, dt_s=DT))
    rows = np.array([buffer.advance().positions for _ in range(90)])
    path = np.vstack([cubic(np.arange(50) * 1e-3, DT, *piece)[0] for piece in pieces_of(rows)])
    speed, acceleration = (np.abs(np.diff(path, n, axis=0)).max(axis=0) / 1e-3**n for n in (1, 2))
    joint = ~LIMITS.is_velocity
    assert (speed <= LIMITS.velocity + 3 * LIMITS.jerk * DT**2 / 8 + 1e-6)[joint].all()
    assert (acceleration <= LIMITS.acceleration + LIMITS.jerk * DT + 1e-3)[joint].all()
    assert speed[2] <= LIMITS.acceleration[2] + LIMITS.jerk[2] * DT


def test_pieces_of_several_lengths_at_once_are_those_pieces():
    rng = np.random.default_rng(0)
    ends, widths = rng.normal(size=(4, 5, 2)), rng.uniform(0.01, 2.0, 5)
    times = widths * rng.uniform(0.0, 1.0, 5)
    positions, velocities = cubic(times, widths, *ends)
    for i in range(5):
        position, velocity = cubic(times[i], widths[i], *ends[:, i])
        np.testing.assert_array_equal(positions[i], position)
        np.testing.assert_array_equal(velocities[i], velocity)


def test_a_base_begins_an_epoch_at_rest():
    buffer = make_buffer()
    buffer.advance()
    buffer.stop("test")
    buffer.restart(np.array([0.0, 0.0, 0.4]), "1")
    np.testing.assert_array_equal(buffer.advance().positions, [0.0, 0.0, 0.0])


def test_a_kilohertz_is_cheap():
    pieces = pieces_of(ride(0, ticks=13))
    began = time.thread_time()
    for piece in pieces:
        for _ in range(50):
            cubic(0.01, DT, *piece)
    assert (time.thread_time() - began) / (50 * len(pieces)) < 0.5e-3  # 1 ms is there
