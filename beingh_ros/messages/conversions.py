"""Messages to numpy and back.

Letters: H, W image height and width; T trajectory points; J joints.
Everything a user can get wrong (encoding, sizes, names) raises `BeingHError`; nothing here is logged.
"""

from __future__ import annotations

import array
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from builtin_interfaces.msg import Duration, Time
from sensor_msgs.msg import Image
from trajectory_msgs.msg import JointTrajectory

from beingh_core.contract.state_messages import NS_PER_S, stamp_to_ns
from beingh_core.data.pixels import fields_of, raw_pixels
from beingh_core.errors import BeingHError

# A point may be this far from its time [ns]: far more than rounding, far less than anything that moves.
POINT_TOLERANCE_NS = 100_000


def ns_to_stamp(stamp_ns: int) -> Time:
    """Message stamp of a non-negative integer number of nanoseconds, exactly."""
    if stamp_ns < 0:
        raise BeingHError(f"a time stamp cannot be negative ({stamp_ns} ns)")
    sec, nanosec = divmod(int(stamp_ns), NS_PER_S)
    return Time(sec=sec, nanosec=nanosec)


def ns_to_duration(duration_ns: int) -> Duration:
    """Message duration of an integer number of nanoseconds, exactly."""
    sec, nanosec = divmod(int(duration_ns), NS_PER_S)
    return Duration(sec=sec, nanosec=nanosec)


def image_to_array(message: Image, encoding: str | None = None) -> np.ndarray:
    """RGB pixels of a raw image, uint8 (H, W, 3); see `pixels.raw_pixels`.

    Args:
        message: Image with any row padding.
        encoding: The only encoding to accept; None accepts every one in `encodings.RAW`.

    Raises:
        BeingHError: For another encoding, or sizes that do not fit the data.
    """
    return raw_pixels(**fields_of(message), promised=encoding)


def array_to_image(pixels_HWC: np.ndarray, stamp_ns: int, frame_id: str = "") -> Image:
    """rgb8 message of uint8 (H, W, 3) pixels."""
    if pixels_HWC.dtype != np.uint8 or pixels_HWC.ndim != 3 or pixels_HWC.shape[2] != 3:
        raise BeingHError(f"an image must be uint8 (H, W, 3), not {pixels_HWC.dtype} {pixels_HWC.shape}")
    message = Image(height=pixels_HWC.shape[0], width=pixels_HWC.shape[1], encoding="rgb8")
    message.header.stamp, message.header.frame_id = ns_to_stamp(stamp_ns), frame_id
    message.step = 3 * message.width
    message.data = array.array("B", pixels_HWC.tobytes())
    return message


def select_joints(positions: Mapping[str, float], joints: Sequence[str]) -> np.ndarray:
    """Positions (J,) of the named joints, in that order [rad or m].

    Raises:
        BeingHError: When a joint is missing or its position is not a finite number.
    """
    missing = [name for name in joints if name not in positions]
    if missing:
        raise BeingHError(
            f"joint state lacks {', '.join(missing)}",
            allowed=sorted(positions),
            remedy="correct the joint names in the robot contract or merge the joint states into one topic",
        )
    bad = [f"{name}={positions[name]}" for name in joints if not math.isfinite(positions[name])]
    if bad:
        raise BeingHError(f"joint state holds a position that is not a number: {', '.join(bad)}")
    return np.array([positions[name] for name in joints])


@dataclass(frozen=True, kw_only=True)
class Trajectory:
    """A position trajectory read from a message.

    Attributes:
        stamp_ns: Header stamp [ns].
        frame_id: Header frame (the epoch id on the chunk and buffer topics).
        joints: Joint names, J of them.
        positions: (T, J) [rad or m]; may hold NaN.
        times_ns: (T,) int64, time of each point after the stamp [ns].
    """

    stamp_ns: int
    frame_id: str
    joints: tuple[str, ...]
    positions: np.ndarray
    times_ns: np.ndarray

    @property
    def dt_s(self) -> float:
        """Time between points [s]; NaN with fewer than two, and unless point i is i times that after the stamp."""
        if len(self.times_ns) < 2:
            return math.nan
        step_ns = float(self.times_ns[-1] - self.times_ns[0]) / (len(self.times_ns) - 1)
        off_ns = np.abs(self.times_ns - step_ns * np.arange(len(self.times_ns)))
        return step_ns / NS_PER_S if off_ns.max() <= POINT_TOLERANCE_NS else math.nan


def read_trajectory(message: JointTrajectory) -> Trajectory:
    """The positions of a message, joints in its own order.

    Raises:
        BeingHError: When a point has another number of positions than there are joints.
    """
    widths = {len(point.positions) for point in message.points}
    if widths - {len(message.joint_names)}:
        raise BeingHError(
            f"trajectory names {len(message.joint_names)} joints but has points with {sorted(widths)} positions"
        )
    return Trajectory(
        stamp_ns=stamp_to_ns(message.header.stamp),
        frame_id=message.header.frame_id,
        joints=tuple(message.joint_names),
        positions=np.array([point.positions for point in message.points], dtype=float).reshape(
            len(message.points), len(message.joint_names)
        ),
        times_ns=np.array([stamp_to_ns(point.time_from_start) for point in message.points], dtype=np.int64),
    )
