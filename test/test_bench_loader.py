"""`beingh bench loader`: its report, what it counts, and what it says without lerobot."""

import json
import os
import subprocess
import sys

import pytest

from beingh_core.bench.loader import processor_s
from beingh_core.cli import main

PARTS = {"ours", "trainer"}


def test_without_lerobot_it_says_how_to_install_it(capsys):
    assert main(["bench", "loader", "--lerobot-python", sys.executable]) == 2
    error = capsys.readouterr().err
    assert "lerobot is not installed" in error and "--without-lerobot" in error and "Traceback" not in error
    assert main(["bench", "loader", "--side", "1000", "--without-lerobot"]) == 2
    assert "48 to 480" in capsys.readouterr().err


@pytest.mark.skipif(not os.path.exists("/proc/self/stat"), reason="counted on Linux alone")
def test_processor_time_is_that_of_a_process_and_those_below_it():
    work = "import sys, time\nwhile time.process_time() < 0.3: pass\nprint(flush=True); sys.stdin.read()"
    begun = processor_s(os.getpid())
    child = subprocess.Popen([sys.executable, "-c", work], stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    try:
        child.stdout.readline()
        assert processor_s(child.pid) >= 0.25
        assert processor_s(os.getpid()) - begun >= 0.25
    finally:
        child.communicate()


def report(tmp_path, *words):
    target = tmp_path / "r.json"
    line = ["bench", "loader", "--side", "48", "--seconds", "0.2", "--rounds", "1", "--json", str(target), *words]
    assert main(line) == 0
    return json.loads(target.read_text())


@pytest.mark.slow
def test_report(tmp_path):
    found = report(tmp_path, "--without-lerobot")
    for key in ("samples_per_s", "samples_per_processor_s"):
        rates = found[key]
        assert rates.keys() == PARTS | {"over_trainer"}
        assert rates["over_trainer"] == pytest.approx(rates["ours"] / rates["trainer"])
    assert found["pictures"] == [48, 64] and found["views"] == 2 and found["lerobot_version"] is None


@pytest.mark.slow
@pytest.mark.skipif(
    "BEINGH_LEROBOT_PYTHON" not in os.environ, reason="needs lerobot 0.4.4 in an environment of its own"
)
def test_report_beside_lerobot(tmp_path):
    found = report(tmp_path, "--lerobot-python", os.environ["BEINGH_LEROBOT_PYTHON"])
    assert found["samples_per_s"].keys() == PARTS | {"lerobot", "over_trainer", "over_lerobot"}
    assert found["samples_per_s"]["lerobot"] > 0 and found["lerobot_version"] == "0.4.4"
