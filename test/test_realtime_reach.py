"""A reachable target is reached: whatever the limits, wherever in a chunk it appears, however often chunks are replaced.

ruckig's time-optimal motion is the judge of the time.
"""

from functools import cache

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from test_realtime_limits import assert_within

from beingh_core.contract import load_contract
from beingh_core.realtime.limits import JointLimits, limit_forward

ruckig = pytest.importorskip("ruckig")
# Rates of 20 and 30 Hz, chunks of 16 and 30, with and without limits of jerk, metres and radians.
ROBOTS = ("d1", "fr3", "g1", "so101", "ur5e", "xarm7")
# From one part of the range to another: both ends, the middle, small moves, targets beyond the limits.
MOVES = ((0.0, 1.0), (1.0, 0.0), (0.5, 1.0), (0.5, 0.0), (0.0, 0.5), (0.2, 0.3), (0.7, 0.65), (0.5, 0.502), (0.0, 1.5))
EVERY = (1, 6, None)  # ticks between chunks; None: a chunk runs to its end


@cache
def optimal_s(distance, velocity, acceleration, jerk):
    """Duration of the time-optimal motion [s]."""
    order, motion = ruckig.InputParameter(1), ruckig.Trajectory(1)
    order.current_position, order.target_position = [0.0], [distance]
    order.max_velocity, order.max_acceleration, order.max_jerk = [velocity], [acceleration], [jerk]
    assert ruckig.Ruckig(1).calculate(order, motion) == ruckig.Result.Working
    return motion.duration


def best_ticks(start, goal, limits, dt):
    """(J,) ticks of the time-optimal motions."""
    goal = np.clip(goal, limits.lower, limits.upper)
    each = zip(np.abs(goal - start), limits.velocity, limits.acceleration, limits.jerk)
    return np.array([np.ceil(optimal_s(*map(float, values)) / dt - 1e-9) for values in each])


def run(targets, start, limits, dt, rows, every):
    """What is sent (T, J) when chunks of some rows of the targets (T, J) replace each other after `every` ticks."""
    path, every = [np.tile(start, (3, 1))], every or rows
    for first in range(0, len(targets) - rows, every):
        chunk, _ = limit_forward(targets[first : first + rows], np.vstack(path)[-3:], limits, dt)
        path.append(chunk[:every])
    return np.vstack(path[1:])


def met_after(sent, goal, row):
    """(J,) ticks from the row of the step until the goal is met for good; infinite where it is not."""
    away = sent != goal
    last = len(sent) - np.argmax(away[::-1], axis=0)  # rows until then
    return np.where(away[-1], np.inf, np.where(away.any(axis=0), last - row + 1, 0))


@pytest.mark.parametrize("every", EVERY)
@pytest.mark.parametrize("name", ROBOTS)
def test_a_step_at_any_row_is_met_in_the_shortest_time(name, every):
    """Exactly, no later than by ruckig, without overshoot and never the wrong way."""
    contract = load_contract(name)
    limits, dt, rows = contract.limits, contract.dt_s, contract.policy.chunk_length
    width = limits.upper - limits.lower
    step = np.minimum(limits.jerk * dt**3, 2 * limits.acceleration * dt**2)  # what one tick's jerk moves
    for begin, end in MOVES[::2] if every == 1 else MOVES:
        start, wanted = (np.where(part == 1.0, limits.upper, limits.lower + part * width) for part in (begin, end))
        goal, best = np.clip(wanted, limits.lower, limits.upper), best_ticks(start, wanted, limits, dt)
        for row in range(rows) if every is None else (1, rows // 2) if every == 1 else (1, 3, rows // 2, rows - 1):
            length = int(best.max()) + row + 3 * rows
            targets = np.where(np.arange(length)[:, None] < row, start, wanted)
            sent = run(targets, start, limits, dt, rows, every)
            assert_within(sent, limits, np.tile(start, (3, 1)), dt)
            case = f"{name}, {begin} to {end}, row {row}"
            assert (met_after(sent, goal, row) <= best).all(), case
            moved = (sent - start) * np.sign(goal - start)
            assert moved.min() >= -1e-9, f"{case}: the wrong way"
            assert (moved <= np.abs(goal - start) + 0.3 * step).all(), f"{case}: overshoot"


@st.composite
def journeys(draw):
    """Limits per tick over four orders of magnitude, with and without jerk; steps and ramps to inside and beyond."""
    rng, joints = np.random.default_rng(draw(st.integers(0, 2**32))), 8
    dt, jerk = draw(st.sampled_from([0.05, 0.004])), 10 ** rng.uniform(-3, -1, joints)  # moved by one tick's jerk
    limits = JointLimits(
        lower=np.zeros(joints),
        upper=jerk * 10 ** rng.uniform(-1, 2.5, joints),
        velocity=jerk * 10 ** rng.uniform(-1, 1.5, joints) / dt,
        acceleration=jerk * 10 ** rng.uniform(-0.3, 1.3, joints) / dt**2,
        jerk=np.where(rng.random(joints) < 0.25, np.inf, jerk / dt**3),
    )
    at_end = rng.random((2, joints)) < 0.5
    start, goal = np.where(at_end, np.round(rng.random((2, joints))), rng.random((2, joints))) * limits.upper
    beyond = np.where(rng.random(joints) < 0.3, np.sign(goal - start) * limits.upper, 0.0)
    rows, ramp = draw(st.sampled_from([8, 16, 32])), draw(st.sampled_from([0, 0, 1, 5, 20]))
    return limits, dt, start, goal + beyond, draw(st.integers(0, rows - 1)), rows, ramp, draw(st.sampled_from(EVERY))


@given(journeys())
@settings(max_examples=60, deadline=None)
def test_whatever_the_limits_a_reachable_target_is_reached(journey):
    limits, dt, start, wanted, row, rows, ramp, every = journey
    goal, best = np.clip(wanted, limits.lower, limits.upper), best_ticks(start, wanted, limits, dt)
    patience = 1.5 * best + ramp + 4
    length = int(min(patience.max(), 300)) + row + 2 * rows
    share = np.clip((np.arange(length) - row + 1) / (ramp + 1), 0.0, 1.0)[:, None]
    sent = run((1.0 - share) * start + share * wanted, start, limits, dt, rows, every)
    assert_within(sent, limits, np.tile(start, (3, 1)), dt)
    soon = patience < len(sent) - row
    np.testing.assert_array_less(met_after(sent, goal, row)[soon], patience[soon] + 1e-9)


@pytest.mark.parametrize("opens", [True, False])
def test_a_slow_joint_whose_stop_takes_less_than_a_tick(opens):
    """Grippers: a tick's jerk moves them more than a tick at full speed does."""
    jerk, velocity = 0.01, np.array([0.0004, 0.0007, 0.001, 0.0015, 0.002, 0.003, 0.004])  # per tick
    zeros, ones = np.zeros(len(velocity)), np.ones(len(velocity))
    limits = JointLimits(lower=zeros, upper=0.02 * ones, velocity=velocity, acceleration=0.02 * ones, jerk=jerk * ones)
    start, goal = (limits.lower, limits.upper) if opens else (limits.upper, limits.lower)
    best = best_ticks(start, goal, limits, 1.0)
    for row in range(16):
        targets = np.where(np.arange(int(best.max()) + row + 40)[:, None] < row, start, goal)
        sent = run(targets, start, limits, 1.0, 16, None)
        assert (met_after(sent, goal, row) <= best).all(), row
