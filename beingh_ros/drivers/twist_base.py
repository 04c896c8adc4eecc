"""Velocities of a mobile base as Twist or TwistStamped."""

from __future__ import annotations

import numpy as np
from geometry_msgs.msg import Twist, TwistStamped
from rclpy.node import Node

from beingh_core.contract import Driver as DriverSettings
from beingh_core.contract import RobotContract
from beingh_core.control.setpoints import Setpoints, sample_to_rest
from beingh_ros.drivers.streaming import StreamingDriver
from beingh_ros.messages.conversions import ns_to_stamp


class TwistBaseDriver(StreamingDriver):
    """One twist a command. A stop brakes, then repeats zero for a while: one lost message must not leave it moving.

    The axes that the contract does not name stay 0.
    """

    def __init__(self, node: Node, contract: RobotContract, settings: DriverSettings) -> None:
        options = settings.options
        super().__init__(node, contract, settings, TwistStamped if options["stamped"] else Twist)
        self._axes = [axis.split(".") for axis in options["axes"]]
        self._frame_id = options["frame_id"] if options["stamped"] else None
        self._zeros = max(1, round(options["zero_s"] * self.command_rate_hz))
        self._width = len(contract.joint_names)

    def stop(self, points: Setpoints) -> None:
        """Brake to zero at the command rate, then send zero for `zero_s`."""
        path = sample_to_rest(points, self.command_rate_hz, self._sent)
        after_s = path.times_s[-1] + np.arange(1, self._zeros + 1) / self.command_rate_hz
        zeros = np.zeros((self._zeros, self._width))
        self._play(
            Setpoints(
                stamp_ns=path.stamp_ns,
                times_s=np.concatenate([path.times_s, after_s]),
                positions=np.vstack([path.positions, zeros]),
                velocities=np.vstack([path.velocities, zeros]),
            )
        )
        self._flush()
        self._sent = None

    def _message(
        self, joints: tuple[str, ...], stamp_ns: int, positions: np.ndarray, velocities: np.ndarray
    ) -> Twist | TwistStamped:
        twist = Twist()
        for (part, axis), value in zip(self._axes, positions.tolist()):
            setattr(getattr(twist, part), axis, value)
        if self._frame_id is None:
            return twist
        message = TwistStamped(twist=twist)
        message.header.stamp, message.header.frame_id = ns_to_stamp(stamp_ns), self._frame_id
        return message
