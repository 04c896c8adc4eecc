"""controller_node as a process, over real DDS, against a scripted policy and a stand-in robot."""

import math
import signal
import threading
import time

import numpy as np
import pytest
from ros_support import wait_until
from stand_in_robot import ARM, DT_NS, FR3, H, controller_beside_robot
from std_msgs.msg import Bool
from trajectory_msgs.msg import JointTrajectory

from beingh_core.realtime.clock import TickClock
from beingh_ros.messages.conversions import ns_to_stamp, read_trajectory


@pytest.fixture
def bench(tmp_path):
    with controller_beside_robot(tmp_path) as start:
        yield start


def sent_by_tick(recorder, start_ns):
    """Tick -> every value it was sent with, of one epoch, checking that each message starts at the next tick."""
    clock, values, firsts = TickClock(FR3.rate_hz, start_ns), {}, []
    for message in recorder.messages:
        read = read_trajectory(message)
        if read.stamp_ns < start_ns:
            continue
        first = clock.nearest_tick(read.stamp_ns)
        assert clock.stamp_ns(first) == read.stamp_ns and list(read.times_ns) == [
            DT_NS * (i + 1) for i in range(len(read.times_ns))
        ]
        firsts.append(first)
        for i, row in enumerate(read.positions):
            values.setdefault(first + i, []).append(tuple(row))
    return values, firsts


def test_it_starts_at_the_measured_positions_and_holds_when_dry(bench):
    robot, _ = bench()
    robot.talking = False
    status = robot.status()
    assert status["state"] == "waiting" and "joint states" in status["message"]
    robot.positions["fr3_joint1"] = math.nan
    robot.talking = True
    wait_until(lambda: "nan for fr3_joint1" in robot.status()["reason"], what="NaN to be reported")
    assert not robot.arm.messages and not robot.buffer.messages
    robot.positions["fr3_joint1"] = 0.2
    clock = robot.start()
    robot.arm.wait_for(20), robot.hand.wait_for(20)
    values, firsts = sent_by_tick(robot.arm, clock.start_ns)
    assert firsts == list(range(len(firsts)))
    assert all(set(rows) == {(0.2, *FR3.home[1:7])} for rows in values.values())
    assert set(read_trajectory(robot.hand.messages[-1]).joints) == {"fr3_finger_joint1"}
    first = read_trajectory(robot.buffer.messages[0])
    assert first.stamp_ns == clock.start_ns and len(first.positions) == H and first.joints == FR3.joint_names


def test_the_wire_is_append_only_whatever_the_policy_sends(bench):
    robot, _ = bench()
    clock = robot.start()
    rng = np.random.default_rng(3)
    for _ in range(80):
        base = robot.next_tick()[0] - int(rng.integers(-2, 12))
        rows = robot.wave(base, amplitude=float(rng.uniform(-0.2, 0.2)))
        kind = rng.integers(8)
        if kind == 0:
            rows[rng.integers(H), rng.integers(8)] = math.nan
        robot.send_chunk(
            rows[: H - 1] if kind == 1 else rows,
            base,
            epoch="7@1" if kind == 2 else "nonsense" if kind == 3 else None,
            joints=[*FR3.joint_names[:-1], "stranger"] if kind == 4 else FR3.joint_names,
            rate_hz=19.0 if kind == 5 else FR3.rate_hz,
        )
        if kind == 6:
            robot.send_chunk(rows, base)
        time.sleep(float(rng.uniform(0, 0.08)))
    kinds = ("nonfinite", "bad_length", "foreign_epoch", "malformed", "bad_joints", "bad_dt", "stale")
    status = robot.status()
    wait_until(lambda: status.update(robot.status()) or all(int(status[kind]) for kind in kinds), what=lambda: status)
    count = len(robot.arm.messages)
    robot.arm.wait_for(count + 5)
    values, firsts = sent_by_tick(robot.arm, clock.start_ns)
    assert (status["overruns"], status["state"]) == ("0", "running"), status["reason"]
    assert firsts == list(range(len(firsts)))
    assert all(len(set(rows)) == 1 for rows in values.values())
    moved = np.ptp([rows[0][0] for rows in values.values()])
    assert moved > 0.05 and int(status["accepted"]) >= 5
    for message in robot.buffer.messages[:-40]:
        tick = clock.nearest_tick(read_trajectory(message).stamp_ns)
        assert tuple(read_trajectory(message).positions[0][:7]) == values[tick][0]


def test_a_chunk_moves_exactly_the_ticks_behind_its_prefix(bench):
    robot, _ = bench()
    clock = robot.start()
    robot.arm.wait_for(3)
    base = robot.next_tick()[0]
    rows = np.tile(FR3.home, (H, 1))
    # The locked head repeats what will run; then 0.04 rad/s, within the limits everywhere.
    rows[FR3.uac.delay_steps :, 0] = 0.002 * np.arange(1, H + 1 - FR3.uac.delay_steps)
    robot.send_chunk(rows, base)
    accepted = robot.accepted.wait_for(1)[0]
    assert accepted.stamp == ns_to_stamp(clock.stamp_ns(base))
    assert accepted.frame_id == robot.buffer.messages[-1].header.frame_id
    wait_until(lambda: base + H + 5 in sent_by_tick(robot.arm, clock.start_ns)[0], what="the end of the chunk")
    values, _ = sent_by_tick(robot.arm, clock.start_ns)
    free = base + FR3.uac.delay_steps
    assert all(values[tick][0][0] == 0.0 for tick in range(base, free))
    np.testing.assert_array_equal(
        [values[free + i][0][0] for i in range(H - FR3.uac.delay_steps)], rows[FR3.uac.delay_steps :, 0]
    )
    assert values[base + H + 5][0][0] == pytest.approx(rows[-1, 0], abs=0.01)


def test_stop_is_latched_until_reset_and_reset_starts_at_the_measured_positions(bench):
    robot, _ = bench()
    robot.start()
    robot.arm.wait_for(3)
    assert robot.call("stop").success
    wait_until(lambda: robot.status()["state"] == "stopped", what="stopped")
    count, epoch = len(robot.arm.messages), robot.buffer.messages[-1].header.frame_id
    base = robot.next_tick()[0]
    robot.send_chunk(robot.wave(base), base)
    status = robot.status()
    wait_until(lambda: robot.status()["stopped"] == "1", what="the chunk to be refused")
    assert status["reason"] == "stop service" and len(robot.arm.messages) == count and not robot.accepted.messages
    robot.positions["fr3_joint1"] = 0.4
    time.sleep(0.1)
    assert robot.call("reset").success
    wait_until(lambda: robot.buffer.messages[-1].header.frame_id != epoch, what="a new epoch")
    message = read_trajectory(robot.arm.wait_next())
    assert message.positions[0, 0] == 0.4


def test_emergency_stop_and_nan_stop_it(bench):
    robot, process = bench()
    robot.start()
    robot.estop.publish(Bool(data=True))
    wait_until(lambda: robot.status()["state"] == "stopped", what="stopped")
    refused = robot.call("reset")
    assert not refused.success and "emergency stop is active" in refused.message
    robot.estop.publish(Bool(data=False))
    wait_until(lambda: robot.call("reset").success, what="reset")
    wait_until(lambda: robot.status()["state"] == "running", what="running")
    robot.following = False
    robot.positions["fr3_joint2"] = math.nan
    status = wait_until(lambda: (s := robot.status())["state"] == "stopped" and s, what="stopped by NaN")
    assert "nan for fr3_joint2" in status["reason"]
    assert "To fix: remove the cause, then call /controller/reset." in process.output


def test_the_last_command_after_a_signal_brakes_to_rest(bench):
    robot, process = bench()
    robot.start()
    robot.arm.wait_for(3)
    base = robot.next_tick()[0]
    rows = np.tile(FR3.home, (H, 1))
    rows[:, 0] = 0.03 * np.arange(1, H + 1)
    robot.send_chunk(rows, base)
    wait_until(lambda: robot.arm.messages[-1].points[0].positions[0] > 0.1, what="motion")
    assert process.end(signal.SIGTERM) == 0
    wait_until(lambda: len(robot.arm.messages[-1].points) > 2, 2.0, "the braking path")
    path = read_trajectory(robot.arm.messages[-1]).positions[:, 0]
    before = robot.arm.messages[-2].points[0].positions[0]
    assert path[0] == before
    speed = np.diff([*path, path[-1]])
    assert speed[0] > 0 and speed[-1] == 0 and np.all(np.diff(speed) <= 1e-12)
    assert np.abs(np.diff(speed)).max() <= FR3.limits.acceleration[0] * FR3.dt_s**2 + 1e-9
    assert "Traceback" not in process.output


def test_another_commander_is_reported(bench):
    robot, process = bench()
    robot.start()
    assert robot.status()["rivals"] == ""
    robot.node.create_publisher(JointTrajectory, ARM.topic, 10)
    status = wait_until(lambda: (s := robot.status())["rivals"] and s, what="the rival")
    assert status["rivals"] == f"/{ARM.topic}" and "another node" in status["message"]
    assert process.output.count(f"another node publishes commands on /{ARM.topic}") == 1


def test_dry_run_does_everything_but_send(bench):
    robot, _ = bench(dry_run=True)
    robot.start()
    base = robot.next_tick()[0]
    robot.send_chunk(robot.wave(base), base)
    robot.accepted.wait_for(1)
    robot.buffer.wait_for(len(robot.buffer.messages) + 5)
    assert not robot.arm.messages and not robot.hand.messages


@pytest.mark.parametrize(
    "parameters, words",
    [
        ({"contract": "no_such_robot"}, "no_such_robot"),
        ({"dry_run": 3}, "dry_run"),
        ({"max_late_ticks": 0.5}, "max_late_ticks"),
    ],
)
def test_a_mistake_is_one_error_and_a_status(bench, parameters, words):
    robot, process = bench(**parameters)
    assert process.wait() == 2
    lines = [line for line in process.output.splitlines() if "ERROR" in line]
    assert len(lines) == 1 and words in lines[0] and "Traceback" not in process.output
    assert not robot.buffer.messages and threading.active_count() < 20
