"""`beingh robots`: what it lists, shows and checks, in a file and in a running graph; its exit status."""

import importlib.util
import re
import sys
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import rclpy
from interface_builder import provide
from rclpy.context import Context
from rclpy.executors import SingleThreadedExecutor
from rclpy.node import Node
from rclpy.qos import DurabilityPolicy, QoSProfile
from ros_support import ROOT, in_executor, ros_graph, wait_until
from sensor_msgs.msg import CompressedImage, Image, JointState
from std_msgs.msg import Bool, String
from test_robots import ROBOTS
from trajectory_msgs.msg import JointTrajectory

from beingh_core.contract import check as checks
from beingh_core.contract import load_contract
from beingh_core.contract.check import ERROR, OK, WARN, Row, check_contract, table
from beingh_core.errors import BeingHError
from beingh_ros.cli import main
from beingh_ros.messages.conversions import array_to_image
from beingh_ros.robots import drivers
from beingh_ros.robots.live import LiveCheck
from beingh_ros.robots.received import Received

FR3 = load_contract("fr3")
DOCUMENT = (ROOT / "config" / "robots" / "fr3.yaml").read_text()
# Together they have every kind of driver that a shipped robot has.
DRIVEN = ("aloha", "d1", "fr3", "fr3_hand", "g1", "g1_dex3", "gen3", "mobile_ur5e", "so101", "ur5e", "xarm7")


def lines(capsys):
    """What was printed: subject -> (level, found)."""
    found = [re.match(r"(OK|WARN|ERROR) +(\S.*?)  +(.*)", line) for line in capsys.readouterr().out.splitlines()]
    return {match[2]: (match[1], match[3]) for match in found if match}


def written(tmp_path, *changes):
    """The FR3's contract with some text exchanged."""
    text = DOCUMENT
    for old, new in changes:
        assert old in text
        text = text.replace(old, new)
    path = tmp_path / "robot.yaml"
    path.write_text(text)
    return str(path)


@pytest.mark.parametrize(
    "kind, field, told",
    [
        ("foo_msgs/msg/Hand", "data[{}]", "needs the message type foo_msgs/msg/Hand, which is not installed.*foo-msgs"),
        ("std_msgs/msg/Int16MultiArray", "dat[{}]", "has no field `dat.*Allowed: layout, data.*did you mean `data`"),
        ("std_msgs/msg/Int16MultiArray", "data[{}].q", "has no field `data.*: `data` is int16"),
        ("geometry_msgs/msg/PolygonStamped", "polygon.points[{}].w", "has no field `polygon.*Allowed: x, y, z"),
    ],
)
def test_a_state_whose_messages_cannot_be_read_is_an_error(tmp_path, capsys, kind, field, told):
    import yaml

    folder = Path(__file__).parent / "data" / "robots"
    document = yaml.safe_load((folder / "inspire_hand.yaml").read_text())
    document["urdf"] = str(folder / document["urdf"])
    signal = next(iter(document["state"].values()))
    signal.pop("names", None)
    signal |= {"type": kind, "fields": [field.format(i) for i in range(len(signal["joints"]))]}
    path = tmp_path / "robot.yaml"
    path.write_text(yaml.safe_dump(document))
    assert main(["robots", "check", str(path)]) == 1
    shown = capsys.readouterr().out
    assert re.search(rf"ERROR +state\..*robot.yaml:\d+: .*{told}", shown), shown


def test_the_list_has_every_robot_of_the_package(capsys):
    assert main(["robots", "list"]) == 0
    assert set(lines(capsys)) == set(ROBOTS)


@pytest.mark.parametrize("robot", ROBOTS)
def test_show_tells_limits_topics_and_assumptions(robot, capsys):
    assert main(["robots", "show", robot]) == 0
    text, contract = capsys.readouterr().out, load_contract(robot)
    row = re.search(rf"^  {contract.joint_names[0]} +(.*)$", text, re.M)[1].split()
    assert float(row[3]) == pytest.approx(contract.limits.velocity[0], rel=1e-3)
    assert robot != "g1" or re.search(
        r"kp: \{right_shoulder_pitch_joint: 80, .*hold: \[waist_yaw_joint, waist_roll", text
    )
    for word in (*(c.topic for c in contract.cameras), *(a.measure for a in contract.assumed), contract.hash):
        assert word in text


@pytest.mark.parametrize("robot", DRIVEN)
def test_the_shipped_robots_pass_where_their_messages_are_installed(robot, capsys):
    for package in ("control_msgs", "franka_msgs", "nav_msgs", "unitree_hg"):
        provide(package)
    assert main(["robots", "check", robot]) == 0
    captured = capsys.readouterr().out
    assert "errors: 0, warnings: 0" in captured and "ERROR" not in captured
    for assumption in load_contract(robot).assumed:
        assert assumption.key in captured and assumption.measure in captured


def test_drivers_messages_that_are_not_installed_are_an_error(monkeypatch, capsys):
    monkeypatch.setitem(sys.modules, "control_msgs", None)
    monkeypatch.setitem(sys.modules, "control_msgs.action", None)
    assert main(["robots", "check", "xarm7"]) == 1
    level, found = lines(capsys)["drivers"]
    assert level == ERROR and "gripper_command needs control_msgs" in found and "apt install" in found
    assert re.search(r"xarm7\.yaml:\d+: drivers\.1\.kind: ", found)


def test_a_joint_that_only_the_driver_refuses_is_an_error(tmp_path, capsys):
    provide("unitree_hg")
    text = (
        (ROOT / "config" / "robots" / "g1.yaml")
        .read_text()
        .replace("hold: [waist_yaw_joint,", "hold: [left_knee_joint,")
    )
    text = re.sub(r"waist_yaw_joint: [\d.]+, ", "", text)
    path = tmp_path / "g1.yaml"
    path.write_text(re.sub(r"^  driver\.k.*\n", "", text, flags=re.M))
    assert main(["robots", "check", str(path)]) == 1
    assert re.search(r"g1\.yaml:\d+: driver\.hold: arm_sdk has no joint `left_knee_joint`", lines(capsys)["drivers"][1])


def test_a_file_that_does_not_load_is_one_row_with_its_place(tmp_path, capsys):
    assert main(["robots", "check", written(tmp_path, ("rate_hz: 20 ", "rate_hx: 20 "))]) == 1
    (level, found), *others = lines(capsys).values()
    assert level == ERROR and re.search(r"robot\.yaml:\d+", found) and not others
    assert main(["robots", "check", "fr4"]) == 1
    assert "did you mean `fr3`" in lines(capsys)["contract"][1]


def test_what_the_nodes_need_and_is_not_installed_is_an_error(tmp_path, monkeypatch):
    real = importlib.util.find_spec
    monkeypatch.setattr(checks, "find_spec", lambda name: None if name in ("pinocchio", "cv2") else real(name))
    _, rows = check_contract(written(tmp_path, ("encoding: rgb8", "encoding: bayer_rggb8")))
    errors = {row.subject: row.found for row in rows if row.level == ERROR}
    assert errors.keys() == {"kinematics", "codec", "cameras.scene_view", "cameras.wrist_view"}
    assert "pip install pin" in errors["codec"] and "needs OpenCV" in errors["cameras.scene_view"]
    for subject, key in (
        ("codec", "home"), ("kinematics", "eef_frame"), ("cameras.wrist_view", "cameras.wrist_view.encoding")
    ):  # fmt: skip
        assert re.search(rf"robot\.yaml:\d+: {re.escape(key)}: ", errors[subject])


def test_a_codec_that_changes_a_command_is_an_error(tmp_path):
    """Home lies outside of closed..open, where a gripper cannot be commanded to."""
    _, rows = check_contract(written(tmp_path, ("open: 0.04", "open: 0.02")))
    (row,) = [row for row in rows if row.level == ERROR]
    assert row.subject == "codec" and "action.gripper_position" in row.found
    assert re.search(r"robot\.yaml:\d+: home: ", row.found)


def test_a_checkpoint_of_another_robot_is_an_error(capsys):
    checkpoint = str(ROOT / "checkpoints" / "fr3_cubes")
    assert main(["robots", "check", "fr3", "--checkpoint", checkpoint]) == 0
    assert "fits" in lines(capsys)["policy"][1]
    assert main(["robots", "check", "ur5e", "--checkpoint", checkpoint]) == 1
    assert lines(capsys)["policy"][0] == ERROR


def test_the_drivers_are_made_where_no_robot_can_hear_them(monkeypatch):
    topic, made = f"/{FR3.driver.groups[0].topic}", drivers.make_drivers
    with ros_graph() as graph:
        monkeypatch.setenv("ROS_DOMAIN_ID", graph.environment["ROS_DOMAIN_ID"])
        seen = []

        def wait(node, contract):
            made(node, contract)
            beside = Node("beside", context=graph.context)
            beside.create_publisher(JointTrajectory, "beside", 1)
            wait_until(lambda: graph.count_publishers("/beside"), what="a publisher of this domain")
            time.sleep(0.5)
            seen.append((graph.count_publishers(topic), node.count_publishers(topic)))
            beside.destroy_node()

        monkeypatch.setattr(drivers, "make_drivers", wait)
        endpoints = drivers.driver_endpoints(FR3, "")
        assert seen == [(0, 1)] and endpoints.commands[topic] == "trajectory_msgs/msg/JointTrajectory"


def test_a_row_is_one_line():
    rows = [Row(level=OK, subject="a", found="one\n  two"), Row(level=ERROR, subject="longer", found="three")]
    assert table(rows) == "OK     a       one two\nERROR  longer  three"


# --- against a running graph ------------------------------------------------------------------------------------


class Cell:
    """A robot's side of the wire in a namespace, with some of it wrong."""

    def __init__(self, graph, name, *, image=Image, encoding="rgb8", prefix="", joint_rate_hz=20.0, age_s=0.0,
                 subscribers=True, durability=DurabilityPolicy.VOLATILE, rival=False, estop=Bool, camera="scene_camera",
                 picture_rate_hz=15.0, cameras=1):  # fmt: skip
        self.graph, self.prefix, self.age_s, self.image, self.encoding = graph, prefix, age_s, image, encoding
        make = graph.create_publisher
        names = [f"/{name}/{place}/color/image_raw" for place in (camera, "wrist_camera")]
        self.cameras = [make(image, names[0], 5), make(Image, names[1], 5)]
        self.more = [make(image, names[0], 5) for _ in range(cameras - 1)]
        self.states = make(JointState, f"/{name}/joint_states", 10)
        self.kept = [make(estop, f"/{name}/estop", 1)] if estop else []
        qos = QoSProfile(depth=1, durability=durability)
        topics = [f"/{name}/{group.topic}" for group in FR3.driver.groups][: None if subscribers else 1]
        self.kept += [graph.create_subscription(JointTrajectory, topic, lambda _: None, qos) for topic in topics]
        self.kept += [make(JointTrajectory, topics[0], 1)] if rival else []
        graph.create_timer(1.0 / picture_rate_hz, self._pictures)
        graph.create_timer(1.0 / joint_rate_hz, self._joints)

    def _stamp_ns(self):
        return self.graph.get_clock().now().nanoseconds - round(self.age_s * 1e9)

    def _pictures(self):
        picture = array_to_image(np.zeros((16, 24, 3), np.uint8), self._stamp_ns(), "camera")
        self.cameras[1].publish(picture)
        if self.image is Image:
            picture.encoding = self.encoding
            self.cameras[0].publish(picture)

    def _joints(self):
        message = JointState(name=[self.prefix + n for n in FR3.joint_names], position=list(FR3.home))
        message.header.stamp.sec, message.header.stamp.nanosec = divmod(self._stamp_ns(), 10**9)
        self.states.publish(message)


FAULTS = {
    "fine": ({}, {}),
    "type": ({"image": CompressedImage}, {"live cameras.scene_view": "another type by /observer (sensor_msgs/msg/CompressedImage)"}),
    "encoding": ({"encoding": "bgr8"}, {"live cameras.scene_view": "bgr8"}),
    "elsewhere": ({"camera": "scene_camra"}, {"live cameras.scene_view": "did you mean `/elsewhere/scene_camra/color/image_raw`"}),
    "prefixed": ({"prefix": "left_"}, {"live joint_states": "prefix 'left_'", "live joints": "prefix 'left_'"}),
    "slow": ({"joint_rate_hz": 2.0}, {"live joint_states": "Hz is too slow for 0.25 s"}),
    "stale": (
        {"age_s": 1.0},
        {
            "live cameras.scene_view": "stamps are 1", "live cameras.wrist_view": "chrony",
            "live joint_states": "0.25 s", "live joints": "stamps are",
        },
    ),
    "deaf": ({"subscribers": False}, {"live /deaf/fr3_hand_controller/joint_trajectory": "nobody subscribes"}),
    "latched": (
        {"durability": DurabilityPolicy.TRANSIENT_LOCAL},
        {f"live /latched/{group.topic}": "the QoS of /observer" for group in FR3.driver.groups},
    ),
    "rival": ({"rival": True}, {"live /rival/fr3_arm_controller/joint_trajectory": "/observer publishes"}),
    "estop": ({"estop": String}, {"live estop_topic": "another type"}),
    "no_button": ({"estop": None}, {}),
    "slow_camera": ({"picture_rate_hz": 6.0}, {}),
    "two_cameras": ({"cameras": 2}, {}),
}  # fmt: skip


def test_each_fault_of_a_running_robot_is_told_where_it_is():
    with ros_graph() as graph:
        cells = {name: Cell(graph, name, **faults) for name, (faults, _) in FAULTS.items()}
        context, found = Context(), {}  # of its own: in one, a topic cannot have two types
        rclpy.init(context=context, domain_id=int(graph.environment["ROS_DOMAIN_ID"]))
        executor = SingleThreadedExecutor(context=context)
        nodes = {name: LiveCheck(replace(FR3, rate_hz=10.0), name, context=context) for name in cells}
        for node in nodes.values():
            executor.add_node(node)

        def look():
            end_s = time.monotonic() + 1.0
            while time.monotonic() < end_s:
                executor.spin_once(timeout_sec=0.05)
            for name, node in nodes.items():
                commands = {
                    f"/{name}/{group.topic}": "trajectory_msgs/msg/JointTrajectory" for group in FR3.driver.groups
                }
                endpoints = drivers.Endpoints(commands=commands, actions={}, states={})
                found[name] = {row.subject: row for row in node.rows(endpoints)}
            return not [name for name in FAULTS if differs(name)]

        def differs(name):
            errors = {subject: row.found for subject, row in found[name].items() if row.level == ERROR}
            expected = FAULTS[name][1]
            fits = errors.keys() == expected.keys() and all(
                text in errors[subject] for subject, text in expected.items()
            )
            return None if fits else (name, errors)

        wait_until(look, 30.0, lambda: [differs(name) for name in FAULTS if differs(name)])
        for node in nodes.values():
            node.destroy_node()
        rclpy.try_shutdown(context=context)
    fine = found["fine"]
    assert {row.level for row in fine.values()} == {OK}
    assert re.search(r"rgb8, 24x16, 1\d\.\d Hz", fine["live cameras.scene_view"].found)
    assert "reliable" in fine["live cameras.scene_view"].found and "8 numbers" in fine["live joint_states"].found
    assert found["no_button"]["live estop_topic"].level == WARN
    for name, words in (("slow_camera", "slower than rate_hz, 10"), ("two_cameras", "2 publishers")):
        row = found[name]["live cameras.scene_view"]
        assert row.level == WARN and words in row.found, row


def test_the_command_compares_with_the_running_graph_and_tells_scripts(monkeypatch, capsys):
    with ros_graph() as graph:
        monkeypatch.setenv("ROS_DOMAIN_ID", graph.environment["ROS_DOMAIN_ID"])
        Cell(graph, "left", picture_rate_hz=25.0)
        words = ["robots", "check", "fr3", "--live"]
        assert main([*words, "--namespace", "/left/"]) == 0, capsys.readouterr().out
        assert lines(capsys)["live /left/fr3_arm_controller/joint_trajectory"][0] == OK
        assert main([*words, "--wait", "1"]) == 1
        assert "nobody publishes /joint_states" in lines(capsys)["live joint_states"][1]


def test_an_action_without_a_server_or_with_another_one(monkeypatch):
    provide("control_msgs")
    from control_msgs.action import GripperCommand, ParallelGripperCommand
    from rclpy.action import ActionServer

    contract = load_contract("xarm7")
    endpoints = drivers.Endpoints(
        commands={}, actions={"/xarm_gripper/gripper_action": "control_msgs/action/GripperCommand"}, states={}
    )
    with ros_graph() as graph:
        node = LiveCheck(contract, context=graph.context)

        def row():
            return next(row for row in node.rows(endpoints) if row.subject.endswith("gripper_action"))

        assert (row().level, "nobody serves the action" in row().found) == (ERROR, True)
        other = ActionServer(graph, ParallelGripperCommand, "/xarm_gripper/gripper_action", lambda _: None)
        wait_until(lambda: "as control_msgs/action/ParallelGripperCommand" in row().found, what=lambda: row().found)
        in_executor(graph, other.destroy)
        served = ActionServer(graph, GripperCommand, "/xarm_gripper/gripper_action", lambda _: None)
        wait_until(lambda: row().level == OK, what=lambda: row().found)
        assert "served by /observer" in row().found
        in_executor(graph, served.destroy)
        node.destroy_node()


def test_messages_are_judged_by_rate_and_age():
    received, s = Received(), 10**9
    with pytest.raises(BeingHError, match="0 messages came"):
        received.check("camera", 0.5)
    for k in range(11):
        received.take(k * s // 10, k * s // 10 + 20_000_000, "4x4")
    received.check("camera", 0.25)
    assert received.rate_hz == pytest.approx(10.0) and received.summary() == "4x4, 10.0 Hz, up to 20 ms old"
    with pytest.raises(BeingHError, match="10 Hz is too slow for 0.05 s"):
        received.check("camera", 0.05)
    received.take(3 * s, 2 * s)
    with pytest.raises(BeingHError, match="stamps are -1 to 0.02 s old"):
        received.check("camera", 0.25)


@pytest.mark.parametrize(
    ("added", "level", "told"),
    [
        ("", OK, r"34 pairs keep 0\.01 m"),
        ("self_collision: {margin: 0.03}", OK, r"34 pairs keep 0\.03 m"),
        ("self_collision: {check: false}", OK, "chunks are NOT checked"),
        ("keep_out: {lamp: {center: [0.5, 0, 0.4], size: [0.4, 0.4, 0.4]}}", ERROR, "at home .* is in the box `keep_out.lamp`"),
    ],
)  # fmt: skip
def test_what_is_checked_for_self_collision_is_told(tmp_path, added, level, told):
    _, rows = check_contract(written(tmp_path, ("estop_topic:", f"{added}\nestop_topic:")))
    (row,) = [row for row in rows if row.subject == "self_collision"]
    assert row.level == level and re.search(told, row.found), row


@pytest.mark.parametrize(
    ("added", "told"),
    [
        ("self_collision: {margin: 0.001}", "self_collision.margin: 0.001 is out of range.*at least 0.005"),
        ("self_collision: {margins: 0.01}", "unknown key `margins`"),
        ("self_collision: {allowed: {fr3_hnd: [fr3_link2]}}", "unknown link `fr3_hnd`"),
        ("self_collision: {allowed: {fr3_hand: [fr3_lnk2]}}", "the URDF has no link `fr3_lnk2`"),
        ("self_collision: {check: false}\nkeep_out: {a: {center: [0, 1, 0], size: [1, 1, 1]}}", "leaves `keep_out` without"),
    ],
)  # fmt: skip
def test_a_wrong_setting_of_the_check_is_one_error(tmp_path, added, told):
    with pytest.raises(BeingHError, match=re.compile(told, re.DOTALL)):
        load_contract(written(tmp_path, ("estop_topic:", f"{added}\nestop_topic:")))
