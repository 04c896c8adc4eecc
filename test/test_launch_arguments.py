"""What is typed behind `ros2 launch`: misspelled names and values are refused before any process starts."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
from launch_support import ament_prefix, write_small_checkpoint

from beingh_core.contract import load_contract
from beingh_core.errors import BeingHError
from beingh_core.policy.checkpoint_check import check_checkpoint
from beingh_ros.bringup import BringupOptions, check_start
from beingh_ros.robots.launch_arguments import ARGUMENTS, check_names, flag, namespace, number
from beingh_ros.soak.misspelled import LAUNCHER

ROOT = Path(__file__).resolve().parent.parent
LAUNCH = ROOT / "launch" / "robot.launch.py"


BY_NAME = ["/opt/ros/jazzy/bin/ros2", "launch", "beingh_ros", "robot.launch.py"]
BY_PATH = ["/opt/ros/jazzy/bin/ros2", "launch", str(LAUNCH)]
OF_ANOTHER = ["/opt/ros/jazzy/bin/ros2", "launch", "cell", "robot.launch.py"]


def check(words, inherited=()):
    check_names(words, inherited, ARGUMENTS, "beingh_ros", LAUNCH)


@pytest.mark.parametrize("start", [BY_NAME, BY_PATH])
@pytest.mark.parametrize(
    "name, meant",
    [
        ("dryrun", "dry_run"), ("dry-run", "dry_run"), ("DRY_RUN", "dry_run"), ("dry_runs", "dry_run"), ("dr_yrun", "dry_run"),
        ("simulated", "simulate"), ("sim", "simulate"), ("checkpoints", "checkpoint"), ("checkpont", "checkpoint"),
        ("chekpoint", "checkpoint"), ("robots", "robot"), ("namespaces", "namespace"), ("simtime", "use_sim_time"),
        ("use_simtime", "use_sim_time"), ("Instruction", "instruction"), ("policy_uri", "policy_url"), ("sede", "seed"),
    ],
)  # fmt: skip
def test_a_misspelled_name_is_refused_with_the_right_one(start, name, meant):
    with pytest.raises(BeingHError, match=f"no argument `{name}`.*did you mean .*`{meant}`"):
        check([*start, "robot:=fr3", f"{name}:=true"], {"robot", name})


@pytest.mark.parametrize("options", [[], ["--debug"], ["-a", "--launch-prefix", "gdb"], ["--launch-prefix-filter=x"]])
def test_a_launch_file_may_be_named_from_its_own_folder_or_by_another_path(options, tmp_path, monkeypatch):
    ros2 = BY_NAME[:2] + options
    (tmp_path / "cell.launch.py").symlink_to(LAUNCH)
    for folder, words in (
        (LAUNCH.parent, [*ros2, LAUNCH.name]),
        (LAUNCH.parent, ["start_cell", LAUNCH.name]),
        (LAUNCH.parent, [*ros2, f"./{LAUNCH.name}"]),
        (ROOT, [*ros2, f"launch/{LAUNCH.name}"]),
        (tmp_path, [*ros2, "cell.launch.py"]),
        (tmp_path, [*ros2, str(tmp_path / "cell.launch.py")]),
        (tmp_path, [*ros2, "beingh_ros", LAUNCH.name]),
    ):
        monkeypatch.chdir(folder)
        check([*words, "robot:=fr3"])
        with pytest.raises(BeingHError, match="no argument `speed`"):
            check([*words, "speed:=1"])


def test_a_file_of_another_package_that_has_our_name_is_not_ours(monkeypatch):
    monkeypatch.chdir(LAUNCH.parent)
    check([*OF_ANOTHER, "speed:=1"])
    check([*OF_ANOTHER[:2], "other.launch.py", f"file:={LAUNCH}", "speed:=1"])


def test_of_our_own_launch_file_every_argument_must_be_known():
    check([*BY_NAME, *(f"{name}:=x" for name in ARGUMENTS)], ARGUMENTS)
    with pytest.raises(BeingHError, match="no argument `speed`. Allowed: robot, checkpoint.*dry_run"):
        check([*BY_NAME, "speed:=1"])
    with pytest.raises(BeingHError, match="argument dry_run: it is given twice, as `true` and `false`"):
        check([*BY_NAME, "dry_run:=true", "dry_run:=false"])
    check([*BY_NAME, "seed:=1", "seed:=1"])


def test_what_an_including_launch_file_sets_for_itself_passes():
    own = {
        "sim",
        "robot_name",
        "robot_ip",
        "robot2",
        "launch_rviz",
        "use_rviz",
        "sim_time",
        "simulator",
        "speed",
        "ns",
        "id",
    }
    check([*OF_ANOTHER, "sim:=true", "robot_name:=left", "speed:=1"], own)
    check(OF_ANOTHER, {"robots", "robot"})  # both: not a slip
    for name, meant in (
        ("dryrun", "dry_run"),
        ("Dry-Run", "dry_run"),
        ("checkpont", "checkpoint"),
        ("ckeckpoint", "checkpoint"),
    ):
        with pytest.raises(BeingHError, match=f"did you mean `{meant}`.*give {meant} too"):
            check([*OF_ANOTHER, f"{name}:=true"], own | {name})


@pytest.mark.parametrize("text", ["ture", "1", "0", "yes", "", " true", "auto", "True False", "x" * 10_000])
def test_a_choice_is_true_or_false_and_nothing_else(text):
    assert flag({"dry_run": "TRUE"}, "dry_run") is True and flag({"rviz": "auto"}, "rviz", True) is True
    with pytest.raises(BeingHError, match="argument dry_run: .* is no choice. Allowed: true, false") as caught:
        flag({"dry_run": text}, "dry_run")
    assert len(str(caught.value)) < 300


@pytest.mark.parametrize("text", ["-1", "1.0", "1e3", "", "2147483648", "9" * 5000, "1_0", "\u0661"])
def test_a_count_is_a_whole_number_within_bounds(text):
    assert number({"seed": "007"}, "seed", 2**31 - 1) == 7
    with pytest.raises(BeingHError, match="argument seed: .* is no whole number from 0 to 2147483647"):
        number({"seed": text}, "seed", 2**31 - 1)


def test_a_namespace_is_one_of_ros():
    assert [namespace({"namespace": text}) for text in ("", "left", "/a/b_2", "left/")] == [
        "",
        "left",
        "/a/b_2",
        "left/",
    ]
    for text in ("a b", "2a", "a//b", "a.b", "x" * 101, "l\u00ebft", "$(x)"):
        with pytest.raises(BeingHError, match="argument namespace: .* is no namespace"):
            namespace({"namespace": text})


def start(**options):
    return check_start(BringupOptions(contract="fr3", **options))


def test_a_start_without_policy_is_told_and_every_other_is_checked_first(tmp_path):
    assert "no policy is started" in start() and "holds its posture" in start(simulate=True)
    good = write_small_checkpoint(tmp_path / "good")
    assert start(checkpoint=str(good)) == "" and start(policy_url="tcp://a:1") == ""
    for options, words in (
        ({"checkpoint": str(tmp_path / "nothing")}, "nothing: there is no such directory"),
        ({"checkpoint": "x" * 5000}, "no such directory"),
        ({"checkpoint": "\0"}, "no such directory"),
        ({"checkpoint": str(good), "policy_url": "tcp://a:1"}, "both a checkpoint"),
        ({"policy_url": "http://a:1"}, "no address of a policy server"),
        ({"policy_url": "tcp://a:1", "policy_token_file": str(tmp_path / "none")}, "token cannot be read"),
    ):
        with pytest.raises(BeingHError, match=words):
            start(**options)
    with pytest.raises(BeingHError, match="no robot contract `fr4`"):
        check_start(BringupOptions(contract="fr4", checkpoint=str(tmp_path / "nothing")))


def test_a_checkpoint_of_another_robot_is_told_as_that(tmp_path):
    """Also where its statistics have another name than the contract looks for."""
    other = write_small_checkpoint(tmp_path / "other", "ur5e")
    with pytest.raises(BeingHError, match="for robot ur5e \\(data set ur5e\\), the contract is of `fr3`"):
        check_checkpoint(load_contract("fr3"), other)
    (other / "ur5e_metadata.json").write_text("[" * 5000)
    with pytest.raises(BeingHError, match="no metadata of dataset `fr3_cubes`.*Allowed: ur5e"):
        check_checkpoint(load_contract("fr3"), other)
    (other / "ur5e_metadata.json").unlink()
    with pytest.raises(BeingHError, match="the directory holds no metadata"):
        check_checkpoint(load_contract("fr3"), other)


def test_the_checks_of_a_start_load_no_torch():
    code = "import sys, beingh_ros.bringup; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], cwd=ROOT).returncode == 0


PARENT = """
from launch import LaunchDescription
from launch.actions import DeclareLaunchArgument, IncludeLaunchDescription, SetLaunchConfiguration
from launch.launch_description_sources import PythonLaunchDescriptionSource
def generate_launch_description():
    included = PythonLaunchDescriptionSource({launch!r})
    return LaunchDescription([
        DeclareLaunchArgument("sim", default_value="false"), SetLaunchConfiguration("robot_name", "left"),
        IncludeLaunchDescription(included, launch_arguments={given!r}),
    ])
"""
STAND_IN = "#!/bin/sh\necho STARTED {name}\nexit 3\n"


@pytest.mark.parametrize(
    "parent, words, told",
    [
        (False, ["dryrun:=true"], "no argument `dryrun`"),
        ("from its folder", ["speed:=1"], "no argument `speed`"),
        (False, ["dry_run:=ture"], "argument dry_run: `ture`"),
        (False, ["simulated:=true", "checkpoint:=good"], "no argument `simulated`"),
        (False, ["checkpoint:=nothing"], "nothing: there is no such directory"),
        (False, ["robot:=ur5e", "checkpoint:=good"], "for robot fr3 (data set"),
        (True, ["sim:=true", "checkpont:=good"], "did you mean `checkpoint`"),
        (False, ["rviz:=false"], "neither checkpoint nor policy_url is given"),
        (False, ["checkpoint:=fr3_cube"], "did you mean `fr3_cubes`"),
        (False, ["rviz:=false", "checkpoint:=none"], None),
        (True, ["sim:=true", "speed:=1"], None),
    ],
)
def test_ros_launch_starts_nothing_after_a_mistake(tmp_path, parent, words, told):
    pytest.importorskip("launch_ros", reason="launch exists only in a ROS installation")
    names = ("controller_node", "policy_node", "markers_node", "sim_node")
    prefix = ament_prefix(tmp_path / "prefix", **dict.fromkeys(names, STAND_IN))
    write_small_checkpoint(tmp_path / "good")
    given = [("rviz", "false")] + [("checkpoint", "none")] * ("checkpont:=good" not in words)
    (tmp_path / "parent.launch.py").write_text(PARENT.format(launch=str(LAUNCH), given=given))
    paths = filter(None, [str(prefix), os.environ.get("AMENT_PREFIX_PATH")])
    environment = os.environ | {"AMENT_PREFIX_PATH": ":".join(paths), "ROS_LOG_DIR": str(tmp_path / "log")}
    environment["PYTHONPATH"] = os.pathsep.join(filter(None, [str(ROOT), os.environ.get("PYTHONPATH")]))
    file, folder = tmp_path / "parent.launch.py" if parent else LAUNCH, tmp_path
    if parent == "from its folder":
        file, folder = LAUNCH.name, LAUNCH.parent
    command = [sys.executable, "-c", LAUNCHER, str(file), *words]
    done = subprocess.run(command, env=environment, cwd=folder, capture_output=True, text=True, timeout=60)
    text = done.stdout + done.stderr
    assert "Traceback" not in text, text
    if told is None:
        assert "STARTED controller_node" in text and text.count("no policy is started") == 1
        assert done.returncode == 1, text
        assert text.count("the node /controller ended by itself with status 3") == 1, text
    else:
        assert told in text and "STARTED" not in text and "process started" not in text and done.returncode == 1, text
