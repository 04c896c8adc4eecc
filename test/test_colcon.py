"""What colcon installs runs: `record` and `export_dataset` as `ros2 run` starts them, with whatever rclpy there is."""

import importlib.util
import os
import shlex
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

pytest.importorskip("rclpy")
pytest.importorskip("rosbags")
if importlib.util.find_spec("colcon_core") is None:
    pytest.skip("colcon is not installed: pip install -r requirements-ci.txt", allow_module_level=True)
from live_support import recording, write_bag
from ros_support import ros_graph, wait_until
from test_record import Robot, ended, trigger

from beingh_core.contract import load_contract
from beingh_core.data.bags import open_bag
from beingh_core.data.lerobot import Dataset

ROOT = Path(__file__).resolve().parent.parent


@pytest.fixture(scope="module")
def workspace(tmp_path_factory):
    """A workspace with this package, built."""
    folder = tmp_path_factory.mktemp("workspace")
    ignored = shutil.ignore_patterns(".*", "out", "build", "install", "log", "test", "checkpoints", "*.egg-info")
    shutil.copytree(ROOT, folder / "src" / "beingh_ros", ignore=ignored)
    words = [sys.executable, "-m", "colcon", "--log-base", "log", "build", "--base-paths", "src"]
    done = subprocess.run(words, cwd=folder, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    return folder


def words(workspace, name, *arguments):
    """`ros2 run beingh_ros NAME ARGUMENTS` in a sourced workspace."""
    program = workspace / "install" / "beingh_ros" / "lib" / "beingh_ros" / name
    return ["bash", "-c", f". {shlex.quote(str(workspace / 'install' / 'setup.bash'))} && exec " + shlex.join(
        [str(program), *map(str, arguments)]
    )]  # fmt: skip


def test_export_dataset(workspace, tmp_path):
    bag = write_bag(tmp_path / "bag", recording(load_contract("fr3"), 1.0))
    arguments = [bag, "--contract", "fr3", "--out", tmp_path / "d", "--encoder", "software", "--workers", "1"]
    done = subprocess.run(words(workspace, "export_dataset", *arguments), cwd=tmp_path, capture_output=True, text=True)
    assert done.returncode == 0 and "exported" in done.stdout, done.stdout + done.stderr
    assert [episode.frames for episode in Dataset(tmp_path / "d").episodes] == [19]
    code = "import beingh_core, beingh_ros; print(beingh_core.__file__, beingh_ros.__file__)"
    setup = shlex.quote(str(workspace / "install" / "setup.bash"))
    told = subprocess.run(
        ["bash", "-c", f". {setup} && {sys.executable} -c {shlex.quote(code)}"],
        cwd=tmp_path,
        capture_output=True,
        text=True,
    )
    assert len(told.stdout.split()) == 2 and told.stdout.count(str(workspace)) == 2, told
    wrong = subprocess.run(
        words(workspace, "export_dataset", "absent", *arguments[1:]), cwd=tmp_path, capture_output=True
    )
    assert wrong.returncode == 2 and b"no such bag" in wrong.stderr and b"Traceback" not in wrong.stderr


def test_record(workspace, tmp_path):
    with ros_graph() as graph:
        robot, out = Robot(graph), tmp_path / "episodes"
        given = words(workspace, "record", "--ros-args", "-p", f"out:={out}", "-p", "min_free_mb:=0.0")
        with open(tmp_path / "log", "wb") as log:
            process = subprocess.Popen(given, env=graph.environment, cwd=tmp_path, stdout=log, stderr=log)
        try:
            robot.ready()
            assert trigger(graph, "start").success
            robot.step(40)
            time.sleep(0.3)
            assert trigger(graph, "stop").success
            [path] = ended(tmp_path)
            process.send_signal(signal.SIGINT)
            wait_until(lambda: process.poll() is not None, what=lambda: (tmp_path / "log").read_text())
        finally:
            process.kill()
        assert process.returncode == 0, (tmp_path / "log").read_text()
        with open_bag(path) as bag:
            assert bag.complete and bag.topics["/joint_states"].count >= 40, os.listdir(path)
