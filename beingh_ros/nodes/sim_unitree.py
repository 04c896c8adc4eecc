"""The simulator in the part of a Unitree G1: LowCmd on arm_sdk in, LowState out."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from rclpy.node import Node
from rclpy.qos import QoSProfile

from beingh_core.contract.schema import Driver, RobotContract
from beingh_core.sim import SimRobot
from beingh_core.sim.arm_sdk import ArmSdkFollower, MotorCommand
from beingh_ros.drivers.interfaces import interface
from beingh_ros.drivers.unitree_crc import low_cmd_crc, low_state_crc
from beingh_ros.drivers.unitree_g1_arm_sdk import ENABLE, MOTOR, WEIGHT_MOTOR
from beingh_ros.nodes.guard import bounded
from beingh_ros.nodes.sim_commands import Accept
from beingh_ros.nodes.unitree_joint_states import JOINTS

KIND = "unitree_g1_arm_sdk"
# 29 degrees of freedom with the wrists' small motors (g1_29dof_rev_1_0).
MODE_MACHINE = 5
MOST_BYTES = 2000
GRAVITY = 9.81


def subscribe_arm_sdk(
    node: Node,
    topic: str,
    follower: ArmSdkFollower,
    take: Callable[[Accept], None],
    tell_dropped: Callable[[Any], None],
) -> None:
    """Takes LowCmd with the right check sum, for the motors of the follower's joints.

    Raises:
        BeingHError: the messages are not installed.
    """

    def receive(message: Any) -> None:
        crc = low_cmd_crc(message.mode_pr, message.mode_machine, message.motor_cmd, message.reserve)
        if message.crc != crc:
            tell_dropped(f"check sum {message.crc:#010x} on {topic}, {crc:#010x} is right")
        elif message.mode_machine != MODE_MACHINE:
            tell_dropped(f"mode_machine {message.mode_machine} on {topic}, this robot's state says {MODE_MACHINE}")
        else:
            commands = {joint: _command(message.motor_cmd[MOTOR[joint]]) for joint in follower.joints}
            motors = {joint: command for joint, command in commands.items() if command is not None}
            weight = message.motor_cmd[WEIGHT_MOTOR].q
            take(lambda accepts, _now_ns: accepts.accept(weight, motors))

    kind = interface("unitree_hg.msg", "LowCmd", KIND)
    node.create_subscription(
        kind, topic, bounded(kind, MOST_BYTES, receive, tell_dropped), QoSProfile(depth=10), raw=True
    )


def _command(motor: Any) -> MotorCommand | None:
    """None for a motor that is not enabled."""
    return MotorCommand(motor.q, motor.kp, motor.kd) if motor.mode == ENABLE else None


def low_states(node: Node, contract: RobotContract, robot: SimRobot) -> dict[str, Callable[[int], None]]:
    """State topic of each arm_sdk driver -> what publishes a LowState on it, given a stamp [ns].

    Raises:
        BeingHError: the messages are not installed.
    """
    return {
        driver.options["state_topic"]: _low_state(node, driver, robot)
        for driver in contract.drivers
        if driver.kind == KIND
    }


def _low_state(node: Node, driver: Driver, robot: SimRobot) -> Callable[[int], None]:
    kind = interface("unitree_hg.msg", "LowState", KIND)
    publisher = node.create_publisher(kind, driver.options["state_topic"], QoSProfile(depth=10))

    def publish(stamp_ns: int) -> None:
        message = kind(mode_machine=MODE_MACHINE, tick=stamp_ns // 1_000_000 % 2**32)
        message.imu_state.quaternion[0], message.imu_state.accelerometer[2] = 1.0, GRAVITY
        names, positions, velocities = robot.joint_state()
        measured = dict(zip(names, zip(positions.tolist(), velocities.tolist())))
        for motor, joint in zip(message.motor_state, JOINTS):
            motor.mode = ENABLE
            if joint in measured:
                motor.q, motor.dq = measured[joint]
                motor.tau_est = robot.effort(joint)
        message.crc = low_state_crc(message)
        publisher.publish(message)

    return publish
