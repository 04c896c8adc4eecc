"""The Rerun recording, read back with Rerun's own reader: what the topics said, at the time of their stamps."""

import io
import re
import signal
import subprocess
import sys

import numpy as np
import pinocchio as pin
import pytest
from diagnostic_msgs.msg import DiagnosticArray, DiagnosticStatus, KeyValue
from PIL import Image as PilImage
from rclpy.qos import DurabilityPolicy, QoSProfile
from ros_support import ROOT, NodeProcess, ros_graph, wait_until
from sensor_msgs.msg import Image, JointState
from std_msgs.msg import Float32MultiArray, Header
from trajectories import trajectory_message
from trajectory_msgs.msg import JointTrajectory

from beingh_core.contract import load_contract
from beingh_core.errors import BeingHError
from beingh_ros.messages.conversions import array_to_image, ns_to_stamp
from beingh_ros.monitor import rerun_log

FR3 = load_contract("fr3")
T0_NS, DT_NS, H = 1_700_000_000_123_456_789, round(1e9 / FR3.rate_hz), FR3.policy.chunk_length
EPOCH = f"0@{T0_NS}"
LATCHED = QoSProfile(depth=1, durability=DurabilityPolicy.TRANSIENT_LOCAL)


def read_back(path):
    """Entity -> component -> list of (time [ns], value), by the reader of Rerun."""
    chunk = pytest.importorskip("rerun.chunk")
    found = {}
    for part in chunk.RrdReader(path).stream():
        batch = part.to_record_batch()
        if "robot" not in batch.schema.names:
            continue
        times = batch.column("robot").cast("int64").to_pylist()
        for name in batch.schema.names:
            if ":" in name:
                column = found.setdefault(part.entity_path, {}).setdefault(name.split(":")[1], [])
                column += zip(times, batch.column(name).to_pylist())
    for parts in found.values():
        for rows in parts.values():
            rows.sort(key=lambda row: row[0])
    return found


def hand(positions):
    """Position of the hand in the arm's base, by pinocchio alone."""
    model = pin.buildModelFromUrdf(str(FR3.urdf_path))
    q, data = pin.neutral(model), model.createData()
    for name, value in zip(FR3.joint_names, positions):
        q[model.joints[model.getJointId(name)].idx_q] = value
    pin.framesForwardKinematics(model, data, q)
    base, hand = (data.oMf[model.getFrameId(frame)] for frame in ("fr3_link0", "fr3_hand_tcp"))
    return base.inverse().act(hand.translation)


def publish_once_everything(graph):
    """One message on every topic that a recording receives; returns the commands in them (H, J)."""
    make = graph.create_publisher
    publishers = {
        "image": make(Image, FR3.cameras[0].topic, 5),
        "joints": make(JointState, "/joint_states", 5),
        "buffer": make(JointTrajectory, "controller/buffer", 5),
        "accepted": make(Header, "controller/accepted", 5),
        "state": make(DiagnosticStatus, "controller/state", LATCHED),
        "chunk": make(JointTrajectory, "policy/chunk", 5),
        "latency": make(Float32MultiArray, "policy/latency", 5),
        "diagnostics": make(DiagnosticArray, "/diagnostics", 5),
    }
    for publisher in publishers.values():
        wait_until(publisher.get_subscription_count, 20.0, publisher.topic_name)
    rows = np.array([FR3.home] * H) + 0.01 * np.arange(H)[:, None]
    messages = {
        "chunk": trajectory_message(FR3.joint_names, rows, stamp_ns=T0_NS, rate_hz=FR3.rate_hz, frame_id=EPOCH),
        "accepted": Header(stamp=ns_to_stamp(T0_NS), frame_id=EPOCH),
        "buffer": trajectory_message(
            FR3.joint_names, rows[3:], stamp_ns=T0_NS + 3 * DT_NS, rate_hz=FR3.rate_hz, frame_id=EPOCH
        ),
        "joints": JointState(name=list(FR3.joint_names), position=list(FR3.home)),
        "image": array_to_image(np.full((48, 64, 3), (200, 40, 90), np.uint8), T0_NS + 7),
        "latency": Float32MultiArray(data=[83.5, 121.25]),
        "state": DiagnosticStatus(
            level=DiagnosticStatus.ERROR, name="fr3", message="pressed",
            values=[KeyValue(key=k, value=v) for k, v in
                    {"state": "stopped", "cause": "estop", "epoch": EPOCH, "stamp_ns": str(T0_NS + 11)}.items()],
        ),
        "diagnostics": DiagnosticArray(
            status=[
                DiagnosticStatus(level=DiagnosticStatus.WARN, name="policy: inference", message="gate closed: x",
                                 values=[KeyValue(key="gate", value="video.a: stale")]),
                DiagnosticStatus(level=DiagnosticStatus.ERROR, name="left/policy: inference", message="not mine"),
            ]
        ),
    }  # fmt: skip
    messages["joints"].header.stamp = ns_to_stamp(T0_NS + 5)
    messages["diagnostics"].header.stamp = ns_to_stamp(T0_NS + 13)
    for name, message in messages.items():
        publishers[name].publish(message)
    return rows


def test_a_recording_holds_what_was_said_when_it_was_said(tmp_path, monkeypatch):
    pytest.importorskip("rerun", reason="rerun-sdk is optional: make viewer")
    from beingh_ros.monitor.viewer import RerunViewer

    received = set()
    for name in ("picture", "joints", "chunk", "path", "place", "number", "event"):
        original = getattr(rerun_log.RerunLog, name)

        def note(self, *arguments, name=name, original=original):
            original(self, *arguments)
            received.add(name if name == "chunk" else (name, arguments[0]))

        monkeypatch.setattr(rerun_log.RerunLog, name, note)
    with ros_graph() as graph:
        viewer = RerunViewer(graph, FR3, path=tmp_path / "new" / "r.rrd")
        rows = publish_once_everything(graph)
        wanted = {("number", "chunk/latency_ms"), ("number", "policy/gate"), ("picture", "scene_view"),
                  ("event", "controller"), ("event", "diagnostics"), ("joints", "commanded"), ("joints", "measured"),
                  ("number", "chunk/steps_left"), ("place", "fr3_hand_tcp"), ("path", "fr3_hand_tcp")}  # fmt: skip
        wait_until(lambda: wanted | {"chunk"} <= received, 20.0, lambda: f"{(wanted | {'chunk'}) - received}")
        viewer.close()
        viewer.close()
    found = read_back(tmp_path / "new" / "r.rrd")

    def numbers(entity):
        return [(at, values[0]) for at, values in found[entity]["scalars"]]

    for index, joint in enumerate(FR3.joint_names):
        assert numbers(f"/joint/{joint}/measured") == [(T0_NS + 5, FR3.home[index])]
        assert numbers(f"/joint/{joint}/commanded") == [(T0_NS + 3 * DT_NS, rows[3, index])]
        assert numbers(f"/joint/{joint}/chunk") == [(T0_NS + i * DT_NS, rows[i, index]) for i in range(H)]
    assert numbers("/chunk/inference_ms")[0][1] == 83.5 and numbers("/chunk/latency_ms")[0][1] == 121.25
    assert numbers("/chunk/steps_left")[0][1] in (0.0, H - 3)
    (at, strips), margin = found["/eef/fr3_hand_tcp/predicted"]["strips"][0], FR3.uac.commit_margin
    expected = np.array([hand(row) for row in rows[3:]])
    assert at == T0_NS + 3 * DT_NS
    np.testing.assert_allclose(strips[0], expected[margin:], atol=1e-6)
    (_, strips) = found["/eef/fr3_hand_tcp/committed"]["strips"][0]
    np.testing.assert_allclose(strips[0], expected[: margin + 1], atol=1e-6)
    np.testing.assert_allclose(found["/eef/fr3_hand_tcp/measured"]["positions"][0][1][0], hand(FR3.home), atol=1e-6)
    at, blob = found["/camera/scene_view"]["blob"][0]
    picture = np.asarray(PilImage.open(io.BytesIO(bytes(blob[0]))))
    assert at == T0_NS + 7 and picture.shape == (48, 64, 3)
    np.testing.assert_allclose(picture[20, 20], (200, 40, 90), atol=4)
    assert found["/controller/events"]["text"] == [(T0_NS + 11, ["stopped: estop: pressed"])]
    assert found["/controller/events"]["level"][0][1] == ["ERROR"]
    assert found["/diagnostics/events"]["text"] == [(T0_NS + 13, ["policy: inference: gate closed: x"])]
    assert found["/policy/events"]["text"] == [(T0_NS + 13, ["gate closed: video.a: stale"])]
    assert numbers("/policy/gate") == [(T0_NS + 13, 0.0)]


def test_the_command_records_a_real_controller_whose_contract_it_asks_for(tmp_path):
    pytest.importorskip("rerun", reason="rerun-sdk is optional: make viewer")
    path = tmp_path / "r.rrd"
    with ros_graph() as graph:
        states = graph.create_publisher(JointState, "/joint_states", 10)
        home = JointState(name=list(FR3.joint_names), position=list(FR3.home))

        def publish():
            home.header.stamp = graph.get_clock().now().to_msg()
            states.publish(home)

        graph.create_timer(0.02, publish)
        with NodeProcess(graph, "controller_node", {"contract": "fr3", "dry_run": True}, tmp_path / "log") as node:
            wait_until(lambda: "running" in node.output, what="the controller")
            command = [sys.executable, "-m", "beingh_ros.cli", "monitor", "--record", str(path)]
            process = subprocess.Popen(
                command, env=graph.environment, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
            )
            try:
                wait_until(lambda: path.exists() and path.stat().st_size > 400_000, 60.0, "some recording")
                process.send_signal(signal.SIGINT)
                output = process.communicate(timeout=20)[0]
            finally:
                if process.poll() is None:
                    process.kill()
            assert process.returncode == 0 and "Traceback" not in output, output
    found = read_back(path)
    sent = [values[0] for _, values in found["/joint/fr3_joint4/commanded"]["scalars"]]
    assert len(sent) > 10 and set(sent) == {FR3.home[3]}
    times = [at for at, _ in found["/joint/fr3_joint4/commanded"]["scalars"]]
    assert np.allclose(np.diff(times) / DT_NS, np.round(np.diff(times) / DT_NS), atol=1e-3)
    assert re.search("running", str(found["/controller/events"]["text"]))


def test_without_the_package_the_remedy_is_told(monkeypatch, tmp_path):
    monkeypatch.setitem(sys.modules, "rerun", None)
    with pytest.raises(BeingHError, match="rerun-sdk.*make viewer"):
        rerun_log.RerunLog(FR3, tmp_path / "r.rrd")


def test_a_file_that_cannot_be_written_is_told(tmp_path):
    pytest.importorskip("rerun", reason="rerun-sdk is optional: make viewer")
    (tmp_path / "file").touch()
    with pytest.raises(BeingHError, match="cannot be written"):
        rerun_log.RerunLog(FR3, tmp_path / "file" / "r.rrd")
