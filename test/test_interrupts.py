"""Ctrl-C at any moment of a command: one line, status 130, no traceback."""

import json
import os
import signal
import subprocess
import sys
import time

import pytest
from ros_support import ROOT
from soak_support import healthy

from beingh_core import cli
from beingh_core.interrupts import held_back
from beingh_ros import cli as ros_cli
from beingh_ros.soak import session

# A module that takes long to import, in place of one that the command needs.
IMPORTING = """
import runpy, sys, time
class Slow:
    def find_spec(self, name, *_):
        if name == "beingh_core.data.export_command":
            print("importing", flush=True)
            time.sleep(20)
sys.meta_path.insert(0, Slow())
sys.argv = ["beingh", "doctor"]
runpy.run_module({module!r}, run_name="__main__")
"""
EXPORTING = """
import sys
from pathlib import Path
from types import SimpleNamespace
from beingh_core.data import workers
from beingh_core.data.convert import Export
from recording_support import open_slowly
bags = [Path(name) for name in "abc"]
try:
    print("begun", flush=True)
    list(workers.converted(bags, Export(contract="fr3", out=Path("x"), workers=2), SimpleNamespace(cameras=()),
                           open_slowly, Path("x")))
except KeyboardInterrupt:
    sys.exit(130)
"""


def interrupted(code, word, after_s=0.0):
    """(status, what it wrote to stderr, how long it took to end) of a program and its children under a terminal's Ctrl-C."""
    paths = os.pathsep.join((str(ROOT), str(ROOT / "test")))
    process = subprocess.Popen(
        [sys.executable, "-c", code], cwd=ROOT, env=os.environ | {"PYTHONPATH": paths}, text=True,
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, start_new_session=True,
    )  # fmt: skip
    try:
        assert any(word in line for line in process.stdout), process.stderr.read()
        time.sleep(after_s)
        os.killpg(process.pid, signal.SIGINT)
        begun_s = time.monotonic()
        _, error = process.communicate(timeout=30)
        return process.returncode, error, time.monotonic() - begun_s
    finally:
        process.kill()


@pytest.mark.parametrize("module", ["beingh_core.cli", "beingh_ros.cli"])
def test_ctrl_c_while_a_command_imports_is_one_line(module):
    assert interrupted(IMPORTING.format(module=module), "importing")[:2] == (130, "beingh: interrupted\n")


@pytest.mark.parametrize("word, after_s", [("begun", 0.3), ("opened", 0.0)])
def test_ctrl_c_ends_the_workers_of_an_export_without_a_traceback(word, after_s):
    status, error, took_s = interrupted(EXPORTING, word, after_s)
    assert (status, error) == (130, "") and took_s < 15


def test_an_import_that_a_signal_broke_off_is_an_interruption(capsys):
    def broken(_chosen):
        try:
            raise KeyboardInterrupt
        except KeyboardInterrupt as error:
            raise ImportError("numpy.core.multiarray failed to import") from error

    assert cli.main(["long"], [lambda commands: commands.add_parser("long").set_defaults(run=broken)]) == 130
    assert capsys.readouterr().err == "beingh: interrupted\n"


def test_a_signal_that_is_held_back_comes_afterwards():
    with pytest.raises(KeyboardInterrupt):
        with held_back():
            os.kill(os.getpid(), signal.SIGINT)
            inside = True
    assert inside


@pytest.mark.parametrize("broken", [False, True])
def test_an_interrupted_soak_says_after_how_long_and_promises_nothing_for_the_rest(
    tmp_path, monkeypatch, capsys, broken
):
    recording = healthy()
    if broken:
        recording.commands[0][40][1] = recording.commands[0][40][1] + 1e-6
    cut = 83.0
    monkeypatch.setattr(session, "isolate", lambda: None)
    monkeypatch.setattr(session, "_on_the_wire", lambda *_: (recording.record(), cut))
    monkeypatch.setattr(session.signal, "signal", lambda *_: None)
    monkeypatch.setattr(session, "policy_of", lambda *_: tmp_path)
    words = ["soak", "--out", str(tmp_path), "--json", str(tmp_path / "f.json"), "--checkpoint", str(tmp_path)]
    assert ros_cli.main(words) == 130
    told = capsys.readouterr().out
    assert "interrupted after 83 s" in told and "every promise was kept" not in told
    assert ("not as promised" in told) == broken
    assert json.loads((tmp_path / "f.json").read_text())["interrupted_after_s"] == cut
