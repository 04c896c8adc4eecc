"""`beingh bench controller`: the report's keys, and that its cases are what they are called."""

import json

import pytest

from beingh_core.bench.self_collision import measure
from beingh_core.cli import main


@pytest.fixture(scope="module")
def report(tmp_path_factory):
    path = tmp_path_factory.mktemp("bench") / "controller.json"
    assert main(["bench", "controller", "--repeats", "10", "--json", str(path)]) == 0
    return json.loads(path.read_text())


def test_the_report_tells_times_of_every_case(report):
    assert (report["steps"], report["joints"]) == (32, 31)
    for case in report["merge"].values():
        for key in ("merge_ms", "advance_ms"):
            assert 0 < case[key]["p50"] <= case[key]["p99"] <= case[key]["max"]


def test_the_cases_are_what_they_are_called(report):
    none, every, beyond = (report["merge"][name] for name in ("none", "all", "beyond_position_limits"))
    assert none["values_changed_of_all"] == none["violating_joints_at_least"] == 0
    assert every["violating_joints_at_least"] == 31 and every["values_changed_of_all"] > 0.8
    assert beyond["values_changed_of_all"] == 1.0


@pytest.mark.parametrize("option", [["--steps", "0"], ["--joints", "0"], ["--rate-hz", "0"], ["--repeats", "0"]])
def test_mistakes_are_told_in_one_line(capsys, option):
    assert main(["bench", "controller", *option]) == 2
    assert option[0] in capsys.readouterr().err


def test_a_robots_check_is_timed_on_chunks_that_are_free():
    found = measure("so101", 5, max)
    assert (found["robot"], found["blocked"]) == ("so101", 0) and found["pairs"] > 5
    assert 0 < found["us_per_row"] < 1e6 and found["advance_beside_merges_with_ms"] > 0


def test_without_a_robot_no_check_is_timed(report):
    assert report["self_collision"] is None
