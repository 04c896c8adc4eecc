"""Rows with branches: written, read as an ordinary dataset, edited, and refused where they contradict themselves."""

import json
from dataclasses import replace

import numpy as np
import pytest
from branch_support import FORM, LENGTHS, REPLIES, TASKS, branches_of, write_branched
from test_lerobot_dataset import needs_lerobot, run_lerobot
from train_support import H, numbers, task_of

from beingh_core.data.branches import ACTIONS, COLUMNS, FILE, PREFIX, REPLY, TASK, Branch, BranchForm
from beingh_core.data.lerobot import Dataset, edit
from beingh_core.errors import BeingHError


@pytest.fixture(scope="module")
def root(tmp_path_factory):
    return write_branched(tmp_path_factory.mktemp("branched") / "cubes")


def read(root):
    dataset = Dataset(root)
    return dataset, BranchForm.read(root, dataset.spec)


@pytest.mark.parametrize("version", ("v3.0", "v2.1"))
def test_what_was_written_is_read(tmp_path, version):
    dataset, form = read(write_branched(tmp_path / "d", lengths=(5,), version=version))
    assert form == FORM
    [episode] = dataset.episodes
    task, prefix, reply = (dataset.values(episode, key) for key in (TASK, PREFIX, REPLY))
    actions = dataset.values(episode, ACTIONS).reshape(5, 3, H, 4)
    for row in range(5):
        wanted = branches_of(0, row)
        assert [form.texts[n] for n in task[row] if n >= 0] == [branch.task for branch in wanted]
        assert (task[row, len(wanted) :] == -1).all() and (reply[row].reshape(3, 2)[len(wanted) :] == -1).all()
        for place, branch in enumerate(wanted):
            assert prefix[row, place] == branch.prefix
            np.testing.assert_array_equal(actions[row, place], branch.actions)
            said = [form.texts[n] for n in reply[row].reshape(3, 2)[place] if n >= 0]
            assert tuple(said) == branch.replies


def test_the_rest_is_an_ordinary_dataset(root):
    dataset, _ = read(root)
    features = json.loads((root / "meta/info.json").read_text())["features"]
    assert {key: features[key]["dtype"] for key in COLUMNS} == dict(
        zip(COLUMNS, ("int64", "int64", "float32", "int64"))
    )
    assert features[ACTIONS]["shape"] == [3 * H * 4] and features[ACTIONS]["names"][4] == "branch0.step1.eef_position.x"
    for episode in dataset.episodes:
        expected = [numbers(episode.index, row) for row in range(episode.frames)]
        np.testing.assert_array_equal(dataset.values(episode, "action"), [action for _, action in expected])
        assert episode.tasks == (task_of(episode.index),)
    # The texts of branches are none of the dataset's tasks: others' tools number these anew when they merge.
    assert set(dataset.tasks) == {task_of(0), task_of(1)}
    assert json.loads((root / "meta/stats.json").read_text())[TASK]["count"] == [sum(LENGTHS)]


def test_edited_datasets_keep_their_branches(root, tmp_path):
    assert edit.delete(root, tmp_path / "less", [1]) == 2
    dataset, form = read(tmp_path / "less")
    assert form == FORM
    before, after = Dataset(root), dataset
    for key in COLUMNS:
        np.testing.assert_array_equal(
            after.values(after.episodes[1], key), before.values(before.episodes[2], key), err_msg=key
        )
    edit.rename_task(root, tmp_path / "renamed", TASKS[0], "take the red cube")
    assert read(tmp_path / "renamed")[1].texts[:2] == ("take the red cube", TASKS[1])
    with pytest.raises(BeingHError, match="twice"):
        FORM.renamed({TASKS[0]: TASKS[1]})


def test_datasets_of_other_texts_are_not_merged(root, tmp_path):
    other = write_branched(tmp_path / "other", replace(FORM, texts=(*FORM.texts, "wait")), lengths=(3,))
    with pytest.raises(BeingHError, match="other texts or sizes"):
        edit.merge([root, other], tmp_path / "both")
    with pytest.raises(BeingHError, match="same instructions"):
        FORM.agree(other, Dataset(other).spec)


@pytest.mark.parametrize(
    ("change", "said"),
    (
        ({"version": 7}, "another version"),
        ({"steps": H - 1}, "columns of these widths"),
        ({"branches": 0}, "branches: 0"),
        ({"branches": "3"}, "branches: '3'"),
        ({"texts": ["a", "a"]}, "one twice"),
        ({"texts": None}, "does not describe branches"),
        ({"more": 1}, "does not describe branches"),
    ),
)
def test_a_description_that_contradicts_itself_is_refused(root, tmp_path, change, said):
    told = json.loads((root / FILE).read_text()) | change
    (tmp_path / "meta").mkdir()
    (tmp_path / FILE).write_text(json.dumps(told))
    with pytest.raises(BeingHError, match=said):
        BranchForm.read(tmp_path, Dataset(root).spec)


@pytest.mark.parametrize(
    "branches",
    (
        [Branch(task=TASKS[0], actions=np.zeros((H, 4)))] * 4,
        [Branch(task="dance", actions=np.zeros((H, 4)))],
        [Branch(task=TASKS[0], actions=np.zeros((H, 3)))],
        [Branch(task=TASKS[0], actions=np.zeros((H, 4)), replies=REPLIES[:3])],
        [Branch(task=TASKS[0], actions=np.zeros((H, 4)), replies=("purple",))],
        [Branch(task=TASKS[0], actions=np.zeros((H, 4)), prefix=H)],
    ),
)
def test_what_a_row_cannot_hold_is_refused(branches):
    with pytest.raises(BeingHError):
        FORM.encode(branches, 4)


LOOK = (
    "data = LeRobotDataset('a/b', root=sys.argv[1], video_backend='pyav', delta_timestamps={'action': [0.0, 0.05]})\n"
    "row = data[2]\n"
    "told = {key: list(row[key].shape) for key in row if key.startswith('branch.')}\n"
    "print(json.dumps([len(data), row['task'], list(row['action'].shape), told, row['branch.task'].tolist()]))\n"
)


@needs_lerobot
def test_lerobot_itself_reads_it_as_an_ordinary_dataset(root):
    frames, task, action, told, numbers = json.loads(run_lerobot(LOOK, root)[-1])
    assert (frames, task, action) == (sum(LENGTHS), task_of(0), [2, 4])
    assert told == {TASK: [3], PREFIX: [3], ACTIONS: [3 * H * 4], REPLY: [6]}
    assert [TASKS.index(branch.task) for branch in branches_of(0, 2)] == [n for n in numbers if n >= 0]
