"""The launch files: one for every robot, several robots at once, what is left of them, and how they end."""

import json
import os
import signal
import subprocess
import sys
from importlib import import_module

import pytest
from launch_support import ament_prefix
from lifecycle_msgs.msg import Transition
from lifecycle_msgs.srv import ChangeState, GetState
from rclpy.node import Node
from ros_support import ROOT, ros_graph, spun, wait_until

from beingh_core.contract import load_contract
from beingh_core.contract.paths import contract_files
from beingh_core.errors import BeingHError
from beingh_ros.bringup import BringupOptions, check_start, processes
from beingh_ros.nodes.usage import parameters_of
from beingh_ros.robots.cells import CELL_ARGUMENTS, read_cell
from beingh_ros.robots.launch_arguments import ARGUMENTS, arguments_of, check_family, family
from beingh_ros.robots.launching import options_from
from beingh_ros.robots.namesakes import refuse_second
from beingh_ros.soak.misspelled import LAUNCHER

LAUNCH = ROOT / "launch"
FILES = sorted(LAUNCH.glob("*.launch.py"))
OF_ALL = ("robot.launch.py", "robots.launch.py")
DEFAULTS = {name: default for name, (default, _) in ARGUMENTS.items()} | {"checkpoint": "none"}


def test_every_contract_has_one_launch_file_and_every_launch_file_contracts():
    families = {path.name: family(path) for path in FILES if path.name not in OF_ALL}
    assert sorted(name for names in families.values() for name in names) == sorted(contract_files())
    assert all(names and path == f"{names[0]}.launch.py" for path, names in families.items())
    assert families["fr3.launch.py"] == ("fr3", "fr3_hand", "fr3_joints")
    assert families["g1.launch.py"][:2] == ("g1", "g1_dex3") and families["so101.launch.py"] == ("so101", "so101_short")
    for path in FILES:
        own = path.name if path.name not in OF_ALL else path.stem.partition(".")[0]
        assert own in path.read_text().partition("\n")[0], "the first line shows how to start it"


def test_a_launch_file_of_a_robot_takes_its_contracts_only():
    g1 = LAUNCH / "g1.launch.py"
    assert arguments_of(g1)["robot"][0] == "g1" and "g1_inspire_eef" in arguments_of(g1)["robot"][1]
    assert arguments_of(LAUNCH / "robot.launch.py") == ARGUMENTS
    check_family("g1_dex3", g1), check_family("/my/robot.yaml", LAUNCH / "robot.launch.py")
    with pytest.raises(
        BeingHError, match="`fr3` is none of g1.launch.py. Allowed: g1, .*robot.launch.py takes every robot"
    ):
        check_family("fr3", g1)
    with pytest.raises(BeingHError, match="did you mean .*`g1_dex3`"):
        check_family("g1_dex", g1)


@pytest.mark.parametrize("robot", contract_files())
def test_every_process_of_every_robot_exists_and_declares_its_parameters(robot):
    """What a launch without ROS installed can still be checked for."""
    sources = [{"checkpoint": "ck", "dataset_name": "d"}, {"policy_url": "tcp://a:1"}, {}]
    for options in sources:
        for spec in processes(BringupOptions(contract=robot, record=True, autostart=False, **options)):
            module = import_module(
                "beingh_ros.record.node" if spec.executable == "record" else f"beingh_ros.nodes.{spec.executable}"
            )
            known = {parameter.name for parameter in parameters_of(module)} | {"use_sim_time"}
            assert callable(module.main) and set(spec.parameters) <= known, (spec.name, set(spec.parameters) - known)


def test_further_arguments_reach_the_nodes(monkeypatch, tmp_path):
    monkeypatch.setenv("HOME", str(tmp_path))
    options = options_from(
        DEFAULTS
        | {"checkpoint": "~/ck", "dataset_name": "other", "device": "cuda", "lifecycle": "manual", "estop": "/estop"}
        | {"record": "true", "record_out": "~/bags", "policy_token_file": "~/token", "robot": "fr3"}
    )
    assert options_from(DEFAULTS | {"checkpoint": "expert", "simulate": "true"}).expert and not options.expert
    found = {spec.name: spec for spec in processes(options)}
    policy = found["policy"].parameters
    assert policy["checkpoint"] == f"{tmp_path}/ck" and (policy["dataset_name"], policy["device"]) == ("other", "cuda")
    assert policy["autostart"] is found["controller"].parameters["autostart"] is False
    assert found["controller"].remappings == found["record"].remappings == (("estop", "/estop"),)
    assert found["record"].parameters["out"] == f"{tmp_path}/bags" and options.policy_token_file == f"{tmp_path}/token"
    assert options_from(DEFAULTS | {"checkpoint": "fr3_cubes"}).checkpoint == str(ROOT / "checkpoints" / "fr3_cubes")
    for wrong, words in (
        ({"checkpoint": ""}, "neither checkpoint nor policy_url is given.*fr3_cubes.*`none`"),
        ({"checkpoint": "fr3_cube"}, "did you mean `fr3_cubes`"),
        ({"lifecycle": "Manual"}, "argument lifecycle: `Manual` is no choice. Allowed: auto, manual"),
        ({"estop": "a b"}, "argument estop: `a b` is no topic"),
    ):
        with pytest.raises(BeingHError, match=words):
            options_from(DEFAULTS | wrong)


def test_a_cell_holds_the_arguments_of_every_robot():
    left, right = read_cell("two_fr3", {"simulate": "", "dry_run": "true"})
    assert (left["namespace"], right["namespace"]) == ("left", "right")
    assert left.keys() == ARGUMENTS.keys() and left["simulate"] == left["dry_run"] == "true" and left["seed"] == "1"
    assert set(CELL_ARGUMENTS) - {"cell"} < set(ARGUMENTS)
    assert options_from(left).checkpoint == str(ROOT / "checkpoints" / "fr3_cubes")
    for path in (ROOT / "config" / "cells").glob("*.yaml"):
        assert all(check_start(options_from(robot)) == "" for robot in read_cell(path.stem, {}))
    with pytest.raises(BeingHError, match="no such cell. Allowed: .*two_fr3"):
        read_cell("nobody", {})


@pytest.mark.parametrize(
    "text, words",
    [
        ("robots: {left: {robot: fr3}, /left/: {robot: fr3}}", "two robots are in the namespace `left`"),
        ("robots: {left: {robot: fr3}, left: {robot: fr3}}", "left.*twice"),
        ("robots: {left: {robott: fr3}}", "unknown argument `robott`.*did you mean `robot`"),
        ("robots: {left: {namespace: right}}", "unknown argument `namespace`"),
        ("robots: {2left: {}}", "`2left` is no namespace"),
        ("robots: {left: {seed: 1.5}}", "1.5 is no value of an argument"),
        ("robots: {left: [fr3]}", "is not a mapping|instead of a mapping|mapping"),
        ("robots: {}", "0 robots are named"),
        ("robots: {left: {}}\nrobot: fr3", "unknown key `robot`"),
    ],
)
def test_a_mistake_in_a_cell_is_one_error_with_its_line(tmp_path, text, words):
    path = tmp_path / "cell.yaml"
    path.write_text(text)
    with pytest.raises(BeingHError, match=words) as caught:
        read_cell(str(path), {})
    assert str(path) in str(caught.value)


def test_a_robot_that_runs_in_a_namespace_keeps_a_second_one_out(monkeypatch):
    with ros_graph() as graph:
        monkeypatch.setenv("ROS_DOMAIN_ID", graph.environment["ROS_DOMAIN_ID"])
        refuse_second({"/left": ["controller", "policy"]}, 0.2)
        with spun(Node("controller", context=graph.context, namespace="/left")):
            with pytest.raises(
                BeingHError, match="namespace `/left` already: there is a node /left/controller.*namespace:="
            ):
                refuse_second({"/left": ["controller", "policy"]}, 30.0)
            refuse_second({"/": ["controller"], "/right": ["controller"]}, 0.2)


GRIPPER = "  gripper_position: {topic: joint_states, source: position, joints: &hand"
MISTAKES = {
    "a URDF that is cut off": (("urdf/fr3.urdf", "cut.urdf"), r"cut\.urdf:\d+: this is not XML"),
    "no such URDF": (("urdf/fr3.urdf", "fr33.urdf"), r"robot\.yaml:\d+: urdf: .*fr33\.urdf"),
    "a joint that is not there": (("fr3_joint4", "fr3_joint9"), r"robot\.yaml:\d+.*no movable joint `fr3_joint9`.*did you mean"),
    "one slot twice": ((GRIPPER, f"{GRIPPER}2 [fr3_finger_joint1]}}\n{GRIPPER}"), r"`gripper_position` is written twice"),
    "slots that overlap": (
        (GRIPPER, GRIPPER.replace("gripper_position", "gripper_qpos").replace("&hand", "[fr3_finger_joint1, fr3_finger_joint2]")
         + ", max_age_s: 0.2}\n" + GRIPPER.replace("gripper_position", "libero_gripper_position")
         .replace("&hand", "[fr3_finger_joint1, fr3_finger_joint2]") + ", max_age_s: 0.2}\n" + GRIPPER),
        r"robot\.yaml:\d+: state.*overlap",
    ),
    "a driver of no kind": (("kind: joint_trajectory", "kind: joint_trajectori"), r"unknown value `joint_trajectori`.*did you mean"),
}  # fmt: skip


@pytest.mark.parametrize("mistake", MISTAKES)
def test_a_mistake_in_a_contract_is_one_error_before_anything_starts(tmp_path, mistake):
    (old, new), words = MISTAKES[mistake]
    text = (ROOT / "config" / "robots" / "fr3.yaml").read_text()
    urdf = (ROOT / "urdf" / "fr3.urdf").read_text()
    (tmp_path / "cut.urdf").write_text(urdf[:5000])
    assert old in text
    path = tmp_path / "robot.yaml"
    path.write_text(text.replace(old, new).replace("urdf/fr3.urdf", str(ROOT / "urdf" / "fr3.urdf")))
    with pytest.raises(BeingHError, match=words) as caught:
        check_start(options_from(DEFAULTS | {"robot": str(path)}))
    assert len(str(caught.value)) < 1000 and "\n" not in str(caught.value)


# Under launch itself, where it is installed.

NODE = """#!{python}
import sys
from beingh_ros.{name} import main
sys.exit(main())
"""
ENDS = "#!/bin/sh\necho STARTED {name}\nexit 4\n"
WAITS = "#!/bin/sh\necho STARTED {name}\ntrap 'kill $!; exit 0' INT\nsleep 60 & wait\n"
EXTRA = "#!/bin/sh\nfor word; do case $word in *beingh_launch_*) test -s $word && touch read_{name};; esac; done\nexec sleep 60\n"


@pytest.fixture
def start(tmp_path):
    """Starts a launch file whose executables are these scripts; the temporary files of the launch are in tmp_path/temp."""
    pytest.importorskip("launch_ros", reason="launch exists only in a ROS installation")
    started = []
    (tmp_path / "temp").mkdir()

    def begin(file, *words, environment=None, **executables):
        prefix = ament_prefix(tmp_path / f"prefix{len(started)}", **executables)
        for name in ("robot_state_publisher", "rviz2"):
            if name in executables:
                (prefix / "share/ament_index/resource_index/packages" / name).touch()
                (prefix / "lib" / name).mkdir()
                (prefix / "lib/beingh_ros" / name).rename(prefix / "lib" / name / name)
        paths = [str(prefix), *filter(None, [os.environ.get("AMENT_PREFIX_PATH")])]
        own = {
            "AMENT_PREFIX_PATH": ":".join(paths),
            "ROS_LOG_DIR": str(tmp_path / "log"),
            "TMPDIR": str(tmp_path / "temp"),
        }
        own["PYTHONPATH"] = os.pathsep.join(filter(None, [str(ROOT), os.environ.get("PYTHONPATH")]))
        out = tmp_path / f"out{len(started)}"
        with open(out, "wb") as file_out:
            launch = subprocess.Popen(
                [sys.executable, "-c", LAUNCHER, str(LAUNCH / file), *words], env=(environment or os.environ) | own,
                stdout=file_out, stderr=subprocess.STDOUT, cwd=tmp_path, start_new_session=True,
            )  # fmt: skip
        started.append(launch)
        return launch, out.read_text

    yield begin
    for launch in started:
        if launch.poll() is None:
            os.killpg(launch.pid, signal.SIGKILL)
            launch.wait()


def left_behind(tmp_path):
    return sorted(path.name for path in (tmp_path / "temp").rglob("*"))


def end(launch):
    os.killpg(launch.pid, signal.SIGINT)
    return launch.wait(30)


def test_a_robot_that_fails_ends_the_launch_with_a_status_and_one_that_is_told_to_without(start, tmp_path):
    names = dict.fromkeys(("markers_node", "sim_node", "policy_node", "controller_node"), WAITS)
    words = ("checkpoint:=fr3_cubes", "simulate:=true", "rviz:=false")
    with ros_graph() as graph:
        failing, text = start("fr3.launch.py", *words, environment=graph.environment, **names | {"policy_node": ENDS})
        assert failing.wait(30) == 1
        assert text().count("the node /policy ended by itself with status 4: the others end too") == 1, text()
        told, text = start("fr3.launch.py", *words, environment=graph.environment, **names | {"markers_node": ENDS})
        wait_until(lambda: text().count("STARTED") == 4 and "exit code 4" in text(), what="all of them")
        assert end(told) == 0, text()
    assert left_behind(tmp_path) == [] and "Traceback" not in text()


def test_what_is_written_for_rviz_and_the_robot_state_publisher_is_removed(start, tmp_path):
    names = {"controller_node": WAITS, "markers_node": WAITS, "robot_state_publisher": EXTRA, "rviz2": EXTRA}
    words = ("checkpoint:=none", "robot_state_publisher:=true", "rviz:=true", "namespace:=a/b")
    with ros_graph() as graph:
        launch, text = start("ur5e.launch.py", *words, environment=graph.environment, **names)
        wait_until(lambda: len(list(tmp_path.glob("read_*"))) == 2, what="what they read")
        (folder,) = (tmp_path / "temp").iterdir()
        parameters = json.loads((folder / "a.b.params.yaml").read_text())["/**"]["ros__parameters"]
        assert parameters["robot_description"] == load_contract("ur5e").urdf_path.read_text()
        assert "/a/b/robot_description" in (folder / "a.b.rviz").read_text()
        assert end(launch) == 0 and left_behind(tmp_path) == [], text()


def test_a_second_robot_in_a_namespace_and_a_lifecycle_manager(start):
    """The real controller waits to be configured; a second launch beside it is refused, one in another namespace is not."""
    words = ("checkpoint:=none", "rviz:=false", "lifecycle:=manual")
    with ros_graph() as graph:
        first, text = start(
            "fr3.launch.py", *words, environment=graph.environment, controller_node=NODE, markers_node=WAITS
        )
        state = graph.create_client(GetState, "/controller/get_state")
        assert state.wait_for_service(30.0), text()
        label = lambda: state.call(GetState.Request()).current_state.label
        assert label() == "unconfigured"
        wait_until(lambda: "waits to be configured" in text(), what="the line that says so")
        for _ in range(5):  # on a busy computer nodes may find each other later than it looks for them
            names = dict.fromkeys(("controller_node", "markers_node"), ENDS)
            second, told = start("xarm7.launch.py", *words, environment=graph.environment, **names)
            assert second.wait(60) == 1, told()
            if "STARTED" not in told():
                break
        assert told().count("a robot runs in the namespace `/` already: there is a node /controller") == 1, told()
        third, told = start(
            "xarm7.launch.py",
            *words,
            "namespace:=b",
            environment=graph.environment,
            controller_node=WAITS,
            markers_node=WAITS,
        )
        wait_until(lambda: "STARTED controller_node" in told(), what="the robot in another namespace")
        change = graph.create_client(ChangeState, "/controller/change_state")
        for transition, reached in (
            (Transition.TRANSITION_CONFIGURE, "inactive"),
            (Transition.TRANSITION_ACTIVATE, "active"),
        ):
            assert change.call(ChangeState.Request(transition=Transition(id=transition))).success
            assert label() == reached
        assert end(third) == 0 and end(first) == 0 and "Traceback" not in text() + told()
