"""`beingh bench ratios`: what counts as worse, and files of committed ratios that are of no use."""

import json

import numpy as np
import pytest

from beingh_core.bench import ratios, ratios_file
from beingh_core.cli import main
from beingh_core.errors import BeingHError

NAMES = [name for one in ratios.BENCHES.values() for name in one.guards]
COMMITTED = "docs/bench_ratios.json"


def file_of(path, values=2.0, tolerance=0.1, **changes):
    """A file of committed ratios, all alike, with other top-level keys."""
    entries = {name: {"value": values, "tolerance": tolerance} for name in NAMES}
    content = {"version": 1, "machine": ratios_file.this_machine().model_dump(), "ratios": entries} | changes
    path.write_text(json.dumps(content))
    return path


@pytest.mark.parametrize("better, values", [("higher", (2.0, 1.81, 1.79)), ("lower", (2.0, 2.2, 2.23))])
def test_worse_is_what_lies_outside_of_its_tolerance(tmp_path, better, values):
    committed = ratios_file.read(file_of(tmp_path / "ratios.json"), NAMES)
    guards = {NAMES[0]: ratios.Guard(what="one", better=better, tolerance=0.5)}
    worse = [ratios.compared(guards, {NAMES[0]: value}, committed)[NAMES[0]]["worse"] for value in values]
    assert worse == [False, False, True]
    better_by_far = {"higher": 20.0, "lower": 0.2}[better]
    found = ratios.compared(guards, {NAMES[0]: better_by_far}, committed)[NAMES[0]]
    assert not found["worse"] and found["change"] == pytest.approx(9.0)


def measured(monkeypatch, rounds):
    """Lets the benches of the engine and the controller measure given values, round by round."""
    left = {name: list(values) for name, values in rounds.items()}
    benches = {}
    for name, one in ratios.BENCHES.items():

        def measure(keys=tuple(one.guards), values=left.get(name)):
            if values is None:
                raise BeingHError("no processor today")
            value = values.pop(0)
            return dict.fromkeys(keys, value)

        benches[name] = ratios.Bench(guards=one.guards, measure=measure)
    monkeypatch.setattr(ratios, "BENCHES", benches)


def test_what_got_worse_is_measured_again_and_told(tmp_path, monkeypatch, capsys):
    path, report = file_of(tmp_path / "ratios.json"), tmp_path / "report.json"
    values = {name: [2.0] for name in ratios.BENCHES} | {"engine": [1.0, 1.2], "controller": [1.5, 1.95]}
    measured(monkeypatch, values)
    assert main(["bench", "ratios", "--against", str(path), "--json", str(report)]) == 1
    told, report = capsys.readouterr().out, json.loads(report.read_text())
    assert "worse: engine_full_over_cached; could not run: nothing" in told and "-40 %" in told
    assert report["ratios"]["engine_full_over_cached"]["value"] == 1.2 and not report["passed"]
    assert report["ratios"]["controller_ruckig_over_tick"]["value"] == 1.95
    measured(monkeypatch, {name: [2.0] for name in ratios.BENCHES})
    assert main(["bench", "ratios", "--against", str(path)]) == 0


def test_a_report_of_numpy_s_numbers_can_be_written(tmp_path, monkeypatch):
    path, report = file_of(tmp_path / "ratios.json"), tmp_path / "report.json"
    measured(monkeypatch, {name: [np.float64(2.0)] for name in ratios.BENCHES})
    assert main(["bench", "ratios", "--against", str(path), "--json", str(report)]) == 0
    assert json.loads(report.read_text())["passed"]


def test_a_bench_that_cannot_run_is_told_and_is_no_success(tmp_path, monkeypatch, capsys):
    path = file_of(tmp_path / "ratios.json")
    measured(monkeypatch, {name: [2.0] for name in ratios.BENCHES if name != "loader"})
    assert main(["bench", "ratios", "--against", str(path)]) == 1
    assert "loader: could not run: no processor today" in capsys.readouterr().out
    before = path.read_text()
    measured(monkeypatch, {name: [3.0] for name in ratios.BENCHES if name != "loader"})
    assert main(["bench", "ratios", "--against", str(path), "--update"]) == 1
    assert path.read_text() == before and "was not written" in capsys.readouterr().out


def test_an_update_keeps_the_tolerances(tmp_path, monkeypatch):
    path = file_of(tmp_path / "ratios.json", tolerance=0.33)
    measured(monkeypatch, {name: [3.14159] for name in ratios.BENCHES})
    assert main(["bench", "ratios", "--against", str(path), "--update"]) == 0
    found = ratios_file.read(path, NAMES)
    assert {(one.value, one.tolerance) for one in found.ratios.values()} == {(3.14, 0.33)}
    path.write_text("{")
    measured(monkeypatch, {name: [3.0] for name in ratios.BENCHES})
    assert main(["bench", "ratios", "--against", str(path), "--update"]) == 0
    usual = {name: guard.tolerance for one in ratios.BENCHES.values() for name, guard in one.guards.items()}
    assert {name: one.tolerance for name, one in ratios_file.read(path, NAMES).ratios.items()} == usual


@pytest.mark.parametrize(
    "damage, told",
    [
        (lambda text: text[:-5], "not valid JSON"),
        (lambda text: "", "empty"),
        (lambda text: "[]", "not a JSON object"),
        (lambda text: text.replace('"version": 1', '"version": 2'), "Allowed: 1"),
        (lambda text: text.replace("loader_over_trainer", "loader_over_traner"), "`loader_over_trainer` is missing"),
        (lambda text: text.replace('"value": 2.0', '"value": NaN', 1), "is not allowed here"),
        (lambda text: text.replace('"value": 2.0', '"value": 0', 1), "above 0"),
        (lambda text: text.replace('"tolerance": 0.1', '"tolerance": 7', 1), "0.01 to 0.95"),
        (lambda text: text.replace('"ratios": {', '"ratios": {"speed": {"value": 1, "tolerance": 0.1}, '), "`speed`"),
    ],
)
def test_a_file_of_no_use_is_refused_before_anything_is_measured(tmp_path, capsys, damage, told):
    path = file_of(tmp_path / "ratios.json")
    path.write_text(damage(path.read_text()))
    assert main(["bench", "ratios", "--against", str(path)]) == 2
    error = capsys.readouterr().err
    assert error.count("\n") == 1 and told in error and str(path) in error


@pytest.mark.parametrize(
    "words, told",
    [
        (["--against", "/no/such/file"], "make bench UPDATE=1"),
        (["--only", "gpu"], "engine, controller"),
        (["--only", "engine", "--update"], "--only"),
        (["--update", "--against", "/no/such/folder/file"], "no folder"),
    ],
)
def test_mistakes_are_told(capsys, words, told):
    assert main(["bench", "ratios", *words]) == 2
    assert told in capsys.readouterr().err


def test_the_committed_file_is_of_use_and_names_no_place():
    found = ratios_file.read(ratios_file.Path(COMMITTED), NAMES)
    assert set(found.ratios) == set(NAMES) and set(found.machine.model_dump()) == set(ratios_file.Machine.model_fields)


@pytest.mark.slow
@pytest.mark.parametrize("bench", ratios.BENCHES)
def test_every_bench_gives_its_ratios(bench):
    values = ratios.BENCHES[bench].measure()
    assert values.keys() == ratios.BENCHES[bench].guards.keys() and all(value > 0 for value in values.values())


@pytest.mark.parametrize("what", ["controller", "training"])
def test_a_bench_can_count_processor_time(what, capsys):
    assert main(["bench", what, "--clock", "sundial"]) == 2
    assert "wall, processor" in capsys.readouterr().err
    words = {"controller": ["--repeats", "5", "--joints", "3"], "training": ["--repeats", "1", "--tokens", "1024"]}
    assert main(["bench", what, "--clock", "processor", *words[what]]) == 0
