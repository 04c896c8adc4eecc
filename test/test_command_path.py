"""The path between ticks: through every committed point, continuous with its derivative, never past what is committed."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from beingh_core.control.command_path import CommandPath
from beingh_core.realtime.interpolation import point_velocities
from beingh_core.realtime.limits import JointLimits

DT_NS, STEP_NS = 50_000_000, 4_000_000
LIMITS = JointLimits(
    lower=np.array([-9.0, -1.0]),
    upper=np.array([9.0, 1.0]),
    velocity=np.array([3.0, np.inf]),
    acceleration=np.array([10.0, 2.0]),
    is_velocity=np.array([False, True]),
)


def plan_of(seed, ticks):
    """(ticks, 2) rows within the acceleration limits, at rest at the start and for the last ticks."""
    rng = np.random.default_rng(seed)
    rows, speed = [np.zeros(2)], np.zeros(2)
    for k in range(ticks - 1):
        push = rng.uniform(-0.02, 0.02, 2) if k < ticks - 20 else -speed
        speed = np.clip(speed + np.clip(push, -0.025, 0.025), -0.1, 0.1)
        rows.append(rows[-1] + speed)
    return np.array(rows)


def play(rows, late_ns, margin=1, stop_at=None, sampling_ns=STEP_NS):
    """Extend at every tick, `late_ns[n]` late, and sample on a grid; returns times, positions, velocities, sent rows."""
    path, sent, out = CommandPath(LIMITS), [], []
    due = 0
    for n in range(len(rows) - margin - 2):
        tick_ns = n * DT_NS + late_ns[n % len(late_ns)]
        while due < tick_ns and n:
            out.append((due, *path.sample(due)))
            due += sampling_ns
        if n == stop_at:  # a stop from the newest command on: what was committed behind it is cut
            speed = np.diff(rows[max(0, n - 2) : n], axis=0)[-1]
            brake = np.cumsum([speed * f for f in (0.7, 0.4, 0.15, 0.0)], axis=0) + rows[n - 1]
            rows = np.vstack([rows[:n], brake, np.repeat(brake[-1:], len(rows), axis=0)])[: len(rows)]
        around = np.vstack([rows[max(0, n - 1)], rows[n : n + margin + 2]])
        path.extend(
            n * DT_NS,
            DT_NS,
            around[0],
            around[1:-1],
            point_velocities(around[:-2], around[1:-1], around[2:], LIMITS, DT_NS / 1e9),
        )
        sent.append(rows[n])
    end_ns = (n + 1 + margin + 1) * DT_NS
    while due <= end_ns + 20 * sampling_ns:
        out.append((due, *path.sample(due)))
        due += sampling_ns
    times, positions, velocities = (np.array(part) for part in zip(*out))
    return times, positions, velocities, np.array(sent), end_ns


@settings(max_examples=40, deadline=None)
@given(st.integers(0, 10**6), st.lists(st.integers(0, 40_000_000), min_size=1, max_size=7), st.integers(1, 3))
def test_it_goes_through_every_committed_point_and_is_smooth(seed, late_ns, margin):
    rows = plan_of(seed, 60)
    times, positions, velocities, sent, _ = play(rows, late_ns, margin)
    at = {int(time_ns): position for time_ns, position in zip(times, positions)}
    hit = 0
    for n, row in enumerate(sent):
        if (n + 1) * DT_NS in at:
            assert np.array_equal(at[(n + 1) * DT_NS], row)
            hit += 1
    assert hit >= len(sent) // 2 - 1
    h = STEP_NS / 1e9
    # Between knots the second derivative of a cubic is bounded by its control values; a jump would be far larger.
    assert np.abs(np.diff(velocities[:, 0])).max() <= 4 * LIMITS.acceleration[0] * h + 1e-9
    middle = (velocities[1:] + velocities[:-1]) / 2
    assert np.abs(np.diff(positions, axis=0) / h - middle)[:-25, 0].max() < LIMITS.acceleration[0] * h


@pytest.mark.parametrize("late_ms", [0, 1, 13, 30])
def test_a_stop_under_way_keeps_position_and_velocity_continuous(late_ms):
    rows = plan_of(7, 60)
    times, positions, velocities, sent, _ = play(rows, [late_ms * 1_000_000], stop_at=25)
    h = STEP_NS / 1e9
    assert np.abs(np.diff(positions[:, 0])).max() <= 3.0 * h
    smooth = np.abs(np.diff(velocities[:, 0])).max() / h
    assert smooth <= 12 * LIMITS.acceleration[0]
    assert velocities[-1, 0] == 0.0 and positions[-1, 0] == sent[-1][0]
    assert np.array_equal(positions[times == 28 * DT_NS][0] if (times == 28 * DT_NS).any() else sent[27], sent[27])


def test_past_the_end_joints_hold_and_a_base_brakes_to_rest():
    path = CommandPath(LIMITS)
    row = np.array([0.4, 0.5])
    path.extend(0, DT_NS, row, np.array([row, row]), np.zeros((2, 2)))
    end = 2 * DT_NS
    falling = [path.sample(end + k * 50_000_000)[0] for k in range(8)]
    assert [value[0] for value in falling] == [0.4] * 8
    np.testing.assert_allclose([value[1] for value in falling], np.maximum(0.5 - 0.1 * np.arange(8), 0.0), atol=1e-12)


def test_what_was_sampled_decides_the_velocity_of_a_point_for_good():
    path = CommandPath(LIMITS)
    rows = np.array([[0.0, 0.0], [0.01, 0.0], [0.03, 0.0], [0.05, 0.0], [0.07, 0.0]])
    path.extend(0, DT_NS, rows[0], rows[1:3], np.array([[0.3, 0.0], [0.4, 0.0]]))
    before = path.sample(2 * DT_NS)[1]
    path.extend(DT_NS, DT_NS, rows[1], rows[2:4], np.array([[9.9, 0.0], [0.4, 0.0]]))
    np.testing.assert_array_equal(path.sample(2 * DT_NS)[1], before)


def test_a_new_start_and_a_clock_that_is_set():
    path = CommandPath(LIMITS)
    assert path.sample(0) is None
    row = np.array([0.2, 0.0])
    path.extend(10 * DT_NS, DT_NS, row, np.array([row]), np.zeros((1, 2)))
    assert np.array_equal(path.sample(0)[0], row), "before the start it is where it starts"
    path.shift(1_000)
    other = np.array([0.9, 0.0])
    path.extend(50 * DT_NS, DT_NS, other, np.array([other]), np.zeros((1, 2)))
    assert np.array_equal(path.sample(49 * DT_NS)[0], other)
    path.clear()
    assert path.sample(0) is None


@pytest.mark.parametrize("late", [1.2, 1.5, 1.9])
def test_rows_behind_an_unchanged_first_one_do_not_move_what_was_sampled(late):
    """From rest, with the tick and the setpoints held up: the motion begins behind the newest setpoint."""
    path, rest = CommandPath(LIMITS), np.zeros((4, 2))
    path.extend(0, DT_NS, np.zeros(2), rest, rest)
    at_ns = DT_NS + round(late * DT_NS)
    sampled, _ = path.sample(at_ns)
    moving = np.array([[0.0, 0.0], [0.025, 0.0], [0.075, 0.0], [0.15, 0.0], [0.225, 0.0]])
    path.extend(DT_NS, DT_NS, np.zeros(2), moving, np.gradient(moving, 0.05, axis=0), fresh=False)
    after, _ = path.sample(at_ns + STEP_NS)
    assert abs(after - sampled)[0] <= LIMITS.velocity[0] * STEP_NS / 1e9
