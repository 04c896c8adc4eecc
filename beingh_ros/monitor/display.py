"""What RViz shows of a robot. No ROS here."""

from __future__ import annotations

from pathlib import Path

import yaml

from beingh_core.contract import RobotContract
from beingh_core.contract.arms import arms_of, base_frame
from beingh_ros.messages.topics import PATHS_TOPIC


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
