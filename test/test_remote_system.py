"""A robot whose policy server is killed or stopped in the middle of a chunk: it runs its plan out, holds, and goes on.

Simulator, controller and policy are the real nodes, started as `ros2 launch` does; the server is `beingh serve`.
"""

import math
import signal
import time

import numpy as np
import pytest
import yaml

pytest.importorskip("torch")
pytest.importorskip("mujoco")
pytest.importorskip("msgpack")
from diagnostic_msgs.msg import DiagnosticStatus
from remote_support import ping, start_server
from ros_support import Recorder, ros_graph, tiny_checkpoint, wait_until
from std_msgs.msg import Header
from trajectory_msgs.msg import JointTrajectory

from beingh_core.contract import load_contract
from beingh_core.control.stop_causes import CHUNKS_SILENT, RUNNING, WAITING
from beingh_core.evaluate.commitment import audit
from beingh_core.evaluate.seams import sent_positions
from beingh_ros.bringup import BringupOptions, ProcessGroup, processes
from beingh_ros.demo.observer import Observer
from beingh_ros.messages import controller_state

FR3 = load_contract("fr3")
GROUPS = tuple(group.joints for group in FR3.command_groups)
RETURN_S = 2.0


class Watched:
    """Everything that is said on the wire, and the state that the controller tells."""

    def __init__(self, graph):
        self.observer = Observer(graph, FR3, lambda: None)
        self.accepted = Recorder(graph, Header, "controller/accepted")
        self.chunks = Recorder(graph, JointTrajectory, "policy/chunk")
        self.states = []
        self._state = graph.create_subscription(
            DiagnosticStatus, controller_state.TOPIC, self._receive, controller_state.QOS
        )

    def _receive(self, message):
        self.states.append(controller_state.read_state(message))


def hit_while_it_infers(server, url, watched, blow=signal.SIGKILL):
    """A signal while a chunk is being computed, until the robot holds; returns when it was sent, monotonic [s]."""

    def infers():
        counts = ping(url)
        return counts if counts["received"] > counts["served"] else None

    counts = wait_until(infers, what="a request in progress")
    server.send_signal(blow)
    hit_s = time.monotonic()
    if blow == signal.SIGKILL:
        server.wait()
    wait_until(lambda: watched.observer.at_rest, 20.0, "the plan to run out and the robot to hold")
    # Every chunk of the policy was answered by this server before: the request in progress never was.
    assert len(watched.chunks.messages) <= counts["served"], "the request was answered just before the signal"
    return hit_s


def assert_moves_within_limits(log):
    """No step, and no step of the speed, beyond what the joints may do in a tick."""
    _, sent = sent_positions(log, FR3.joint_names, GROUPS)
    sent = sent[:-1]  # of the last tick one topic may not have been received yet
    assert np.isfinite(sent).all()
    limits, dt_s = FR3.limits, FR3.dt_s
    speeds = np.diff(sent, axis=0) / dt_s
    assert (np.abs(speeds) <= limits.velocity * 1.001).all()
    assert (np.abs(np.diff(speeds, axis=0)) / dt_s <= limits.acceleration * 1.001).all()
    return sent


def patient_contract(directory):
    """FR3's, without the watchdogs that a machine under load, whose simulator loses time, would set off."""
    raw = yaml.safe_load(FR3.path.read_text()) | {"urdf": str(FR3.urdf_path)}
    raw["watchdog"] = {"tracking_error": math.inf, "joint_states_s": 10.0}
    path = directory / "patient.yaml"
    path.write_text(yaml.safe_dump(raw, sort_keys=False))
    assert load_contract(path).hash == FR3.hash
    return str(path)


@pytest.mark.parametrize("jpeg", [0, pytest.param(90, marks=pytest.mark.slow)])
def test_a_server_killed_in_the_middle_of_a_chunk(tmp_path, jpeg):
    contract = patient_contract(tmp_path)
    server, url = start_server(tiny_checkpoint(tmp_path / "tiny", FR3), 0)
    try:
        with ros_graph() as graph:
            watched = Watched(graph)
            options = BringupOptions(
                contract=contract, simulate=True, policy_url=url, policy_jpeg_quality=jpeg, instruction="go", seed=1
            )
            with ProcessGroup(processes(options), tmp_path / "log", graph.environment) as group:
                watched.accepted.wait_for(4, 90.0)
                killed_s = hit_while_it_infers(server, url, watched)
                held_after_s = time.monotonic() - killed_s
                told = wait_until(
                    lambda: next((one for one in reversed(watched.states) if one.cause == CHUNKS_SILENT), None)
                )
                assert told.state == RUNNING, "it holds and waits for the next chunk; nobody needs to reset it"
                accepted = len(watched.accepted.messages)
                server, _ = start_server(tmp_path / "tiny", url.rsplit(":", 1)[1])
                returned_s = time.monotonic()
                watched.accepted.wait_for(accepted + 3, 20.0)
                resumed_s = watched.accepted.times_s[accepted] - returned_s
                print(f"held {held_after_s:.2f} s after the kill, first chunk {resumed_s:.2f} s after the return")
                assert resumed_s < RETURN_S
                wait_until(lambda: not watched.states[-1].cause, what="the controller to tell that chunks run")
                group.check()
                logs = watched.observer.log.epochs()  # before the end, which cuts what was promised
                assert group.log_tail("policy", 1000).count("is gone or does not answer") == 1
                states = {one.state for one in watched.states}
                assert set(group.stop().values()) == {0}
            sent = [assert_moves_within_limits(log) for log in logs if len(log.buffers) > 1]
            assert max(np.ptp(one, axis=0).max() for one in sent) > 0 and sum(map(len, sent)) > 40
            uac = FR3.uac
            found = audit(logs, FR3.joint_names, GROUPS, commit_margin=uac.commit_margin, delay_steps=uac.delay_steps)
            assert found.violations == () and found.ticks > 40
            assert states <= {WAITING, RUNNING}, "nothing was stopped"
        server.send_signal(signal.SIGINT)
        assert server.wait(20) == 0
    finally:
        server.kill()
        server.wait()


@pytest.mark.slow
def test_a_server_that_is_stopped_in_the_middle_of_a_chunk_and_goes_on(tmp_path):
    server, url = start_server(tiny_checkpoint(tmp_path / "tiny", FR3), 0)
    try:
        with ros_graph() as graph:
            watched = Watched(graph)
            options = BringupOptions(
                contract=patient_contract(tmp_path), simulate=True, policy_url=url, instruction="go", seed=1
            )
            with ProcessGroup(processes(options), tmp_path / "log", graph.environment) as group:
                watched.accepted.wait_for(4, 90.0)
                hit_while_it_infers(server, url, watched, signal.SIGSTOP)
                wait_until(
                    lambda: watched.states[-1].cause == CHUNKS_SILENT, what="the controller to tell why it holds"
                )
                wait_until(lambda: "is gone or does not answer" in group.log_tail("policy", 1000), what="the cause")
                accepted = len(watched.accepted.messages)
                server.send_signal(signal.SIGCONT)
                continued_s = time.monotonic()
                watched.accepted.wait_for(accepted + 3, 20.0)
                assert watched.accepted.times_s[accepted] - continued_s < RETURN_S
                wait_until(lambda: not watched.states[-1].cause, what="the controller to tell that chunks run")
                group.check()
                assert {one.state for one in watched.states} <= {WAITING, RUNNING}, "nothing was stopped"
                assert set(group.stop().values()) == {0}
        server.send_signal(signal.SIGINT)
        assert server.wait(20) == 0
    finally:
        server.kill()
        server.wait()
