"""Trajectory messages as a test sends them."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from trajectory_msgs.msg import JointTrajectory, JointTrajectoryPoint

from beingh_ros.messages.conversions import NS_PER_S, ns_to_duration, ns_to_stamp


def trajectory_message(
    joints: Sequence[str],
    positions_TJ: np.ndarray,
    *,
    stamp_ns: int,
    rate_hz: float,
    frame_id: str = "",
    first_step: int = 0,
) -> JointTrajectory:
    """Positions-only message with point i at (first_step + i) / rate_hz after the stamp.

    Args:
        joints: J names.
        positions_TJ: (T, J) [rad or m].
        stamp_ns: Header stamp [ns].
        rate_hz: Points per second.
        frame_id: Header frame.
        first_step: Periods between the stamp and the first point.
    """
    message = JointTrajectory(joint_names=list(joints))
    message.header.stamp, message.header.frame_id = ns_to_stamp(stamp_ns), frame_id
    for index, row in enumerate(np.asarray(positions_TJ, dtype=float).tolist(), start=first_step):
        after = ns_to_duration(round(index * NS_PER_S / rate_hz))
        message.points.append(JointTrajectoryPoint(positions=row, time_from_start=after))
    return message
