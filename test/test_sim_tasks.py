"""Scenes of told tasks, and the expert that does the tasks in them, without ROS."""

from collections import Counter
from types import SimpleNamespace

import numpy as np
import pytest
from test_sim_branches import small_pictures
from test_sim_expert import Run, check_limits
from train_support import contract_with

from beingh_core.cli import main
from beingh_core.contract import load_contract
from beingh_core.data import branched_rollouts
from beingh_core.data.branched_rollouts import BranchedRollouts
from beingh_core.data.branches import ACTIONS, PREFIX, REPLY, TASK
from beingh_core.data.lerobot.reader import Dataset
from beingh_core.errors import BeingHError
from beingh_core.evaluate.judge import TaskJudge
from beingh_core.sim import SimRobot
from beingh_core.sim.expert_policy import cubes_of
from beingh_core.sim.stage import AROUND_M
from beingh_core.sim.wander import Wanderer
from beingh_core.sim.words import CELLS, SceneWords
from beingh_core.tasks import BOWL_RADIUS_M, PICK, PUSH, PUSH_M, PUT, TASKS, every_told, told

BODIES = ("fr3", "so101", "xarm7", "ur5e_2f85", "fr3_inspire")


def seen(robot):
    return {name: cube.centre for name, cube in cubes_of(robot).items()}


def test_scenes_of_put_are_those_of_pick_with_a_bowl_within_reach_and_in_nobodys_way():
    contract = load_contract("fr3")
    alone, robot = SimRobot.of(contract), SimRobot.of(contract, tasks=(PUT,))
    bowls = []
    for seed in range(8):
        alone.reset(seed)
        robot.reset(seed)
        there = seen(robot)
        bowls.append(there.pop("bowl"))
        assert {name: tuple(place) for name, place in seen(alone).items()} == {n: tuple(p) for n, p in there.items()}
        assert min(np.linalg.norm((place - bowls[-1])[:2]) for place in there.values()) > BOWL_RADIUS_M + 0.05
        robot.step(0.3)
        np.testing.assert_allclose(seen(robot)["bowl"], bowls[-1], atol=2e-3)
    assert np.ptp(bowls, axis=0)[:2].min() > 0.05
    robot.reset(0)
    np.testing.assert_array_equal(seen(robot)["bowl"], bowls[0])


def test_the_view_of_the_scene_shows_all_of_every_bowl():
    robot = SimRobot.of(load_contract("fr3"), tasks=(PUT,))
    view, turns = robot.views["scene_view"], np.linspace(0.0, 2.0 * np.pi, 17)
    rim = BOWL_RADIUS_M * np.column_stack([np.cos(turns), np.sin(turns), np.zeros(17)])
    for seed in range(30):
        robot.reset(seed)
        camera = robot.data.camera(view.camera)
        seen_from = (robot.data.body("thing_bowl").xpos + rim - camera.xpos) @ camera.xmat.reshape(
            3, 3
        )  # right, up, back
        half = -np.tan(np.deg2rad(view.fovy_deg / 2.0)) * seen_from[:, 2]
        assert (np.abs(seen_from[:, :2]) < half[:, None] * [view.width / view.height, 1.0]).all()


def test_a_reply_tells_of_every_bowl_the_cell_in_which_it_is():
    """It may lie so far outside the cubes' area that their cells do not reach there."""
    robot = SimRobot.of(load_contract("fr3"), tasks=(PUT,))
    low, high = np.array(robot.layout.area).T + [[-AROUND_M - 0.03], [AROUND_M + 0.03]]
    outside = 0
    for seed in range(8):
        robot.reset(seed)
        place = seen(robot)["bowl"]
        numbers = [
            int(word.strip(",")) for word in SceneWords(robot).replies("bowl", place)[0].split() if word[0].isdigit()
        ]
        middle = low + (np.array(numbers) + 0.5) / CELLS * (high - low)
        assert (np.abs(place[:2] - middle) <= (high - low) / CELLS / 2 + 1e-9).all()
        outside += ((place[:2] < low + AROUND_M) | (place[:2] > high - AROUND_M)).any()
    assert outside


def test_in_scenes_of_push_every_cube_has_its_way_to_both_sides():
    robot = SimRobot.of(load_contract("fr3"), tasks=(PUSH,))
    for seed in range(8):
        robot.reset(seed)
        places, edge = np.array(list(seen(robot).values())), robot.layout.cube_m
        for one in places:
            off = np.abs(places - one)[(places != one).any(axis=1)]
            assert ((off[:, 0] > edge) | (off[:, 1] > edge + PUSH_M)).all()


def test_a_task_that_needs_a_hand_is_refused_without_one():
    with pytest.raises(BeingHError, match="nothing to grasp with.*the task `pick`"):
        SimRobot.of(load_contract("ur5e"), tasks=(PUSH,))


@pytest.mark.slow
def test_where_an_arm_cannot_push_without_touching_its_robot_the_task_is_refused():
    with pytest.raises(BeingHError, match="nowhere can the hand push"):
        SimRobot.of(load_contract("g1_inspire"), tasks=(PUSH,))


class Done:
    """Whether a judge has seen a task done in a run."""

    def __init__(self, run, one):
        self.run, self.judge = run, TaskJudge(one)

    def __call__(self):
        robot = self.run.robot
        self.judge.update(robot.time_s, seen(robot), robot.touched())
        return self.judge.success


def does(name, task, seed):
    """The judge of one episode, driven by chunks behind prefixes; limits are checked."""
    run = Run(name, seed, (task,))
    choices = list(every_told((task,), run.robot.objects()))
    done = Done(run, choices[seed % len(choices)])
    run.drive(done.judge.told.text(), 30.0, done)
    assert name.endswith("_eef") or check_limits(run.contract, run.sent) < 1.0
    return done.judge


@pytest.mark.parametrize(("task", "seed"), ((PUT, 1), (PUSH, 0), (PUSH, 4)))
def test_a_told_task_is_done_behind_prefixes_and_within_limits(task, seed):
    judge = does("fr3_joints", task, seed)
    assert judge.success and not judge.wrong_cube


@pytest.mark.slow
@pytest.mark.parametrize("task", (PUT, PUSH), ids=lambda task: task.name)
@pytest.mark.parametrize("name", BODIES)
def test_the_expert_does_each_task_on_several_bodies(name, task):
    found = [does(name, task, seed).success for seed in range(5)]
    assert sum(found) >= 4, found


def test_without_a_bowl_the_expert_says_how_to_have_one():
    run = Run("fr3_joints", 0)
    run.plan = np.tile(run.sent[-1], (run.contract.policy.chunk_length, 1))
    with pytest.raises(BeingHError, match="no bowl in the scene.*TASK=put"):
        run.chunk("put the red cube into the bowl")


@pytest.mark.slow
@pytest.mark.parametrize("name", BODIES)
def test_rows_branch_into_every_instruction_of_every_task(name, tmp_path, monkeypatch):
    contract, tasks, colours = (
        contract_with(tmp_path, small_pictures, source=name),
        tuple(TASKS.values()),
        ("red", "green", "blue"),
    )
    monkeypatch.setattr(branched_rollouts, "LONGEST_S", 1.5)
    monkeypatch.setattr(branched_rollouts, "_FURTHER_S", 0.0)
    rollouts = BranchedRollouts(contract, every=1, tasks=tasks)
    form, width = rollouts.form, sum(signal.width for signal in contract.action)
    rows = [frame.vectors for seed in range(2) for frame in rollouts.episode(seed)[0]]
    rollouts.close()
    assert form.branches == 12
    shown = [{form.texts[n] for n in row[TASK] if n >= 0} for row in rows]
    assert set.union(*shown) == {one.text() for one in every_told(tasks, colours)}
    assert np.median([len(texts) for texts in shown]) >= 9
    for row in rows:
        longest = row[PREFIX].argmax()
        actions, told_of = row[ACTIONS].reshape(form.branches, form.steps, width), row[TASK] >= 0
        for branch, prefix in zip(actions[told_of], row[PREFIX][told_of]):  # all behind one motion
            np.testing.assert_array_equal(branch[:prefix], actions[longest, :prefix])
        for number, replies in zip(row[TASK], row[REPLY].reshape(form.branches, form.replies)):
            if number >= 0:
                one, said = told(form.texts[number], colours), [form.texts[n] for n in replies if n >= 0]
                assert said[0].startswith(f"{one.colour}: on the table")
                assert any(text.startswith("bowl: on the table") for text in said) == (one.task is PUT)


def test_what_is_done_is_each_task_as_often_as_the_others():
    choices = list(every_told(tuple(TASKS.values()), ("red", "green", "blue")))
    robot, expert = SimpleNamespace(objects=dict), SimpleNamespace()
    wanderer = Wanderer(robot, expert, (), np.zeros(0, bool), np.zeros(0), 0.05, choices)
    counts = Counter(one.task.name for one in wanderer.told)
    assert set(counts) == set(TASKS) and len(set(counts.values())) == 1 and set(wanderer.told) == set(choices)


@pytest.mark.slow
def test_other_tasks_become_datasets_too(tmp_path, capsys):
    words = ["sim", "rollouts", "--robot", "fr3", "--out", str(tmp_path / "d")]
    assert main([*words, "--task", "put", "--episodes", "1", "--seed", "1"]) == 0
    assert set(Dataset(tmp_path / "d").tasks) == {"put the green cube into the bowl"}
    assert main([*words, "--task", "juggle"]) == 2 and "pick, put, push" in capsys.readouterr().err
    assert main([*words, "--instruction", PUT.instruction]) == 2
    assert "give its task with --task" in capsys.readouterr().err
    assert PICK.name in TASKS
