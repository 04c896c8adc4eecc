"""`make test` in two halves: no test is in both or in none, a fault in either half is the whole's, and the sum is right."""

import re

import pytest
from side_by_side import closing_line, main, status_of

NODES = "....\n12 passed, 1 skipped, 3 deselected, 2 warnings in 92.38s (0:01:32)\n"


@pytest.mark.parametrize(
    "statuses, expected", [([0, 0], 0), ([0, 1], 1), ([1, 0], 1), ([5, 0], 0), ([0, 5], 0), ([5, 5], 5), ([5, 4], 4)]
)
def test_a_fault_in_either_half_is_the_status(statuses, expected):
    assert status_of(statuses) == expected


def test_the_last_line_sums_up_both_halves():
    rest = "FAILED test/test_x.py::test_y - 3 passed in 1.00s\n\x1b[31m\x1b[1m1 failed\x1b[0m, \x1b[32m30 passed\x1b[0m, 1 warning in 8.11s\n"
    expected = "1 failed, 42 passed, 1 skipped, 3 deselected, 3 warnings in 93.50s (1:33 min)"
    assert closing_line([NODES, rest], 93.5) == expected
    assert closing_line(["no tests ran in 0.01s\n", NODES], 1.0).startswith("12 passed")
    assert closing_line(["no tests ran in 0.01s\n", "Killed\n"], 1.0).startswith("no tests ran")


def test_both_halves_run_and_a_failure_in_one_fails_the_whole(tmp_path, monkeypatch, capfdbinary):
    """On a suite of its own: one test that runs nodes and one that does not, each exactly once."""
    conftest = re.sub(
        "^from ros_domains.*\n", "", open(__file__.replace("test_side_by_side", "conftest")).read(), flags=re.M
    )
    (tmp_path / "conftest.py").write_text(conftest.split("@pytest.fixture")[0])
    (tmp_path / "setup.cfg").write_text("[tool:pytest]\nmarkers =\n    nodes: x\n")
    (tmp_path / "test_a.py").write_text("ros_graph = None\ndef test_a(): pass\n")
    (tmp_path / "test_b.py").write_text("def test_b(): pass\ndef test_c(): assert False\n")
    monkeypatch.setattr("side_by_side.ROOT", tmp_path)
    monkeypatch.setattr("sys.argv", ["side_by_side.py", "-p", "no:cacheprovider"])
    assert main() == 1
    assert b"\nBoth:\n1 failed, 2 passed in " in capfdbinary.readouterr().out
    monkeypatch.setattr("sys.argv", ["side_by_side.py", "-p", "no:cacheprovider", "-k", "test_a"])
    assert main() == 0
