"""Joint states of several topics, or with other names and units than the URDF's, as one topic in the URDF's words.

The robot state publisher hears one topic, and knows the URDF alone.
"""

from __future__ import annotations

from functools import partial
from typing import Any

from rclpy.clock import Clock, ClockType
from rclpy.node import Node
from rclpy.qos import QoSProfile, qos_profile_sensor_data
from sensor_msgs.msg import JointState

from beingh_core.contract import RobotContract
from beingh_core.contract.urdf import read_urdf
from beingh_core.errors import BeingHError
from beingh_ros.messages.conversions import ns_to_stamp
from beingh_ros.messages.state_messages import StateReader
from beingh_ros.messages.topics import JOINTS_TOPIC


class MergedJoints:
    """Publishes the newest position of every joint of the URDF that is measured. Executor thread.

    Args:
        node: Owner.
        contract: Robot.
        rate_hz: How often [1/s].
    """

    def __init__(self, node: Node, contract: RobotContract, rate_hz: float) -> None:
        self._node, self._joints = node, read_urdf(contract.urdf_path).joints
        self._positions: dict[str, float] = {}
        self._stamp_ns = 0
        self._publisher = node.create_publisher(JointState, JOINTS_TOPIC, QoSProfile(depth=10))
        for topic in contract.joint_state_topics:
            reader = StateReader(contract, topic)
            take = partial(self._on_state, reader)
            node.create_subscription(reader.type, topic, take, qos_profile_sensor_data)
        node.create_timer(1.0 / rate_hz, self._publish, clock=Clock(clock_type=ClockType.STEADY_TIME))

    def _on_state(self, reader: StateReader, message: Any) -> None:
        try:
            read = reader.read(message, self._node.get_clock().now().nanoseconds)
        except BeingHError:
            return  # the nodes that need it say so
        self._positions |= {name: value for name, value in read.positions.items() if name in self._joints}
        self._stamp_ns = max(self._stamp_ns, read.stamp_ns)

    def _publish(self) -> None:
        if self._positions:
            message = JointState(name=list(self._positions), position=list(self._positions.values()))
            message.header.stamp = ns_to_stamp(self._stamp_ns)
            self._publisher.publish(message)
