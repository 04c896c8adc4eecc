"""Bags of an FR3 that moves, as our recorder writes them, to be damaged one way at a time."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from bag_support import STORE, bag_topic

from beingh_core.contract import load_contract
from beingh_core.data.bags import BagWriter
from beingh_core.data.bags.message import header_data, text_data

NS, BEGIN_NS = 10**9, 1_700_000_000 * 10**9
CONTRACT = load_contract("fr3")
SCENE, WRIST = (f"/{camera.topic}" for camera in CONTRACT.cameras)
STATES, BUFFER, EVENTS, IN_CHARGE = "/joint_states", "/controller/buffer", "/record/events", "/record/in_charge"
KINDS = {
    SCENE: "sensor_msgs/msg/Image", WRIST: "sensor_msgs/msg/Image", STATES: "sensor_msgs/msg/JointState",
    BUFFER: "trajectory_msgs/msg/JointTrajectory", EVENTS: "std_msgs/msg/String", IN_CHARGE: "std_msgs/msg/Header",
}  # fmt: skip
SECONDS, SIZE = 4.0, (24, 32)
T = STORE.types


@dataclass
class Told:
    """A message before it is written: `content` is a picture, positions (or names and positions), an event, who is in charge."""

    topic: str
    log_ns: int
    stamp_ns: int
    content: Any

    @property
    def s(self) -> float:
        """Log time after the begin [s]."""
        return (self.log_ns - BEGIN_NS) / NS


def picture(index: int, camera: int) -> np.ndarray:
    """A picture with the noise of a sensor."""
    noise = np.random.default_rng((index, camera)).integers(0, 60, (*SIZE, 3))
    return (noise + 80 + 40 * camera).astype(np.uint8)


def posture(time_s: float) -> np.ndarray:
    """Positions at a time; the gripper closes at 2 s."""
    values = np.array(CONTRACT.home) + 0.2 * np.sin(2 * time_s + np.arange(len(CONTRACT.home)))
    values[-1] = 0.04 if time_s < 2.0 else 0.01
    return values


def recording(seconds: float = SECONDS) -> list[Told]:
    """A healthy episode, 2 ms after its stamps."""
    found = []
    for topic, rate in ((SCENE, 10), (WRIST, 10), (STATES, 50), (BUFFER, 20), (IN_CHARGE, 20)):
        for index in range(round(seconds * rate)):
            time_s = index / rate
            contents = {
                SCENE: lambda i=index: picture(i, 0), WRIST: lambda i=index: picture(i, 1),
                IN_CHARGE: lambda t=time_s: "person" if 1.0 <= t < 2.0 else "policy",
            }  # fmt: skip
            content = contents.get(topic, lambda t=time_s: posture(t))()
            stamp_ns = BEGIN_NS + round(time_s * NS)
            found.append(Told(topic, stamp_ns + 2_000_000, stamp_ns, content))
    text = CONTRACT.path.read_text("utf-8")
    start = {"event": "start", "task": "put <i>it</i> there", "operator": "Ada", "robot": "fr3", "contract": text}
    end = {
        "event": "end",
        "success": True,
        "reason": "",
        "topics": {STATES: {"received": 200, "lost": 0, "dropped": 0}},
    }
    for time_s, event in ((0.0, start), (1.63, {"event": "mark", "name": "contact"}), (seconds, end)):
        log_ns = BEGIN_NS + round(time_s * NS) + 2_000_000
        found.append(Told(EVENTS, log_ns, log_ns, {"stamp_ns": log_ns, **event}))
    return sorted(found, key=lambda told: told.log_ns)


def header(stamp_ns: int, frame_id: str = ""):
    """std_msgs/Header."""
    stamp = T["builtin_interfaces/msg/Time"](sec=stamp_ns // NS, nanosec=stamp_ns % NS)
    return T["std_msgs/msg/Header"](stamp=stamp, frame_id=frame_id)


def serialised(told: Told, epoch: str = "") -> bytes:
    """The message as the `rosbags` library writes it; `epoch` is the frame_id of commands."""
    content, kind, empty = told.content, KINDS.get(told.topic, ""), np.zeros(0)
    if isinstance(content, bytes):
        return content
    if told.topic == EVENTS:
        return text_data(json.dumps(content))
    if told.topic == IN_CHARGE:
        return header_data(told.stamp_ns, content)
    if told.topic in (SCENE, WRIST):
        height, width = content.shape[:2]
        message = T[kind](header(told.stamp_ns), height, width, "rgb8", 0, 3 * width, content.reshape(-1))
    elif told.topic == STATES:
        names, values = content if isinstance(content, tuple) else (list(CONTRACT.joint_names), content)
        message = T[kind](header(told.stamp_ns), names, np.asarray(values, float), empty, empty)
    else:
        zero = T["builtin_interfaces/msg/Duration"](sec=0, nanosec=0)
        point = T["trajectory_msgs/msg/JointTrajectoryPoint"](content, empty, empty, empty, zero)
        message = T[kind](header(told.stamp_ns, epoch), list(CONTRACT.joint_names), [point])
    return bytes(STORE.serialize_cdr(message, kind))


def write(path: Path, messages: list[Told], storage: str = "mcap", kinds: dict[str, str] = KINDS) -> Path:
    """A bag of these messages, with the types of their topics."""
    writer = BagWriter(path, storage=storage, distribution="jazzy")
    numbers = {}
    for told in messages:
        if told.topic not in numbers:
            numbers[told.topic] = writer.add_topic(bag_topic(told.topic, kinds[told.topic]))
        writer.write(numbers[told.topic], told.log_ns, serialised(told))
    assert writer.close() == ""
    return path
