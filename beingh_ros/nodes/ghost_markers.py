"""What RViz shows of a robot beside its paths: where the plan ends as a half transparent robot, and the state in words."""

from __future__ import annotations

import numpy as np
from builtin_interfaces.msg import Duration, Time
from geometry_msgs.msg import Point, Quaternion
from scipy.spatial.transform import Rotation
from std_msgs.msg import ColorRGBA
from visualization_msgs.msg import Marker

from beingh_core.contract import RobotContract
from beingh_core.contract.shapes import BOX, CYLINDER, RobotShapes
from beingh_core.control.stop_causes import RUNNING, STOPPED, STOPPING, Status

GHOST = ColorRGBA(r=0.95, g=0.60, b=0.10, a=0.35)  # of the path that leads there
WORDS = {RUNNING: (0.95, 0.60, 0.10), STOPPING: (0.95, 0.25, 0.20), STOPPED: (0.95, 0.25, 0.20)}
OTHER_WORDS = (0.85, 0.85, 0.85)
_LETTERS_M, _ABOVE_M, _MOST_LETTERS = 0.05, 0.15, 160


class GhostMarkers:
    """The moving shapes of a robot, each in the frame of the link that stands still under it. One thread.

    Joints that nobody commands stand at rest here; in these frames that makes no difference but between commanded ones.

    Args:
        contract: Robot.

    Raises:
        BeingHError: Its URDF has no shapes that can be shown.
    """

    def __init__(self, contract: RobotContract) -> None:
        self._shapes = RobotShapes(contract.urdf_path)
        under = self._shapes.carried_by(contract.joint_names)
        self._markers = [
            (index, shape.link, _marker(index, shape, under[shape.link]))
            for index, shape in enumerate(self._shapes.shapes)
            if shape.link in under
        ]

    def at(self, positions: dict[str, float], stamp: Time, lifetime: Duration) -> list[Marker]:
        """The same markers every time, at these joint positions [rad or m]."""
        middles_N3, axes_N33 = self._shapes.places(positions)
        frames = {marker.header.frame_id for _, _, marker in self._markers}
        bases = {frame: self._shapes.link(frame, positions) for frame in frames}
        for index, _, marker in self._markers:
            origin, axes = bases[marker.header.frame_id]
            x, y, z = (axes.T @ (middles_N3[index] - origin)).tolist()
            turned = Rotation.from_matrix(axes.T @ axes_N33[index]).as_quat().tolist()
            marker.pose.position = Point(x=x, y=y, z=z)
            marker.pose.orientation = Quaternion(x=turned[0], y=turned[1], z=turned[2], w=turned[3])
            marker.header.stamp, marker.lifetime = stamp, lifetime
        return [marker for _, _, marker in self._markers]


class StateMarker:
    """The controller's state in words above the robot, while it is not simply running. One thread.

    Args:
        contract: Robot.
        frame: In which it stands.
    """

    def __init__(self, contract: RobotContract, frame: str) -> None:
        self._marker = Marker(ns="state", type=Marker.TEXT_VIEW_FACING)
        self._marker.header.frame_id = frame
        self._marker.scale.z = _LETTERS_M
        self._marker.pose.orientation.w = 1.0
        self._marker.pose.position.z = _top(contract) + _ABOVE_M

    def of(self, status: Status, lifetime: Duration) -> Marker:
        """The marker; it goes away while there is nothing to tell."""
        told = status.state != RUNNING or bool(status.reason)
        red, green, blue = WORDS.get(status.state, OTHER_WORDS)
        self._marker.action = Marker.ADD if told else Marker.DELETE
        self._marker.color = ColorRGBA(r=red, g=green, b=blue, a=1.0)
        self._marker.text = ": ".join(filter(None, (status.state, status.reason)))[:_MOST_LETTERS]
        self._marker.lifetime = lifetime
        return self._marker


def _marker(index: int, shape, frame: str) -> Marker:
    kind = {BOX: Marker.CUBE, CYLINDER: Marker.CYLINDER}.get(shape.kind, Marker.SPHERE)
    marker = Marker(ns="ghost", id=index, type=kind, action=Marker.ADD, color=GHOST)
    marker.header.frame_id = frame
    marker.scale.x, marker.scale.y, marker.scale.z = shape.size
    return marker


def _top(contract: RobotContract) -> float:
    """How high the robot is at home above its root link [m]; 1 for one whose shapes are not known."""
    from beingh_core.errors import BeingHError

    try:
        middles_N3, _ = RobotShapes(contract.urdf_path).places(dict(zip(contract.joint_names, contract.home)))
    except BeingHError:
        return 1.0
    return float(np.max(middles_N3[:, 2]))
