"""Damaged bags, made here: what is salvaged, what is refused, and what is said. docs/export.md shows `FAULTS` as a table."""

from __future__ import annotations

import functools
import os
import random
import re
import shutil
import struct
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("rosbags")
pytest.importorskip("mcap")
from bag_support import STORE
from fr3_bag import BUFFER, JOINTS, KINDS, LATE_NS, TYPES, WRIST, data, header, message, messages, write
from recording_support import BEGIN, CONTRACT, NS
from rosbags.rosbag2 import CompressionFormat, CompressionMode, StoragePlugin
from rosbags.rosbag2 import Writer as TheirWriter

from beingh_core.data.bag_files import open_bag
from beingh_core.data.doctor.examine import examine
from beingh_core.data.doctor.sources import find_sources
from beingh_core.data.export import Export, export
from beingh_core.data.export_command import table as summary
from beingh_core.data.lerobot import Dataset, VideoSettings

ROOT = Path(__file__).resolve().parent.parent
WHOLE = 39  # rows of two seconds at 20 Hz
recorded = functools.cache(messages)


@dataclass(frozen=True)
class Fault:
    """A kind of damage: how it is made, what becomes of it, and words of the reason."""

    make: object
    state: str
    words: str
    frames: tuple = ()
    least: int = 0


def session():
    return list(recorded(2.0))


def edited(change):
    """A bag of the messages that `change` leaves of (log time, topic, content)."""

    def make(path):
        found = []
        for entry in session():
            found += change(*entry)
        write(path, sorted(found, key=lambda entry: entry[0]))

    return make


def file_of(path):
    [file] = [file for file in path.iterdir() if file.suffix in (".mcap", ".db3", ".zstd")]
    return file


def cut(share, storage="mcap"):
    def make(path):
        write(path, session(), storage)
        os.truncate(file_of(path), round(file_of(path).stat().st_size * share))

    return make


def without_index(path):
    write(path, session())
    content = file_of(path).read_bytes()
    (begin,) = struct.unpack_from("<Q", content, len(content) - 28)
    file_of(path).write_bytes(content[:begin])


def without_metadata(path):
    write(path, session())
    (path / "metadata.yaml").unlink()


def flipped(path):
    write(path, session())
    content = bytearray(file_of(path).read_bytes())
    content[len(content) // 3] ^= 0xFF
    file_of(path).write_bytes(content)


def packed_and_cut(path):
    writer = TheirWriter(path, version=9, storage_plugin=StoragePlugin.SQLITE3)
    writer.set_compression(CompressionMode.FILE, CompressionFormat.ZSTD)
    with writer:
        topics = {name: writer.add_connection(name, kind, typestore=STORE) for name, kind in KINDS.items()}
        for log_ns, topic, content in session():
            writer.write(topics[topic], log_ns, content)
    os.truncate(file_of(path), file_of(path).stat().st_size // 2)


def shuffled(path):
    """Each run of 20 messages in any order: log times rise, stamps do not."""
    found, rng = session(), random.Random(1)
    for first in range(0, len(found) - 20, 20):
        part = found[first : first + 20]
        mixed = rng.sample(part, 20)
        found[first : first + 20] = [(log_ns, *rest) for (log_ns, *_), (_, *rest) in zip(part, mixed)]
    write(path, found)


def jump(by_ns):
    """A second session whose stamps are elsewhere, recorded behind the first one."""

    def make(path):
        second = [(log_ns - by_ns + 2 * NS, *rest) for log_ns, *rest in messages(2.0, BEGIN + by_ns)]
        write(path, session() + second)

    return make


def renamed(log_ns, topic, content):
    """Another robot's joint names."""
    if topic in (JOINTS, BUFFER):
        for name in CONTRACT.joint_names:
            content = content.replace(name.encode(), name.replace("fr3_", "abc_").encode())
    return [(log_ns, topic, content)]


def other_type(path):
    kinds = {**KINDS, WRIST: KINDS[JOINTS]}
    write(path, [(t, topic, data(JOINTS, t) if topic == WRIST else c) for t, topic, c in session()], kinds=kinds)


def not_a_number(log_ns, topic, content):
    if topic != JOINTS or not BEGIN + NS < log_ns < BEGIN + NS + 40_000_000:
        return [(log_ns, topic, content)]
    made = message(JOINTS, log_ns - LATE_NS)
    made.position[2] = np.nan
    return [(log_ns, topic, bytes(STORE.serialize_cdr(made, KINDS[JOINTS])))]


def without_stamp(log_ns, topic, content):
    if topic != WRIST:
        return [(log_ns, topic, content)]
    made = STORE.deserialize_cdr(content, KINDS[WRIST])
    empty = TYPES["std_msgs/msg/Header"](stamp=header(0).stamp, frame_id="")
    fields = {name: getattr(made, name) for name in made.__dataclass_fields__ if not name.startswith("__")}
    return [
        (log_ns, topic, bytes(STORE.serialize_cdr(TYPES[KINDS[WRIST]](**{**fields, "header": empty}), KINDS[WRIST])))
    ]


def one_stamp(log_ns, topic, content):
    """A driver that goes on with its last picture, stamp and all."""
    stands = BEGIN + NS
    return [(log_ns, topic, data(WRIST, stands, 30) if topic == WRIST and log_ns > stands + LATE_NS else content)]


def pipe(path):
    path.mkdir()
    os.mkfifo(path / "bag_0.mcap")


def empty_file(path):
    path.mkdir()
    (path / "bag_0.mcap").touch()


def no_bag(path):
    path.mkdir()
    (path / "bag_0.mcap").write_text("not a bag")


def two_robots(path):
    """A folder in which somebody put a file of another session beside the own one."""
    write(path, session())
    write(path.with_name("other"), messages(2.0, BEGIN + 60 * NS))
    shutil.move(file_of(path.with_name("other")), path / "bag_1.mcap")
    shutil.rmtree(path.with_name("other"))


gone = lambda topic, low=0.0, high=99.0: edited(
    lambda t, name, c: [] if name == topic and low <= (t - BEGIN) / NS < high else [(t, name, c)]
)
FAULTS = {
    "MCAP cut off at two thirds": Fault(cut(0.67), "salvaged", "cut off", least=20),
    "MCAP without its index": Fault(without_index, "salvaged", "it has no index", (WHOLE,)),
    "a byte of a chunk changed": Fault(flipped, "salvaged", "checksum", least=15),
    "no metadata.yaml": Fault(without_metadata, "salvaged", "the files were read without it", (WHOLE,)),
    "SQLite cut off at two thirds": Fault(cut(0.67, "sqlite3"), "salvaged", "cut off", least=10),
    "zstd file cut off": Fault(packed_and_cut, "salvaged", "cut off", least=5),
    "file of no bytes": Fault(empty_file, "refused", "is empty"),
    "file of something else": Fault(no_bag, "refused", "no MCAP"),
    "a pipe in place of a file": Fault(pipe, "refused", "holds no .mcap"),
    "a file that metadata.yaml does not name": Fault(two_robots, "salvaged", "is not named in metadata.yaml", (44, 39)),
    "a topic is missing": Fault(gone(WRIST), "refused", f"lacks {CONTRACT.cameras[1].topic}"),
    "no commands": Fault(gone(BUFFER), "refused", "states"),
    "another type under a topic's name": Fault(other_type, "refused", "is sensor_msgs/msg/JointState"),
    "another encoding": Fault(lambda path: write(path, messages(2.0, encoding="bgr8")), "refused", "rgb8"),
    "another robot's joints": Fault(edited(renamed), "refused", "no row could be made"),
    "a gap longer than max_age_s": Fault(gone(WRIST, 0.9, 1.3), "salvaged", "nothing for more than 0.25 s", least=25),
    "stamps out of order": Fault(shuffled, "exported", "", (WHOLE,)),
    "a clock that goes back 60 s": Fault(jump(-60 * NS), "salvaged", "its clock went back by", (39, 39)),
    "a clock that goes forward 60 s": Fault(jump(60 * NS), "salvaged", "nothing for more than", (44, 39)),
    "every message twice": Fault(edited(lambda *entry: [entry, entry]), "exported", "", (WHOLE,)),
    "stamps that are empty": Fault(edited(without_stamp), "salvaged", "log time taken", least=37),
    "a camera that repeats one picture and stamp": Fault(edited(one_stamp), "salvaged", "nothing for more than", least=20),
    "positions that are no numbers": Fault(edited(not_a_number), "salvaged", "no numbers", (WHOLE,)),
    "a message that is cut": Fault(
        edited(lambda t, name, c: [(t, name, c[:60] if name == JOINTS and t > BEGIN + NS else c)]),
        "refused", "it is no sensor_msgs",
    ),
}  # fmt: skip


@pytest.mark.parametrize("fault", FAULTS)
def test_fault(fault, tmp_path):
    wanted = FAULTS[fault]
    wanted.make(tmp_path / "damaged")
    settings = Export(
        contract="fr3", out=tmp_path / "d", task="pick", video=VideoSettings(encoder="software"), workers=1
    )
    [outcome] = export([tmp_path / "damaged"], settings, open_bag)
    told = summary([outcome])
    assert outcome.state == wanted.state and wanted.words in told, told
    assert (outcome.findings == []) == (wanted.state == "exported")
    dataset = Dataset(tmp_path / "d") if (tmp_path / "d" / "meta").exists() else None
    frames = [episode.frames for episode in dataset.episodes] if dataset else []
    assert sum(frames) >= wanted.least and (not wanted.frames or tuple(frames) == wanted.frames), (frames, told)
    assert bool(frames) == (wanted.state != "refused")
    for episode in dataset.episodes if frames else ():
        assert len(list(dataset.pictures(episode, "observation.images.wrist_view"))) == episode.frames


def test_export_and_doctor_name_the_same_seconds_of_the_bag(tmp_path):
    """Since its first message, also where rows begin later, and where stamps are of another clock than the recorder's."""
    late = lambda t, name, c: [(t + 1000 * NS, name, c)] if name == JOINTS or t > BEGIN + NS // 2 else []
    found = [entry for message in recorded(3.0) for entry in late(*message)]
    found = [entry for entry in found if entry[1] != WRIST or not 1.8 < (entry[0] - found[0][0]) / NS < 2.3]
    write(tmp_path / "bag", found)
    settings = Export(
        contract="fr3", out=tmp_path / "d", task="pick", video=VideoSettings(encoder="software"), workers=1
    )
    [outcome] = export([tmp_path / "bag"], settings, open_bag)
    [time_s] = re.findall(r"wrist_camera.*nothing for more than 0.25 s at ([0-9.]+) s of the bag", summary([outcome]))
    [facts] = examine(find_sources([tmp_path / "bag"]), CONTRACT, "", lambda name, share: None)
    [gap] = [f for f in facts.findings if f.kind == "gap" and f.topic == WRIST and f.end_s]
    assert 1.7 < gap.start_s <= float(time_s) <= gap.end_s < 2.4, (str(gap), time_s)


def table():
    """`FAULTS` in Markdown."""
    rows = [f"| {name} | {fault.state} | {fault.words or '-'} |" for name, fault in FAULTS.items()]
    return "\n".join(["| damage | result | what is said |", "|---|---|---|", *rows])


def test_the_documents_show_this_table():
    assert len(FAULTS) >= 15 and table() in (ROOT / "docs" / "export.md").read_text(), table()
