"""What RViz shows of a robot. No ROS here."""

from __future__ import annotations

from pathlib import Path

import yaml

from beingh_core.contract import RobotContract
from beingh_core.contract.arms import arms_of, base_frame
from beingh_ros.messages.topics import PATHS_TOPIC, in_namespace


def rviz_config(contract: RobotContract, template: Path, namespace: str = "") -> str:
    """An RViz configuration with the frame, the cameras and the description topic of a robot.

    Args:
        contract: Robot.
        template: RViz configuration of a robot in the root namespace; its first Image display is repeated for every
            camera, others are left out.
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
                # A depth picture is all but black where it is not spread.
                _with_topic(
                    display | {"Name": camera.name, "Normalize Range": bool(camera.depth)},
                    "Topic",
                    in_namespace(camera.topic, namespace),
                )
                for camera in contract.cameras
            ]
        elif display not in images and (arms_of(contract) or _topic(display, "Topic") != PATHS_TOPIC):
            for key in ("Description Topic", "Topic"):
                if _topic(display, key):
                    display = _with_topic(display, key, in_namespace(_topic(display, key), namespace))
            displays.append(display)
    manager["Displays"] = displays
    return yaml.safe_dump(config, sort_keys=False)


def _is_kind(display: dict, kind: str) -> bool:
    return display["Class"].rpartition("/")[2] == kind


def _topic(display: dict, key: str) -> str:
    """A display's topic, relative to the namespace; "" where it has none."""
    return display.get(key, {}).get("Value", "").lstrip("/")


def _with_topic(display: dict, key: str, topic: str) -> dict:
    return display | {key: display[key] | {"Value": topic}}
