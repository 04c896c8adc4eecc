"""A robot's messages as rclpy makes them, in a bag of ours; and the live nodes' own reading of the same messages."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

pytest.importorskip("rclpy")
pytest.importorskip("rosbags")
from bag_support import STORE
from rclpy.serialization import deserialize_message, serialize_message
from rosbags.typesys import get_types_from_msg
from sensor_msgs.msg import CameraInfo, CompressedImage, Image

from beingh_core.data.bag_files import full_name
from beingh_core.data.bags import BagTopic, BagWriter
from beingh_core.inference.policy_inputs import PolicyInputs
from beingh_ros.messages.conversions import array_to_image, ns_to_stamp
from beingh_ros.messages.plan_messages import PlanWriter
from beingh_ros.messages.state_messages import StateReader, message_type
from beingh_ros.nodes.camera_input import CameraInput

NS = 1_000_000_000
BEGIN = 100 * NS
LATE_NS = 2_000_000
INTERFACES = Path(__file__).resolve().parent.parent / "interfaces"
TYPES = {Image: "sensor_msgs/msg/Image", CompressedImage: "sensor_msgs/msg/CompressedImage"}


def positions(contract, stamp_ns):
    """Each joint's position at a time, and each velocity of a base."""
    wave = 0.02 * np.sin(2.0 * (stamp_ns - BEGIN) / NS + np.arange(len(contract.joint_names)))
    return dict(zip(contract.joint_names, np.array(contract.home) + wave))


def state_message(contract, topic, stamp_ns):
    """What the robot says on a topic at a time, in its own names and units."""
    signals = [signal for signal in contract.state if signal.topic == topic]
    message, wire = message_type(signals[0].type)(), contract.wire_of(topic)
    if hasattr(message, "header"):
        message.header.stamp, message.header.frame_id = ns_to_stamp(stamp_ns), signals[0].frame_id
    if signals[0].source == "pose":
        _stand(message, signals[0], stamp_ns)
        return message
    now = positions(contract, stamp_ns)
    now |= {
        joint: 1.1 * now[of] for signal in contract.action for joint, of in ((c.joint, c.of) for c in signal.coupling)
    }
    numbers = wire.values(np.array([now[joint] for joint in wire.joints])).tolist()
    if hasattr(message, "position"):
        message.name, message.position = list(wire.names), numbers
    elif hasattr(message, "data"):
        message.data = numbers
    else:
        motor = message_type("unitree_hg/msg/MotorState")
        message.motor_state = [motor(q=number) for number in numbers] + [motor()] * (35 - len(numbers)) * (
            "LowState" in signals[0].type
        )
    return message


def _stand(message, signal, stamp_ns):
    if hasattr(message, "child_frame_id"):
        message.child_frame_id = signal.child_frame_id
    pose = getattr(message, "transform", None) or message.pose
    pose = getattr(pose, "pose", pose)
    place = pose.translation if hasattr(pose, "translation") else pose.position
    turn = pose.rotation if hasattr(pose, "rotation") else pose.orientation
    angle = 2.9 + 0.6 * (stamp_ns - BEGIN) / NS  # passes half a turn, where rotation vectors have two branches
    place.x, place.y, place.z = 0.4, -0.2 + 0.01 * angle, 0.3
    turn.z, turn.w = float(np.sin(angle / 2)), float(np.cos(angle / 2))


def picture_message(camera, stamp_ns, size=(48, 64)):
    """A picture, depth in steps, or a compressed picture, that tells its time."""
    rng = np.random.default_rng(stamp_ns % 2**32)
    if camera.depth:
        message = Image(height=size[0], width=size[1], step=2 * size[1], encoding="16UC1")
        message.data = rng.integers(0, 4000, size, dtype=np.uint16).astype("<u2").tobytes()
    elif camera.type == TYPES[CompressedImage]:
        import cv2

        pixels = rng.integers(0, 255, (*size, 3), dtype=np.uint8)
        message = CompressedImage(format="png", data=cv2.imencode(".png", pixels)[1].tobytes())
    else:
        return array_to_image(rng.integers(0, 255, (*size, 3), dtype=np.uint8), stamp_ns)
    message.header.stamp = ns_to_stamp(stamp_ns)
    return message


def calibration(stamp_ns, size=(48, 64)):
    """A lens that bends."""
    message = CameraInfo(height=size[0], width=size[1], distortion_model="plumb_bob")
    message.header.stamp = ns_to_stamp(stamp_ns)
    message.k = [50.0, 0.0, size[1] / 2, 0.0, 50.0, size[0] / 2, 0.0, 0.0, 1.0]
    message.d = [-0.2 - 1e-9 * (stamp_ns - BEGIN) / 20, 0.05, 0.001, -0.001, 0.0]
    return message


def recording(contract, seconds=1.0, silent=()):
    """(log time, topic, message type, message) of a robot: states at 50 Hz, cameras at 15 Hz, commands at its rate."""
    found, plans = [], PlanWriter(contract)
    add = lambda stamp, topic, kind, message: found.append((stamp + LATE_NS, topic, kind, message))
    for topic in contract.state_topics:
        kind = next(signal.type for signal in contract.state if signal.topic == topic)
        for number in range(round(50 * seconds)):
            stamp = BEGIN + number * NS // 50
            add(stamp, topic, kind, state_message(contract, topic, stamp))
    for camera in contract.cameras:
        for number in range(0 if camera.name in silent else round(15 * seconds)):
            stamp = BEGIN + number * NS // 15
            if camera.undistort and number % 4 == 1:  # the first picture comes before any calibration
                add(stamp - 1, camera.undistort, "sensor_msgs/msg/CameraInfo", calibration(stamp))
            add(stamp, camera.topic, camera.type, picture_message(camera, stamp))
    for tick in range(round(contract.rate_hz * seconds)):
        stamp = BEGIN + round(tick * NS / contract.rate_hz)
        rows = np.array(
            [[positions(contract, stamp + k * NS // 20)[j] for j in contract.joint_names] for k in range(2)]
        )
        add(stamp, "controller/buffer", "trajectory_msgs/msg/JointTrajectory", plans.joints(rows, stamp, "0.1"))
        if plans.base(rows, stamp, "0.1"):
            kind = "trajectory_msgs/msg/MultiDOFJointTrajectory"
            add(stamp, "controller/base_buffer", kind, plans.base(rows, stamp, "0.1"))
    return sorted(found, key=lambda entry: entry[0])


def write_bag(path, messages):
    """Messages as rclpy serialises them, in an MCAP bag with a task."""
    writer, numbers = BagWriter(path), {}
    for log_ns, topic, kind, message in messages:
        if topic not in numbers:
            numbers[topic] = writer.add_topic(
                BagTopic(name=full_name(topic, ""), type=kind, definition=definition(kind))
            )
        writer.write(numbers[topic], log_ns, bytes(serialize_message(message)))
    writer.facts.custom["beingh_task"] = "move"
    assert writer.close() == ""
    return path


def definition(kind):
    """The text of a type and of those that it uses."""
    if kind not in STORE.fielddefs:
        package = kind.split("/")[0]
        for path in sorted((INTERFACES / package / "msg").glob("*.msg")):
            STORE.register(get_types_from_msg(path.read_text(), f"{package}/msg/{path.stem}"))
    return STORE.generate_msgdef(kind, ros_version=2)[0]


class Live:
    """The policy node's inputs, fed with messages as it is."""

    def __init__(self, contract):
        self.inputs, self.refused = PolicyInputs(contract), []
        node = SimpleNamespace(create_subscription=lambda *_: None)
        self._readers = {topic: StateReader(contract, topic) for topic in contract.state_topics}
        self._cameras = []
        for camera in contract.cameras:
            push = lambda stamp, pixels, name=camera.name: self.inputs.push_image(f"video.{name}", stamp, pixels)
            self._cameras.append((camera, CameraInput(node, camera, push, self.refused.append)))

    def feed(self, log_ns, topic, _kind, message):
        """One message, as the callbacks take it from the wire."""
        message = deserialize_message(serialize_message(message), type(message))
        for camera, intake in self._cameras:
            if topic == camera.undistort:
                intake._calibrate(message)
            elif topic == camera.topic:
                intake._receive(message)
        if topic in self._readers:
            read = self._readers[topic].read(message, log_ns)
            self.inputs.push_joints(topic, read.stamp_ns, read.positions, log_ns)

    def numbers(self, contract, tick_ns):
        """Name -> number of every state signal at a time."""
        found = {}
        for signal in contract.state:
            found.update(zip(signal.values, self.inputs.streams[f"state.{signal.slot}"].at(tick_ns).value.tolist()))
        return found

    def picture(self, name, tick_ns):
        """What the policy sees at a time."""
        return self.inputs._picture(f"video.{name}", tick_ns)
