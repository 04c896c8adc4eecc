"""The paths that RViz shows, against kinematics computed by pinocchio directly, and by the real node on the wire."""

import signal
from dataclasses import replace

import numpy as np
import pinocchio as pin
import pytest
from diagnostic_msgs.msg import DiagnosticStatus
from rclpy.node import Node
from ros_support import ROOT, NodeProcess, Recorder, ros_graph, spun, wait_matched, wait_until
from sensor_msgs.msg import JointState
from trajectories import trajectory_message
from trajectory_msgs.msg import JointTrajectory
from visualization_msgs.msg import Marker, MarkerArray

from beingh_core.contract import load_contract
from beingh_core.contract.arms import arms_of, base_frame
from beingh_core.contract.eef_path import EefPaths, Trail, without_hold
from beingh_core.contract.shapes import BOX, CYLINDER, SPHERE, RobotShapes
from beingh_core.contract.urdf import read_urdf
from beingh_core.control.stop_causes import Status
from beingh_core.errors import BeingHError
from beingh_ros.messages.controller_state import QOS, state_message
from beingh_ros.messages.controller_state import TOPIC as STATE_TOPIC
from beingh_ros.messages.conversions import stamp_to_ns
from beingh_ros.messages.topics import GHOST_TOPIC, JOINTS_TOPIC, PATHS_TOPIC, WORDS_TOPIC
from beingh_ros.nodes.merged_joints import MergedJoints
from beingh_ros.robots.launching import speaks_urdf

FR3 = load_contract("fr3")
MODEL = pin.buildModelFromUrdf(str(FR3.urdf_path))
DT_NS, H, MARGIN = round(1e9 / FR3.rate_hz), FR3.policy.chunk_length, FR3.uac.commit_margin
START_NS = 1_700_000_000_000_000_000
EPOCH = f"0@{START_NS}"


def place(model, joints, positions, base_frame, eef_frame):
    """Position of a hand in its arm's base, from the whole model of the URDF.

    Velocities of a base are no joints of the URDF; pinocchio has a joint without an end as cosine and sine.
    """
    q, data = pin.neutral(model), model.createData()
    for name, value in zip(joints, positions):
        if model.existJointName(name):
            joint = model.joints[model.getJointId(name)]
            q[joint.idx_q : joint.idx_q + joint.nq] = value if joint.nq == 1 else (np.cos(value), np.sin(value))
    pin.framesForwardKinematics(model, data, q)
    base, hand = (data.oMf[model.getFrameId(frame)] for frame in (base_frame, eef_frame))
    return base.inverse().act(hand.translation)


def truth(positions):
    """Where the FR3's hand is."""
    return place(MODEL, FR3.joint_names, positions, "fr3_link0", "fr3_hand_tcp")


def swing(count, first=0):
    """Commands of `count` ticks that never repeat."""
    rows = np.array([FR3.home] * count)
    rows[:, 0] += 0.02 * np.arange(first, first + count)
    rows[:, 3] += 0.01 * np.arange(first, first + count)
    return rows


def points(marker):
    return np.array([(p.x, p.y, p.z) for p in marker.points]).reshape(-1, 3)


def test_paths_are_those_of_pinocchio_whatever_the_order_of_the_columns():
    rng = np.random.default_rng(3)
    rows = rng.uniform(FR3.limits.lower, FR3.limits.upper, (40, len(FR3.joint_names)))
    paths = EefPaths(FR3)
    (arm,) = paths.arms
    assert (arm.eef_frame, arm.base_frame) == ("fr3_hand_tcp", "fr3_link0")
    expected = np.array([truth(row) for row in rows])
    order = rng.permutation(len(FR3.joint_names))
    names = [FR3.joint_names[i] for i in order]
    np.testing.assert_allclose(paths.along(arm, names, rows[:, order]), expected, atol=1e-9)
    np.testing.assert_allclose(paths.at(arm, dict(zip(FR3.joint_names, rows[0]))), expected[0], atol=1e-9)
    assert paths.at(arm, {"fr3_joint1": 0.0}) is None


@pytest.mark.parametrize("robot", sorted(path.stem for path in (ROOT / "config" / "robots").glob("*.yaml")))
def test_every_robot_of_the_package_can_be_shown(robot):
    contract = load_contract(robot)
    model, paths = pin.buildModelFromUrdf(str(contract.urdf_path)), EefPaths(contract)
    named = {signal.eef_frame for signal in (*contract.state, *contract.action) if signal.eef_frame}
    assert {arm.eef_frame for arm in paths.arms} == named
    in_urdf = {name for name, speed in zip(contract.joint_names, contract.limits.is_velocity) if not speed}
    assert in_urdf <= set(model.names)
    for arm in paths.arms:
        expected = place(model, contract.joint_names, contract.home, arm.base_frame, arm.eef_frame)
        found = paths.along(arm, contract.joint_names, [contract.home])
        np.testing.assert_allclose(found, [expected], atol=1e-9)


def test_only_end_effectors_whose_joints_are_commanded_are_shown():
    assert len(arms_of(FR3)) == 1
    bare = replace(
        FR3,
        state=tuple(replace(s, eef_frame=None, base_frame=None) for s in FR3.state),
        action=tuple(replace(a, eef_frame=None, base_frame=None) for a in FR3.action),
    )
    assert arms_of(bare) == ()
    uncommanded = tuple(replace(s, joints=("head",)) for s in FR3.state if s.eef_frame)
    assert arms_of(replace(bare, state=uncommanded)) == ()


def test_the_trail_is_bounded_and_follows_the_epoch():
    trail = Trail(5)
    for tick in range(1000):
        trail.add("0@0", tick, np.array([float(tick)]))
    assert trail.before(999)[:, 0].tolist() == [995, 996, 997, 998] and len(trail._rows) == 5
    trail.add("0@0", 998, np.array([-1.0]))  # published again: the newer one stands
    assert trail.before(1000)[:, 0].tolist() == [995, 996, 997, -1]
    trail.add("1@0", 1001, np.array([7.0]))
    assert trail.before(1001).size == 0 and trail.before(1002).tolist() == [[7.0]]


def test_what_only_holds_is_no_path():
    rows = np.array([[0.0], [1.0], [2.0], [2.0], [2.0]])
    assert without_hold(rows)[:, 0].tolist() == [0, 1, 2] and without_hold(rows[2:])[:, 0].tolist() == [2]
    assert without_hold(rows[:3])[:, 0].tolist() == [0, 1, 2]


class Bench:
    """The node and the two topics that it subscribes to."""

    def __init__(self, graph):
        self.node, self.shown = graph, Recorder(graph, MarkerArray, PATHS_TOPIC)
        self.buffer = graph.create_publisher(JointTrajectory, "controller/buffer", 10)
        self.chunk = graph.create_publisher(JointTrajectory, "policy/chunk", 10)
        wait_matched(graph, self.buffer, self.chunk)
        wait_until(lambda: graph.count_publishers(PATHS_TOPIC), what="the node's publisher")

    def plan(self, tick, rows, epoch=EPOCH):
        self.buffer.publish(self._message(tick, rows, epoch))

    def predict(self, tick, rows, epoch=EPOCH):
        self.chunk.publish(self._message(tick, rows, epoch))

    def _message(self, tick, rows, epoch):
        return trajectory_message(
            FR3.joint_names, rows, stamp_ns=START_NS + tick * DT_NS, rate_hz=FR3.rate_hz, frame_id=epoch
        )

    def wait_for_stamp(self, tick):
        """Markers by name of the first message whose newest sent tick is `tick`."""

        def found():
            for message in self.shown.messages:
                if stamp_to_ns(message.markers[0].header.stamp) == START_NS + tick * DT_NS:
                    return {m.ns.split("/")[1]: m for m in message.markers}
            return None

        return wait_until(found, what=f"markers of tick {tick}")


@pytest.fixture
def bench(tmp_path):
    with (
        ros_graph() as graph,
        NodeProcess(graph, "markers_node", {"contract": "fr3", "rate_hz": 20.0}, tmp_path / "log") as node,
    ):
        yield Bench(graph)
        assert node.end(signal.SIGINT) == 0 and "Traceback" not in node.output


def test_committed_predicted_and_chunk_are_shown_in_the_arms_frame_and_vanish(bench):
    hold = np.repeat(swing(H)[-1:], 4, axis=0)
    bench.predict(2, swing(H, first=2) + 0.001)
    for tick in range(6):
        bench.plan(tick, np.vstack([swing(H - tick, first=tick), hold]))
    found = bench.wait_for_stamp(4)
    colours = {name: (m.color.r, m.color.g, m.color.b) for name, m in found.items()}
    assert len({colours[name] for name in ("committed", "predicted", "chunk")}) == 3
    assert colours["committed ticks"] == colours["committed"] and colours["predicted ticks"] == colours["predicted"]
    for marker in found.values():
        assert marker.header.frame_id == "fr3_link0" and marker.action == Marker.ADD
        assert 0 < stamp_to_ns(marker.lifetime) <= 500_000_000 and marker.color.a == 1.0
        assert marker.pose.orientation.w == 1.0 and marker.scale.x > 0
    assert len({(m.ns, m.id) for m in found.values()}) == len({m.id for m in found.values()}) == 5
    expected = np.array([truth(row) for row in swing(H)])
    np.testing.assert_allclose(points(found["committed ticks"]), expected[: 5 + MARGIN], atol=1e-9)
    np.testing.assert_allclose(points(found["committed"]), expected[: 5 + MARGIN], atol=1e-9)
    np.testing.assert_allclose(points(found["predicted ticks"]), expected[5 + MARGIN :], atol=1e-9)
    np.testing.assert_allclose(points(found["predicted"]), expected[4 + MARGIN :], atol=1e-9)  # joined to the green
    own = np.array([truth(row) for row in swing(H, first=2) + 0.001])
    np.testing.assert_allclose(points(found["chunk"]), own, atol=1e-9)


def test_a_new_epoch_and_an_empty_plan_leave_nothing_old(bench):
    bench.predict(0, swing(H))
    bench.plan(3, swing(H, first=3))
    assert len(points(bench.wait_for_stamp(2)["chunk"])) == H
    bench.plan(100, np.array([FR3.home] * H), epoch=f"1@{START_NS + 50}")
    found = bench.wait_for_stamp(99)
    assert found["chunk"].action == found["predicted"].action == found["predicted ticks"].action == Marker.DELETE
    np.testing.assert_allclose(points(found["committed ticks"]), [truth(FR3.home)], atol=1e-9)
    assert found["committed"].action == Marker.DELETE, "RViz refuses a line of one point"
    count = len(bench.shown.messages)
    # A plan of another robot, NaN, and silence publish nothing: what is shown runs out.
    bench.buffer.publish(trajectory_message(["x"], [[0.0]], stamp_ns=START_NS, rate_hz=20, frame_id=EPOCH))
    bench.plan(101, np.full((H, len(FR3.joint_names)), np.nan))
    bench.plan(102, swing(H), epoch=f"1@{START_NS + 50}")
    bench.wait_for_stamp(101)
    assert len(bench.shown.messages) == count + 1


def test_the_ghost_stands_where_the_plan_ends_and_the_state_is_told(bench):
    node = bench.node
    ghost, words = Recorder(node, MarkerArray, GHOST_TOPIC), Recorder(node, MarkerArray, WORDS_TOPIC)
    state = node.create_publisher(DiagnosticStatus, STATE_TOPIC, QOS)
    wait_matched(node, state)
    wait_until(lambda: node.count_publishers(GHOST_TOPIC) and node.count_publishers(WORDS_TOPIC), what="its publishers")

    def last(tick):
        end = START_NS + (tick - 1) * DT_NS
        return next((m.markers for m in ghost.messages if stamp_to_ns(m.markers[0].header.stamp) == end), None)

    rows, tick = swing(H), 0
    while not last(tick):  # the ghost comes less often than the paths
        tick += 1
        bench.plan(tick, rows + 0.001 * tick)
        bench.wait_for_stamp(tick - 1)
    end = dict(zip(FR3.joint_names, rows[-1] + 0.001 * tick))
    shapes = RobotShapes(FR3.urdf_path)
    middles, _ = shapes.places(end)
    found = {marker.id: marker for marker in last(tick)}
    moving = [index for index, shape in enumerate(shapes.shapes) if shape.link not in ("base", "fr3_link0")]
    assert sorted(found) == moving and {m.header.frame_id for m in found.values()} == {"fr3_link0"}
    placed = np.array([(m.pose.position.x, m.pose.position.y, m.pose.position.z) for m in map(found.get, moving)])
    np.testing.assert_allclose(placed, middles[moving], atol=1e-9)  # fr3_link0 stands in the root
    assert all(0 < m.color.a < 0.5 and m.scale.x > 0 and stamp_to_ns(m.lifetime) > 0 for m in found.values())
    state.publish(state_message("fr3", Status(state="stopped", cause="estop", reason="the button")))
    text = wait_until(lambda: [m.markers[0] for m in words.messages], what="the state")[0]
    assert (text.text, text.type, text.action) == ("stopped: the button", Marker.TEXT_VIEW_FACING, Marker.ADD)
    state.publish(state_message("fr3", Status(state="running")))
    wait_until(lambda: words.messages[-1].markers[0].action == Marker.DELETE, what="the end of the words")


@pytest.mark.parametrize("robot", ["fr3_inspire", "g1_dex3", "aloha", "mobile_ur5e", "gen3"])
def test_shapes_are_where_pinocchio_has_the_links(robot):
    contract = load_contract(robot)
    model, rng = pin.buildModelFromUrdf(str(contract.urdf_path)), np.random.default_rng(1)
    shapes = RobotShapes(contract.urdf_path)
    low, high = np.maximum(contract.limits.lower, -3), np.minimum(contract.limits.upper, 3)
    positions = dict(zip(contract.joint_names, rng.uniform(low, high)))
    for link in sorted({shape.link for shape in shapes.shapes}):
        movers = shapes.carried_by(contract.joint_names)
        expected = place(model, *_with_mimics(shapes, positions), shapes.root, link)
        np.testing.assert_allclose(shapes.link(link, positions)[0], expected, atol=1e-9)
        assert link not in movers or movers[link] != link
    assert {shape.kind for shape in shapes.shapes} <= {BOX, CYLINDER, SPHERE}
    assert all(min(shape.size) > 0 for shape in shapes.shapes)


def _with_mimics(shapes, positions):
    """Names and values, with the joints that follow, by the URDF's own words."""
    found = dict(positions)
    for name, joint in shapes._urdf.joints.items():
        if joint.mimics in positions:
            found[name] = joint.multiplier * positions[joint.mimics] + joint.offset
    return list(found), list(found.values())


def test_a_robot_of_meshes_only_has_no_shapes(tmp_path):
    path = tmp_path / "robot.urdf"
    mesh = '<visual><geometry><mesh filename="package://x/y.stl"/></geometry></visual>'
    path.write_text(f'<robot name="x"><link name="a">{mesh}</link></robot>')
    with pytest.raises(BeingHError, match="no shapes that can be drawn.*boxes, cylinders and spheres"):
        RobotShapes(path)


def test_objects_are_told_in_a_frame_that_the_robot_state_publisher_has():
    """And that is where the simulator's origin is: the root link, or an arm's base in the same place."""
    for robot in ("fr3", "ur5e", "aloha_eef", "g1_eef", "mobile_ur5e_eef"):
        contract = load_contract(robot)
        shapes = RobotShapes(contract.urdf_path)
        position, axes = shapes.link(base_frame(contract), dict(zip(contract.joint_names, contract.home)))
        np.testing.assert_allclose(position, 0.0, atol=1e-9)
        np.testing.assert_allclose(axes, np.eye(3), atol=1e-9)
    assert base_frame(load_contract("fr3")) == "fr3_link0" and base_frame(load_contract("ur5e")) == "base_link"


def test_joint_states_of_several_topics_come_as_one_in_the_words_of_the_urdf():
    """ALOHA's followers both say `waist`; the SO-101 has one topic that a robot state publisher can hear as it is."""
    aloha = load_contract("aloha")
    assert not speaks_urdf(aloha) and speaks_urdf(load_contract("so101")) and speaks_urdf(FR3)
    with ros_graph() as graph, spun(Node("markers", context=graph.context)) as node:
        MergedJoints(node, aloha, 50.0)
        merged = Recorder(graph, JointState, JOINTS_TOPIC)
        followers = {topic: graph.create_publisher(JointState, topic, 10) for topic in aloha.joint_state_topics}
        expected = {}
        for number, (topic, publisher) in enumerate(followers.items()):
            wire = aloha.wire_of(topic)
            values = [0.1 * index + number for index in range(len(wire.names))]
            expected |= dict(zip(wire.joints, values))
            wait_matched(graph, publisher)
            message = JointState(name=list(wire.names), position=values)
            message.header.stamp.sec = 1 + number
            publisher.publish(message)
        wait_until(lambda: merged.messages and len(merged.messages[-1].name) == len(expected), what="all joints")
        newest = merged.messages[-1]
        assert dict(zip(newest.name, newest.position)) == pytest.approx(expected) and newest.header.stamp.sec == 2
        assert set(newest.name) <= set(read_urdf(aloha.urdf_path).joints)
