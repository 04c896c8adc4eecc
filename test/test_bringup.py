"""From a contract to processes: the list, the command lines, starting and stopping in order, and the launch file."""

import ast
import os
import signal
import subprocess
import sys

import numpy as np
import pytest
import rclpy
from launch_support import ament_prefix, write_small_checkpoint
from rclpy.context import Context
from rclpy.node import Node
from ros_domains import next_domain
from ros_support import ROOT, Recorder, ros_graph, wait_matched, wait_until
from sensor_msgs.msg import JointState
from trajectories import trajectory_message
from trajectory_msgs.msg import JointTrajectory

from beingh_core.contract import load_contract, simulation
from beingh_core.errors import BeingHError
from beingh_ros.bringup import BringupOptions, ProcessGroup, ProcessSpec, processes
from beingh_ros.messages.conversions import stamp_to_ns
from beingh_ros.robots.launch_arguments import ARGUMENTS
from beingh_ros.robots.launching import extras_from, options_from
from beingh_ros.soak.misspelled import LAUNCHER

FR3 = load_contract("fr3")
LAUNCH = ROOT / "launch" / "robot.launch.py"


def specs(**options):
    return {spec.name: spec for spec in processes(BringupOptions(contract="fr3", **options))}


def test_which_processes_a_robot_needs_in_starting_order():
    assert list(specs(markers=False)) == ["controller"]
    assert list(specs(checkpoint="ck")) == ["controller", "policy", "markers"]
    assert list(specs(checkpoint="ck", simulate=True)) == ["sim", "controller", "policy", "markers"]
    assert [spec.name for spec in specs().values() if not spec.essential] == ["markers"]
    recording = specs(record=True, record_out="/data", namespace="left", instruction="go")["record"]
    assert recording.parameters["out"] == "/data" and recording.parameters["task"] == "go" and not recording.essential
    assert recording.command("python")[1:3] == ["-m", "beingh_ros.record"]
    assert list(specs(policy_url="tcp://10.0.0.2:5555", markers=False)) == ["controller", "policy"]


def test_options_reach_the_nodes(monkeypatch):
    found = specs(checkpoint="ck", simulate=True, instruction="go", seed=7, dry_run=True, namespace="left")
    assert found["controller"].parameters["dry_run"] is True
    assert found["policy"].parameters["instruction"] == "go" and found["policy"].parameters["autostart"] is True
    assert found["policy"].parameters["dataset_name"] == "fr3_cubes" and found["sim"].parameters["seed"] == 7
    assert {spec.namespace for spec in found.values()} == {"left"}
    with pytest.raises(BeingHError, match="use_sim_time"):
        specs(simulate=True, use_sim_time=True)
    monkeypatch.setattr(simulation, "PLAYED", ("forward_command",))
    with pytest.raises(BeingHError, match="kind `joint_trajectory`.*start this robot's own drivers"):
        specs(simulate=True)
    with pytest.raises(BeingHError, match="nobody"):
        processes(BringupOptions(contract="nobody"))


def test_a_policy_on_a_server_gets_what_it_needs_to_reach_it():
    server = {"policy_url": "tcp://10.0.0.2:5555", "policy_token_file": "/etc/token", "policy_jpeg_quality": 90}
    parameters = specs(**server, instruction="go", seed=7)["policy"].parameters
    assert server.items() <= parameters.items()
    assert (parameters["contract"], parameters["instruction"], parameters["autostart"]) == ("fr3", "go", True)
    assert "checkpoint" not in parameters and "policy_url" not in specs(checkpoint="ck")["policy"].parameters
    with pytest.raises(
        BeingHError, match=r"both a checkpoint \(ck\) and a policy server \(tcp://a:1\).*leave one empty"
    ):
        specs(checkpoint="ck", policy_url="tcp://a:1")


@pytest.mark.parametrize("text", ["", "1", "yes", "null", 'it\'s: a "cube" # not {that}', "grün", "/a b/c", "[1, 2]"])
def test_parameters_arrive_with_their_type_and_text(text):
    values = {"text": text, "flag": False, "count": 3, "rate": 2.0}
    command = ProcessSpec(
        name="named",
        executable="policy_node",
        parameters=values,
        remappings=(("/joint_states", "/j"),),
        namespace="/left/",
    ).command()
    assert command[:3] == [sys.executable, "-m", "beingh_ros.policy_node"]
    context = Context()
    rclpy.init(args=command[3:], context=context, domain_id=next_domain())
    node = Node("other", context=context)
    try:
        assert (node.get_name(), node.get_namespace()) == ("named", "/left")
        assert node.resolve_topic_name("/joint_states") == "/j"
        for name, value in values.items():
            assert node.declare_parameter(name, value).value == value
    finally:
        node.destroy_node()
        rclpy.shutdown(context=context)


def test_a_group_starts_keeps_logs_and_stops_in_reverse_order(tmp_path):
    pair = [
        ProcessSpec(name=name, executable="controller_node", parameters={"contract": "fr3"}, namespace=name)
        for name in ("one", "two")
    ]
    environment = {"ROS_DOMAIN_ID": str(next_domain()), "ROS_AUTOMATIC_DISCOVERY_RANGE": "LOCALHOST"}
    with ProcessGroup(pair, tmp_path / "log", environment) as group:
        wait_until(
            lambda: all("waiting for joint states" in group.log_tail(name) for name in ("one", "two")),
            what="both nodes",
        )
        group.check()
        assert group.exited() == {}
        assert list(group.stop().items()) == [("two", 0), ("one", 0)]
    assert "Traceback" not in group.log_tail("one", 100) + group.log_tail("two", 100)


def test_a_process_that_ends_by_itself_is_told_with_its_log(tmp_path):
    broken = ProcessSpec(name="broken", executable="controller_node", parameters={"contract": "nobody"})
    environment = {"ROS_DOMAIN_ID": str(next_domain()), "ROS_AUTOMATIC_DISCOVERY_RANGE": "LOCALHOST"}
    with ProcessGroup([broken], tmp_path, environment) as group:
        wait_until(group.exited, what="its end")
        with pytest.raises(BeingHError, match="status 2(.|\n)*there is no robot contract `nobody`"):
            group.check()


def test_a_process_that_ignores_signals_is_killed(tmp_path, monkeypatch):
    deaf = ProcessSpec(name="deaf", executable="x")
    code = "import signal, time\nfor n in (2, 15): signal.signal(n, signal.SIG_IGN)\nprint('up')\ntime.sleep(60)"
    monkeypatch.setattr(ProcessSpec, "command", lambda self: [sys.executable, "-c", code])
    group = ProcessGroup([deaf], tmp_path)
    group.start()
    wait_until(lambda: "up" in group.log_tail("deaf"))
    assert group.stop(patience_s=0.3) == {"deaf": -signal.SIGKILL}


DEFAULTS = {name: default for name, (default, _) in ARGUMENTS.items()} | {"checkpoint": "none"}


def test_launch_arguments_are_documented_and_become_options():
    text = DEFAULTS
    assert options_from(text) == BringupOptions(contract="fr3", torch_threads=0)
    changed = options_from(text | {"simulate": "true", "seed": "3", "instruction": "go", "namespace": "a"})
    assert (changed.simulate, changed.seed, changed.instruction, changed.namespace) == (True, 3, "go", "a")
    server = options_from(text | {"policy_url": "tcp://a:1", "policy_token_file": "t", "policy_jpeg_quality": "90"})
    assert (server.policy_url, server.policy_token_file, server.policy_jpeg_quality) == ("tcp://a:1", "t", 90)
    assert all(description for _, description in ARGUMENTS.values())


def test_modules_that_only_a_ros_installation_has_are_imported_where_they_are_used():
    for path in [LAUNCH, *(ROOT / "beingh_ros").rglob("*.py")]:
        for statement in ast.parse(path.read_text()).body:
            names = (
                [a.name for a in statement.names]
                if isinstance(statement, ast.Import)
                else [getattr(statement, "module", "") or ""]
            )
            assert not {name.split(".")[0] for name in names} & {
                "launch",
                "launch_ros",
                "control_msgs",
                "cv_bridge",
                "rosbag2_py",
            }, path


@pytest.mark.parametrize(
    "arguments, installed, display, expected",
    [
        ({}, {"rviz2", "robot_state_publisher"}, True, {"rviz2"}),
        ({}, {"rviz2", "robot_state_publisher"}, False, set()),
        ({"simulate": "true"}, {"rviz2", "robot_state_publisher"}, True, {"rviz2", "robot_state_publisher"}),
        ({"simulate": "true"}, set(), True, set()),
        ({"rviz": "false", "simulate": "True"}, {"rviz2", "robot_state_publisher"}, True, {"robot_state_publisher"}),
        ({"rviz": "true", "robot_state_publisher": "true"}, {"rviz2", "robot_state_publisher"}, False,
         {"rviz2", "robot_state_publisher"}),
    ],
)  # fmt: skip
def test_what_starts_beside_our_nodes(arguments, installed, display, expected):
    text = DEFAULTS | arguments
    assert extras_from(text, installed.__contains__, display) == expected


@pytest.mark.parametrize(
    "arguments, words",
    [
        ({"rviz": "true"}, "rviz2 is not installed.*sudo apt install"),
        ({"rviz": "maybe"}, "argument rviz: `maybe`.*true, false, auto"),
        ({"simulate": "auto"}, "argument simulate: `auto`.*true, false"),
        ({"dry_run": "flase"}, "argument dry_run: `flase`"),
        ({"seed": "x"}, "argument seed: `x` is no whole number"),
        ({"policy_jpeg_quality": "high"}, "argument policy_jpeg_quality: `high` is no whole number"),
    ],
)
def test_a_mistake_in_a_launch_argument_is_told(arguments, words):
    text = DEFAULTS | arguments
    with pytest.raises(BeingHError, match=words):
        extras_from(text, lambda package: False, True)
        options_from(text)


NODE = """#!{python}
import sys
from beingh_ros.{name} import main
sys.exit(main())
"""
TELLS_ITS_PARAMETERS = """#!{python}
import rclpy
from rclpy.node import Node
rclpy.init()
node = Node("x", automatically_declare_parameters_from_overrides=True)
values = {{name: node.get_parameter(name).value for name in ("instruction", "checkpoint", "seed", "autostart")}}
print("TOLD", node.get_fully_qualified_name(), values, flush=True)
try:
    rclpy.spin(node)
except BaseException:
    pass
"""


def test_the_launch_file_starts_talks_and_brakes_last(tmp_path):
    pytest.importorskip("launch_ros", reason="launch exists only in a ROS installation")
    prefix = ament_prefix(
        tmp_path / "prefix", controller_node=NODE, markers_node=NODE, policy_node=TELLS_ITS_PARAMETERS
    )
    write_small_checkpoint(tmp_path / "007: x")
    with ros_graph() as graph:
        home = dict(zip(FR3.joint_names, FR3.home))
        states = graph.create_publisher(JointState, "/left/joint_states", 10)
        chunks = graph.create_publisher(JointTrajectory, "/left/policy/chunk", 10)
        arm, _hand = (Recorder(graph, JointTrajectory, f"/left/{group.topic}") for group in FR3.driver.groups)
        buffer = Recorder(graph, JointTrajectory, "/left/controller/buffer")
        graph.create_timer(0.02, lambda: states.publish(JointState(name=list(home), position=list(home.values()))))
        paths = [str(prefix), *filter(None, [graph.environment.get("AMENT_PREFIX_PATH")])]
        environment = graph.environment | {"AMENT_PREFIX_PATH": ":".join(paths), "ROS_LOG_DIR": str(tmp_path)}
        words = ["namespace:=left", "instruction:=yes", "checkpoint:=007: x", "seed:=7", "rviz:=false"]
        with open(tmp_path / "out", "wb") as out:
            launch = subprocess.Popen(
                [sys.executable, "-c", LAUNCHER, str(LAUNCH), *words], env=environment, stdout=out,
                stderr=subprocess.STDOUT, cwd=tmp_path, start_new_session=True,
            )  # fmt: skip
        try:
            wait_until(lambda: b"TOLD" in (tmp_path / "out").read_bytes(), what="the policy's parameters")
            arm.wait_for(5)
            wait_matched(graph, chunks)
            planned = buffer.wait_next()
            rows = np.array([point.positions for point in planned.points])
            rows[:, 0] += 0.03 * np.arange(len(rows))
            stamp_ns = stamp_to_ns(planned.header.stamp)
            chunks.publish(
                trajectory_message(
                    FR3.joint_names, rows, stamp_ns=stamp_ns, rate_hz=20, frame_id=planned.header.frame_id
                )
            )
            wait_until(lambda: arm.messages[-1].points[0].positions[0] > 0.15, what="motion")
            os.killpg(launch.pid, signal.SIGINT)
            assert launch.wait(20) == 0
        finally:
            if launch.poll() is None:
                os.killpg(launch.pid, signal.SIGKILL)
        text = (tmp_path / "out").read_text()
        told = {"instruction": "yes", "checkpoint": "007: x", "seed": 7, "autostart": True}
        assert f"TOLD /left/policy {told}" in text and "sent the braking path" in text and "Traceback" not in text
        speeds = np.diff([point.positions[0] for point in arm.messages[-1].points])
        assert speeds[0] > 0 and np.all(np.diff([*speeds, 0.0]) < 0), "the last command brakes to rest"
