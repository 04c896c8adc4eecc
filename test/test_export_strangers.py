"""Bags that others wrote, without our recorder's topics: by the `rosbags` library and by `mcap-ros2-support`."""

import pytest

pytest.importorskip("rosbags")
pytest.importorskip("mcap_ros2")
import numpy as np
from bag_support import STORE
from fr3_bag import BUFFER, IN_CHARGE, JOINTS, KINDS, messages, write
from mcap_ros2.writer import Writer as McapRos2Writer
from rosbags.rosbag2 import StoragePlugin
from rosbags.rosbag2 import Writer as RosbagsWriter

from beingh_core.cli import main
from beingh_core.data.lerobot import Dataset

LEADER = "/leader/joint_states"
TOPICS = {**{topic: kind for topic, kind in KINDS.items() if topic not in (BUFFER, IN_CHARGE)}, LEADER: KINDS[JOINTS]}


def session():
    """A person moves a leader arm, which the robot follows."""
    found = [entry for entry in messages(1.5) if entry[1] in TOPICS]
    return sorted(found + [(t, LEADER, c) for t, topic, c in found if topic == JOINTS], key=lambda entry: entry[0])


def by_rosbags(path, plugin):
    with RosbagsWriter(path, version=9, storage_plugin=plugin) as writer:
        topics = {topic: writer.add_connection(topic, kind, typestore=STORE) for topic, kind in TOPICS.items()}
        for log_ns, topic, content in session():
            writer.write(topics[topic], log_ns, content)
    return path


def by_mcap_ros2(path):
    with open(path, "wb") as file:
        writer = McapRos2Writer(file)
        schemas = {
            kind: writer.register_msgdef(kind, STORE.generate_msgdef(kind, ros_version=2)[0])
            for kind in set(TOPICS.values())
        }
        for log_ns, topic, content in session():
            message = plain(STORE.deserialize_cdr(content, TOPICS[topic]))
            writer.write_message(topic, schemas[TOPICS[topic]], message, log_ns, log_ns)
        writer.finish()
    return path


def plain(value):
    """A message as that library takes it: nested dictionaries and lists."""
    if hasattr(value, "__dataclass_fields__"):
        names = [name for name in value.__dataclass_fields__ if not name.startswith("__")]
        return {name: plain(getattr(value, name)) for name in names}
    if isinstance(value, np.ndarray):
        return value.tobytes() if value.dtype == np.uint8 else value.tolist()
    return value


BAGS = {
    "rosbags_mcap": lambda folder: by_rosbags(folder / "bag", StoragePlugin.MCAP),
    "rosbags_sqlite": lambda folder: by_rosbags(folder / "bag", StoragePlugin.SQLITE3),
    "mcap_ros2_support": lambda folder: by_mcap_ros2(folder / "bag.mcap"),
}


@pytest.mark.parametrize("writer", BAGS)
def test_a_strangers_bag_gives_the_rows_of_our_own(writer, tmp_path, capsys):
    given = ["--contract", "fr3", "--encoder", "software", "--workers", "1", "--commands", LEADER]
    (tmp_path / "bags").mkdir()
    theirs = BAGS[writer](tmp_path / "bags")
    assert main(["export", str(theirs), *given, "--out", str(tmp_path / "refused")]) == 1
    assert "does not say its task" in capsys.readouterr().out
    assert main(["export", str(theirs), *given, "--out", str(tmp_path / "d"), "--task", "pick up the red cube"]) == 0
    ours = write(tmp_path / "ours", session(), kinds=TOPICS)
    assert main(["export", str(ours), *given, "--out", str(tmp_path / "o")]) == 0
    found, wanted = Dataset(tmp_path / "d"), Dataset(tmp_path / "o")
    [one], [other] = found.episodes, wanted.episodes
    assert one.frames == other.frames > 25 and found.tasks == wanted.tasks
    for key in ("observation.state", "action", "in_charge"):
        np.testing.assert_array_equal(found.values(one, key), wanted.values(other, key))
    for key in (camera.key for camera in found.spec.cameras):
        for seen, expected in zip(found.pictures(one, key), wanted.pictures(other, key)):
            np.testing.assert_array_equal(seen, expected)
