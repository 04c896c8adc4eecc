"""LIBERO and robosuite themselves, where there is a Python that has them."""

import json
import os

import numpy as np
import pytest

from beingh_core.cli import main
from beingh_core.suite.libero import conventions
from beingh_core.suite.libero.process import Process

PYTHON = os.environ.get("BEINGH_LIBERO_PYTHON", "")
needs_libero = pytest.mark.skipif(
    not PYTHON, reason="BEINGH_LIBERO_PYTHON names no Python with LIBERO (docs/libero.md)"
)
# robosuite alone is enough for its `Lift`.
ROBOSUITE = os.environ.get("BEINGH_ROBOSUITE_PYTHON", PYTHON)
needs_robosuite = pytest.mark.skipif(
    not ROBOSUITE, reason="neither BEINGH_ROBOSUITE_PYTHON nor BEINGH_LIBERO_PYTHON names a Python with robosuite 1.4"
)


def look(python, suite, start, folder):
    """(pictures of the last action only, pictures of all actions) of the same four actions from the same state."""
    process = Process(python, "the environment", folder / "log", 600.0)
    try:
        process.ask("open", suite=suite, task=0, pixels=64, seed=0)
        actions = {"actions": np.tile([0.2, -0.1, 0.1, 0.0, 0.0, 0.3, -1.0], (4, 1))}
        found = []
        for pictures in ("last", "all"):
            process.ask("reset", **start)
            told, seen = process.ask("run", actions, pictures=pictures)
            assert told == {"ran": 4, "done": False}
            found.append(seen)
        return found
    finally:
        process.close()


def same(last, whole):
    for view in conventions.CAMERAS:
        one, all_frames = conventions.pictures(last)[view], conventions.pictures(whole)[view]
        assert one.shape == (1, 64, 64, 3) and all_frames.shape == (4, 64, 64, 3)
        np.testing.assert_array_equal(one[0], all_frames[-1])
        assert one.std() > 5.0 and not np.array_equal(all_frames[0], all_frames[-1])
    np.testing.assert_array_equal(last["robot0_eef_pos"], whole["robot0_eef_pos"])


@needs_robosuite
def test_an_environment_of_robosuite_is_driven(tmp_path, capsys):
    same(*look(ROBOSUITE, conventions.LIFT, {"seed": 3}, tmp_path))
    lift = ["suite", "libero", "--suites", "robosuite_lift", "--python", ROBOSUITE, "--pixels", "64"]
    for policy, share in (("expert", "100.0 %"), ("hold", "0.0 %")):
        assert main([*lift, "--policy", policy, "--trials", "2", "--out", str(tmp_path / policy)]) == 0
        assert f"| robosuite_lift | 2 | {share} |" in capsys.readouterr().out
    assert all(
        row["language"] == "lift the cube" for row in map(json.loads, open(tmp_path / "hold" / "episodes.jsonl"))
    )


@needs_libero
@pytest.mark.slow
def test_drawn_initial_states_depend_on_their_seed_and_are_none_of_the_official_ones(tmp_path):
    process = Process(PYTHON, "the environment", tmp_path / "log", 600.0)
    try:
        process.ask("open", suite="libero_object", task=0, pixels=64, seed=0)
        starts = [{"seed": 5}, {"seed": 6}, {"seed": 5}, *({"state": k} for k in range(3))]
        found = [process.ask("reset", **start)[1] for start in starts]
    finally:
        process.close()
    basket = [tuple(seen["basket_1_pos"]) for seen in found]
    assert basket[0] == basket[2] and len(set(basket)) == 5


@needs_libero
@pytest.mark.slow
def test_libero_is_driven(tmp_path, capsys):
    same(*look(PYTHON, "libero_object", {"state": 0}, tmp_path))
    told = ["suite", "libero", "--suites", "libero_object", "--python", PYTHON, "--pixels", "64", "--tasks", "0"]
    assert main([*told, "--policy", "expert", "--trials", "1", "--out", str(tmp_path / "out")]) == 0
    assert "| libero_object | 1 | 100.0 % |" in capsys.readouterr().out
