"""What the demo keeps of its topics: cube places, joint states, camera frames, latencies, diagnostics, the video."""

from __future__ import annotations

import queue
import threading
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from diagnostic_msgs.msg import DiagnosticArray
from rclpy.node import Node
from rclpy.qos import QoSProfile
from sensor_msgs.msg import CompressedImage, Image
from std_msgs.msg import Float32MultiArray
from visualization_msgs.msg import MarkerArray

from beingh_core.contract import RobotContract
from beingh_core.data.camera_reader import CameraReader
from beingh_core.errors import BeingHError
from beingh_core.evaluate.judge import TaskJudge, TimeJudge
from beingh_core.evaluate.video import VideoWriter
from beingh_ros.demo.observer import positioned
from beingh_ros.messages.conversions import image_to_array, stamp_to_ns
from beingh_ros.messages.diagnostics import read_status
from beingh_ros.messages.state_messages import StateReader
from beingh_ros.messages.topics import CONTACTS_TOPIC, OBJECTS_TOPIC

FILM_PERIOD_NS = 250_000_000
# What was touched is told in every step of physics in which anything is.
TOUCH_NS = 100_000_000
FEW, MANY = QoSProfile(depth=5), QoSProfile(depth=200)


class VideoThread:
    """Encodes in a thread of its own; drops frames rather than holding anybody up.

    Args:
        path: File to write.
        fps: Frames per second.
    """

    def __init__(self, path: Path, fps: float) -> None:
        self._frames: queue.Queue[tuple[np.ndarray, str] | None] = queue.Queue(maxsize=40)
        self._writer = VideoWriter(path, fps)
        self._thread = threading.Thread(target=self._run, name="video", daemon=True)
        self._thread.start()

    def add(self, pixels: np.ndarray, caption: str) -> None:
        """Hand over one frame."""
        try:
            self._frames.put_nowait((pixels, caption))
        except queue.Full:
            pass

    def close(self) -> None:
        """Encode what is waiting and finish the file."""
        self._frames.put(None)
        self._thread.join()

    def _run(self) -> None:
        with self._writer:
            while (frame := self._frames.get()) is not None:
                self._writer.add(*frame)


class Recorder:
    """Subscriptions of the demo beside the onlooker's. The executor's thread writes, the main thread reads.

    Args:
        node: Owner of the subscriptions.
        contract: Robot.
        spectator_topic: Camera of the video.
        received: Called after every message that somebody may be waiting for.
        video: Where the spectator's frames go.

    Attributes:
        cubes: Colour -> newest place (3,) [m].
        newest_ns: Topic -> stamp of its newest message [ns].
        inference_ms, latency_ms: Of every chunk [ms].
        status: Diagnostic name -> its newest key-values.
        status_count: Diagnostic name -> how often it was received.
        start_ns: Stamp of the first cube places of the episode, None before it.
        joint_states: (stamp, (J,) positions) of the episode, of the joints that are told to go to a position.
        film: (stamp, view -> pixels) of the episode.
        still: Newest picture of the spectator in the episode, None before one.
    """

    def __init__(
        self,
        node: Node,
        contract: RobotContract,
        spectator_topic: str,
        received: Callable[[], None],
        video: VideoThread,
    ) -> None:
        self._joints, self._received, self._video = positioned(contract), received, video
        self._newest_joints: dict[str, float] = {}
        self.cubes: dict[str, np.ndarray] = {}
        self.newest_ns: dict[str, int] = {}
        self.inference_ms: list[float] = []
        self.latency_ms: list[float] = []
        self.status: dict[str, Mapping[str, str]] = {}
        self.status_count: dict[str, int] = {}
        self._touched: set[str] = set()
        self._touched_ns = 0
        self._judge: TaskJudge | TimeJudge | None = None
        self._caption = ""
        self._views: dict[str, np.ndarray] = {}
        self.forget_episode()
        make = node.create_subscription
        readers = {topic: StateReader(contract, topic) for topic in contract.joint_state_topics}
        cameras = {camera.topic: (camera.name, CameraReader(camera)) for camera in contract.cameras}
        types = {c.topic: CompressedImage if c.type.endswith("CompressedImage") else Image for c in contract.cameras}
        self.subscriptions = [
            make(MarkerArray, OBJECTS_TOPIC, self._on_objects, MANY),
            make(MarkerArray, CONTACTS_TOPIC, self._on_contacts, FEW),
            *(make(reader.type, t, partial(self._on_joints, t, reader), MANY) for t, reader in readers.items()),
            *(make(types[t], t, partial(self._on_camera, t, *named), FEW) for t, named in cameras.items()),
            make(Image, spectator_topic, self._on_spectator, FEW),
            make(Float32MultiArray, "policy/latency", self._on_latency, MANY),
            make(DiagnosticArray, "/diagnostics", self._on_diagnostics, MANY),
        ]

    def forget_episode(self) -> None:
        """Drop the traces of the last episode."""
        self.start_ns: int | None = None
        self.joint_states: list[tuple[int, np.ndarray]] = []
        self.film: list[tuple[int, dict[str, np.ndarray]]] = []
        self.still: np.ndarray | None = None

    def start(self, judge: TaskJudge | TimeJudge, caption: str) -> None:
        """Record an episode from the next message on."""
        self.forget_episode()
        self._views.clear()
        self._caption, self._judge = caption, judge

    def stop(self) -> None:
        """End the episode; the traces stay until the next one."""
        self._judge = None

    def _on_objects(self, message: MarkerArray) -> None:
        if not message.markers:
            return
        stamp_ns = stamp_to_ns(message.markers[0].header.stamp)
        self.newest_ns[OBJECTS_TOPIC] = stamp_ns
        places = {m.ns: m.pose.position for m in message.markers}
        self.cubes = {colour: np.array([p.x, p.y, p.z]) for colour, p in places.items()}
        if self._judge is not None:
            if self.start_ns is None:
                self.start_ns = stamp_ns
            touched = self._touched if stamp_ns - self._touched_ns < TOUCH_NS else ()
            self._judge.update(stamp_ns / 1e9, self.cubes, touched)
        self._received()

    def _on_contacts(self, message: MarkerArray) -> None:
        if message.markers:
            self._touched_ns = stamp_to_ns(message.markers[0].header.stamp)
            self._touched = {marker.ns.partition("|")[2].removeprefix("cube_") for marker in message.markers}

    def _on_joints(self, topic: str, reader: StateReader, message: Any) -> None:
        try:
            read = reader.read(message)
        except BeingHError:
            return  # another robot's; the controller says what it misses
        if not read.positions:
            return
        self.newest_ns[topic] = read.stamp_ns
        self._newest_joints.update(read.positions)
        if self._judge is not None and set(self._joints) <= self._newest_joints.keys():
            self.joint_states.append((read.stamp_ns, np.array([self._newest_joints[name] for name in self._joints])))
        self._received()

    def _on_camera(self, topic: str, view: str, reader: CameraReader, message: Image | CompressedImage) -> None:
        stamp_ns = self.newest_ns[topic] = stamp_to_ns(message.header.stamp)
        if self._judge is not None and (not self.film or stamp_ns - self.film[-1][0] >= FILM_PERIOD_NS):
            try:
                self._views[view] = reader.pixels(message)
            except BeingHError:
                return  # the policy says so too
            self.film.append((stamp_ns, dict(self._views)))
        self._received()

    def _on_spectator(self, message: Image) -> None:
        if self._judge is not None and self.start_ns is not None:
            time_s = max(0.0, (stamp_to_ns(message.header.stamp) - self.start_ns) / 1e9)
            self.still = image_to_array(message)
            self._video.add(self.still, f"{self._caption}   {time_s:.1f} s")

    def _on_latency(self, message: Float32MultiArray) -> None:
        inference_ms, latency_ms = message.data[:2]
        self.inference_ms.append(float(inference_ms))
        self.latency_ms.append(float(latency_ms))

    def _on_diagnostics(self, message: DiagnosticArray) -> None:
        for status in message.status:
            self.status[status.name] = {**read_status(status), "message": status.message}
            self.status_count[status.name] = self.status_count.get(status.name, 0) + 1
        self._received()
