"""The synthetic bag of `beingh bench export`, an MCAP: two raw cameras and commands at 30 Hz, joints at 100 Hz."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import yaml

from beingh_core.bench.lerobot_writer import FPS, to_and_fro
from beingh_core.contract import RobotContract, load_contract
from beingh_core.data.bag_files import full_name
from beingh_core.errors import BeingHError

SIZE = (480, 640)
KEPT = 60  # different pictures of each camera
NS = 1_000_000_000
_STATES_HZ = 100
_ROBOT_TOPICS = {
    "/joint_states": "sensor_msgs/msg/JointState",
    "/controller/buffer": "trajectory_msgs/msg/JointTrajectory",
}
_BEGIN_NS = 1_700_000_000 * NS


def pictures(seed: int) -> np.ndarray:
    """uint8 (KEPT, H, W, 3): surfaces, edges that move and a sensor's noise."""
    rng = np.random.default_rng(seed)
    rows, columns = np.mgrid[0 : SIZE[0], 0 : SIZE[1]].astype(np.float32)
    found = np.empty((KEPT, *SIZE, 3), np.uint8)
    noise = rng.normal(0.0, 3.0, (4, *SIZE, 3)).astype(np.float32)
    for index in range(KEPT):
        t = index / FPS + seed
        waves = [90 * np.sin(columns / 40 + t), 80 * np.sin(rows / 30 - t), 70 * np.cos((columns + rows) / 50)]
        scene = 127 + np.stack(waves, axis=-1)
        y, x = SIZE[0] * (0.5 + 0.3 * np.sin(2 * t)), SIZE[1] * (0.5 + 0.3 * np.cos(2 * t))
        scene[(abs(rows - y) < 50) & (abs(columns - x) < 60)] = (210, 40, 30)
        scene[((columns.astype(int) // 32 + rows.astype(int) // 32) % 2 == 0) & (rows > 360)] *= 0.6
        found[index] = np.clip(scene + np.roll(noise[index % 4], 17 * index, axis=1), 0, 255)
    return found


def contract_file(folder: Path) -> Path:
    """The FR3's contract at the cameras' rate."""
    source = load_contract("fr3")
    content = yaml.safe_load(source.path.read_text(encoding="utf-8"))
    content |= {"rate_hz": FPS, "urdf": str(source.urdf_path)}
    content["uac"] |= {"execution_steps": 8}
    path = folder / "bench.yaml"
    path.write_text(yaml.safe_dump(content, sort_keys=False), encoding="utf-8")
    return path


def write_bag(path: Path, contract: RobotContract, views: list[np.ndarray], seconds: float) -> int:
    """Writes the bag; returns how many pictures each camera has.

    Raises:
        BeingHError: Too little room on the disk, or no `mcap` and `rosbags` libraries.
    """
    count = round(seconds * FPS)
    needed = count * len(views) * views[0][0].nbytes
    free = shutil.disk_usage(path.parent).free
    if needed * 1.2 > free:
        raise BeingHError(
            f"the bag of {seconds:g} s needs {needed >> 20} MB, {free >> 20} MB are free",
            where=path.parent, remedy="take fewer --seconds, or set TMPDIR to a larger disk",
        )  # fmt: skip
    try:
        from mcap.writer import CompressionType, Writer
        from rosbags.typesys import Stores, get_typestore
    except ImportError as error:
        raise BeingHError(f"the bench writes an MCAP bag ({error})", remedy="`pip install mcap rosbags`") from None
    types = get_typestore(Stores.ROS2_JAZZY)
    with open(path, "wb") as file:
        writer = Writer(file, compression=CompressionType.NONE)
        writer.start("ros2", "beingh bench export")
        channels = {}
        cameras = ((full_name(camera.topic, ""), camera.type) for camera in contract.cameras)
        for topic, kind in (*_ROBOT_TOPICS.items(), *cameras):
            definition, _ = types.generate_msgdef(kind, ros_version=2)
            schema = writer.register_schema(kind, "ros2msg", definition.encode())
            channels[topic] = (writer.register_channel(topic, "cdr", schema), kind)
        for stamp_ns, topic, message in _messages(types, contract, views, seconds):
            channel, kind = channels[topic]
            data = types.serialize_cdr(message, kind)
            writer.add_message(channel, stamp_ns + NS // 500, data, stamp_ns + NS // 500)
        writer.finish()
    return count


def _messages(types, contract: RobotContract, views: list[np.ndarray], seconds: float):
    """(stamp, topic, message) by time."""
    t = types.types
    stamp = lambda ns: t["builtin_interfaces/msg/Time"](sec=ns // NS, nanosec=ns % NS)
    header = lambda ns: t["std_msgs/msg/Header"](stamp=stamp(ns), frame_id="")
    home, joints = np.array(contract.home), list(contract.joint_names)
    posture = lambda ns: home + 0.1 * np.sin((ns - _BEGIN_NS) / NS + np.arange(len(home))) * (home != home[-1])
    streams = [(_BEGIN_NS + round(i * NS / _STATES_HZ), 0, i) for i in range(round(seconds * _STATES_HZ))]
    streams += [(_BEGIN_NS + round(i * NS / FPS), 1, i) for i in range(round(seconds * FPS))]
    for ns, kind, index in sorted(streams):
        if kind == 0:
            empty = np.zeros(0)
            yield (
                ns,
                "/joint_states",
                t["sensor_msgs/msg/JointState"](
                    header=header(ns), name=joints, position=posture(ns), velocity=empty, effort=empty
                ),
            )
            continue
        for camera, view in zip(contract.cameras, views):
            pixels = view[to_and_fro(index, len(view))]
            yield ns, full_name(camera.topic, ""), t["sensor_msgs/msg/Image"](
                header=header(ns), height=SIZE[0], width=SIZE[1], encoding="rgb8", is_bigendian=0, step=3 * SIZE[1],
                data=pixels.reshape(-1),
            )  # fmt: skip
        empty = np.zeros(0)
        point = t["trajectory_msgs/msg/JointTrajectoryPoint"](
            positions=posture(ns), velocities=empty, accelerations=empty, effort=empty,
            time_from_start=t["builtin_interfaces/msg/Duration"](sec=0, nanosec=0),
        )  # fmt: skip
        yield (
            ns,
            "/controller/buffer",
            t["trajectory_msgs/msg/JointTrajectory"](header=header(ns), joint_names=joints, points=[point]),
        )
