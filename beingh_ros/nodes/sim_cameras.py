"""The cameras of the simulator: exposed in the thread of the physics, rendered and published in one of their own.

A message's stamp is the time of its exposure. It is published after the latency and the jitter of the faults, when rendering
takes longer as soon as it is rendered; pictures of one camera keep their order. A camera of which two pictures wait already is
not exposed, and that is told. Each camera has a CameraInfo beside its pictures: no distortion, as nothing distorts.
"""

from __future__ import annotations

import array
import heapq
import threading
from collections import deque
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from functools import partial
from itertools import count
from typing import Any

import mujoco
import numpy as np
import rclpy
from rclpy.node import Node
from rclpy.qos import QoSProfile
from sensor_msgs.msg import CameraInfo, CompressedImage, Image

from beingh_core.contract.encodings import COMPRESSED_TYPE
from beingh_core.contract.schema import CameraStream, RobotContract
from beingh_core.contract.simulated import SimFaults
from beingh_core.sim import SimRobot
from beingh_core.sim.pictures import DEPTH_ENCODING, Pictures, written
from beingh_core.sim.standing import SCENE_FOVY_DEG
from beingh_core.sim.views import SimView
from beingh_ros.messages.conversions import ns_to_stamp
from beingh_ros.nodes.apart import end_apart, node_apart
from beingh_ros.nodes.runtime import raise_priority

SPECTATOR_TOPIC = "spectator_camera/color/image_raw"
SPECTATOR = SimView(
    name="spectator_camera",
    camera="spectator_camera",
    height=480,
    width=640,
    rate_hz=0.0,
    noise=0.0,
    fovy_deg=SCENE_FOVY_DEG,
)
MOST_WAITING = 2
NICENESS = 5
_READY_S = 60.0


@dataclass
class _Camera:
    """One camera: what it shows, how and where it is published, and how many of its exposures wait."""

    view: SimView
    encoding: str
    is_compressed: bool
    publisher: Any
    info_publisher: Any
    info: CameraInfo
    waiting: int = 0
    last_due_ns: int = 0


@dataclass(order=True)
class _Due:
    """A message to publish at a time."""

    due_ns: int
    order: int
    camera: _Camera = field(compare=False)
    message: Image | CompressedImage = field(compare=False)
    stamp_ns: int = field(compare=False)


class SimCameras:
    """Publishes every camera of a contract, each as a participant of its own, as cameras' drivers are.

    Args:
        node: what the cameras stand beside.
        contract: its cameras.
        robot: what they look at.
        faults: latency and jitter.
        clock: its `now_ns` is the time of stamps.
        spectator_fps: of the camera for reports, 0 for none.
    """

    def __init__(
        self, node: Node, contract: RobotContract, robot: SimRobot, faults: SimFaults, clock, spectator_fps: float
    ) -> None:
        self._node, self._robot, self._faults, self._clock = node, robot, faults, clock
        self._rng = np.random.default_rng(0)
        self._infos: dict[str, Any] = {}
        self._nodes: list[Node] = []
        self._cameras = [
            (self._camera(robot.views[one.name], one), robot.views[one.name].rate_hz) for one in contract.cameras
        ]
        if spectator_fps > 0:
            stream = CameraStream(name="", topic=SPECTATOR_TOPIC, type="", encoding="rgb8", max_age_s=1.0)
            self._cameras.append((self._camera(SPECTATOR, stream), spectator_fps))
        self._wake = threading.Condition()
        self._exposed: deque[tuple[_Camera, int, mujoco.MjData]] = deque()
        self._spare: list[mujoco.MjData] = []
        self._due: list[_Due] = []
        self._order = count()
        self._ending, self._ready, self._failure = False, threading.Event(), None
        self._thread = threading.Thread(target=self._run, name="cameras", daemon=True)
        self._thread.start()

    def exposures(self) -> Iterator[tuple[float, Callable[[int], None]]]:
        """Rate [1/s] and function of the stamp, to call in the thread of the physics, of each camera."""
        for camera, rate_hz in self._cameras:
            yield rate_hz, partial(self._expose, camera)

    def wait_until_ready(self) -> None:
        """Until the first picture of each could be rendered."""
        self._ready.wait(_READY_S)

    def check(self) -> None:
        """Raises what ended the thread."""
        if self._failure is not None:
            raise self._failure

    def close(self) -> None:
        """End the thread, which releases its contexts; pictures that are not due yet are lost."""
        with self._wake:
            self._ending = True
            self._wake.notify()
        self._thread.join(timeout=2.0)
        while self._nodes:
            end_apart(self._nodes.pop())

    def _camera(self, view: SimView, stream: CameraStream) -> _Camera:
        is_compressed = stream.type == COMPRESSED_TYPE
        quality = QoSProfile(depth=5)
        node = node_apart(self._node, f"{self._node.get_name()}_{view.name}")
        self._nodes.append(node)
        resolved = self._node.resolve_topic_name
        topic = resolved(stream.undistort or info_topic(stream.topic, is_compressed))
        if topic not in self._infos:
            self._infos[topic] = node.create_publisher(CameraInfo, topic, quality)
        return _Camera(
            view=view,
            encoding=stream.encoding,
            is_compressed=is_compressed,
            publisher=node.create_publisher(
                CompressedImage if is_compressed else Image, resolved(stream.topic), quality
            ),
            info_publisher=self._infos[topic],
            info=camera_info(view),
        )

    def _expose(self, camera: _Camera, stamp_ns: int) -> None:
        """Thread of the physics: a copy of the scene for the other thread."""
        with self._wake:
            if camera.waiting >= MOST_WAITING:
                self._node.get_logger().warning(
                    f"camera {camera.view.name}: rendering takes too long for its rate; pictures are left out",
                    throttle_duration_sec=10.0,
                )
                return
            camera.waiting += 1
            spare = self._spare.pop() if self._spare else None
        data = self._robot.snapshot(spare)
        with self._wake:
            self._exposed.append((camera, stamp_ns, data))
            self._wake.notify()

    def _run(self) -> None:
        # The node's other threads keep real time; rendering takes what is left, before its threads are made.
        raise_priority(NICENESS)
        pictures = Pictures(self._robot.model)
        try:
            data = self._robot.snapshot()
            for camera, _ in self._cameras:
                self._rendered(pictures, camera, data)
            self._ready.set()
            self._serve(pictures)
        except Exception as error:  # the thread of the physics ends the node with it
            self._failure = error
            self._ready.set()
        finally:
            pictures.close()

    def _serve(self, pictures: Pictures) -> None:
        while True:
            with self._wake:
                while not (self._ending or self._exposed or self._is_due()):
                    self._wake.wait(self._until_due_s())
                if self._ending:
                    return
                job = self._exposed.popleft() if self._exposed and not self._is_due() else None
            while self._is_due():
                self._publish(heapq.heappop(self._due))
            if job is not None:
                self._take(pictures, *job)

    def _take(self, pictures: Pictures, camera: _Camera, stamp_ns: int, data: mujoco.MjData) -> None:
        message = _message(camera, self._rendered(pictures, camera, data), stamp_ns)
        late_s = self._faults.camera_latency_s + self._rng.uniform(0.0, self._faults.camera_jitter_s)
        camera.last_due_ns = max(camera.last_due_ns, stamp_ns + round(late_s * 1e9))
        heapq.heappush(self._due, _Due(camera.last_due_ns, next(self._order), camera, message, stamp_ns))
        with self._wake:
            camera.waiting -= 1
            self._spare.append(data)

    def _rendered(self, pictures: Pictures, camera: _Camera, data: mujoco.MjData) -> np.ndarray:
        return (pictures.depth if camera.encoding == DEPTH_ENCODING else pictures.colour)(data, camera.view)

    def _publish(self, due: _Due) -> None:
        if not rclpy.ok(context=self._node.context):
            return
        due.camera.info.header.stamp = ns_to_stamp(due.stamp_ns)
        due.camera.publisher.publish(due.message)
        due.camera.info_publisher.publish(due.camera.info)

    def _is_due(self) -> bool:
        return bool(self._due) and self._due[0].due_ns <= self._clock.now_ns()

    def _until_due_s(self) -> float | None:
        return max(0.0, (self._due[0].due_ns - self._clock.now_ns()) / 1e9) if self._due else None


def info_topic(topic: str, is_compressed: bool) -> str:
    """Where image_transport's cameras publish the CameraInfo of a topic of pictures: beside the raw ones."""
    base = topic.rsplit("/", 1)[0] if is_compressed and "/" in topic else topic
    space, slash, _ = base.rpartition("/")
    return f"{space}{slash}camera_info"


def camera_info(view: SimView) -> CameraInfo:
    """The intrinsics of a view."""
    fx, fy, cx, cy = view.intrinsics
    info = CameraInfo(height=view.height, width=view.width, distortion_model="plumb_bob", d=[0.0] * 5)
    info.header.frame_id = view.camera
    info.k = [fx, 0.0, cx, 0.0, fy, cy, 0.0, 0.0, 1.0]
    info.r = np.eye(3).ravel().tolist()
    info.p = [fx, 0.0, cx, 0.0, 0.0, fy, cy, 0.0, 0.0, 0.0, 1.0, 0.0]
    return info


def _message(camera: _Camera, pixels: np.ndarray, stamp_ns: int) -> Image | CompressedImage:
    data, step = written(pixels, camera.encoding)
    if camera.is_compressed:
        message = CompressedImage(format=camera.encoding.split("_")[0])
    else:
        message = Image(height=pixels.shape[0], width=pixels.shape[1], encoding=camera.encoding, step=step)
    message.header.stamp, message.header.frame_id = ns_to_stamp(stamp_ns), camera.view.camera
    message.data = array.array("B", data)
    return message
