"""Shows where the robot goes: paths of its end effectors, the robot where the plan ends, and the controller's state in words.

A process of its own, so that the tick thread has nothing to do with it. What is shown is that of the commands, so it needs no
joint states. Topics and parameters are listed in `beingh_ros/__init__.py`.
"""

from __future__ import annotations

import sys
from functools import partial

import numpy as np
from diagnostic_msgs.msg import DiagnosticStatus
from geometry_msgs.msg import Point
from rclpy.clock import Clock, ClockType
from rclpy.qos import QoSProfile
from std_msgs.msg import ColorRGBA
from trajectory_msgs.msg import JointTrajectory
from visualization_msgs.msg import Marker, MarkerArray

from beingh_core.contract import RobotContract, load_contract
from beingh_core.contract.arms import Arm, base_frame
from beingh_core.contract.eef_path import EefPaths, Trail, without_hold
from beingh_core.control.stop_causes import Status
from beingh_core.errors import BeingHError, shown
from beingh_core.realtime.clock import TickClock
from beingh_ros.messages import controller_state
from beingh_ros.messages.conversions import Trajectory, ns_to_duration, ns_to_stamp, read_trajectory
from beingh_ros.messages.plan_messages import most_bytes
from beingh_ros.messages.topics import GHOST_TOPIC, PATHS_TOPIC, WORDS_TOPIC
from beingh_ros.nodes.ghost_markers import GhostMarkers, StateMarker
from beingh_ros.nodes.guard import GuardedNode, bounded
from beingh_ros.nodes.merged_joints import MergedJoints
from beingh_ros.nodes.runtime import declare, run_node

# red, green, blue, and the width of the line [m]
COMMITTED, PREDICTED, CHUNK = (0.10, 0.75, 0.35, 0.006), (0.95, 0.60, 0.10, 0.004), (0.35, 0.55, 0.95, 0.002)
MARKERS_PER_ARM = 5
# Paths that are not renewed vanish after this time, or after three periods when those are longer [s].
LIFETIME_S = 0.5
# A robot of a hundred shapes takes 15 ms.
GHOST_HZ = 5.0


class MarkersNode(GuardedNode):
    """The node. One thread; it keeps the newest message of each topic and a trail of bounded length."""

    def __init__(self) -> None:
        super().__init__("markers")
        contract = load_contract(declare(self, "contract", "fr3", "robot contract: name or path"))
        rate_hz = declare(self, "rate_hz", 10.0, "how often the markers are renewed [1/s]", between=(0.5, 60.0))
        trail_s = declare(self, "trail_s", 1.0, "length of the path behind the robot [s]", between=(0.0, 60.0))
        joints_hz = declare(
            self,
            "joint_states_hz",
            0.0,
            "how often joint states are published in the URDF's words, for a robot state publisher [1/s]; 0: not",
            between=(0.0, 200.0),
        )
        self._joints = MergedJoints(self, contract, joints_hz) if joints_hz > 0.0 else None
        self._paths = EefPaths(contract)
        self._ghost, self._shown, self._each = self._make_ghost(contract), 0, max(1, round(rate_hz / GHOST_HZ))
        self._margin, self._rate_hz = contract.uac.commit_margin, contract.rate_hz
        self._lifetime = ns_to_duration(round(1e9 * max(LIFETIME_S, 3 / rate_hz)))
        self._trail = Trail(round(trail_s * contract.rate_hz))
        self._plan: Trajectory | None = None
        self._chunk: Trajectory | None = None
        self._told: set[str] = set()
        # RViz receives reliable and best-effort publishers; a late display needs no old paths.
        self._publisher, self._ghosts, self._words = (
            self.create_publisher(MarkerArray, topic, QoSProfile(depth=5))
            for topic in (PATHS_TOPIC, GHOST_TOPIC, WORDS_TOPIC)
        )
        self._state: Status | None = None
        self._state_marker = StateMarker(contract, base_frame(contract))
        self.create_subscription(DiagnosticStatus, controller_state.TOPIC, self._on_state, controller_state.QOS)
        for topic, take, depth in (("controller/buffer", self._on_buffer, 10), ("policy/chunk", self._on_chunk, 1)):
            receive = bounded(JointTrajectory, most_bytes(contract), take, partial(self._refuse, topic))
            self.create_subscription(JointTrajectory, topic, receive, QoSProfile(depth=depth), raw=True)
        self.create_timer(1.0 / rate_hz, self._show, clock=Clock(clock_type=ClockType.STEADY_TIME))

    def close(self) -> None:
        """Nothing to end; what was shown vanishes by itself."""

    def _make_ghost(self, contract: RobotContract) -> GhostMarkers | None:
        try:
            return GhostMarkers(contract)
        except BeingHError as error:
            self.get_logger().warning(f"the end of the plan is not shown as a robot: {error}")
            return None

    def _on_state(self, message: DiagnosticStatus) -> None:
        self._state = controller_state.read_state(message)

    def _on_buffer(self, message: JointTrajectory) -> None:
        plan = self._read(message, "controller/buffer")
        if plan is not None:
            self._plan = plan
            self._trail.add(plan.frame_id, plan.stamp_ns, plan.positions[0])

    def _on_chunk(self, message: JointTrajectory) -> None:
        self._chunk = self._read(message, "policy/chunk") or self._chunk

    def _read(self, message: JointTrajectory, topic: str) -> Trajectory | None:
        """The trajectory, None when nothing can be shown of it, which is told once."""
        try:
            read = read_trajectory(message)
            missing = [name for arm in self._paths.arms for name in arm.joints if name not in read.joints]
            if missing:
                raise BeingHError(f"it lacks {', '.join(missing)}", allowed=shown(read.joints))
        except BeingHError as error:
            self._refuse(topic, error)
            return None
        return read if len(read.positions) and np.isfinite(read.positions).all() else None

    def _refuse(self, topic: str, error: BeingHError) -> None:
        if topic not in self._told:
            self._told.add(topic)
            self.get_logger().warning(f"{topic} is not shown: {error}")

    def _show(self) -> None:
        """Publish what is new since the last time, to those who listen."""
        if self._state is not None and self._words.get_subscription_count():
            self._words.publish(MarkerArray(markers=[self._state_marker.of(self._state, self._lifetime)]))
        plan, chunk, self._plan = self._plan, self._chunk, None
        if plan is None:
            return
        self._shown += 1
        if self._ghost is not None and self._shown % self._each == 0 and self._ghosts.get_subscription_count():
            end = dict(zip(plan.joints, plan.positions[-1].tolist()))
            markers = self._ghost.at(end, ns_to_stamp(self._sent_ns(plan)), self._lifetime)
            self._ghosts.publish(MarkerArray(markers=markers))
        if not self._publisher.get_subscription_count():
            return
        if chunk is not None and not self._is_present(chunk, plan):
            chunk = None
        message = MarkerArray()
        for index, arm in enumerate(self._paths.arms):
            message.markers += self._markers(index, arm, plan, chunk)
        self._publisher.publish(message)

    def _sent_ns(self, plan: Trajectory) -> int:
        """Time of the newest sent tick [ns]; it is in the past, so that a moving frame is known at that time."""
        return max(0, TickClock(self._rate_hz, plan.stamp_ns).stamp_ns(-1))

    @staticmethod
    def _is_present(chunk: Trajectory, plan: Trajectory) -> bool:
        """Whether a chunk is of the plan's epoch and has steps that are still to come."""
        end_ns = chunk.stamp_ns + int(chunk.times_ns[-1])
        return chunk.frame_id == plan.frame_id and end_ns >= plan.stamp_ns

    def _markers(self, index: int, arm: Arm, plan: Trajectory, chunk: Trajectory | None) -> list[Marker]:
        """The lines and tick marks of one arm; those without anything to show are deleted."""
        ahead = self._paths.along(arm, plan.joints, without_hold(plan.positions))
        trail = self._trail.before(plan.stamp_ns)
        behind = self._paths.along(arm, plan.joints, trail) if len(trail) else np.empty((0, 3))
        committed = np.vstack([behind, ahead[: self._margin]])
        predicted = ahead[self._margin :]
        joined = np.vstack([committed[-1:], predicted]) if len(predicted) else predicted
        own = self._paths.along(arm, chunk.joints, chunk.positions) if chunk else np.empty((0, 3))
        stamp_ns, first = self._sent_ns(plan), MARKERS_PER_ARM * index

        def marker(number: int, name: str, kind: int, points: np.ndarray, look: tuple) -> Marker:
            return self._marker(arm, stamp_ns, (f"{arm.eef_frame}/{name}", first + number), kind, points, look)

        return [
            marker(0, "committed", Marker.LINE_STRIP, committed, COMMITTED),
            marker(1, "predicted", Marker.LINE_STRIP, joined, PREDICTED),
            marker(2, "chunk", Marker.LINE_STRIP, own, CHUNK),
            marker(3, "committed ticks", Marker.SPHERE_LIST, committed, COMMITTED),
            marker(4, "predicted ticks", Marker.SPHERE_LIST, predicted, PREDICTED),
        ]

    def _marker(
        self, arm: Arm, stamp_ns: int, name: tuple[str, int], kind: int, points_N3: np.ndarray, look: tuple
    ) -> Marker:
        marker = Marker(ns=name[0], id=name[1], type=kind, action=Marker.ADD, lifetime=self._lifetime)
        marker.header.frame_id, marker.header.stamp = arm.base_frame, ns_to_stamp(stamp_ns)
        marker.pose.orientation.w = 1.0
        *colour, width = look
        marker.color = ColorRGBA(r=colour[0], g=colour[1], b=colour[2], a=1.0)
        marker.scale.x = width
        if kind == Marker.SPHERE_LIST:
            marker.scale.x = marker.scale.y = marker.scale.z = 1.5 * width
        # A line of one point is an error in RViz.
        if len(points_N3) < (2 if kind == Marker.LINE_STRIP else 1):
            marker.action = Marker.DELETE
            return marker
        marker.points = [Point(x=x, y=y, z=z) for x, y, z in points_N3.tolist()]
        return marker


def main(args=None) -> int:
    """Entry point."""
    return run_node(MarkersNode, "markers", args)


if __name__ == "__main__":
    sys.exit(main())
