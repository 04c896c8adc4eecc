"""The recorder as a process, over real DDS: what is in its bags is what was published; it is killed, and its disk fills."""

import itertools
import json
import os
import pty
import signal
import subprocess
import sys
import time

import pytest
from ros_support import ROOT, NodeProcess, Recorder, ros_graph, wait_matched, wait_until

pytest.importorskip("rosbags")
pytest.importorskip("mcap")
from bag_support import STORE, image, joints
from diagnostic_msgs.msg import DiagnosticStatus
from rclpy.qos import DurabilityPolicy, QoSProfile, qos_profile_sensor_data
from rosbags.highlevel import AnyReader
from sensor_msgs.msg import Image, JointState, Joy
from std_msgs.msg import Bool, Header, String
from std_srvs.srv import SetBool, Trigger
from test_nodes_system import call
from trajectory_msgs.msg import JointTrajectory
from visualization_msgs.msg import Marker

from beingh_core.contract import load_contract
from beingh_core.data.bags import open_bag
from beingh_ros.messages.conversions import ns_to_stamp
from beingh_ros.record.definitions import definition_text, message_class
from beingh_ros.record.topics import wanted_topics

FR3 = load_contract("fr3")
LATCHED = QoSProfile(depth=1, durability=DurabilityPolicy.TRANSIENT_LOCAL)
IMAGE_TOPICS = [f"/{camera.topic}" for camera in FR3.cameras]


class Robot:
    """Publishes what a robot does, as the `rosbags` library serialises it, and remembers it."""

    def __init__(self, graph):
        self.graph, self.sent, self.count = graph, {}, 0
        self.images = [graph.create_publisher(Image, topic, 10) for topic in IMAGE_TOPICS]
        self.joints = graph.create_publisher(JointState, "/joint_states", qos_profile_sensor_data)
        self.instruction = graph.create_publisher(String, "policy/instruction", LATCHED)
        self.instruction.publish(String(data="pick up the red cube"))

    def publish(self, publisher, data):
        self.sent.setdefault(publisher.topic_name, []).append(data)
        publisher.publish(data)

    def ready(self):
        wait_matched(self.graph, *self.images, self.joints, self.instruction)

    def step(self, steps, size=32):
        for _ in range(steps):
            self.count += 1
            for publisher in self.images if self.count % 3 == 0 else ():
                self.publish(publisher, image(self.count, size))
            self.publish(self.joints, joints(self.count))
            time.sleep(0.01)


def recorder(graph, tmp_path, module="record", **parameters):
    out = tmp_path / "episodes"
    given = {"out": str(out), "min_free_mb": 0.0} | parameters
    return NodeProcess(graph, module, given, tmp_path / f"record{time.monotonic_ns()}.log")


def trigger(graph, name):
    return call(graph, Trigger, f"/record/{name}", Trigger.Request())


def ended(tmp_path, count=1):
    """The finished bags."""

    def finished():
        return sorted(f.parent for f in (tmp_path / "episodes").glob("*_fr3*/metadata.yaml") if not f.parent.suffix)

    return wait_until(lambda: len(finished()) >= count and finished(), what=f"{count} finished bags")


def events_in(bag):
    return [json.loads(bag.deserialise(message).data) for message in bag.messages(["/record/events"])]


def test_an_episode_holds_what_was_published_and_what_people_did(tmp_path):
    with ros_graph() as graph:
        robot = Robot(graph)
        pedal, joy = graph.create_publisher(Bool, "/pedal", 10), graph.create_publisher(Joy, "/joy", 10)
        told, states = (
            Recorder(graph, String, "record/events"),
            Recorder(graph, DiagnosticStatus, "record/state", LATCHED),
        )
        given = {"pedals": ["/pedal=mark contact"], "joy_topic": "/joy", "joy_buttons": ["0=toggle", "1=hold person"]}
        with recorder(graph, tmp_path, operator="Ada", preroll_s=30.0, topics=["/extra"], **given) as process:
            robot.ready()
            wait_matched(graph, pedal, joy)
            extra = graph.create_publisher(Marker, "/extra", 10)
            robot.step(20)
            joy.publish(Joy(buttons=[1, 0]))
            told.wait_for(1)
            robot.step(40)
            for pressed in (True, True, False):
                pedal.publish(Bool(data=pressed))
            joy.publish(Joy(buttons=[0, 1]))
            wait_matched(graph, extra)
            extra.publish(Marker(id=7, text="x"))
            robot.step(20)
            joy.publish(Joy(buttons=[0, 0]))
            told.wait_for(4)
            assert call(graph, SetBool, "/record/success", SetBool.Request(data=True)).success
            assert trigger(graph, "stop").success and not trigger(graph, "stop").success
            [path] = ended(tmp_path)
            wait_until(lambda: any("messages" in v.value for m in states.messages for v in m.values if v.key == "last"))
            assert process.end(signal.SIGTERM) == 0, process.output
        assert "not complete" not in process.output and "lacks" not in process.output
        with open_bag(path) as bag, AnyReader([path]) as other:
            assert bag.complete and bag.findings == [] and bag.custom["beingh_success"] == "true"
            assert {k: bag.custom[f"beingh_{k}"] for k in ("task", "operator")} == {
                "task": "pick up the red cube",
                "operator": "Ada",
            }
            for name, sent in robot.sent.items():
                assert [message.data for message in bag.messages([name])] == sent, name
            [marker] = bag.messages(["/extra"])
            assert bag.deserialise(marker).id == 7 and bag.deserialise(marker).text == "x"
            [instruction] = bag.messages(["/policy/instruction"])
            assert bag.deserialise(instruction).data == "pick up the red cube"
            states = list(bag.messages(["/joint_states"]))
            assert all(0 < message.log_ns - message.publish_ns < 10**9 for message in states)
            assert [message.sequence for message in states] == list(range(1, 81))
            names = [(e["event"], e.get("name") or e.get("who")) for e in events_in(bag)]
            assert names == [
                ("start", None),
                ("mark", "contact"),
                ("in_charge", "person"),
                ("in_charge", "policy"),
                ("success", None),
                ("end", None),
            ]
            first, last = events_in(bag)[0], events_in(bag)[-1]
            assert first["contract_hash"] == FR3.hash and first["contract"] == FR3.path.read_text()
            assert last["success"] is True and last["topics"]["/joint_states"]["lost"] == 0
            who = [bag.deserialise(message).frame_id for message in bag.messages(["/record/in_charge"])]
            assert [name for name, _ in itertools.groupby(who)] in (
                ["nobody", "person"],
                ["nobody", "person", "nobody"],
            )
            for connection in other.connections:  # the types as the middleware itself describes them
                if connection.digest:
                    assert connection.digest == STORE.hash_rihs01(connection.msgtype)
            for connection, _, data in other.messages():
                other.deserialize(data, connection.msgtype)


def test_ticks_say_who_is_in_charge_of_them(tmp_path):
    with ros_graph() as graph:
        plans, accepted = (
            graph.create_publisher(kind, name, 10)
            for kind, name in ((JointTrajectory, "controller/buffer"), (Header, "controller/accepted"))
        )
        received = Recorder(graph, Header, "record/in_charge")
        with recorder(graph, tmp_path):
            wait_matched(graph, plans, accepted)
            accepted.publish(Header(stamp=ns_to_stamp(50 * 10**9), frame_id="epoch"))
            time.sleep(0.2)
            dt_ns = round(1e9 / FR3.rate_hz)
            stamps = [50 * 10**9 + step * dt_ns for step in range(-1, FR3.policy.chunk_length + 2)]
            for stamp_ns in stamps:
                plans.publish(JointTrajectory(header=Header(stamp=ns_to_stamp(stamp_ns), frame_id="epoch")))
            wait_until(lambda: sum(m.stamp.sec < 1000 for m in received.messages) == len(stamps))
            ticks = [m for m in received.messages if m.stamp.sec < 1000]
            assert [m.stamp for m in ticks] == [ns_to_stamp(stamp_ns) for stamp_ns in stamps]
            assert [m.frame_id for m in ticks] == ["nobody", *["policy"] * FR3.policy.chunk_length, "nobody", "nobody"]


def test_a_discarded_episode_is_gone_and_the_next_one_is_not_touched(tmp_path):
    with ros_graph() as graph:
        robot = Robot(graph)
        command = graph.create_publisher(String, "record/command", 10)
        told, states = (
            Recorder(graph, String, "record/events"),
            Recorder(graph, DiagnosticStatus, "record/state", LATCHED),
        )
        task = lambda: next((pair.value for m in states.messages[-1:] for pair in m.values if pair.key == "task"), "")
        with recorder(graph, tmp_path, preroll_s=0.0) as process:
            robot.ready()
            wait_matched(graph, command)
            wait_until(lambda: task() == "pick up the red cube", what="the latched instruction")
            for text in ("start one", "nonsense", "discard", "start two"):
                command.publish(String(data=text))
            told.wait_for(3)
            robot.instruction.publish(String(data="pick up the red cube"))  # the same again says nothing new
            robot.step(5)
            command.publish(String(data="stop failure"))
            [path] = ended(tmp_path)
            assert [child.name for child in (tmp_path / "episodes").iterdir()] == [path.name]
            assert "no command 'nonsense'" in process.output
        with open_bag(path) as bag:
            assert bag.custom["beingh_task"] == "two" and bag.custom["beingh_success"] == "false"
            assert bag.topics["/joint_states"].count == 5


def test_a_disk_that_fills_ends_the_episode_and_nothing_else(tmp_path):
    script = tmp_path / "small_disk.py"
    script.write_text(
        "import resource, sys\n"
        "resource.setrlimit(resource.RLIMIT_FSIZE, (3_000_000, 3_000_000))\n"  # the reserve needs 2 MiB
        "from beingh_ros.record.node import main\n"
        "sys.exit(main())\n"
    )
    with ros_graph() as graph:
        robot = Robot(graph)
        with recorder(graph, tmp_path, module=str(script), preroll_s=0.0) as process:
            robot.ready()
            trigger(graph, "start")
            robot.step(150, size=160)
            wait_until(lambda: "not complete: the disk failed" in process.output, what=lambda: process.output)
            [path] = ended(tmp_path)
            assert trigger(graph, "start").success
            robot.step(3)
            assert trigger(graph, "stop").success
            assert len(ended(tmp_path, 2)) == 2
        with open_bag(path) as bag:
            for name, sent in robot.sent.items():
                read = [message.data for message in bag.messages([name])]
                assert read == sent[: len(read)] and len(read) >= (5 if "camera" in name else 15), (name, len(read))
            assert not bag.complete and any("File too large" in finding for finding in bag.findings)


def test_too_little_room_begins_nothing(tmp_path):
    with ros_graph() as graph, recorder(graph, tmp_path, min_free_mb=1e9):
        answer = trigger(graph, "start")
        assert not answer.success and "MB are free" in answer.message and "min_free_mb" in answer.message


def test_an_episode_has_its_longest_time(tmp_path):
    with (
        ros_graph() as graph,
        recorder(graph, tmp_path, max_s=0.3, start=True, without=["/joint_states", *IMAGE_TOPICS]),
    ):
        [path] = ended(tmp_path)
        with open_bag(path) as bag:
            assert [event["event"] for event in events_in(bag)] == ["start", "end"] and bag.complete
            assert 2 <= bag.topics["/record/in_charge"].count <= 40


def test_a_disk_that_is_too_slow_costs_messages_that_are_counted(tmp_path):
    with ros_graph() as graph:
        robot = Robot(graph)
        with recorder(graph, tmp_path, preroll_s=0.0, buffer_mb=0.02) as process:  # smaller than one image
            robot.ready()
            trigger(graph, "start")
            robot.step(30, size=100)
            trigger(graph, "stop")
            [path] = ended(tmp_path)
            assert "lacks messages" in process.output
        with open_bag(path) as bag:
            last = events_in(bag)[-1]["topics"]
            assert last[IMAGE_TOPICS[0]] == {"received": 10, "lost": 0, "dropped": 10}
            assert json.loads(bag.custom["beingh_lost"]) == dict.fromkeys(IMAGE_TOPICS, 10)
            assert bag.topics["/joint_states"].count == 30


def test_keys_of_the_terminal_record_and_the_terminal_is_given_back(tmp_path):
    ours, theirs = pty.openpty()
    with ros_graph() as graph:
        told, states = (
            Recorder(graph, String, "record/events"),
            Recorder(graph, DiagnosticStatus, "record/state", LATCHED),
        )
        words = [
            "-m",
            "beingh_ros.record",
            "--ros-args",
            "-p",
            f"out:={tmp_path / 'episodes'}",
            "-p",
            "keyboard:=true",
            "-p",
            "min_free_mb:=0.0",
        ]
        before = subprocess.check_output(["stty", "-g"], stdin=theirs)
        process = subprocess.Popen(
            [sys.executable, *words], env=graph.environment, cwd=ROOT, stdin=theirs, stdout=theirs, stderr=theirs
        )
        try:
            wait_until(lambda: b"keys:" in os.read(ours, 4096))
            states.wait_for(1)
            time.sleep(0.5)  # until the events are received, too
            for count, keys in ((1, b" "), (2, b"c"), (2, b"\x1b[A"), (3, b"k"), (4, b"s")):
                os.write(ours, keys)
                told.wait_for(count)
            names = [(e["event"], e.get("name")) for e in (json.loads(m.data) for m in told.messages)]
            assert names == [("start", None), ("mark", "contact"), ("mark", "correction"), ("end", None)]
            os.write(ours, b"\x03")  # Ctrl-C
            process.send_signal(signal.SIGINT)
            assert process.wait(10) == 0
        finally:
            process.kill()
        assert subprocess.check_output(["stty", "-g"], stdin=theirs) == before


@pytest.mark.parametrize("parameters", [{"storage": "rar"}, {"pedals": ["x"]}, {"keyboard": True}, {"buffer_mb": -1.0}])
def test_a_wrong_parameter_is_one_line_and_status_2(tmp_path, parameters):
    with ros_graph() as graph, recorder(graph, tmp_path, **parameters) as process:
        assert process.wait() == 2
        assert "Traceback" not in process.output and next(iter(parameters)) in process.output


def test_definitions_describe_the_types_exactly():
    """The hash covers names, types, sizes and bounds of all fields, also of the types within."""
    for name in ("sensor_msgs/msg/Image", "sensor_msgs/msg/JointState", "visualization_msgs/msg/MarkerArray", "trajectory_msgs/msg/MultiDOFJointTrajectory",
                 "sensor_msgs/msg/CameraInfo", "diagnostic_msgs/msg/DiagnosticArray", "geometry_msgs/msg/PoseWithCovarianceStamped", "sensor_msgs/msg/PointCloud2",
                 "shape_msgs/msg/SolidPrimitive", "std_msgs/msg/Float32MultiArray", "lifecycle_msgs/msg/TransitionEvent"):  # fmt: skip
        try:
            message_class(name)
        except Exception:  # noqa: BLE001 - not among the wheels
            continue
        from rosbags.typesys import Stores, get_types_from_msg, get_typestore

        store = get_typestore(Stores.EMPTY)
        store.register(
            {k: v for k, v in get_types_from_msg(definition_text(name), name).items() if k not in store.fielddefs}
        )
        assert store.hash_rihs01(name) == STORE.hash_rihs01(name), name


@pytest.mark.parametrize("robot", ["fr3", "fr3_hand", "g1", "so101", "ur5e", "xarm7"])
def test_every_contract_says_what_is_recorded(robot):
    contract = load_contract(robot)
    names = [topic.name for topic in wanted_topics(contract, ("/depth",), (contract.estop_topic,))]
    assert len(names) == len(set(names)) and "/depth" in names and contract.estop_topic not in names
    wanted = {camera.topic for camera in contract.cameras} | set(contract.joint_state_topics)
    assert wanted | {
        "policy/chunk",
        "controller/buffer",
        "controller/accepted",
        "controller/state",
        "policy/instruction",
    } <= set(names)


@pytest.mark.slow
def test_two_raw_cameras_and_joints_are_recorded_without_a_loss(tmp_path):
    """640x480 at 30 Hz twice, joints at 100 Hz; cameras and joints each have a process, as they have on a robot."""
    words = [sys.executable, "-m", "beingh_ros.cli", "bench", "record", "--seconds", "10"]
    subprocess.run([*words, "--json", tmp_path / "r.json"], cwd=ROOT, check=True, stdout=subprocess.DEVNULL)
    found = json.loads((tmp_path / "r.json").read_text())
    assert list(found["recorded"].values()) == [300, 300, 1000] and found["recorded"] == found["sent"]
    assert found["missing"] == found["lost"] == found["dropped"] == 0
