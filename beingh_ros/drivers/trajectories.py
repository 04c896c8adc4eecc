"""The trajectory message that joint_trajectory_controller of Humble and of Jazzy both take."""

from __future__ import annotations

import numpy as np
from trajectory_msgs.msg import JointTrajectory, JointTrajectoryPoint

from beingh_core.contract.wire import Wire
from beingh_core.control.setpoints import Setpoints
from beingh_ros.messages.conversions import NS_PER_S, ns_to_duration, ns_to_stamp

# Where the only row left is due already, it is to be reached after this time: at 0 the controller would step to it.
SHORTEST_NS = 10_000_000


def trajectory_of(wire: Wire, points: Setpoints, *, velocities: bool) -> JointTrajectory:
    """A message whose points lie after its stamp, in strictly rising order.

    Velocities make the controller interpolate by cubic splines instead of straight lines. They are sent for two or
    more points only, with 0 at the last one: Jazzy refuses another velocity there, and when no further message comes
    the robot decelerates to that point. A single point with velocity 0 would make it stop at every tick.

    Args:
        wire: Joints of the columns, with their names and units in messages.
        points: Rows at or before the stamp are left out (the controller would jump to them).
        velocities: Whether to send velocities where they are valid.
    """
    times_ns = np.round(np.asarray(points.times_s) * NS_PER_S).astype(np.int64)
    kept = [i for i in range(len(times_ns)) if times_ns[i] > max(0, *times_ns[:i], 0)]
    message = JointTrajectory(joint_names=list(wire.names))
    positions_TJ, velocities_TJ = wire.values(points.positions), wire.rates(points.velocities)
    message.header.stamp = ns_to_stamp(points.stamp_ns)
    if not kept:
        times_ns[-1], kept = SHORTEST_NS, [len(times_ns) - 1]
    for i in kept:
        point = JointTrajectoryPoint(
            positions=positions_TJ[i].tolist(), time_from_start=ns_to_duration(int(times_ns[i]))
        )
        if velocities and len(kept) > 1:
            point.velocities = (velocities_TJ[i] if i != kept[-1] else np.zeros(len(wire.names))).tolist()
        message.points.append(point)
    return message
