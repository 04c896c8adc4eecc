"""A base that drives to and fro while the arm works, so that every fault meets it in motion."""

from __future__ import annotations

import time

from rclpy.serialization import deserialize_message, serialize_message
from trajectory_msgs.msg import MultiDOFJointTrajectory

from beingh_core.contract import RobotContract

# A quarter of the way each way, at this share of the fastest.
PERIOD_S, SHARE = 4.0, 0.3


class Sway:
    """Puts velocities into the base's part of every chunk, behind the locked prefix: forward for half a period, then back.

    Args:
        contract: of a robot with a base.
    """

    def __init__(self, contract: RobotContract) -> None:
        self._delay, self._dt_s = contract.uac.delay_steps, contract.dt_s
        names = list(contract.joint_names)
        self._speeds = [
            (*axis.split("."), SHARE * float(contract.limits.upper[names.index(joint)]))
            for driver in contract.drivers
            if driver.is_velocity
            for joint, axis in zip(driver.joints, driver.options["axes"])
        ]

    def __call__(self, data: bytes) -> bytes:
        message = deserialize_message(data, MultiDOFJointTrajectory)
        now_s = time.time()
        for step, point in enumerate(message.points):
            if step >= self._delay and point.velocities:
                forward = (now_s + step * self._dt_s) % PERIOD_S < PERIOD_S / 2
                for part, axis, speed in self._speeds:
                    setattr(getattr(point.velocities[0], part), axis, speed if forward else -speed)
        return serialize_message(message)
