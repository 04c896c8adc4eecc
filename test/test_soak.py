"""The fault harness: its effects one by one, and a short run of real nodes under real faults."""

import json
import os
import random
import subprocess
import sys
import threading
import time
from pathlib import Path

import numpy as np
import pytest
from trajectories import trajectory_message

pytest.importorskip("rclpy")
from rclpy.serialization import deserialize_message, serialize_message
from ros_support import ROOT, Recorder, ros_graph, wait_matched, wait_until
from sensor_msgs.msg import JointState
from trajectory_msgs.msg import JointTrajectory

from beingh_core.contract import load_contract
from beingh_core.errors import BeingHError
from beingh_ros.bringup import ProcessSpec
from beingh_ros.cli import main
from beingh_ros.messages.conversions import read_trajectory
from beingh_ros.soak import disturbance as d
from beingh_ros.soak.fault import HOLDS, RUNS, STOPS
from beingh_ros.soak.faults import catalogue, schedule
from beingh_ros.soak.injector import Injector, routes
from beingh_ros.soak.misspelled import starts_anyway
from beingh_ros.soak.other_rate import at_rate
from beingh_ros.soak.other_units import in_other_units
from beingh_ros.soak.seam import seam_figures
from beingh_ros.soak.stepped_clock import ClockFile
from beingh_ros.soak.tampering import CHUNK_CHANGES, beside_efforts, gripper_steps, one_by_one

pytestmark = pytest.mark.nodes

CONTRACT = load_contract("fr3")


def test_effects_on_a_count():
    rng = random.Random(0)
    assert d.apply_all([], 1) == [(0.0, 1)]
    assert [m for i in range(100) for _, m in d.dropped(1.0, rng)(i)] == []
    kept = [m for i in range(1000) for _, m in d.dropped(0.3, rng)(i)]
    assert 600 < len(kept) < 800
    assert d.duplicated(3, 0.1)("m") == [(0.0, "m"), (0.1, "m"), (0.2, "m")]
    assert all(0.1 <= delay <= 0.2 for i in range(50) for delay, _ in d.delayed(0.1, 0.2, rng)(i))
    freeze = d.frozen()
    assert [m for i in range(3) for _, m in freeze(i)] == [0, 0, 0]
    both = d.apply_all([d.duplicated(2, 0.1), d.duplicated(2, 1.0)], "m")
    assert sorted(delay for delay, _ in both) == pytest.approx([0.0, 0.1, 1.0, 1.1])


def test_reordering_lets_every_second_message_overtake():
    effect = d.reordered(1.5)
    arrivals = sorted((i + delay, i) for i in range(6) for delay, _ in effect(i))
    assert [i for _, i in arrivals] == [1, 0, 3, 2, 5, 4]


def test_a_delay_in_order_lets_none_overtake():
    times = [0.0, 0.001, 0.002, 0.5, 0.51]  # a burst of a simulator that catches up, then at its pace
    now = iter(times)
    effect = d.delayed_in_order(0.0, 0.05, random.Random(3), lambda: next(now))
    leave = [at + effect(at)[0][0] for at in times]
    assert leave == sorted(leave) and all(0.0 <= left - at <= 0.05 for at, left in zip(times, leave))


def test_what_comes_after_an_effect_overtakes_nothing():
    with ros_graph() as graph:
        topic = CONTRACT.joint_state_topics[0]
        injector = Injector(graph, CONTRACT)
        source, came = graph.create_publisher(JointState, topic, 10), Recorder(graph, JointState, f"soak/{topic}")
        wait_matched(graph, source)
        wait_until(lambda: injector.publishers[3].get_subscription_count(), what="the recorder")
        injector.disturb(topic, [d.delayed(0.5, 0.5, random.Random(0))])
        for number in range(4):
            if number == 2:
                wait_until(lambda: len(injector._line._waiting) == 2, what="what was sent")
                injector.clear()
            source.publish(JointState(name=[str(number)]))
        assert [message.name[0] for message in came.wait_for(4)] == ["0", "1", "2", "3"]
        injector.close()


def test_a_misspelled_start_must_be_refused_with_the_right_name():
    controller = ProcessSpec(name="controller", executable="controller_node", parameters={"contract": "fr3"})
    assert starts_anyway(controller) == ""
    another = ProcessSpec(name="controller", executable="cli", parameters={"contract": "fr3"})
    assert "did not name dry_run" in starts_anyway(another)


def test_a_burst_leaves_at_once():
    now = iter([0.1, 0.4, 0.9])
    effect = d.in_bursts(1.0, lambda: next(now))
    assert [effect(i)[0][0] for i in range(3)] == pytest.approx([0.9, 0.6, 0.1])


def test_the_delay_line_hands_over_in_the_order_of_arrival():
    line, came, done = d.DelayLine(), [], threading.Event()
    line.put(0.05, lambda: (came.append("late"), done.set()))
    line.put(0.0, lambda: came.append("early"))
    assert done.wait(5.0)
    line.close()
    assert came == ["early", "late"]


@pytest.mark.parametrize("change", sorted(CHUNK_CHANGES))
def test_every_change_makes_a_chunk_that_the_commit_buffer_refuses_or_limits(change):
    """A tampered chunk that the controller could take as a good one would test nothing."""
    rows = np.tile(CONTRACT.home, (CONTRACT.policy.chunk_length, 1))
    good = trajectory_message(
        CONTRACT.joint_names, rows, stamp_ns=10**12, rate_hz=CONTRACT.rate_hz, frame_id="0@1000000000000"
    )
    bad = deserialize_message(CHUNK_CHANGES[change](serialize_message(good)), JointTrajectory)
    before, after = read_trajectory(good), read_trajectory(bad)
    same = (
        before.frame_id == after.frame_id
        and before.stamp_ns == after.stamp_ns
        and before.joints == after.joints
        and before.dt_s == after.dt_s
        and np.array_equal(before.positions, after.positions)
        and np.array_equal(before.times_ns, after.times_ns)
    )
    assert not same


def test_once_changes_one_message():
    effect = d.once(lambda m: -m)
    assert [m for i in (1, 2, 3) for _, m in effect(i)] == [-1, 2, 3]


def test_joint_states_in_parts_say_the_same():
    message = JointState(name=["a", "b"], position=[1.0, 2.0], velocity=[0.1, 0.2])
    parts = [deserialize_message(data, JointState) for _, data in one_by_one(serialize_message(message))]
    assert [(list(p.name), list(p.position), list(p.velocity)) for p in parts] == [
        (["a"], [1.0], [0.1]),
        (["b"], [2.0], [0.2]),
    ]
    both = [deserialize_message(data, JointState) for _, data in beside_efforts(serialize_message(message))]
    assert [len(m.position) for m in both] == [2, 0] and list(both[1].effort) == [1.0, 1.0]


@pytest.mark.parametrize("row", [5, 15])
def test_a_gripper_steps_behind_the_prefix_and_nothing_else_moves(row):
    rows = np.tile(CONTRACT.home, (CONTRACT.policy.chunk_length, 1))
    good = trajectory_message(CONTRACT.joint_names, rows, stamp_ns=0, rate_hz=20.0, frame_id="0@0")
    name = CONTRACT.joint_names[-1]
    seen = set()
    for _ in range(3):
        bad = gripper_steps([name], [(0.0, 0.03)], row, 0.01)(serialize_message(good))
        positions = read_trajectory(deserialize_message(bad, JointTrajectory)).positions
        assert np.array_equal(positions[:row], rows[:row]) and np.array_equal(positions[:, :-1], rows[:, :-1])
        assert np.ptp(positions[row:, -1]) == 0.0
        seen.add(positions[-1, -1])
        time.sleep(0.011)
    assert seen == {0.0, 0.03}


def test_statistics_in_other_units_are_a_copy(tmp_path):
    checkpoint = ROOT / "checkpoints" / "fr3_cubes"
    copy = in_other_units(checkpoint, 1000.0, tmp_path)
    own, other = (json.loads((d / "fr3_cubes_metadata.json").read_text())["fr3_cubes"] for d in (checkpoint, copy))
    assert "robot" in own and "robot" not in other
    for quantity, row in own["statistics"]["state"]["eef_position"].items():
        assert other["statistics"]["state"]["eef_position"][quantity] == [1000.0 * value for value in row]
    assert own["statistics"]["action"] == other["statistics"]["action"]


def test_a_clock_step_reaches_a_running_process(tmp_path):
    clock = ClockFile(tmp_path / "clock")
    code = (
        "import sys, time\n"
        "from beingh_ros.soak.stepped_clock import install\n"
        "install(sys.argv[1])\n"
        "from beingh_core.control.timing import SteadyTime\n"
        "steady = SteadyTime()\n"
        "print('ready', flush=True)\n"
        "sys.stdin.readline()\n"
        "print(steady.step()[0], flush=True)\n"
    )
    child = subprocess.Popen(
        [sys.executable, "-c", code, str(clock.path)],
        cwd=ROOT,
        text=True,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
    )
    assert child.stdout.readline() == "ready\n"
    clock.set(-5_000_000_000)
    out, _ = child.communicate("\n", timeout=20)
    assert int(out) == pytest.approx(-5e9, abs=5e7)


def test_the_catalogue_says_what_must_come_of_every_fault():
    kinds = catalogue(CONTRACT, random.Random(0))
    made = [make() for make in kinds.values()]
    assert [fault.kind for fault in made] == list(kinds)
    assert {fault.expected for fault in made} == {RUNS, HOLDS, STOPS}
    assert all(bool(fault.cause) == (fault.expected == STOPS) for fault in made)
    stops = {fault.cause for fault in made if fault.cause}
    assert stops == {"estop", "stop_service", "joint_states_silent", "joint_states_invalid", "tracking_error", "clock"}


def test_the_schedule_repeats_with_its_seed_and_leaves_nothing_out():
    first, again = (schedule("abcdef", random.Random(3)) for _ in range(2))
    drawn = [next(first) for _ in range(12)]
    assert drawn == [next(again) for _ in range(12)]
    assert sorted(drawn[:6]) == sorted(drawn[6:]) == list("abcdef")


def test_every_topic_between_the_nodes_passes_through_the_injector():
    topics = {route.topic for route in routes(CONTRACT)}
    assert {"policy/chunk", "controller/buffer", "controller/accepted", "joint_states"} <= topics
    assert {camera.topic for camera in CONTRACT.cameras} <= topics


def test_a_fault_that_does_not_exist_is_refused_before_anything_starts(capsys, tmp_path):
    assert main(["soak", "--faults", "earthquake", "--out", str(tmp_path)]) == 2
    assert "earthquake" in capsys.readouterr().err


def test_a_contract_at_another_rate_counts_the_same_ticks(tmp_path):
    checkpoint = ROOT / "checkpoints" / "fr3_cubes"
    copy, directory = at_rate(CONTRACT, checkpoint, 50.0, tmp_path)
    assert copy.rate_hz == 50.0 and copy.uac.delay_steps == CONTRACT.uac.delay_steps
    metadata = (directory / "fr3_cubes_metadata.json").read_text()
    assert copy.hash in metadata and CONTRACT.hash not in metadata
    with pytest.raises(BeingHError):
        at_rate(CONTRACT, checkpoint, -1.0, tmp_path)


def test_the_seam_table_of_one_episode():
    """The real policy in simulated physics: the lock is smoother at its seams than switching and waiting."""
    found = seam_figures(CONTRACT, ROOT / "checkpoints" / "fr3_cubes", episodes=1, seed=0)
    assert list(found) == ["prefix_lock", "naive", "temporal_ensembling", "waiting"]
    own = found["prefix_lock"]
    assert own.p95_rad_s < 0.5 * min(found["naive"].p95_rad_s, found["waiting"].p95_rad_s)
    assert own.successes == 1


@pytest.fixture(scope="module")
def soak(tmp_path_factory):
    """A run of real nodes: (exit status, figures, output)."""
    out = tmp_path_factory.mktemp("soak")
    faults = "latency_jitter,chunk_nan,chunk_foreign_joint,chunks_duplicated,joint_state_gap,estop,clock_step"
    words = ["soak", "--minutes", "0.25", "--seed", "1", "--faults", faults, "--seam-episodes", "0"]
    done = subprocess.run(
        [sys.executable, "-m", "beingh_ros.cli", *words, "--json", str(out / "soak.json"), "--out", str(out)],
        cwd=ROOT,
        env=os.environ | {"PYTHONUNBUFFERED": "1"},
        text=True,
        capture_output=True,
        timeout=300,
    )
    return done, out


def test_a_short_run_keeps_every_promise(soak):
    done, out = soak
    assert done.returncode == 0, done.stdout + done.stderr
    figures = json.loads(Path(out / "soak.json").read_text())
    assert set(figures) == {
        "ticks", "prefix_violations", "limit_violations", "ticks_missed", "ticks_doubled", "faults", "stops",
        "tick_period_ms", "empty_timer_period_ms", "seam", "jumps_of_the_robot", "jumps_after_contact",
    }  # fmt: skip
    assert figures["ticks"] > 150 and sum(figures["faults"].values()) >= 3
    assert figures["empty_timer_period_ms"]["p50"] == pytest.approx(50.0, abs=3.0)
    assert all(stop["recovered"] and stop["latency_ms"] <= 100.0 for stop in figures["stops"])


def test_a_short_run_leaves_no_process_behind(soak):
    _, out = soak
    left = []
    for directory in Path("/proc").glob("[0-9]*"):
        try:
            environment = (directory / "environ").read_bytes()
        except OSError:
            continue
        if f"BEINGH_SOAK_CLOCK={out}".encode() in environment:
            left.append((directory / "cmdline").read_text())
    assert left == []
