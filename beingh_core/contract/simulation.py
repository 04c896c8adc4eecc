"""Which contracts the simulator can play."""

from __future__ import annotations

from beingh_core.contract.encodings import IMAGE_ENCODINGS
from beingh_core.contract.schema import BASE_POSE_SLOTS, CameraStream, RobotContract
from beingh_core.contract.sources import JOINT_STATE
from beingh_core.errors import BeingHError

# Kinds of drivers whose commands the simulator takes.
PLAYED = (
    "follow_joint_trajectory",
    "forward_command",
    "franka_gripper",
    "gripper_command",
    "joint_state_command",
    "joint_trajectory",
    "parallel_gripper",
    "twist_base",
    "unitree_g1_arm_sdk",
)
ODOMETRY = "nav_msgs/msg/Odometry"
# A base drives on the floor.
_BASE_AXES = ("linear.x", "linear.y", "angular.z")


def check_simulation(contract: RobotContract) -> None:
    """Refuses, before anything is made, a contract that the simulator cannot play.

    Raises:
        BeingHError: a driver, a state signal or a camera of a kind that is not simulated.
    """
    remedy = "start this robot's own drivers in place of the simulator"
    for driver in contract.drivers:
        if driver.kind not in PLAYED:
            raise BeingHError(
                f"the simulator does not take what a driver of kind `{driver.kind}` sends",
                where=f"{contract.path}: drivers",
                allowed=PLAYED,
                remedy=remedy,
            )
        for axis in driver.options["axes"] if driver.kind == "twist_base" else ():
            if axis not in _BASE_AXES:
                raise BeingHError(
                    f"the simulated base has no `{axis}`", where=f"{contract.path}: drivers", allowed=_BASE_AXES
                )
    for signal in contract.state:
        if signal.type != JOINT_STATE and (signal.type, signal.slot in BASE_POSE_SLOTS) != (ODOMETRY, True):
            raise BeingHError(
                f"the simulator does not publish {signal.type}",
                where=f"{contract.path}: state.{signal.slot}",
                allowed=[JOINT_STATE, f"{ODOMETRY} of a base"],
                remedy=remedy,
            )
    for camera in contract.cameras:
        check_camera(camera)


def check_camera(camera: CameraStream) -> None:
    """Refuses a view whose pictures the simulator cannot write.

    Raises:
        BeingHError: an encoding that takes more than choosing and ordering channels.
    """
    encoding = IMAGE_ENCODINGS[camera.type][camera.encoding]
    if encoding.needs_opencv:
        written = [name for name, other in IMAGE_ENCODINGS[camera.type].items() if not other.needs_opencv]
        raise BeingHError(
            f"the simulator cannot publish {camera.encoding} on {camera.topic}",
            where=f"camera {camera.name}",
            allowed=written,
        )
