"""The simulator's stand-in for a trajectory controller."""

import math

import numpy as np
import pytest
from control_support import NOW

from beingh_core.sim.trajectory_follower import TrajectoryFollower


def follower():
    return TrajectoryFollower(("a", "b"), np.zeros(2))


def accept(target, rows, times_s, *, stamp_ns=0, now_ns=NOW, joints=("a", "b")):
    times_ns = np.array([round(t * 1e9) for t in times_s], dtype=np.int64)
    return target.accept(joints, np.array(rows, float).reshape(len(times_s), len(joints)), times_ns, stamp_ns, now_ns)


def test_it_interpolates_linearly_from_the_last_desired_point_and_holds_the_last_one():
    target = follower()
    assert accept(target, [[2.0, 1.0]], [1.0], joints=("b", "a")) is None
    np.testing.assert_allclose(target.sample(NOW + 500_000_000), [0.5, 1.0])
    assert accept(target, [[0.0, 0.0], [0.0, 4.0]], [0.5, 1.5], now_ns=NOW + 500_000_000) is None
    np.testing.assert_allclose(target.sample(NOW + 750_000_000), [0.25, 0.5])
    np.testing.assert_allclose(target.sample(NOW + 1_500_000_000), [0.0, 2.0])
    np.testing.assert_allclose(target.sample(NOW + 9_000_000_000), [0.0, 4.0])


def test_elapsed_points_are_skipped_without_a_blend():
    target = follower()
    assert accept(target, [[1.0, 0.0], [2.0, 0.0]], [0.1, 0.3], stamp_ns=NOW - 200_000_000) is None
    np.testing.assert_allclose(target.sample(NOW), [1.5, 0.0])


@pytest.mark.parametrize(
    "arguments, word",
    [
        (dict(rows=[[]], times_s=[0.1], joints=()), "Empty joint names"),
        (dict(rows=[[0, 0]], times_s=[0.1], joints=("a", "c")), "c"),
        (dict(rows=[[0]], times_s=[0.1], joints=("a",)), "don't match"),
        (dict(rows=[], times_s=[]), "Empty trajectory"),
        (dict(rows=[[0, 0], [0, 0]], times_s=[0.1, 0.1]), "strictly increasing"),
        (dict(rows=[[0, math.nan]], times_s=[0.1]), "not a number"),
        (dict(rows=[[0, 0]], times_s=[0.1], stamp_ns=NOW - 200_000_000), "in the past"),
    ],
)
def test_messages_the_real_controller_drops(arguments, word):
    target = follower()
    assert word in accept(target, arguments.pop("rows"), arguments.pop("times_s"), **arguments)
    np.testing.assert_array_equal(target.sample(NOW + 10**9), [0.0, 0.0])
