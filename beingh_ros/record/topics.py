"""Which topics of a robot are recorded. All that the recorder needs to know of contract and nodes is in this file."""

from __future__ import annotations

from dataclasses import dataclass

from beingh_core.contract.driver_options import DRIVER_KINDS
from beingh_core.contract.schema import RobotContract
from beingh_core.data.command_messages import BASE_BUFFER, BUFFER

ACCEPTED, INSTRUCTION = "controller/accepted", "policy/instruction"
COMMAND, STATE = "record/command", "record/state"
_TRAJECTORY, _BASE = "trajectory_msgs/msg/JointTrajectory", "trajectory_msgs/msg/MultiDOFJointTrajectory"


@dataclass(frozen=True, kw_only=True)
class WantedTopic:
    """A topic to record.

    Attributes:
        name: As the contract or the nodes name it.
        type: Message type; "" takes the publisher's.
        keep: Whether the newest message holds until the next one, so that each episode begins with it.
        required: Whether a bag without it is worth a warning.
    """

    name: str
    type: str = ""
    keep: bool = False
    required: bool = True


def wanted_topics(
    contract: RobotContract, extra: tuple[str, ...] = (), without: tuple[str, ...] = ()
) -> list[WantedTopic]:
    """What a contract's episodes consist of, each name once.

    Args:
        contract: Robot.
        extra: Names of further topics, such as depth images.
        without: Names of topics to leave out.
    """
    topics = [WantedTopic(name=camera.topic, type=camera.type) for camera in contract.cameras]
    topics += [
        WantedTopic(name=f"{camera.topic.rsplit('/', 1)[0]}/camera_info", type="sensor_msgs/msg/CameraInfo", keep=True, required=False)
        for camera in contract.cameras
    ]  # fmt: skip
    topics += [
        WantedTopic(name=camera.undistort, type="sensor_msgs/msg/CameraInfo", keep=True)
        for camera in contract.cameras
        if camera.undistort
    ]
    topics += [WantedTopic(name=signal.topic, type=signal.type) for signal in contract.state]
    topics += [WantedTopic(name=name, type="sensor_msgs/msg/JointState") for name in contract.joint_state_topics]
    topics += [
        WantedTopic(name=INSTRUCTION, type="std_msgs/msg/String", keep=True, required=False),
        WantedTopic(name="policy/chunk", type=_TRAJECTORY, required=False),
        WantedTopic(name="policy/latency", required=False),
        WantedTopic(name=BUFFER, type=_TRAJECTORY, required=False),
        WantedTopic(name=ACCEPTED, type="std_msgs/msg/Header", required=False),
        WantedTopic(name="controller/state", keep=True, required=False),
    ]
    if any(driver.is_velocity for driver in contract.drivers):
        topics += [WantedTopic(name=name, type=_BASE, required=False) for name in ("policy/base_chunk", BASE_BUFFER)]
    topics += [
        WantedTopic(name=group.topic, required=False)
        for driver in contract.drivers
        if DRIVER_KINDS[driver.kind].endpoint == "topic"
        for group in driver.groups
    ]
    topics.append(WantedTopic(name=contract.estop_topic, type="std_msgs/msg/Bool", keep=True, required=False))
    topics += [WantedTopic(name=name) for name in extra]
    unique: dict[str, WantedTopic] = {}
    for topic in topics:
        unique.setdefault(topic.name, topic)
    return [topic for topic in unique.values() if topic.name not in without]
