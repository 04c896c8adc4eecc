"""The RViz configuration: loadable as it is for the FR3, and made to fit any other robot."""

from dataclasses import replace

import pytest
import yaml
from rclpy.node import Node
from rclpy.qos import (
    DurabilityPolicy,
    LivelinessPolicy,
    QoSCompatibility,
    QoSProfile,
    ReliabilityPolicy,
    qos_check_compatible,
)
from ros_support import ROOT, ros_graph, wait_until

from beingh_core.contract import load_contract
from beingh_ros.bringup import BringupOptions, ProcessGroup, processes
from beingh_ros.messages.topics import in_namespace
from beingh_ros.monitor.display import rviz_config

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
    for camera in FR3.cameras:
        assert found[camera.name]["Topic"]["Value"] == f"/{camera.topic}"


@pytest.mark.parametrize("namespace", ["", "left"])
def test_every_topic_is_published_with_that_type_and_a_fitting_qos(tmp_path, namespace):
    """But the description and tf, which the robot state publisher of a ROS installation brings."""
    options = BringupOptions(contract="fr3", simulate=True, namespace=namespace)
    shown = displays(yaml.safe_load(rviz_config(FR3, TEMPLATE, namespace)))
    topics = {display["Topic"]["Value"]: display for display in shown.values() if "Topic" in display}
    assert len(topics) == len(FR3.cameras) + 5
    with ros_graph() as graph, ProcessGroup(processes(options), tmp_path, graph.environment):
        for topic, display in topics.items():
            kind = {"Image": "sensor_msgs/msg/Image", "MarkerArray": "visualization_msgs/msg/MarkerArray"}[
                display["Class"].rpartition("/")[2]
            ]
            (publisher,) = wait_until(lambda t=topic: graph.get_publishers_info_by_topic(t), 60.0, topic)
            assert publisher.topic_type == kind, topic
            wanted = QoSProfile(
                depth=display["Topic"]["Depth"],
                liveliness=LivelinessPolicy.AUTOMATIC,
                reliability=ReliabilityPolicy[display["Topic"]["Reliability Policy"].upper().replace(" ", "_")],
                durability=DurabilityPolicy[display["Topic"]["Durability Policy"].upper().replace(" ", "_")],
            )
            assert qos_check_compatible(publisher.qos_profile, wanted) == (QoSCompatibility.OK, ""), topic
        names = {name for name, _ in graph.get_topic_names_and_types()} - {
            "/diagnostics",
            "/rosout",
            "/parameter_events",
        }
        assert [name for name in names if not name.startswith(f"/{namespace}")] == []


def test_a_robot_without_an_end_effector_has_no_paths_to_show():
    state = tuple(replace(signal, eef_frame=None) for signal in FR3.state)
    action = tuple(replace(signal, eef_frame=None) for signal in FR3.action)
    bare = displays(yaml.safe_load(rviz_config(replace(FR3, state=state, action=action), TEMPLATE)))
    assert "Paths" in displays(yaml.safe_load(TEMPLATE.read_text())) and "Paths" not in bare and "Objects" in bare


def test_cameras_frame_and_description_follow_the_robot():
    cameras = tuple(replace(FR3.cameras[0], name=f"c{i}", topic=f"/c{i}/image") for i in range(3))
    cameras = (*cameras[:2], replace(cameras[2], encoding="16UC1", depth=(0.001, 0.2, 2.0)))
    state = tuple(replace(signal, base_frame="fr3_link1") for signal in FR3.state)
    config = yaml.safe_load(rviz_config(replace(FR3, cameras=cameras, state=state), TEMPLATE, namespace="left"))
    found = displays(config)
    assert config["Visualization Manager"]["Global Options"]["Fixed Frame"] == "base"
    images = [d for d in found.values() if d["Class"].endswith("/Image")]
    assert [(d["Name"], d["Topic"]["Value"]) for d in images] == [(c.name, c.topic) for c in cameras]
    assert {d["Topic"]["Reliability Policy"] for d in images} == {"Best Effort"}
    assert [d["Normalize Range"] for d in images] == [False, False, True]
    assert found["Robot"]["Description Topic"]["Value"] == "/left/robot_description"
    assert found["Paths"]["Topic"]["Value"] == "/left/markers/eef_path"
    assert found["Objects"]["Topic"]["Value"] == "/left/sim/objects"


@pytest.mark.parametrize(
    ("topic", "namespace", "full"),
    [
        ("camera/image", "", "/camera/image"),
        ("camera/image", "left", "/left/camera/image"),
        ("camera/image", "/a/b/", "/a/b/camera/image"),
        ("/camera/image", "left", "/camera/image"),
    ],
)
def test_a_topic_is_put_into_the_namespace_as_the_middleware_does(topic, namespace, full):
    assert in_namespace(topic, namespace) == full
    with ros_graph() as graph:
        node = Node("resolver", context=graph.context, namespace=f"/{namespace.strip('/')}")
        assert node.resolve_topic_name(topic) == full
        node.destroy_node()
