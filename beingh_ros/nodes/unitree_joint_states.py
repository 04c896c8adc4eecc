"""Joint states of a Unitree G1, which publishes only its own LowState.

Subscribes lowstate (unitree_hg/LowState, 500 Hz), publishes joint_states (at most 100 Hz, stamped at receipt), with
positions, velocities and torques of all 29 joints. A G1 with fewer joints reports the others as 0.
"""

from __future__ import annotations

import sys
import time

from rclpy.qos import QoSProfile, qos_profile_sensor_data
from sensor_msgs.msg import JointState

from beingh_ros.drivers.interfaces import interface
from beingh_ros.drivers.unitree_g1_arm_sdk import UPPER_BODY
from beingh_ros.nodes.guard import GuardedNode
from beingh_ros.nodes.runtime import run_node

_LEG = ("hip_pitch", "hip_roll", "hip_yaw", "knee", "ankle_pitch", "ankle_roll")
# In the order of the motors, from 0 on.
JOINTS = (*(f"{side}_{part}_joint" for side in ("left", "right") for part in _LEG), *UPPER_BODY)
PERIOD_S = 0.01


class UnitreeJointStates(GuardedNode):
    """The node."""

    def __init__(self) -> None:
        super().__init__("unitree_joint_states")
        self._publisher = self.create_publisher(JointState, "joint_states", QoSProfile(depth=10))
        self._due_s = 0.0
        self.create_subscription(
            interface("unitree_hg.msg", "LowState", "unitree_joint_states"),
            "lowstate",
            self._on_state,
            qos_profile_sensor_data,
        )

    def close(self) -> None:
        """Nothing to end in order."""

    def _on_state(self, state) -> None:
        now_s = time.monotonic()
        if now_s < self._due_s:
            return
        self._due_s = max(self._due_s + PERIOD_S, now_s)
        motors = state.motor_state[: len(JOINTS)]
        message = JointState(name=list(JOINTS))
        message.header.stamp = self.get_clock().now().to_msg()
        message.position = [motor.q for motor in motors]
        message.velocity = [motor.dq for motor in motors]
        message.effort = [motor.tau_est for motor in motors]
        self._publisher.publish(message)


def main(args=None) -> int:
    """Entry point."""
    return run_node(UnitreeJointStates, "unitree_joint_states", args)


if __name__ == "__main__":
    sys.exit(main())
