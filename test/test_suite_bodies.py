"""`beingh suite bodies`: its figures, whose statistics a control borrows, what it refuses, and real episodes."""

import json
import shutil
from pathlib import Path

import pytest

from beingh_core.cli import main
from beingh_core.contract import load_contract
from beingh_core.evaluate.intervals import wilson
from beingh_core.suite import bodies as suite
from beingh_core.suite.bodies_report import bodies

CHECKPOINT = Path("checkpoints/fr3_cubes")


def row(robot="fr3", kind="told", seed=0, success=True, told="red", first="red", **other):
    figures = {"success": success, "time_s": 4.0, "late": 1, "broken": 0, "told": told, "first_lifted": first}
    return {"robot": robot, "kind": kind, "seed": seed} | figures | other


@pytest.fixture
def two(tmp_path):
    """A checkpoint that also has the statistics of another robot: the FR3's, ten times as wide."""
    folder = shutil.copytree(CHECKPOINT, tmp_path / "two")
    metadata = json.loads((folder / "fr3_cubes_metadata.json").read_text())["fr3_cubes"]
    metadata["robot"] = "xarm7_eef"
    action = metadata["statistics"]["action"]["eef_position"]
    metadata["statistics"]["action"]["eef_position"] = {k: [10.0 * v for v in values] for k, values in action.items()}
    (folder / "other_metadata.json").write_text(json.dumps({"other": metadata}))
    return folder


def run(checkpoint, out, *words):
    told = ["suite", "bodies", "--checkpoint", str(checkpoint), "--out", str(out)]
    return main([*told, *map(str, words)])


def test_the_figures_of_a_body_by_hand():
    wrong = row(kind="wrong_instruction", success=False, told="blue", first="blue")
    found = bodies([row(), row(seed=1, success=False, first=None), row(seed=2, time_s=6.0), wrong])
    assert [(b.robot, b.kind, b.successes, b.episodes) for b in found] == [
        ("fr3", "told", 2, 3),
        ("fr3", "wrong_instruction", 0, 1),
    ]
    assert (found[0].low, found[0].high) == wilson(2, 3) and found[0].time_s == 5.0 and found[0].late == 3
    assert (found[0].told, found[1].told) == (2, 1) and found[1].time_s is None


def test_statistics_are_borrowed_of_another_robot_that_has_all_signals(two):
    contracts = {"fr3": load_contract("fr3")}
    assert suite.lenders(str(two), contracts) == {"fr3": "other"}
    assert suite.lenders(str(CHECKPOINT), contracts) == {}
    path = two / "other_metadata.json"
    whole = path.read_text()

    def change(of):
        metadata = json.loads(whole)
        of(metadata["other"]["statistics"])
        path.write_text(json.dumps(metadata))

    narrower = {
        kind: values[:2] for kind, values in json.loads(whole)["other"]["statistics"]["state"]["eef_position"].items()
    }
    for of in (
        lambda statistics: statistics["state"].pop("eef_position"),
        lambda statistics: statistics.pop("action"),
        lambda statistics: statistics["state"].update(eef_position=narrower),
    ):
        change(of)
        assert suite.lenders(str(two), contracts) == {}
    change(lambda statistics: statistics["state"].update(other=narrower))
    assert suite.lenders(str(two), contracts) == {"fr3": "other"}


def test_a_run_plays_what_is_missing_and_no_more(tmp_path, monkeypatch, capsys):
    played = []

    def play(given, robot, kind, seed, lender):
        played.append((robot, kind, seed))
        if len(played) == 2:
            raise KeyboardInterrupt
        return row(robot, kind, seed)

    monkeypatch.setattr(suite, "play", play)
    words = ("--robots", "fr3", "--wrong-instruction", "--wrong-statistics", "--episodes", 2)
    assert run(CHECKPOINT, tmp_path, *words) == 130
    assert run(CHECKPOINT, tmp_path, *words) == 0
    assert len(played) == 5 and ("fr3", "told", 0) not in played[2:]
    text = (tmp_path / "report.md").read_text()
    assert "| fr3 | told | 2 of 2 | 1.00 (0.34 to 1.00) |" in text and "no other robot of this checkpoint" in text
    assert [b["kind"] for b in json.loads((tmp_path / "figures.json").read_text())] == ["told", "wrong_instruction"]
    assert run(CHECKPOINT, tmp_path, *words, "--seconds", 9) == 2
    assert "seconds 20.0, not 9.0" in capsys.readouterr().err and len(played) == 5


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (("--robots", ""), "each once, and one at least"),
        (("--robots", "fr3,fr3"), "each once"),
        (("--robots", "fr3,config/robots/fr3.yaml"), "robot `fr3` once more"),
        (("--robots", "so101"), "this checkpoint is for robot fr3"),
        (("--robots", "fr3", "--episodes", 0), "0 episodes"),
        (("--robots", "fr3", "--seconds", "inf"), "inf s"),
        (("--robots", "fr3", "--workers", -1), "--workers -1"),
    ],
)
def test_what_cannot_be_run_is_refused_before_anything_is_loaded(words, told, tmp_path, capsys):
    assert run(CHECKPOINT, tmp_path / "out", *words) == 2
    assert told in capsys.readouterr().err and not (tmp_path / "out").exists()


@pytest.mark.slow
def test_the_controls_fail_and_what_is_told_is_picked(two, tmp_path):
    words = ("--robots", "fr3", "--wrong-instruction", "--wrong-statistics", "--episodes", 1, "--seconds", 8)
    assert run(two, tmp_path / "out", *words) == 0
    rows = {r["kind"]: r for r in map(json.loads, open(tmp_path / "out" / "episodes.jsonl"))}
    assert rows["told"]["success"] and rows["told"]["broken"] == 0 and rows["told"]["delay"] == 5
    wrong = rows["wrong_instruction"]
    assert not wrong["success"] and wrong["first_lifted"] == wrong["told"] != wrong["colour"]
    assert not rows["wrong_statistics"]["success"] and rows["wrong_statistics"]["statistics"] == "other"
