"""package.xml, setup.py and the files agree, so that colcon and pip install what the nodes need."""

import ast
import importlib.util
import re
import subprocess
import sys
import xml.etree.ElementTree as ElementTree
from pathlib import Path

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
        f"{share}/urdf/fr3.urdf",
        f"{share}/launch/robot.launch.py",
        f"{share}/package.xml",
    } <= set(installed)
    assert all((ROOT / file).is_file() for file in installed.values())
    for checkpoint in (ROOT / "checkpoints").glob("*/config.json"):
        names = {path.name for path in checkpoint.parent.iterdir()}
        assert {f"{share}/checkpoints/{checkpoint.parent.name}/{name}" for name in names} <= set(installed)


def test_every_node_has_an_entry_point_that_exists():
    for script in declared()["entry_points"]["console_scripts"]:
        name, module, function = re.fullmatch(r"(\w+) = ([\w.]+):(\w+)", script).groups()
        assert importlib.util.find_spec(module) is not None
        commands = ("beingh", "beingh_ros.cli"), ("demo", "beingh_ros.demo.command"), ("record", "beingh_ros.record.node")
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
        assert names and [name for name in names if f"`{name}`" not in section] == [], node.name
    launch = (ROOT / "launch" / "robot.launch.py").read_text()
    arguments = ast.literal_eval(re.search(r"ARGUMENTS = (\{.*?\n\})", launch, re.DOTALL)[1])
    section = readme.split("`robot.launch.py` takes")[1]
    assert [name for name in arguments if f"`{name}`" not in section] == []


def test_links_in_the_documents_lead_somewhere():
    for document in [ROOT / "README.md", *(ROOT / "docs").glob("*.md")]:
        for target in re.findall(r"\]\((?!https?:)([^)#]+)", document.read_text()):
            assert (document.parent / target).exists(), f"{document.name}: {target}"
