"""The RViz configuration: loadable as it is for the FR3, and made to fit any other robot."""

from dataclasses import replace

import yaml
from ros_support import ROOT

from beingh_core.contract import load_contract
from beingh_ros.display import rviz_config

FR3 = load_contract("fr3")
TEMPLATE = ROOT / "config" / "rviz" / "beingh.rviz"


def displays(config):
    return {display["Name"]: display for display in config["Visualization Manager"]["Displays"]}


def test_the_file_shows_the_fr3_as_it_is():
    config = yaml.safe_load(TEMPLATE.read_text())
    found = displays(config)
    assert config["Visualization Manager"]["Global Options"]["Fixed Frame"] == FR3.state[0].base_frame
    assert {display["Class"].rpartition("/")[2] for display in found.values()} == {
        "Grid", "RobotModel", "TF", "MarkerArray", "Image",
    }  # fmt: skip
    description = found["Robot"]["Description Topic"]
    assert (description["Value"], description["Durability Policy"]) == ("/robot_description", "Transient Local")
    assert found["Objects"]["Topic"]["Value"] == "/sim/objects"
    assert found["scene_view"]["Topic"]["Value"] == FR3.cameras[0].topic


def test_cameras_frame_and_description_follow_the_robot():
    cameras = tuple(replace(FR3.cameras[0], name=f"c{i}", topic=f"/c{i}/image") for i in range(3))
    state = tuple(replace(signal, base_frame="torso") for signal in FR3.state)
    config = yaml.safe_load(rviz_config(replace(FR3, cameras=cameras, state=state), TEMPLATE, namespace="left"))
    found = displays(config)
    assert config["Visualization Manager"]["Global Options"]["Fixed Frame"] == "torso"
    images = [d for d in found.values() if d["Class"].endswith("/Image")]
    assert [(d["Name"], d["Topic"]["Value"]) for d in images] == [(c.name, c.topic) for c in cameras]
    assert {d["Topic"]["Reliability Policy"] for d in images} == {"Best Effort"}
    assert found["Robot"]["Description Topic"]["Value"] == "/left/robot_description"
