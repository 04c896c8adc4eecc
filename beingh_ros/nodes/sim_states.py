"""What the simulated robot says of itself: joint states, with the contract's names and units, and what its drivers need."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

from rclpy.node import Node
from sensor_msgs.msg import JointState

from beingh_core.contract.schema import RobotContract
from beingh_core.contract.wire import Wire
from beingh_core.sim import SimRobot
from beingh_ros.messages.conversions import ns_to_stamp
from beingh_ros.nodes.sim_base import odometries
from beingh_ros.nodes.sim_unitree import low_states

JOINT_STATE_RATE_HZ = 50.0
# Rate [1/s] and what publishes, given a stamp [ns].
Publication = tuple[float, Callable[[int], None]]


def publications(node: Node, contract: RobotContract, robot: SimRobot) -> list[Publication]:
    """Every state topic of a contract."""
    found: list[Publication] = []
    for topic in contract.joint_state_topics:
        publisher = node.create_publisher(JointState, topic, 10)
        found.append((JOINT_STATE_RATE_HZ, partial(_publish_joints, publisher, robot, contract.wire_of(topic))))
    found += [(JOINT_STATE_RATE_HZ, publish) for publish in odometries(node, contract, robot)]
    found += [(JOINT_STATE_RATE_HZ, publish) for publish in low_states(node, contract, robot).values()]
    return found


def _publish_joints(publisher, robot: SimRobot, wire: Wire, stamp_ns: int) -> None:
    """The joints read from a topic, with their names and units there; all joints where those are the URDF's."""
    names, positions, velocities = robot.joint_state()
    message = JointState(name=list(names), position=positions.tolist(), velocity=velocities.tolist())
    if not wire.is_plain:
        rows = [names.index(joint) for joint in wire.joints]
        message.name, message.position = list(wire.names), wire.values(positions[rows]).tolist()
        message.velocity = wire.rates(velocities[rows]).tolist()
    message.header.stamp = ns_to_stamp(stamp_ns)
    publisher.publish(message)
