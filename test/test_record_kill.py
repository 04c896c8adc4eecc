"""The recorder is killed: what it has finished, and what it has written until then, is there."""

import contextlib
import random
import signal
import subprocess
import sys
import threading
import time

import pytest
from ros_support import ROOT, ros_graph, wait_until
from rosbags.highlevel import AnyReader
from test_record import Robot, ended, recorder, trigger

from beingh_core.data.bags import open_bag
from beingh_core.errors import BeingHError


def test_after_kill_9_what_was_written_is_there_and_the_next_recorder_says_so(tmp_path):
    with ros_graph() as graph:
        robot = Robot(graph)
        with recorder(graph, tmp_path) as process:
            robot.ready()
            trigger(graph, "start")
            robot.step(100)
            time.sleep(0.6)  # a chunk waits 0.25 s at most
            robot.step(3)
            process.end(signal.SIGKILL)
        [left] = (tmp_path / "episodes").iterdir()
        with open_bag(left) as bag:
            for name, sent in robot.sent.items():
                read = [message.data for message in bag.messages([name])]
                assert read == sent[: len(read)] and len(read) >= len(sent) - 3, name
            assert not bag.complete and any("cut off" in finding for finding in bag.findings)
        with recorder(graph, tmp_path) as process:
            wait_until(lambda: "was not finished" in process.output)
        subprocess.run([sys.executable, "-m", "beingh_core.data.bags", "finish", str(left)], check=True, cwd=ROOT)
        with AnyReader(ended(tmp_path)) as reader:
            assert {c.topic: c.msgcount for c in reader.connections}["/joint_states"] >= 100


@pytest.mark.slow
def test_twenty_kills_at_random_times(tmp_path):
    """Each recorder finishes one episode and is killed in the next: all that was finished, and what was written, is there."""
    chance, finished, out, found = random.Random(4), {}, tmp_path / "episodes", 0
    for number in range(20):
        with ros_graph() as graph, recorder(graph, tmp_path, preroll_s=0.0) as process:
            robot = Robot(graph)
            robot.ready()
            trigger(graph, "start")
            robot.step(20)
            trigger(graph, "stop")
            [path] = set(ended(tmp_path, number + 1)) - set(finished)
            finished[path] = {file.name: file.read_bytes() for file in path.iterdir()}
            trigger(graph, "start")
            before = {name: len(sent) for name, sent in robot.sent.items()}
            threading.Timer(chance.uniform(0.0, 1.2), process.process.kill).start()
            robot.step(140)
            assert process.wait() == -signal.SIGKILL
        [left] = out.glob("*.recording")
        with contextlib.suppress(BeingHError), open_bag(left) as bag:  # killed before anything was written
            for name, sent in robot.sent.items():
                read = [message.data for message in bag.messages([name])] if name in bag.topics else []
                assert read == sent[before[name] : before[name] + len(read)] or name == "/policy/instruction", name
                found += len(read)
            assert not bag.complete
        left.rename(tmp_path / f"{number}.recording")
        assert all({f.name: f.read_bytes() for f in path.iterdir()} == held for path, held in finished.items())
    assert found > 200  # of about 70 messages that each has sent before its end
