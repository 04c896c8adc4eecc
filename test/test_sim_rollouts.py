"""`beingh sim rollouts`: the expert's picks as a dataset that the project's own reader and checks take."""

import numpy as np
import pytest

from beingh_core.cli import main
from beingh_core.contract import load_contract
from beingh_core.data.contract_rows import ACTION, STATE
from beingh_core.data.lerobot.reader import Dataset
from beingh_core.data.rollouts import Rollouts
from beingh_core.errors import BeingHError


def run(out, *words):
    return main(["sim", "rollouts", "--robot", "vx300s", "--out", str(out), *map(str, words)])


@pytest.mark.slow
def test_picks_become_a_dataset_which_is_continued(tmp_path, capsys):
    assert run(tmp_path / "d", "--episodes", 1, "--seed", 3) == 0
    assert run(tmp_path / "d", "--episodes", 2, "--seed", 3) == 0
    assert "2 episodes; 0 failed attempts" in capsys.readouterr().out
    dataset = Dataset(tmp_path / "d")
    contract = load_contract("vx300s")
    assert len(dataset.episodes) == 2 and set(dataset.tasks) == {"pick up the red cube", "pick up the green cube"}
    rows = {
        key: np.concatenate([np.stack(block[key].to_pylist()) for block in dataset.blocks([key])])
        for key in (STATE, ACTION)
    }
    assert rows[STATE].shape == rows[ACTION].shape == (dataset.frames, len(contract.joint_names))
    step = np.abs(rows[ACTION] - rows[STATE])[:, :6]
    assert np.median(step) < 0.05  # what is commanded is a little ahead of what is measured
    picture = next(iter(dataset.pictures(dataset.episodes[0], dataset.spec.cameras[0].key)))
    assert picture.std() > 5.0


def test_what_cannot_be_recorded_is_refused(tmp_path, capsys):
    assert run(tmp_path / "d", "--episodes", 0) == 2 and "0 episodes" in capsys.readouterr().err
    assert run(tmp_path / "d", "--noise", 2) == 2 and "noise 0 to 0.5" in capsys.readouterr().err
    with pytest.raises(BeingHError, match="nothing to grasp with"):
        Rollouts(load_contract("ur5e"))


@pytest.mark.slow
def test_a_cube_that_is_knocked_out_of_reach_is_a_failed_pick():
    rollouts = Rollouts(load_contract("vx300s"))
    step, count = rollouts.robot.step, 0

    def knock(*words):
        nonlocal count
        count += 1
        if count == 5:
            for colour in rollouts.robot.objects():
                rollouts.robot.place_cube(colour, np.array([9.0, 0.0, 0.1]), 0.0)
        step(*words)

    rollouts.robot.step = knock
    frames, picked = rollouts.episode(0)
    assert 0 < len(frames) < 50 and not picked
    rollouts.close()
