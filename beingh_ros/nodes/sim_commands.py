"""The commands that the simulator takes, in the contract's names and units.

joint_trajectory: as joint_trajectory_controller. forward_command and joint_state_command: each message is the next reference.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import numpy as np
from rclpy.node import Node
from rclpy.qos import QoSProfile
from sensor_msgs.msg import JointState
from std_msgs.msg import Float64MultiArray
from trajectory_msgs.msg import JointTrajectory

from beingh_core.contract.schema import DriverGroup
from beingh_core.contract.state_messages import joint_positions
from beingh_core.contract.wire import Wire, plain
from beingh_core.errors import BeingHError
from beingh_core.sim.trajectory_follower import TrajectoryFollower
from beingh_ros.messages.conversions import read_trajectory
from beingh_ros.nodes.guard import bounded

# A streamed reference is reached in this time, as a servo does that gets the next one then.
STREAM_NS = 10_000_000
Accept = Callable[[Any, int], "str | None"]


def read_command(kind: str, wire: Wire, message: Any, follower: TrajectoryFollower, now_ns: int) -> str | None:
    """Hand a message to a follower at a time; why it is dropped, None where it is not."""
    return _READERS[kind][1](wire, message, follower, now_ns)


def subscribe(
    node: Node,
    kind: str,
    group: DriverGroup,
    most_bytes: int,
    take: Callable[[Accept], None],
    tell_dropped: Callable[[Any], None],
) -> None:
    """Takes the commands of a group.

    Args:
        node: owner of the subscription.
        kind: of the driver.
        group: its topic and joints.
        most_bytes: longer messages are dropped.
        take: given for each message what hands it to a follower at a time, and returns why it is dropped.
        tell_dropped: told about messages that are no such message.
    """
    message_type, wire = _READERS[kind][0], group.wire or plain(group.joints)
    receive = bounded(
        message_type, most_bytes, lambda message: take(partial(read_command, kind, wire, message)), tell_dropped
    )
    node.create_subscription(message_type, group.topic, receive, QoSProfile(depth=10), raw=True)


def _trajectory(wire: Wire, message: JointTrajectory, follower: TrajectoryFollower, now_ns: int) -> str | None:
    if any(len(point.effort) for point in message.points):
        return "Trajectories with effort fields are currently not supported"
    if message.points and any(message.points[-1].velocities):
        return "Velocity of last trajectory point is not zero"
    try:
        read = read_trajectory(message)
    except BeingHError as error:
        return str(error)
    unknown = [name for name in read.joints if name not in wire.names]
    if unknown:
        return f"Incoming joint {unknown[0]} doesn't match the controller's joints"
    parts = [wire.of(wire.joints[wire.names.index(name)]) for name in read.joints]
    joints = [wire.joints[wire.names.index(name)] for name in read.joints]
    positions_TJ = np.asarray(read.positions)
    if parts:
        positions_TJ = positions_TJ * [factor for _, factor, _ in parts] + [shift for _, _, shift in parts]
    return follower.accept(joints, positions_TJ, read.times_ns, read.stamp_ns, now_ns)


def _array(wire: Wire, message: Float64MultiArray, follower: TrajectoryFollower, now_ns: int) -> str | None:
    if len(message.data) != len(wire.joints):
        return f"{len(message.data)} numbers for {len(wire.joints)} joints"
    return _stream(wire, wire.names, message.data, follower, now_ns)


def _joints(wire: Wire, message: JointState, follower: TrajectoryFollower, now_ns: int) -> str | None:
    try:
        positions = joint_positions(message, wire.names)
    except BeingHError as error:
        return str(error)
    return _stream(wire, tuple(positions), tuple(positions.values()), follower, now_ns)


def _stream(
    wire: Wire, names: Sequence[str], values: Sequence[float], follower: TrajectoryFollower, now_ns: int
) -> str | None:
    """The next reference; joints that a message leaves out keep theirs."""
    unknown = [name for name in names if name not in wire.names]
    if unknown or not len(names):
        return f"there is no joint {unknown[0]} here" if unknown else "the message holds no positions"
    held = dict(zip(follower.joints, follower.sample(now_ns).tolist()))
    goal = held | wire.positions(dict(zip(names, map(float, values))))
    row = np.array([[goal[joint] for joint in follower.joints]])
    return follower.accept(follower.joints, row, np.array([STREAM_NS]), 0, now_ns)


_READERS: dict[str, tuple[type, Callable[..., str | None]]] = {
    "joint_trajectory": (JointTrajectory, _trajectory),
    "forward_command": (Float64MultiArray, _array),
    "joint_state_command": (JointState, _joints),
}
