"""The monitor: what it concludes from what it receives, how the page looks, and the command on a real ROS graph."""

import fcntl
import os
import pty
import re
import signal
import struct
import subprocess
import sys
import termios
import time

import pytest
from diagnostic_msgs.msg import DiagnosticArray, DiagnosticStatus, KeyValue
from rclpy.qos import DurabilityPolicy, QoSProfile
from rich.console import Console
from ros_domains import next_domain
from ros_support import ROOT, ros_graph, wait_until
from sensor_msgs.msg import JointState

from beingh_core.contract import load_contract
from beingh_ros.bringup import ProcessGroup, ProcessSpec
from beingh_ros.messages.thresholds import ERROR, OK, WARN
from beingh_ros.monitor.page import Surroundings, page
from beingh_ros.monitor.state import CONTROLLER, INFERENCE, SILENT_AFTER_S, MonitorState

FR3 = load_contract("fr3")
COMMANDS = {
    "state": "running", "reason": "", "dry_run": "False", "delay_steps": "5", "chunk_length": "16", "accepted": "131",
    "late": "3", "useless": "1", "refused": "6", "clips": "77", "tick_rate_hz": "19.98",
    "tick_rate_hz_target": "20", "tick_jitter_ms": "0.31", "tick_lateness_ms_p50": "0.4", "tick_lateness_ms_p99": "2.2",
    "tracking_error_share": "0.12",
}  # fmt: skip
INFERRING = {
    "instruction": "pick up the [red] cube", "gate": "open", "delay_steps": "5", "chunks": "134", "failures": "0",
    "unreached_steps": "6", "inference_ms_p50": "83.2", "inference_ms_p95": "95.1", "latency_ms_p50": "121.4",
    "latency_ms_p95": "140.0", "consumed_delay_p50": "3", "consumed_delay_max": "5",
}  # fmt: skip
STREAM = {
    "topic": "/camera", "qos": "reliable", "age_s": "0.031", "max_age_s": "0.25", "rate_hz": "20.01",
    "jitter_ms": "1.2", "received": "500", "lost": "7", "refused": "0",
}  # fmt: skip


def received(namespace="", at_s=100.0, **levels):
    """A state as after hearing everything once; `levels` are (level, message) by "commands", "inference", "stream"."""
    state, prefix = MonitorState(namespace=namespace), f"{namespace}/" if namespace else ""
    for key, name, values in (
        ("commands", CONTROLLER, COMMANDS),
        ("inference", INFERENCE, INFERRING),
        ("stream", "policy: video.scene_view", STREAM),
    ):
        level, message = levels.get(key, (OK, "fine"))
        state.diagnostic(at_s, prefix + name, level, message, "fr3", values)
    state.chunk(16)
    state.accepted("0@5", 1_000_000_000)
    state.buffer(at_s, "0@5", 1_200_000_000, 0.05)
    return state


def text_of(state, width=80, now_s=100.5, **around):
    console = Console(width=width, record=True, file=open(os.devnull, "w"), color_system=None)  # noqa: SIM115
    console.print(page(state, Surroundings(title="domain 7", **around), now_s, width))
    return console.export_text()


def test_nobody_received_is_a_warning_and_somebody_silent_an_error():
    assert MonitorState().verdict(0.0) == (WARN, "no controller reports")
    assert received().verdict(100.5) == (OK, "as it should be")
    level, text = received().verdict(100.0 + SILENT_AFTER_S + 2)
    assert level == ERROR and "controller: commands" in text and "silent for 5 s" in text


def test_the_worst_status_counts_and_equal_ones_are_told_once():
    state = received(stream=(ERROR, "stale: 0.4 s"), inference=(WARN, "gate closed"))
    state.diagnostic(100.0, "policy: video.wrist_view", ERROR, "stale: 0.4 s", "fr3", STREAM)
    assert state.findings(100.0) == [
        (ERROR, "video.scene_view, video.wrist_view: stale: 0.4 s"),
        (WARN, "inference: gate closed"),
    ]


def test_a_robot_in_a_namespace_is_told_apart_from_others():
    state = received("left")
    for name in ("controller: commands", "right/controller: commands", "left/camera: driver", "leftover"):
        state.diagnostic(100.0, name, ERROR, "not mine", "other", {})
    assert state.verdict(100.0)[0] == OK and state.robot == "fr3"
    root = received()
    root.diagnostic(100.0, "left/controller: commands", ERROR, "not mine", "other", {})
    assert root.verdict(100.0)[0] == OK


def test_the_depth_is_what_the_newest_merged_chunk_has_left():
    state = received()
    assert state.depth(100.1) == 12
    state.buffer(100.2, "0@5", 1_000_000_000 + 50_000_000 * 40, 0.05)
    assert state.depth(100.2) == 0
    state.buffer(100.3, "1@5", 1_200_000_000, 0.05)
    assert state.depth(100.3) == 0, "the chunk is of an epoch that has ended"
    assert state.depth(110.0) is None, "the controller is silent"


def test_the_last_stop_is_kept_when_the_robot_runs_again():
    state = received()
    stopped = {"state": "stopped", "cause": "estop", "stamp_ns": str(time.time_ns() - 42_000_000_000)}
    state.control("emergency stop on /estop", stopped)
    assert "ros2 service call /controller/reset" in state.hints()[0]
    state.control("", {"state": "running", "cause": ""})
    text = text_of(state)
    assert "estop: emergency stop on /estop, 42 s ago" in text and state.hints() == []
    state.control("the last chunk is used up", {"state": "running", "cause": "chunks_silent"})
    assert re.search("running +the last chunk is used up", text_of(state))
    assert "/left/controller/reset" in _stopped("left").hints()[0]
    state.control("pressed", {"state": "stopped", "cause": "estop", "estop": "True"})
    assert "release it" in state.hints()[0] and "reset" in state.hints()[1]


def _stopped(namespace):
    state = MonitorState(namespace=namespace)
    state.control("stop service", {"state": "stopped", "cause": "stop_service", "stamp_ns": ""})
    return state


@pytest.mark.parametrize("width", [80, 130])
def test_the_page_shows_every_reading_and_fits(width):
    text = text_of(received(), width)
    assert max(map(len, text.splitlines())) <= width
    for words in (
        "● OK  fr3", "domain 7", "running", "12 of 16 steps left", "5 are locked", "20.0 of 20 Hz", "jitter 0.3 ms",
        "131 used, 3 of them late", "1 useless", "6 refused", "77 values limited", "lag of 12 %",
        "pick up the [red] cube", "open",
        "inference 83 ms, p95 95", "121 ms, p95 140 of 250",
        "6 steps out of reach", "3 ticks, longest 5", "134 chunks", "video.scene_view",
    ):  # fmt: skip
        assert words in text, words
    row = next(line for line in text.splitlines() if "video.scene_view" in line)
    assert row.split()[:4] == ["video.scene_view", "20.0", "31", "250"] and "● fine" in row
    assert "look at" not in text


def test_what_is_wrong_stands_below_with_what_to_do():
    state = received(commands=(ERROR, "stopped: emergency stop"), stream=(WARN, "6 % are lost: repair it"))
    state.control("emergency stop", {"state": "stopped", "cause": "estop", "stamp_ns": ""})
    text = text_of(state)
    assert "■ ERROR" in text and "▲ 6 % are lost" in text and "lost: repair it" in text
    assert re.search(r"■ controller: commands: stopped: emergency stop", text) and "to go on: remove" in text
    text = text_of(MonitorState(), hints=["no other node is visible"])
    assert "no controller reports" in text and "- no other node is visible" in text
    short = Console(width=80, record=True, file=open(os.devnull, "w"))  # noqa: SIM115
    short.print(page(state, Surroundings(title=""), 100.5, 80, height=24))
    text = short.export_text()
    assert 0 < text.index("look at") < text.index("buffer"), "on a short terminal what is wrong comes first"
    text = text_of(received(), now_s=110.0)
    assert "as of 10 s ago" in text and "nothing is being sent" in text


def monitor(environment, *words, timeout=40):
    command = [sys.executable, "-m", "beingh_ros.cli", "monitor", *words]
    return subprocess.run(
        command, env=environment | {"COLUMNS": "80"}, cwd=ROOT, capture_output=True, text=True, timeout=timeout
    )


def test_one_page_of_a_real_controller_in_a_namespace_and_a_status_for_scripts(tmp_path):
    home = {"name": list(FR3.joint_names), "position": list(FR3.home)}
    with ros_graph() as graph:
        done = monitor(graph.environment, "--once", "--wait", "8")
        assert done.returncode == 1 and "no controller reports" in done.stdout and "(/observer)" in done.stdout
        states = graph.create_publisher(JointState, "/left/joint_states", 10)
        spec = ProcessSpec(
            name="controller",
            executable="controller_node",
            parameters={"contract": "fr3", "dry_run": True},
            namespace="left",
        )
        with ProcessGroup([spec], tmp_path, graph.environment) as group:
            wait_until(lambda: "waiting for joint states" in group.log_tail("controller"), what="the controller")
            done = monitor(graph.environment, "--once", "--wait", "8")
            assert done.returncode == 1 and "--namespace left" in done.stdout, done.stdout
            done = monitor(graph.environment, "--once", "--namespace", "left", "--wait", "20")
            assert done.returncode == 1 and "waiting for joint states" in done.stdout, done.stdout
            graph.create_timer(0.02, lambda: states.publish(JointState(**home)))
            wait_until(lambda: "running" in group.log_tail("controller"), what="it runs")
            done = monitor(graph.environment, "--once", "--namespace", "/left/", "--wait", "20")
            assert re.search(r"state +running", done.stdout) and "no policy reports" in done.stdout, done.stdout


def test_a_stop_is_shown_with_its_cause_and_fails_a_script(tmp_path):
    latched = QoSProfile(depth=1, durability=DurabilityPolicy.TRANSIENT_LOCAL)
    with ros_graph() as graph:
        state = graph.create_publisher(DiagnosticStatus, "controller/state", latched)
        values = {"state": "stopped", "cause": "tracking_error", "epoch": "0@1", "stamp_ns": str(time.time_ns())}
        state.publish(
            DiagnosticStatus(
                level=DiagnosticStatus.ERROR, name="fr3", message="fr3_joint2 is 0.31 rad behind",
                values=[KeyValue(key=key, value=value) for key, value in values.items()],
            )
        )  # fmt: skip
        reports = graph.create_publisher(DiagnosticArray, "/diagnostics", 10)
        status = DiagnosticStatus(level=DiagnosticStatus.ERROR, name=CONTROLLER, message="stopped", hardware_id="fr3")
        graph.create_timer(0.2, lambda: reports.publish(DiagnosticArray(status=[status])))
        done = monitor(graph.environment, "--once", "--wait", "20")
        assert done.returncode == 2 and "■ ERROR" in done.stdout
        assert "tracking_error: fr3_joint2 is 0.31 rad behind" in done.stdout and "to go on" in done.stdout


def test_ctrl_c_leaves_a_clean_terminal():
    with ros_graph() as graph:
        main, terminal = pty.openpty()
        fcntl.ioctl(terminal, termios.TIOCSWINSZ, struct.pack("HHHH", 24, 80, 0, 0))
        command = [sys.executable, "-m", "beingh_ros.cli", "monitor"]
        environment = graph.environment | {"TERM": "xterm"}
        process = subprocess.Popen(command, env=environment, cwd=ROOT, stdin=terminal, stdout=terminal, stderr=terminal)
        os.close(terminal)
        os.set_blocking(main, False)
        shown = b""

        def read():
            nonlocal shown
            try:
                shown += os.read(main, 65536)
            except OSError:
                pass  # nothing yet, or the other side is closed
            return shown

        try:
            wait_until(lambda: b"no controller reports" in read(), 30.0, lambda: f"the page: {shown!r}")
            process.send_signal(signal.SIGINT)
            wait_until(lambda: read() and process.poll() is not None, 15.0, "its end")
        finally:
            if process.poll() is None:
                process.kill()
        read()
        os.close(main)
        assert process.returncode == 0 and b"Traceback" not in shown
        assert b"\x1b[?1049h" in shown and shown.rfind(b"\x1b[?1049l") > shown.rfind(b"\x1b[?1049h")
        assert b"\x1b[?25h" in shown[shown.rfind(b"\x1b[?25l") :], "the cursor is shown again"


def test_an_empty_graph_is_told_with_the_settings_to_compare():
    domain = str(next_domain())
    done = monitor(dict(os.environ) | {"ROS_DOMAIN_ID": domain}, "--once", "--wait", "2")
    assert done.returncode == 1 and "no other node is visible" in done.stdout
    assert f"ROS_DOMAIN_ID={domain}" in done.stdout and "RMW_IMPLEMENTATION=" in done.stdout


def test_a_mistake_on_the_command_line_is_told():
    done = monitor(dict(os.environ), "--once", "--wait", "0")
    assert done.returncode == 2 and "--wait" in done.stderr
