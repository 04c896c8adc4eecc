"""A recorded stretch of the demo through the real nodes: what they see, what they want, and that nothing else hears them.

`data/replay/cubes.mcap` was recorded by `record` while the demo ran with the policy in `data/replay/fr3_cubes`; `observed.jsonl` is what its policy node inferred on
then (`observed_policy.py`).
"""

import json
import os
import pickle
import re
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pytest
from mcap.writer import Writer

from beingh_core.contract import load_contract
from beingh_core.contract.codec import SignalCodec
from beingh_core.data.bag_files import ContractBag
from beingh_core.data.bags import open_bag
from beingh_core.data.bags.message import header_data, header_of, text_data
from beingh_core.data.command_messages import command_topics
from beingh_core.data.resample import Resampler, Resampling, from_bag
from beingh_core.errors import BeingHError
from beingh_core.evaluate.openloop import HAND
from beingh_core.openloop.recording import recordings_of
from beingh_ros.replay.command import main
from beingh_ros.replay.nodes import CountedNode

ROOT = Path(__file__).resolve().parent.parent
BAG = ROOT / "test/data/replay/cubes.mcap"
CHECKPOINT, TASK = str(ROOT / "test/data/replay/fr3_cubes"), "pick up the green cube"
CONTRACT = load_contract("fr3")


def run_child(out, bag, *more, task=("--task", TASK)):
    """Exit status and output of a replay in a process of its own, as if a robot's domain were set."""
    env = {
        **os.environ,
        "PYTHONPATH": os.pathsep.join([str(ROOT), str(ROOT / "test")]),
        "ROS_STATIC_PEERS": "192.0.2.1",
    }
    words = [sys.executable, str(ROOT / "test/replay_child.py"), str(bag), CHECKPOINT, str(out), *task, *more]
    return subprocess.run(words, env=env, capture_output=True, text=True, timeout=150)


@pytest.fixture(scope="module")
def replayed(tmp_path_factory):
    """(report.json, what was seen)."""
    out = tmp_path_factory.mktemp("replay")
    done = run_child(out, BAG, *(["--rrd", str(out / "replay.rrd")] if find_spec("rerun") else []))
    assert done.returncode == 0, done.stdout + done.stderr
    return (
        json.loads((out / "report.json").read_text()),
        pickle.loads((out / "seen.pkl").read_bytes()),
        out,
        done.stdout,
    )


def test_the_replayed_nodes_see_what_the_live_ones_saw(replayed):
    """Sample for sample: pictures bit for bit, joints to the last digit."""
    seen = replayed[1]["seen"]
    [recording], _ = recordings_of(BAG, CONTRACT, task=TASK)
    live = [json.loads(line) for line in (BAG.parent / "observed.jsonl").read_text().splitlines()]
    compared = [one for one in live if recording.begin_ns < one["stamp_ns"] < recording.end_ns]
    assert len(compared) >= 8
    assert [seen.get(one["stamp_ns"]) for one in compared] == compared


def test_a_dataset_of_the_bag_holds_what_the_replayed_nodes_see(replayed):
    rows, codec, compared = replayed[1]["rows"], SignalCodec(CONTRACT), 0
    with open_bag(BAG) as bag:
        named = ContractBag(bag, CONTRACT)
        commands = command_topics(CONTRACT, named.topics, None)
        topics = (
            {camera.topic for camera in CONTRACT.cameras} | {signal.topic for signal in CONTRACT.state} | set(commands)
        )
        resampler = Resampler(CONTRACT, from_bag(named, topics), commands, TASK, Resampling())
        for piece in resampler.pieces():
            for frame in piece:
                at = next((samples for tick, samples in rows.items() if abs(tick - frame.stamp_ns) < 10), None)
                if at is None:
                    continue
                compared += 1
                joints = {}
                for signal in CONTRACT.state:
                    joints.update(zip(signal.values, at[f"state.{signal.slot}"].tolist()))
                state = codec.encode_state(joints)
                assert np.array_equal(np.concatenate(list(state.values())), frame.vectors["observation.state"])
                for camera in CONTRACT.cameras:
                    assert np.array_equal(at[f"video.{camera.name}"], frame.images[f"observation.images.{camera.name}"])
    assert compared >= 40


def test_the_policy_that_was_recorded_is_near_and_those_that_see_nothing_are_not(replayed):
    report, _, out, told = replayed
    errors = report["errors"]["policy"]["quantities"][f"{HAND}:fr3_hand_tcp"]["errors"]
    executed = {source: by_step["1..s"]["mean"] for source, by_step in errors.items()}
    assert executed["fr3_cubes"] < 3.0 and errors["fr3_cubes"]["1"]["mean"] < 1.0  # [mm]
    assert all(executed[name] > 3 * executed["fr3_cubes"] for name in ("hold", "last velocity", "mean")), executed
    assert report["skill"]["fr3_cubes"]["against_best_trivial"] > 0.6
    nodes = report["nodes"]["fr3_cubes"]
    assert nodes["chunks"] >= 8 and nodes["late_chunks"] == nodes["useless_chunks"] == nodes["refused_chunks"] == 0
    assert nodes["stops"] == [] and nodes["observation_age_ms"]["max"] < 100.0
    assert 0.0 < report["gate"]["fr3_cubes"]["p50"] < 1.0
    assert report["gripper"]["gripper_position"]["fr3_cubes"]["missed"] == 0
    page = (out / "report.html").read_text()
    assert page.count("<img") >= 6 and "fr3_hand_tcp" in page and "last velocity" in told


def test_the_recording_for_rerun_holds_commands_chunks_and_pictures(replayed):
    chunk = pytest.importorskip("rerun.chunk")
    entities = {part.entity_path for part in chunk.RrdReader(replayed[2] / "replay.rrd").stream()}
    wanted = {"joint/fr3_joint1/commanded", "joint/fr3_joint1/chunk", "eef/fr3_hand_tcp/predicted", "camera/scene_view"}
    assert {"/" + name for name in wanted} <= entities


def test_nothing_in_the_graph_of_a_replay_can_be_heard_by_a_robot(replayed):
    topics = replayed[1]["topics"]
    commanded = {"/" + group.topic for group in CONTRACT.command_groups}
    assert "/controller/buffer" in topics and not commanded & set(topics)


@pytest.mark.parametrize("topic", [*(group.topic for group in CONTRACT.command_groups), "/cmd_vel", "joint_states"])
def test_a_node_of_a_replay_refuses_to_publish_commands(topic):
    with pytest.raises(RuntimeError, match="must not publish"):
        CountedNode.create_publisher(object.__new__(CountedNode), None, topic, 10)


def test_a_domain_in_which_somebody_is_is_refused(ros_domain, tmp_path):
    import rclpy

    rclpy.init()
    node = rclpy.create_node("robot_driver")
    try:
        done = run_child(tmp_path, BAG, "--domain", str(ros_domain))
    finally:
        node.destroy_node()
        rclpy.shutdown()
    assert done.returncode == 2 and "robot_driver" in done.stderr and "Traceback" not in done.stderr
    assert not (tmp_path / "report.json").exists()


def variant(path, without=(), seconds=99.0, change=lambda topic, at_s, data: data, said=""):
    """The bag without some topics, cut short, with other messages (None for none), or with an instruction in it."""
    with open_bag(BAG) as bag, path.open("wb") as file:
        writer, channels = Writer(file), {}
        writer.start(profile="ros2")
        for message in bag.messages(None, bag.start_ns, bag.start_ns + int(seconds * 1e9)):
            if message.topic in without:
                continue
            if message.topic not in channels:
                topic = bag.topics[message.topic]
                schema = writer.register_schema(topic.type, "ros2msg", topic.definition.encode())
                channels[message.topic] = writer.register_channel(message.topic, "cdr", schema)
            data = change(message.topic, (message.log_ns - bag.start_ns) / 1e9, message.data)
            if data is not None:
                writer.add_message(channels[message.topic], message.log_ns, data, message.publish_ns)
        if said:
            schema = writer.register_schema("std_msgs/msg/String", "ros2msg", b"string data")
            channel = writer.register_channel("/policy/instruction", "cdr", schema)
            writer.add_message(channel, bag.start_ns, text_data(said), bag.start_ns)
        writer.finish()
    return str(path)


CAMERAS = tuple(f"/{camera.topic}" for camera in CONTRACT.cameras)


@pytest.mark.parametrize(
    "without, seconds, more, told",
    [
        (CAMERAS, 99, [], "no cameras"),
        (CAMERAS[:1], 99, [], CAMERAS[0]),
        (("/joint_states",), 99, [], "/joint_states"),
        (("/controller/buffer",), 99, [], "no commands"),
        ((), 1.2, [], "at least 1.6 s"),
        ((), 0.0, [], "empty|no cameras|no message"),
        ((), 99, ["--contract", "ur5e"], "robot fr3"),
        ((), 99, ["--checkpoint", str(ROOT / "test/data/set_a")], "fr3_cubes"),
        (("/record/events",), 99, ["--task", ""], "--task"),
        ((), 99, ["--namespace", "left"], "--namespace"),
        ((), 99, ["--commands", "/joint_stat"], "joint_states"),
        ((), 99, ["--freeze", "wrist_view=4"], "VIEW=FROM-TO"),
        ((), 99, ["--disturb", "nose"], "scene_view"),
        ((), 99, ["--latency", "nan"], "0 to 10000"),
    ],
)
def test_what_cannot_be_replayed_is_refused_in_one_line(tmp_path, capsys, without, seconds, more, told):
    bag = variant(tmp_path / "bag.mcap", without, seconds)
    status = main(["--bag", bag, "--checkpoint", CHECKPOINT, "--task", TASK, "--out", str(tmp_path / "out"), *more])
    error = capsys.readouterr().err
    assert status == 2 and re.search(told, error) and "Traceback" not in error, error
    assert not (tmp_path / "out").exists()


def test_what_was_commanded_at_any_time(tmp_path):
    [recording], notes = recordings_of(BAG, CONTRACT, task=TASK)
    assert notes == []
    stamps = np.array([recording.tick_ns(tick) for tick in range(recording.tick_at_or_after(recording.begin_ns), 40)])
    rows = recording.commanded(stamps)
    assert np.isfinite(rows).all() and recording.in_charge(stamps).tolist() == ["nobody"] * 4 + ["policy"] * 36
    between = recording.commanded(stamps[:-1] + 25_000_000)
    assert between == pytest.approx((rows[:-1] + rows[1:]) / 2, abs=1e-9)
    outside = np.array([recording.begin_ns - 5_000_000_000, recording.end_ns + 1_000_000_000])
    assert np.isnan(recording.commanded(outside)).all() and set(recording.in_charge(outside)) == {""}
    quiet = variant(tmp_path / "bag.mcap", ("/record/in_charge", "/controller/buffer"))
    [measured], notes = recordings_of(Path(quiet), CONTRACT, task=TASK, commands="states")
    assert "who was in charge" in " ".join(notes) and "measured positions" in " ".join(notes)
    inside = stamps[(stamps > measured.begin_ns) & (stamps < measured.end_ns)]
    assert measured.commanded(inside) == pytest.approx(recording.commanded(inside), abs=0.2)


def test_another_epoch_is_another_recording(tmp_path):
    """Behind a stop the commands begin elsewhere: no chunk from before it is compared with them."""

    def renamed(topic, at_s, data):
        if topic != "/controller/buffer" or at_s < 2.4:
            return data
        epoch = header_of(data)[1].encode()
        return data.replace(epoch, b"9" * epoch.index(b"@") + epoch[epoch.index(b"@") :])

    path = Path(variant(tmp_path / "bag.mcap", change=renamed))
    found, notes = recordings_of(path, CONTRACT, task=TASK)
    [whole], _ = recordings_of(BAG, CONTRACT, task=TASK)
    assert len(found) == 1 and "was left out: too short" in " ".join(notes)
    assert found[0].begin_ns == whole.begin_ns and found[0].end_ns < whole.end_ns - 500_000_000
    behind = np.array([found[0].end_ns + 100_000_000])
    assert np.isfinite(whole.commanded(behind)).all() and np.isnan(found[0].commanded(behind)).all()


def test_a_bag_of_short_epochs_is_refused_with_the_longest_ones_name_and_length(tmp_path):
    def renamed(topic, at_s, data):
        if topic != "/controller/buffer":
            return data
        epoch, number = header_of(data)[1].encode(), int((at_s + 0.4) / 1.2)
        return data.replace(epoch, str(number + 1).encode() * epoch.index(b"@") + epoch[epoch.index(b"@") :])

    path = Path(variant(tmp_path / "bag.mcap", change=renamed))
    [whole], _ = recordings_of(BAG, CONTRACT, task=TASK)
    with pytest.raises(BeingHError, match="longest epoch") as caught:
        recordings_of(path, CONTRACT, task=TASK)
    name, length = re.search(r"\(`([0-9]+)@[0-9]+`\) lasts ([0-9.]+) s", str(caught.value)).groups()
    assert 1.0 < float(length) < 1.3 < whole.seconds and set(name) < set("23456789")


def test_a_bag_tells_its_instruction_and_who_was_in_charge(tmp_path):
    def taken_over(topic, at_s, data):
        return header_data(header_of(data)[0], "person") if topic == "/record/in_charge" and at_s > 2.0 else data

    path = Path(variant(tmp_path / "bag.mcap", ("/record/events",), change=taken_over, said="pick up the blue cube"))
    [recording], notes = recordings_of(path, CONTRACT)
    assert recording.task == "pick up the blue cube" and "the last policy/instruction" in " ".join(notes)
    assert [m.topic for m in recording.messages()].count("policy/instruction") == 1
    [other], _ = recordings_of(path, CONTRACT, task=TASK)
    assert other.task == TASK and "policy/instruction" not in [m.topic for m in other.messages()]
    stamps = np.array([recording.begin_ns + 500_000_000, recording.end_ns - 200_000_000])
    assert recording.in_charge(stamps).tolist() == ["policy", "person"]


def test_without_metadata_the_recorders_events_tell_the_task():
    [recording], notes = recordings_of(BAG, CONTRACT)
    assert recording.task == "pick up the green cube" and "the recorder's events" in " ".join(notes)


def test_a_bag_with_its_own_instruction_is_replayed(tmp_path):
    bag = variant(tmp_path / "bag.mcap", seconds=3.0, said="pick up the blue cube")
    done = run_child(tmp_path / "out", bag, task=())
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "out/report.json").exists()


@pytest.mark.slow
def test_joint_states_that_fail_in_the_middle(tmp_path):
    """The controller stops, as it would live, begins again, and nothing is compared until it is where the recording is."""
    lost = lambda topic, at_s, data: None if topic == "/joint_states" and 1.6 < at_s < 2.2 else data
    done = run_child(tmp_path / "out", variant(tmp_path / "bag.mcap", change=lost))
    assert done.returncode == 0, done.stderr
    report = json.loads((tmp_path / "out/report.json").read_text())
    assert "no fresh joint states" in report["nodes"]["fr3_cubes"]["stops"][0]
    assert any("not compared" in note for note in report["notes"])
    assert any("joint_states" in reason for reason in report["nodes"]["fr3_cubes"]["gate_closed_ticks"])
    errors = report["errors"]["all"]["quantities"]["hand:fr3_hand_tcp"]["errors"]
    assert errors["fr3_cubes"]["1..s"]["mean"] < 6.0 < errors["last velocity"]["1..s"]["mean"]


@pytest.mark.slow
def test_a_slow_computer_and_bad_cameras(tmp_path):
    """Chunks that take longer than their prefix are late; darkness and a stuck camera cost accuracy."""
    more = [
        "--latency",
        "400",
        "--brightness",
        "0.4",
        "--noise",
        "20",
        "--occlusion",
        "0.2",
        "--freeze",
        "wrist_view=0-9",
    ]
    done = run_child(tmp_path / "out", BAG, *more)
    assert done.returncode == 0, done.stderr
    report = json.loads((tmp_path / "out/report.json").read_text())
    nodes = report["nodes"]["fr3_cubes"]
    assert nodes["late_chunks"] >= 3 and nodes["observation_age_ms"]["p50"] > 400.0
    assert report["errors"]["all"]["quantities"]["hand:fr3_hand_tcp"]["errors"]["fr3_cubes"]["1..s"]["mean"] > 5.0
    assert "wrist_view frozen" in report["settings"]["disturbance"]
