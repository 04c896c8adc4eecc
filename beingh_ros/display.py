"""What RViz shows of a robot. No ROS here."""

from __future__ import annotations

from pathlib import Path

import yaml

from beingh_core.contract import RobotContract


def base_frame(contract: RobotContract) -> str:
    """The frame in which positions of the hand and of objects are told; "world" for a robot without any."""
    frames = [signal.base_frame for signal in (*contract.state, *contract.action) if signal.base_frame]
    return frames[0] if frames else "world"


def rviz_config(contract: RobotContract, template: Path, namespace: str = "") -> str:
    """An RViz configuration with the frame, the cameras and the description topic of a robot.

    Args:
        contract: Robot.
        template: RViz configuration with one Image display, which is repeated for every camera.
        namespace: ROS namespace of the robot state publisher.

    Returns:
        Text of the configuration.
    """
    config = yaml.safe_load(Path(template).read_text(encoding="utf-8"))
    manager = config["Visualization Manager"]
    manager["Global Options"]["Fixed Frame"] = base_frame(contract)
    displays = []
    for display in manager["Displays"]:
        kind = display["Class"].rpartition("/")[2]
        if kind == "Image":
            displays += [
                display | {"Name": camera.name, "Topic": display["Topic"] | {"Value": camera.topic}}
                for camera in contract.cameras
            ]
            continue
        if kind == "RobotModel" and namespace.strip("/"):
            topic = f"/{namespace.strip('/')}/robot_description"
            display = display | {"Description Topic": display["Description Topic"] | {"Value": topic}}
        displays.append(display)
    manager["Displays"] = displays
    return yaml.safe_dump(config, sort_keys=False)
