"""`beingh monitor --snapshot`: what is drawn, and from which messages."""

import subprocess
import sys
import time

import numpy as np
import pytest
from PIL import Image as Picture
from rclpy.executors import SingleThreadedExecutor
from rclpy.qos import QoSProfile
from ros_support import ROOT, NodeProcess, ros_graph, wait_until
from sensor_msgs.msg import Image, JointState
from stand_in_robot import StandInRobot
from std_msgs.msg import ColorRGBA
from trajectories import trajectory_message
from trajectory_msgs.msg import JointTrajectory
from visualization_msgs.msg import Marker, MarkerArray

from beingh_core.contract import load_contract
from beingh_core.contract.shapes import BOX, Shape
from beingh_core.errors import BeingHError
from beingh_ros.messages.conversions import array_to_image
from beingh_ros.messages.thresholds import OK
from beingh_ros.monitor.node import MonitorNode
from beingh_ros.monitor.picture import SIZE, View, composed, scene_size
from beingh_ros.monitor.scene import Body, Line, drawn
from beingh_ros.monitor.snapshot import Snapshot

FR3 = load_contract("fr3")
MAGENTA = (250, 10, 250)


def share(picture, red, green, blue):
    """Which part of a picture has nearly this hue: (H, W) of bool."""
    pixels = np.asarray(picture, dtype=float)
    wanted = np.array([red, green, blue], dtype=float)
    along = pixels @ wanted / np.linalg.norm(wanted)
    return (along > 0.95 * np.linalg.norm(pixels, axis=-1)) & (pixels.max(axis=-1) > 70)


def box(x, colour, ghost=None):
    shape = Shape(kind=BOX, size=(0.2, 0.2, 0.2), link="", colour=colour)
    return Body(shapes=[shape], middles=np.array([[x, 0.0, 0.3]]), axes=np.eye(3)[None], colour=ghost)


def test_what_is_drawn_is_seen_where_it_is():
    boxes = [box(-0.3, (1.0, 0.0, 0.0)), box(0.3, (0.0, 1.0, 0.0))]
    line = Line(points=np.array([[-0.3, 0.0, 0.6], [0.3, 0.0, 0.6]]), colour=(0.0, 0.0, 1.0), width=0.01, balls=True)
    picture = drawn(boxes, [line], 240, 320)
    assert picture.shape == (240, 320, 3)
    places = {}
    for name, colour in (("red", (1, 0, 0)), ("green", (0, 1, 0)), ("blue", (0, 0, 1))):
        rows, columns = np.nonzero(share(picture, *colour))
        assert len(rows) > 30, name
        places[name] = rows.mean(), columns.mean()
    # Seen from in front: x comes towards the viewer, and to the right of the picture.
    assert places["red"][1] < places["green"][1] and places["red"][0] < places["green"][0]
    assert places["blue"][0] < min(places["red"][0], places["green"][0])
    # A ghost lets through what is behind it, and one that stands in the robot is not seen.
    faint = drawn([box(0.3, (0.0, 1.0, 0.0)), box(0.3, (0, 0, 0), ghost=(1.0, 0.0, 0.0, 0.35))], [], 240, 320)
    assert not share(faint, 1, 0, 0).any() and share(faint, 0, 1, 0).sum() > 100


def test_cameras_and_words_have_their_places():
    scene = np.zeros((*scene_size(), 3), np.uint8)
    views = [
        View(name="scene", pixels=np.full((96, 96, 3), MAGENTA, np.uint8), words="20 Hz"),
        View(name="wrist", pixels=None, words="missing"),
    ]
    picture = composed(scene, views, "fr3   stopped: the button", 2, ["task: pick up the red cube", "word " * 200])
    assert picture.size == SIZE
    rows, columns = np.nonzero(share(picture, *MAGENTA))
    assert columns.min() >= scene_size()[1] and rows.min() > 80 and np.ptp(columns) > 200
    many = [View(name=f"c{i}", pixels=np.full((480, 640, 3), MAGENTA, np.uint8), words="") for i in range(8)]
    assert share(composed(scene, many, "x", OK, []), *MAGENTA).sum() > 40_000


def publish_robot(graph, moved=0.4):
    """Publishers of what a robot in motion says, and a function that says it all once."""
    camera = FR3.cameras[0]
    states = graph.create_publisher(JointState, "left/joint_states", 10)
    images = graph.create_publisher(Image, f"left/{camera.topic}", QoSProfile(depth=5))
    plans = graph.create_publisher(JointTrajectory, "left/controller/buffer", 10)
    objects = graph.create_publisher(MarkerArray, "left/sim/objects", 10)
    rows = np.tile(FR3.home, (16, 1))
    rows[:, 0] += np.linspace(0.0, moved, 16)
    cube = Marker(ns="cube", type=Marker.CUBE, color=ColorRGBA(r=0.0, g=0.0, b=1.0, a=1.0))
    cube.header.frame_id = "fr3_link0"
    cube.pose.position.x, cube.pose.position.z, cube.pose.orientation.w = 0.6, 0.05, 1.0
    cube.scale.x = cube.scale.y = cube.scale.z = 0.12

    def say():
        states.publish(JointState(name=list(FR3.joint_names), position=list(FR3.home)))
        images.publish(array_to_image(np.full((96, 96, 3), MAGENTA, np.uint8), time.time_ns(), "camera"))
        plans.publish(trajectory_message(FR3.joint_names, rows, stamp_ns=time.time_ns(), rate_hz=20, frame_id="0@1"))
        objects.publish(MarkerArray(markers=[cube]))

    return say


def test_a_picture_of_a_robot_in_motion(tmp_path):
    with ros_graph() as graph:
        node = MonitorNode("left", context=graph.context)
        snapshot = Snapshot(node, FR3)
        say = publish_robot(graph)
        assert "joint states" in snapshot.missing()
        executor = SingleThreadedExecutor(context=graph.context)
        executor.add_node(node)

        def complete():
            say()
            executor.spin_once(timeout_sec=0.05)
            return snapshot.missing() == [FR3.cameras[1].name] and snapshot._objects

        wait_until(complete, what="everything but the second camera")
        snapshot.write(tmp_path / "sub" / "a.png", time.monotonic())
        picture = Picture.open(tmp_path / "sub" / "a.png").convert("RGB")
        scene = np.asarray(picture)[-scene_size()[0] :, : scene_size()[1]]
        assert picture.size == SIZE and share(picture, *MAGENTA).sum() > 5000
        assert share(scene, 0, 0, 1).sum() > 100, "the cube"
        assert share(scene, 0.10, 0.75, 0.35).sum() > 30 and share(scene, 0.95, 0.60, 0.10).sum() > 1000, (
            "path and ghost"
        )
        with pytest.raises(BeingHError, match="cannot be written"):
            snapshot.write(tmp_path / "sub", time.monotonic())
        executor.shutdown()
        node.destroy_node()


def monitor(graph, *words):
    command = [sys.executable, "-m", "beingh_ros.cli", "monitor", *words]
    return subprocess.run(command, cwd=ROOT, env=graph.environment, capture_output=True, text=True, timeout=60)


def test_a_picture_of_nothing_is_refused(tmp_path):
    with ros_graph() as graph:
        done = monitor(graph, "--snapshot", str(tmp_path / "a.png"), "--wait", "0.3")
        assert done.returncode == 2 and not list(tmp_path.iterdir()), done
        assert "no controller tells which robot there is" in done.stderr and "--robot" in done.stderr
    done = monitor(graph, "--snapshot", "a.png", "--once")
    assert done.returncode == 2 and "leave out --once and --record" in done.stderr


@pytest.mark.slow
def test_the_command_asks_the_controller_which_robot_there_is(tmp_path):
    with ros_graph() as graph, NodeProcess(graph, "controller_node", {"contract": "fr3"}, tmp_path / "log"):
        robot = StandInRobot(graph)
        robot.wait_for_state("running")
        done = monitor(graph, "--snapshot", str(tmp_path / "a.png"), "--wait", "20")
        assert "wrote" in done.stdout and "nothing came of: scene_view, wrist_view" in done.stdout.replace("\n", " ")
        assert Picture.open(tmp_path / "a.png").size == SIZE
