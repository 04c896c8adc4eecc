"""What RViz shows of a robot. No ROS here."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import yaml

from beingh_core.contract import RobotContract

# Where the paths of the end effectors are published, relative to the namespace.
PATHS_TOPIC = "markers/eef_path"


@dataclass(frozen=True)
class Arm:
    """An end effector whose joints are all commanded: its link, the link of the positions, the joints between."""

    eef_frame: str
    base_frame: str
    joints: tuple[str, ...]


def arms_of(contract: RobotContract) -> tuple[Arm, ...]:
    """The end effectors of a contract, those that are commanded first; empty when it names no frame of one."""
    found: dict[str, Arm] = {}
    for signal in (*contract.action, *contract.state):
        if signal.eef_frame and set(signal.joints) <= set(contract.joint_names):
            found.setdefault(signal.eef_frame, Arm(signal.eef_frame, signal.base_frame, tuple(signal.joints)))
    return tuple(found.values())


def base_frame(contract: RobotContract) -> str:
    """The frame in which positions of the hand and of objects are told; "world" for a robot without any."""
    frames = [signal.base_frame for signal in (*contract.state, *contract.action) if signal.base_frame]
    return frames[0] if frames else "world"


def rviz_config(contract: RobotContract, template: Path, namespace: str = "") -> str:
    """An RViz configuration with the frame, the cameras and the description topic of a robot.

    Args:
        contract: Robot.
        template: RViz configuration; its first Image display is repeated for every camera, others are left out.
        namespace: ROS namespace of our nodes and of the robot state publisher.

    Returns:
        Text of the configuration.
    """
    config = yaml.safe_load(Path(template).read_text(encoding="utf-8"))
    manager = config["Visualization Manager"]
    manager["Global Options"]["Fixed Frame"] = base_frame(contract)
    images = [display for display in manager["Displays"] if _is_kind(display, "Image")]
    displays = []
    for display in manager["Displays"]:
        if display is images[0]:
            displays += [
                display | {"Name": camera.name, "Topic": display["Topic"] | {"Value": camera.topic}}
                for camera in contract.cameras
            ]
        elif display not in images and (arms_of(contract) or _topic(display) != f"/{PATHS_TOPIC}"):
            displays.append(_in_namespace(display, namespace.strip("/")))
    manager["Displays"] = displays
    return yaml.safe_dump(config, sort_keys=False)


def _is_kind(display: dict, kind: str) -> bool:
    return display["Class"].rpartition("/")[2] == kind


def _topic(display: dict) -> str:
    return display.get("Topic", {}).get("Value", "")


def _in_namespace(display: dict, namespace: str) -> dict:
    """A display with the topics that are relative to the namespace put into it; cameras and objects are not."""
    for key, topic in (("Description Topic", "robot_description"), ("Topic", PATHS_TOPIC)):
        if namespace and display.get(key, {}).get("Value") == f"/{topic}":
            display = display | {key: display[key] | {"Value": f"/{namespace}/{topic}"}}
    return display
