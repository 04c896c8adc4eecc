"""`beingh monitor --snapshot FILE.png`: the picture that RViz would show, drawn without it, from the running graph."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from rclpy.qos import QoSProfile, qos_profile_sensor_data
from scipy.spatial.transform import Rotation
from trajectory_msgs.msg import JointTrajectory
from visualization_msgs.msg import Marker, MarkerArray

from beingh_core.contract import RobotContract
from beingh_core.contract.eef_path import EefPaths, without_hold
from beingh_core.contract.shapes import BOX, CYLINDER, RobotShapes, Shape
from beingh_core.contract.urdf import read_urdf
from beingh_core.errors import BeingHError
from beingh_core.policy.observations import image_key
from beingh_ros.messages.conversions import Trajectory, read_trajectory
from beingh_ros.messages.plan_messages import most_bytes
from beingh_ros.messages.state_messages import StateReader
from beingh_ros.messages.topics import OBJECTS_TOPIC
from beingh_ros.monitor.node import BUFFER, MonitorNode
from beingh_ros.monitor.picture import CHUNK, COMMITTED, GHOST, PREDICTED, View, composed, scene_size
from beingh_ros.monitor.scene import Body, Line, drawn
from beingh_ros.monitor.state import INFERENCE
from beingh_ros.nodes.camera_input import CameraInput
from beingh_ros.nodes.guard import bounded

MOST_OBJECTS = 50
DRAWN = {Marker.CUBE: BOX, Marker.CYLINDER: CYLINDER}


class Snapshot:
    """Receives what the picture shows. One thread, that of the node's executor.

    Args:
        node: The monitor's node, in the robot's namespace.
        contract: Robot.

    Raises:
        BeingHError: The URDF has no shapes that can be drawn.
    """

    def __init__(self, node: MonitorNode, contract: RobotContract) -> None:
        self._node, self._contract = node, contract
        self._shapes, self._paths = RobotShapes(contract.urdf_path), EefPaths(contract)
        self._measured: dict[str, float] = {}
        self._plan: Trajectory | None = None
        self._chunk: Trajectory | None = None
        self._objects: list[Marker] = []
        self._pictures: dict[str, tuple[int, np.ndarray]] = {}
        self._cameras = [
            CameraInput(node, camera, partial(self._on_picture, camera.name), lambda _error: None)
            for camera in contract.cameras
        ]
        make = node.create_subscription
        for topic in contract.state_topics:
            try:
                reader = StateReader(contract, topic, contract.joint_names)
            except BeingHError as error:  # its message type is not installed here: the commands stand for it
                node.get_logger().warning(str(error))
                continue
            make(reader.type, topic, partial(self._on_state, reader), qos_profile_sensor_data)
        for topic, name in ((BUFFER, "_plan"), ("policy/chunk", "_chunk")):
            receive = bounded(JointTrajectory, most_bytes(contract), self._taker(name), lambda _error: None)
            make(JointTrajectory, topic, receive, QoSProfile(depth=5), raw=True)
        make(MarkerArray, OBJECTS_TOPIC, self._on_objects, QoSProfile(depth=5))

    def missing(self) -> list[str]:
        """What has not come yet; also cameras are matched to their publishers here."""
        for camera in self._cameras:
            camera.match_publishers()
        joints = [name for name in self._contract.joint_names if name not in self._measured]
        pictures = [camera.name for camera in self._contract.cameras if camera.name not in self._pictures]
        plan = [BUFFER] if self._plan is None and self._node.count_publishers(BUFFER) else []
        return (["joint states"] if joints else []) + pictures + plan

    def write(self, path: Path, now_s: float) -> None:
        """Draw what was received.

        Args:
            path: PNG to write.
            now_s: Monotonic time [s].

        Raises:
            BeingHError: It cannot be drawn or written.
        """
        scene = drawn(self._bodies(), self._lines(), *scene_size())
        level, words = self._node.state.verdict(now_s)
        picture = composed(scene, self._views(), self._title(), level, [*self._words(), words])
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            picture.save(path, format="PNG")
        except OSError as error:
            raise BeingHError(f"the picture cannot be written: {error}", where=path) from error

    def _here(self) -> dict[str, float]:
        """Where the joints are: measured, else commanded, else at home."""
        home = dict(zip(self._contract.joint_names, self._contract.home))
        commanded = dict(zip(self._plan.joints, self._plan.positions[0].tolist())) if self._plan else {}
        return home | commanded | self._measured

    def _bodies(self) -> list[Body]:
        shapes, here = self._shapes.shapes, self._here()
        middles, axes = self._shapes.places(here)
        bodies = [Body(shapes=shapes, middles=middles, axes=axes), self._boxes(here)]
        if self._plan is not None:
            moving = self._shapes.carried_by(self._contract.joint_names)
            chosen = [index for index, shape in enumerate(shapes) if shape.link in moving]
            end = here | dict(zip(self._plan.joints, self._plan.positions[-1].tolist()))
            middles, axes = self._shapes.places(end)
            ghost = [shapes[index] for index in chosen]
            bodies.append(Body(shapes=ghost, middles=middles[chosen], axes=axes[chosen], colour=GHOST))
        return bodies

    def _boxes(self, here: dict[str, float]) -> Body:
        """The simulator's objects."""
        shapes, middles, axes = [], [], []
        for marker in self._objects:
            origin, turned = self._shapes.link(marker.header.frame_id.lstrip("/"), here)
            at, by = marker.pose.position, marker.pose.orientation
            edges = float(marker.scale.x), float(marker.scale.y), float(marker.scale.z)
            colour = float(marker.color.r), float(marker.color.g), float(marker.color.b)
            shapes.append(Shape(kind=DRAWN[marker.type], size=edges, link="", colour=colour))
            middles.append(origin + turned @ [at.x, at.y, at.z])
            axes.append(turned @ Rotation.from_quat([by.x, by.y, by.z, by.w]).as_matrix())
        return Body(shapes=shapes, middles=np.array(middles).reshape(-1, 3), axes=np.array(axes).reshape(-1, 3, 3))

    def _lines(self) -> list[Line]:
        lines, here, margin = [], self._here(), self._contract.uac.commit_margin
        for arm in self._paths.arms:
            origin, axes = self._shapes.link(arm.base_frame, here)

            def path(rows: Trajectory, positions: np.ndarray, arm=arm, origin=origin, axes=axes) -> np.ndarray:
                return self._paths.along(arm, rows.joints, positions) @ axes.T + origin

            if self._chunk is not None and set(arm.joints) <= set(self._chunk.joints):
                lines.append(Line(points=path(self._chunk, self._chunk.positions), colour=CHUNK, width=0.002))
            if self._plan is not None and set(arm.joints) <= set(self._plan.joints):
                points = path(self._plan, without_hold(self._plan.positions))
                lines.append(Line(points=points[: margin + 1], colour=COMMITTED, width=0.005, balls=True))
                lines.append(Line(points=points[margin:], colour=PREDICTED, width=0.003, balls=True))
        return lines

    def _views(self) -> list[View]:
        streams, views = self._node.state.streams, []
        for camera in self._contract.cameras:
            status = streams.get(image_key(camera.name))
            values = status.values if status else {}
            words = [f"{float(values['rate_hz']):.0f} Hz"] if status and "rate_hz" in values else []
            words += [f"{values['lost']} lost"] if "lost" in values else []
            words += [status.message] if status and status.level else []
            _, pixels = self._pictures.get(camera.name, (0, None))
            views.append(View(name=camera.name, pixels=pixels, words="   ".join(words)))
        return views

    def _title(self) -> str:
        state, space = self._node.state, self._node.get_namespace().strip("/")
        words = ": ".join(filter(None, (state.control_state, state.control_reason))) or "no controller reports"
        return f"{f'{space}: ' if space else ''}{self._contract.robot}   {words}"

    def _words(self) -> list[str]:
        status = self._node.state.statuses.get(INFERENCE)
        if status is None:
            return ["no policy reports"]
        return [f"task: {status.values.get('instruction') or 'none'}; gate: {status.values.get('gate', '?')}"]

    def _on_picture(self, name: str, stamp_ns: int, pixels: np.ndarray) -> None:
        self._pictures[name] = stamp_ns, pixels

    def _on_state(self, reader: StateReader, message: Any) -> None:
        try:
            self._measured |= reader.read(message, self._node.get_clock().now().nanoseconds).positions
        except BeingHError:
            return  # the nodes that need it say so

    def _on_objects(self, message: MarkerArray) -> None:
        links = read_urdf(self._contract.urdf_path).links
        self._objects = [
            marker
            for marker in message.markers[:MOST_OBJECTS]
            if marker.type in DRAWN and marker.header.frame_id.lstrip("/") in links
        ]

    def _taker(self, name: str) -> Callable[[JointTrajectory], None]:
        def take(message: JointTrajectory) -> None:
            try:
                read = read_trajectory(message)
            except BeingHError:
                return
            if len(read.positions) and np.isfinite(read.positions).all():
                setattr(self, name, read)

        return take
