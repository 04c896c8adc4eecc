"""package.xml, setup.py and the files agree, so that colcon and pip install what the nodes need."""

import ast
import importlib.util
import os
import re
import shutil
import subprocess
import sys
import xml.etree.ElementTree as ElementTree
from pathlib import Path

import pytest

from beingh_ros.robots.launch_arguments import ARGUMENTS

ROOT = Path(__file__).resolve().parent.parent
PACKAGE = ElementTree.parse(ROOT / "package.xml").getroot()


def declared():
    """What setup.py hands to setuptools, evaluated in a process of its own."""
    code = (
        "import json, setuptools\n"
        "given = {}\n"
        "setuptools.setup = lambda **values: given.update(values)\n"
        "exec(compile(open('setup.py').read(), 'setup.py', 'exec'))\n"
        "print(json.dumps(given))\n"
    )
    import json

    out = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True).stdout
    return json.loads(out)


def test_both_files_describe_the_same_package():
    given = declared()
    for key in ("name", "version", "license"):
        assert PACKAGE.findtext(key) == given[key]
    assert PACKAGE.get("format") == "3" and PACKAGE.findtext("export/build_type") == "ament_python"
    assert given["license"] == "Apache-2.0" and "Apache License" in (ROOT / "LICENSE").read_text()
    assert (ROOT / "resource" / given["name"]).is_file()


def test_every_ros_package_that_is_imported_is_declared():
    used = set()
    for path in [*(ROOT / "beingh_ros").rglob("*.py"), *(ROOT / "launch").glob("*.py")]:
        for node in ast.walk(ast.parse(path.read_text())):
            names = (
                [a.name for a in node.names]
                if isinstance(node, ast.Import)
                else [node.module]
                if isinstance(node, ast.ImportFrom)
                else []
            )
            used |= {name.split(".")[0] for name in names}
    ros = {name for name in used if re.fullmatch(r"rclpy|launch|launch_ros|\w+_msgs|std_srvs|\w+_interfaces", name)}
    depends = {element.text for element in PACKAGE.findall("exec_depend")}
    assert {"rclpy", "trajectory_msgs"} <= ros and ros <= depends


def test_everything_the_nodes_read_is_installed():
    given = declared()
    installed = {f"{folder}/{Path(file).name}": file for folder, files in given["data_files"] for file in files}
    share = "share/beingh_ros"
    assert {
        f"{share}/config/robots/fr3.yaml",
        f"{share}/config/robot.schema.json",
        f"{share}/urdf/fr3.urdf",
        f"{share}/launch/robot.launch.py",
        f"{share}/package.xml",
    } <= set(installed)
    assert all((ROOT / file).is_file() for file in installed.values())
    for checkpoint in (ROOT / "checkpoints").glob("*/config.json"):
        names = {path.name for path in checkpoint.parent.iterdir()}
        assert {f"{share}/checkpoints/{checkpoint.parent.name}/{name}" for name in names} <= set(installed)


def test_a_workspace_that_colcon_builds_has_the_command_on_its_path():
    """`bin/` is there, the scripts that `ros2 run` finds are not."""
    (file,) = dict(declared()["data_files"])["bin"]
    assert Path(file).name == "beingh" and os.access(ROOT / file, os.X_OK)
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    done = subprocess.run([sys.executable, ROOT / file, "--help"], env=environment, capture_output=True, text=True)
    assert done.returncode == 0 and "usage: beingh" in done.stdout, done.stderr


WITHOUT_ROS = """
import runpy, sys
class Refuse:
    def find_spec(self, name, path=None, target=None):
        if name.split(".")[0] in ("rclpy", "std_msgs", "sensor_msgs", "diagnostic_msgs", "launch"):
            raise ModuleNotFoundError(name)
sys.meta_path.insert(0, Refuse())
import importlib.util
found = importlib.util.find_spec
importlib.util.find_spec = lambda name, *more: None if name == "rclpy" else found(name, *more)
runpy.run_path(sys.argv.pop(0) if sys.argv[0] != "-c" else sys.argv.pop(1), run_name="__main__")
"""


def test_pip_installs_the_core_with_its_files_and_the_command(tmp_path):
    """From a copy of the sources, away from them, and where ROS is not installed."""
    pytest.importorskip("setuptools")
    ignored = shutil.ignore_patterns(
        ".*", "out", "build", "install", "log", "test", "docs", "checkpoints", "*.egg-info"
    )
    shutil.copytree(ROOT, tmp_path / "source", ignore=ignored, symlinks=True)
    target, pip = (
        tmp_path / "installed",
        [sys.executable, "-m", "pip", "install", "-q", "--no-deps", "--no-build-isolation"],
    )
    subprocess.run([*pip, "--target", target, tmp_path / "source"], check=True, capture_output=True, cwd=tmp_path)
    environment = os.environ | {"PYTHONPATH": str(target)}

    def beingh(*words):
        command = [sys.executable, "-c", WITHOUT_ROS, str(target / "bin" / "beingh"), *words]
        return subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True)

    assert beingh("--help").returncode == 0
    assert "<title>annotate</title>" in (target / "beingh_core/data/annotate/page.html").read_text()
    listed = beingh("robots", "list")
    names = sorted(path.stem for path in (ROOT / "config" / "robots").glob("*.yaml"))
    assert re.findall(r"^OK +(\w+)", listed.stdout, re.M) == names, listed
    done = beingh("robots", "check", "fr3")
    assert done.returncode == 0 and f"{target}/share/beingh_ros/config/robots/fr3.yaml" in done.stdout, done
    assert "WARN   drivers" in done.stdout and "not checked without rclpy" in done.stdout


def test_make_links_the_package_into_its_environment():
    """So that `beingh` is in `.venv/bin` after `make demo` and `make test`."""
    made = subprocess.run(["make", "-n", "-B", "environment"], cwd=ROOT, capture_output=True, text=True)
    assert made.returncode == 0 and re.search(r"bin/python -m pip install -q --no-deps -e \.$", made.stdout, re.M)


def test_every_node_has_an_entry_point_that_exists():
    for script in declared()["entry_points"]["console_scripts"]:
        name, module, function = re.fullmatch(r"(\w+) = ([\w.]+):(\w+)", script).groups()
        assert importlib.util.find_spec(module) is not None
        commands = (
            ("beingh", "beingh_ros.cli"),
            ("demo", "beingh_ros.demo.command"),
            ("record", "beingh_ros.record.node"),
            ("export_dataset", "beingh_core.cli"),
            ("replay_eval", "beingh_ros.replay.command"),
        )
        assert name == module.split(".")[-1] or (name, module) in commands
        tree = ast.parse((ROOT / (module.replace(".", "/") + ".py")).read_text())
        assert function in [n.name for n in tree.body if isinstance(n, ast.FunctionDef)]


def test_every_package_folder_is_installed():
    found = {
        str(path.parent.relative_to(ROOT)).replace("/", ".")
        for root in ("beingh_core", "beingh_ros")
        for path in (ROOT / root).rglob("__init__.py")
    }
    assert found == set(declared()["packages"])
    with_code = {
        str(path.parent.relative_to(ROOT)).replace("/", ".")
        for root in ("beingh_core", "beingh_ros")
        for path in (ROOT / root).rglob("*.py")
    }
    assert with_code == found, "a folder with modules lacks __init__.py"


def test_the_readme_lists_every_parameter_service_and_launch_argument():
    readme = (ROOT / "README.md").read_text()
    for node in (ROOT / "beingh_ros" / "nodes").glob("*_node.py"):
        source = node.read_text()
        section = readme.split(f"**{node.stem}**")[1].split("\n**")[0]
        names = re.findall(r'declare\(self, "(\w+)"', source) + re.findall(r'create_service\(\w+, "([~/\w]+)"', source)
        assert names and [name for name in names if not re.search(f"`/?{re.escape(name)}`", section)] == [], node.name
    section = readme.split("`robot.launch.py` takes")[1]
    assert [name for name in ARGUMENTS if f"`{name}`" not in section] == []


def test_links_in_the_documents_lead_somewhere():
    for document in [ROOT / "README.md", *(ROOT / "docs").glob("*.md")]:
        for target in re.findall(r"\]\((?!https?:)([^)#]+)", document.read_text()):
            assert (document.parent / target).exists(), f"{document.name}: {target}"


@pytest.mark.parametrize(
    "old, new",
    [
        ("beingh_ros.conversions", "beingh_ros.messages.conversions"),
        ("beingh_ros.measured_joints", "beingh_core.control.measured_joints"),
        ("beingh_ros.chunk_schedule", "beingh_core.inference.chunk_schedule"),
        ("beingh_ros.drivers.driver", "beingh_core.control.driver"),
    ],
)
def test_a_module_without_the_name_of_its_room_is_the_same_module(old, new):
    code = f"import {old} as old, {new} as new; assert old is new and new.__spec__.name == {new!r}"
    subprocess.run([sys.executable, "-W", "ignore", "-c", code], cwd=ROOT, check=True)
    with pytest.raises(ModuleNotFoundError):
        importlib.import_module("beingh_ros.no_such_module")
