"""Shared by the tests of bags: topics and messages made with the `rosbags` library, which knows nothing of our writer."""

from __future__ import annotations

import numpy as np
import pytest

pytest.importorskip("rosbags")
from rosbags.typesys import Stores, get_typestore

from beingh_core.data.bags import BagTopic

STORE = get_typestore(Stores.ROS2_JAZZY)
JOINTS, IMAGE = "sensor_msgs/msg/JointState", "sensor_msgs/msg/Image"
T0 = 1_700_000_000_000_000_000
QOS = {
    "history": "keep_last", "depth": 10, "reliability": "best_effort", "durability": "transient_local",
    "deadline": {"sec": 0, "nsec": 0}, "lifespan": {"sec": 0, "nsec": 0}, "liveliness": "automatic",
    "liveliness_lease_duration": {"sec": 0, "nsec": 0}, "avoid_ros_namespace_conventions": False,
}  # fmt: skip


def bag_topic(name: str, kind: str) -> BagTopic:
    text, _ = STORE.generate_msgdef(kind, ros_version=2)
    return BagTopic(name=name, type=kind, definition=text, type_hash=STORE.hash_rihs01(kind), qos=(QOS,))


def header(index: int):
    stamp = STORE.types["builtin_interfaces/msg/Time"](sec=100 + index, nanosec=index)
    return STORE.types["std_msgs/msg/Header"](stamp=stamp, frame_id="base")


def joints(index: int) -> bytes:
    kind, none = STORE.types[JOINTS], np.array([])
    return bytes(STORE.serialize_cdr(kind(header(index), ["a", "b"], np.array([index, 0.5]), none, none), JOINTS))


def image(index: int, size: int = 24) -> bytes:
    pixels = np.random.default_rng(index).integers(0, 255, size * size * 3, dtype=np.uint8)
    return bytes(STORE.serialize_cdr(STORE.types[IMAGE](header(index), size, size, "rgb8", 0, 3 * size, pixels), IMAGE))


def sequence(count: int, size: int = 24):
    """(topic, log time [ns], data) of `count` joint states at 100 Hz, with an image at every third."""
    for index in range(count):
        yield "/joints", T0 + 10_000_000 * index, joints(index)
        if index % 3 == 0:
            yield "/image", T0 + 10_000_000 * index + 1, image(index, size)


def write(writer, messages, flush_every: int = 0) -> None:
    numbers = {
        "/joints": writer.add_topic(bag_topic("/joints", JOINTS)),
        "/image": writer.add_topic(bag_topic("/image", IMAGE)),
    }
    for index, (name, log_ns, data) in enumerate(messages):
        writer.write(numbers[name], log_ns, data, publish_ns=log_ns - 7, sequence=index + 1)
        if flush_every and index % flush_every == 0:
            writer.flush()
