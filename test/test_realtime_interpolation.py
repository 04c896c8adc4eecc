"""The path between ticks: through the points, continuous with its derivative, known in time, inside the limits."""

import time

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from beingh_core.realtime.commit_buffer import Chunk, CommitBuffer
from beingh_core.realtime.interpolation import Piece, point_velocities
from beingh_core.realtime.limits import JointLimits

DT, H, D = 0.05, 12, 3
LIMITS = JointLimits(
    lower=[-1.0, -0.02, -0.6], upper=[1.0, 0.04, 0.6], velocity=[2.0, 0.2, 9.0], acceleration=[10.0, 5.0, 1.5],
    jerk=[150.0, 60.0, 12.0], is_velocity=[False, False, True],
)  # fmt: skip


def make_buffer(**changes):
    arguments = {
        "joints": ["arm", "finger", "base"], "start_positions": [0.2, 0.04, 0.0], "limits": LIMITS, "dt_s": DT,
        "chunk_length": H, "delay_steps": D, "commit_margin": 1, "epoch": "0", "stop_keeps": 1,
    }  # fmt: skip
    return CommitBuffer(**{**arguments, **changes})


def chunk(buffer, rng, scale):
    start = buffer.planned()[1][D]
    positions = start + np.cumsum(rng.normal(0, scale, (H, 3)), axis=0) + rng.choice([0.0, 5.0], 3)
    return Chunk(base_tick=buffer.next_tick, epoch="0", joints=buffer.joints, positions=positions, dt_s=DT)


def ride(seed, ticks=60, stop_at=None, scale=0.05):
    """Random chunks: the piece of every tick, taken when the tick was sent, and what was sent."""
    rng = np.random.default_rng(seed)
    buffer, pieces = make_buffer(), []
    for tick in range(ticks):
        if rng.random() < 0.3:
            buffer.merge(chunk(buffer, rng, scale))
        if tick == stop_at:
            buffer.stop("test")
        buffer.advance()
        pieces.append(buffer.piece())
        if rng.random() < 0.3:  # after the piece was given out
            buffer.merge(chunk(buffer, rng, scale))
    return pieces, buffer.log


def test_a_cubic_by_hand():
    """From 0 at 1/s to 1 at 0 in 1 s: x = t + t^2 - t^3."""
    piece = Piece(tick=0, epoch="0", dt_s=1.0, start=np.zeros(1), end=np.ones(1), start_velocity=np.ones(1), end_velocity=np.zeros(1))
    times = np.array([0.0, 0.25, 0.5, 1.0])
    positions, velocities = piece.at(times)
    np.testing.assert_allclose(positions[:, 0], times + times**2 - times**3)
    np.testing.assert_allclose(velocities[:, 0], 1 + 2 * times - 3 * times**2, atol=1e-15)
    np.testing.assert_allclose(piece.at(0.25)[0], positions[1])
    np.testing.assert_array_equal(piece.at([-1.0, 7.0])[0][:, 0], [0.0, 1.0])


@pytest.mark.parametrize("power", [1, 2])
def test_it_follows_lines_and_parabolas_exactly(power):
    ticks = np.arange(-1, 3)
    rows = (0.1 * ticks**power)[:, None]
    wide = JointLimits(lower=[-99.0], upper=[99.0], velocity=[9.0], acceleration=[9.0])
    v = [point_velocities(rows[i - 1], rows[i], rows[i + 1], wide, 1.0) for i in (1, 2)]
    piece = Piece(tick=0, epoch="0", dt_s=1.0, start=rows[1], end=rows[2], start_velocity=v[0], end_velocity=v[1])
    times = np.linspace(0, 1, 9)
    np.testing.assert_allclose(piece.at(times)[0][:, 0], 0.1 * times**power, atol=1e-15)


@given(st.integers(0, 2**32), st.one_of(st.none(), st.integers(0, 59)), st.sampled_from([0.002, 0.05, 0.5]))
@settings(max_examples=60, deadline=None)
def test_the_path_passes_the_committed_points_and_is_c1(seed, stop_at, scale):
    pieces, log = ride(seed, stop_at=stop_at, scale=scale)
    for before, after in zip(pieces, pieces[1:]):
        assert after.tick == before.tick + 1
        np.testing.assert_array_equal(before.at(DT)[0], after.at(0.0)[0])
        np.testing.assert_allclose(before.at(DT)[1], after.at(0.0)[1], atol=1e-12)
    for piece, command in zip(pieces, log):
        np.testing.assert_array_equal(piece.at(0.0)[0], command.positions)
        np.testing.assert_allclose(piece.at(0.0)[1], command.velocities, atol=1e-12)
        inside, _ = piece.at(np.linspace(0, DT, 26))
        assert (inside >= LIMITS.lower - 1e-12).all() and (inside <= LIMITS.upper + 1e-12).all()


def test_between_undisturbed_points_the_limits_hold_up_to_one_tick_of_jerk():
    """One long chunk that the limits shape; differences of the path at 1 kHz."""
    buffer = make_buffer(chunk_length=60, start_positions=[0.2, 0.02, 0.0])
    rows = np.tile([0.9, 0.0, 0.5], (60, 1))
    rows[30:] = [-0.8, 0.03, -0.5]
    buffer.merge(Chunk(base_tick=0, epoch="0", joints=buffer.joints, positions=rows, dt_s=DT))
    path = []
    for _ in range(90):
        buffer.advance()
        path.append(buffer.piece().at(np.arange(50) * 1e-3)[0])
    path = np.vstack(path)
    speed, acceleration = (np.abs(np.diff(path, n, axis=0)).max(axis=0) / 1e-3**n for n in (1, 2))
    joint = ~LIMITS.is_velocity
    assert (speed <= LIMITS.velocity + 3 * LIMITS.jerk * DT**2 / 8 + 1e-6)[joint].all()
    assert (acceleration <= LIMITS.acceleration + LIMITS.jerk * DT + 1e-3)[joint].all()
    assert speed[2] <= LIMITS.acceleration[2] + LIMITS.jerk[2] * DT


def test_a_stop_keeps_the_point_under_way():
    buffer = make_buffer()
    rng = np.random.default_rng(0)
    buffer.merge(chunk(buffer, rng, 0.05))
    for _ in range(6):
        buffer.advance()
    piece = buffer.piece()
    buffer.stop("test")
    command = buffer.advance()
    assert not command.held and command.stopped
    np.testing.assert_array_equal(command.positions, piece.end)
    np.testing.assert_array_equal(command.velocities, piece.end_velocity)
    assert buffer.advance().held


def test_no_piece_before_the_first_tick():
    buffer = make_buffer()
    assert buffer.piece() is None
    buffer.advance()
    assert buffer.piece().tick == 0
    buffer.stop("test")
    buffer.restart(np.array([0.0, 0.0, 0.4]), "1")
    assert buffer.piece() is None
    np.testing.assert_array_equal(buffer.advance().positions, [0.0, 0.0, 0.0])  # a base begins at rest


def test_a_kilohertz_is_cheap():
    pieces, _ = ride(0, ticks=10)
    began = time.thread_time()
    for piece in pieces:
        for _ in range(50):
            piece.at(0.01)
    assert (time.thread_time() - began) / 500 < 0.5e-3  # 1 ms is there
