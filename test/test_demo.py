"""The demo as a user runs it: real nodes on real DDS, an untrained checkpoint, a short episode."""

import json
import os
import signal
import subprocess
import sys
import time

import pytest

pytest.importorskip("rclpy")
from ros_support import ROOT
from untrained_checkpoint import write_untrained

from beingh_core.contract import load_contract
from beingh_core.data.bags import open_bag
from beingh_core.errors import BeingHError
from beingh_ros.demo import command
from beingh_ros.demo.choice import instruction_of
from beingh_ros.demo.command import Demo

pytestmark = pytest.mark.nodes


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory):
    return write_untrained(tmp_path_factory.mktemp("checkpoint"))


def start(*arguments):
    return subprocess.Popen(
        [sys.executable, "-m", "beingh_ros.demo", *map(str, arguments)],
        cwd=ROOT,
        text=True,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        env=os.environ | {"PYTHONUNBUFFERED": "1"},
    )


def end(process, timeout_s=120):
    try:
        out, err = process.communicate(timeout=timeout_s)
    finally:
        process.kill()
    return process.returncode, out, err


def wait_for(condition, timeout_s=60):
    deadline = time.monotonic() + timeout_s
    while not (found := condition()):
        assert time.monotonic() < deadline
        time.sleep(0.05)
    return found


def child(process, module):
    """Process id of the child that runs a node."""
    for pid in open(f"/proc/{process.pid}/task/{process.pid}/children").read().split():
        try:
            if f"beingh_ros.{module}" in open(f"/proc/{pid}/cmdline").read():
                return int(pid)
        except FileNotFoundError:
            continue
    return None


def test_two_short_episodes_end_in_a_report_with_every_promise_kept(checkpoint, tmp_path):
    code, out, err = end(
        start(
            "--episodes",
            2,
            "--seconds",
            3,
            "--seed",
            5,
            "--checkpoint",
            checkpoint,
            "--out",
            tmp_path,
            "--record",
            tmp_path / "bags",
        )
    )
    assert code == 0, out + err
    values = json.loads((tmp_path / "report.json").read_text())
    assert values["episodes"] == 2 and values["prefix_violations"] == 0
    assert values["chunks"] >= 4 and values["inference_ms"]["p50"] > 0 and values["checkpoint"] == str(checkpoint)
    assert values["control_period_ms"]["p50"] == pytest.approx(50, abs=5)
    assert values["consumed_delay_steps"]["p50"] >= 1 and values["seam_velocity_jump_rad_s"]["max"] > 0
    assert {text: row["episodes"] for text, row in values["instruction_counts"].items()} == {
        instruction_of(5): 1,
        instruction_of(6): 1,
    }
    page = (tmp_path / "report.html").read_text()
    ticks = int(page.split(" ticks were seen")[0].split("<p>")[-1])
    assert ticks >= 2 * 3 * 20 and page.count("data:image/png") == 4
    assert (tmp_path / "video.mp4").stat().st_size > 1000
    assert {path.name for path in (tmp_path / "logs").iterdir()} == {
        "sim.log", "controller.log", "policy.log", "record.log",
    }  # fmt: skip
    assert "episode 2: " in out and "report.html" in out
    for number, path in enumerate(sorted((tmp_path / "bags").iterdir())):
        with open_bag(path) as bag:
            assert bag.complete and bag.custom["beingh_task"] == instruction_of(5 + number)
            assert bag.custom["beingh_success"] == str(values["successes"] == 2).lower()
            told = [json.loads(bag.deserialise(m).data) for m in bag.messages(["/record/events"])]
            assert [event["event"] for event in told] == ["start", "end"] and bag.topics["/policy/chunk"].count >= 2
            who = {bag.deserialise(m).frame_id for m in bag.messages(["/record/in_charge"])}
            assert who == {"nobody", "policy"}
    assert number == 1


def test_a_node_that_dies_is_one_clear_error_and_the_others_end(checkpoint, tmp_path):
    process = start("--episodes", 1, "--checkpoint", checkpoint, "--out", tmp_path)
    try:
        policy, controller = (
            wait_for(lambda m=module: child(process, m)) for module in ("policy_node", "controller_node")
        )
        os.kill(policy, signal.SIGKILL)
    finally:
        code, _, err = end(process)
    assert code == 1 and "process 'policy' ended with status -9" in err and "Traceback" not in err
    assert (tmp_path / "logs" / "policy.log").exists()
    assert not os.path.exists(f"/proc/{controller}")


def test_ctrl_c_ends_everything_and_reports_what_was_finished(checkpoint, tmp_path):
    process = start("--episodes", 9, "--seconds", 1, "--checkpoint", checkpoint, "--out", tmp_path)
    try:
        nodes = [
            wait_for(lambda m=module: child(process, m)) for module in ("sim_node", "controller_node", "policy_node")
        ]
        while not process.stdout.readline().startswith("episode 1:"):
            assert process.poll() is None
        process.send_signal(signal.SIGINT)
    finally:
        code, _, err = end(process)
    assert code == 130 and err == ""
    assert not any(os.path.exists(f"/proc/{node}") for node in nodes)
    values = json.loads((tmp_path / "report.json").read_text())
    assert 1 <= values["episodes"] < 9 and values["prefix_violations"] == 0


def test_what_cannot_be_run_is_refused_before_anything_starts(tmp_path):
    code, out, err = end(start("--checkpoint", tmp_path / "nothing", "--out", tmp_path / "out"))
    assert (
        code == 1 and "there is no checkpoint" in err and "make checkpoint" in err and not (tmp_path / "out").exists()
    )
    code, out, err = end(start("--checkpoint", tmp_path, "--episodes", 0))
    assert code == 1 and "0 episodes" in err
    code, out, err = end(start("--all", "--record", tmp_path / "bags"))
    assert code == 1 and "--robot NAME" in err
    (tmp_path / "file").touch()
    code, out, err = end(start("--episodes", 1, "--out", tmp_path / "out", "--record", tmp_path / "file"))
    assert code == 1 and "--record" in err and not (tmp_path / "out").exists()
    with pytest.raises(BeingHError, match="no colour"):
        Demo(
            load_contract("fr3"),
            checkpoint=tmp_path,
            episodes=1,
            seed=0,
            instruction="dance",
            seconds=1.0,
            out=tmp_path,
            viewer="none",
        )


def test_seeds_in_a_row_name_every_colour():
    assert len({instruction_of(seed) for seed in range(3)}) == 3


def test_a_domain_in_which_somebody_was_killed_comes_last(tmp_path, monkeypatch):
    monkeypatch.setattr(command, "SHARED_MEMORY", tmp_path)
    first = command._free_domain()
    (tmp_path / f"fastrtps_port{7400 + 250 * first + 13}").touch()
    (tmp_path / "fastrtps_port0123456789abcdef_el").touch()
    assert command._free_domain() != first
    for domain in range(1, 101):
        (tmp_path / f"fastrtps_port{7411 + 250 * domain}").touch()
    assert command._free_domain() == first
