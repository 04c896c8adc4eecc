"""The policy node with everything that it needs around it: cameras, joint states, a controller's buffer."""

import re

import numpy as np
import pytest
from diagnostic_msgs.msg import DiagnosticArray
from lifecycle_msgs.msg import Transition
from lifecycle_msgs.srv import ChangeState
from rcl_interfaces.srv import SetParameters
from rclpy.parameter import Parameter
from rclpy.qos import QoSProfile, ReliabilityPolicy
from ros_support import NodeProcess, Recorder, ros_graph, tiny_checkpoint, wait_until
from sensor_msgs.msg import CompressedImage, Image, JointState
from std_msgs.msg import Float32MultiArray, Header, String
from trajectories import trajectory_message
from trajectory_msgs.msg import JointTrajectory

from beingh_core.contract import load_contract
from beingh_core.realtime.clock import TickClock
from beingh_ros.messages.conversions import array_to_image, ns_to_stamp
from beingh_ros.messages.diagnostics import read_status

pytest.importorskip("torch")


cv2 = pytest.importorskip("cv2")
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


@pytest.fixture(name="bench")
def policy_bench(tmp_path, checkpoint, request):
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
