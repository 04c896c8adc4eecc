"""Simulator, controller and policy as processes, started by bringup, watched on the wire by a fourth party."""

import numpy as np
import pytest
from ros_support import Recorder, ros_graph, tiny_checkpoint, wait_until
from test_markers import truth
from trajectories import trajectory_message

pytest.importorskip("torch")
pytest.importorskip("mujoco")
from diagnostic_msgs.msg import DiagnosticArray, DiagnosticStatus
from rcl_interfaces.msg import Parameter, ParameterType, ParameterValue
from rcl_interfaces.srv import SetParameters
from sensor_msgs.msg import Image, JointState
from std_msgs.msg import Header
from std_srvs.srv import Trigger
from trajectory_msgs.msg import JointTrajectory
from visualization_msgs.msg import MarkerArray

from beingh_core.contract import load_contract
from beingh_core.contract.state_messages import joint_positions
from beingh_core.control.stop_causes import SHUTDOWN
from beingh_core.realtime.clock import TickClock, parse_epoch
from beingh_core.sim import sample_cubes
from beingh_ros.bringup import BringupOptions, ProcessGroup, processes
from beingh_ros.messages import controller_state
from beingh_ros.messages.conversions import (
    image_to_array,
    read_trajectory,
    stamp_to_ns,
)
from beingh_ros.messages.diagnostics import read_status
from beingh_ros.messages.topics import PATHS_TOPIC

FR3 = load_contract("fr3")
H, D = FR3.policy.chunk_length, FR3.uac.delay_steps
ARM = FR3.driver.groups[0]


def call(node, service_type, name, request):
    client = node.create_client(service_type, name)
    assert client.wait_for_service(20.0)
    future = client.call_async(request)
    wait_until(future.done, what=name)
    return future.result()


def test_the_simulator_publishes_and_obeys_as_the_robots_drivers_do(tmp_path):
    with ros_graph() as graph:
        states = Recorder(graph, JointState, "/joint_states")
        images = {camera.name: Recorder(graph, Image, camera.topic) for camera in FR3.cameras}
        objects = Recorder(graph, MarkerArray, "/sim/objects")
        spectator = Recorder(graph, Image, "/spectator_camera/color/image_raw")
        arm = graph.create_publisher(JointTrajectory, ARM.topic, 10)
        specs = processes(BringupOptions(contract="fr3", simulate=True, seed=5, spectator_fps=10.0))[:1]
        with ProcessGroup(specs, tmp_path, graph.environment) as group:
            first = joint_positions(states.wait_for(25)[-1])
            assert {"fr3_finger_joint1", "fr3_finger_joint2"} <= set(first)
            np.testing.assert_allclose([first[name] for name in FR3.joint_names], FR3.home, atol=0.01)
            assert np.diff([stamp_to_ns(m.header.stamp) for m in states.messages[:20]]).min() >= 20_000_000
            for recorder in images.values():
                pixels = image_to_array(recorder.wait_for(3)[-1], "rgb8")
                assert pixels.std() > 5
            assert image_to_array(spectator.wait_for(1)[0]).shape == (480, 640, 3)
            cubes = {marker.ns: marker.pose.position for marker in objects.wait_for(1)[0].markers}
            for colour, (position, _) in sample_cubes(np.random.default_rng(5)).items():
                np.testing.assert_allclose([cubes[colour].x, cubes[colour].y], position[:2], atol=0.005)
            target = np.array([[*FR3.home[:7]]])
            target[0, 0] += 0.2
            arm.publish(trajectory_message(ARM.joints, target, stamp_ns=0, rate_hz=2.0, first_step=1))
            wait_until(
                lambda: abs(joint_positions(states.messages[-1])["fr3_joint1"] - 0.2) < 0.01, what="the arm to follow"
            )
            arm.publish(trajectory_message(ARM.joints[:3], target[:, :3], stamp_ns=0, rate_hz=2.0, first_step=1))
            wait_until(lambda: "don't match" in group.log_tail("sim"), what="the refusal to be logged")
            seed = Parameter(name="seed", value=ParameterValue(type=ParameterType.PARAMETER_INTEGER, integer_value=6))
            assert (
                call(graph, SetParameters, "/sim/set_parameters", SetParameters.Request(parameters=[seed]))
                .results[0]
                .successful
            )
            assert "seed 6" in call(graph, Trigger, "/sim/reset", Trigger.Request()).message
            # Messages from before the reset may still be on their way.
            wait_until(lambda: abs(joint_positions(states.messages[-1])["fr3_joint1"]) < 0.01, what="the arm at home")
            expected = sample_cubes(np.random.default_rng(6))["red"][0]

            def moved():
                cubes = {marker.ns: marker.pose.position for marker in objects.messages[-1].markers}
                return np.allclose([cubes["red"].x, cubes["red"].y], expected[:2], atol=0.005)

            wait_until(moved, what="the cubes of the new scene")
            assert group.stop() == {"sim": 0}


def commands_by_tick(messages, clock):
    """Tick -> set of rows that were sent for it."""
    values = {}
    for message in messages:
        read = read_trajectory(message)
        first = clock.nearest_tick(read.stamp_ns)
        for i, row in enumerate(read.positions):
            values.setdefault(first + i, set()).add(tuple(row))
    return values


def newest_commands(diagnostics):
    """What the controller has told last of its commands; {} before that."""
    statuses = {status.name: status for message in list(diagnostics.messages) for status in message.status}
    status = statuses.get("controller: commands")
    return {} if status is None else read_status(status)


def test_a_told_robot_moves_append_only_and_every_chunk_repeats_what_runs(tmp_path):
    with ros_graph() as graph:
        arm = Recorder(graph, JointTrajectory, ARM.topic)
        buffers = Recorder(graph, JointTrajectory, "controller/buffer")
        chunks = Recorder(graph, JointTrajectory, "policy/chunk")
        accepted = Recorder(graph, Header, "controller/accepted")
        diagnostics = Recorder(graph, DiagnosticArray, "/diagnostics")
        states = Recorder(graph, DiagnosticStatus, controller_state.TOPIC, controller_state.QOS)
        shown = Recorder(graph, MarkerArray, PATHS_TOPIC)
        checkpoint = tiny_checkpoint(tmp_path / "tiny", FR3)
        options = BringupOptions(
            contract="fr3", simulate=True, checkpoint=str(checkpoint), instruction="pick up the red cube", seed=1
        )
        with ProcessGroup(processes(options), tmp_path / "log", graph.environment) as group:
            accepted.wait_for(6, 90.0)
            shown.wait_for(10)
            group.check()
            wait_until(lambda: int(newest_commands(diagnostics).get("accepted", 0)) >= 5, what="diagnostics")
            assert group.stop() == {"markers": 0, "policy": 0, "controller": 0, "sim": 0}
        epoch = accepted.messages[-1].frame_id
        index, start_ns = parse_epoch(epoch)
        clock = TickClock(FR3.rate_hz, start_ns)
        # A tick that came late under load may have begun another epoch since: what it cut is not promised there.
        starts = [parse_epoch(m.header.frame_id)[1] for m in buffers.messages]
        until_ns = min((start for start in starts if start > start_ns), default=2**63)
        # A stop may change what was sent ahead: in the braking path, which is the last message, and in a tick between
        # it and the request to end, which may be due up to two periods before that.
        changes = map(controller_state.read_state, states.messages)
        stop_ns = next(status.stamp_ns for status in changes if status.cause == SHUTDOWN)
        until_ns = min(until_ns, stop_ns - 2 * round(1e9 / FR3.rate_hz))
        sent = [m for m in arm.messages[:-1] if start_ns <= stamp_to_ns(m.header.stamp) < until_ns]
        values = commands_by_tick(sent, clock)
        changed = {tick: rows for tick, rows in values.items() if len(rows) > 1}
        assert changed == {}, group.log_tail("controller")
        assert np.ptp([next(iter(rows))[0] for rows in values.values()]) > 0
        base_ticks = {clock.nearest_tick(stamp_to_ns(m.stamp)) for m in accepted.messages if m.frame_id == epoch}
        checked = 0
        for message in chunks.messages:
            base = clock.nearest_tick(stamp_to_ns(message.header.stamp))
            if message.header.frame_id != epoch or base not in base_ticks:
                continue
            rows = read_trajectory(message).positions
            for i in range(D):
                if base + i in values:
                    assert tuple(rows[i, :7]) in values[base + i]
                    checked += 1
        assert checked >= D and len(buffers.messages) > 20
        assert green_dots_that_are_sent(shown.messages, values, clock) > 20


def green_dots_that_are_sent(messages, values, clock):
    """How many places shown as committed are checked against the commands that were sent."""
    checked = 0
    for message in messages:
        marker = next(m for m in message.markers if m.ns.endswith("/committed ticks"))
        last = clock.nearest_tick(stamp_to_ns(marker.header.stamp)) + FR3.uac.commit_margin
        for ago, point in enumerate(reversed(marker.points)):
            if last - ago in values:
                (row,) = values[last - ago]
                np.testing.assert_allclose([point.x, point.y, point.z], truth([*row, 0.0]), atol=1e-6)
                checked += 1
    return checked
