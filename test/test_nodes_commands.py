"""On the wire: setpoints between the ticks at the robot's own rate, and the two parts of a robot with a base."""

from pathlib import Path

import numpy as np
import pytest
from driver_support import ARM, BASE, HAND_DRIVER, contract_with
from geometry_msgs.msg import Twist
from rclpy.serialization import serialize_message
from ros_support import Recorder, wait_matched, wait_until
from sensor_msgs.msg import JointState
from stand_in_robot import DT_NS, FR3, H, controller_beside_robot
from std_msgs.msg import String
from trajectory_msgs.msg import JointTrajectory, MultiDOFJointTrajectory

from beingh_core.errors import BeingHError
from beingh_core.realtime.clock import parse_epoch
from beingh_ros.messages.conversions import read_trajectory, stamp_to_ns
from beingh_ros.messages.plan_messages import PlanReader, PlanWriter, most_bytes
from beingh_ros.nodes.guard import bounded

FAULTY = str(Path(__file__).with_name("faulty_controller.py"))
RATE_HZ, STEP_NS = 250.0, 4_000_000
ARM_DRIVER = {"kind": "joint_trajectory", "topic": FR3.driver.groups[0].topic, "joints": ARM}
FAST_ARM = {
    "kind": "joint_state_command",
    "topic": "/arm/command",
    "joints": ARM,
    "rate_hz": RATE_HZ,
    "velocities": True,
}
TWIST = {
    "kind": "twist_base",
    "topic": "/cmd_vel",
    "joints": BASE,
    "axes": ["linear.x", "linear.y", "angular.z"],
    "rate_hz": 50.0,
}


@pytest.fixture
def bench(tmp_path):
    with controller_beside_robot(tmp_path) as start:
        yield start


def test_setpoints_at_the_robots_rate_pass_every_committed_point_once_and_smoothly(bench, tmp_path):
    contract = contract_with(tmp_path, FAST_ARM, HAND_DRIVER)
    robot, process = bench(contract=str(contract.path))
    commands = Recorder(robot.node, JointState, "/arm/command", 10_000)
    hand = Recorder(robot.node, JointTrajectory, HAND_DRIVER["topic"])
    robot.follow(JointState, "/arm/command", lambda message: zip(message.name, message.position))
    robot.start()
    robot.move()
    commands.wait_for(len(commands.messages) + 600)
    told = len(commands.messages)
    assert robot.call("stop").success
    robot.wait_for_state("stopped", "stop_service")
    wait_until(lambda: robot.status()["at_rest"] == "True", what="rest")
    start_ns = parse_epoch(robot.buffer.messages[-1].header.frame_id)[1]
    last_ns = stamp_to_ns(robot.buffer.messages[-1].header.stamp)
    wait_until(lambda: stamp_to_ns(commands.messages[-1].header.stamp) > last_ns + DT_NS, what="the hold at the end")
    received, missed = list(commands.messages), int(robot.status()["setpoints_missed"])
    stamps = np.array([stamp_to_ns(m.header.stamp) for m in received])
    steps = (stamps - start_ns) / STEP_NS
    assert np.abs(steps - np.round(steps)).max() < 1e-3, "each setpoint belongs to a time of the grid"
    assert (np.diff(stamps) > 0).all(), "each time at most once, in order"
    assert round(steps[-1]) + 1 - len(stamps) <= missed
    q = np.array([m.position[0] for m in received])
    v = np.array([m.velocity[0] for m in received])
    committed = {}
    for message in robot.buffer.messages:
        committed[stamp_to_ns(message.header.stamp) + DT_NS] = message.points[0].positions[0]
    on_tick = [(q[i], committed[stamp]) for i, stamp in enumerate(stamps.tolist()) if stamp in committed]
    replaced = stamps.searchsorted(stamps[told]) // 12  # a stop replaces the ticks that were only planned
    assert len(on_tick) > 20 and replaced > 20
    same = [commanded == point for commanded, point in on_tick]
    assert sum(same) >= len(same) - 12 and all(same[:20])
    assert v[-1] == 0.0 and np.ptp(q) > 0.2
    gap_s = np.diff(stamps) / 1e9
    assert (np.abs(np.diff(v)) <= 3 * FR3.limits.acceleration[0] * gap_s + 1e-6).all()
    assert (np.abs(np.diff(q)) <= FR3.limits.velocity[0] * 1.2 * gap_s + 1e-9).all()
    assert hand.messages and "ERROR" not in process.output


def test_a_defect_between_the_ticks_brakes_from_the_newest_setpoint_and_ends_the_node(bench, tmp_path):
    contract = contract_with(tmp_path, FAST_ARM, HAND_DRIVER)
    robot, process = bench(FAULTY, contract=str(contract.path))
    commands = Recorder(robot.node, JointState, "/arm/command", 10_000)
    fault = robot.node.create_publisher(String, "/fault", 10)
    hand = Recorder(robot.node, JointTrajectory, HAND_DRIVER["topic"])
    robot.follow(JointState, "/arm/command", lambda message: zip(message.name, message.position))
    robot.start()
    wait_matched(robot.node, fault)
    robot.move()
    fault.publish(String(data="setpoint"))
    assert process.wait() == 1
    status = robot.wait_for_state("stopped", "exception")
    assert "injected fault" in status.reason and "injected fault" in process.output
    wait_until(lambda: commands.messages[-1].velocity[0] == 0.0, what="rest")
    q = np.array([m.position[0] for m in commands.messages])
    seconds = np.maximum(np.diff([stamp_to_ns(m.header.stamp) for m in commands.messages]) / 1e9, 1 / RATE_HZ)
    assert hand.messages and np.ptp(q) > 0.1 and (np.abs(np.diff(q)) / seconds <= FR3.limits.velocity[0] * 1.2).all()


def test_a_chunk_with_a_base_is_merged_whole_or_not_at_all(bench, tmp_path):
    contract = contract_with(tmp_path, ARM_DRIVER, HAND_DRIVER, TWIST, base=True)
    writer, reader = PlanWriter(contract), PlanReader(contract)
    robot, process = bench(contract=str(contract.path))
    base_plan = Recorder(robot.node, MultiDOFJointTrajectory, "controller/base_buffer")
    twists = Recorder(robot.node, Twist, "/cmd_vel", 10_000)
    hand = Recorder(robot.node, JointTrajectory, HAND_DRIVER["topic"])
    base_chunks = robot.node.create_publisher(MultiDOFJointTrajectory, "policy/base_chunk", 10)
    robot.start()
    wait_matched(robot.node, base_chunks)
    base_plan.wait_for(5)
    by_stamp = {stamp_to_ns(m.header.stamp): m for m in robot.buffer.messages}
    part = base_plan.messages[3]
    read = reader.joints(by_stamp[stamp_to_ns(part.header.stamp)], 0) or reader.base(part, 0)
    assert read.joints == contract.joint_names and read.positions.shape == (H, 11) and not read.positions[:, 8:].any()

    def send(parts, forward):
        first = read_trajectory(robot.buffer.messages[-1])
        rows = np.hstack([np.tile([robot.positions[name] for name in FR3.joint_names], (H, 1)), np.zeros((H, 3))])
        rows[5:, 8], rows[5:, 10] = forward, -0.2
        if "joints" in parts:
            robot.chunks.publish(writer.joints(rows, first.stamp_ns, first.frame_id))
        if "base" in parts:
            base_chunks.publish(writer.base(rows, first.stamp_ns, first.frame_id))

    send("joints", 0.15)
    wait_until(lambda: int(robot.status()["incomplete"]) == 1, what="the missing base to be told")
    send("base", 0.15)
    wait_until(lambda: int(robot.status()["incomplete"]) == 2, what="the missing joints to be told")
    assert hand.messages and not robot.accepted.messages and "its base part did not come" in process.output
    assert all(twist == Twist() for twist in twists.messages)
    send(("joints", "base"), 0.15)
    accepted = robot.accepted.wait_for(1)[0]
    assert accepted.frame_id == robot.buffer.messages[-1].header.frame_id
    wait_until(
        lambda: any(t.linear.x == pytest.approx(0.15, abs=1e-9) for t in twists.messages),
        what=lambda: [t.linear.x for t in twists.messages if t.linear.x],
    )
    wait_until(
        lambda: any(t.angular.z == pytest.approx(-0.2, abs=1e-9) for t in twists.messages),
        what=lambda: [t.angular.z for t in twists.messages if t.angular.z],
    )
    assert max(t.linear.x for t in twists.messages) < 0.16, "between the ticks it swings over by little"
    wait_until(lambda: twists.messages[-1] == Twist(), what="the base to stop when the chunk is used up")
    speed = np.array([t.linear.x for t in twists.messages])
    most = contract.limits.acceleration[8] / TWIST["rate_hz"]
    missed = int(robot.status()["setpoints_missed"])
    assert np.abs(np.diff(speed)).max() <= (2.5 + missed) * most, "a setpoint may be left out on a loaded machine"
    plans = [m for m in base_plan.messages if any(p.velocities[0].linear.x for p in m.points)]
    assert plans and all(m.joint_names == ["base"] for m in plans)
    send(("joints", "base"), float("nan"))
    wait_until(lambda: int(robot.status()["nonfinite"]) == 1, what="NaN of the base to be refused")


def test_the_parts_of_a_plan_find_each_other_in_any_order_and_only_each_other(tmp_path):
    contract = contract_with(tmp_path, ARM_DRIVER, HAND_DRIVER, TWIST, base=True)
    writer, reader = PlanWriter(contract), PlanReader(contract)
    rng = np.random.default_rng(0)
    for order in (("joints", "base"), ("base", "joints")):
        rows = rng.normal(size=(H, 11))
        parts = {name: getattr(writer, name)(rows, 10**9, "0@5") for name in order}
        first, second = (getattr(reader, name)(parts[name], 0) for name in order)
        assert first is None and second.joints == contract.joint_names
        np.testing.assert_array_equal(second.positions, rows)
        assert second.dt_s == pytest.approx(FR3.dt_s)
    reader.joints(writer.joints(rows, 10**9, "0@5"), 0)
    assert reader.base(writer.base(rows, 10**9, "1@5"), 0) is None, "another epoch"
    assert reader.base(writer.base(rows, 10**9 + 1, "0@5"), 0) is None, "another tick"
    assert reader.expired(DT_NS // 2) == []
    assert sorted(reader.expired(DT_NS // 2 + 1)) == ["base", "joints", "joints"]
    assert reader.expired(10**12) == []


def test_large_messages_are_refused_before_they_are_read(tmp_path):
    contract = contract_with(tmp_path, ARM_DRIVER, HAND_DRIVER, TWIST, base=True)
    writer, taken, refused = PlanWriter(contract), [], []
    for make, kind in ((writer.joints, JointTrajectory), (writer.base, MultiDOFJointTrajectory)):
        receive = bounded(kind, most_bytes(contract), taken.append, refused.append)
        for ticks, good in ((H, True), (3 * H, True), (200 * H, False)):
            before = len(taken), len(refused)
            receive(serialize_message(make(np.zeros((ticks, 11)), 5, "0@5")))
            assert (len(taken) - before[0], len(refused) - before[1]) == (good, not good)
        assert "Allowed: at most" in str(refused[-1]) and "bytes" in str(refused[-1])
        receive(b"\x00\x01\x00\x00\xff\xff\xff\xff")
        assert f"is no {kind.__name__}" in str(refused[-1])


@pytest.mark.parametrize(
    "changes",
    [{"joint_names": ["base"] * 2}, {"joint_names": []}, {"joint_names": ["x" * 10**6]}, {"twists": 0}, {"twists": 2}],
)
def test_a_base_plan_that_is_none_is_one_short_error(tmp_path, changes):
    contract = contract_with(tmp_path, ARM_DRIVER, HAND_DRIVER, TWIST, base=True)
    message = PlanWriter(contract).base(np.zeros((H, 11)), 5, "0@5")
    if "twists" in changes:
        message.points[3].velocities = message.points[3].velocities * changes["twists"]
    else:
        message.joint_names = changes["joint_names"]
    with pytest.raises(BeingHError, match="Allowed: base|base trajectory") as error:
        PlanReader(contract).base(message, 0)
    assert len(str(error.value)) < 200


def test_a_robot_without_a_base_has_one_part():
    writer, reader = PlanWriter(FR3), PlanReader(FR3)
    rows = np.arange(H * 8, dtype=float).reshape(H, 8)
    message = writer.joints(rows, 7, "0@5")
    assert isinstance(message, JointTrajectory) and writer.base(rows, 7, "0@5") is None and not reader.has_base
    np.testing.assert_array_equal(reader.joints(message, 0).positions, rows)
