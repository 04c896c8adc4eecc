"""policy_node as a process with a tiny checkpoint, against scripted cameras, joint states and controller."""

import json
import math
import re
import shutil
import signal
import threading
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import yaml
from ros_support import NodeProcess, Recorder, ros_graph, tiny_checkpoint, wait_until
from trajectories import trajectory_message

pytest.importorskip("torch")
cv2 = pytest.importorskip("cv2")
from diagnostic_msgs.msg import DiagnosticArray
from lifecycle_msgs.msg import Transition
from lifecycle_msgs.srv import ChangeState
from rcl_interfaces.srv import SetParameters
from rclpy.parameter import Parameter
from rclpy.qos import DurabilityPolicy, QoSProfile, ReliabilityPolicy
from sensor_msgs.msg import CompressedImage, Image, JointState
from std_msgs.msg import Float32MultiArray, Header, String
from trajectory_msgs.msg import JointTrajectory

from beingh_core.contract import load_contract
from beingh_core.realtime.clock import TickClock
from beingh_ros.messages.conversions import array_to_image, ns_to_stamp, read_trajectory
from beingh_ros.messages.diagnostics import read_status

FR3 = load_contract("fr3")
H, D = FR3.policy.chunk_length, FR3.uac.delay_steps
HOME = dict(zip(FR3.joint_names, FR3.home))


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory):
    return tiny_checkpoint(tmp_path_factory.mktemp("checkpoint") / "tiny", FR3)


class Surroundings:
    """Cameras and controller at 20 Hz and joint states at 50 Hz, each of which a test can change or silence."""

    def __init__(self, graph, cameras=FR3.cameras):
        self.node, self.silent = graph, set()
        self.positions, self.encodings = dict(HOME), {}
        self.ahead_s = 0.0  # by how much the next message of each kind is stamped ahead
        now = graph.get_clock().now().nanoseconds
        self.clock, self.epoch, self.tick = TickClock(FR3.rate_hz, now), f"0@{now}", 0
        self.published: dict[int, np.ndarray] = {}
        self.chunks = Recorder(graph, JointTrajectory, "policy/chunk")
        self.latency = Recorder(graph, Float32MultiArray, "policy/latency")
        self.diagnostics = Recorder(graph, DiagnosticArray, "/diagnostics")
        self.instruction = graph.create_publisher(String, "policy/instruction", 10)
        self._cameras = {}
        for index, camera in enumerate(cameras):
            policy = (ReliabilityPolicy.BEST_EFFORT, ReliabilityPolicy.RELIABLE)[index % 2]
            message_type = CompressedImage if camera.type.endswith("CompressedImage") else Image
            self._cameras[camera.name] = graph.create_publisher(
                message_type, camera.topic, QoSProfile(depth=5, reliability=policy)
            )
        self._states = graph.create_publisher(JointState, "/joint_states", 10)
        self._buffer = graph.create_publisher(JointTrajectory, "controller/buffer", 10)
        self._accepted = graph.create_publisher(Header, "controller/accepted", 10)
        self._timers = [graph.create_timer(0.05, self._slow), graph.create_timer(0.02, self._fast)]

    def _now(self):
        return self.node.get_clock().now().nanoseconds

    def _fast(self):
        if "joints" not in self.silent:
            message = JointState(name=list(self.positions), position=list(self.positions.values()))
            message.header.stamp = ns_to_stamp(self._now() + round(self.ahead_s * 1e9))
            self._states.publish(message)

    def _slow(self):
        stamp_ns = self._now()
        for view, publisher in self._cameras.items():
            if view not in self.silent:
                ahead_ns = round(self.ahead_s * 1e9)
                publisher.publish(self._image(view, publisher.msg_type, stamp_ns + ahead_ns))
        self.ahead_s = 0.0
        if "controller" not in self.silent:
            self.tick = self.clock.tick_at_or_after(stamp_ns)
            rows = np.tile(list(HOME.values()), (H, 1))
            rows[:, 0] = 1e-4 * (self.tick + np.arange(H))
            self.published.update({self.tick + i: row for i, row in enumerate(rows)})
            self._buffer.publish(
                trajectory_message(
                    FR3.joint_names,
                    rows,
                    stamp_ns=self.clock.stamp_ns(self.tick),
                    rate_hz=FR3.rate_hz,
                    frame_id=self.epoch,
                )
            )

    def _image(self, view, message_type, stamp_ns):
        pixels = np.full((48, 64, 3), self.tick % 255, np.uint8)
        message = array_to_image(pixels, stamp_ns)
        if message_type is Image:
            message.encoding = self.encodings.get(view, "rgb8")
            return message
        # The format texts that image_transport writes.
        text = self.encodings.get(view, "rgb8; jpeg compressed bgr8")
        data = b"" if text == "broken" else cv2.imencode(".jpg", pixels)[1].tobytes()
        return CompressedImage(header=message.header, format=text.replace("broken", "jpeg"), data=data)

    def accept(self, chunk):
        self._accepted.publish(Header(stamp=chunk.header.stamp, frame_id=chunk.header.frame_id))

    def status(self, name="inference"):
        message = wait_until(
            lambda: next(
                (
                    m
                    for m in reversed(self.diagnostics.messages[-3:])
                    if any(s.name == f"policy: {name}" for s in m.status)
                ),
                None,
            )
        )
        del self.diagnostics.messages[:]
        status = next(s for s in message.status if s.name == f"policy: {name}")
        return read_status(status) | {"message": status.message}

    def wait_status(self, key, pattern, name="inference"):
        return wait_until(lambda: re.search(pattern, self.status(name).get(key, "")), 30.0, f"{key} to say {pattern}")

    def set_instruction(self, text):
        client = self.node.create_client(SetParameters, "/policy/set_parameters")
        assert client.wait_for_service(20.0)
        parameter = Parameter("instruction", value=text).to_parameter_msg()
        future = client.call_async(SetParameters.Request(parameters=[parameter]))
        wait_until(future.done, 30.0, what="parameter")
        return future.result().results[0]

    def change_state(self, transition):
        client = self.node.create_client(ChangeState, "/policy/change_state")
        assert client.wait_for_service(20.0)
        future = client.call_async(ChangeState.Request(transition=Transition(id=transition)))
        wait_until(future.done, 30.0, what="transition")
        return future.result().success


@pytest.fixture
def bench(tmp_path, checkpoint, request):
    with ros_graph() as graph:
        around, processes = Surroundings(graph, **getattr(request, "param", {})), []

        def start(**parameters):
            parameters = {
                "contract": "fr3",
                "checkpoint": str(checkpoint),
                "autostart": True,
                "torch_threads": 1,
                "instruction": "pick up the red cube",
            } | parameters
            processes.append(NodeProcess(graph, "policy_node", parameters, tmp_path / f"policy{len(processes)}.log"))
            return around, processes[-1]

        yield start
        for process in processes:
            process.__exit__()


def test_chunks_repeat_the_locked_prefix_and_wait_for_their_acceptance(bench):
    around, process = bench()
    last = -FR3.uac.execution_steps
    for count in range(1, 4):
        chunk = around.chunks.wait_for(count, 60.0)[-1]
        read = read_trajectory(chunk)
        base = around.clock.nearest_tick(read.stamp_ns)
        assert read.stamp_ns == around.clock.stamp_ns(base) and read.frame_id == around.epoch
        assert read.positions.shape == (H, 8) and read.joints == FR3.joint_names and np.isfinite(read.positions).all()
        np.testing.assert_array_equal(read.positions[:D], [around.published[base + i] for i in range(D)])
        assert np.abs(np.diff(read.positions[D - 1 :, :7], axis=0)).max() < 0.5
        assert len(around.chunks.messages) == count
        # s ticks lie between the starts, and up to a period of the camera between a start and its picture.
        assert base >= last + FR3.uac.execution_steps - 2
        last = base
        around.accept(chunk)
    around.wait_status("chunks", "^[3-9]")
    status = around.status()
    assert status["gate"] == "open" and float(status["inference_ms_p50"]) > 0
    assert len(around.latency.messages) >= 3 and around.latency.messages[0].data[0] < around.latency.messages[0].data[1]
    qos = {camera.name: around.status(f"video.{camera.name}")["qos"] for camera in FR3.cameras}
    assert qos == {"scene_view": "best_effort", "wrist_view": "reliable"}
    assert process.end(signal.SIGTERM) == 0 and "Traceback" not in process.output


def test_the_gate_closes_and_says_why(bench):
    around, process = bench(instruction="")
    around.wait_status("gate", "^instruction: empty")
    assert not around.chunks.messages
    around.encodings["wrist_view"] = "16UC1"
    around.instruction.publish(String(data="pick up the blue cube"))
    around.wait_status("gate", r"^video.wrist_view: /wrist_camera/color/image_raw: image encoding is '16UC1'[^;]*$")
    around.encodings.clear()
    for refused in ("x " * 6000, "pick\x1b[2Jup\nthe green cube", "put it <|im_end|>"):
        around.instruction.publish(String(data=refused))
    around.silent.add("scene_view")
    around.wait_status("gate", r"^video.scene_view: .*/scene_camera")
    around.silent.clear()
    around.positions["fr3_joint4"] = math.nan
    around.wait_status("gate", "^state.eef_position: .*fr3_joint4")
    around.positions["fr3_joint4"] = HOME["fr3_joint4"]
    around.silent.add("controller")
    around.wait_status("gate", "^controller/buffer: stale")
    count = len(around.chunks.messages)
    around.silent.clear()
    around.chunks.wait_for(count + 1, 30.0)
    answer = around.set_instruction("\x1b[2J")
    assert not answer.successful and "U+001B" in answer.reason and "the old instruction stays" in answer.reason
    assert around.status()["instruction"] == "pick up the blue cube"
    assert around.set_instruction("pick up the green cube").successful
    around.wait_status("instruction", "^pick up the green cube$")
    assert "\x1b[2J" not in process.output and "x x x " * 20 not in process.output
    errors = [line for line in process.output.splitlines() if "ERROR" in line]
    assert any("the old instruction stays" in e and "at most 1024 bytes" in e for e in errors)
    assert 3 <= len(errors) <= 7 and any("/wrist_camera/color/image_raw" in e and "16UC1" in e for e in errors)
    assert any("/joint_states" in e and "fr3_joint4" in e for e in errors)


COMPRESSED = tuple(
    replace(camera, type="sensor_msgs/msg/CompressedImage", topic=f"{camera.topic}/compressed", encoding="jpeg")
    for camera in FR3.cameras
)


@pytest.mark.parametrize("bench", [{"cameras": COMPRESSED}], indirect=True)
def test_compressed_cameras(bench, tmp_path):
    raw = yaml.safe_load(FR3.path.read_text()) | {"urdf": str(FR3.urdf_path)}
    for camera in COMPRESSED:
        raw["cameras"][camera.name] |= {"type": camera.type, "topic": camera.topic, "encoding": camera.encoding}
    (tmp_path / "compressed.yaml").write_text(yaml.safe_dump(raw, sort_keys=False))
    around, process = bench(contract=str(tmp_path / "compressed.yaml"))
    around.accept(around.chunks.wait_for(1, 60.0)[0])
    around.encodings["wrist_view"] = "bgr8; png compressed "
    around.wait_status("gate", r"^video.wrist_view: /wrist_camera/color/image_raw/compressed: .*'bgr8; png.*jpeg")
    around.encodings["wrist_view"] = "broken"
    around.wait_status("gate", "^video.wrist_view: .*0 bytes is not an 8-bit JPEG")
    around.encodings.clear()
    count = len(around.chunks.messages)
    around.accept(around.chunks.wait_for(count + 1, 30.0)[-1])
    qos = {camera.name: around.status(f"video.{camera.name}")["qos"] for camera in COMPRESSED}
    assert qos == {"scene_view": "best_effort", "wrist_view": "reliable"}
    assert process.end(signal.SIGTERM) == 0 and "Traceback" not in process.output


@pytest.mark.parametrize(
    "library, number, managed",
    [
        (b"numpy", signal.SIGINT, False),
        (b"numpy", signal.SIGTERM, False),
        (b"libtorch", signal.SIGINT, False),
        (b"libtorch", signal.SIGINT, True),
    ],
)
def test_a_signal_while_it_imports_or_loads_ends_it_with_one_line(bench, library, number, managed):
    around, process = bench(autostart=not managed)
    if managed:
        client = around.node.create_client(ChangeState, "/policy/change_state")
        assert client.wait_for_service(20.0)
        client.call_async(ChangeState.Request(transition=Transition(id=Transition.TRANSITION_CONFIGURE)))
    wait_until(lambda: library in Path(f"/proc/{process.process.pid}/maps").read_bytes(), what="the import")
    began = time.monotonic()
    process.process.send_signal(number)
    assert process.wait() == 0
    assert time.monotonic() - began < 5.0 and "while it was starting" in process.output
    assert len([line for line in process.output.splitlines() if "waits to be configured" not in line]) == 1


def test_it_goes_on_after_a_stamp_of_another_clock_and_after_being_held_up_and_hears_what_was_said_before(bench):
    latched = QoSProfile(depth=1, durability=DurabilityPolicy.TRANSIENT_LOCAL)
    around, process = bench(instruction="")
    around.node.create_publisher(String, "policy/instruction", latched).publish(String(data="pick up the green cube"))
    around.accept(around.chunks.wait_for(1, 60.0)[-1])
    around.wait_status("instruction", "^pick up the green cube$")
    spoken = around.node.create_publisher(
        String, "policy/instruction", QoSProfile(depth=1, reliability=ReliabilityPolicy.BEST_EFFORT)
    )
    wait_until(lambda: spoken.get_subscription_count() > 0, what="a match")
    spoken.publish(String(data="pick up the blue cube"))
    around.wait_status("instruction", "blue")

    def goes_on():
        around.accept(around.chunks.messages[-1])
        count = len(around.chunks.messages)
        around.accept(around.chunks.wait_for(count + 1, 20.0)[-1])

    around.ahead_s = 3600.0
    wait_until(lambda: around.ahead_s == 0.0, what="messages from the future")
    goes_on()
    around.wait_status("refused", "^[1-9]", "video.wrist_view")
    process.process.send_signal(signal.SIGSTOP)
    time.sleep(1.5)
    process.process.send_signal(signal.SIGCONT)
    goes_on()
    around.positions = {f"left_{name}": value for name, value in HOME.items()}
    around.wait_status("message", "stale", "state.eef_position")
    wait_until(lambda: "no chunks are made: state.eef_position: stale" in process.output, 20.0, "the reason in the log")
    assert process.output.count("instruction: ") == 2 and "incompatible QoS" not in process.output
    assert process.end(signal.SIGTERM) == 0 and "Traceback" not in process.output


def test_statistics_in_other_units_close_the_gate_of_a_remote_policy_too_unless_allowed(bench, tmp_path):
    from remote_support import start_server

    directory = tiny_checkpoint(tmp_path / "millimetres", FR3)
    path = directory / f"{FR3.policy.dataset_name}_metadata.json"
    content = json.loads(path.read_text())
    rows = content[FR3.policy.dataset_name]["statistics"]["state"]["eef_position"]
    rows |= {name: [1000 * value for value in row] for name, row in rows.items()}
    path.write_text(json.dumps(content))
    server, url = start_server(directory, 0)
    try:
        around, process = bench(policy_url=url, checkpoint="")
        around.wait_status("gate", "statistics: the measured state.eef_position is far outside.*millimetres")
        assert not around.chunks.messages
        client = around.node.create_client(SetParameters, "/policy/set_parameters")
        allow = Parameter("allow_state_outside_statistics", value=True).to_parameter_msg()
        assert client.wait_for_service(10.0)
        future = client.call_async(SetParameters.Request(parameters=[allow]))
        wait_until(future.done, what="the parameter")
        assert future.result().results[0].successful
        around.chunks.wait_for(1, 30.0)
        around.wait_status("message", "allowed by allow_state_outside_statistics: the measured state.eef_position")
    finally:
        server.kill()
        server.wait()


def test_a_lifecycle_manager_starts_and_pauses_it(bench):
    around, process = bench(autostart=False)
    around.wait_status("message", "not configured")
    assert process.output.count("ros2 lifecycle set /policy configure") == 1
    assert around.change_state(Transition.TRANSITION_CONFIGURE)
    around.wait_status("gate", "^lifecycle: the node is not active$")
    assert not around.chunks.messages
    assert around.change_state(Transition.TRANSITION_ACTIVATE)
    around.accept(around.chunks.wait_for(1, 30.0)[0])
    assert around.change_state(Transition.TRANSITION_DEACTIVATE)
    around.wait_status("gate", "^lifecycle: the node is not active$")
    count = len(around.chunks.messages)
    around.wait_status("gate", "^lifecycle: the node is not active$")
    assert len(around.chunks.messages) == count
    assert around.change_state(Transition.TRANSITION_ACTIVATE)
    around.chunks.wait_for(count + 1, 30.0)
    assert around.change_state(Transition.TRANSITION_DEACTIVATE)
    assert around.change_state(Transition.TRANSITION_CLEANUP)
    around.wait_status("message", "not configured")
    assert around.change_state(Transition.TRANSITION_CONFIGURE)


def missing_tensor(checkpoint, target):
    from safetensors.numpy import load_file, save_file

    shutil.copytree(checkpoint, target)
    tensors = load_file(target / "model.safetensors")
    name = sorted(tensors)[3]
    del tensors[name]
    save_file(tensors, target / "model.safetensors")
    return {"checkpoint": str(target)}, re.escape(name)


def another_robot(checkpoint, target):
    tiny_checkpoint(target, FR3, robot="ur5e")
    return {"checkpoint": str(target)}, "ur5e"


def long_delay(checkpoint, target):
    raw = yaml.safe_load(FR3.path.read_text())
    raw["urdf"] = str(FR3.urdf_path)
    raw["uac"]["latency_budget_s"] = 0.6
    target.mkdir()
    (target / "slow.yaml").write_text(json.dumps(raw))
    return {"contract": str(target / "slow.yaml")}, "latency_budget_s"


def short_training(checkpoint, target):
    tiny_checkpoint(target, FR3, trained_delay=D - 1)
    return {"checkpoint": str(target)}, f"trained for delays up to {D - 1}"


@pytest.mark.parametrize("case", [missing_tensor, another_robot, long_delay, short_training])
def test_what_does_not_fit_is_one_error_and_nothing_is_published(bench, checkpoint, tmp_path, case):
    parameters, words = case(checkpoint, tmp_path / "case")
    around, process = bench(**parameters)
    assert process.wait() == 2
    errors = [line for line in process.output.splitlines() if "ERROR" in line]
    assert len(errors) == 1 and re.search(words, errors[0]) and "Traceback" not in process.output
    assert not around.chunks.messages and threading.active_count() < 20


def test_a_policy_server_that_goes_away_is_missed_once_and_used_again(bench, checkpoint):
    from remote_support import start_server

    server, url = start_server(checkpoint, 0)
    try:
        around, process = bench(policy_url=url, checkpoint="")
        around.accept(around.chunks.wait_for(1, 60.0)[-1])
        around.accept(around.chunks.wait_for(2, 60.0)[-1])
        server.kill()
        server.wait()
        wait_until(lambda: "is gone or does not answer" in process.output, 10.0, "the loss to be logged")
        time.sleep(0.3)  # what was published before the loss arrives
        made = len(around.chunks.messages)
        around.accept(around.chunks.messages[-1])
        time.sleep(1.0)
        assert len(around.chunks.messages) == made
        server, _ = start_server(checkpoint, url.rsplit(":", 1)[1])
        returned = time.monotonic()
        around.chunks.wait_for(made + 1, 10.0)
        assert time.monotonic() - returned < 2.0
        assert process.output.count("is gone or does not answer") == 1
        assert process.end(signal.SIGTERM) == 0 and "Traceback" not in process.output
    finally:
        server.kill()
        server.wait()
