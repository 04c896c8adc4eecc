"""Where datasets and bags can be written: full disks, pipes, links, folders that are not ours; and who is killed there."""

import os
import subprocess
from contextlib import contextmanager

import pytest

pytest.importorskip("rosbags")
pytest.importorskip("mcap")
from bag_support import IMAGE, T0, bag_topic, image
from fr3_bag import messages, write
from lerobot_support import contents

from beingh_core.cli import export_dataset as main
from beingh_core.data.bag_files import open_bag
from beingh_core.data.bags import BagWriter
from beingh_core.data.export import Export, export
from beingh_core.data.lerobot import VideoSettings
from beingh_core.errors import BeingHError


@contextmanager
def small_disk(folder, options):
    """A file system in memory."""
    folder.mkdir()
    if subprocess.run(["mount", "-t", "tmpfs", "-o", options, "tmpfs", folder], capture_output=True).returncode:
        pytest.skip("this user may not mount a file system")
    try:
        yield folder
    finally:
        subprocess.run(["umount", "-l", folder], check=True)


def settings(out):
    return Export(contract="fr3", out=out, video=VideoSettings(encoder="software"), workers=1)


@pytest.mark.parametrize("room", [2, *(pytest.param(pages, marks=pytest.mark.slow) for pages in range(5, 60, 5))])
def test_a_disk_that_gets_full_in_the_middle_of_an_export(tmp_path, room):
    """One error; what is committed stays; when there is room again, the files become those of an export without it."""
    bags = [write(tmp_path / f"b{number}", messages(1.0 + 0.5 * number)) for number in range(2)]
    export(bags, settings(tmp_path / "whole"), open_bag)
    with small_disk(tmp_path / "disk", "size=4m") as disk:
        export(bags[:1], settings(disk / "d"), open_bag)
        export(bags[:1], settings(tmp_path / "d"), open_bag)
        before, free = contents(disk / "d"), os.statvfs(disk).f_bavail * 4096
        (disk / "fill").write_bytes(bytes(free - 4096 * room))
        with pytest.raises(BeingHError, match="disk is full.*run the same command again"):
            export(bags, settings(disk / "d"), open_bag)
        data = lambda files: {name: content for name, content in files.items() if name.endswith(".parquet")}
        assert data(before).items() <= data(contents(disk / "d")).items()
        (disk / "fill").unlink()
        export(bags, settings(disk / "d"), open_bag)
        export(bags, settings(tmp_path / "d"), open_bag)
        assert contents(disk / "d") == contents(tmp_path / "d")


def test_a_disk_that_gets_full_in_the_middle_of_an_episode(tmp_path):
    """The recorder's episode ends with the reason; what was on the disk before is in the bag."""
    pytest.importorskip("rclpy")
    from beingh_ros.record.buffers import Item
    from beingh_ros.record.episode import Episode

    with small_disk(tmp_path / "disk", "size=16m") as disk:
        topic = bag_topic("/image", IMAGE)
        events = bag_topic("/record/events", "std_msgs/msg/String")
        episode = Episode(BagWriter(disk / "bag", reserve_bytes=200_000), events, 1 << 20)
        given = 0
        while not episode.failure and given < 10_000:
            given += episode.put(Item(topic, T0 + given * 10**7, T0, given, image(given, 100)))
        assert "No space" in episode.failure
        episode.close({"event": "end", "stamp_ns": T0, "reason": "", "topics": {}}, {"beingh_success": ""})
        assert episode.wait(20.0) and "No space" in episode.outcome
        with open_bag(disk / "bag") as bag:
            read = [message.data for message in bag.messages(["/image"])]
            assert len(read) > 200 and read == [image(number, 100) for number in range(len(read))]
            [end] = bag.messages(["/record/events"])
            assert not bag.complete and b'"unwritten": ' in end.data and b"No space" in end.data


def test_places_that_are_no_folder_are_refused(tmp_path, capsys):
    bag = write(tmp_path / "bag", messages(1.0))
    (tmp_path / "file").write_text("x")
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "nowhere").symlink_to(tmp_path / "absent")
    (tmp_path / "link").symlink_to(tmp_path / "file")
    for name in ("file", "pipe", "nowhere", "link", "file/inside"):
        assert main([str(bag), "--contract", "fr3", "--out", str(tmp_path / name)]) == 2, name
        error = capsys.readouterr().err
        assert "folder" in error and "Traceback" not in error, error
    assert (tmp_path / "file").read_text() == "x" and (tmp_path / "nowhere").is_symlink()
    os.mkfifo(tmp_path / "pipe.mcap")
    with pytest.raises(BeingHError, match="neither a file nor a folder"):
        open_bag(tmp_path / "pipe.mcap")
    (tmp_path / "to_the_bag").symlink_to(bag)
    assert [o.state for o in export([tmp_path / "to_the_bag"], settings(tmp_path / "d"), open_bag)] == ["exported"]


def test_a_disk_that_cannot_be_written_is_one_error(tmp_path):
    bag = write(tmp_path / "bag", messages(1.0))
    with small_disk(tmp_path / "disk", "ro,size=1m") as disk:
        with pytest.raises(BeingHError, match="may not write here"):
            export([bag], settings(disk / "d"), open_bag)
        with pytest.raises(BeingHError, match="no bag can be written|Read-only"):
            BagWriter(disk / "bag")
