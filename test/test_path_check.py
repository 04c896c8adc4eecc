"""Chunks that would run a robot into itself or into a box are cut: what is sent is free, and free chunks are left alone."""

from dataclasses import replace

import numpy as np
import pytest
from path_check_support import FOLDED, Driven, folded, touching, wall
from ros_support import ROOT

from beingh_core.contract import load_contract
from beingh_core.contract.self_collision import collisions_of
from beingh_core.control.stop_causes import COLLISION, RUNNING
from beingh_core.data.branched_rollouts import BranchedRollouts

FR3 = load_contract("fr3")
H, D = FR3.policy.chunk_length, FR3.uac.delay_steps
NAMES = sorted(
    path.stem for path in (ROOT / "config" / "robots").glob("*.yaml") if not path.stem.endswith(("_eef", "_joints"))
)


@pytest.mark.parametrize("name", ["aloha", "fr3", "so101"])
def test_a_robot_that_is_to_fold_into_itself_holds_before_it_and_comes_back(name):
    contract = load_contract(name)
    robot = Driven(contract)
    robot.go(folded(contract), 11)
    status, words = robot.controller.status, FOLDED[name][1]
    assert (status.state, status.cause) == (RUNNING, COLLISION) and words in status.reason
    assert robot.controller.counters["cuts"] == sum(bool(result.blocked) for result in robot.results) > 3
    assert touching(contract, robot.rows) is None
    held = robot.rows[-1]
    assert np.array_equal(held, robot.rows[-5]), "it rests"
    assert touching(contract, [held, held], margin=0.06) is not None, "near what it would have touched"
    robot.go(np.array(contract.home), 11)
    assert robot.controller.status.cause == "" and touching(contract, robot.rows) is None
    np.testing.assert_allclose(robot.rows[-1], contract.home, atol=1e-6)


def test_a_wall_keeps_the_robot_out_and_is_named():
    contract = replace(FR3, keep_out=(wall(),))
    goal = np.array(FR3.home)
    goal[0] = 1.5
    robot = Driven(contract)
    robot.go(goal, 10)
    assert robot.controller.status.cause == COLLISION and "keep_out.wall" in robot.controller.status.reason
    assert touching(contract, robot.rows) is None and robot.rows[-1][0] > 0.2
    free = Driven(FR3)
    free.go(goal, 10)
    assert free.controller.counters["cuts"] == 0 and free.rows[-1][0] == pytest.approx(1.5, abs=1e-6)


def test_what_was_committed_is_sent_whatever_is_cut():
    robot, promised = Driven(FR3), {}
    rng, margin = np.random.default_rng(0), FR3.uac.commit_margin
    for _ in range(25):
        robot.towards(folded(FR3) if rng.random() < 0.8 else np.array(FR3.home), rng.uniform(0.3, 1.0))
        for _ in range(int(rng.integers(1, 5))):
            robot.run(1)
            for tick, row in enumerate(robot.plan[:margin], robot.first):
                assert promised.setdefault(tick, row).tolist() == row.tolist()
    assert robot.controller.counters["cuts"] > 3
    assert all(robot.rows[1 + tick].tolist() == row.tolist() for tick, row in promised.items() if tick < robot.first)


def test_a_robot_that_starts_in_a_collision_may_move_out_and_no_deeper():
    """It starts where the last overlap of the way out of the folded posture is 3 cm deep."""
    home, judge = np.array(FR3.home), collisions_of(FR3)
    way = folded(FR3) + np.linspace(0.0, 1.0, 401)[:, None] * (home - folded(FR3))
    start = way[max(row for row in range(401) if judge.first_hit(way[row : row + 1])) - 20]
    robot = Driven(FR3, start)
    robot.go(folded(FR3), 3)
    assert robot.controller.status.cause == COLLISION
    np.testing.assert_allclose(robot.rows[-1], start, atol=1e-6)
    robot.go(home, 12)
    np.testing.assert_allclose(robot.rows[-1], home, atol=1e-6)
    out = len(robot.rows)
    robot.go(start, 12)
    assert robot.controller.status.cause == COLLISION and touching(FR3, robot.rows[out:]) is None


def test_free_chunks_are_used_as_without_a_check():
    checked, free = Driven(FR3), Driven(FR3, check=None)
    rng = np.random.default_rng(2)
    for _ in range(8):
        goal = np.array(FR3.home) + rng.uniform(-0.2, 0.2, 8) * ([1.0] * 7 + [0.0])
        for robot in (checked, free):
            robot.go(goal, 1)
    np.testing.assert_array_equal(checked.rows, free.rows)
    assert checked.controller.counters["cuts"] == 0 and checked.controller.status.cause == ""


def test_fingers_may_close_on_what_they_hold():
    robot = Driven(FR3)
    goal = np.array(FR3.home)
    goal[7] = 0.0
    robot.go(goal, 6)
    assert robot.controller.counters["cuts"] == 0 and robot.rows[-1][7] == pytest.approx(0.0, abs=1e-6)


@pytest.mark.parametrize("episodes", [1, pytest.param(60, marks=pytest.mark.slow)])
def test_no_alarm_on_demonstrations(episodes):
    """The expert that teaches the FR3 picks, wanders and is disturbed: nothing of it is cut."""
    check, recorder = collisions_of(FR3), Commanded(FR3, noise=0.02, every=1000)
    for seed in range(episodes):
        recorder.rows = []
        recorder.episode(seed)
        assert len(recorder.rows) > 20
        rows = np.array(recorder.rows)
        assert check.first_on_path(rows[0], rows[1:]) is None
        robot = Driven(FR3, rows[0])
        while robot.first + H < len(rows):
            robot.merge(np.vstack([robot.plan[:D], rows[robot.first + D : robot.first + H]]))
            robot.run(FR3.uac.execution_steps)
        assert robot.controller.counters["cuts"] == 0 and robot.controller.counters["merged"] > 3


class Commanded(BranchedRollouts):
    """Notes what the expert commands, in place of pictures."""

    def _images(self):
        return {}

    def _advance(self, row, rng):
        self.rows.append(row)
        return super()._advance(row, rng)


def test_a_base_brakes_with_the_arm_that_is_cut():
    """Both are of one chunk: what the arm cannot do the base does not go on for."""
    contract = load_contract("mobile_ur5e")
    robot = Driven(contract)
    goal = np.array(contract.home)
    goal[list(contract.joint_names).index("elbow_joint")] = 3.1
    for _ in range(20):
        rows = np.array(robot.plan[: contract.policy.chunk_length])
        way = np.where(contract.limits.is_velocity, 0.0, goal - rows[0])
        rows += np.linspace(0.0, 0.12, len(rows))[:, None] * way
        rows[:, contract.limits.is_velocity] = 0.1
        robot.merge(rows)
        robot.run(contract.uac.execution_steps)
    assert robot.controller.status.cause == COLLISION and touching(contract, robot.rows) is None
    assert max(row[contract.limits.is_velocity].max() for row in robot.rows) > 0.05
    robot.run(10)
    assert not robot.rows[-1][contract.limits.is_velocity].any()


def dense(rows, between):
    parts = np.arange(1, between + 1)[:, None] / between
    return np.vstack([one + parts * (other - one) for one, other in zip(rows, rows[1:])])


@pytest.mark.slow
@pytest.mark.parametrize("name", NAMES)
def test_two_hundred_random_chunks_towards_folded_postures(name):
    """Nothing that is sent touches, in between neither; and the robot is let go wherever it is."""
    contract = load_contract(name)
    joints = ~contract.limits.is_velocity
    judge, rng = collisions_of(contract, margin=0.0), np.random.default_rng(7)
    home = np.array(contract.home)
    lower, upper = (np.clip(ends, home - 3.0, home + 3.0) for ends in (contract.limits.lower, contract.limits.upper))
    random = (np.where(joints, rng.uniform(lower, upper), 0.0) for _ in range(50_000))
    goals = (posture for posture in random if judge.first_hit(posture[None, joints]) is not None)
    robot, left = Driven(contract), 0
    while len(robot.results) < 200:
        if not left:
            goal, left = next(goals), 16
        robot.go(goal, 1, speed=rng.uniform(0.3, 1.0))
        left = min(left - 1, 2) if robot.results[-1].blocked else left - 1
    assert touching(contract, robot.rows, between=5) is None
    assert robot.controller.counters["cuts"] >= 10
    moved = np.abs(np.diff(robot.rows, axis=0)).max(axis=1) > 0
    assert moved.mean() > 0.1, "it is not held for ever"


@pytest.mark.slow
@pytest.mark.parametrize("name", NAMES)
def test_no_false_alarm_on_slow_motions_that_are_free(name):
    """What is not cut touches nothing, looked at more densely; without a check, what is cut would have come too near."""
    contract = load_contract(name)
    joints, rng = ~contract.limits.is_velocity, np.random.default_rng(8)
    judge, contact, home = collisions_of(contract), collisions_of(contract, margin=0.0), np.array(contract.home)
    lower, upper = (np.clip(ends, home - 1.0, home + 1.0) for ends in (contract.limits.lower, contract.limits.upper))
    robot, free = Driven(contract), 0
    for _ in range(60):
        goal = np.where(joints, home + 0.3 * (rng.uniform(lower, upper) - home), 0.0)
        before = robot.plan
        result = robot.towards(goal, speed=0.3)
        planned = robot.controller._ticks.buffer.planned(60)[1]
        d = contract.uac.delay_steps
        if not result.blocked:
            assert contact.first_hit(dense(planned[d - 1 :, joints], 6)) is None
            free += 1
        else:
            twin = Driven(contract, before[d - 1], check=None)
            twin.plan = np.tile(before[d - 1], (contract.policy.chunk_length, 1))
            twin.towards(goal, speed=0.3)
            assert judge.first_hit(dense(twin.controller._ticks.buffer.planned(60)[1][:, joints], 20)) is not None
        robot.run(contract.uac.execution_steps)
    assert free > 30
