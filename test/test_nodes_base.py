"""Policy and controller of a robot with a mobile base, as processes: both parts of every plan and chunk belong together."""

import numpy as np
import pytest
from driver_support import ARM, ARM_DRIVER, BASE, FINGER, HAND_DRIVER, contract_with
from ros_support import NodeProcess, Recorder, ros_graph, tiny_checkpoint, wait_until

pytest.importorskip("torch")
from geometry_msgs.msg import Twist
from sensor_msgs.msg import Image, JointState
from std_msgs.msg import Header
from trajectory_msgs.msg import JointTrajectory, MultiDOFJointTrajectory

from beingh_core.contract.codec import SignalCodec
from beingh_ros.messages.conversions import array_to_image, stamp_to_ns
from beingh_ros.messages.plan_messages import PlanReader

TWIST = {
    "kind": "twist_base",
    "topic": "/cmd_vel",
    "joints": BASE,
    "axes": ["linear.x", "linear.y", "angular.z"],
    "rate_hz": 50.0,
}


@pytest.fixture
def contract(tmp_path):
    return contract_with(tmp_path, ARM_DRIVER, HAND_DRIVER, TWIST, base=True)


def test_velocities_of_the_base_become_actions_and_back(contract):
    codec = SignalCodec(contract)
    rows = np.tile(contract.home, (6, 1))
    rows[1:, 8:] = np.arange(15).reshape(5, 3) / 100
    actions = codec.encode_commands(rows)
    np.testing.assert_array_equal(actions["base_motion"], rows[1:, 8:])
    decoded = codec.decode(actions, rows[0])
    np.testing.assert_array_equal(decoded.positions[:, 8:], rows[1:, 8:])


def test_a_real_policy_and_the_controller_exchange_both_parts(contract, tmp_path):
    checkpoint = tiny_checkpoint(tmp_path / "tiny", contract)
    with ros_graph() as graph:
        positions = dict(zip(contract.joint_names[:8], contract.home))
        states = graph.create_publisher(JointState, "/joint_states", 10)
        cameras = [graph.create_publisher(Image, camera.topic, 5) for camera in contract.cameras]

        def follow(message):
            positions.update(zip(message.joint_names, message.points[0].positions))

        def fast():
            message = JointState(name=list(positions), position=list(positions.values()))
            message.header.stamp = graph.get_clock().now().to_msg()
            states.publish(message)

        def slow():
            image = array_to_image(np.full((48, 64, 3), 90, np.uint8), graph.get_clock().now().nanoseconds)
            for camera in cameras:
                camera.publish(image)

        links = [graph.create_subscription(JointTrajectory, d["topic"], follow, 10) for d in (ARM_DRIVER, HAND_DRIVER)]
        timers = [graph.create_timer(0.02, fast), graph.create_timer(0.05, slow)]
        plans, base_plans = (
            Recorder(graph, kind, f"controller/{name}")
            for kind, name in ((JointTrajectory, "buffer"), (MultiDOFJointTrajectory, "base_buffer"))
        )
        chunks, base_chunks = (
            Recorder(graph, kind, f"policy/{name}")
            for kind, name in ((JointTrajectory, "chunk"), (MultiDOFJointTrajectory, "base_chunk"))
        )
        accepted, twists = Recorder(graph, Header, "controller/accepted"), Recorder(graph, Twist, "/cmd_vel", 10_000)
        common = {"contract": str(contract.path)}
        patient = {"joint_state_timeout_s": 20.0, "max_late_ticks": 20.0}  # this test is not about a loaded machine
        policy = {"checkpoint": str(checkpoint), "instruction": "drive", "autostart": True, "seed": 1}
        with (
            NodeProcess(graph, "controller_node", common | patient, tmp_path / "controller.log") as controller,
            NodeProcess(graph, "policy_node", common | policy, tmp_path / "policy.log") as brain,
        ):
            wait_until(
                lambda: len(accepted.messages) >= 5 or brain.process.poll() is not None,
                90.0,
                lambda: brain.output + controller.output,
            )
            assert brain.process.poll() is None, brain.output
            wait_until(lambda: any(t.linear.x or t.linear.y for t in twists.messages), what="the base to move")
        assert links and timers
        reader, together = PlanReader(contract), []
        for joints in chunks.messages:
            reader.joints(joints, 0)
        for base in base_chunks.messages:
            read = reader.base(base, 0)
            assert read is None or read.joints == (*ARM, FINGER, *BASE)
            together += [] if read is None else [read]
        assert len(together) >= 5 and len(together) >= len(base_chunks.messages) - 1
        rows = {}
        reader = PlanReader(contract)
        for plan in plans.messages:
            reader.joints(plan, 0)
        for plan in base_plans.messages:
            read = reader.base(plan, 0)
            if read is not None:
                rows[read.stamp_ns] = read.positions[0]
        promised = 0
        merged = {stamp_to_ns(header.stamp) for header in accepted.messages}
        for chunk in together:
            if chunk.stamp_ns not in merged:
                continue
            for time_ns, row in zip(chunk.times_ns[: contract.uac.delay_steps], chunk.positions):
                if chunk.stamp_ns + time_ns in rows:
                    np.testing.assert_allclose(row, rows[chunk.stamp_ns + time_ns], atol=1e-12)
                    promised += 1
        assert promised >= 5, "the locked head of a chunk, base and all, is what runs"
