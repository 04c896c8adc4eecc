"""Two FR3s in two namespaces of one domain, over DDS: neither gets anything of the other's."""

import ast
import re
from contextlib import contextmanager

import numpy as np
import yaml
from rclpy.node import Node
from ros_support import ROOT, NodeProcess, ros_graph, spun, wait_matched, wait_until
from stand_in_robot import FR3, StandInRobot
from std_msgs.msg import Bool, String

from beingh_core.contract import load_contract
from beingh_ros.messages.controller_state import read_state
from beingh_ros.messages.conversions import read_trajectory
from beingh_ros.nodes import estop_intake
from beingh_ros.nodes.estop_intake import EstopIntake

# One topic of diagnostics for all robots is the convention of ROS; names of nodes tell them apart there.
SHARED = {"/diagnostics", "/rosout", "/parameter_events"}


@contextmanager
def robot_in(graph, namespace):
    """A stand-in robot whose node is in a namespace."""
    node = Node("robot", context=graph.context, namespace=f"/{namespace}")
    with spun(node):
        yield StandInRobot(node)


def rows_sent(recorder):
    return np.array([row for message in recorder.messages for row in read_trajectory(message).positions])


def test_two_robots_in_two_namespaces_share_nothing_but_what_a_contract_names_absolutely(tmp_path):
    document = yaml.safe_load((ROOT / "config" / "robots" / "fr3.yaml").read_text())
    document["estop_topic"] = "/cell/estop"
    absolute = tmp_path / "fr3_cell.yaml"
    absolute.write_text(yaml.safe_dump(document, sort_keys=False))
    assert load_contract(absolute).hash == FR3.hash
    contracts = {"left": "fr3", "right": str(absolute)}
    with ros_graph() as graph, robot_in(graph, "left") as left, robot_in(graph, "right") as right:
        controllers = [
            NodeProcess(
                graph, "controller_node", {"contract": contract, "joint_state_timeout_s": 5.0},
                tmp_path / f"{name}.log", remap=[f"__ns:=/{name}"],
            )
            for name, contract in contracts.items()
        ]  # fmt: skip
        with controllers[0], controllers[1]:
            for robot in (left, right):
                robot.buffer.wait_for(1)
                robot.wait_for_state("running")
                wait_matched(robot.node, robot.chunks)
            left.move()
            ticks = len(right.arm.messages)
            right.arm.wait_for(ticks + 10)
            # The left one's commands, joint states and chunks: the right one stays where it is.
            np.testing.assert_allclose(
                rows_sent(right.arm), np.tile(FR3.home[:7], (len(rows_sent(right.arm)), 1)), atol=1e-9
            )
            assert np.ptp(rows_sent(left.arm)[:, 0]) > 0.05 and left.accepted.messages and not right.accepted.messages
            left.driving = 0.0
            # The left one's emergency stop.
            wait_matched(left.node, left.estop)
            told = len(right.state.messages)
            left.estop.publish(Bool(data=True))
            left.wait_for_state("stopped", "estop")
            right.arm.wait_for(len(right.arm.messages) + 20)
            assert {read_state(message).state for message in right.state.messages[told:]} <= {"running"}
            # An absolute name means itself in every namespace.
            cell = graph.create_publisher(Bool, "/cell/estop", 10)
            wait_matched(graph, cell)
            cell.publish(Bool(data=True))
            right.wait_for_state("stopped", "estop")
            names = {name for name, _ in graph.get_topic_names_and_types()}
            assert {n for n in names if not n.startswith(("/left/", "/right/"))} - SHARED == {"/cell/estop"}


def test_in_the_root_namespace_the_names_are_those_without_one():
    """What the drivers of the shipped robots publish and take, by full name."""
    with ros_graph() as graph:
        named = {
            name: {graph.resolve_topic_name(topic) for topic in topics_of(load_contract(name))}
            for name in ("fr3", "fr3_hand", "g1", "so101", "ur5e", "xarm7")
        }
    cameras = {"/scene_camera/color/image_raw", "/wrist_camera/color/image_raw"}
    own = {"/joint_states", "/estop"}
    assert named == {
        "fr3": cameras | own | {"/fr3_arm_controller/joint_trajectory", "/fr3_hand_controller/joint_trajectory"},
        "fr3_hand": cameras | own | {"/fr3_arm_controller/joint_trajectory", "/franka_gripper"},
        "g1": own | {"/camera/camera/color/image_raw", "/arm_sdk", "/lf/lowstate"},
        "so101": {
            "/static_camera/image_raw", "/follower/image_raw", "/follower/joint_states", "/estop",
            "/follower/arm_trajectory_controller/joint_trajectory", "/follower/gripper_controller/gripper_cmd",
        },
        "ur5e": own | {"/camera/camera/color/image_raw", "/scaled_joint_trajectory_controller/joint_trajectory"},
        "xarm7": own | {
            "/camera/camera/color/image_raw", "/camera/wrist/color/image_raw", "/xarm7_traj_controller/joint_trajectory",
            "/xarm_gripper/gripper_action",
        },
    }  # fmt: skip


def topics_of(contract):
    drivers = [group.topic for group in contract.command_groups]
    states = [driver.options["state_topic"] for driver in contract.drivers if "state_topic" in driver.options]
    return [*(c.topic for c in contract.cameras), *contract.joint_state_topics, *drivers, *states, contract.estop_topic]


def test_an_emergency_stop_that_is_published_in_another_namespace_only_is_told(monkeypatch):
    """A button that was received while names in contracts were absolute."""
    monkeypatch.setattr(estop_intake, "FOUND_S", 0.2)
    with ros_graph() as graph:
        node = Node("controller", context=graph.context, namespace="/left")
        intake = EstopIntake(node, "estop", lambda _: None)
        button = graph.create_publisher(Bool, "/estop", 1)
        graph.create_publisher(String, "/other/estop", 1)
        wait_until(lambda: "/left/estop, but there is /estop: " in intake.elsewhere(), what="the warning")
        graph.create_publisher(Bool, "/left/estop", 1)
        wait_until(lambda: intake.elsewhere() == "", what="its end")
        node.destroy_node()
        graph.destroy_publisher(button)


def test_no_node_names_a_topic_or_service_outside_its_namespace():
    """But for diagnostics, time and frames, which ROS has once."""
    found = set()
    for path in [*(ROOT / "beingh_ros").rglob("*.py"), *(ROOT / "launch").glob("*.py")]:
        calls = [node for node in ast.walk(ast.parse(path.read_text())) if isinstance(node, ast.Call)]
        words = [
            a.value for call in calls for a in call.args if isinstance(a, ast.Constant) and isinstance(a.value, str)
        ]
        found |= {word for word in words if re.fullmatch(r"(/[a-z]\w*)+", word)}
    assert {"/diagnostics", "/clock"} <= found <= SHARED | {"/clock"}
