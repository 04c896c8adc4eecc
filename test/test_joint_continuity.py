"""Whether samples can be one joint's motion: what robots and networks do is explained, what two sources say is not."""

import numpy as np
import pytest

from beingh_core.control.joint_continuity import JUMP_NS, MEMORY_NS, JointContinuity

SPEED = 1.3  # [rad/s]
NOISE = 0.01
START = 1_700_000_000_000_000_000


def judge(samples, speed=SPEED):
    """Feed (came [s], stamped [s] or None, position) in the order of coming; (contradiction, jump) at the end."""
    watch = JointContinuity({"a": (speed, NOISE)})
    now_ns, contradictions = START, []
    for came, stamped, position in samples:
        now_ns = START + round(came * 1e9)
        stamp_ns = 0 if stamped is None else START + round(stamped * 1e9)
        watch.add("a", now_ns, stamp_ns, position)
        if watch.contradiction(now_ns):
            contradictions.append(came)
    return contradictions, watch.jump(now_ns + JUMP_NS)


def moving(t):
    """Up and down at the speed limit, turning at once."""
    return abs((SPEED * t + 1.0) % 4.0 - 2.0)


RNG = np.random.default_rng(0)
GRID = np.arange(0, 8, 0.02)
DELAYED = np.maximum.accumulate(GRID + RNG.uniform(0, 0.1, len(GRID)))


def held_up(grid):
    """Everything of 0.4 s comes at once, again and again."""
    return np.ceil(grid / 0.4) * 0.4


@pytest.mark.parametrize(
    "samples",
    [
        pytest.param([(t, t, moving(t)) for t in GRID], id="plain"),
        pytest.param([(t, None, moving(t)) for t in GRID], id="without stamps"),
        pytest.param(
            [(t, t, moving(t) + n) for t, n in zip(np.arange(0, 3, 0.001), RNG.uniform(-0.004, 0.004, 3000))],
            id="noise at 1 kHz",
        ),
        pytest.param([(t, t, moving(np.floor(t * 20) / 20)) for t in GRID], id="a robot that is read at 20 Hz"),
        pytest.param(
            [(t, t, moving(np.floor(t * 10) / 10)) for t in np.arange(0, 3, 0.002)], id="one that is read at 10 Hz"
        ),
        pytest.param([(c, t, moving(t)) for c, t in zip(held_up(GRID), GRID)], id="bursts"),
        pytest.param([(c, t, moving(t)) for c, t in zip(DELAYED, GRID)], id="jitter"),
        pytest.param([(t, t, moving(t)) for t in GRID if RNG.random() > 0.6 or t < 0.1], id="losses"),
        pytest.param([(t, t, moving(t)) for t in GRID if not 2 < t < 5], id="a gap"),
        pytest.param([(t, t + (3600 if t > 4 else 0), moving(t)) for t in GRID], id="the robot's clock is set ahead"),
        pytest.param([(t, t - (3600 if t > 4 else 0), moving(t)) for t in GRID], id="the robot's clock is set back"),
        pytest.param([(t, 5.0, moving(t)) for t in GRID], id="a stamp that never changes"),
        pytest.param([(t, t + 17.0, moving(t)) for t in GRID], id="another clock"),
        pytest.param([(t, 0.9 * t, moving(t)) for t in GRID], id="a clock that runs slowly"),
        pytest.param([(c, t, moving(t)) for t in GRID for c in (t, t)], id="each sample twice"),
    ],
)
def test_a_robot_at_its_limit_is_explained(samples):
    assert judge(samples) == ([], None)


def two(period, other_period, apart, *, offset=0.0, stamped=True, start=1.0, motion=lambda t: 0.5):
    """A robot, and from `start` on a second source that says another position."""
    first = [(t, t if stamped else None, motion(t)) for t in np.arange(0, 3, period)]
    second = [(t, t + offset if stamped else None, 0.5 + apart) for t in np.arange(start, 3, other_period) + 1e-4]
    return sorted(first + second)


@pytest.mark.parametrize("stamped", [True, False])
@pytest.mark.parametrize("offset", [0.0, 10.0, -10.0, 1e6])
@pytest.mark.parametrize("other_period", [0.001, 0.0201, 0.023, 0.1, 1.0])
def test_two_sources_are_found_with_the_second_ones_first_words(other_period, offset, stamped):
    contradictions, _ = judge(two(0.02, other_period, -0.5, offset=offset, stamped=stamped))
    assert contradictions and contradictions[0] == pytest.approx(1.0, abs=0.03)


def test_two_sources_that_are_close_to_each_other_are_found_by_what_they_do_together():
    contradictions, _ = judge(two(0.02, 0.023, 0.1))
    assert contradictions and contradictions[0] < 1.3
    assert judge(two(0.02, 0.023, 0.015)) == ([], None), "within the noise of two sensors"


def test_a_robot_in_motion_hides_no_second_source():
    contradictions, _ = judge(two(0.02, 0.023, 0.6, motion=moving, start=0.2))
    assert contradictions and contradictions[0] < 0.5


def test_a_step_that_stays_is_a_jump_and_no_contradiction():
    contradictions, jump = judge([(t, t, 0.0 if t < 2 else 0.6) for t in np.arange(0, 3, 0.02)])
    assert not contradictions and jump.startswith("a went from 0 to 0.6 within 0.020 s")


def test_a_jump_counts_after_a_while_and_not_beyond_a_start():
    watch = JointContinuity({"a": (SPEED, NOISE), "b": (SPEED, NOISE)})
    for k, value in enumerate((0.0, 0.0, 0.8, 0.8)):
        watch.add("a", START + k * 20_000_000, 0, 0.0)
        watch.add("b", START + k * 20_000_000, 0, value)
    at_ns = START + 40_000_000
    assert watch.jump(at_ns + JUMP_NS - 1) is None and watch.jump(at_ns + JUMP_NS).startswith("b went")
    watch.settle()
    assert watch.jump(at_ns + JUMP_NS) is None


def test_a_contradiction_is_remembered_and_then_forgotten():
    samples = [(t, t, 0.5 if round(t / 0.02) != 100 else 0.0) for t in np.arange(0, 4, 0.02)]
    watch = JointContinuity({"a": (SPEED, NOISE)})
    for came, _, position in samples:
        watch.add("a", START + round(came * 1e9), 0, position)
    last_ns = START + 2_020_000_000
    assert "a went from 0 to 0.5 within" in watch.contradiction(last_ns + MEMORY_NS)
    assert watch.contradiction(last_ns + MEMORY_NS + 1) is None


def test_joints_that_come_in_messages_of_their_own_keep_their_own_times():
    watch = JointContinuity({"a": (SPEED, NOISE), "b": (SPEED, NOISE)})
    for t in GRID:
        now_ns = START + round(t * 1e9)
        watch.add("a", now_ns, now_ns, moving(t))
        watch.add("b", now_ns, now_ns - 50_000_000, moving(t - 0.05))
    assert watch.contradiction(now_ns) is None and watch.jump(now_ns + JUMP_NS) is None
    assert watch.clock_leads_s() == pytest.approx({"a": 0.0, "b": -0.05})
