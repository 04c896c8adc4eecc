"""Bags of the FR3 with cameras, joints and commands, serialised by the `rosbags` library; no ROS needed."""

from __future__ import annotations

import numpy as np
from bag_support import STORE, bag_topic
from recording_support import BEGIN, CONTRACT, NS, posture

from beingh_core.data.bag_files import full_name
from beingh_core.data.bags import BagWriter
from beingh_core.data.in_charge import CHARGE

LATE_NS = 2_000_000
SHAPE = (48, 64)
SCENE, WRIST = (full_name(camera.topic, "") for camera in CONTRACT.cameras)
JOINTS, BUFFER, IN_CHARGE = "/joint_states", "/controller/buffer", f"/{CHARGE}"
KINDS = {
    SCENE: "sensor_msgs/msg/Image",
    WRIST: "sensor_msgs/msg/Image",
    JOINTS: "sensor_msgs/msg/JointState",
    BUFFER: "trajectory_msgs/msg/JointTrajectory",
    IN_CHARGE: "std_msgs/msg/Header",
}
RATES = {SCENE: 30, WRIST: 30, JOINTS: 100, BUFFER: 20, IN_CHARGE: 20}
TYPES = STORE.types


def header(stamp_ns):
    stamp = TYPES["builtin_interfaces/msg/Time"](sec=stamp_ns // NS, nanosec=stamp_ns % NS)
    return TYPES["std_msgs/msg/Header"](stamp=stamp, frame_id="policy")


def message(topic, stamp_ns, number=0, encoding="rgb8"):
    """What stands on a topic at a time."""
    empty = np.zeros(0)
    if topic == IN_CHARGE:
        return header(stamp_ns)
    if topic == JOINTS:
        return TYPES[KINDS[JOINTS]](header(stamp_ns), list(CONTRACT.joint_names), posture(stamp_ns), empty, empty)
    if topic == BUFFER:
        after = TYPES["builtin_interfaces/msg/Duration"](sec=0, nanosec=0)
        point = TYPES["trajectory_msgs/msg/JointTrajectoryPoint"](posture(stamp_ns), empty, empty, empty, after)
        return TYPES[KINDS[BUFFER]](header(stamp_ns), list(CONTRACT.joint_names), [point])
    pixels = np.random.default_rng(number).integers(0, 255, (*SHAPE, 3), dtype=np.uint8)
    return TYPES[KINDS[SCENE]](header(stamp_ns), *SHAPE, encoding, 0, 3 * SHAPE[1], pixels.reshape(-1))


def data(topic, stamp_ns, number=0, **more):
    return bytes(STORE.serialize_cdr(message(topic, stamp_ns, number, **more), KINDS[topic]))


def messages(seconds=2.0, begin_ns=BEGIN, **more):
    """(log time, topic, serialised message) of a session, by time."""
    found = []
    for topic, rate in RATES.items():
        for number in range(round(rate * seconds)):
            stamp = begin_ns + number * NS // rate
            found.append(
                (stamp + LATE_NS, topic, data(topic, stamp, number, **(more if topic in (SCENE, WRIST) else {})))
            )
    return sorted(found, key=lambda entry: entry[0])


def write(path, found, storage="mcap", custom=None, kinds=KINDS, flush_every=40):
    """A bag of ours."""
    writer, numbers = BagWriter(path, storage=storage), {}
    for count, (log_ns, topic, content) in enumerate(found):
        if topic not in numbers:
            numbers[topic] = writer.add_topic(bag_topic(topic, kinds[topic]))
        writer.write(numbers[topic], log_ns, content)
        if count % flush_every == flush_every - 1:
            writer.flush()
    writer.facts.custom |= {"beingh_task": "pick up the red cube", "beingh_contract_hash": CONTRACT.hash} | (
        custom or {}
    )
    assert writer.close() == ""
    return path
