"""The rules of the house: which room may import which, and what every module and file must have."""

import ast
import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
CORE, ROS = ROOT / "beingh_core", ROOT / "beingh_ros"
ROS_PACKAGES = re.compile(
    r"beingh_ros|rclpy|rcl_interfaces|builtin_interfaces|launch|launch_ros|cv_bridge|rosbag2_py|rosidl\w*|ament\w*|\w+_msgs|std_srvs|tf2_ros"
)


def sources(folder):
    return sorted(path for path in folder.rglob("*.py") if "__pycache__" not in path.parts)


def imported(path):
    """(line, full module name) of every absolute import in a file, wherever it stands."""
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            yield from ((node.lineno, alias.name) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}:{node.lineno} imports relatively"
            for alias in node.names:  # `from beingh_core import policy` imports a room
                inner = f"{node.module}.{alias.name}"
                yield node.lineno, inner if _is_ours(inner) else node.module


def _is_ours(module):
    file = ROOT / module.replace(".", "/")
    return module.split(".")[0] in ("beingh_core", "beingh_ros") and (file.is_dir() or file.with_suffix(".py").exists())


def offenders(folder, forbidden):
    return [
        f"{path.relative_to(ROOT)}:{line} imports {module}"
        for path in sources(folder)
        for line, module in imported(path)
        if forbidden(module)
    ]


def below(*roots):
    return lambda module: any(module == root or module.startswith(root + ".") for root in roots)


def test_the_checks_look_at_real_files():
    assert len(sources(CORE)) > 40 and len(sources(ROS)) > 15
    assert (2, "rclpy.node") in {(2, module) for _, module in imported(ROS / "nodes" / "policy_node.py")} or any(
        module.startswith("rclpy") for _, module in imported(ROS / "nodes" / "policy_node.py")
    )


def test_the_core_imports_no_ros():
    assert offenders(CORE, lambda module: ROS_PACKAGES.fullmatch(module.split(".")[0])) == []


def test_realtime_imports_no_torch_and_no_neighbour():
    other_rooms = [f"beingh_core.{path.name}" for path in CORE.iterdir() if path.is_dir() and path.name != "realtime"]
    assert offenders(CORE / "realtime", below("torch", *other_rooms)) == []


def test_the_model_knows_nothing_of_robots():
    rooms = ("contract", "policy", "realtime", "data", "train", "evaluate", "sim", "slots")
    assert offenders(CORE / "model", below(*(f"beingh_core.{room}" for room in rooms))) == []


def test_the_robot_contract_and_the_simulator_need_no_model():
    for room in ("contract", "sim", "realtime", "evaluate"):
        assert (
            offenders(CORE / room, below("torch", "beingh_core.model", "beingh_core.policy", "beingh_core.train")) == []
        )


def room_of(module):
    """Room of a module of ours; a file beside the rooms is "core" or "ros"."""
    root, *rest = module.split(".")
    folder = ROOT / root / (rest[0] if rest else "")
    return rest[0] if rest and folder.is_dir() else {"beingh_core": "core", "beingh_ros": "ros"}[root]


# Room -> rooms that it may use beside itself and the files that stand beside the rooms of the core.
ARROWS = {
    "realtime": set(),
    "model": set(),
    "sim": {"contract"},
    "evaluate": set(),
    "contract": {"realtime"},
    "policy": {"model", "contract"},
    "control": {"realtime", "contract"},
    "inference": {"policy", "realtime", "contract"},
    "data": {"policy", "realtime", "contract", "evaluate", "sim"},
    "train": {"model", "policy", "contract", "data", "evaluate", "sim"},
    "bench": {"model", "policy", "inference", "realtime", "contract", "data", "train"},
    "openloop": {"evaluate", "model", "policy", "realtime", "contract", "data"},
    "suite": {"model", "policy", "control", "inference", "realtime", "contract", "evaluate", "data", "sim"} | {"train"},
    "messages": {"control", "realtime", "contract", "data"},
    "drivers": {"messages", "control", "realtime", "contract"},
    "nodes": {"messages", "drivers", "control", "inference", "policy", "realtime", "contract", "data", "sim"},
    "monitor": {"nodes", "messages", "policy", "realtime", "contract"},
    "record": {"nodes", "messages", "contract", "data"},
    "robots": {"nodes", "messages", "drivers", "monitor", "policy", "contract", "ros"},
    "demo": {"nodes", "messages", "monitor", "record", "evaluate", "realtime", "contract", "data", "sim", "ros"},
    "replay": {"nodes", "messages", "monitor", "control", "inference", "openloop", "evaluate", "policy"}
    | {"realtime", "contract", "data"},
    "soak": {"nodes", "messages", "demo", "evaluate", "policy", "realtime", "contract", "data", "sim", "suite"}
    | {"ros"},
}


def test_every_room_has_its_arrows():
    rooms = {path.name for root in (CORE, ROS) for path in root.iterdir() if path.is_dir()} - {"__pycache__"}
    assert rooms == set(ARROWS)


@pytest.mark.parametrize("room", ARROWS)
def test_each_room_uses_only_what_lies_below_it(room):
    folder = next(root / room for root in (CORE, ROS) if (root / room).is_dir())
    used = {
        (room_of(module), str(path.relative_to(ROOT)))
        for path in sources(folder)
        for _, module in imported(path)
        if module.split(".")[0] in ("beingh_core", "beingh_ros")
    }
    assert {(other, path) for other, path in used if other not in ARROWS[room] | {room, "core"}} == set()


def test_a_module_of_ours_is_imported_by_the_name_of_the_folder_in_which_it_stands():
    """`beingh_ros.__path__` lets nodes be started without their folder's name; imported like that, they would be loaded twice."""
    for path in [*sources(CORE), *sources(ROS), *sources(ROOT / "test")]:
        for line, module in imported(path):
            if module.split(".")[0] in ("beingh_core", "beingh_ros"):
                file = ROOT / module.replace(".", "/")
                assert file.is_dir() or file.with_suffix(".py").exists(), f"{path}:{line} imports {module}"


def test_no_module_needs_itself_by_way_of_others():
    paths = [*sources(CORE), *sources(ROS)]
    names = {".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__"): path for path in paths}
    needs = {}
    for name, path in names.items():
        nodes = [node for node in ast.walk(ast.parse(path.read_text())) if isinstance(node, ast.ImportFrom)]
        parts = {(node.module, f"{node.module}.{alias.name}") for node in nodes for alias in node.names}
        needs[name] = {part if part in names else module for module, part in parts} & names.keys() - {name}
    while free := [name for name, needed in needs.items() if not needed & needs.keys()]:
        for name in free:
            del needs[name]
    assert sorted(needs) == []


def test_the_ros_package_can_be_taken_in_at_a_glance():
    assert len([path for path in ROS.iterdir() if path.name != "__pycache__"]) <= 12


def test_the_audit_of_the_wire_shares_no_code_with_the_controller():
    judges = ("wire", "commitment", "seams", "ticks", "motion", "stops")
    files = [CORE / "evaluate" / f"{name}.py" for name in judges]
    used = {module for path in files for _, module in imported(path) if module.startswith("beingh_")}
    assert used <= {f"beingh_core.evaluate.{name}" for name in judges}


def test_launch_packages_are_imported_where_they_are_used():
    """A module that the tests need must load without a ROS installation."""
    for path in sources(ROS):
        top = [n for n in ast.parse(path.read_text()).body if isinstance(n, (ast.Import, ast.ImportFrom))]
        names = [alias.name for n in top for alias in n.names] + [getattr(n, "module", "") or "" for n in top]
        missing = [
            n for n in names if n.split(".")[0] in ("launch", "launch_ros", "cv_bridge", "rosbag2_py", "control_msgs")
        ]
        assert missing == [], path


@pytest.mark.parametrize("path", [*sources(CORE), *sources(ROS)], ids=lambda path: str(path.relative_to(ROOT)))
def test_every_module_says_what_it_is_and_stays_readable(path):
    tree = ast.parse(path.read_text())
    assert ast.get_docstring(tree), "no module docstring"
    assert len(path.read_text().splitlines()) < 400
    for node in ast.walk(tree):
        if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef)):
            assert node.end_lineno - node.lineno + 1 < 60, f"{node.name} is too long to read"


@pytest.mark.parametrize("module", ["beingh_core.contract", "beingh_core.evaluate.report", "beingh_core.policy"])
def test_the_core_loads_without_ros(module):
    """As on a machine that has no ROS at all."""
    code = (
        "import sys\n"
        "class Refuse:\n"
        "    def find_spec(self, name, path=None, target=None):\n"
        "        if name.split('.')[0] in ('rclpy', 'sensor_msgs', 'trajectory_msgs', 'std_msgs', 'beingh_ros'):\n"
        "            raise ImportError(name)\n"
        "sys.meta_path.insert(0, Refuse())\n"
        f"import {module}\n"
    )
    subprocess.run([sys.executable, "-c", code], cwd=ROOT, check=True)
