"""A recorded pick of an FR3, made with the `rosbags` library and known motions: what the tests of annotating look at."""

from __future__ import annotations

import json

import numpy as np
from bag_support import STORE, bag_topic

from beingh_core.contract import load_contract
from beingh_core.data.bags.message import text_data
from beingh_core.data.bags.writer import BagWriter

CONTRACT = load_contract("fr3")
NS = 1_000_000_000
BEGIN = 1_700_000_000 * NS
SECONDS, TASK = 7.0, "pick up the red cube"
# What happens, in seconds after the beginning.
GO, CLOSE, HELD, UP, REST = 1.0, 3.0, 3.5, 3.6, 5.2
MARK = 6.0
ARM = {"fr3_joint2": 0.45, "fr3_joint4": -0.25}  # how far the arm goes down [rad]
_STATES, _IMAGE, _TRAJECTORY, _TEXT = (
    "sensor_msgs/msg/JointState", "sensor_msgs/msg/Image", "trajectory_msgs/msg/JointTrajectory", "std_msgs/msg/String",
)  # fmt: skip


def ease(time_s, start_s, end_s):
    """From 0 to 1 between two times, at rest at both (minimum-jerk: Flash and Hogan 1985)."""
    u = np.clip((np.asarray(time_s, float) - start_s) / (end_s - start_s), 0.0, 1.0)
    return u**3 * (10 - 15 * u + 6 * u**2)


def posture(time_s):
    """Positions of all joints: down, close, up [rad, m]."""
    found = dict(zip(CONTRACT.joint_names, CONTRACT.home))
    low = ease(time_s, GO, CLOSE) - ease(time_s, UP, REST)
    for name, size in ARM.items():
        found[name] += size * low
    found["fr3_finger_joint1"] = 0.04 - 0.02 * ease(time_s, CLOSE, HELD)
    return found


def _header(stamp_ns):
    stamp = STORE.types["builtin_interfaces/msg/Time"](sec=stamp_ns // NS, nanosec=stamp_ns % NS)
    return STORE.types["std_msgs/msg/Header"](stamp=stamp, frame_id="")


def _joint_state(stamp_ns):
    found, none = posture((stamp_ns - BEGIN) / NS), np.array([])
    message = STORE.types[_STATES](_header(stamp_ns), list(found), np.array(list(found.values())), none, none)
    return bytes(STORE.serialize_cdr(message, _STATES))


def _plan(stamp_ns):
    point, duration = (
        STORE.types["trajectory_msgs/msg/JointTrajectoryPoint"],
        STORE.types["builtin_interfaces/msg/Duration"],
    )
    found, none = posture((stamp_ns - BEGIN) / NS), np.array([])
    points = [point(np.array(list(found.values())), none, none, none, duration(sec=0, nanosec=0))]
    return bytes(STORE.serialize_cdr(STORE.types[_TRAJECTORY](_header(stamp_ns), list(found), points), _TRAJECTORY))


def _image(stamp_ns, shade):
    pixels = np.full((48, 64, 3), (int((stamp_ns - BEGIN) / NS * 20) + shade) % 256, np.uint8)
    message = STORE.types[_IMAGE](_header(stamp_ns), 48, 64, "rgb8", 0, 192, pixels.ravel())
    return bytes(STORE.serialize_cdr(message, _IMAGE))


def _event(kind, time_s, **more):
    stamp_ns = BEGIN + round(time_s * NS)
    return stamp_ns, text_data(json.dumps({"event": kind, "stamp_ns": stamp_ns, **more}))


def write_bag(
    path,
    *,
    success="true",
    seconds=SECONDS,
    shade=0,
    marks=((MARK, "contact"),),
    clock_s=0.0,
    shift=lambda *_: 0,
    joints_from_s=0.0,
):
    """Writes the episode as a bag at `path`.

    Args:
        clock_s: The recorder's clock ticks so slowly.
        shift: (topic, stamp [ns]) -> what is added to the stamp.
        joints_from_s: Joint states begin so much later.
    """
    scene, wrist = (f"/{camera.topic}" for camera in CONTRACT.cameras)
    messages = []
    for topic, kind, rate, make in (
        ("/joint_states", _STATES, 50, _joint_state), ("/controller/buffer", _TRAJECTORY, 20, _plan),
        (scene, _IMAGE, 10, lambda stamp: _image(stamp, shade)),
        (wrist, _IMAGE, 10, lambda stamp: _image(stamp, shade)),
    ):  # fmt: skip
        for number in range(round(seconds * rate)):
            stamp_ns = BEGIN + number * NS // rate + (50_000_000 if topic == wrist else 0)
            if topic == "/joint_states" and stamp_ns < BEGIN + round(joints_from_s * NS):
                continue
            messages.append((topic, kind, stamp_ns + 3_000_000, make(stamp_ns + shift(topic, stamp_ns))))
    events = [_event("start", 0.01, task=TASK), *(_event("mark", time_s, name=name) for time_s, name in marks)]
    messages += [("/record/events", _TEXT, stamp_ns, data) for stamp_ns, data in events]
    writer = BagWriter(path, storage="mcap", distribution="jazzy")
    numbers = {}
    for topic, kind, log_ns, data in sorted(messages, key=lambda message: message[2]):
        if topic not in numbers:
            numbers[topic] = writer.add_topic(bag_topic(topic, kind))
        tick_ns = round(clock_s * NS) or 1
        writer.write(numbers[topic], log_ns // tick_ns * tick_ns, data)
    writer.facts.custom |= {"beingh_task": TASK, "beingh_success": success, "beingh_contract_hash": CONTRACT.hash}
    writer.close()
    return path
