"""Robots that count, name and move in their own ways beside the real nodes, over DDS: what they say is understood, and
what they are told is in their own words.
"""

from pathlib import Path

import numpy as np
import pytest
from interface_builder import for_children, provide
from ros_support import NodeProcess, Recorder, ros_graph, tiny_checkpoint, wait_until
from trajectories import trajectory_message

from beingh_core.contract import load_contract
from beingh_core.contract.kinematics import Kinematics
from beingh_core.errors import BeingHError
from beingh_core.inference.policy_inputs import PolicyInputs

pytest.importorskip("rclpy")
from geometry_msgs.msg import PoseStamped, Twist
from scipy.spatial.transform import Rotation
from sensor_msgs.msg import Image, JointState
from std_msgs.msg import Float64MultiArray
from trajectory_msgs.msg import JointTrajectory

from beingh_core.realtime.clock import TickClock, parse_epoch
from beingh_ros.messages.conversions import array_to_image, read_trajectory, stamp_to_ns
from beingh_ros.messages.state_messages import StateReader, message_type

ROBOTS = Path(__file__).parent / "data" / "robots"
COMMANDS = {
    "joint_state_command": JointState,
    "forward_command": Float64MultiArray,
    "joint_trajectory": JointTrajectory,
    "pose_command": PoseStamped,
    "twist_base": Twist,
}
QUATERNION = (0.0, 0.0, 0.6, 0.8)


class Robot:
    """Says where it is on the contract's topics, in its own units, and obeys its commands at once."""

    def __init__(self, graph, contract):
        self.graph, self.contract = graph, contract
        self.positions = dict(zip(contract.joint_names, contract.home))
        self._topics = {
            topic: graph.create_publisher(message_type(self._type(topic)), topic, 10) for topic in contract.state_topics
        }
        self.commands = {}
        self._links = []
        for driver in contract.drivers:
            for group in driver.groups:
                self.commands[group.topic] = Recorder(graph, COMMANDS[driver.kind], group.topic, 10_000)
                obey = lambda message, d=driver, g=group: self._obey(d, g, message)
                self._links.append(graph.create_subscription(COMMANDS[driver.kind], group.topic, obey, 10))
        self.buffer = Recorder(graph, JointTrajectory, "controller/buffer")
        self.chunks = graph.create_publisher(JointTrajectory, "policy/chunk", 10)
        self._timer = graph.create_timer(0.02, self._talk)

    def _type(self, topic):
        return next(signal.type for signal in self.contract.state if signal.topic == topic)

    def _talk(self):
        for topic, publisher in self._topics.items():
            wire = self.contract.wire_of(topic)
            numbers = wire.values(np.array([self.positions[joint] for joint in wire.joints])).tolist()
            message = message_type(self._type(topic))()
            if hasattr(message, "header"):
                message.header.stamp = self.graph.get_clock().now().to_msg()
            if isinstance(message, JointState):
                message.name, message.position = list(wire.names), numbers
            elif isinstance(message, Float64MultiArray):
                message.data = numbers
            elif hasattr(message, "child_frame_id"):
                self._stand(message, message.pose.pose, "odom")
                message.child_frame_id = "base_footprint"
            elif isinstance(message, PoseStamped):
                self._stand(message, message.pose, "base_link")
            else:
                from unitree_hg.msg import MotorState

                message.motor_state = [MotorState(q=number) for number in numbers]
            publisher.publish(message)

    def _stand(self, message, pose, frame_id):
        message.header.frame_id = frame_id
        pose.position.x, pose.position.y, pose.position.z = 0.4, -0.2, 0.3
        turn = pose.orientation
        turn.x, turn.y, turn.z, turn.w = QUATERNION

    def _obey(self, driver, group, message):
        wire = group.wire
        if isinstance(message, JointState):
            self.positions.update(wire.positions(dict(zip(message.name, message.position))))
        elif isinstance(message, Float64MultiArray):
            self.positions.update(wire.positions(dict(zip(wire.names, message.data))))
        elif isinstance(message, JointTrajectory):
            self.positions.update(wire.positions(dict(zip(message.joint_names, message.points[0].positions))))
        elif isinstance(message, PoseStamped):
            arm = Kinematics(self.contract.urdf_path, group.joints, "tool", "base_link")
            p, q = message.pose.position, message.pose.orientation
            turn = Rotation.from_quat([q.x, q.y, q.z, q.w]).as_matrix()
            here = np.array([self.positions[joint] for joint in group.joints])
            self.positions.update(zip(group.joints, arm.ik(np.array([p.x, p.y, p.z]), turn, here).tolist()))

    def send(self, row):
        """A chunk whose commands are a row of positions, behind the locked prefix."""
        read = read_trajectory(self.buffer.messages[-1])
        clock = TickClock(self.contract.rate_hz, parse_epoch(read.frame_id)[1])
        rows = np.vstack([read.positions[:4], np.tile(row, (12, 1))])
        base = clock.nearest_tick(read.stamp_ns)
        names = [
            joint for joint, is_base in zip(self.contract.joint_names, self.contract.limits.is_velocity) if not is_base
        ]
        self.chunks.publish(
            trajectory_message(
                names, rows, stamp_ns=clock.stamp_ns(base), rate_hz=self.contract.rate_hz, frame_id=read.frame_id
            )
        )


def last_of(robot, topic):
    """Numbers of the newest command, by name where it has names."""
    message = robot.commands[topic].messages[-1]
    if isinstance(message, JointState):
        return dict(zip(message.name, message.position))
    if isinstance(message, JointTrajectory):
        return dict(zip(message.joint_names, message.points[-1].positions))
    return list(message.data)


EXPECTED = {
    "inspire_hand": {"/hand/commands": {"pinky": 800.0, "ring": 800.0, "middle": 800.0, "index": 800.0,
                                        "thumb_bend": 700.0, "thumb_rotation": 1000 * 1.0 / 1.4}},
    "dex3_hand": {"/dex3/left/commands": [0.1, 0.2, 0.4, -0.2, -0.2, -0.2, -0.23]},
    "degrees_arm": {
        "/arm/commands": np.degrees([0.2, -0.5, 1.0 - np.pi / 2, 0.3, 0.6, 0.1]).tolist(),
        "/jaw/joint_trajectory": {"left_jaw_joint": 30.0},
        "/head/command": {"head_joint": 0.1 / (2 * np.pi)},
    },
}  # fmt: skip
TARGETS = {  # added to the home posture
    "inspire_hand": [0.14, 0.14, 0.14, 0.14, 0.05, 0.1],
    "dex3_hand": [0.1] * 7,
    "degrees_arm": [0.1, 0.1, 0.1, 0.1, 0.1, 0.1, 0.01, 0.1],
    "pose_arm": [0.1, 0.1, -0.1, 0.1, 0.1, 0.1],
}


@pytest.mark.parametrize("name", TARGETS)
def test_a_controller_understands_a_robot_and_speaks_its_language(name, tmp_path):
    if name == "dex3_hand":
        provide("unitree_hg")
    contract = load_contract(ROBOTS / f"{name}.yaml")
    with ros_graph() as graph:
        if name == "dex3_hand":
            for_children(graph.environment, "unitree_hg")
        robot = Robot(graph, contract)
        parameters = {"contract": str(contract.path), "joint_state_timeout_s": 5.0, "max_late_ticks": 20.0}
        with NodeProcess(graph, "controller_node", parameters, tmp_path / "controller.log") as controller:
            robot.buffer.wait_for(3)
            first = read_trajectory(robot.buffer.messages[0])
            np.testing.assert_allclose(first.positions[0], contract.home, atol=1e-6, err_msg=controller.output)
            target = np.array(contract.home) + TARGETS[name]
            robot.send(target)
            reached = lambda: np.abs(np.array(list(robot.positions.values())) - target).max() < 1e-4
            wait_until(reached, what=lambda: f"{robot.positions}\n{controller.output}")
        for topic, expected in EXPECTED.get(name, {}).items():
            found = last_of(robot, topic)
            assert found == pytest.approx(expected, abs=1e-3), topic
        if name == "pose_arm":
            check_poses(robot, contract, target)


def check_poses(robot, contract, target):
    """The last pose is the target's, and the way there kept the limits of the joints that it needs."""
    (recorder,) = robot.commands.values()
    arm = Kinematics(contract.urdf_path, contract.joint_names, "tool", "base_link")
    poses = np.array([[m.pose.position.x, m.pose.position.y, m.pose.position.z] for m in recorder.messages])
    np.testing.assert_allclose(poses[-1], arm.fk(target)[0], atol=1e-4)
    assert {message.header.frame_id for message in recorder.messages} == {"base_link"}
    times = np.array([stamp_to_ns(message.header.stamp) for message in recorder.messages]) / 1e9
    speeds = np.linalg.norm(np.diff(poses, axis=0), axis=1) / np.maximum(np.diff(times), 1e-3)
    assert 0.05 < speeds.max() < contract.limits.velocity.max() * arm.reach
    signs = [[m.pose.orientation.x, m.pose.orientation.w] for m in recorder.messages]
    assert np.abs(np.diff(signs, axis=0)).max() < 0.1, "no quaternion changes its sign"


def test_a_policy_sees_odometry_and_the_base_moves(tmp_path):
    pytest.importorskip("torch")
    contract = load_contract(ROBOTS / "mobile_base.yaml")
    checkpoint = tiny_checkpoint(tmp_path / "tiny", contract)
    provide("nav_msgs")
    with ros_graph() as graph:
        for_children(graph.environment, "nav_msgs")
        robot = Robot(graph, contract)
        camera = graph.create_publisher(Image, contract.cameras[0].topic, 5)

        def picture():
            camera.publish(array_to_image(np.full((48, 64, 3), 90, np.uint8), graph.get_clock().now().nanoseconds))

        graph.create_timer(0.05, picture)
        common = {"contract": str(contract.path)}
        patient = {"joint_state_timeout_s": 20.0, "max_late_ticks": 20.0}
        policy = {"checkpoint": str(checkpoint), "instruction": "drive", "autostart": True, "seed": 1}
        chunks = Recorder(graph, JointTrajectory, "policy/chunk")
        with (
            NodeProcess(graph, "controller_node", common | patient, tmp_path / "controller.log"),
            NodeProcess(graph, "policy_node", common | policy, tmp_path / "policy.log") as brain,
        ):
            wait_until(lambda: len(chunks.messages) > 2, 40.0, what=lambda: brain.output)
            twists = robot.commands["/cmd_vel"]
            wait_until(lambda: any(abs(t.linear.x) > 1e-6 for t in twists.messages), what="the base to move")
        assert {t.linear.y for t in twists.messages} == {0.0}


def pose_stamped(frame_id="base_link", quaternion=QUATERNION):
    message = PoseStamped()
    message.header.frame_id, message.header.stamp.sec = frame_id, 7
    message.pose.position.x, message.pose.position.y, message.pose.position.z = 0.4, -0.2, 0.3
    turn = message.pose.orientation
    turn.x, turn.y, turn.z, turn.w = quaternion
    return message


def test_a_measured_pose_is_read_and_one_that_is_none_is_refused():
    reader = StateReader(load_contract(ROBOTS / "pose_arm.yaml"), "/servo/pose")
    read = reader.read(pose_stamped())
    assert read.stamp_ns == 7_000_000_000
    expected = {f"eef_position[{i}]": value for i, value in enumerate((0.4, -0.2, 0.3))}
    expected |= {"eef_rotation[0]": 0.0, "eef_rotation[1]": 0.0, "eef_rotation[2]": 2 * np.arctan2(0.6, 0.8)}
    assert read.positions == pytest.approx(expected)
    assert reader.read(pose_stamped(quaternion=(0.0, 0.0, -0.6, -0.8))).positions == pytest.approx(expected)
    for message, words in (
        (pose_stamped("map"), "frame_id of a pose is 'map'.*base_link"),
        (pose_stamped(quaternion=(0.0, 0.0, 0.0, 0.0)), "no unit quaternion"),
        (pose_stamped(quaternion=(0.0, 0.0, float("nan"), 1.0)), "no unit quaternion"),
    ):
        with pytest.raises(BeingHError, match=words):
            reader.read(message)


def test_a_pose_is_taken_from_tf_and_other_transforms_are_passed_over(tmp_path):
    """Over DDS: the robot's pose among the transforms of others, each message with a part of the tree."""
    provide("tf2_msgs")
    from geometry_msgs.msg import TransformStamped
    from tf2_msgs.msg import TFMessage

    def transform(parent, child, seconds, x=0.4):
        stamped = TransformStamped(child_frame_id=child)
        stamped.header.frame_id, stamped.header.stamp.sec = parent, seconds
        stamped.transform.translation.x, stamped.transform.rotation.z, stamped.transform.rotation.w = x, 0.6, 0.8
        return stamped

    contract = tf_contract(tmp_path)
    reader = StateReader(contract, "/tf")
    other = [transform("world", "tool", 9), transform("base_link", "camera", 9), transform("tool", "base_link", 9)]
    with ros_graph() as graph:
        received = Recorder(graph, reader.type, "/tf")
        publisher = graph.create_publisher(TFMessage, "/tf", 10)
        publisher.publish(TFMessage(transforms=other))
        publisher.publish(TFMessage(transforms=[*other, transform("base_link", "tool", 7)]))
        nothing, read = map(reader.read, received.wait_for(2))
    assert nothing.positions == {} and reader.shared
    assert reader.nothing == "the newest message holds no transform from `base_link` to `tool`"
    assert read.stamp_ns == 7_000_000_000
    turn = 2 * np.arctan2(0.6, 0.8)
    assert list(read.positions.values()) == pytest.approx([0.4, 0.0, 0.0, 0.0, 0.0, turn])

    inputs = PolicyInputs(contract)
    inputs.set_aside("/tf", reader.nothing, refused=False)
    reasons = dict(inputs.closed(8_000_000_000))
    assert "nothing to use: the newest message holds no transform from `base_link`" in reasons["state.eef_position"]
    assert inputs.stats["state.eef_position"].refused == 0
    inputs.push_joints("/tf", read.stamp_ns, read.positions, 7_100_000_000)
    assert "state.eef_position" not in dict(inputs.closed(7_200_000_000))


def tf_contract(folder, frames="frame_id: base_link, child_frame_id: tool"):
    """The pose-commanded arm, with its pose on /tf."""
    text = (ROBOTS / "pose_arm.yaml").read_text()
    text = text.replace(
        "topic: /servo/pose, type: geometry_msgs/msg/PoseStamped", "topic: /tf, type: tf2_msgs/msg/TFMessage"
    )
    (folder / "arm.urdf").write_bytes((ROBOTS / "arm.urdf").read_bytes())
    (folder / "tf_arm.yaml").write_text(text.replace("frame_id: base_link", frames))
    return load_contract(folder / "tf_arm.yaml")


@pytest.mark.parametrize(
    "missing, frames", [("child_frame_id", "frame_id: base_link"), ("frame_id", "child_frame_id: tool")]
)
def test_a_pose_on_tf_needs_both_frames(missing, frames, tmp_path):
    with pytest.raises(BeingHError, match=f"`{missing}` is missing.*add `{missing}"):
        tf_contract(tmp_path, frames)


def test_numbers_without_names_and_too_few_of_them():
    reader = StateReader(load_contract(ROBOTS / "degrees_arm.yaml"), "/head/angle")
    read = reader.read(Float64MultiArray(data=[0.25, 9.0]), received_ns=5)
    assert read.positions == {"head_joint": pytest.approx(np.pi / 2)} and read.stamp_ns == 5
    with pytest.raises(BeingHError, match=r"no number in one of data\[0\].*indices"):
        reader.read(Float64MultiArray())


def test_a_message_type_that_is_not_installed_is_one_error():
    with pytest.raises(BeingHError, match="needs the message type no_such_msgs/msg/Thing.*no-such-msgs"):
        message_type("no_such_msgs/msg/Thing")
