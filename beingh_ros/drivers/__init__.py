"""Ways of commanding a robot, one file each. A driver sends what it is given; it plans nothing."""

from __future__ import annotations

import importlib
import threading
from collections.abc import Callable, Sequence

from rclpy.node import Node

from beingh_core.contract import RobotContract
from beingh_ros.drivers.driver import Driver
from beingh_ros.drivers.setpoints import Setpoints

__all__ = ["DRIVERS", "Driver", "Setpoints", "make_drivers", "release_drivers", "stop_drivers"]

# kind in the contract -> (module of this package, class)
DRIVERS = {
    "joint_trajectory": ("joint_trajectory", "JointTrajectoryDriver"),
    "follow_joint_trajectory": ("follow_joint_trajectory", "FollowJointTrajectoryDriver"),
    "forward_command": ("forward_command", "ForwardCommandDriver"),
    "joint_state_command": ("joint_state_command", "JointStateCommandDriver"),
    "twist_base": ("twist_base", "TwistBaseDriver"),
    "gripper_command": ("gripper_command", "GripperCommandDriver"),
    "parallel_gripper": ("parallel_gripper", "ParallelGripperDriver"),
    "franka_gripper": ("franka_gripper", "FrankaGripperDriver"),
    "unitree_g1_arm_sdk": ("unitree_g1_arm_sdk", "UnitreeG1ArmSdkDriver"),
}


def make_drivers(node: Node, contract: RobotContract) -> list[Driver]:
    """The drivers that a contract names, in its order.

    Raises:
        BeingHError: A driver needs messages that are not installed; names what to install.
    """
    drivers = []
    for settings in contract.drivers:
        module, name = DRIVERS[settings.kind]
        kind = getattr(importlib.import_module(f"{__name__}.{module}"), name)
        drivers.append(kind(node, contract, settings))
    return drivers


def stop_drivers(drivers: Sequence[Driver], points: Setpoints, streamed: Setpoints | None = None) -> list[str]:
    """Send the braking path through all drivers at the same time: some of them take as long as the braking.

    Args:
        drivers: The drivers.
        points: The path from the newest tick on.
        streamed: The path from the newest setpoint on, for drivers with a command rate; None for the same.

    Returns:
        What went wrong; one driver's failure keeps no other from stopping.
    """
    return _side_by_side(
        [
            (driver, lambda d=driver: d.stop(points if streamed is None or d.command_rate_hz is None else streamed))
            for driver in drivers
        ]
    )


def release_drivers(drivers: Sequence[Driver]) -> list[str]:
    """Give the robot back through all drivers at the same time; see `stop_drivers`."""
    return _side_by_side([(driver, driver.release) for driver in drivers])


def _side_by_side(calls: Sequence[tuple[Driver, Callable[[], None]]]) -> list[str]:
    errors: list[str] = []

    def run(driver: Driver, call: Callable[[], None]) -> None:
        try:
            call()
        except Exception as error:
            errors.append(f"{type(driver).__name__}: {error}")

    threads = [threading.Thread(target=run, args=pair, daemon=True) for pair in calls]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return errors
