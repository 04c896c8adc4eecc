"""kill -9 at any moment: what was committed is intact; the resumed dataset is the uninterrupted one, byte by byte."""

import json
import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from lerobot_support import check_intact, contents, frames, spec
from lerobot_victim import EPISODES, lengths

from beingh_core.data.lerobot import Dataset, DatasetWriter, storage
from beingh_core.data.lerobot import writer as writer_module
from beingh_core.data.lerobot.check import Checker
from beingh_core.data.lerobot.episode import open_staged
from beingh_core.data.lerobot.publish import append_line
from beingh_core.data.lerobot.video import count as count_pictures
from beingh_core.errors import BeingHError

VICTIM = Path(__file__).with_name("lerobot_victim.py")


def start(root, version):
    path = f"{VICTIM.parent.parent}:{VICTIM.parent}"
    process = subprocess.Popen(
        [sys.executable, str(VICTIM), str(root), version], stdout=subprocess.PIPE, env={"PYTHONPATH": path}
    )
    assert process.stdout.readline() == b"ready\n"
    return process


def committed(root):
    """Number of committed episodes; each of them is looked at."""
    if not (root / "meta/info.json").exists():
        return 0
    dataset = Dataset(root)
    exported = dataset.spec.robot == "fr3"
    rows = [39, 24, 28, 59] if exported else lengths()
    if exported:
        checker = Checker(dataset)
        assert [checker.problems(episode) for episode in dataset.episodes] == [[]] * len(dataset.episodes)
    else:
        check_intact(dataset, rows[: len(dataset.episodes)])
    waiting = [f for f in sorted((root / ".beingh/episodes").glob("*")) if int(f.name) >= len(dataset.episodes)]
    for folder in waiting:
        staged = open_staged(folder)
        assert staged.record.frames == rows[int(folder.name)]
        for camera in dataset.spec.cameras:
            assert count_pictures(staged.video(camera.key)) == staged.record.frames
    return len(dataset.episodes) + len(waiting)


def survive(tmp_path, version, kills):
    began = time.monotonic()
    assert start(tmp_path / "whole", version).wait() == 0
    whole = contents(tmp_path / "whole")
    seconds, chance = time.monotonic() - began, random.Random(7)
    done, root, met, best = 0, tmp_path / "0", 0, 0
    while done < kills:
        process = start(root, version)
        time.sleep(chance.uniform(0.0, 0.5 * seconds))
        process.send_signal(signal.SIGKILL)
        met += process.wait() == -signal.SIGKILL
        done += 1
        found = committed(root)
        assert found >= best, "a committed episode is gone"
        best = found
        if process.returncode == 0:  # it was finished before: the next one is new
            assert contents(root) == whole
            root, best = tmp_path / str(done), 0
    assert start(root, version).wait() == 0
    assert committed(root) == (4 if version.startswith("export") else EPISODES) and contents(root) == whole
    assert met > kills // 3


@pytest.mark.slow
@pytest.mark.parametrize("version", ["v3.0", "v2.1", "export", "export2"])
def test_twenty_kills(tmp_path, version):
    survive(tmp_path, version, 20)


@pytest.mark.slow
def test_a_few_kills(tmp_path):
    survive(tmp_path, "v3.0", 4)


def children_of(pid):
    return {int(word) for word in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()}


def test_workers_end_with_the_process_that_was_killed(tmp_path):
    """Else they would wait for work for ever."""
    process, workers = start(tmp_path / "d", "export2"), set()
    end_s = time.monotonic() + 20.0
    while len(workers) < 3 and time.monotonic() < end_s:  # two, and multiprocessing's tracker of resources
        workers |= children_of(process.pid)
        time.sleep(0.05)
    process.kill()
    process.wait()
    assert len(workers) == 3
    while (left := [pid for pid in workers if _runs(pid)]) and time.monotonic() < end_s:
        time.sleep(0.05)
    assert left == []


def _runs(pid):
    try:
        return Path(f"/proc/{pid}/stat").read_text().rsplit(") ")[1][0] not in "ZX"
    except FileNotFoundError:
        return False


class Killed(BaseException):
    """Stands for the end of the process."""


@pytest.mark.parametrize("version", ["v3.0", "v2.1"])
@pytest.mark.parametrize("after", [False, True], ids=["before", "after"])
def test_an_end_at_each_step_of_a_commit(tmp_path, monkeypatch, version, after):
    """Every move of a file into its place is where the process ends once, before or after the move."""
    monkeypatch.setattr(writer_module, "VIDEO_MB", 0)  # a file for each episode: more than one publication
    of, steps = spec(version, cameras=1), [4, 3]
    put = storage.put

    def run(root, end_at=None):
        moves = 0

        def counted(source, target):
            nonlocal moves
            moves += 1
            if moves == end_at and not after:
                raise Killed
            put(source, target)
            if moves == end_at:
                raise Killed

        monkeypatch.setattr(storage, "put", counted)
        with DatasetWriter(root, of) as writer:
            for episode, count in enumerate(steps):
                if f"s{episode}" not in writer.sources:
                    writer.add(frames(of, episode, count), source=f"s{episode}")
        return moves

    total = run(tmp_path / "whole")
    whole = contents(tmp_path / "whole")
    assert total > 8
    for end_at in range(1, total + 1):
        root = tmp_path / f"end{end_at}"
        with pytest.raises(Killed):
            run(root, end_at)
        run(root)
        assert contents(root) == whole, f"ended at move {end_at}"


def test_a_full_disk_is_one_clear_error_and_loses_nothing(tmp_path, monkeypatch):
    of = spec(cameras=1)
    with DatasetWriter(tmp_path / "d", of) as writer:
        writer.add(frames(of, 0, 4), source="s0")
    before = contents(tmp_path / "d")

    def full(*_):
        raise OSError(28, "No space left on device")

    with DatasetWriter(tmp_path / "d", of) as writer:
        monkeypatch.setattr(storage, "sync_folder", full)
        with pytest.raises(BeingHError, match="disk is full"):
            writer.add(frames(of, 1, 3), source="s1")
        monkeypatch.undo()
        assert contents(tmp_path / "d") == before
        writer.add(frames(of, 1, 3), source="s1")
    check_intact(Dataset(tmp_path / "d"), [4, 3])


def test_lines_that_were_cut_off_or_come_again_are_replaced(tmp_path):
    path = tmp_path / "episodes.jsonl"
    long = "x" * 200_000
    for index in range(3):
        append_line(path, {"episode_index": index, "text": long})
    whole = path.read_bytes()
    for content in (whole + b'{"episode_index": 3, "te', whole + whole.splitlines(keepends=True)[2], whole[:-5]):
        path.write_bytes(content)
        append_line(path, {"episode_index": 2, "text": "new"})
        lines = [json.loads(line) for line in path.read_text().splitlines()]
        assert [line["episode_index"] for line in lines] == [0, 1, 2] and lines[2]["text"] == "new"


@pytest.mark.slow
@pytest.mark.parametrize("room", range(0, 24, 3))
def test_a_disk_that_is_really_full(tmp_path, room):
    """A file system of 1 MB in memory with `room` pages left after the first episode."""
    disk = tmp_path / "disk"
    disk.mkdir()
    if subprocess.run(["mount", "-t", "tmpfs", "-o", "size=1m", "tmpfs", str(disk)], capture_output=True).returncode:
        pytest.skip("this user may not mount a file system")
    try:
        of, root, counts = spec(), disk / "d", [7, 12, 5]
        with pytest.raises(BeingHError, match="disk is full"), DatasetWriter(root, of) as writer:
            for episode, count in enumerate(counts):
                writer.add(frames(of, episode, count), source=f"s{episode}")
                if episode == 0:
                    free = os.statvfs(disk).f_bavail * os.statvfs(disk).f_bsize
                    (disk / "fill").write_bytes(bytes(max(0, free - 4096 * room)))
        (disk / "fill").unlink()
        with DatasetWriter(root, of) as writer:
            assert writer.episodes >= 1
            for episode, count in enumerate(counts):
                if f"s{episode}" not in writer.sources:
                    writer.add(frames(of, episode, count), source=f"s{episode}")
        check_intact(Dataset(root), counts)
    finally:
        subprocess.run(["umount", "-l", str(disk)], check=True)
