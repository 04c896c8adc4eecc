"""expert_node as a process: no chunk where nobody tells where the cubes are, chunks once the simulator does."""

import pytest

pytest.importorskip("rclpy")
from policy_node_support import D, Surroundings
from ros_support import NodeProcess, ros_graph, wait_until
from visualization_msgs.msg import Marker, MarkerArray

from beingh_ros.messages.conversions import ns_to_stamp

pytestmark = [pytest.mark.nodes, pytest.mark.slow]


def cubes(stamp_ns):
    message = MarkerArray()
    for index, (colour, x, y) in enumerate((("red", 0.45, 0.1), ("green", 0.5, -0.1), ("blue", 0.55, 0.05))):
        marker = Marker(ns=colour, id=index, type=Marker.CUBE)
        marker.header.stamp = ns_to_stamp(stamp_ns)
        marker.pose.position.x, marker.pose.position.y, marker.pose.position.z = x, y, 0.02
        marker.pose.orientation.w, marker.scale.z = 1.0, 0.04
        message.markers.append(marker)
    return message


def test_outside_the_simulator_it_says_why_and_inside_it_makes_chunks(tmp_path):
    parameters = {"contract": "fr3", "autostart": True, "instruction": "pick up the red cube", "inference_s": 0.0}
    with ros_graph() as graph:
        around = Surroundings(graph)
        with NodeProcess(graph, "expert_node", parameters, tmp_path / "log"):
            around.wait_status("gate", "sim/objects.*simulation only")
            assert not around.chunks.messages
            objects = graph.create_publisher(MarkerArray, "sim/objects", 10)
            graph.create_timer(0.05, lambda: objects.publish(cubes(graph.get_clock().now().nanoseconds)))
            chunk = wait_until(lambda: next(iter(around.chunks.messages), None), 30.0, "a chunk")
            assert len(chunk.points) > D
            refused = around.set_instruction("dance")
            assert not refused.successful and "no colour" in refused.reason


def test_it_takes_no_checkpoint(tmp_path):
    parameters = {"contract": "fr3", "autostart": True, "checkpoint": "somewhere"}
    with ros_graph() as graph, NodeProcess(graph, "expert_node", parameters, tmp_path / "log") as process:
        assert process.wait() == 2
        assert "the expert takes neither a checkpoint nor a policy server (somewhere)" in process.output
