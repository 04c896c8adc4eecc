"""Bags against independent readers and writers (`rosbags`, `mcap`, `mcap-ros2-support`), whole, cut and damaged."""

import contextlib
import math
import os
import random
import shutil
import struct
import subprocess
import sys
import time
from pathlib import Path

import pytest

pytest.importorskip("rosbags")
pytest.importorskip("mcap")
import yaml
from bag_support import IMAGE, JOINTS, STORE, T0, bag_topic, image, joints, sequence, write
from mcap.exceptions import McapError
from mcap.records import Message
from mcap.stream_reader import StreamReader
from mcap.writer import CompressionType
from mcap.writer import Writer as TheirMcap
from rosbags.highlevel import AnyReader
from rosbags.rosbag2 import CompressionFormat, CompressionMode, StoragePlugin
from rosbags.rosbag2 import Writer as TheirWriter

from beingh_core.data.bags import BagWriter, open_bag
from beingh_core.data.bags.__main__ import main
from beingh_core.data.bags.finish import finish
from beingh_core.data.bags.message import header_data, header_of, text_data, text_of
from beingh_core.errors import BeingHError

ROOT = Path(__file__).resolve().parent.parent
WANTED = list(sequence(90))
LAYOUTS = [
    ("mcap", "jazzy", 9),
    ("mcap", "iron", 6),
    ("mcap", "humble", 5),
    ("sqlite3", "humble", 5),
    ("sqlite3", "jazzy", 9),
]


def ours(path, storage="mcap", distribution="jazzy", messages=WANTED, **options):
    writer = BagWriter(path, storage=storage, distribution=distribution)
    write(writer, messages, **options)
    assert writer.close() == ""
    return path


def content(bag):
    return [(message.topic, message.log_ns, message.data) for message in bag.messages()]


def only_file(path, suffix):
    [file] = Path(path).glob(f"*{suffix}")
    return file


@pytest.mark.parametrize(("storage", "distribution", "version"), LAYOUTS)
def test_other_readers_find_in_our_bags_what_was_written(tmp_path, storage, distribution, version):
    path = ours(tmp_path / "bag", storage, distribution, flush_every=25)
    assert {p.name for p in path.iterdir()} == {"metadata.yaml", f"bag_0.{'mcap' if storage == 'mcap' else 'db3'}"}
    text = (path / "metadata.yaml").read_text()
    told = yaml.safe_load(text)["rosbag2_bagfile_information"]
    assert told["version"] == version and told["message_count"] == len(WANTED) and "&" not in text
    profiles = told["topics_with_message_count"][0]["topic_metadata"]["offered_qos_profiles"]
    profiles = yaml.safe_load(profiles) if version < 9 else profiles  # a text until version 8
    assert profiles[0]["durability"] == ("transient_local" if version >= 9 else 1)
    with AnyReader([path], default_typestore=STORE) as reader:
        read = [(c.topic, log_ns, bytes(data)) for c, log_ns, data in reader.messages()]
        assert {c.topic: c.msgcount for c in reader.connections} == {"/joints": 90, "/image": 30}
        assert reader.connections[0].ext.offered_qos_profiles[0].reliability.name == "BEST_EFFORT"
        last = [reader.deserialize(data, c.msgtype) for c, _, data in reader.messages() if c.topic == "/joints"][-1]
    assert sorted(read) == sorted(WANTED) and last.position.tolist() == [89.0, 0.5]
    with open_bag(path) as bag:
        assert content(bag) == WANTED and bag.findings == [] and bag.complete
        assert (bag.start_ns, bag.end_ns) == (WANTED[0][1], WANTED[-1][1])


def test_the_libraries_of_mcap_read_our_file_and_its_checksums(tmp_path):
    file = only_file(ours(tmp_path / "bag", flush_every=10), ".mcap")
    with open(file, "rb") as stream:
        messages = [r for r in StreamReader(stream, validate_crcs=True).records if isinstance(r, Message)]
    assert [m.data for m in messages] == [data for _, _, data in WANTED]
    assert [m.sequence for m in messages] == list(range(1, len(WANTED) + 1))
    assert all(m.publish_time == m.log_time - 7 for m in messages)
    reader = pytest.importorskip("mcap_ros2.reader")
    read = list(reader.read_ros2_messages(str(file), topics=["/joints"]))
    assert [m.ros_msg.position[0] for m in read] == list(range(90))


@pytest.mark.parametrize("compression", [CompressionType.NONE, CompressionType.LZ4, None])
def test_we_read_what_the_mcap_library_writes_also_without_chunks(tmp_path, compression):
    file = tmp_path / "their.mcap"
    chunks = {"use_chunking": False} if compression is None else {"compression": compression}
    writer = TheirMcap(str(file), chunk_size=4000, **chunks)
    writer.start(profile="ros2", library="test")
    channels = {}
    for name, kind in (("/joints", JOINTS), ("/image", IMAGE)):
        text, _ = STORE.generate_msgdef(kind, ros_version=2)
        schema = writer.register_schema(kind, "ros2msg", text.encode())
        channels[name] = writer.register_channel(name, "cdr", schema)
    for name, log_ns, data in WANTED:
        writer.add_message(channels[name], log_ns, data, log_ns)
    writer.finish()
    with open_bag(file) as bag:
        assert content(bag) == WANTED and bag.complete
        assert bag.deserialise(list(bag.messages())[0]).name == ["a", "b"]
    with open(file, "r+b") as cut:
        cut.truncate(file.stat().st_size // 2)
    with open_bag(file) as bag:
        read = content(bag)
        assert read == WANTED[: len(read)] and 20 < len(read) < len(WANTED) and not bag.complete


@pytest.mark.parametrize(
    "mode", [CompressionMode.NONE, CompressionMode.MESSAGE, CompressionMode.FILE, CompressionMode.STORAGE]
)
@pytest.mark.parametrize("plugin", [StoragePlugin.MCAP, StoragePlugin.SQLITE3])
def test_we_read_what_the_rosbags_library_writes(tmp_path, plugin, mode):
    if (plugin, mode) == (StoragePlugin.SQLITE3, CompressionMode.STORAGE):
        pytest.skip("SQLite has no compression of its own")
    writer = TheirWriter(tmp_path / "bag", version=9, storage_plugin=plugin)
    writer.set_compression(mode, CompressionFormat.ZSTD)
    with writer:
        connections = {
            "/joints": writer.add_connection("/joints", JOINTS, typestore=STORE),
            "/image": writer.add_connection("/image", IMAGE, typestore=STORE),
        }
        for name, log_ns, data in WANTED:
            writer.write(connections[name], log_ns, data)
    with open_bag(tmp_path / "bag") as bag:
        assert content(bag) == WANTED and bag.findings == []
        assert {name: topic.count for name, topic in bag.topics.items()} == {"/joints": 90, "/image": 30}


def test_messages_can_be_had_by_topic_and_time_and_say_when_they_were_made(tmp_path):
    with open_bag(ours(tmp_path / "bag", flush_every=7)) as bag:
        part = list(bag.messages(["/image", "/none"], T0 + 100_000_000, T0 + 300_000_001))
        assert [m.log_ns for m in part] == [
            t for n, t, _ in WANTED if n == "/image" and T0 + 10**8 <= t < T0 + 3 * 10**8 + 1
        ]
        assert bag.stamp_ns(part[0]) == (100 + 12) * 10**9 + 12
        assert bag.deserialise(part[0]).width == 24


def test_messages_out_of_order_come_by_log_time(tmp_path):
    shuffled = random.Random(1).sample(WANTED, len(WANTED))
    for storage in ("mcap", "sqlite3"):
        with open_bag(ours(tmp_path / storage, storage, messages=shuffled, flush_every=9)) as bag:
            assert [m.log_ns for m in bag.messages()] == [log_ns for _, log_ns, _ in WANTED]
            assert sorted(content(bag)) == sorted(WANTED)


def test_an_mcap_cut_anywhere_gives_everything_before_the_cut(tmp_path):
    whole = only_file(ours(tmp_path / "bag", flush_every=10), ".mcap").read_bytes()
    cut, rng = tmp_path / "cut.mcap", random.Random(2)
    for size in [9, 300, len(whole) - 1, *(rng.randrange(3000, len(whole)) for _ in range(40))]:
        cut.write_bytes(whole[:size])
        least = 0
        # The library gives whole chunks, up to the one that is cut.
        with open(cut, "rb") as stream, contextlib.suppress(McapError, EOFError, struct.error):
            for record in StreamReader(stream).records:
                least += isinstance(record, Message)
        with open_bag(cut) as bag:
            read = content(bag)
            assert read == WANTED[: len(read)] and len(read) >= least and bag.message_count == len(read)
            # What ends behind the last message lacks only the index.
            assert not bag.complete or len(read) == len(WANTED)
            assert any("cut off" in text or "no index" in text for text in bag.findings)
    cut.write_bytes(whole[:5])
    with pytest.raises(BeingHError, match="no MCAP"):
        open_bag(cut)


def test_a_damaged_chunk_costs_only_itself(tmp_path):
    path = ours(tmp_path / "bag", flush_every=10)
    file = only_file(path, ".mcap")
    data = bytearray(file.read_bytes())
    data[data.index(WANTED[60][2]) + 20] ^= 0xFF
    file.write_bytes(data)
    with open_bag(path) as bag:
        read = content(bag)
        assert set(read) < set(WANTED) and len(WANTED) - 12 <= len(read) < len(WANTED)
        assert ("/joints" in bag.topics) and any("checksum" in text for text in bag.findings)


def test_what_is_said_beside_the_files_may_be_missing_or_wrong(tmp_path):
    path = ours(tmp_path / "bag")
    text = (path / "metadata.yaml").read_text()
    for wrong, told in (
        (None, "cannot be read"),
        ("", "lacks"),
        ("rosbag2_bagfile_information: {}", "not all that it should have"),
        ("a: [", "no YAML"),
        (text.replace("message_count: 90", "message_count: 91"), "says 91 messages, 90"),
        (text.replace("- bag_0.mcap", "- bag_1.mcap"), "bag_1.mcap is missing"),
    ):
        (path / "metadata.yaml").unlink(missing_ok=True)
        if wrong is not None:
            (path / "metadata.yaml").write_text(wrong)
        with open_bag(path) as bag:
            assert content(bag) == WANTED and any(told in finding for finding in bag.findings), told


def test_several_files_are_one_bag(tmp_path):
    path = ours(tmp_path / "bag", messages=WANTED[:50])
    other = only_file(ours(tmp_path / "other", messages=WANTED[50:]), ".mcap")
    shutil.copy(other, path / "bag_10.mcap")
    (path / "bag_2.db3").write_bytes(b"no database")
    with open_bag(path) as bag:
        assert content(bag) == WANTED and bag.topics["/joints"].count == 90
        assert any("bag_2.db3" in finding and "no rosbag2 database" in finding for finding in bag.findings)


def test_what_is_no_bag_is_refused_in_one_sentence(tmp_path):
    (tmp_path / "text.txt").write_text("hello")
    (tmp_path / "empty.mcap").write_bytes(b"")
    (tmp_path / "none").mkdir()
    for name, why in (
        ("absent", "no such bag"),
        ("text.txt", "is no bag"),
        ("empty.mcap", "is empty"),
        ("none", "holds no"),
    ):
        with pytest.raises(BeingHError, match=why):
            open_bag(tmp_path / name)
    with pytest.raises(BeingHError, match="of this name"):
        ours(ours(tmp_path / "bag"))
    assert main(["info", str(tmp_path / "absent")]) == 2


def test_a_message_that_is_none_and_a_type_that_nobody_knows_are_refused(tmp_path):
    writer = BagWriter(tmp_path / "bag")
    writer.write(writer.add_topic(bag_topic("/joints", JOINTS)), T0, joints(1)[:30])
    unknown = bag_topic("/odd", JOINTS)
    writer.write(writer.add_topic(type(unknown)(name="/odd", type="odd_msgs/msg/Odd")), T0, b"\0\1\0\0")
    writer.close()
    with open_bag(tmp_path / "bag") as bag:
        for message in bag.messages():
            with pytest.raises(BeingHError, match="is not known|it is no sensor_msgs"):
                bag.deserialise(message)


def test_bytes_behind_a_message_do_no_harm(tmp_path):
    """rclpy's `serialize_message`, with which people write bags, leaves some."""
    writer = BagWriter(tmp_path / "bag")
    writer.write(writer.add_topic(bag_topic("/joints", JOINTS)), T0, joints(3) + b"\1\2\3\4\5\6\7\10")
    writer.close()
    with open_bag(tmp_path / "bag") as bag:
        assert [bag.deserialise(message).position[0] for message in bag.messages()] == [3.0]


def test_headers_and_texts_are_read_and_made_as_the_library_does():
    for index in (0, 7, 12345):
        assert header_of(joints(index)) == ((100 + index) * 10**9 + index, "base")
    kind = STORE.types["std_msgs/msg/String"]
    for text in ("", "a", "grasp the mug ☕"):
        data = bytes(STORE.serialize_cdr(kind(text), "std_msgs/msg/String"))
        assert text_of(data) == text and STORE.deserialize_cdr(text_data(text), "std_msgs/msg/String").data == text
    made = STORE.deserialize_cdr(header_data(5_000_000_007, "policy"), "std_msgs/msg/Header")
    assert (made.stamp.sec, made.stamp.nanosec, made.frame_id) == (5, 7, "policy")
    assert header_of(b"") == (0, "") and text_of(b"") == ""


def child(path, storage, most_bytes=0):
    words = [sys.executable, str(ROOT / "test" / "bag_child.py"), str(path), storage, str(most_bytes)]
    env = {**os.environ, "PYTHONPATH": os.pathsep.join([str(ROOT), str(ROOT / "test")])}
    return subprocess.Popen(words, env=env, stdout=subprocess.PIPE, text=True)


SEEDS = [3, *(pytest.param(seed, marks=pytest.mark.slow) for seed in range(10, 30))]


@pytest.mark.parametrize("seed", SEEDS)
@pytest.mark.parametrize("storage", ["mcap", "sqlite3"])
def test_kill_9_loses_at_most_what_was_not_flushed(tmp_path, storage, seed):
    path, rng = tmp_path / "bag", random.Random(seed)
    process = child(path, storage)
    taken = 0
    for line in process.stdout:
        taken = int(line)
        if taken >= 200:
            time.sleep(rng.uniform(0, 0.2))
            process.kill()
            break
    taken = max([taken, *(int(line) for line in process.stdout if line.endswith("\n"))])
    process.wait()
    left = path.with_name("bag.recording")
    with pytest.raises(BeingHError, match="no unfinished bag"):
        finish(path)
    path.with_name("bag.finishing.recording").mkdir()  # of an attempt that was broken off
    assert main(["finish", str(left)]) == 0 and [p.name for p in tmp_path.iterdir()] == ["bag"]
    with open_bag(path) as bag:
        read, reasons = content(bag), bag.findings
    wanted = list(sequence(len(read)))[: len(read)]
    assert read == wanted and len(read) > taken - 60
    assert any("killed" in reason for reason in reasons)
    with AnyReader([path], default_typestore=STORE) as reader:
        assert [bytes(data) for _, _, data in reader.messages()] == [data for _, _, data in wanted]


def test_a_bag_that_is_being_written_is_not_finished_by_others_and_can_be_read(tmp_path):
    process = child(tmp_path / "bag", "mcap")
    try:
        while int(process.stdout.readline()) < 200:
            pass
        with pytest.raises(BeingHError, match="is being written"):
            finish(tmp_path / "bag.recording")
        with open_bag(tmp_path / "bag.recording") as bag:
            assert len(content(bag)) > 100 and not bag.complete
    finally:
        process.kill()
        process.wait()


@pytest.mark.parametrize("storage", ["mcap", "sqlite3"])
def test_a_full_disk_ends_the_bag_with_everything_before_it_and_says_so(tmp_path, storage):
    """The largest size of a file stands for the disk; the reserve makes no room here, so the index may be missing."""
    process = child(tmp_path / "bag", storage, 400_000)
    out, _ = process.communicate(timeout=30)
    assert "failed" in out and "reason the disk failed" in out and process.returncode == 0
    with open_bag(tmp_path / "bag") as bag:
        read = content(bag)
        assert read == list(sequence(len(read)))[: len(read)] and len(read) > 100 and not bag.complete
        assert any("the disk failed" in finding for finding in bag.findings)
        told = {name: topic.count for name, topic in bag.topics.items()}
    said = yaml.safe_load((tmp_path / "bag" / "metadata.yaml").read_text())["rosbag2_bagfile_information"]
    assert {t["topic_metadata"]["name"]: t["message_count"] for t in said["topics_with_message_count"]} == told


def test_on_a_small_disk_the_reserve_leaves_room_for_the_index(tmp_path):
    disk = tmp_path / "disk"
    disk.mkdir()
    if subprocess.run(["mount", "-t", "tmpfs", "-o", "size=1m", "tmpfs", disk], capture_output=True).returncode:
        pytest.skip("needs the right to mount")
    try:
        writer = BagWriter(disk / "bag", reserve_bytes=200_000)
        with pytest.raises(OSError, match="space"):
            write(writer, sequence(100_000), flush_every=20)
        reason = writer.close("the disk is full")
        assert reason == "the disk is full" and sum(writer.lost.values()) > 0
        with AnyReader([disk / "bag"], default_typestore=STORE) as reader:  # reads no file without an index
            count = sum(1 for _ in reader.messages())
        assert count == sum(writer.facts.counts.values()) > 150
        with pytest.raises(BeingHError, match="No space|no bag can be written"):
            BagWriter(disk / "more", reserve_bytes=2 << 20)
    finally:
        subprocess.run(["umount", disk], check=True)


def test_a_message_is_on_the_disk_soon_also_when_no_other_one_follows(tmp_path):
    writer = BagWriter(tmp_path / "bag")
    number = writer.add_topic(bag_topic("/image", IMAGE))
    writer.write(number, T0, image(1))
    time.sleep(0.3)
    writer.flush_when_due()
    with open_bag(tmp_path / "bag.recording") as bag:
        assert len(list(bag.messages(None, -math.inf, math.inf))) == 1
    writer.discard()
    assert list(tmp_path.iterdir()) == []
